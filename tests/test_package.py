"The package as imported: fresh random inputs, independent formulas, hand-worked answers, and wrong versions that must not pass."
import gzip
import hashlib
import io
import json
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT, tiny, tiny_config, tiny_data, weights
from torch import nn

from dcgan_nb.foundations import datasets
from dcgan_nb.foundations.batches import batches, normalize, to_uint8, training_set
from dcgan_nb.foundations.core import InputError, load_projects
from dcgan_nb.foundations.datasets import DATASETS, DatasetInfo, find_data, idx_bytes, load_data, read_idx, stratified_indices, write_idx
from dcgan_nb.gan.augment import AUGMENTATIONS
from dcgan_nb.gan.fast import ToMaps, accelerate
from dcgan_nb.gan.losses import LOSSES, Loss
from dcgan_nb.gan.networks import ARCHITECTURES, Architecture, Network, build_networks, generate, load_generator, save_generator
from dcgan_nb.gan.penalties import PENALTIES
from dcgan_nb.gan.state import N_FIXED, init
from dcgan_nb.gan.train import d_step, g_step, train, train_epoch
from dcgan_nb.runs.config import RunConfig
from dcgan_nb.runs.parameters import PROFILES
from dcgan_nb.runs.records import read_record
from dcgan_nb.runs.run import scores_of
from dcgan_nb.scores import features
from dcgan_nb.scores.diagnostics import flags
from dcgan_nb.scores.features import CLASSIFIERS, extract, load_classifier, load_extractor
from dcgan_nb.scores.metrics import evaluate, fid, kid, precision_recall

load_projects()                        # the tests of every loss and every architecture are also those of the projects
SAMPLE = load_data('fashion_mnist_sample')
SMALL = dict(profile='smoke', device='cpu', g_width=4, d_width=4, epochs=1)


def sigmoid(x): return 1 / (1 + np.exp(-x))


# Losses, against NumPy in float64

@pytest.mark.parametrize('name, d_loss, g_loss', [
    ('bce', lambda r, f: -np.log(sigmoid(r)).mean() - np.log(1 - sigmoid(f)).mean(), lambda f: -np.log(sigmoid(f)).mean()),
    ('mse', lambda r, f: ((r - 1)**2).mean() / 2 + (f**2).mean() / 2, lambda f: ((f - 1)**2).mean() / 2),
    ('minimax', lambda r, f: -np.log(sigmoid(r)).mean() - np.log(1 - sigmoid(f)).mean(), lambda f: np.log(1 - sigmoid(f)).mean()),
    ('hinge', lambda r, f: np.maximum(0, 1 - r).mean() + np.maximum(0, 1 + f).mean(), lambda f: -f.mean()),
    ('wgan', lambda r, f: f.mean() - r.mean(), lambda f: -f.mean())])
def test_losses_are_their_formulas(name, d_loss, g_loss, rng):
    real, fake = torch.randn(2, 257, generator=rng).mul(3).double()
    assert LOSSES[name].d_loss(real, fake).item() == pytest.approx(d_loss(real.numpy(), fake.numpy()))
    assert LOSSES[name].g_loss(fake).item() == pytest.approx(g_loss(fake.numpy()))
    assert LOSSES[name].d_loss(real, fake).item() != pytest.approx(LOSSES[name].d_loss(fake, real).item()), 'real and generated images are not the same to D'


def test_relativistic_pairs_are_their_formula(rng):
    real, fake = torch.randn(2, 257, generator=rng).mul(3).double()
    loss = LOSSES['rpgan']
    assert loss.d_loss(real, fake).item() == pytest.approx(-np.log(sigmoid(real.numpy() - fake.numpy())).mean())
    assert loss.g_loss(fake, real).item() == pytest.approx(-np.log(sigmoid(fake.numpy() - real.numpy())).mean())
    assert loss.d_loss(real, fake.roll(1)).item() != pytest.approx(loss.d_loss(real, fake).item()), 'who is paired with whom counts'


@pytest.mark.parametrize('name', LOSSES)
def test_every_loss_rewards_what_its_player_wants(name, rng):
    loss, n = LOSSES[name], 64
    high, low = (0.2*torch.randn(n, generator=rng) + mean for mean in (1, -1))
    with torch.random.fork_rng(): right, wrong = loss.d_loss(high, low), loss.d_loss(low, high)
    assert right.shape == () and right.isfinite() and right < wrong, 'D: real images high, generated ones low'
    middle = torch.zeros(n)
    assert loss.g_loss(high, middle).shape == () and loss.g_loss(high, middle) < loss.g_loss(low, middle), 'G: generated images high'


# Scores

