"The benchmarks: do the two sides do the same work, is the measuring right, does a failure leave the results alone? No test times anything."
import ast
import json
import errno
import os
import random
import re
import shlex
import sys
from importlib import import_module
from types import SimpleNamespace

import matplotlib
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT

import benchmarks.__main__ as all_of_them
from benchmarks import BENCHMARKS, levers, measure, reach, reference, search
from dcgan_nb.foundations.batches import normalize
from dcgan_nb.foundations.core import InputError, random_stream
from dcgan_nb.gan import train
from dcgan_nb.gan.fast import FromImage, KeepMaps, ToImage, ToMaps, ToScore
from dcgan_nb.gan.state import init
from dcgan_nb.runs.config import RunConfig


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small(rng):
    "A small run with a seed of its own."
    seed = torch.randint(2**31, (), generator=rng).item()
    return RunConfig.resolve(profile='smoke', g_width=8, d_width=8, batch_size=16, device='cpu', seed=seed)


def same_work(step, rng):
    "From the same weights, images and noise: has the step the loss of our `d_step`, and does it move D's weights to the same place?"
    config = small(rng)
    gan, players = init(config), reference.new_players(config)
    x, _ = measure.sample_set(1000, 'cpu')
    x_real = normalize(x[torch.randperm(len(x), generator=rng)[:config.batch_size]])
    z = torch.randn(config.batch_size, config.latent_dim, generator=random_stream(config.seed, 'noise'))
    ours, theirs = train.d_step(gan, x_real), step(players, x_real, z)
    apart = torch.cat([(a - b).detach().flatten().abs() for a, b in zip(gan.D.parameters(), players.D.parameters())])
    # Adam's first step has the length of the learning rate whatever the gradient's: a weight whose gradient is all but 0 may go either way
    return abs(ours['d_loss'].item() - theirs['d_loss']) < 1e-5, apart.mean().item() < 0.01 * config.d_lr


def test_the_reference_does_the_work_of_ours(rng):
    for _ in range(3): assert same_work(reference.step, rng) == (True, True)


def wrong_step(p, x_real, z, generated=True, one_pass=False):
    "A step of D that leaves out the gradient of the generated images, or shows D both kinds in one batch."
    p.opt_d.zero_grad()
    x_fake = p.G(z).detach()
    d_real, d_fake = p.D(torch.cat([x_real, x_fake])).chunk(2) if one_pass else (p.D(x_real), p.D(x_fake))
    real, fake = F.softplus(-d_real).mean(), F.softplus(d_fake).mean()
    (real + (fake if generated else fake.detach())).backward()
    p.opt_d.step()
    return dict(d_loss=(real + fake).item())


def test_the_comparison_notices_other_work(rng):
    assert same_work(wrong_step, rng) == (True, True), 'without its faults it is right'
    assert same_work(lambda *args: wrong_step(*args, generated=False), rng) == (True, False)
    assert same_work(lambda *args: wrong_step(*args, one_pass=True), rng) == (False, False)


def test_levers_change_the_speed_and_not_the_training(rng):
    config, images = small(rng), measure.sample_data(64)
    ours = levers.variant(None, config, images)()
    for name, lever in (levers.LEVERS | levers.ON['cpu']).items():
        if name == 'DataLoader and PIL': continue       # another order of the images
        entry = levers.variant(lever, config, images)()
        same = all(abs(ours[k] - entry[k]) < 1e-3 for k in ('d_loss', 'g_loss', 'd_real', 'd_fake'))
        assert same == (name != 'real and generated in one pass of D'), name
        assert (entry['d_grad'] == 0) == (name == 'no gradient norms')
    assert train.train_epoch is levers.train.train_epoch and train.d_step.__module__ == 'dcgan_nb.gan.train', 'the library is as before'


def test_the_networks_of_the_recipe_are_the_same_functions_of_usual_layers(rng):
    config = small(rng)
    gan, usual = measure.fast_gan(config), reference.new_players(config)
    G, D = gan.G, gan.D
    z = torch.randn(16, config.latent_dim, generator=rng)
    kinds = [type(m) for net in (usual.G, usual.D) for m in net.modules()]
    assert kinds.count(torch.nn.ConvTranspose2d) == 3 and kinds.count(torch.nn.Linear) == 1
    layers = (ToMaps, ToImage, FromImage, KeepMaps, ToScore)
    assert not [k for k in kinds if k in layers] and [type(m) for m in (*G, *D) if type(m) in layers] == [*layers]
    assert all(p.is_contiguous() for net in (usual.G, usual.D) for p in net.parameters()), 'maps lie as PyTorch puts them'
    x = G(z)
    torch.testing.assert_close(usual.G(z), x, rtol=0, atol=1e-5)
    torch.testing.assert_close(usual.D(x), D(x), rtol=0, atol=1e-4)


