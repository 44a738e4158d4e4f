"Nonsense in, one clear sentence out: what, where, the nearest right thing. Random nonsense comes from hypothesis."
import errno
import gzip
import io
import json
import math
from dataclasses import fields
from fractions import Fraction

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import nn

from dcgan_nb.foundations.batches import as_images, batches, image_grid, show_images, to_uint8
from dcgan_nb.foundations.core import InputError, load_projects, pick_device
from dcgan_nb.foundations.datasets import ASSETS, DATASETS, TEST_IMAGES, TRAIN_IMAGES, idx_bytes, load_data, read_idx
from dcgan_nb.gan.networks import Network, build_generator, build_networks, draw_z, generate, generator_bytes, load_generator
from dcgan_nb.gan.state import init
from dcgan_nb.gan.train import train
from dcgan_nb.runs.browser import layers_of
from dcgan_nb.runs.checkpoint import lock_run
from dcgan_nb.runs.config import RunConfig
from dcgan_nb.runs.parameters import PLACES
from dcgan_nb.runs.records import read_record
from dcgan_nb.scores.diagnostics import auc
from dcgan_nb.scores.features import load_extractor
from dcgan_nb.scores.memorization import interpolate, nearest_rows, walk
from dcgan_nb.scores.metrics import METRICS
from dcgan_nb.study.figures import plot_history, score_table
from dcgan_nb.study.judge import judge
from dcgan_nb.study.rules import explain
from dcgan_nb.study.tables import leaderboard

matplotlib.use('Agg')
load_projects()
SAMPLE = ASSETS/'fashion_mnist_sample'


@pytest.fixture
def folder(tmp_path):
    "The four files of the shipped sample, to be damaged."
    for path in SAMPLE.glob('*.gz'): (tmp_path/path.name).write_bytes(path.read_bytes())
    return tmp_path


def cut(content): return content[:-20]
def flip(content): return content[:100] + bytes([content[100] ^ 8]) + content[101:]
def png(content): return b'\x89PNG\r\n\x1a\n' + content[8:]
def smaller(content): return gzip.compress(idx_bytes(read_idx(SAMPLE/f'{TRAIN_IMAGES}.gz')[:, :20, :20]))
def other(content): return (SAMPLE/f'{TEST_IMAGES}.gz').read_bytes()
def page(content): return b'<html>404 Not Found</html>'


@pytest.mark.fault('A data file that is cut off, damaged, a web page, of another kind, or with other images in it', 'Refused before any training; the file is named, and what was expected of it')
@pytest.mark.parametrize('damage, told', [(cut, 'not a readable idx file'), (flip, 'train-images'), (png, 'starts with'), (page, 'starts with'), (smaller, 'expected'), (other, 'expected')])
def test_a_bad_data_file_is_named(folder, damage, told):
    path = folder/f'{TRAIN_IMAGES}.gz'
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=told) as error: load_data('fashion_mnist_sample', folder)
    assert path.name in str(error.value)


@pytest.mark.fault('A data folder that is empty, a file, or not there', 'Refused before any training, with the names of the missing files')
def test_a_bad_data_folder(tmp_path):
    with pytest.raises(InputError, match='lacks train-images-idx3-ubyte.gz, train-labels'): load_data('fashion_mnist_sample', tmp_path)
    (tmp_path/'file').touch()
    for name in 'file', 'nowhere':
        with pytest.raises(InputError, match='is not a folder'): load_data('fashion_mnist_sample', tmp_path/name)


