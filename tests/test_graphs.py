"Recorded steps: their bookkeeping on any machine, with a stand-in for the graph that runs the step again; the real thing where there is a GPU."
from contextlib import contextmanager, nullcontext

import pytest
import torch
from conftest import timeless, tiny_data, weights

from dcgan_nb.foundations.batches import normalize
from dcgan_nb.gan import fast
from dcgan_nb.gan.fast import RecordedStep, recorded_steps, rehearsal
from dcgan_nb.gan.state import init
from dcgan_nb.gan.train import d_step, g_step, train
from dcgan_nb.runs.config import RunConfig

RECIPES = [dict(), dict(recipe='b_before'), dict(optimizer='rmsprop'), dict(d_steps=2), dict(loss='bce_soft', arch='e_tf'), dict(ema=0.9, penalty='r1'),
           dict(augment='translation cutout', loss='rpgan', penalty='r1r2'), dict(loss='wgan', penalty='wgan_gp')]


def gan_of(device='cpu', **given):
    return init(RunConfig.resolve(**dict(profile='smoke', device=device, epochs=2, g_width=4, d_width=4, graphs=device == 'cuda') | given))


def all_weights(gan): return weights(gan.G, gan.D, buffers=True)


@pytest.fixture
def stand_in(monkeypatch):
    "torch.cuda's graphs, played by running the step again with what was given when it was recorded."
    class Graph:
        def register_generator_state(self, generator): self.generator = generator
        def replay(self):
            again = self.step(*self.given)
            for k, v in self.results.items(): v.copy_(again[k])

    @contextmanager
    def recording(graph):                      # real recording runs nothing
        with rehearsal(stand_in.gan): yield
        graph.step, graph.given, graph.results = stand_in.last

    class Stream:
        def wait_stream(self, other): pass
    for name, fake in dict(CUDAGraph=Graph, graph=recording, Stream=Stream, current_stream=Stream, stream=lambda s: nullcontext()).items():
        monkeypatch.setattr(torch.cuda, name, fake)

    def recorded(step, gan):
        def noted(*given):
            results = step(*given)
            stand_in.gan, stand_in.last = gan, (step, given, results)
            return results
        stand_in.gan = gan
        return RecordedStep(noted)
    return recorded


@pytest.mark.sample(4)
@pytest.mark.parametrize('given', RECIPES, ids=str)
def test_recorded_steps_train_the_same_gan_bit_for_bit(stand_in, given):
    data, seed = tiny_data(500, size=28), int(torch.randint(10**6, ()).item())
    plain, recorded = (gan_of(seed=seed, **given) for _ in range(2))
    train(plain, data, None)
    train(recorded, data, None, (stand_in(d_step, recorded), stand_in(g_step, recorded)))
    assert torch.equal(all_weights(plain), all_weights(recorded))
    assert timeless(plain.history) == timeless(recorded.history), 'what is logged is copied before the next step overwrites it'


def test_a_recorded_step_that_forgets_its_input_is_found_out(stand_in, monkeypatch):
    data = tiny_data(500, size=28)
    plain, recorded = gan_of(), gan_of()
    monkeypatch.setattr(fast, 'zip', lambda *parts: (), raising=False)     # images and labels are no longer copied in
    train(plain, data, None)
    train(recorded, data, None, (stand_in(d_step, recorded), stand_in(g_step, recorded)))
    assert not torch.equal(all_weights(plain), all_weights(recorded))


def test_a_rehearsal_undoes_everything_in_place():
    gan, (x, y) = gan_of(recipe='b_before'), tiny_data(200, size=28)
    train(gan, (x, y), None)
    places = [t.data_ptr() for t in gan.tensors()]
    before = [t.clone() for t in gan.tensors()], gan.noise.get_state(), torch.get_rng_state()
    with rehearsal(gan):
        for _ in range(2): g_step(gan, normalize(x[:10]), y[:10])
        assert any(not torch.equal(a, b) for a, b in zip(before[0], gan.tensors())) and not torch.equal(before[1], gan.noise.get_state())
    assert all(torch.equal(a, b) for a, b in zip(before[0], gan.tensors())) and torch.equal(before[1], gan.noise.get_state()) and torch.equal(before[2], torch.get_rng_state())
    assert places == [t.data_ptr() for t in gan.tensors()]


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
@pytest.mark.parametrize('precision', ['float32', 'tf32', 'bf16', 'amp'])
@pytest.mark.parametrize('given', RECIPES, ids=str)
def test_on_a_gpu_100_recorded_steps_have_the_losses_of_plain_ones(given, precision):
    data = tuple(part.cuda() for part in tiny_data(size=28))
    plain, recorded = (gan_of('cuda', precision=precision, epochs=3, g_width=16, d_width=16, **given) for _ in range(2))
    train(plain, data, None)
    train(recorded, data, None, recorded_steps(recorded.config))
    for a, b in zip(plain.history, recorded.history):
        for k in 'd_loss', 'g_loss': assert abs(a[k] - b[k]) < (1e-3 if precision in ('float32', 'tf32') else 2e-2), (k, a[k], b[k])


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
def test_on_a_gpu_reduced_precision_learns_what_float32_learns():
    data = tuple(part.cuda() for part in tiny_data(size=28))
    def trained(precision):
        gan = gan_of('cuda', precision=precision, epochs=3, g_width=16, d_width=16)
        return train(gan, data, None, recorded_steps(gan.config))
    gans = {p: trained(p) for p in ('float32', 'tf32', 'bf16', 'amp')}
    for p, gan in gans.items():
        assert abs(gan.history[0]['d_loss'] - gans['float32'].history[0]['d_loss']) < 0.05, p