def test_scoring_is_a_function_and_moves_no_random_numbers(rng):
    images = torch.randint(0, 256, (100, 1, 28, 28), dtype=torch.uint8, generator=rng)
    clf, before = load_classifier('fashion_mnist'), torch.get_rng_state()
    first = evaluate(images, SAMPLE, clf)
    torch.manual_seed(1)
    assert evaluate(images, SAMPLE, clf) == first
    assert evaluate(images.flip(0), SAMPLE, clf)['fid_clf_100']['value'] == pytest.approx(first['fid_clf_100']['value'], rel=1e-4)
    torch.set_rng_state(before)
    evaluate(images, SAMPLE, clf)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_collapsed_generator_scores_worse_than_the_same_generator_uncollapsed(rng):
    "Of the published generators that draw with some variety, one at random."
    clf, records = load_classifier('fashion_mnist'), [read_record(path.parent) for path in sorted(ROOT.glob('reports/records/fashion_mnist-*/generator.safetensors'))]
    able = [r['run_id'] for r in records if r['metrics'].get('recall_clf_10k', dict(value=0))['value'] > 0.2 and not r['config']['conditional']]
    G = load_generator(ROOT/'reports/records'/able[torch.randint(len(able), (), generator=rng)])
    real, varied = extract(clf, SAMPLE.x_test).pool, extract(clf, to_uint8(generate(G, torch.randn(500, G.spec['latent_dim'], generator=rng)))).pool
    collapsed = [varied[torch.randperm(500, generator=rng)[:2].repeat(250)] for _ in range(20)]     # two images each; which two is luck
    assert np.mean([fid(real, x) for x in collapsed]) > 1.1*fid(real, varied)
    assert np.mean([kid(real, x, n_subsets=20)[0] for x in collapsed]) > kid(real, varied)[0]
    assert all(precision_recall(real, x)['coverage'] <= precision_recall(real, varied)['coverage'] for x in collapsed[:3])


def test_evaluating_between_epochs_does_not_change_the_training():
    clf, config = load_classifier('fashion_mnist'), RunConfig.resolve(**SMALL | dict(epochs=2))
    def trained(after_epoch):
        gan = init(config)
        for _ in range(2):
            gan.history.append(train_epoch(gan, training_set(SAMPLE)))
            after_epoch(gan)
        return weights(gan.G)
    judged = trained(lambda gan: evaluate(to_uint8(generate(gan.G, gan.z_fixed)), SAMPLE, clf))
    assert torch.equal(judged, trained(lambda gan: None))


def test_floats_are_not_pixels():
    with pytest.raises(InputError, match='normalized already'): evaluate(normalize(SAMPLE.x_test[:100]), SAMPLE, load_classifier('fashion_mnist'))


# Data

def test_idx_files_of_any_shape_come_back(rng, tmp_path):
    for shape in ((3,), (4, 5), (2, 3, 4), (2, 3, 4, 5)):
        x = torch.randint(0, 256, shape, dtype=torch.uint8, generator=rng)
        write_idx(x, tmp_path/'new'/'x.gz')          # its folder is made
        assert torch.equal(read_idx(tmp_path/'new'/'x.gz'), x)
        (tmp_path/'plain').write_bytes(idx_bytes(x))
        assert torch.equal(read_idx(tmp_path/'plain'), x)


@pytest.mark.parametrize('wrong, message', [(lambda x, file: (x / 255, file), 'x is a tensor of torch.float32'), (lambda x, file: (x.numpy(), file), 'x is an array of uint8'),
                                            (lambda x, file: (file, x), 'takes the images first')])
def test_what_is_no_tensor_of_bytes_is_not_written(wrong, message, tmp_path):
    with pytest.raises(InputError, match=message): write_idx(*wrong(torch.zeros(2, 3, dtype=torch.uint8), tmp_path/'x.gz'))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('damage', [lambda raw: raw[:-20], lambda raw: b'', lambda raw: b'\x1f\x8b' + b'x'*50, lambda raw: gzip.compress(b'\0\0\x0d\x01' + b'\0'*9),
                                    lambda raw: gzip.compress(b'\0\0\x08\x03\0\0')])
def test_damaged_idx_files_are_named(damage, tmp_path, rng):
    file = tmp_path/'train-images-idx3-ubyte.gz'
    write_idx(torch.randint(0, 256, (9, 4, 4), dtype=torch.uint8, generator=rng), file)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(InputError, match='train-images-idx3-ubyte.gz is not a readable idx file'): read_idx(file)


def test_other_clothes_are_not_this_data_set(rng, tmp_path):
    for stem, x in find_data('fashion_mnist_sample')[0].items(): write_idx(x.flip(0) if 'labels' in stem else x, tmp_path/f'{stem}.gz')
    with pytest.raises(InputError, match='labels.*expected'): load_data('fashion_mnist_sample', data_dir=tmp_path)


def test_nothing_found_lists_what_was_tried(monkeypatch, tmp_path):
    monkeypatch.setenv('DCGAN_NB_CACHE', str(tmp_path/'cache'))
    monkeypatch.setitem(DATASETS, 'nowhere', DatasetInfo('Nowhere', ('a',), 1, 1, dict.fromkeys(DATASETS['mnist'].sha256), family=None))
    with pytest.raises(InputError) as error: load_data('nowhere')
    for word in ('the package', 'the cache', "torchvision's download", "Debian's package", 'data_dir=', 'fashion_mnist_sample'): assert word in str(error.value)
    assert not list((tmp_path/'cache').glob('*')), 'a failed search leaves nothing behind'


