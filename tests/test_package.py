"The package as imported: fresh random inputs, independent formulas, hand-worked answers, and wrong versions that must not pass."
import gzip
import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch

from dcgan_nb import data as data_module
from dcgan_nb.config import PROFILES, RunConfig
from dcgan_nb.data import DATASETS, Dataset, batches, find_data, idx_bytes, load_data, normalise, read_idx, stratified_indices, to_uint8, write_idx
from dcgan_nb.features import CLASSIFIERS, extract, load_classifier
from dcgan_nb.losses import LOSSES
from dcgan_nb.metrics import evaluate, fid, kid, precision_recall
from dcgan_nb.models import ARCHITECTURES, ToMaps, build_networks, generate, load_generator, save_generator
from dcgan_nb.registry import InputError
from dcgan_nb.train import d_step, g_step, new_game, train, train_epoch

SAMPLE = load_data('fashion_mnist_sample')
SMALL = dict(profile='smoke', device='cpu', g_width=4, d_width=4, epochs=1)


def sigmoid(x): return 1 / (1 + np.exp(-x))


# Losses, against NumPy in float64

@pytest.mark.parametrize('name, d_loss, g_loss', [
    ('bce', lambda r, f: -np.log(sigmoid(r)).mean() - np.log(1 - sigmoid(f)).mean(), lambda f: -np.log(sigmoid(f)).mean()),
    ('mse', lambda r, f: ((r - 1)**2).mean() / 2 + (f**2).mean() / 2, lambda f: ((f - 1)**2).mean() / 2),
    ('minimax', lambda r, f: -np.log(sigmoid(r)).mean() - np.log(1 - sigmoid(f)).mean(), lambda f: np.log(1 - sigmoid(f)).mean()),
    ('hinge', lambda r, f: np.maximum(0, 1 - r).mean() + np.maximum(0, 1 + f).mean(), lambda f: -f.mean())])
def test_losses_are_their_formulas(name, d_loss, g_loss, rng):
    real, fake = torch.randn(2, 257, generator=rng).mul(3).double()
    assert LOSSES[name].d_loss(real, fake).item() == pytest.approx(d_loss(real.numpy(), fake.numpy()))
    assert LOSSES[name].g_loss(fake).item() == pytest.approx(g_loss(fake.numpy()))
    assert LOSSES[name].d_loss(real, fake).item() != pytest.approx(LOSSES[name].d_loss(fake, real).item()), 'real and generated images are not the same to D'


def test_all_losses_are_tested():
    assert set(LOSSES) == {'bce', 'mse', 'hinge', 'minimax', 'bce_soft'}      # bce_soft: test_projects.py


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
    clf = load_classifier('fashion_mnist')
    game = train(new_game(RunConfig.resolve(profile='smoke', device='cpu', loss='hinge', epochs=20)), SAMPLE.x_train, report=None)
    real, varied = extract(clf, SAMPLE.x_test).pool, extract(clf, to_uint8(generate(game.G, torch.randn(500, 100, generator=rng)))).pool
    collapsed = [varied[torch.randperm(500, generator=rng)[:2].repeat(250)] for _ in range(20)]     # two images each; which two is luck
    assert np.mean([fid(real, x) for x in collapsed]) > 1.1*fid(real, varied)
    assert np.mean([kid(real, x, n_subsets=20)[0] for x in collapsed]) > kid(real, varied)[0]
    assert all(precision_recall(real, x)['coverage'] <= precision_recall(real, varied)['coverage'] for x in collapsed[:3])


def test_evaluating_between_epochs_does_not_change_the_training():
    clf, config = load_classifier('fashion_mnist'), RunConfig.resolve(**SMALL | dict(epochs=2))
    def weights(after_epoch):
        game = new_game(config)
        for _ in range(2):
            game.history.append(train_epoch(game, SAMPLE.x_train))
            after_epoch(game)
        return torch.cat([p.detach().flatten() for p in game.G.parameters()])
    judged = weights(lambda game: evaluate(to_uint8(generate(game.G, game.z_fixed)), SAMPLE, clf))
    assert torch.equal(judged, weights(lambda game: None))


def test_floats_are_not_pixels():
    with pytest.raises(InputError, match='normalised already'): evaluate(normalise(SAMPLE.x_test[:100]), SAMPLE, load_classifier('fashion_mnist'))


# Data

def test_idx_files_of_any_shape_come_back(rng, tmp_path):
    for shape in ((3,), (4, 5), (2, 3, 4), (2, 3, 4, 5)):
        x = torch.randint(0, 256, shape, dtype=torch.uint8, generator=rng)
        write_idx(x, tmp_path/'x.gz')
        assert torch.equal(read_idx(tmp_path/'x.gz'), x)
        (tmp_path/'plain').write_bytes(idx_bytes(x))
        assert torch.equal(read_idx(tmp_path/'plain'), x)


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
    monkeypatch.setitem(DATASETS, 'nowhere', Dataset('Nowhere', ('a',), 1, 1, dict.fromkeys(DATASETS['mnist'].sha256)))
    with pytest.raises(InputError) as error: load_data('nowhere')
    for word in ('the package', 'the cache', "torchvision's download", "Debian's package", 'data_dir=', 'fashion_mnist_sample'): assert word in str(error.value)
    assert not list((tmp_path/'cache').glob('*')), 'a failed search leaves nothing behind'


