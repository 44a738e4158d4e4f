"""What each speed lever gives, alone: ours, and ours with one thing switched back or on, in turn.

Every variant trains an epoch over the same images with `train_epoch`; a variant changes its own GAN, or a function that `train_epoch`
calls, and nothing in the library. The ratio is a variant's speed relative to ours: below 1 it is slower. `ours` tells whether the
library's training has the lever.
"""
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from unittest import mock

import torch
from torch import nn

import dcgan_nb.gan.train as train
from benchmarks import measure as m
from benchmarks import reference
from benchmarks.training import config_of
from dcgan_nb.gan.fast import TWINS, FromImage, KeepMaps, RecordedStep, ToImage, ToMaps, ToScore, accelerate, plain
from dcgan_nb.gan.losses import LOSSES
from dcgan_nb.gan.optim import OPTIMIZERS, autocast
from dcgan_nb.gan.state import GAN


@dataclass(frozen=True)
class Lever:
    "One change of ours."
    ours: bool        # True: ours has the lever, the variant lacks it
    reason: str       # why it is kept or rejected
    change: Callable = lambda gan: None               # done to the GAN, once
    patches: Callable = lambda gan, images: {}        # name in dcgan_nb.gan.train → what stands there while the variant trains
    steps: Callable = lambda steps: steps             # D's step and G's → those to take in their place
    keep: bool = True                                 # does the process keep the memory that it frees?


def _d_not_frozen(gan:GAN) -> None: gan.D.requires_grad_ = lambda on: gan.D

def _channels_last(gan:GAN) -> None:
    for net in (gan.G, gan.D): net.to(memory_format=torch.channels_last)

def _without(*kinds:type[nn.Module]) -> Callable:
    "Layers of these kinds become the plain ones again; all others stay accelerated."
    usual = {fast: slow for slow, fast in TWINS.items()}
    def change(gan:GAN) -> None:
        for layer in (*gan.G.modules(), *gan.D.modules()):
            if type(layer) in kinds: layer.__class__ = usual[type(layer)]
    return change

def _transposed_first_layer(gan:GAN) -> None:
    c = gan.config
    gan.G = reference.transposed_first_layer(gan.G)
    accelerate(gan.G)
    gan.opt_g = OPTIMIZERS[c.optimizer](list(gan.G.parameters()), c.g_lr, c.beta1, c.beta2)

def _data_loader(gan:GAN, images) -> dict:
    batches, device = reference.loader(images, gan.config.batch_size, gan.config.device), torch.device(gan.config.device)
    return dict(batches=lambda *args: ((x.to(device), y.to(device)) for x, y in batches))

def _no_norms(gan:GAN, images) -> dict:
    nothing = torch.zeros((), device=gan.z_fixed.device)
    return dict(get_total_norm=lambda gradients: nothing)

def one_pass_d_step(gan:GAN, x:torch.Tensor, y:torch.Tensor|None=None) -> dict:
    "`d_step` with real and generated images in one batch of D: another training, because batch norm then sees their mixture."
    with autocast(gan.config.precision, x.device):
        with torch.no_grad(): x_fake = gan.G(train.draw_noise(gan, len(x)))
        d_real, d_fake = gan.D(torch.cat([x, x_fake])).float().chunk(2)
        loss = LOSSES[gan.config.loss].d_loss(d_real, d_fake)
    d_grad = train._descend(gan, loss, gan.opt_d)
    return dict(d_loss=loss.detach(), d_real=d_real.detach().mean(), d_fake=d_fake.detach().mean(), d_grad=d_grad)


GIVEN_BACK = 'freed memory given back'      # measured in a process of its own, which has never kept any
LEVERS = {
    'D not frozen in G’s step': Lever(True, 'nobody uses D’s weight gradients there', _d_not_frozen),
    GIVEN_BACK: Lever(True, 'fresh pages must be cleared first', keep=False),
    'DataLoader and PIL': Lever(True, 'all images fit into memory as bytes', patches=_data_loader),
    'first layer a transposed convolution': Lever(True, 'the same function as a plain matrix product', _transposed_first_layer),
    'no gradient norms': Lever(False, 'the norms are part of the record of a run', patches=_no_norms),
    'real and generated in one pass of D': Lever(False, 'another training: batch norm would see the mixture of both',
                                                 steps=lambda steps: (one_pass_d_step, steps[1])),
}
ON = dict(                                  # device → levers that mean something else, or nothing, on another
    cpu={'channels first': Lever(True, 'convolutions and batch norm are faster with channels last',
                                 lambda gan: plain(gan.G, gan.D)),
         'images by convolutions': Lever(True, 'an image has one channel, and a convolution computes many at once', _without(ToImage, FromImage)),
         'maps begin with channels first': Lever(True, 'without it the layers after it change the layout', _without(ToMaps)),
         'maps flattened with channels first': Lever(True, 'flattening them so would copy them', _without(KeepMaps, ToScore))},
    cuda={'channels last': Lever(False, 'as PyTorch puts it, until this row shows a gain', _channels_last),
          'steps recorded as CUDA graphs': Lever(False, 'on request, until this row shows a gain',
                                                 steps=lambda steps: tuple(map(RecordedStep, steps)))})


def variant(lever:Lever|None, config, images) -> Callable:
    "An epoch of a GAN of its own, with the lever's change."
    lever = lever or Lever(True, 'ours as it is')
    gan, data = m.fast_gan(config, lever.keep), (images.x_train.to(config.device), images.y_train.to(config.device))
    lever.change(gan)
    patches, steps = lever.patches(gan, images), lever.steps((train.d_step, train.g_step))
    def epoch():
        with ExitStack() as stack:
            for name, replacement in patches.items(): stack.enter_context(mock.patch.object(train, name, replacement))
            return train.train_epoch(gan, data, steps)
    return epoch


def given_back(config, n_images:int) -> Callable: return variant(LEVERS[GIVEN_BACK], config, m.sample_data(n_images))


def settings(device:str, quick:bool) -> list[dict]:   # width, batch size, images in a round
    "Where the levers are measured."
    if quick: return [dict(width=8, batch_size=16, n_images=32)]
    if device == 'cpu': return [dict(width=width, batch_size=128, n_images=n) for width, n in ((32, 5120), (64, 2560))]
    return [dict(width=width, batch_size=128, n_images=25_600) for width in (32, 64)]


def measure(device:str, repeats:int, quick:bool) -> tuple[dict, list[dict]]:   # parameters, rows
    rows, levers = [], LEVERS | ON[device]
    for setting in settings(device, quick):
        width, size, n = setting.values()
        images = m.sample_data(n)
        for precision in m.precisions(device):
            print(f'  {precision}, width {width}, batch {size}, {n:,} images a round', flush=True)
            config = config_of(width, size, device, precision)
            variants = {'ours': variant(None, config, images)} | {name: variant(lever, config, images) for name, lever in levers.items()}
            with m.apart(given_back, config, n) as variants[GIVEN_BACK]: timings = m.interleave(variants, repeats, device)
            timings[GIVEN_BACK].peak_mb = None
            for row in m.compared(timings, n):
                lever = levers.get(row['variant'])
                decision = dict(ours=lever.ours, decision='kept' if lever.ours else 'rejected', reason=lever.reason) if lever else {}
                rows.append(setting | dict(precision=precision) | row | decision)
    return {}, rows


if __name__ == '__main__': m.command('levers', measure, __doc__)