def test_a_source_that_works_fills_the_cache_and_a_damaged_cache_is_replaced(monkeypatch, tmp_path):
    monkeypatch.setenv('DCGAN_NB_CACHE', str(tmp_path/'cache'))
    files, calls = find_data('fashion_mnist_sample')[0], []
    monkeypatch.setitem(DATASETS, 'fetched', DatasetInfo('Fetched', SAMPLE.info.classes, 1000, 500, DATASETS['fashion_mnist_sample'].sha256, family=None))
    def fetch(name, info, to):
        "a source"
        calls.append(name)
        for stem, x in files.items(): write_idx(x, to/f'{stem}.gz')
        return to
    monkeypatch.setattr(datasets, '_torchvision_download', fetch)
    assert load_data('fetched').sha256 == SAMPLE.sha256 and load_data('fetched').source == 'the cache' and calls == ['fetched']
    (tmp_path/'cache/fetched/t10k-labels-idx1-ubyte.gz').write_bytes(b'damaged')
    assert load_data('fetched').sha256 == SAMPLE.sha256 and calls == ['fetched', 'fetched']
    assert load_data('fetched').source == 'the cache'


@pytest.fixture
def color(monkeypatch, rng, tmp_path):
    "A color data set that no shipped classifier judges, registered from one line; the folder with its files."
    stems = list(DATASETS['mnist'].sha256)
    monkeypatch.setitem(DATASETS, 'color', DatasetInfo('Color', tuple('0123456789'), 60, 50, dict.fromkeys(stems), family=None, channels=3, size=32))
    for images, labels, n in ((stems[0], stems[1], 60), (stems[2], stems[3], 50)):
        write_idx(torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=rng), tmp_path/f'{images}.gz')
        write_idx(torch.randint(0, 10, (n,), generator=rng).to(torch.uint8), tmp_path/f'{labels}.gz')
    return tmp_path


def test_a_color_data_set_trains_from_one_line(color):
    config = RunConfig.resolve(**SMALL | dict(dataset='color', data_dir=str(color), n_eval=50, batch_size=20, feature_extractor='imagenet'))
    gan = train(init(config), training_set(load_data('color', color)), report=None)
    assert gan.samples[-1].shape[1:] == (3, 32, 32)


@pytest.mark.parametrize('family, channels', [(None, 1), (None, 3), ('fashion_mnist', 3), ('flowers', 1)])
def test_a_data_set_that_no_shipped_classifier_can_judge_is_found_out_before_training(color, monkeypatch, family, channels):
    monkeypatch.setitem(DATASETS, 'color', replace(DATASETS['color'], family=family, channels=channels))
    given = SMALL | dict(dataset='color', data_dir=str(color), n_eval=50, batch_size=20)
    with pytest.raises(InputError, match="Color: .*feature_extractor='clf' .*-p feature_extractor imagenet"): RunConfig.resolve(**given, feature_extractor='clf')
    assert RunConfig.resolve(**given, feature_extractor='imagenet').feature_extractor == 'imagenet'
    for installed, extractor in ((True, 'imagenet'), (False, 'none')):             # nobody named one
        monkeypatch.setattr(features, 'find_spec', lambda package: installed or None)
        assert RunConfig.resolve(**given).feature_extractor == extractor


def test_a_data_set_without_classes_trains_too(color, monkeypatch):
    monkeypatch.setitem(DATASETS, 'color', replace(DATASETS['color'], classes=(), sha256={k: None for k in DATASETS['color'].sha256 if 'images' in k}))
    data = load_data('color', color)
    assert data.y_train is data.y_test is None and training_set(data)[1] is None
    config = RunConfig.resolve(**SMALL | dict(dataset='color', data_dir=str(color), n_eval=50, batch_size=20, feature_extractor='imagenet'))
    gan = train(init(config), training_set(data), report=None)
    assert not gan.diverged and gan.y_fixed is None


def test_batches_cover_an_epoch_with_their_labels_and_know_pixels_from_floats(rng):
    order = torch.Generator().manual_seed(5)
    seen, labels = map(torch.cat, zip(*batches(training_set(SAMPLE), 40, order)))
    digest = lambda image: hashlib.sha256(image.numpy().tobytes()).hexdigest()
    assert seen.shape == SAMPLE.x_train.shape
    assert sorted((digest(i), y) for i, y in zip(to_uint8(seen), labels.tolist())) == sorted((digest(i), y) for i, y in zip(SAMPLE.x_train, SAMPLE.y_train.tolist()))
    assert not torch.equal(labels, SAMPLE.y_train), 'in another order'
    with pytest.raises(InputError, match='normalized already'): normalize(normalize(SAMPLE.x_train[:2]))


def test_stratified_draws_keep_proportions(rng):
    labels = torch.randint(0, 5, (997,), generator=rng)
    n = int(torch.randint(50, 900, (1,), generator=rng))
    chosen = stratified_indices(labels, n)
    assert len(set(chosen.tolist())) == n
    assert (labels[chosen].bincount(minlength=5) - labels.bincount(minlength=5) * n / 997).abs().max() <= 1


# Networks