def test_a_source_that_works_fills_the_cache_and_a_damaged_cache_is_replaced(monkeypatch, tmp_path):
    monkeypatch.setenv('DCGAN_NB_CACHE', str(tmp_path/'cache'))
    files, calls = find_data('fashion_mnist_sample')[0], []
    monkeypatch.setitem(DATASETS, 'fetched', Dataset('Fetched', SAMPLE.info.classes, 1000, 500, DATASETS['fashion_mnist_sample'].sha256))
    def fetch(name, ds, to):
        "a source"
        calls.append(name)
        for stem, x in files.items(): write_idx(x, to/f'{stem}.gz')
        return to
    monkeypatch.setattr(data_module, '_torchvision_download', fetch)
    assert load_data('fetched').sha256 == SAMPLE.sha256 and load_data('fetched').where == 'the cache' and calls == ['fetched']
    (tmp_path/'cache/fetched/t10k-labels-idx1-ubyte.gz').write_bytes(b'damaged')
    assert load_data('fetched').sha256 == SAMPLE.sha256 and calls == ['fetched', 'fetched']
    assert load_data('fetched').where == 'the cache'


def test_a_colour_data_set_trains_from_one_line(monkeypatch, rng, tmp_path):
    stems = list(DATASETS['mnist'].sha256)
    monkeypatch.setitem(DATASETS, 'colour', Dataset('Colour', tuple('0123456789'), 60, 50, dict.fromkeys(stems), channels=3, size=32))
    for images, labels, n in ((stems[0], stems[1], 60), (stems[2], stems[3], 50)):
        write_idx(torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=rng), tmp_path/f'{images}.gz')
        write_idx(torch.randint(0, 10, (n,), generator=rng).to(torch.uint8), tmp_path/f'{labels}.gz')
    config = RunConfig.resolve(**SMALL | dict(dataset='colour', data_dir=str(tmp_path), n_eval=50, batch_size=20))
    game = train(new_game(config), load_data('colour', tmp_path).x_train, report=None)
    assert game.samples[-1].shape[1:] == (3, 32, 32)


def test_batches_cover_an_epoch_and_know_pixels_from_floats(rng):
    order = torch.Generator().manual_seed(5)
    seen = torch.cat([to_uint8(b) for b in batches(SAMPLE.x_train, 40, order)])
    assert seen.shape == SAMPLE.x_train.shape
    assert sorted(hashlib.sha256(i.numpy().tobytes()).hexdigest() for i in seen) == sorted(hashlib.sha256(i.numpy().tobytes()).hexdigest() for i in SAMPLE.x_train)
    with pytest.raises(InputError, match='normalised already'): normalise(normalise(SAMPLE.x_train[:2]))


def test_stratified_draws_keep_proportions(rng):
    labels = torch.randint(0, 5, (997,), generator=rng)
    n = int(torch.randint(50, 900, (1,), generator=rng))
    chosen = stratified_indices(labels, n)
    assert len(set(chosen.tolist())) == n
    assert (labels[chosen].bincount(minlength=5) - labels.bincount(minlength=5) * n / 997).abs().max() <= 1


# Networks


def test_a_generator_file_gives_the_same_images_in_another_process(rng, tmp_path):
    G, _ = build_networks('dcgan', 16, 1, 28, 8, 8, seed=11)
    G(torch.randn(64, 16, generator=rng))
    save_generator(G, tmp_path/'generator.safetensors')
    z = torch.randn(9, 16, generator=rng)
    torch.save(z, tmp_path/'z.pt')
    code = ("import sys, torch; from dcgan_nb.models import load_generator; "
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


def not_channels_last(game):
    "Layers whose maps, or gradients of them, do not lie with channels last in a step of D and one of G."
    broken, channels_last = set(), torch.channels_last
    def seen(name, x):
        if x.dim() == 4 and x.shape[1] > 1 and not x.is_contiguous(memory_format=channels_last): broken.add(name)
    def watch(name):
        def hook(layer, given, y):
            seen(name, y)
            if y.requires_grad: y.register_hook(lambda gradient: seen(f'{name}, gradient', gradient))
        return hook
    for net in (game.G, game.D):
        for i, layer in enumerate(net): layer.register_forward_hook(watch(f'{i} {type(layer).__name__}'))
    d_step(game, torch.rand(game.config.batch_size, 1, *2*[game.config.image_size]))
    g_step(game, game.config.batch_size)
    return broken


@pytest.mark.parametrize('arch', [name for name in ARCHITECTURES if name != 'mlp'])
def test_maps_keep_their_layout_on_a_cpu(arch):
    game = new_game(RunConfig.resolve(arch=arch, **SMALL | dict(g_width=8, d_width=8, batch_size=4)))
    assert not not_channels_last(game)
    for layer in game.G:
        if type(layer) is ToMaps: layer.__class__ = torch.nn.Unflatten
    assert not_channels_last(game), 'without the layer that begins it'


def test_same_seed_same_weights_bit_for_bit(rng):
    seed = int(torch.randint(0, 2**31, (1,), generator=rng))
    def weights(**change):
        torch.rand(int(torch.randint(1, 9, (1,), generator=rng)))       # the global numbers must not matter
        game = train(new_game(RunConfig.resolve(**SMALL | dict(seed=seed) | change)), SAMPLE.x_train, report=None)
        return torch.cat([p.detach().flatten() for net in (game.G, game.D) for p in net.parameters()])
    assert torch.equal(weights(), weights())
    assert not torch.equal(weights(), weights(seed=seed ^ 1))


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