def test_pictures_are_the_images_that_ours_sees(rng):
    data = measure.sample_data(1000)
    i = torch.randint(1000, (), generator=rng).item()
    x, y = reference.Pictures(data)[i]
    assert y == data.y_train[i]
    torch.testing.assert_close(x[None], normalize(data.x_train[i:i + 1]))


def test_operations_of_a_step_are_those_counted_by_hand():
    w, nz = 8, 100
    config = RunConfig.resolve(profile='smoke', g_width=w, d_width=w, batch_size=20, device='cpu')
    G = [nz * 2*w*49, 49 * 2*w*w * 16, 196 * w * 16]           # multiplications for an image, layer by layer
    D = [196 * w * 16, 49 * w*2*w * 16, 2*w * 49]
    d_step = sum(G) + 2*(3*sum(D) - D[0])                      # both kinds: forwards, back to the weights, back to all inputs but the image
    g_step = 3*sum(G) - G[0] + 2*sum(D)                        # D's weights get no gradient, z neither
    assert measure.step_flops(config) == 2*20*(d_step + g_step)


def test_variants_take_turns_and_ratios_are_taken_within_a_round():
    now, order, lines = 0.0, [], []
    took = {'a': iter([50, 4, 8, 2]), 'b': iter([70, 2, 2, 2])}     # the first of each warms up
    def variant(name):
        def f():
            nonlocal now
            order.append(name)
            now += next(took[name])
        return f
    timings = measure.interleave({n: variant(n) for n in took}, 3, clock=lambda: now, report=lambda line, flush: lines.append(line))
    assert order == ['a', 'b'] * 4 and len(lines) == 4
    assert timings['a'].seconds == [4, 8, 2] and timings['b'].seconds == [2, 2, 2]
    a, b = measure.compared(timings, 24)
    assert a['ratio'] == dict(median=1, low=1, high=1)
    assert b['ratio'] == dict(median=2, low=1, high=4), 'of 2, 4 and 1: not the ratio of the medians over all rounds, nor of the sums'
    assert a['seconds'] == dict(median=4, low=2, high=8) and a['images_s'] == dict(median=6, low=3, high=12)


@pytest.fixture(scope='module')
def quick_training(run, tmp_path_factory):
    "The folder with a result of the real command, and what it printed."
    folder = tmp_path_factory.mktemp('benchmarks')
    options = '--quick', '--device', 'cpu', '--repeats', '2', '--to', folder
    done = run(sys.executable, '-m', 'benchmarks.training', *options, OMP_NUM_THREADS='1')
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_a_quick_benchmark_writes_a_result(quick_training):
    folder, printed = quick_training
    assert [p.name for p in folder.iterdir()] == ['training-cpu.json']
    assert 'warm-up' in printed and 'round 2/2' in printed and '\r' not in printed
    text = (folder/'training-cpu.json').read_text()
    assert not re.search(r'"/\w', text) and str(ROOT) not in text and str(folder) not in text, 'no path of one machine'
    result = json.loads(text)
    assert (result['schema'], result['name'], result['device']) == (measure.SCHEMA, 'training', 'cpu')
    assert result['parameters']['quick'] and result['parameters']['repeats'] == 2 and result['environment']['versions']['torch']
    assert result.keys() >= {'code', 'date'}
    assert [row['variant'] for row in result['rows']] == ['reference', 'ours, float32']
    for row in result['rows']:
        assert row['peak_memory_mb'] is None or row['peak_memory_mb'] > 0
        assert row['limit_images_s'] > 0 and row['precision'] == 'float32'
        for key in ('seconds', 'ratio', 'images_s', 'share_of_limit'): assert 0 < row[key]['low'] <= row[key]['median'] <= row[key]['high']