def test_a_generator_file_gives_the_same_images_in_another_process(rng, tmp_path):
    G, _ = build_networks(dict(arch='dcgan', latent_dim=16, channels=1, size=28, width=8), dict(arch='dcgan', channels=1, size=28, width=8), seed=11)
    G(torch.randn(64, 16, generator=rng))
    save_generator(G, tmp_path/'generator.safetensors')
    z = torch.randn(9, 16, generator=rng)
    torch.save(z, tmp_path/'z.pt')
    code = ("import sys, torch; from dcgan_nb.gan.networks import load_generator; "
            "torch.save(load_generator(sys.argv[1])(torch.load(sys.argv[2], weights_only=True)), sys.argv[3])")
    subprocess.run([sys.executable, '-c', code, tmp_path/'generator.safetensors', tmp_path/'z.pt', tmp_path/'x.pt'], check=True, cwd=tmp_path)
    assert torch.equal(torch.load(tmp_path/'x.pt', weights_only=True), generate(G, z))
    assert torch.equal(load_generator(tmp_path/'generator.safetensors')(z), generate(G, z))


@pytest.mark.parametrize('family', CLASSIFIERS)
def test_shipped_classifiers_know_their_images(family):
    clf = load_classifier(family)
    assert not clf.training and not any(p.requires_grad for p in clf.parameters())
    assert extract(clf, SAMPLE.x_test[:10]).pool.shape == (10, 128)


def test_the_fashion_classifier_is_accurate_on_images_it_has_not_seen():
    predicted = extract(load_classifier('fashion_mnist'), SAMPLE.x_test).logits.argmax(1)
    assert (predicted == SAMPLE.y_test).float().mean() > 0.9


# Training

def not_channels_last(gan):
    "Layers whose maps, or gradients of them, do not lie with channels last in a step of D and one of G."
    broken, channels_last = set(), torch.channels_last
    def seen(name, x):
        if x.dim() == 4 and x.shape[1] > 1 and not x.is_contiguous(memory_format=channels_last): broken.add(name)
    def watch(name):
        def hook(layer, given, y):
            seen(name, y)
            if y.requires_grad: y.register_hook(lambda gradient: seen(f'{name}, gradient', gradient))
        return hook
    for net in (gan.G, gan.D):
        for name, layer in net.named_modules():
            if layer is not net: layer.register_forward_hook(watch(f'{name} {type(layer).__name__}'))
    x, y = torch.rand(gan.config.batch_size, 1, *2*[gan.config.image_size]), torch.arange(gan.config.batch_size)
    d_step(gan, x, y)
    g_step(gan, x, y)
    return broken


WITH_MAPS = [name for name, arch in ARCHITECTURES.items() if name != 'mlp']
WITH_LABELS = [dict(arch=name, conditional=True) for name in WITH_MAPS if ARCHITECTURES[name].conditional]
MORE = [dict(arch='resnet', conditional=True, d_options='spectral=true minibatch_std=true'), dict(arch='cdcgan', conditional=True, d_options='head=classes')]


@pytest.mark.parametrize('given', [*(dict(arch=name) for name in WITH_MAPS), *WITH_LABELS, *MORE], ids=str)
def test_maps_keep_their_layout_in_accelerated_networks_on_a_cpu(given):
    config = RunConfig.resolve(**SMALL | dict(g_width=8, d_width=8, batch_size=4) | given)
    gan = init(config)
    accelerate(gan.G, gan.D)
    assert not not_channels_last(gan)
    slow = init(config)
    for net in (slow.G, slow.D): net.to(memory_format=torch.channels_last)
    assert not_channels_last(slow), 'without the layers where maps begin'


@pytest.mark.parametrize('shape, layer', [((12,), nn.Identity()), ((6, 2), nn.Conv1d(6, 1, 1)), ((3, 2, 2), nn.Conv2d(3, 1, 1)), ((1, 3, 2, 2), nn.Identity())], ids=str)
def test_only_what_becomes_maps_is_laid_out_as_maps(rng, shape, layer):
    net, z = nn.Sequential(nn.Linear(5, 12), nn.Unflatten(1, shape), layer), torch.randn(4, 5, generator=rng)
    before = net(z)
    accelerate(net)
    assert torch.allclose(net(z), before, atol=1e-5) and (type(net[1]) is ToMaps) == (len(shape) == 3)


def test_same_seed_same_weights_bit_for_bit(rng):
    seed = int(torch.randint(0, 2**31, (1,), generator=rng))
    def trained(**change):
        torch.rand(int(torch.randint(1, 9, (1,), generator=rng)))       # the global numbers must not matter
        gan = train(init(RunConfig.resolve(**SMALL | dict(seed=seed) | change)), training_set(SAMPLE), report=None)
        return weights(gan.G, gan.D)
    assert torch.equal(trained(), trained())
    assert not torch.equal(trained(), trained(seed=seed ^ 1))


def first_batch(n=50):
    x, y = tiny_data(n)
    return normalize(x), y


# Labels

class Labels(nn.Module):
    "Adds a vector for each class to flat numbers, and notes the labels it was given."
    takes_labels = True

    def __init__(self, n_classes, n):
        super().__init__()
        self.table, self.seen = nn.Embedding(n_classes, n), []

    def forward(self, x, y):
        self.seen.append(y)
        return x + self.table(y)


def labeled_generator(latent_dim, channels, size, width=4, n_classes=0):
    return Network(Labels(n_classes, latent_dim), nn.Linear(latent_dim, channels * size**2), nn.Unflatten(1, (channels, size, size)), nn.Tanh())


