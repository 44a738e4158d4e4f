"""What each speed lever gives, alone: ours, and ours with one thing switched back or on, in turn.

Every variant trains an epoch over the same images with `train_epoch`; a variant changes its own game, or a function that `train_epoch`
calls, and nothing in the library. The ratio is a variant's speed relative to ours: below 1 it is slower. `ours` tells whether the
library's training has the lever.
"""
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from unittest import mock

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks import measure as m
from benchmarks import reference
from benchmarks.training import config_of
from dcgan_nb import train
from dcgan_nb.graphs import RecordedStep, fast_steps
from dcgan_nb.losses import LOSSES
from dcgan_nb.models import FromImage, ToImage, ToMaps, maps_layout
from dcgan_nb.optim import OPTIMIZERS, autocast
from dcgan_nb.train import Game


@dataclass(frozen=True)
class Lever:
    "One change of ours."
    ours: bool        # True: ours has the lever, the variant lacks it
    reason: str       # why it is kept or rejected
    change: Callable = lambda game: None               # done to the game, once
    patches: Callable = lambda game, images: {}        # name in dcgan_nb.train → what stands there while the variant trains
    steps: Callable = lambda steps: steps              # D's step and G's → those to take in their place


def _d_not_frozen(game:Game) -> None: game.D.requires_grad_ = lambda on: game.D

def _plain_adam(game:Game) -> None:
    c = game.config
    game.opt_g, game.opt_d = (torch.optim.Adam(net.parameters(), lr=lr, betas=(c.beta1, c.beta2), capturable=c.device == 'cuda')
                              for net, lr in ((game.G, c.g_lr), (game.D, c.d_lr)))

def _channels_last(game:Game) -> None:
    for net in (game.G, game.D): net.to(memory_format=torch.channels_last)

def _channels_first(game:Game) -> None:
    for net in (game.G, game.D): net.to(memory_format=torch.contiguous_format)
    reference.plain(game.G, ToMaps)

def _not_in_place(game:Game) -> None:
    for layer in (*game.G.modules(), *game.D.modules()):
        if hasattr(layer, 'inplace'): layer.inplace = False

def _transposed_first_layer(game:Game) -> None:
    c = game.config
    game.G = reference.transposed_first_layer(game.G).to(memory_format=maps_layout(c.device))
    game.opt_g = OPTIMIZERS[c.optimizer](list(game.G.parameters()), c.g_lr, c.beta1, c.beta2)

def _transposed_last_layer(game:Game) -> None: reference.plain(game.G, ToImage)

def _usual_gradient(game:Game) -> None: reference.plain(game.D, FromImage)