@pytest.mark.fault('A data folder that may not be read, a runs_dir that cannot be written', 'Refused before any training, with the reason')
def test_folders_without_permission(folder, monkeypatch):
    with pytest.raises(InputError, match='train-images-idx3-ubyte.gz cannot hold runs: .*Take another runs_dir'): lock_run(folder/f'{TRAIN_IMAGES}.gz'/'run')
    def forbidden(path): raise PermissionError(errno.EACCES, 'Permission denied', str(path))       # root, who may run this, may read everything
    monkeypatch.setattr(type(folder), 'is_file', forbidden)
    with pytest.raises(InputError, match='cannot be read: Permission denied'): load_data('fashion_mnist_sample', folder)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([b'', b'\0\0\x08', b'\0\0\x08\x01', b'\0\0\x08\x03', b'\x1f\x8b', b'\x1f\x8b\x08\0\0\0\0\0\0\0']), st.booleans())
@example(b'\xff\xff\xff\xff\xff\xff\xff\xfe12', b'\0\0\x08\x02', False)          # negative sizes
@example(b'\x7f\xff\xff\xff'*3, b'\0\0\x08\x03', True)                           # sizes whose product overflows
def test_no_bytes_surprise_the_idx_reader(tmp_path_factory, content, start, packed):
    path = tmp_path_factory.getbasetemp()/'random.gz'
    path.write_bytes(gzip.compress(start + content) if packed else start + content)
    try: x = read_idx(path)
    except InputError as error: assert 'random.gz' in str(error)
    else: assert x.dtype == torch.uint8