def labeled_discriminator(channels, size, width=4, n_classes=0):
    return Network(nn.Flatten(), Labels(n_classes, channels * size**2), nn.Linear(channels * size**2, 1), nn.Flatten(0))


@pytest.fixture
def labeled(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, 'labeled', Architecture(labeled_generator, labeled_discriminator))
    return dict(arch='labeled', conditional=True)


def test_labels_arrive_in_both_networks_beside_their_images(labeled):
    gan, (x, y) = tiny(**labeled), first_batch()
    in_g, in_d = gan.G[0].seen, gan.D[1].seen
    d_step(gan, x, y)
    assert (len(in_g), len(in_d)) == (1, 2), 'D sees real and generated images'
    g_step(gan, x, y)
    assert (len(in_g), len(in_d)) == (2, 3)
    for seen in in_g + in_d: assert torch.equal(seen, y)


def test_labels_follow_their_images_through_an_epoch(labeled):
    gan, (x, y) = tiny(**labeled), tiny_data(300)
    names = {image.numpy().tobytes(): label for image, label in zip(x, y.tolist())}
    pairs = []
    def noted(gan, x, y):
        pairs.extend((names[image.numpy().tobytes()], label) for image, label in zip(to_uint8(x), y.tolist()))
        return d_step(gan, x, y)
    train(gan, (x, y), report=None, steps=(noted, g_step))
    assert len(pairs) == 300 and all(a == b for a, b in pairs) and [a for a, _ in pairs] != y.tolist()
    assert len(gan.y_fixed) == len(gan.z_fixed) >= N_FIXED and torch.equal(gan.G[0].seen[-1], gan.y_fixed), 'the images we watch have classes of their own'
    counts = gan.y_fixed.bincount(minlength=10)
    assert counts.min() == counts.max() == len(gan.y_fixed) // 10


@pytest.mark.parametrize('arch', ['labeled', *(name for name, arch in ARCHITECTURES.items() if arch.conditional)])
def test_a_conditional_run_depends_on_its_seed_alone_and_its_generator_on_the_labels(arch, labeled, tmp_path, rng):
    seed = int(torch.randint(0, 2**31, (1,), generator=rng))
    def trained():
        torch.rand(int(torch.randint(1, 9, (1,), generator=rng)))
        return train(tiny(arch=arch, conditional=True, seed=seed), tiny_data(200), report=None)
    gan, again = trained(), trained()
    assert torch.equal(weights(gan.G, gan.D), weights(again.G, again.D))
    save_generator(gan.G, tmp_path/'generator.safetensors')
    G = load_generator(tmp_path/'generator.safetensors')
    assert G.spec['n_classes'] == 10
    z, y = torch.randn(20, 8, generator=rng), torch.randint(0, 10, (20,), generator=rng)
    assert torch.equal(generate(G, z, y), generate(gan.G, z, y)) and not torch.equal(generate(G, z, y), generate(G, z, (y + 1) % 10))


@pytest.mark.parametrize('arch', [name for name, arch in ARCHITECTURES.items() if arch.conditional])
def test_a_conditional_network_without_its_labels_says_so(arch, rng):
    gan = tiny(arch=arch, conditional=True)
    with pytest.raises(InputError, match='y=None'): gan.G(torch.randn(3, 8, generator=rng))
    with pytest.raises(InputError, match='y=None'): gan.D(torch.zeros(3, 1, 16, 16))


@pytest.mark.parametrize('arch', [name for name, arch in ARCHITECTURES.items() if not arch.conditional])
def test_unconditional_networks_ignore_labels(arch, rng):
    gan, y = init(RunConfig.resolve(arch=arch, **SMALL)), torch.zeros(3, dtype=torch.int64)
    z = torch.randn(3, gan.config.latent_dim, generator=rng)
    x = generate(gan.G, z)
    gan.D.eval()
    assert torch.equal(gan.G.eval()(z, y), x) and torch.equal(gan.D(x, y), gan.D(x)) and gan.y_fixed is None
    with pytest.raises(InputError, match='built without classes: leave y out'): generate(gan.G, z, y)


# Losses and penalties of other kinds

def critic_d_loss(d_real, d_fake): return d_fake.mean() - d_real.mean()
def critic_g_loss(d_fake, d_real=None): return -d_fake.mean()


def test_only_a_bounded_loss_can_be_won(monkeypatch):
    monkeypatch.setitem(LOSSES, 'unbounded', replace(LOSSES['hinge'], bounded=False))
    won = [dict(epoch=1, finite=True, d_loss=0.0, g_loss=9.0)]
    def of(loss): return tiny_config(loss=loss).record()
    assert flags(of('hinge'), won) == dict(d_won=1) and flags(of('unbounded'), won) == {}
    monkeypatch.setitem(LOSSES, 'critic', Loss(critic_d_loss, critic_g_loss, bounded=False))
    gan = train(tiny(loss='critic', epochs=3, d_lr=0.01), tiny_data(200), report=None)
    assert gan.history[-1]['d_loss'] < -1, 'far below where any bounded loss is won'
    assert flags(gan.config.record(), gan.history) == {}


