"What the five projects used, each a named option: networks, losses, labels, orders and recipes, against published and hand-worked numbers."
import copy
import itertools
import math
import re
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
from conftest import ROOT, tiny, tiny_data, weights
from PIL import Image
from torch import nn

import dcgan_nb.gan.train as train_module
from dcgan_nb.foundations.batches import shuffled, training_set
from dcgan_nb.foundations.core import InputError, load_projects
from dcgan_nb.foundations.datasets import load_data
from dcgan_nb.gan.losses import LOSSES
from dcgan_nb.gan.networks import ARCHITECTURES, build_networks, count_parameters, generate
from dcgan_nb.gan.residual import Growing
from dcgan_nb.gan.state import init
from dcgan_nb.gan.train import d_step, draw_noise, g_step, layer_noise, train, train_epoch
from dcgan_nb.runs.config import PROFILES, RECIPES, RunConfig, overrides
from dcgan_nb.runs.parameters import ARGUMENTS, own_arguments
from dcgan_nb.runs.records import read_record

load_projects()
SAMPLE = load_data('fashion_mnist_sample')
NORMS, CONVS = (nn.BatchNorm1d, nn.BatchNorm2d), (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def draw(rng, low=0, high=2**31): return int(torch.randint(low, high, (1,), generator=rng))


def networks(arch, latent_dim, channels, size, width, seed=0):
    "G and D of one width."
    shared = dict(arch=arch, channels=channels, size=size, width=width)
    return build_networks(shared | dict(latent_dim=latent_dim), shared, seed)


# Networks

@pytest.mark.parametrize('arch', ARCHITECTURES)
@pytest.mark.parametrize('channels', [1, 3])
def test_images_have_the_right_shape_and_range_and_gradients_reach_every_parameter(arch, channels, rng):
    size = draw(rng, 3, 6) * ARCHITECTURES[arch].divisor
    G, D = networks(arch, 9, channels, size, 4, seed=draw(rng))
    x = G(torch.randn(12, 9, generator=rng))
    assert x.shape == (12, channels, size, size) and x.dtype == torch.float32 and x.abs().max() <= 1 and x.std() > 0
    scores = D(x)
    assert scores.shape == (12,) and len(D.eval()(x[:1])) == 1 and len(generate(G, torch.randn(3, 9, generator=rng), batch_size=1)) == 3
    (x * torch.randn(x.shape, generator=rng)).sum().backward(retain_graph=True)
    D.zero_grad()
    (scores * torch.randn(12, generator=rng)).sum().backward()
    for net in (G, D):
        without_effect = {id(a.bias) for a, b in itertools.pairwise(net) if isinstance(a, CONVS) and isinstance(b, NORMS)}     # the norm takes them away
        not_now = {id(p) for m in net.modules() if isinstance(m, Growing) for i, end in enumerate(m.ends) if i != m.stage()[0] for p in end.parameters()}
        for name, p in net.named_parameters():
            if id(p) in not_now: continue
            assert p.grad is not None and p.grad.isfinite().all() and (p.grad.any() or id(p) in without_effect), name


@pytest.mark.parametrize('arch, g_sizes, d_sizes, g_keras, d_keras', [     # as Keras counts: the running averages of batch norm as well
    ('b_after', [7, 14, 28], [14, 7, 8, 4, 2], 856_705, 390_657), ('e_tf', [7, 14, 28], [14, 7], 2_330_944, 212_865),
    ('b_before', [7, 14, 28], [14, 7, 4, 2], 100*12544 + 12544 + 4*12544 + 25*256*128 + 128 + 4*128 + 25*128*64 + 64 + 4*64 + 9*64*32 + 32 + 4*32 + 9*32 + 1,
     9*64 + 64 + 4*64 + 9*64*128 + 128 + 4*128 + 9*128*256 + 256 + 4*256 + 256*2*2 + 1)])
def test_published_networks_have_their_published_sizes_and_numbers_of_parameters(arch, g_sizes, d_sizes, g_keras, d_keras):
    G, D = networks(arch, 100, 1, 28, 64)
    for net, x, sizes, expected in ((G, torch.zeros(2, 100), g_sizes, g_keras), (D, torch.zeros(2, 1, 28, 28), d_sizes, d_keras)):
        assert count_parameters(net) + 2*sum(m.num_features for m in net if isinstance(m, NORMS)) == expected
        seen = [x.shape[-1] for x in itertools.accumulate(net, lambda x, m: m(x), initial=x) if x.ndim == 4]
        assert [size for size, _ in itertools.groupby(seen)] == ([28] if net is D else []) + sizes


@pytest.mark.parametrize('channels', [1, 3])
def test_project_c_has_the_layers_of_its_list(channels):
    G, D = networks('c_64', 100, channels, 64, 64)
    maps = 1024, 512, 256, 128
    inner = sum(16*a*b + 2*b for a, b in itertools.pairwise(maps))
    assert count_parameters(G) == 100*16384 + 16384 + inner + 16*128*channels
    assert count_parameters(D) == 16*channels*128 + 16*sum(a*b for a, b in itertools.pairwise(maps)) + 2*(256 + 512 + 1024) + 16384 + 1
    assert [m.out_channels for m in G if isinstance(m, nn.ConvTranspose2d)] == [512, 256, 128, channels]
    assert [m.out_channels for m in D if isinstance(m, nn.Conv2d)] == [128, 256, 512, 1024]
    assert all(m.bias is None and m.kernel_size == (4, 4) and m.stride == (2, 2) for net in (G, D) for m in net if isinstance(m, CONVS[1:]))


@pytest.mark.parametrize('arch', ARCHITECTURES)
def test_a_wrong_size_is_answered_with_the_nearest_right_one(arch, rng):
    step = ARCHITECTURES[arch].divisor
    for size in {draw(rng, 4, 60) * step + draw(rng, 1, step) for _ in range(5)} | {4*step - 1, 4*step + 1}:
        for refuse in (lambda: networks(arch, 4, 1, size, 2), lambda: RunConfig.resolve(arch=arch, image_size=size, device='cpu')):
            with pytest.raises(InputError, match=f'image_size={size} ') as error: refuse()
            near = int(re.search(r'Nearest: (\d+)\.', str(error.value))[1])
            assert near % step == 0 and 0 < abs(near - size) <= step / 2
        assert RunConfig.resolve(arch=arch, image_size=near, device='cpu').image_size == near


@pytest.mark.parametrize('arch', ARCHITECTURES)
def test_every_size_that_is_accepted_can_be_trained_at(arch):
    for size in range(ARCHITECTURES[arch].divisor, 33, ARCHITECTURES[arch].divisor):
        try: config = RunConfig.resolve(arch=arch, image_size=size, profile='smoke', device='cpu', g_width=2, d_width=2, latent_dim=4)
        except InputError as error:
            assert 'image_size' in str(error) and 'Nearest' in str(error)
            continue
        assert d_step(init(config), torch.zeros(2, 1, size, size))['d_loss'].isfinite()


@pytest.mark.parametrize('arch', ARCHITECTURES)
@pytest.mark.parametrize('loss', LOSSES)
def test_one_step_of_every_architecture_and_loss_moves_both_networks(arch, loss, rng):
    gan, x = tiny(arch=arch, loss=loss, seed=draw(rng), g_lr=1e-3, d_lr=1e-3), torch.rand(20, 1, 16, 16, generator=rng)*2 - 1
    d_before, g_before = weights(gan.D), weights(gan.G)
    log = d_step(gan, x)
    d_after, g_between = weights(gan.D), weights(gan.G)
    log |= g_step(gan, x)
    assert torch.equal(g_before, g_between) and torch.equal(weights(gan.D), d_after), 'each player moves alone'
    assert not torch.equal(d_before, d_after) and not torch.equal(g_before, weights(gan.G))
    assert all(v.isfinite() for v in log.values()) and weights(gan.G, gan.D).isfinite().all() and log['d_grad'] > 0 and log['g_grad'] > 0
    assert (weights(gan.G) - g_before).abs().max() < 1.01e-3, 'the first step of Adam is at most the learning rate'


# Options of a run arrive in the networks

@pytest.mark.parametrize('arch', [name for name, arch in ARCHITECTURES.items() if {'negative_slope', 'dropout'} <= arch.d_defaults.keys()])
def test_slopes_and_dropout_arrive_and_zero_is_relu(arch):
    gan = tiny(arch=arch, g_slope=0.17, d_slope=0.33, d_dropout=0.4)
    for net, slope in ((gan.G, 0.17), (gan.D, 0.33)):
        assert {m.negative_slope for m in net if isinstance(m, nn.LeakyReLU)} == {slope} and not any(isinstance(m, nn.ReLU) for m in net)
    drops = [m.p for m in gan.D if isinstance(m, nn.Dropout)]
    assert drops == [0.4] * (1 if arch == 'b_before' else sum(isinstance(m, nn.LeakyReLU) for m in gan.D)), 'after every activation; project B’s first D has one'
    assert not any(isinstance(m, nn.Dropout) for m in gan.G)
    gan = tiny(arch=arch, g_slope=0.0, d_slope=0, d_dropout=0)
    assert all(any(isinstance(m, nn.ReLU) for m in net) and not any(isinstance(m, nn.LeakyReLU) for m in net) for net in (gan.G, gan.D))
    assert not any(m.p for m in gan.D if isinstance(m, nn.Dropout))


@pytest.mark.parametrize('arch, g_slope, d_slope, dropout, g_momenta, d_momenta', [     # Keras' m is 1 − m here
    ('b_before', {0.3}, {0.2}, {0.3}, [.2, .2, .2, .2], [.3, .3, .3]), ('b_after', set(), {0.2}, {0.25}, [.1, .2, .2], [.2, .2, .2]),
    ('e_tf', {0.3}, {0.3}, {0.3}, [.01, .01, .01], []), ('c_64', set(), {0.2}, set(), [.1, .1, .1], [.1, .1, .1]),
    ('dcgan', set(), {0.2}, set(), [.1, .1], [.1])])
def test_architectures_have_their_projects_activations_dropout_and_batch_norm(arch, g_slope, d_slope, dropout, g_momenta, d_momenta):
    gan = tiny(arch=arch)
    for net, slope, momenta in ((gan.G, g_slope, g_momenta), (gan.D, d_slope, d_momenta)):
        assert {m.negative_slope for m in net if isinstance(m, nn.LeakyReLU)} == slope
        norms = [m for m in net if isinstance(m, NORMS)]
        assert [m.momentum for m in norms] == pytest.approx(momenta) and {m.eps for m in norms} <= {1e-5 if arch in ('c_64', 'dcgan') else 1e-3}
    assert {m.p for m in gan.D if isinstance(m, nn.Dropout)} == dropout



@pytest.mark.parametrize('g_init, d_init', [('normal', 'he'), ('glorot', 'normal'), ('he', 'glorot')])
@pytest.mark.parametrize('arch', ARCHITECTURES)
def test_initial_weights_have_the_spread_of_their_name(arch, g_init, d_init, rng):
    gan, n_tested = tiny(arch=arch, g_init=g_init, d_init=d_init, seed=draw(rng), g_width=8, d_width=8, latent_dim=32), 0
    for net, rule in ((gan.G, g_init), (gan.D, d_init)):
        for m in net.modules():
            if isinstance(m, CONVS) and m.weight.numel() >= 500:
                a, b, w, n_tested = *m.weight.shape[:2], m.weight.detach(), n_tested + 1
                k = w[0, 0].numel()
                std = dict(normal=0.02, glorot=math.sqrt(2 / ((a + b) * k)), he=math.sqrt(2 / (b * k)))[rule]
                assert w.std().item() == pytest.approx(std, rel=0.2) and abs(w.mean().item()) < 7*std / math.sqrt(w.numel()), m
                assert (w.abs().max() > 2.2*std) if rule == 'normal' else (w.abs().max() <= 1.0001*math.sqrt(3)*std), 'uniform numbers end, normal ones do not'
            if isinstance(m, NORMS): assert m.weight.std() > 0 if rule == 'normal' else (m.weight == 1).all()
            if getattr(m, 'bias', None) is not None: assert not m.bias.any()
    assert n_tested >= 3


# Losses

@pytest.mark.parametrize('loss', ['bce', 'mse', 'hinge'])
def test_the_loss_sees_probabilities_if_asked_to(loss, rng):
    def losses(sigmoid_scores, see):
        gan = tiny(arch='dcgan', loss=loss, sigmoid_scores=sigmoid_scores, seed=5, d_init='glorot', d_lr=1e-8, g_lr=1e-8)
        G, D = copy.deepcopy((gan.G, gan.D))
        state = gan.noise.get_state()
        real, fake = see(D(x)), see(D(G(draw_noise(gan, 30))))
        by_hand = dict(bce=lambda: (np.log1p(np.exp(-real)) + np.log1p(np.exp(fake))).mean(), mse=lambda: ((real - 1)**2 + fake**2).mean() / 2,
                       hinge=lambda: (np.maximum(0, 1 - real) + np.maximum(0, 1 + fake)).mean())[loss]()
        gan.noise.set_state(state)
        return d_step(gan, x)['d_loss'].item(), by_hand
    x = torch.rand(30, 1, 16, 16, generator=rng)*2 - 1
    as_logits, as_probabilities = (lambda d: d.detach().double().numpy()), (lambda d: 1 / (1 + np.exp(-d.detach().double().numpy())))
    for sigmoid_scores, right, wrong in ((True, as_probabilities, as_logits), (False, as_logits, as_probabilities)):
        seen, by_hand = losses(sigmoid_scores, right)
        assert seen == pytest.approx(by_hand, rel=1e-5) and seen != pytest.approx(losses(sigmoid_scores, wrong)[1], rel=1e-3)


def test_the_saturating_loss_has_no_gradient_where_d_is_sure(rng):
    d = (torch.randn(9, generator=rng)*3).requires_grad_()
    assert LOSSES['minimax'].g_loss(d).item() == pytest.approx(np.log(1 - 1 / (1 + np.exp(-d.detach().double().numpy()))).mean(), rel=1e-5)
    def slope(loss, logit):
        d = torch.tensor([float(logit)], requires_grad=True)
        return torch.autograd.grad(LOSSES[loss].g_loss(d), d)[0].item()
    assert abs(slope('minimax', -30)) < 1e-12 and slope('bce', -30) == pytest.approx(-1)
    assert slope('minimax', 0) == slope('bce', 0) == pytest.approx(-0.5) and slope('minimax', 30) == pytest.approx(-1), 'both push logits up'
    assert LOSSES['minimax'].d_loss is LOSSES['bce'].d_loss


@pytest.mark.parametrize('loss, expected', [('bce_soft', torch.sigmoid), ('mse_soft', lambda d: d)])
def test_soft_labels_lie_in_their_ranges(loss, expected, rng):
    n, (real, fake) = 4000, torch.randn(2, 4000, generator=rng).double().requires_grad_().unbind()
    with torch.random.fork_rng():
        torch.manual_seed(draw(rng))
        name, loss, again = loss, *(LOSSES[loss].d_loss(real, fake) for _ in range(2))
    assert LOSSES[name].g_loss is LOSSES[name.removesuffix('_soft')].g_loss, 'only D’s labels are soft'
    labels = [expected(d) - n*grad for d, grad in zip((real, fake), torch.autograd.grad(loss, (real, fake)))]     # how the loss falls tells its label
    for label, low, high in zip(labels, (0.85, 0), (1, 0.15)):
        assert low - 1e-6 <= label.min() < low + 0.01 and high - 0.01 < label.max() <= high + 1e-6
        assert label.mean().item() == pytest.approx((low + high) / 2, abs=0.006)                                 # nine standard errors
    assert abs(np.corrcoef(*(label.detach() for label in labels))[0, 1]) < 0.15 and loss != again, 'drawn anew for every image and step'


@pytest.mark.parametrize('given', [dict(loss='bce_soft'), dict(arch='e_tf'), dict(arch='b_before', loss='bce_soft')])
def test_random_labels_and_dropout_belong_to_the_run_and_move_no_global_numbers(given, rng):
    def play(seed):
        torch.manual_seed(draw(rng))                       # the global numbers must not matter
        before = torch.get_rng_state()
        gan = train(tiny(**given, seed=seed, epochs=2), tiny_data(150), report=None)
        assert torch.equal(torch.get_rng_state(), before), 'nor may they move'
        return weights(gan.G, gan.D)
    with torch.random.fork_rng():
        seed = draw(rng)
        assert torch.equal(play(seed), play(seed)) and not torch.equal(play(seed), play(seed ^ 1))
    def numbers(seed, epoch):
        with layer_noise(seed, epoch, torch.device('cpu')): return tuple(torch.rand(3).tolist())
    assert numbers(seed, 1) == numbers(seed, 1) and len({numbers(s, epoch) for s in (seed, seed ^ 1) for epoch in (1, 2, 3)}) == 6



# Data

def test_a_buffer_shuffles_nearby_and_one_of_size_one_not_at_all(rng):
    for n, buffer in [(draw(rng, 2, 300), draw(rng, 1, 400)) for _ in range(30)] + [(1, 1), (200, 200), (200, 0)]:
        order = shuffled(n, rng, buffer)
        assert order.dtype == torch.int64 and order.sort().values.tolist() == list(range(n))
        if 0 < buffer < n: assert (order - torch.arange(n)).max() < buffer, 'what is not yet in the buffer cannot come out'
    assert shuffled(50, rng, 1).tolist() == list(range(50))
    def by_hand(held, coming):                               # fill the buffer, take out one at random, put the next one in its place
        while held:
            yield held.pop(draw(rng, 0, len(held)))
            held += [coming.pop(0)] if coming else []
    moved = lambda orders: np.abs(np.array(orders) - np.arange(1000)).mean()
    ours = moved([shuffled(1000, rng, 40).tolist() for _ in range(20)])
    assert ours == pytest.approx(moved([list(by_hand(list(range(40)), list(range(40, 1000)))) for _ in range(8)]), rel=0.15) and ours < 50
    assert moved([shuffled(1000, rng).tolist() for _ in range(5)]) == pytest.approx(1000 / 3, rel=0.15)


def tensorflow_orders(n, buffer):
    "The exact probability of every order."
    found = Counter()
    def go(held, coming, order, p):
        if not held: found[order] += p
        for i in range(len(held)): go(held[:i] + held[i+1:] + coming[:1], coming[1:], order + (held[i],), p / len(held))
    go(tuple(range(buffer)), tuple(range(buffer, n)), (), Fraction(1))
    return found


@pytest.mark.parametrize('n, buffer', [(4, 2), (5, 2), (4, 3), (5, 3), (4, 4), (4, 0)])
def test_orders_are_as_probable_as_tensorflows(n, buffer, rng):
    expected, n_draws = tensorflow_orders(n, buffer or n), 3000
    seen = Counter(tuple(shuffled(n, rng, buffer).tolist()) for _ in range(n_draws))
    assert sum(expected.values()) == 1 and set(seen) <= set(expected)
    chi2, df = sum((seen[o] - n_draws*p)**2 / (n_draws*p) for o, p in expected.items()), len(expected) - 1
    assert chi2 < df + 6*math.sqrt(2*df) + 12, 'far beyond one in a million'



def test_test_images_may_be_trained_on_and_images_resized_and_colored():
    x, y = training_set(SAMPLE, 'train+test')
    assert torch.equal(x, torch.cat([SAMPLE.x_train, SAMPLE.x_test])) and torch.equal(y, torch.cat([SAMPLE.y_train, SAMPLE.y_test]))
    assert [len(part) for part in training_set(SAMPLE)] == [1000, 1000]
    for size in (64, 16):
        x, y = training_set(SAMPLE, 'train+test', size=size, channels=3)
        assert x.shape == (1500, 3, size, size) and x.dtype == torch.uint8 and torch.equal(x[:, 0], x[:, 1]) and torch.equal(x[:, 0], x[:, 2])
        pillow = np.array(Image.fromarray(SAMPLE.x_train[7, 0].numpy()).resize((size, size), Image.Resampling.BILINEAR))
        assert np.abs(pillow.astype(int) - x[7, 0].numpy()).max() <= 1 and y[7] == SAMPLE.y_train[7]
    with pytest.raises(InputError, match="Did you mean 'train"): training_set(SAMPLE, 'trian')


@pytest.mark.parametrize('d_steps, n_images, moves', [(1, 1000, 'DGDGDGDGDGDGDGDGDGDG'), (3, 1000, 'DDDGDDDGDDDGD'), (2, 550, 'DDGDDGD'), (10, 1000, 'DDDDDDDDDDG')])
@pytest.mark.parametrize('shuffle_buffer', [0, 1])
def test_g_moves_once_for_so_many_steps_of_d_and_the_buffer_decides_what_they_see(d_steps, n_images, moves, shuffle_buffer, monkeypatch):
    seen = []
    for name in ('d_step', 'g_step'):
        monkeypatch.setattr(train_module, name, lambda gan, x, y=None, name=name, step=getattr(train_module, name): (seen.append((name[0].upper(), x, y)), step(gan, x, y))[1])
    x, y = tiny_data(n_images)
    entry = train_epoch(tiny(arch='mlp', batch_size=100, d_steps=d_steps, shuffle_buffer=shuffle_buffer), (x, y))
    n = 100 * moves.count('D')
    assert ''.join(name for name, _, _ in seen) == moves and entry['n_images'] == n and math.isfinite(entry['g_loss'])
    for i, expected in ((1, x.float() / 127.5 - 1), (2, y)):
        assert torch.equal(torch.cat([step[i] for step in seen if step[0] == 'D']), expected[:n]) == (shuffle_buffer == 1), 'a buffer of one keeps the order'


# Recipes

PUBLISHED = dict(     # read off the projects' texts and notebooks
    standard=dict(arch='dcgan', image_size=28, channels=1, shuffle_buffer=0, train_on='train', loss='bce', sigmoid_scores=False, d_steps=1),
    a_best=dict(batch_size=256, d_steps=3, d_lr=3e-4, g_lr=4e-4, latent_dim=128),
    b_before=dict(batch_size=256, latent_dim=100, g_lr=1e-4, d_lr=1e-4, beta1=0.5, epochs=50, train_on='train+test', loss='bce_soft', sigmoid_scores=False,
                  g_slope=0.3, d_slope=0.2, d_dropout=0.3, g_init='he_hidden', d_init='he_conv'),
    b_after=dict(batch_size=256, latent_dim=100, g_lr=1e-4, d_lr=1e-4, beta1=0.5, epochs=100, train_on='train+test', loss='bce', sigmoid_scores=False,
                 g_slope=0, d_slope=0.2, d_dropout=0.25, g_init='glorot', d_init='he_conv'),
    c=dict(batch_size=50, image_size=64, latent_dim=100, g_lr=2e-4, d_lr=2e-4, beta1=0.5, beta2=0.999, loss='bce', epochs=200, g_init='normal_conv', d_init='normal_conv'),
    d=dict(dataset='mnist', batch_size=64, g_lr=2e-4, d_lr=2e-4, epochs=25, optimizer='adam'),
    e=dict(batch_size=32, epochs=50, g_lr=1e-4, d_lr=1e-4, beta1=0.9, shuffle_buffer=200, loss='bce', sigmoid_scores=False, g_slope=0.3, d_slope=0.3,
           d_dropout=0.3, g_width=64, d_width=64, latent_dim=100))


@pytest.mark.parametrize('recipe', RECIPES)
@pytest.mark.parametrize('profile', PROFILES)
def test_recipes_resolve_under_every_profile_and_full_is_as_published(recipe, profile):
    config = RunConfig.resolve(recipe=recipe, profile=profile, device='cpu')
    published = PUBLISHED.get(recipe, {})     # a project of the reader's own has published nothing
    if profile == 'full': assert {k: getattr(config, k) for k in published} == published
    assert config.arch == RECIPES[recipe].get('arch', 'dcgan') and not any(v is None for v in config.record().values())
    assert RunConfig.resolve(**overrides(config.record()), device='cpu') == config == RunConfig.resolve(**config.record()), 'and can be typed again'
    assert config.run_id != RunConfig.resolve(**config.record() | dict(d_lr=config.d_lr / 2)).run_id


@pytest.mark.parametrize('given', [dict(dataset='cifar10', image_size=28), dict(recipe='best', arch='dcgan', d_options=''), dict(recipe='best', optimizer='rmsprop'), dict(dataset='kmnist', image_size=32),
                                   dict(recipe='best_cond', conditional=False, arch='mlp', d_options='', metrics='fid'), dict(recipe='c', arch='dcgan', image_size=32)], ids=str)
def test_what_departs_from_a_recipe_in_unusual_ways_can_be_typed_again(given):
    config = RunConfig.planned(**given, profile='cpu', device='cpu')
    typed = overrides(config.record())
    assert RunConfig.planned(**typed, device='cpu') == config and not typed.keys() & {'profile'} - {'profile'}


# Options on top of those of a recipe

def drawn_options(arch, player, rng):
    "Some options of an architecture that sees labels, each with a value it can have."
    make, found = ARCHITECTURES[arch], {}
    for k, default in own_arguments(arch, player).items():
        if k in ARGUMENTS.values() or k == 'class_weight' or draw(rng, 0, 2): continue      # a weight counts with one head alone
        choice = (False, True) if isinstance(default, bool) else list(make.choices[k]) if isinstance(default, str) else range(make.choices[k][0], 4)
        found[k] = choice[draw(rng, 0, len(choice))]
    return found


def written(options, order=list): return ' '.join(f'{k}={options[k]}' for k in order(options))


@pytest.mark.parametrize('arch', ['resnet', 'progressive', 'cdcgan'])
def test_options_lie_over_those_of_a_recipe_and_can_be_typed_again(arch, rng):
    given = dict(recipe='best_cond', profile='cpu', device='cpu', arch=arch)
    recipe = dict(g={}, d={k: v for k, v in dict(minibatch_std=True, pooled=False).items() if k in own_arguments(arch, 'd')})
    for _ in range(12):
        own, drawn = ({player: f(player) for player in 'gd'} for f in (lambda player: own_arguments(arch, player), lambda player: drawn_options(arch, player, rng)))
        config, other = (RunConfig.resolve(**given, **{f'{p}_options': written(drawn[p], order) for p in 'gd' if drawn[p]}) for order in (list, lambda names: sorted(names, reverse=True)))
        assert config == other and config.run_id == other.run_id, 'the order does not matter'
        for p, spec in dict(g=config.g_spec, d=config.d_spec).items():
            assert {k: spec[k] for k in own[p] if k not in ARGUMENTS.values()} == {k: v for k, v in (own[p] | recipe[p] | drawn[p]).items() if k not in ARGUMENTS.values()}
        record = config.record()
        assert RunConfig.planned(**overrides(record), device='cpu') == config == RunConfig.of_record(record) == RunConfig.resolve(**record)
        alone = record | {f'{p}_options': written({k: drawn[p][k] for k in own[p] if drawn[p].get(k, own[p][k]) != own[p][k]}) for p in 'gd'}     # without the recipe's, as runs of older versions
        typed = RunConfig.planned(**overrides(alone), device='cpu')
        assert typed.record() == RunConfig.of_record(alone).record() == RunConfig.resolve(**alone).record() == alone and typed.run_id == RunConfig.of_record(alone).run_id


def test_a_head_does_not_cost_a_recipe_its_other_options():
    spec = RunConfig.resolve(device='cpu', recipe='best_cond', d_options='head=classes').d_spec
    assert (spec['minibatch_std'], spec['pooled'], spec['head']) == (True, False, 'classes')
    assert RunConfig.resolve(device='cpu', recipe='best_cond', d_options='').d_spec['pooled'], 'none means none'
    assert RunConfig.resolve(device='cpu', recipe='best', arch='dcgan').d_options == '', 'an architecture that has no such options'
    assert RunConfig.resolve(device='cpu', recipe='best', arch='dcgan', d_options='n_extra=1').d_options == 'n_extra=1'


def test_every_published_run_is_what_its_command_asks_for():
    found = [read_record(path) for path in sorted(ROOT.glob('reports/records/*/record.json'))]
    again = {r['run_id']: RunConfig.planned(**overrides(r['config']), device=r['config']['device']) for r in found}
    assert found and all(run_id == c.run_id for run_id, c in again.items()) and all(again[r['run_id']].record() == r['config'] for r in found)
    assert any('pooled=True' in overrides(r['config']).get('d_options', '') for r in found), 'some have fewer options than their recipe has today'
