"Pictures of one's own, and data sets in their authors' formats: from the files to the record, by the command that users type."
import io
import json
import os
import pickle
import shutil
import struct

import numpy as np
import pytest
import torch
from conftest import outputs
from PIL import Image

from dcgan_nb.foundations.core import InputError
from dcgan_nb.foundations.datasets import load_data
from dcgan_nb.foundations.pictures import picture_set
from dcgan_nb.gan.networks import load_generator
from dcgan_nb.runs.config import RunConfig, rerun_command
from dcgan_nb.runs.records import read_record
from dcgan_nb.runs.run import Run
from dcgan_nb.study.figures import score_table
from dcgan_nb.study.tables import leaderboard

TINY = dict(profile='cpu', device='cpu', epochs=1, g_width=4, d_width=4, latent_dim=8)


def packed(picture, kind='png', **options):
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def write_pictures(folder, n=120, seed=0, classes=('meadow', 'shore')):
    "Smooth colored pictures of several sizes and formats."
    rng = np.random.default_rng(seed)
    for i in range(n):
        h, w = rng.integers(20, 90, 2)
        yy, xx, c = np.mgrid[0:h, 0:w, 0:3]
        pixels = 127 + 120*np.sin(yy / rng.uniform(2, 9) + c)*np.cos(xx / rng.uniform(2, 9))
        place = folder/classes[i % len(classes)] if classes else folder
        place.mkdir(parents=True, exist_ok=True)
        (place/f"{i:03}.{('png', 'jpg', 'webp')[i % 3]}").write_bytes(packed(Image.fromarray(pixels.astype(np.uint8)), ('png', 'jpeg', 'webp')[i % 3]))
    return folder


def command(out, *more, **parameters):
    return 'papermill', 'nbs/train.ipynb', out, '--no-progress-bar', *(w for k, v in parameters.items() for w in ('-p', k, v)), *more


@pytest.fixture(scope='module')
def trained(run, tmp_path_factory):
    "A run on 120 pictures in two subfolders, with two files that cannot be used; its cache is its own."
    root = tmp_path_factory.mktemp('pictures')
    photos, cache = write_pictures(root/'photos'), root/'cache'
    (photos/'meadow/broken.jpg').write_bytes((photos/'meadow/004.jpg').read_bytes()[:300])
    (photos/'shore/tiny.png').write_bytes(packed(Image.new('RGB', (5, 5))))
    done = run(*command(root/'out.ipynb', **TINY, dataset='folder', data_dir=photos, image_size=16, n_eval=50, feature_extractor='none', runs_dir=root/'runs'),
               DCGAN_NB_CACHE=str(cache))
    assert done.returncode == 0, done.stderr[-3000:]
    folder, = (p for p in (root/'runs').iterdir() if p.is_dir())
    return dict(root=root, photos=photos, cache=cache, folder=folder, text=outputs(json.loads((root/'out.ipynb').read_text())))


def test_the_page_names_what_was_skipped_and_what_is_there(trained):
    text = trained['text']
    assert '120 of 122 files are used' in text and 'damaged (1): meadow/broken.jpg' in text and 'smaller than half of image_size=16 (1): shore/tiny.png' in text
    assert 'photos (' in text and '2 classes: meadow, shore' in text and '70 training and 50 test images of shape (3, 16, 16)' in text
    assert 'no scores: feature_extractor is none' in text


def test_its_images_stand_beside_the_nearest_pictures(trained):
    cell, = (c for c in json.loads((trained['root']/'out.ipynb').read_text())['cells'] if 'show_nearest(ten' in ''.join(c['source']))
    assert [*cell['outputs'][-1]['data']] == ['image/png', 'text/plain']


