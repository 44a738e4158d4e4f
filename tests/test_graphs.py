"Recorded steps: their bookkeeping on any machine, with a stand-in for the graph that runs the step again; the real thing where there is a GPU."
from contextlib import contextmanager, nullcontext

import pytest
import torch

from dcgan_nb import graphs
from dcgan_nb.config import RunConfig
from dcgan_nb.data import load_data
from dcgan_nb.graphs import RecordedStep, fast_steps, rehearsal
from dcgan_nb.train import d_step, g_step, new_game, train

SAMPLE = load_data('fashion_mnist_sample')
RECIPES = [dict(), dict(recipe='b_before'), dict(optimizer='rmsprop'), dict(d_steps=2), dict(loss='bce_soft', arch='e_tf')]


def game_of(device='cpu', **given):
    return new_game(RunConfig.resolve(**dict(profile='smoke', device=device, epochs=2, g_width=4, d_width=4) | given))


def all_weights(game): return torch.cat([p.flatten().cpu().double() for net in (game.G, game.D) for p in net.state_dict().values()])


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
        with rehearsal(stand_in.game): yield
        graph.step, graph.given, graph.results = stand_in.last

    class Stream:
        def wait_stream(self, other): pass
    for name, fake in dict(CUDAGraph=Graph, graph=recording, Stream=Stream, current_stream=Stream, stream=lambda s: nullcontext()).items():
        monkeypatch.setattr(torch.cuda, name, fake)

    def recorded(step, game):
        def noted(*given):
            results = step(*given)
            stand_in.game, stand_in.last = game, (step, given, results)
            return results
        stand_in.game = game
        return RecordedStep(noted)
    return recorded


@pytest.mark.parametrize('given', RECIPES, ids=str)
def test_recorded_steps_play_the_same_game_bit_for_bit(stand_in, given):
    x, seed = SAMPLE.x_train[:500], int(torch.randint(10**6, ()).item())
    plain, fast = (game_of(seed=seed, **given) for _ in range(2))
    train(plain, x, None)
    train(fast, x, None, (stand_in(d_step, fast), stand_in(g_step, fast)))
    assert torch.equal(all_weights(plain), all_weights(fast))
    timeless = [[{k: v for k, v in h.items() if k != 'seconds'} for h in g.history] for g in (plain, fast)]
    assert timeless[0] == timeless[1], 'what is logged is copied before the next step overwrites it'


def test_a_recorded_step_that_forgets_its_input_is_found_out(stand_in, monkeypatch):
    x = SAMPLE.x_train[:500]
    plain, fast = game_of(), game_of()
    monkeypatch.setattr(graphs, 'isinstance', lambda value, kind: False, raising=False)     # images are no longer copied in
    train(plain, x, None)
    train(fast, x, None, (stand_in(d_step, fast), stand_in(g_step, fast)))
    assert not torch.equal(all_weights(plain), all_weights(fast))


def test_a_rehearsal_undoes_everything_in_place():
    game = game_of(recipe='b_before')
    train(game, SAMPLE.x_train[:200], None)
    places = [t.data_ptr() for t in graphs._tensors(game)]
    before = [t.clone() for t in graphs._tensors(game)], game.noise.get_state(), torch.get_rng_state()
    with rehearsal(game):
        for _ in range(2): g_step(game, 10)
        assert any(not torch.equal(a, b) for a, b in zip(before[0], graphs._tensors(game))) and not torch.equal(before[1], game.noise.get_state())
    assert all(torch.equal(a, b) for a, b in zip(before[0], graphs._tensors(game))) and torch.equal(before[1], game.noise.get_state()) and torch.equal(before[2], torch.get_rng_state())
    assert places == [t.data_ptr() for t in graphs._tensors(game)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
@pytest.mark.parametrize('precision', ['float32', 'tf32', 'bf16', 'amp'])
@pytest.mark.parametrize('given', RECIPES, ids=str)
def test_on_a_gpu_100_recorded_steps_have_the_losses_of_plain_ones(given, precision):
    x = SAMPLE.x_train.cuda()
    plain, fast = (game_of('cuda', precision=precision, epochs=3, g_width=16, d_width=16, **given) for _ in range(2))
    train(plain, x, None)
    train(fast, x, None, fast_steps(fast.config))
    for a, b in zip(plain.history, fast.history):
        for k in 'd_loss', 'g_loss': assert abs(a[k] - b[k]) < (1e-3 if precision in ('float32', 'tf32') else 2e-2), (k, a[k], b[k])


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
def test_on_a_gpu_reduced_precision_learns_what_float32_learns():
    x = SAMPLE.x_train.cuda()
    games = {p: train(game_of('cuda', precision=p, epochs=3, g_width=16, d_width=16), x, None, fast_steps(RunConfig.resolve(device='cuda', precision=p))) for p in ('float32', 'tf32', 'bf16', 'amp')}
    for p, game in games.items():
        assert abs(game.history[0]['d_loss'] - games['float32'].history[0]['d_loss']) < 0.05, p