@pytest.mark.parametrize('extractor, flagged', [('clf', True), ('imagenet', False), ('inception', False)])
def test_a_collapse_is_seen_only_in_classes_that_are_the_datas(extractor, flagged, tmp_path):
    history = [dict(epoch=1, finite=True, d_loss=1.0, g_loss=1.0, n_classes=1)]
    assert flags(tiny_config(feature_extractor=extractor).record(), history) == (dict(collapsed=1) if flagged else {})
    paths = sorted((ROOT/'reports/records').glob('*/record.json'))
    record = next(r for r in map(json.loads, (p.read_text() for p in paths)) if r['status'] == 'finished')
    record['config'] |= dict(feature_extractor=extractor)
    for h in record['history']: h |= dict(n_classes=2, d_loss=1.0)
    record['run_id'] = RunConfig.of_record(record['config']).run_id
    (tmp_path/'record.json').write_text(json.dumps(record))
    assert read_record(tmp_path)['flags'].get('collapsed') == (1 if flagged else None)


def test_scores_are_asked_for_only_where_they_mean_something(labeled):
    assert tiny_config(**labeled, metrics='gantest gantrain fidclass copying').metrics == ('gantest', 'gantrain', 'fidclass', 'copying')
    for given, message in ((dict(metrics='gantrain'), "metrics='gantrain' needs the classes"), (dict(metrics='fidclass'), "metrics='fidclass' needs the classes"),
                           (dict(labeled, metrics='gantest', feature_extractor='imagenet'), "take feature_extractor='clf'"),
                           (dict(metrics='fid copying', train_on='train+test'), "take train_on='train'")):
        with pytest.raises(InputError, match=message): tiny_config(**given)


def test_a_conditional_run_is_scored_by_its_classes_and_by_what_it_has_seen(labeled):
    gan = train(tiny(**labeled, n_eval=50, metrics='gantest fidclass copying'), tiny_data(), report=None)
    found = scores_of(gan, SAMPLE, load_extractor('clf', SAMPLE.info))
    assert list(found['metrics']) == ['gantest_clf_50', 'fidclass_clf_50', 'copying_clf_50']
    assert found['d_scores'].keys() == {'train', 'test', 'fake', 'auc'} and 0 <= found['d_scores']['auc'] <= 1


def test_a_relativistic_loss_sees_the_real_images_in_both_steps(monkeypatch):
    seen = []
    def d_loss(d_real, d_fake): return nn.functional.softplus(d_fake - d_real).mean()
    def g_loss(d_fake, d_real=None):
        seen.append(d_real)
        return d_loss(d_fake, d_real) if d_real is not None else -d_fake.mean()
    monkeypatch.setitem(LOSSES, 'versus', Loss(d_loss, g_loss, relativistic=True))
    monkeypatch.setitem(LOSSES, 'alone', Loss(d_loss, g_loss))
    x, y = first_batch()
    gan = tiny(arch='mlp', loss='versus')
    expected = gan.D(x).detach()
    g_step(gan, x, y)
    g_step(tiny(arch='mlp', loss='alone'), x, y)
    assert torch.equal(seen[0], expected) and seen[1] is None


def test_augmentation_changes_all_that_d_sees_and_nothing_else(monkeypatch):
    x, y = first_batch()
    def half(x): return x / 2
    for name in 'half', 'again': monkeypatch.setitem(AUGMENTATIONS, name, half)
    seen, gan, bare = [], tiny(augment='half again', loss='rpgan'), tiny(loss='rpgan')
    gan.D.register_forward_pre_hook(lambda D, given: seen.append(given[0].detach()))
    bare.D.register_forward_pre_hook(lambda D, given: seen.append(given[0].detach() / 4))
    for each in gan, bare:
        torch.manual_seed(0)
        d_step(each, x, y)
    assert torch.equal(seen[0], x / 4) and all(torch.equal(a, b) for a, b in zip(seen[:2], seen[2:]))
    seen.clear()
    g_step(gan, x, y)
    assert torch.equal(seen[1], x / 4) and len(seen) == 2 and seen[0].abs().max() <= 0.25
    assert d_step(tiny(augment='half', penalty='r1'), x, y)['penalty'] != d_step(tiny(penalty='r1'), x, y)['penalty']


@pytest.mark.parametrize('given', [dict(lr_decay='cosine', ema=0.9), dict(augment='translation cutout brightness contrast', d_dropout=0.3, penalty='wgan_gp', loss='wgan'), dict(loss='rpgan', penalty='r1r2', lr_decay='linear')], ids=str)
def test_a_run_that_is_resumed_has_the_bits_of_one_that_was_not(given):
    data, states = tiny_data(200), []
    whole = train(tiny(epochs=3, **given), data, report=lambda gan: states.append(deepcopy(gan.state_dict())))
    for state in states[:2]:
        resumed = tiny(epochs=3, **given)
        resumed.load_state_dict(state)
        train(resumed, data, report=None)
        assert all(torch.equal(a, b) for a, b in zip(whole.tensors(), resumed.tensors(), strict=True)) and torch.equal(whole.samples[-1], resumed.samples[-1])


