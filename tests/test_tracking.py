"A run that is followed: the same weights, everything in the log, nothing outside the run folder, and no failure that ends it."
import json
import os
import subprocess
import sys
import types

import pytest
import torch
from conftest import tiny_config, tiny_data, weights
from PIL import Image

from dcgan_nb.foundations.batches import image_grid
from dcgan_nb.foundations.core import InputError
from dcgan_nb.foundations.datasets import load_data
from dcgan_nb.gan.state import init
from dcgan_nb.gan.train import train
from dcgan_nb.runs import tracking
from dcgan_nb.runs.records import save_run

SAMPLE = load_data('fashion_mnist_sample')
SCORES = {'fid_clf_50': dict(value=12.5, std=None, reference=3.25)}


def small(**given): return tiny_config(**dict(batch_size=100, epochs=2, n_eval=50) | given)


def log_records(file):
    "What wandb wrote: a file of LevelDB's log format, blocks of 32 KiB, holding protocol buffers."
    from wandb.proto.wandb_internal_pb2 import Record
    raw, at, parts = file.read_bytes(), 7, b''
    assert raw[:4] == b':W&B'
    while at + 7 <= len(raw):
        if (left := -at % 32768) and left < 7: at += left; continue
        n, kind = int.from_bytes(raw[at + 4:at + 6], 'little'), raw[at + 6]
        parts, at = parts + raw[at + 7:at + 7 + n], at + 7 + n
        if kind in (1, 4):                              # whole, or the last part
            yield Record.FromString(parts)
            parts = b''


def items(entries): return {item.key or '/'.join(item.nested_key): json.loads(item.value_json) for item in entries}


@pytest.fixture
def offline(monkeypatch, tmp_path):
    "wandb offline, with no settings of this machine and a home of its own."
    wandb = pytest.importorskip('wandb')
    for name in {n for n in os.environ if n.startswith('WANDB_')} | {'WANDB_ERROR_REPORTING', 'WANDB_CACHE_DIR'}:
        monkeypatch.setenv(name, '')       # what the library sets is undone after the test
        monkeypatch.delenv(name)
    monkeypatch.setenv('WANDB_MODE', 'offline')
    monkeypatch.setenv('HOME', str(tmp_path))
    wandb.teardown()
    yield wandb
    wandb.teardown()


def test_importing_does_not_import_wandb():
    code = "import sys, dcgan_nb.runs.tracking; assert 'wandb' not in sys.modules"
    subprocess.run([sys.executable, '-c', code], check=True)


def test_nobody_follows_by_default(capsys, tmp_path):
    config = small(runs_dir=str(tmp_path))
    tracker = tracking.open_tracker(config)
    gan = train(init(config), tiny_data(), tracker.epoch)
    tracker.finish(save_run(gan, SAMPLE, SCORES, {}))
    assert capsys.readouterr().out == '' and not (config.run_dir/'wandb').exists()


@pytest.mark.parametrize('module', [None, types.ModuleType('wandb')], ids=['not there', 'a folder of that name'])
def test_a_missing_library_is_named_before_training(module, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'wandb', module)
    with pytest.raises(InputError, match=r"pip install 'dcgan-nb\[wandb\]'"): tracking.open_tracker(small(tracker='wandb', runs_dir=str(tmp_path)))


@pytest.mark.parametrize('when', ['open', 'epoch', 'finish'])
def test_a_tracker_that_breaks_does_not_stop_the_run(when, monkeypatch, capsys, tmp_path):
    def fail(*args): raise ConnectionError('the server is gone')
    broken = type('Broken', (tracking.NullTracker,), {'__init__' if when == 'open' else when: fail})
    monkeypatch.setitem(tracking._OPENERS, 'wandb', lambda config: broken())
    config = small(tracker='wandb', runs_dir=str(tmp_path))
    tracker = tracking.open_tracker(config)
    gan = train(init(config), tiny_data(), tracker.epoch)
    tracker.finish(save_run(gan, SAMPLE, SCORES, {}))
    assert len(gan.history) == 2 and (config.run_dir/'record.json').exists()
    assert capsys.readouterr().out == 'tracking stopped, the run goes on: ConnectionError: the server is gone\n'