class _Unfolded(nn.Conv2d):
    "A 4 × 4 convolution of stride 2 as a matrix product with the patches of its input."
    def forward(self, x):
        y = F.linear(F.unfold(x, 4, padding=1, stride=2).mT, self.weight.flatten(1), self.bias)
        return y.unflatten(1, (x.shape[2] // 2, -1)).movedim(-1, 1)

def _unfolded_first_layer(game:Game) -> None:
    game.D[0].__class__ = _Unfolded
    game.D[1].inplace = False       # its input is a view, of which an operation in place would make autograd copy the gradient


def _each_item(steps:tuple) -> tuple:
    def reading(step):
        def read(*given):
            results = step(*given)
            for v in results.values(): v.item()
            return results
        return read
    return tuple(map(reading, steps))

def _one_pass(steps:tuple) -> tuple:
    return (RecordedStep(one_pass_d_step) if isinstance(steps[0], RecordedStep) else one_pass_d_step), steps[1]

def _data_loader(game:Game, images) -> dict:
    batches, device = reference.loader(images, game.config.batch_size, game.config.device), torch.device(game.config.device)
    return dict(batches=lambda *args: (x.to(device) for x, _ in batches))

def _no_norms(game:Game, images) -> dict:
    nothing = torch.zeros((), device=game.z_fixed.device)
    return dict(get_total_norm=lambda gradients: nothing)

def one_pass_d_step(game:Game, x_real:torch.Tensor) -> dict:
    "`d_step` with real and generated images in one batch of D: another game, because batch norm then sees their mixture."
    with autocast(game.config.precision, x_real.device):
        with torch.no_grad(): x_fake = game.G(train.draw_noise(game, len(x_real)))
        d_real, d_fake = game.D(torch.cat([x_real, x_fake])).float().chunk(2)
        loss = LOSSES[game.config.loss].d_loss(d_real, d_fake)
    d_grad = train._descend(game, loss, game.opt_d)
    return dict(d_loss=loss.detach(), d_real=d_real.detach().mean(), d_fake=d_fake.detach().mean(), d_grad=d_grad)


GIVEN_BACK = 'freed memory given back'      # measured in a process of its own, which has never kept any
LEVERS = {
    'D not frozen in G’s step': Lever(True, 'nobody uses D’s weight gradients there', _d_not_frozen),
    'losses read at every step': Lever(True, 'one reading at the end of an epoch is enough', steps=_each_item),
    'Adam not fused': Lever(True, 'the same rule in fewer passes over memory', _plain_adam),
    GIVEN_BACK: Lever(True, 'fresh pages must be cleared first', patches=lambda game, images: dict(keep_memory=lambda: None)),
    'DataLoader and PIL': Lever(True, 'all images fit into memory as bytes', patches=_data_loader),
    'first layer a transposed convolution': Lever(True, 'the same function as a plain matrix product', _transposed_first_layer),
    'last layer a transposed convolution': Lever(True, 'the same function as a matrix product and a fold, on a CPU',
                                                 _transposed_last_layer),
    'activations not in place': Lever(True, 'the input of an activation is not needed again', _not_in_place),
    'D’s first layer a matrix product': Lever(False, 'passing all patches through memory costs more than the product saves',
                                              _unfolded_first_layer),
    'no gradient norms': Lever(False, 'the norms are part of the record of a run', patches=_no_norms),
    'real and generated in one pass of D': Lever(False, 'another game: batch norm would see the mixture of both',
                                                 steps=_one_pass),
}
ON = dict(                                  # device → levers that mean something else, or nothing, on another
    cpu={'channels first': Lever(True, 'convolutions and batch norm are faster with channels last; first and last layers keep to it',
                                 _channels_first),
         'gradient of the images by a convolution': Lever(True, 'the same transposed convolution as in G’s last layer', _usual_gradient)},
    cuda={'channels last': Lever(False, 'as PyTorch puts it, until this row shows a gain', _channels_last),
          'steps kernel by kernel': Lever(True, 'small kernels end before Python has launched the next ones',
                                          steps=lambda steps: (train.d_step, train.g_step))})


def variant(lever:Lever|None, config, images) -> Callable:
    "An epoch of a game of its own, with the lever's change."
    game, x, patches = train.new_game(config), images.x_train.to(config.device), {}
    steps = fast_steps(config) or (train.d_step, train.g_step)
    if lever:
        lever.change(game)
        patches, steps = lever.patches(game, images), lever.steps(steps)
    def epoch():
        with ExitStack() as stack:
            for name, replacement in patches.items(): stack.enter_context(mock.patch.object(train, name, replacement))
            return train.train_epoch(game, x, steps)
    return epoch


def given_back(config, n_images:int) -> Callable: return variant(LEVERS[GIVEN_BACK], config, m.sample_data(n_images))


def measure(device:str, repeats:int, quick:bool) -> tuple[dict, list[dict]]:   # parameters, rows
    width, size, n = (8, 16, 32) if quick else (32, 128, 5120) if device == 'cpu' else (64, 128, 25_600)
    images, rows, levers = m.sample_data(n), [], LEVERS | ON[device]
    for precision in m.precisions(device):
        print(f'  {precision}, width {width}, batch {size}, {n:,} images a round', flush=True)
        config = config_of(width, size, device, precision)
        variants = {'ours': variant(None, config, images)} | {name: variant(lever, config, images) for name, lever in levers.items()}
        with m.apart(given_back, config, n) as variants[GIVEN_BACK]: timings = m.interleave(variants, repeats, device)
        timings[GIVEN_BACK].peak_mb = None
        for row in m.compared(timings, n):
            lever = levers.get(row['variant'])
            decision = dict(ours=lever.ours, decision='kept' if lever.ours else 'rejected', reason=lever.reason) if lever else {}
            rows.append(dict(precision=precision) | row | decision)
    return dict(width=width, batch_size=size, n_images=n), rows


if __name__ == '__main__': m.command('levers', measure, __doc__)
