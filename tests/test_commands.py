"The commands that users type, in real processes."
import json
import sys

import pytest
import torch
from conftest import EXECUTE, ROOT, outputs, timeless

from dcgan_nb.gan.networks import load_generator
from dcgan_nb.runs.parameters import PROFILES
from dcgan_nb.runs.records import read_record

SMOKE = ('-p', 'profile', 'smoke', '-p', 'device', 'cpu')


@pytest.fixture(scope='module')
def hinge(run, tmp_path_factory):
    "The command of the README, without an output path; the executed notebook comes on stdout."
    runs_dir = tmp_path_factory.mktemp('runs')
    done = run('papermill', 'nbs/train.ipynb', '-p', 'loss', 'hinge', *SMOKE, '-p', 'runs_dir', runs_dir)
    assert done.returncode == 0, done.stderr
    folder, = (p for p in runs_dir.iterdir() if p.is_dir())
    return dict(notebook=json.loads(done.stdout), folder=folder, runs_dir=runs_dir)


def test_a_run_leaves_its_folder(hinge):
    folder, record = hinge['folder'], read_record(hinge['folder'])
    assert sorted(p.name for p in folder.iterdir()) == ['animation.gif', 'generator.safetensors', 'record.json', 'samples.png', 'samples_by_epoch.png']
    assert record['run_id'] == folder.name and record['status'] == 'finished'
    assert record['config']['loss'] == 'hinge' and record['config']['dataset'] == 'fashion_mnist_sample'
    assert all(v is not None for v in record['config'].values()), 'the record holds resolved values only'
    assert {'fid_clf_500', 'kid_clf_500', 'is_clf_500', 'precision_clf_500', 'recall_clf_500'} <= set(record['metrics'])
    for m in record['metrics'].values(): assert m['n_fake'] == m['n_real'] == 500 and m['reference'] is not None
    assert len(record['history']) == PROFILES['smoke']['epochs'] and record['timings_s']['train'] > 0 and record['peak_memory_mb']['process'] > 100
    assert record['code'].keys() == {'commit', 'dirty'} and record['environment']['versions']['torch'] == torch.__version__.split('+')[0]
    assert 'ship with the package' in record['data']['note'] and len(record['data']['sha256']) == 64
    assert str(hinge['runs_dir']) not in (folder/'record.json').read_text() and str(ROOT) not in (folder/'record.json').read_text()


def test_the_executed_notebook_tells_the_story(hinge):
    text = outputs(hinge['notebook'])
    assert text.count('\nepoch ') + text.startswith('epoch ') >= PROFILES['smoke']['epochs'] - 1
    assert 'G: ' in text and 'parameters' in text and 'ship with the package' in text
    images = [o for c in hinge['notebook']['cells'] for o in c.get('outputs', []) if 'image/png' in o.get('data', {})]
    assert len(images) == 5, 'data, curves, samples over epochs, samples of the loaded generator, their nearest images'


def test_the_generator_loads_from_its_file_alone(hinge):
    G = load_generator(hinge['folder']/'generator.safetensors')
    x = G(torch.randn(3, G.spec['latent_dim']))
    assert x.shape == (3, 1, 28, 28) and x.std() > 0.1


def test_a_finished_run_is_recognized_and_force_trains_it_again_to_the_same_bits(run, hinge, warm, tmp_path):
    command = (*EXECUTE, 'nbs/train.ipynb', tmp_path/'out.ipynb', '-p', 'loss', 'hinge', *SMOKE, '-p', 'runs_dir', hinge['runs_dir'])
    before = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in hinge['folder'].iterdir()}
    again = run(*command, **warm)
    assert again.returncode == 0, again.stderr
    assert {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in hinge['folder'].iterdir()} == before
    text = outputs(json.loads((tmp_path/'out.ipynb').read_text()))
    assert 'not trained again' in text and 'epoch ' in text
    forced = run(*command, '-p', 'force', 'True', **warm)
    assert forced.returncode == 0, forced.stderr
    after = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in hinge['folder'].iterdir()}
    assert after['record.json'][0] > before['record.json'][0]
    for name in ('generator.safetensors', 'samples.png', 'samples_by_epoch.png'): assert after[name][1] == before[name][1], f'{name} differs: same seed, same weights'
    first, second = (json.loads(x['record.json'][1]) for x in (before, after))
    assert first['metrics'] == second['metrics']


PLAIN = """
import sys
from dcgan_nb.runs.config import RunConfig
from dcgan_nb.runs.run import run
record = run(RunConfig.resolve(profile='smoke', device='cpu', loss='hinge', runs_dir=sys.argv[1]))
print('returned', record['run_id'])
"""


def test_the_library_makes_the_same_run_as_the_notebook(run, hinge, tmp_path):
    done = run(sys.executable, '-c', PLAIN, tmp_path, OMP_NUM_THREADS='2')      # whatever the environment says: the number of threads is the run's
    assert done.returncode == 0, done.stderr
    folder, there = tmp_path/hinge['folder'].name, hinge['folder']
    assert done.stdout.splitlines()[-1] == f'returned {there.name}' and '\nepoch ' in done.stdout
    assert {p.name for p in folder.iterdir()} == {p.name for p in there.iterdir()}
    for name in ('generator.safetensors', 'samples.png', 'samples_by_epoch.png', 'animation.gif'): assert (folder/name).read_bytes() == (there/name).read_bytes(), name
    ours, theirs = (json.loads((p/'record.json').read_text()) for p in (folder, there))
    measured = {'written', 'timings_s', 'peak_memory_mb'}
    assert ours.keys() == theirs.keys() >= measured
    assert ours['timings_s'].keys() == theirs['timings_s'].keys() and timeless(ours['history']) == timeless(theirs['history'])
    for key in ours.keys() - measured - {'history'}: assert ours[key] == theirs[key], key


@pytest.mark.parametrize('given, message', [
    (('-p', 'lss', 'hinge'), "parameter 'lss' is not known. Did you mean 'loss'?"),
    (('-p', 'batch_size', '5000'), 'batch_size=5000 is more than the 1000 training images')])
def test_bad_parameters_stop_a_real_run_before_training(run, tmp_path, given, message):
    done = run('papermill', 'nbs/train.ipynb', tmp_path/'out.ipynb', *SMOKE, '-p', 'runs_dir', tmp_path/'runs', *given)
    assert done.returncode != 0
    assert message in done.stderr
    assert not (tmp_path/'runs').exists()
    assert 'epoch ' not in outputs(json.loads((tmp_path/'out.ipynb').read_text()))