@pytest.mark.parametrize('every', [1, 3])
def test_a_penalty_is_applied_every_k_steps_with_its_weight_and_recorded_apart(monkeypatch, every):
    calls = []
    def lean(D, x_real, x_fake, y):
        calls.append((x_real, x_fake, y))
        return D(x_real, y).mean().square() + D(x_fake, y).mean()
    monkeypatch.setitem(PENALTIES, 'lean', lean)
    x, y = first_batch()
    def gradients(gan): return torch.cat([p.grad.flatten() for p in gan.D.parameters()])
    bare, gan = tiny(arch='mlp'), tiny(arch='mlp', penalty='lean', penalty_weight=0.7, penalty_every=every)
    untouched = tiny(arch='mlp').D
    a, b = d_step(bare, x, y), d_step(gan, x, y)
    assert torch.equal(calls[0][0], x) and calls[0][1].shape == x.shape and torch.equal(calls[0][2], y)
    value = lean(untouched, x, calls[0][1], y)
    by_hand = torch.cat([p.flatten() for p in torch.autograd.grad(value, untouched.parameters())])
    assert torch.equal(a['d_loss'], b['d_loss']) and b['penalty'].item() == pytest.approx(value.item()) and 'penalty' not in a
    assert torch.allclose(gradients(gan), gradients(bare) + 0.7*every*by_hand, atol=1e-6)
    assert not torch.allclose(gradients(gan), gradients(bare) + 0.7*by_hand, atol=1e-6) or every == 1, 'rarely and k times as strongly'
    calls.clear()
    logs = [d_step(gan, x, y) for _ in range(8)]          # steps 1 … 8
    assert [i for i, log in enumerate(logs, 1) if 'penalty' in log] == [i for i in range(1, 9) if i % every == 0] and len(calls) == 8 // every


def test_a_penalty_has_an_entry_of_its_own_in_the_history():
    gan = train(tiny(penalty='r1', penalty_every=3, epochs=2), tiny_data(250), report=None)
    assert all(entry['penalty'] > 0 and len(entry['tenths']['penalty']) == 2 and len(entry['tenths']['d_loss']) == 5 for entry in gan.history[:1])
    assert gan.n_d_steps == 10 and 'penalty' not in train(tiny(), tiny_data(100), report=None).history[0]


# The averaged generator

def test_the_average_of_two_steps_is_worked_out_by_hand():
    gan, (x, y) = tiny(ema=0.75), first_batch()
    w = [weights(gan.G)]
    assert gan.sampler is gan.G_ema and torch.equal(weights(gan.G_ema), w[0])
    for _ in range(2):
        d_step(gan, x, y)
        g_step(gan, x, y)
        w.append(weights(gan.G))
    assert torch.allclose(weights(gan.G_ema), 2/11*(w[0]/10 + w[1]*9/10) + w[2]*9/11, atol=1e-6), 'it warms up'
    assert not torch.allclose(weights(gan.G_ema), 0.75*(0.75*w[0] + 0.25*w[1]) + 0.25*w[2], atol=1e-4)
    gan.n_g_steps.fill_(1000)                             # 1001/1010 is more than 0.75: now the memory is as long as wanted
    average = weights(gan.G_ema)
    g_step(gan, x, y)
    assert torch.allclose(weights(gan.G_ema), 0.75*average + 0.25*weights(gan.G), atol=1e-6) and gan.n_g_steps == 1001
    assert not torch.allclose(weights(gan.G_ema), weights(gan.G), atol=1e-5)
    off = tiny(ema=0)
    assert off.G_ema is None and off.sampler is off.G


def test_the_average_draws_and_does_not_touch_the_training():
    bare, gan = (train(tiny(ema=ema, epochs=2), tiny_data(200), report=None) for ema in (0, 0.9))
    assert torch.equal(weights(bare.G, bare.D, buffers=True), weights(gan.G, gan.D, buffers=True))
    assert torch.equal(gan.samples[-1], generate(gan.G_ema, gan.z_fixed)) and not torch.equal(gan.samples[-1], generate(gan.G, gan.z_fixed))
    assert torch.equal(bare.samples[-1], generate(bare.G, bare.z_fixed))


# One owner of the state

def test_an_epoch_that_diverged_is_undone_the_average_included():
    kept, poisoned = [], []
    def g_step_poisoned(gan, x, y):
        with torch.no_grad():
            if len(gan.history) == 1: next(gan.G.parameters()).fill_(torch.nan)
        log = g_step(gan, x, y)
        poisoned.append(weights(gan.G_ema).isnan().any().item())
        return log
    gan = tiny(ema=0.9, epochs=3, optimizer='rmsprop', g_lr=1e-3)
    def keep(gan): kept.append([t.clone() for t in gan.tensors()])
    train(gan, tiny_data(200), report=keep, steps=(d_step, g_step_poisoned))
    assert gan.diverged and len(gan.history) == 2 and poisoned == [False]*4 + [True]*4
    assert len(kept[0]) == len(kept[1]) and all(torch.equal(a, b) for a, b in zip(*kept)) and all(t.isfinite().all() for t in kept[1])
    assert gan.samples[1].isfinite().all() and torch.equal(gan.samples[0], gan.samples[1])