def test_its_record_is_read_without_the_pictures(trained, run, tmp_path):
    shutil.copytree(trained['folder'], tmp_path/trained['folder'].name)
    code = "import sys; from dcgan_nb import read_record; r = read_record(sys.argv[1]); print(r['run_id'], r['status'], r['metrics'], r['data']['classes'])"
    done = run('python', '-c', code, tmp_path/trained['folder'].name, DCGAN_NB_CACHE=str(tmp_path/'empty'))      # another process, another cache
    assert done.stdout.strip() == f"{trained['folder'].name} finished {{}} ['meadow', 'shore']", done.stderr
    record = read_record(trained['folder'])
    assert 'broken.jpg' in record['data']['note'] and str(trained['root']) not in (trained['folder']/'record.json').read_text()
    assert record['config']['dataset'] in rerun_command(record['config']) and not leaderboard([record])
    assert list(score_table({'it': record}).index) == ['images seen', 'busy core (s)', 'parameters of G + D']
    x = load_generator(trained['folder'])(torch.randn(3, 8))
    assert x.shape == (3, 3, 16, 16)


def test_it_is_the_same_run_wherever_the_pictures_are_and_another_for_others(trained, monkeypatch, tmp_path):
    monkeypatch.setenv('DCGAN_NB_CACHE', str(tmp_path/'cache'))
    given = TINY | dict(dataset='folder', image_size=16, feature_extractor='none')
    moved = tmp_path/'somewhere else'
    shutil.copytree(trained['photos'], moved)
    for path in moved.glob('*/*.png'): path.rename(path.with_name(f'renamed {path.name}'))
    assert RunConfig.resolve(**given, data_dir=str(moved)).run_id == trained['folder'].name
    other = RunConfig.resolve(**given, data_dir=str(write_pictures(tmp_path/'others', seed=1)))
    assert other.run_id != trained['folder'].name and other.dataset != read_record(trained['folder'])['config']['dataset']
    changed = next(moved.glob('*/*.jpg'))
    changed.write_bytes(packed(Image.new('RGB', (40, 40), 'red'), 'jpeg'))
    assert RunConfig.resolve(**given, data_dir=str(moved)).run_id not in (other.run_id, trained['folder'].name)
    with pytest.raises(InputError, match='holds other pictures'):
        RunConfig.resolve(**given | dict(dataset=read_record(trained['folder'])['config']['dataset'], data_dir=str(moved)))


def test_asked_for_by_its_name_it_is_found_finished_in_the_cache_alone(trained, run):
    config = read_record(trained['folder'])['config']
    done = run(*command(trained['root']/'again.ipynb', **TINY, dataset=config['dataset'], feature_extractor='none', runs_dir=trained['root']/'runs'),
               DCGAN_NB_CACHE=str(trained['cache']))
    assert done.returncode == 0, done.stderr[-3000:]
    text = outputs(json.loads((trained['root']/'again.ipynb').read_text()))
    assert 'not trained again' in text and 'found in the cache' in text


def test_a_loose_copy_takes_no_picture_out_of_its_class(tmp_path):
    write_pictures(tmp_path)
    for file in sorted(tmp_path.glob('*/*'))[::3]: shutil.copy(file, tmp_path)
    images = load_data(picture_set(tmp_path, 16)[0])
    assert images.info.classes == ('meadow', 'shore') and len(images.x_train) + len(images.x_test) == 120


def test_a_folder_may_be_text_and_a_size_must_be_one(tmp_path):
    write_pictures(tmp_path)
    assert picture_set(str(tmp_path), 16)[0] == picture_set(tmp_path, 16)[0]
    for size in 0, -3, None, '16', 16.5:
        with pytest.raises(InputError, match=f'^size={size!r} is no number of pixels from 1 on'): picture_set(tmp_path, size)


def test_copies_in_a_folder_that_is_no_class_take_no_picture_out_of_one_whatever_else_lies_there(tmp_path):
    write_pictures(tmp_path, classes=('cats', 'dogs'))
    (tmp_path/'best').mkdir()
    for path in sorted(tmp_path.glob('cats/*'))[:3]: shutil.copy(path, tmp_path/'best')
    for name in 'Thumbs.db', 'notes.txt', 'list.csv': (tmp_path/'best'/name).write_text('no picture')
    os.mkfifo(tmp_path/'best/pipe')                       # nobody waits for what it may bring
    images = load_data(picture_set(tmp_path, 16)[0])
    assert images.info.classes == ('cats', 'dogs') and len(images.x_train) + len(images.x_test) == 120
    assert all(f'best/{path.name}' in images.info.note for path in tmp_path.glob('best/0*'))