@pytest.mark.parametrize('error', [RuntimeError, KeyboardInterrupt])
def test_a_benchmark_that_does_not_end_leaves_the_results_as_they_are(tmp_path, error):
    def broken(device, repeats, quick): raise error
    (tmp_path/'training-cpu.json').write_text('before')
    for name in ('training', 'levers'):
        with pytest.raises(error): measure.command(name, broken, '', argv=['--device', 'cpu', '--to', str(tmp_path)])
    assert [p.name for p in tmp_path.iterdir()] == ['training-cpu.json'] and (tmp_path/'training-cpu.json').read_text() == 'before'


def test_a_result_is_complete_or_not_there(tmp_path, monkeypatch):
    path = measure.write_result('fid', 'cpu', {}, [dict(variant='ours')], tmp_path)
    before = path.read_text()
    with pytest.raises(ValueError): measure.write_result('fid', 'cpu', {}, [dict(seconds=float('nan'))], tmp_path)
    def full(file): raise OSError(errno.ENOSPC, 'No space left on device')
    monkeypatch.setattr(os, 'fsync', full)
    for name in ('fid', 'levers'):
        with pytest.raises(InputError, match='No space left'): measure.write_result(name, 'cpu', {}, [dict(variant='other')], tmp_path)
    assert [p.name for p in tmp_path.glob('*.json')] == ['fid-cpu.json'] and path.read_text() == before


def test_one_failing_benchmark_does_not_stop_the_others(monkeypatch, capsys):
    called = []
    def pretend(command):
        called.append(command[2])
        return SimpleNamespace(returncode=int('levers' in command[2]))
    monkeypatch.setattr(all_of_them.subprocess, 'run', pretend)
    assert all_of_them.main(['--device', 'cpu', '--quick']) == 1
    assert called == [f'benchmarks.{name}' for name in BENCHMARKS] and 'failed: levers' in capsys.readouterr().out
    assert all_of_them.main(['fid', '--device', 'cpu']) == 0


def test_wrong_names_are_answered_with_one_sentence():
    with pytest.raises(InputError, match="benchmark='leavers' is not known. Did you mean 'levers'"): all_of_them.main(['leavers'])
    with pytest.raises(InputError, match="device='gpu' is not known"): all_of_them.main(['fid', '--device', 'gpu'])
    with pytest.raises(SystemExit, match='repeats=0'): measure.command('fid', None, '', argv=['--repeats', '0', '--device', 'cpu'])
    if not torch.cuda.is_available():
        with pytest.raises(SystemExit, match="device='cuda' is not there"): measure.command('fid', None, '', argv=['--device', 'cuda'])