def tensors_inside(value, path='gan', seen=None):
    "Every tensor that can be reached from an object, by the path to it."
    seen = set() if seen is None else seen
    if isinstance(value, torch.Tensor): return {path: value}
    if id(value) in seen: return {}
    seen.add(id(value))
    if isinstance(value, dict): parts = enumerate(value.values())
    elif isinstance(value, (list, tuple)): parts = enumerate(value)
    elif isinstance(value, (nn.Module, torch.optim.Optimizer, torch.amp.GradScaler)) or type(value).__module__.startswith('dcgan_nb.gan'): parts = vars(value).items()
    else: return {}
    return {name: t for key, part in parts for name, t in tensors_inside(part, f'{path}.{key}', seen).items()}


def forgotten(gan):
    "What a step changes: the paths of all tensors, and of those that `gan.tensors()` does not list."
    x, y = first_batch()
    def step(): return d_step(gan, x, y), g_step(gan, x, y)
    step()                                              # the optimizers make their memory
    before, listed = {path: t.clone() for path, t in tensors_inside(gan).items()}, {t.data_ptr() for t in gan.tensors()}
    step()
    changed = {path: t for path, t in tensors_inside(gan).items() if path not in before or not torch.equal(t, before[path])}
    return set(changed), {path for path, t in changed.items() if t.data_ptr() not in listed}


GIVEN = [dict(), dict(ema=0.9), dict(optimizer='rmsprop'), dict(penalty='r1', penalty_every=2), *(dict(arch=name, ema=0.9) for name in ARCHITECTURES),
         dict(arch='resnet', d_options='spectral=true minibatch_std=true'), dict(arch='cdcgan', conditional=True, d_options='head=concat'), dict(arch='cdcgan', conditional=True, d_options='head=classes')]


@pytest.mark.parametrize('given', GIVEN, ids=str)
def test_every_tensor_that_training_changes_is_in_the_list(given):
    gan = tiny(**given)
    changed, missed = forgotten(gan)
    assert not missed
    for part in ('G', 'D', 'opt_g', 'opt_d', *(['G_ema'] if 'ema' in given else [])): assert any(path.startswith(f'gan.{part}.') for path in changed), part


@pytest.mark.parametrize('given', [
    dict(arch='resnet', d_options='spectral=true minibatch_std=true', penalty='r1'), dict(arch='progressive', ema=0.9, d_options='spectral=true'),
    dict(arch='resnet', conditional=True), dict(arch='cdcgan', conditional=True, d_options='head=classes')], ids=str)
def test_networks_with_more_state_than_weights_are_taken_up_again_and_undone_bit_for_bit(given):
    data, file = tiny_data(200), io.BytesIO()
    whole, again = tiny(**given), tiny(**given)
    for gan in (whole, again):
        for net in (gan.G, gan.D):
            if hasattr(net, 'set_progress'): net.set_progress(0.2)             # in the middle of a fade
    def go_on(gan):
        train_epoch(gan, data)
        return weights(gan.G, gan.D, buffers=True)
    train_epoch(whole, data)
    torch.save(whole.state_dict(), file)
    file.seek(0)
    again.load_state_dict(torch.load(file, weights_only=True))
    restore, before = whole.snapshot(), weights(whole.G, whole.D, buffers=True)
    expected = go_on(whole)
    assert torch.equal(go_on(again), expected) and not torch.equal(before, expected)
    restore()
    assert torch.equal(weights(whole.G, whole.D, buffers=True), before) and torch.equal(go_on(whole), expected)


def test_a_part_that_the_list_forgets_is_found(monkeypatch):
    gan = tiny(ema=0.9)
    everything, average = gan.tensors, gan.G_ema
    def without_the_average(): return [t for t in everything() if t.data_ptr() not in {p.data_ptr() for p in average.state_dict().values()}]
    monkeypatch.setattr(gan, 'tensors', without_the_average)
    assert forgotten(gan)[1] and all(path.startswith('gan.G_ema.') for path in forgotten(gan)[1])
    other = tiny()
    other.momentum = torch.zeros(())                   # a new part of the state, which nobody listed
    other.D.register_forward_hook(lambda *_: other.momentum.add_(1) and None)
    assert forgotten(other)[1] == {'gan.momentum'}


# Configuration

@pytest.mark.parametrize('profile', PROFILES)
def test_profiles_resolve_completely(profile):
    config = RunConfig.resolve(profile=profile, device='cpu')
    assert all(v is not None for v in config.record().values())
    again = RunConfig.resolve(**config.record())
    assert again == config and again.run_id == config.run_id


@pytest.mark.parametrize('given, message', [
    (dict(optimiser='adam'), "Did you mean 'optimizer'"), (dict(loss='Hinge'), "Did you mean 'hinge'"), (dict(epochs='3'), 'whole number'),
    (dict(g_lr=-1.0), 'Nearest: 1e-08'), (dict(beta1=1.0), 'out of range'), (dict(device='tpu'), 'Known: auto, cuda, mps, cpu'), (dict(seed=[1]), 'whole number'),
    (dict(runs_dir=3), 'not a path'), (dict(profile='fast'), 'Known: auto, smoke, cpu, full'), (dict(latent_dim=10**9), 'Nearest: 4096')])
def test_bad_input_is_answered_with_the_right_one(given, message):
    with pytest.raises(InputError) as error: RunConfig.resolve(**dict(device='cpu') | given)
    assert message in str(error.value) and next(iter(given)) in str(error.value)