@pytest.mark.parametrize('locked', ['', 'dogs'])
def test_a_folder_that_may_not_be_read_is_named(monkeypatch, tmp_path, locked):
    write_pictures(tmp_path, n=240, classes=('cats', 'dogs'))
    real = os.scandir
    def scandir(path):
        if os.fspath(path) == os.fspath(tmp_path/locked): raise PermissionError(13, 'Permission denied', os.fspath(path))
        return real(path)
    monkeypatch.setattr(os, 'scandir', scandir)
    if locked: assert 'a folder that cannot be read (1): dogs' in load_data(picture_set(tmp_path, 16)[0]).info.note
    else:
        with pytest.raises(InputError, match='cannot be read: Permission denied'): picture_set(tmp_path, 16)


@pytest.mark.parametrize('names, advised', [(('train', 'val'), 'train'), (('test', 'train', 'misc'), 'train'), (('Valid', 'Training'), 'Training'), (('test', 'validation'), 'validation')], ids=str)
def test_parts_of_a_data_set_are_no_classes_and_the_one_to_train_on_is_advised(names, advised, tmp_path):
    write_pictures(tmp_path, classes=names)
    with pytest.raises(InputError, match=f'are parts of a data set and no classes: name the one to learn from, data_dir=…/{advised}\\. '): picture_set(tmp_path, 16)


def test_classes_that_lie_one_folder_further_in_are_not_lost_in_silence(monkeypatch, tmp_path):
    monkeypatch.setenv('DCGAN_NB_CACHE', str(tmp_path/'cache'))
    write_pictures(tmp_path/'photos', 240, classes=('my/all/cat', 'my/all/dog'))
    note = load_data(picture_set(tmp_path/'photos', 16)[0]).info.note
    assert 'all pictures lie in my/all: to have the subfolders of that as classes, take data_dir=…/my/all.' in note and str(tmp_path) not in note
    given = TINY | dict(dataset='folder', image_size=16, feature_extractor='none', recipe='best_cond')
    with pytest.raises(InputError, match=r'have no classes\. Classes are the subfolders of data_dir itself with at least 4 pictures each, two or more\.'):
        RunConfig.resolve(**given, data_dir=str(tmp_path/'photos'))
    inside = RunConfig.resolve(**given, data_dir=str(tmp_path/'photos/my/all'))
    assert inside.n_classes == 2 and 'There are no classes' not in load_data(inside.dataset).info.note
    write_pictures(tmp_path/'flat', 120, classes=('all',))
    assert 'There are no classes' not in load_data(picture_set(tmp_path/'flat', 16)[0]).info.note, 'where none would be found further in'


def test_a_class_of_one_judged_picture_is_refused_before_training(tmp_path):
    write_pictures(tmp_path/'pictures', 1000)               # two of the few are held out, and half of what is held out is judged
    for i, file in enumerate(sorted((tmp_path/'pictures/shore').glob('*'))[:4]):
        (tmp_path/'pictures/few').mkdir(exist_ok=True)
        file.rename(tmp_path/'pictures/few'/file.name)
    config = RunConfig.resolve(profile='smoke', device='cpu', dataset='folder', data_dir=str(tmp_path/'pictures'), image_size=16, arch='cdcgan', g_width=4, d_width=4, conditional=True,
                               feature_extractor='imagenet', metrics='fid fidclass', n_eval=50, runs_dir=str(tmp_path/'runs'))
    begun = Run(config, None)
    with pytest.raises(InputError, match=r"metrics='fidclass' needs 2 images of each class among the n_eval=\d+ that are judged, and few has 1"):
        begun.open(), begun.train()
    assert not list(config.run_dir.glob('checkpoint*'))