@pytest.mark.parametrize('name', BENCHMARKS)
def test_every_benchmark_says_what_it_measures_and_needs_no_notebook_tool(name):
    module = import_module(f'benchmarks.{name}')
    assert len(module.__doc__) > 200 and callable(module.measure)
    for node in ast.walk(ast.parse((ROOT/'benchmarks'/f'{name}.py').read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module] if isinstance(node, ast.ImportFrom) else []
        assert not [n for n in names if n.split('.')[0] in ('IPython', 'papermill', 'jupyter', 'nbformat', 'nbdev', 'seaborn')]


def test_make_bench_takes_names_and_a_device(run):
    def made(*more): return shlex.split(run('make', '--no-print-directory', '-n', '-o', '.venv/.ready', 'bench', *more).stdout)
    assert made() == 'python -m benchmarks'.split()
    assert made('BENCH=training levers', 'DEVICE=cpu') == 'python -m benchmarks training levers --device=cpu'.split()


def test_the_page_shows_what_is_there_and_says_what_is_not(quick_training):
    matplotlib.use('agg')
    page, names, shown = json.loads((ROOT/'nbs/chapters/speed.ipynb').read_text()), {}, []
    for cell in (c for c in page['cells'] if c['cell_type'] == 'code'):
        exec(''.join(cell['source']), names)
        if 'parameters' in cell['metadata']['tags']: names['benchmarks_dir'] = str(quick_training[0])
        if 'display' in names: names['display'] = lambda x: shown.append(x if isinstance(x, str) else x.data if isinstance(x, names['Markdown']) else x.to_html())
    text = '\n'.join(shown)
    assert 'these numbers mean nothing' in text and 'ours, float32' in text and '<figure class="chart">' in text
    assert text.count('No CUDA machine has run') == len(BENCHMARKS) and text.count('No processor has run') == len(BENCHMARKS) - 1


# The search behind the recipes

def test_every_setting_of_the_search_reaches_the_run(rng):
    draw = random.Random(torch.randint(2**31, (), generator=rng).item())
    settings = search.trial(draw)
    for _ in range(12):
        before, settings = settings, search.variation(draw, settings)
        assert settings != before
        at = {conditional: RunConfig.resolve(**search.parameters(settings, conditional, 100), epochs=1) for conditional in (True, False)}
        assert at[True].n_classes == 10 and at[False].n_classes == 0
        for c in at.values():
            for name in ('batch_size', 'g_lr', 'beta1', 'beta2', 'ema', 'lr_decay', 'loss', 'penalty_weight', 'penalty_every'): assert getattr(c, name) == settings[name]
            assert c.d_lr == settings['g_lr'] * settings['d_over_g'] and c.d_spec['minibatch_std'] == settings['minibatch_std']
            for spec in (c.g_spec, c.d_spec): assert (spec['width'], spec['n_blocks']) == (settings['width'], settings['n_blocks'])
    for change in search.BY_HAND:
        c = RunConfig.resolve(**search.parameters(settings | change, False, 100), epochs=1)
        at = vars(c) | dict(d_over_g=c.d_lr / c.g_lr, **{k: c.d_spec[k] for k in ('pooled', 'minibatch_std')})
        assert {k: at[k] for k in change} == change and (at['pooled'], at['latent_dim']) == (change.get('pooled', True), change.get('latent_dim', 100))


def test_a_trial_takes_the_epochs_that_fit():
    assert [search.epochs_for(cost, 4) for cost in (0.5, 1.0, 1.24, 1.26, 1.6, 2.4, 2.6, 9)] == [10, 5, 4, 3, 3, 2, 1, 1]
    assert [search.epochs_for(cost, 4, more=1.0) for cost in (0.5, 1.0, 1.01, 1.4, 9)] == [8, 4, 3, 2, 1]


def test_a_search_goes_on_with_what_is_published_and_nothing_is_run_twice(tmp_path, monkeypatch, rng):
    salt, made, allowed, most = torch.rand((), generator=rng).item(), [], [], 10**6

    def result(given):
        if len(made) == most: raise KeyboardInterrupt
        values, more = given
        made.append(str(values))
        allowed.append(more)
        return dict(run_id='', seed=values['seed'], epochs=1, status='finished', seconds=1.0, cost=1.0, fid=random.Random(f'{salt}{values}').random(), **{'is': 1.0, 'recall': 0.0, 'precision': 0.0})

    class Pool:
        def __enter__(self): return self
        def __exit__(self, *_): pass
        def imap(self, _, values): return map(result, values)
    monkeypatch.setattr(search, 'get_context', lambda _: SimpleNamespace(Pool=lambda *_, **__: Pool()))
    monkeypatch.setattr(search, 'project_root', lambda: tmp_path)
    monkeypatch.setattr(search, 'ROUNDS', dict(random=6, varied=5, finals=3, last=2, edges=0, hand=3) | {'slower D': 2})
    (_, whole), file = search.measure('cpu', 1, False), tmp_path/'reports/benchmarks/search-cpu.json'
    varied = sum(r['round'] == 'varied' for r in whole)       # 5, unless chance draws the same variation twice
    drawn = 6 + varied + 3 + 2*2 + 3*2 + 2*2
    champion = min((r['settings'] for r in whole if r['round'] == 'last' and r['conditional']), key=lambda s: search.mean_fid([r for r in whole[:drawn] if r['conditional']], s))
    changed = [champion | change for change in search.BY_HAND[:3]]
    if (champion['batch_size'], champion['d_over_g']) == (32, 1): changed.pop()      # then the last two are the same
    told_slower = search.SLOWER_D_TOLD[:2 - (champion['ema'] == 0.999)]      # the second is the first with another average
    n = drawn + len(changed) + 3 + 2 + 2 + len(told_slower)
    assert 4 <= varied <= 5 and len(whole) == n == len(made) and whole[0]['settings'] == search.LAST and {row['seed'] for row in whole} == {100, 101, 102, 103, 200}
    assert allowed == [1.25] * drawn + [1.1] * (n - drawn)
    tried = lambda name, told: [r for r in whole if r['round'] == name and r['conditional'] == told]
    assert {str(r['settings']) for r in tried('finals', True)} == {str(s) for s in sorted((r['settings'] for r in whole[:6 + varied]), key=lambda s: next(r['fid'] for r in whole if r['settings'] == s))[:3]}
    assert len({str(r['settings']) for r in tried('last', False)}) == 2
    by_hand, found = tried('by hand', False), tried('found', False) + tried('found', True)
    assert [r['settings'] for r in by_hand] == changed
    assert {str(r['settings']) for r in found} == {str(min(by_hand, key=lambda r: r['fid'])['settings'])} and [r['seed'] for r in found] == [101, 102, 103, 100, 101]
    slower, told = tried('slower D', False), tried('slower D', True)
    assert [r['settings'] for r in slower] == [found[0]['settings'] | change for change in search.SLOWER_D[:2]] and [r['settings'] for r in told] == [found[0]['settings'] | change for change in told_slower]
    file.unlink()
    made.clear()
    for most in (4, 9, 15, 16):
        with pytest.raises(KeyboardInterrupt): search.measure('cpu', 1, False)
        so_far = json.loads(file.read_text())
        assert so_far['rows'] == whole[:most] and not so_far['parameters']['complete']
    most = 10**6
    parameters, rows = search.measure('cpu', 1, False)
    assert rows == whole and parameters['complete'] and len(made) == len(set(made)) == n


@pytest.mark.parametrize('helps', [(), ('ema',), ('g_lr', 'ema'), ('g_lr', 'batch_size', 'penalty_every')], ids=str)
def test_a_search_ends_with_steps_beyond_the_edges_of_its_space(helps, rng):
    offset = torch.rand((), generator=rng).item()
    champion = {name: next(iter(search.BEYOND[name])) if name in search.BEYOND else values[0] for name, values in search.SPACE.items()} | dict(ema=0.99, penalty_weight=0.02)
    worse, rows = champion | dict(loss='hinge'), []

    def tried(name, settings, conditional, seeds):
        for s, seed in ((s, seed) for seed in seeds for s in settings):
            changed = [k for k in search.BEYOND if s[k] != champion[k]]
            fid = offset + 5 + (s == worse) + sum(-1 if k in helps else 1 for k in changed) + (3 if conditional and seed > 101 and changed else 0)
            rows.append(dict(round=name, conditional=conditional, settings=s, seed=seed, fid=fid))
    for name, seeds in ('finals', range(100, 102)), ('last', range(102, 104)): tried(name, [worse, champion], True, seeds)
    before = len(rows)
    winner = search.past_the_edges(SimpleNamespace(rows=rows, tried=tried, rounds=dict(edges=9)))
    steps = [r['settings'] for r in rows[before:] if r['round'] == 'edges' and r['seed'] == 100]
    assert [{k: v for k, v in s.items() if v != champion[k]} for s in steps] == [dict(batch_size=8), dict(g_lr=8e-3), dict(ema=0.98), dict(penalty_every=32)], 'the weight is at no edge'
    beyond = {k: next(iter(search.BEYOND[k].values())) for k in helps}
    assert [(r['settings'], r['seed']) for r in rows if r['round'] == 'together'] == [(champion | beyond, seed) for seed in (100, 101) if len(helps) > 1]
    assert [(r['settings'], r['conditional'], r['seed']) for r in rows if r['round'] == 'confirmed'] == [
        (champion | beyond, told, seed) for told, seeds in ((True, (102, 103)), (False, (100, 101, 102, 103))) for seed in seeds if helps]
    assert winner == champion | beyond


def test_stretches_show_every_image_before_any_comes_again(rng):
    n, part, seed = 60, 7, torch.randint(2**31, (), generator=rng).item()
    parts = reach.stretches(torch.arange(n), torch.arange(n) % 10, part, seed)
    for _ in range(3):
        shown = [next(parts) for _ in range(n // part)]
        assert all(torch.equal(y, x % 10) for x, y in shown) and len({i.item() for x, _ in shown for i in x}) == n // part * part
    assert not torch.equal(shown[0][0], next(parts)[0])


def test_what_is_to_be_reached_is_the_mean_of_what_is_published():
    standard = [json.loads(p.read_text()) for p in ROOT.glob('reports/records/fashion_mnist-dcgan-bce-s*/record.json')]
    standard = [r['metrics']['fid_clf_10k']['value'] for r in standard if [r['config'][k] for k in ('epochs', 'g_width', 'batch_size', 'g_lr', 'profile')] == [4, 32, 32, 2e-4, 'cpu'] and r['config'].get('recipe', 'standard') == 'standard']
    target, n = reach.target_fid()
    assert n == len(standard) > 2 and target == pytest.approx(sum(standard) / n)