@pytest.mark.fault('A generator file that is cut off, of another architecture, or no generator', 'Refused with the reason')
def test_a_bad_generator_file(tmp_path):
    G, H = (build_networks(dict(arch=arch, latent_dim=10, channels=1, size=28, width=4), dict(arch=arch, channels=1, size=28, width=4), seed=0)[0] for arch in ('dcgan', 'mlp'))
    good, path = generator_bytes(G), tmp_path/'generator.safetensors'
    H.spec = G.spec
    for content in (good[:len(good) // 2], generator_bytes(H), b'', b'PK\x03\x04', good.replace(b'"arch\\": \\"dcgan', b'"arch\\": \\"dcgaN')):
        assert content != good
        path.write_bytes(content)
        with pytest.raises(InputError, match='generator.safetensors'): load_generator(path)
    with pytest.raises(InputError, match='does not exist'): load_generator(tmp_path/'none')
    without = next(p for p in sorted(ROOT.glob('reports/records/*')) if p.is_dir() and not (p/'generator.safetensors').exists())
    with pytest.raises(InputError, match=f'published without it: make show RUN={without.name} prints the command'): load_generator(without)
    with pytest.raises(InputError, match='it does not say how it was built'): load_generator(ROOT/'dcgan_nb/assets/mnist_clf.safetensors')
    for nothing in 64, None, [0.5]:
        with pytest.raises(InputError, match='is no noise: a tensor'): generate(torch.nn.Identity(), nothing)


@pytest.fixture
def knows():
    "A generator that knows three classes, and one that knows none."
    return tuple(build_generator(arch, latent_dim=10, channels=1, size=28, width=4, **more) for arch, more in (('cdcgan', dict(n_classes=3)), ('dcgan', {})))


WRONG_NOISE = [lambda z: z[0], lambda z: z[:0], lambda z: z[None], lambda z: z.long(), lambda z: z.numpy(), lambda z: z.tolist(), lambda z: z + 0j, lambda z: np.zeros((500, 10)), str]
WRONG_CLASSES = [lambda y: y.tolist(), lambda y: y.numpy(), lambda y: y[0], lambda y: y[:, None], lambda y: y > 0, lambda y: y.float(), lambda y: y + 0j, str, lambda y: 1]


@pytest.mark.fault('Noise or classes of another kind for a trained generator: lists, arrays, one number, another shape, no rows, classes where there are none', 'One sentence: what was given, what is wanted')
def test_what_a_generator_cannot_draw_from(knows, rng):
    G, H = knows
    z, y = torch.randn(6, 10, generator=rng), torch.randint(3, (6,), generator=rng)
    def told(*given):
        with pytest.raises(InputError) as error: generate(*given)
        assert len(said := str(error.value)) < 200 and '\n' not in said
        return said
    for wrong in WRONG_NOISE:
        for net in knows: assert told(net, wrong(z)).endswith("is no noise: a tensor (n, latent_dim) is wanted, as torch.randn(64, G.spec['latent_dim']).")
    for wrong in WRONG_CLASSES: assert told(G, z, wrong(y)).endswith('are no classes: a tensor (n,) of whole numbers is wanted, as torch.arange(64) % 3.')
    assert told(H, z, y).endswith('this generator was built without classes: leave y out.')
    assert told(G, z, y[:5]) == '6 rows of noise and 5 classes: one class is wanted for each.' and 'draws 0 … 2' in told(G, z, y + 3) and 'y=None' in told(G, z)
    assert told(G, z[:, :9], y) == 'z has 9 numbers for each image, and this generator takes 10.'


def test_numbers_of_another_type_are_converted(knows, rng):
    G, H = knows
    z, y = torch.randn(6, 10, generator=rng), torch.randint(3, (6,), generator=rng)
    for kind in (torch.uint8, torch.int8, torch.int16, torch.int32): assert torch.equal(generate(G, z, y.to(kind), batch_size=4), generate(G, z, y, batch_size=4))
    for net, labels in (G, y), (H, None): assert torch.equal(generate(net, z.double(), labels), generate(net, z, labels))
    assert generate(H.double(), z).shape == (6, 1, 28, 28)


def test_walks_and_neighbors_of_what_does_not_go_together(knows, rng):
    G, H = knows
    z, y = torch.randn(2, 4, 10, generator=rng), torch.randint(3, (4,), generator=rng)
    assert walk(G, *z, 3, y.to(torch.uint8)).shape == (4, 3, 1, 28, 28) == walk(H, *z, 3).shape
    for told, wrong in {'4, 10\\) and \\(3, 10': lambda: walk(H, z[0], z[1, :3]), '1, 10\\) and \\(4, 10': lambda: interpolate(z[0, :1], z[1]), 'Nearest: 2': lambda: walk(H, *z, 1), 'is no noise': lambda: walk(H, z[0], [1]),
                        'are no classes': lambda: walk(G, *z, 3, y.tolist()), '4 rows of noise and 12 classes': lambda: walk(G, *z, 3, y.repeat(3)), 'without classes': lambda: walk(H, *z, 3, y),
                        '4 rows cannot be compared with 0': lambda: nearest_rows(z[0], z[1, :0]), '0 rows cannot be compared with 4': lambda: nearest_rows(z[0, :0], z[1])}.items():
        with pytest.raises(InputError, match=told): wrong()
    for wrong in (math.nan, -1e-9, -math.inf):
        with pytest.raises(InputError, match='Nearest: 0'): draw_z(3, 10, rng, wrong)
    assert draw_z(3, 10, rng, math.inf).shape == (3, 10)


def possible_value(f):
    "Values that a parameter can have."
    m = f.metadata
    if known := m.get('known'): return st.sampled_from([k for k in known if k not in ('cuda', 'mps', 'amp', 'bf16', 'tf32')])
    if m['kind'] is int: return st.integers(m['low'], min(m['high'], 200))
    if m['kind'] is float: return st.floats(m['low'], m['high'])
    if m['kind'] is tuple: return st.lists(st.sampled_from(list(METRICS)), min_size=1)
    if among := m.get('among'): return st.lists(st.sampled_from(list(among)), max_size=3).map(' '.join)
    return st.booleans() if m['kind'] is bool else st.sampled_from(['', 'n_extra=1'])


def value_of(f):
    "Values of a parameter: possible ones, others of its kind, and nonsense."
    m = f.metadata
    nonsense = st.one_of(st.text(max_size=8), st.floats(), st.integers(), st.booleans(), st.lists(st.integers(), max_size=2), st.binary(max_size=3), st.complex_numbers(), st.just({}))
    if known := m.get('known'): return st.one_of(st.sampled_from(list(known)), nonsense)
    if m['kind'] in (int, float): return st.one_of(st.integers(int(m['low']), int(min(m['high'], 300))), st.floats(m['low'], m['high']), nonsense)
    return st.one_of(st.booleans(), possible_value(f), st.sampled_from(['fid kid', 'n_extra=x', 'n_extra=1e999', 'n_extra', '=']), nonsense)


PARAMETERS = st.fixed_dictionaries({}, optional={f.name: value_of(f) for f in fields(RunConfig)} | {'lss': st.just('bce')})
possible = st.fixed_dictionaries({}, optional={f.name: possible_value(f) for f in fields(RunConfig) if f.name not in PLACES})


@pytest.mark.fault('Random parameters: unknown names, numbers out of range, other types, contradictions', 'Either a configuration that is complete and comes back from its record, or one sentence')
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(PARAMETERS, possible))
def test_parameters_make_a_whole_configuration_or_a_sentence(given):
    try: config = RunConfig.resolve(**given)
    except InputError as error:
        assert len(str(error)) > 20 and '\n' not in str(error)[:-1]
        return
    assert RunConfig.of_record(json.loads(json.dumps(config.record()))).run_id == config.run_id
    for f in fields(config):
        value = getattr(config, f.name)
        if f.metadata.get('known'): assert value in f.metadata['known']
        elif f.metadata['kind'] in (int, float) and value is not None: assert type(value) is f.metadata['kind'] and f.metadata['low'] <= value <= f.metadata['high']


NOT_THERE = next(d for d in ('cuda', 'mps') if not dict(cuda=torch.cuda.is_available(), mps=torch.backends.mps.is_available())[d])
CASES = [
    (dict(dataset='fashon_mnist'), "Did you mean 'fashion_mnist'"), (dict(arch='dcgann'), "Did you mean 'dcgan'"), (dict(loss='qqq'), 'Known: bce'), (dict(optimizer='Adam'), "Did you mean 'adam'"),
    (dict(precision='fp16'), 'Known: float32'), (dict(epochs=0), 'Nearest: 1'), (dict(epochs=-3), 'Nearest: 1'), (dict(batch_size=1), 'Nearest: 2'), (dict(g_lr=0), 'Nearest: 1e-08'), (dict(g_lr=-1.0), 'Nearest: 1e-08'),
    (dict(g_lr=math.nan), 'is not a number'), (dict(batch_size=2000), 'more than the 1000 training images'), (dict(precision='amp', device='cpu'), "take precision='float32'"), (dict(device=NOT_THERE), 'is not there'),
    (dict(n_eval=501), 'take at most 500'), (dict(image_size=30), 'Nearest: 32'), (dict(d_steps=50), 'Take at most 40'), (dict(epochs=2.5), 'Nearest: 2'), (dict(epochs='three'), 'is not a whole number'),
    (dict(penalty='r12'), "Did you mean 'r1r2'"), (dict(augment='cutuot'), "Did you mean 'cutout'"), (dict(augment='saturation'), "take 'contrast'"), (dict(lr_decay='cosin'), "Did you mean 'cosine'"), (dict(truncation=-0.5), 'Nearest: 0'),
    (dict(sigmoid_scores=True, loss='rpgan'), "take loss='bce'"), (dict(penalty_every=0), 'Nearest: 1'), (dict(ema=1.0), 'Nearest: 0.999999'), (dict(metrics=''), 'Known: fid'),
    (dict(metrics=7), 'are not names of metrics'), (dict(g_options='n_xtra=1'), "Did you mean 'n_extra'"), (dict(d_options='n_extra=x'), 'n_extra=0'), (dict(g_options='n_extra=2.5'), 'n_extra=0'),
    (dict(g_options='n_extra=-1'), 'Nearest: 0.'), (dict(d_options='n_extra=1000'), 'Nearest: 32.'), (dict(g_options='n_blocks=0', arch='resnet'), 'Nearest: 1.'), (dict(d_options='n_extra=1 n_extra=2'), 'leave one out'),
    *((dict(d_options=f'head=classes class_weight={weight}', arch='cdcgan', conditional=True), 'Nearest: 0.001.') for weight in (0, -1, 1e-9)),
    (dict(penalty_weight=0, penalty='r1'), "take penalty='none'"),
    (dict(g_init='xavier'), "g_init='xavier' is not known"), (dict(d_init='nrmal'), "d_init='nrmal' is not known. Did you mean 'normal'"), (dict(d_options='head=klasses', arch='cdcgan', conditional=True), "d_options: head='klasses' is not known. Did you mean 'classes'"),
    (dict(metrics=('FID',)), "metrics='FID' is not known. Did you mean 'fid'"), (dict(augment='translation,cutout translation'), 'has translation 2 times: once is enough'),
    (dict(epochs='3'), 'Nearest: 3.'), (dict(epochs=' 2.6 '), 'Nearest: 3.'), (dict(epochs='-1e9'), 'Nearest: 1.'), (dict(g_lr='1e-3'), 'Nearest: 0.001.'), (dict(epochs=np.int64(0)), 'Nearest: 1.'), (dict(epochs=np.float32(2.5)), 'Nearest: 2.'),
    *((dict(g_lr=value), 'is not a number from 1e-08 to 1.0.') for value in ('nan', '-inf', '1e999', '', np.float64('inf'), np.array([0.1]), np.bool_(True), 1j)),
    (dict(g_options='n_extra=1e999'), 'n_extra=0'), (dict(conditional=True), 'takes no classes'), (dict(graphs=True), 'needs a CUDA device'),
]


@pytest.mark.fault('An unknown data set, architecture, loss, optimizer or precision; zero and negative numbers; a batch larger than the data; amp on a CPU; a device that is not there', 'One sentence before any work: the parameter, its value, the nearest right one')
@pytest.mark.parametrize('given, told', CASES, ids=str)
def test_a_bad_parameter_gets_the_nearest_right_thing(given, told):
    with pytest.raises(InputError) as error: RunConfig.resolve(**dict(profile='smoke', device='cpu') | given)
    assert told in str(error.value) and next(iter(given)) in str(error.value)


def test_numbers_of_any_kind_name_the_same_run(rng):
    n, x = int(torch.randint(1, 9, (1,), generator=rng)), float(torch.rand(1, generator=rng))
    plain = RunConfig.resolve(profile='smoke', device='cpu', epochs=n, g_lr=x, seed=n)
    for whole in np.int64, np.uint8, np.float32, np.float64, Fraction, float:
        for real in np.float32, np.float64, Fraction:
            other = RunConfig.resolve(profile='smoke', device='cpu', epochs=whole(n), g_lr=real(x), seed=whole(n))
            assert other.record() == plain.record() and other.run_id == plain.run_id and {k: type(v) for k, v in vars(other).items()} == {k: type(v) for k, v in vars(plain).items()}


@pytest.mark.parametrize('train_on, n', [('train', 1000), ('train+test', 1500)])
def test_a_buffer_of_all_images_is_no_other_run(train_on, n, rng):
    def run_id(buffer): return RunConfig.resolve(profile='smoke', device='cpu', train_on=train_on, shuffle_buffer=buffer).run_id
    assert run_id(0) == run_id(n) == run_id(n + int(torch.randint(1, 9999, (1,), generator=rng))) != run_id(n - 1)
    whole = RunConfig.resolve(profile='smoke', device='cpu', train_on=train_on)
    older = whole.record() | dict(shuffle_buffer=n)
    assert RunConfig.of_record(older).record() == older, 'a record of earlier keeps its name'


@pytest.mark.parametrize('metrics', ['fid kidd', 'fid,kidd', ['fid', 'kidd']], ids=str)
def test_an_unknown_metric_among_others_is_named(metrics):
    with pytest.raises(InputError, match="metrics='kidd' is not known. Did you mean 'kid'"): RunConfig.resolve(profile='smoke', device='cpu', metrics=metrics)


def test_images_of_another_size_than_the_networks():
    config = RunConfig.resolve(profile='smoke', device='cpu')
    with pytest.raises(InputError, match='32 pixels, the networks are for 1 and 28'): train(init(config), (torch.zeros(50, 1, 32, 32, dtype=torch.uint8), None), None)


@pytest.mark.parametrize('layer', [
    *(nn.Conv2d(2, 1, 3, **more) for more in (dict(padding_mode='circular', padding=1), dict(padding=(1, 0)), dict(padding='same'), dict(dilation=2), dict(stride=(1, 2)))), nn.Conv2d(2, 2, 3, groups=2),
    *(nn.ConvTranspose2d(2, 1, 3, **more) for more in (dict(stride=(2, 1)), dict(stride=2, output_padding=(1, 0)), dict(padding=(0, 1)), dict(dilation=2))),
    nn.BatchNorm2d(2, track_running_stats=False), nn.BatchNorm1d(2, affine=False)], ids=str)
def test_what_the_page_would_draw_otherwise_is_refused(layer):
    with pytest.raises(InputError, match='cannot be drawn in a page') as error: layers_of(Network(layer))
    assert type(layer).__name__ in str(error.value)


def pixels(*shape, dtype=torch.uint8): return torch.zeros(shape, dtype=dtype)


@pytest.mark.parametrize('call, told', [
    (lambda: to_uint8(torch.tensor([[0.5, math.nan]])), 'NaN is no pixel'), (lambda: to_uint8(torch.full((9,), math.nan, dtype=torch.float16)), 'NaN is no pixel'),
    (lambda: as_images(pixels(2, 1, 28, 28, dtype=torch.float32), 28, 1), 'as_images takes uint8 images .* not torch.float32'), (lambda: as_images(pixels(1, 28, 28), 28, 1), r'not torch.uint8 \(1, 28, 28\)'),
    *((lambda shape=shape, channels=channels: as_images(pixels(2, *shape), 28, channels), 'square images of 1 or 3 channels can') for shape, channels in (((1, 28, 20), 1), ((1, 20, 28), 1), ((1, 28, 28), 2), ((2, 28, 28), 1), ((4, 28, 28), 3), ((3, 28, 28), 0))),
    (lambda: image_grid(pixels(0, 1, 4, 4)), 'one at least'), (lambda: image_grid(pixels(2, 1, 4, 4, dtype=torch.int64)), 'not torch.int64'), (lambda: image_grid(torch.zeros(1, 4, 4)), 'image_grid takes uint8 images'),
    (lambda: show_images(pixels(0, 1, 4, 4)), 'one at least'), (lambda: show_images(pixels(2, 1, 4, 4), n_cols=0), 'n_cols=0 .* Nearest: 1'), (lambda: image_grid(pixels(2, 1, 4, 4), n_cols=-3), 'n_cols=-3 .* Nearest: 1'),
    *((lambda n=n: next(batches((pixels(3, 1, 4, 4), None), n, torch.Generator())), f'batch_size={n} .*Nearest: 1') for n in (0, -1)),
    *((lambda high=high, low=low: auc(torch.tensor(high), torch.tensor(low)), 'NaN') for high, low in (([0., math.nan], [1.]), ([0.], [math.nan])))])
def test_what_is_no_image_and_no_score_gets_one_sentence(call, told):
    with pytest.raises(InputError, match=told) as error: call()
    assert '\n' not in str(error.value)


def saved(value):
    torch.save(value, buffer := io.BytesIO())
    return buffer.getvalue()


@pytest.mark.fault('Weights for the Inception network that are missing or of something else', 'Refused before any training')
@pytest.mark.parametrize('extractor', ['inception', 'imagenet'])
@pytest.mark.parametrize('content', [None, b'', b'PK\x03\x04 not a zip', saved(torch.zeros(3)), saved(dict(a=torch.zeros(3))), saved(7)], ids=repr)
def test_bad_feature_weights(tmp_path, extractor, content):
    path = tmp_path/'weights.pth'
    if content is not None: path.write_bytes(content)
    with pytest.raises(InputError, match='weights.pth'): load_extractor(extractor, DATASETS['fashion_mnist'], str(path))


@pytest.mark.parametrize('extractor', ['clf', 'none'])
def test_weights_for_a_network_that_takes_none(tmp_path, extractor):
    with pytest.raises(InputError, match=f"feature_extractor='{extractor}' takes none"): load_extractor(extractor, DATASETS['fashion_mnist'], tmp_path)
    load_extractor(extractor, DATASETS['fashion_mnist'], '')


@pytest.mark.parametrize('device', [NOT_THERE, f'{NOT_THERE}:0', torch.device(NOT_THERE)], ids=repr)
def test_a_device_that_is_not_there_wherever_one_is_named(device):
    G = next(ROOT.glob('reports/records/*/generator.safetensors'))
    for load in (lambda: load_generator(G, device), lambda: load_data('fashion_mnist_sample', device=device), lambda: load_extractor('clf', DATASETS['fashion_mnist'], device=device)):
        with pytest.raises(InputError, match=f"device='{device}' is not there; on this machine: .*cpu"): load()
    assert load_data('fashion_mnist_sample', device='auto').x_test.device.type == pick_device()
    for wrong in ('qpu', None, 0):
        with pytest.raises(InputError, match=f"device='{wrong}' is not known|device={wrong!r} is not known"): load_generator(G, wrong)


RECORDS = [p.read_text() for p in sorted(ROOT.glob('reports/records/*/record.json'), key=lambda p: p.stat().st_size)[:3]]
NONSENSE = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([]), st.just({}), st.just({'value': 1.0}), st.just(1e308), st.just('../../x'))