@pytest.mark.fault('A folder of 50 pictures to train on', 'Refused before any training, with the count and the files that were skipped')
def test_fifty_pictures_are_refused_in_one_sentence(run, tmp_path):
    photos = write_pictures(tmp_path/'few', 50)
    (photos/'notes.txt').write_text('to be continued')
    done = run(*command(tmp_path/'out.ipynb', **TINY, dataset='folder', data_dir=photos, image_size=16, runs_dir=tmp_path/'runs'), DCGAN_NB_CACHE=str(tmp_path/'cache'))
    assert done.returncode and 'has 50 usable pictures, at least 100 are needed. Skipped: no PNG, JPEG or WebP (1): notes.txt.' in done.stderr
    assert not (tmp_path/'runs').exists()


@pytest.mark.fault('Pictures that are cut off, claim to be enormous, or hold any bytes', 'Skipped, each named with the reason; the others are used')
def test_no_bytes_surprise_the_reader_of_pictures(monkeypatch, rng, tmp_path):
    monkeypatch.setenv('DCGAN_NB_CACHE', str(tmp_path/'cache'))
    photos = write_pictures(tmp_path/'photos', 100, classes=())
    whole, noise = [p.read_bytes() for p in sorted(photos.iterdir())[:3]], lambda n: torch.randint(0, 256, (n,), generator=rng).to(torch.uint8).numpy().tobytes()
    for i in range(60):
        content = bytearray(whole[i % 3][:len(whole[i % 3]) // (1 + i // 30)])
        at = torch.randint(12, len(content) - 8, (), generator=rng).item()
        content[at:at + 8] = noise(8)
        (photos/f'x{i}').write_bytes(content if i % 2 else content[:12] + noise(60))
    (photos/'bomb.png').write_bytes(whole[0][:16] + struct.pack('>II', 100_000, 100_000) + whole[0][24:])
    (photos/'link').symlink_to(tmp_path/'nowhere')
    (photos/'name \udcff.png').write_bytes(b'\x89PNG')
    name, files = picture_set(photos, 16)
    note = load_data(name, photos).info.note
    assert sum(len(x) for x in files.values()) >= 100 and 'bomb.png' in note and 'link' in note and 'name \\xff.png' in note
    note.encode()


@pytest.mark.fault('A pickle among the files of CIFAR-10 that would run a command', 'Nothing in it is run; the file is named')
def test_a_pickle_runs_no_code(tmp_path):
    class Touch:
        def __reduce__(self): return open, (str(tmp_path/'it ran'), 'w')
    folder = tmp_path/'cifar-10-batches-py'
    folder.mkdir()
    for name in [*(f'data_batch_{i}' for i in range(1, 6)), 'test_batch']: (folder/name).write_bytes(pickle.dumps({b'data': Touch(), b'labels': []}, 2))
    with pytest.raises(InputError, match='data_batch_1 is not a readable batch of CIFAR-10: it asks for .*open'): load_data('cifar10', tmp_path)
    assert not (tmp_path/'it ran').exists()


def test_the_whole_of_cifar10_is_read_and_can_be_trained_on(rng, tmp_path):
    folder = tmp_path/'cifar-10-batches-py'
    folder.mkdir()
    x, y = torch.randint(0, 256, (60_000, 3072), dtype=torch.uint8, generator=rng), torch.arange(60_000) % 10
    for i, name in enumerate([*(f'data_batch_{i}' for i in range(1, 6)), 'test_batch']):
        part = slice(10_000*i, 10_000*(i + 1))
        (folder/name).write_bytes(pickle.dumps({'data': x[part].numpy(), 'labels': y[part].tolist()}, 2))
    data = load_data('cifar10', tmp_path)
    assert torch.equal(data.x_train.flatten(1), x[:50_000]) and torch.equal(data.y_test, y[50_000:])
    config = RunConfig.resolve(**TINY, dataset='cifar10', data_dir=str(tmp_path), feature_extractor='imagenet')
    assert (config.image_size, config.channels, config.n_eval) == (32, 3, 10_000) and config.run_id.startswith('cifar10-')
    (folder/'data_batch_2').write_bytes((folder/'data_batch_2').read_bytes()[:-1000])
    with pytest.raises(InputError, match='data_batch_2 is not a readable batch'): load_data('cifar10', tmp_path)