def test_what_was_trained_before_an_interruption_is_sent_as_well():
    sent, tracker = [], object.__new__(tracking.Wandb)
    tracker.wandb, tracker.sent = types.SimpleNamespace(Image=lambda picture: picture), 0
    tracker.run = types.SimpleNamespace(log=lambda numbers, step: sent.append((step, numbers['epoch'], 'samples' in numbers)))
    gan = init(small(epochs=4))
    def stop(gan):
        if len(gan.history) == 2: raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): train(gan, tiny_data(), stop)
    train(gan, tiny_data(), tracker.epoch)
    assert sent == [(1, 1, False), (2, 2, False), (3, 3, True), (4, 4, True)]


def test_a_tracked_run_is_the_same_run_and_all_of_it_is_in_the_log(offline, monkeypatch, capsys, tmp_path):
    (tmp_path/'here').mkdir()
    monkeypatch.chdir(tmp_path/'here')
    config = small(tracker='wandb', runs_dir=str(tmp_path/'runs'))
    tracker = tracking.open_tracker(config)
    gan = train(init(config), tiny_data(), tracker.epoch)
    tracker.finish(save_run(gan, SAMPLE, SCORES, {}))
    assert 'wandb sync' in capsys.readouterr().out
    again = train(init(config), tiny_data(), report=None)
    assert torch.equal(weights(gan.G, gan.D), weights(again.G, again.D))

    assert {p.name for p in tmp_path.iterdir()} == {'here', 'runs'} and not list((tmp_path/'here').iterdir())
    assert os.environ['WANDB_ERROR_REPORTING'] == 'false', 'otherwise it asks the network even offline'
    (log,) = (config.run_dir/'wandb').rglob('*.wandb')
    assert str(tmp_path).encode() not in log.read_bytes()
    records = list(log_records(log))
    run = next(r.run for r in records if r.WhichOneof('record_type') == 'run')
    assert (run.project, run.run_id, run.display_name) == ('dcgan-nb', config.run_id, config.run_id)
    assert set(run.tags) == {'fashion_mnist_sample', 'dcgan', 'bce'} and not run.host and not run.git.remote_url
    sent, told = items(run.config.update), json.loads(json.dumps(config.record()))
    assert {k: sent[k] for k in told} == told

    epochs = [items(r.history.item) for r in records if r.WhichOneof('record_type') == 'history']
    for entry, sent in zip(gan.history, epochs, strict=True):
        assert {k: sent[k] for k in entry if k != 'tenths'} == pytest.approx({k: v for k, v in entry.items() if k != 'tenths'})
        assert sent['_step'] == entry['epoch'] and 'tenths' not in sent
    images = [log.parent/'files'/sent['samples/path'] for sent in epochs]
    for image, samples in zip(images, gan.samples, strict=True):
        assert Image.open(image).tobytes() == image_grid(samples).tobytes()
    summary = {}
    for r in records: summary |= items(r.summary.update)
    assert summary['fid_clf_50'] == 12.5 and summary['fid_clf_50_reference'] == 3.25 and summary['status'] == 'finished' and 'fid_clf_50_std' not in summary
    assert {'system', 'stats', 'files'} & {r.WhichOneof('record_type') for r in records} <= {'files'} and not any(log.parent.rglob('requirements.txt'))


@pytest.mark.parametrize('login, said', [(lambda **_: False, 'no login: tracked offline'), (None, 'the login does not work (wrong key): tracked offline')])
def test_without_a_login_it_is_tracked_offline_and_nobody_is_asked(login, said, offline, monkeypatch, capsys, tmp_path):
    monkeypatch.delenv('WANDB_MODE')
    def refused(**_): raise offline.Error('wrong key')
    monkeypatch.setattr(offline, 'login', login or refused)
    config = small(tracker='wandb', runs_dir=str(tmp_path/'runs'))
    tracking.open_tracker(config).finish(dict(status='diverged', metrics={}))
    assert said in capsys.readouterr().out and list((config.run_dir/'wandb').glob('offline-run-*'))