def places(value, path=()):
    "The paths to all values inside a JSON value."
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else (): yield from places(value[key], (*path, key))


@pytest.mark.fault('Records edited into nonsense: random values in random places, parts missing, text cut off', 'Refused with the file\'s name and the place, or read; whatever is read can be judged')
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_no_edit_surprises_the_record_reader(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp()/'edited'
    folder.mkdir(exist_ok=True)
    record = json.loads(data.draw(st.sampled_from(RECORDS)))
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from([p for p in places(record) if p]))
        inside = record
        for key in path[:-1]: inside = inside[key]
        if isinstance(inside, dict) and data.draw(st.booleans()): del inside[path[-1]]
        else: inside[path[-1]] = data.draw(NONSENSE)
    text = json.dumps(record)
    (folder/'record.json').write_text(text[:data.draw(st.integers(0, len(text)))] if data.draw(st.integers(0, 9)) == 0 else text)
    try: read = read_record(folder)
    except InputError as error: assert 'record.json' in str(error)
    else:
        read |= dict(folder=folder)
        verdict = next((v for v in judge([read]).values() if v.n_runs), None)
        if verdict: explain(verdict)
        leaderboard([read])
        score_table({'run': read})
        plt.close(plot_history({'run': read}))


@pytest.mark.parametrize('text', ['[' * 100_000, '{"schema": 1, "x": NaN}', '1e400', '"text"', 'null', '\ud800'.encode('utf-8', 'surrogatepass'), b'\xff\xfe{'], ids=['deep', 'NaN', 'huge', 'text', 'null', 'surrogate', 'utf-16'])
def test_json_that_is_no_record(tmp_path, text):
    (tmp_path/'record.json').write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match='record.json'): read_record(tmp_path)


def test_the_data_sets_are_those_the_errors_speak_of():
    assert 'fashion_mnist' in DATASETS and DATASETS['fashion_mnist_sample'].n_train == 1000
