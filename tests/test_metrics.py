"The measuring instruments, against independent implementations: SciPy, torchmetrics, torch-fidelity, brute force."
import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch

from dcgan_nb.foundations.batches import to_uint8
from dcgan_nb.foundations.core import InputError
from dcgan_nb.foundations.datasets import load_data
from dcgan_nb.projects.b import project_b_features, project_b_score
from dcgan_nb.scores.conditional import fid_by_class
from dcgan_nb.scores.diagnostics import auc
from dcgan_nb.scores.features import Classifier, InceptionV3, extract, load_classifier, load_extractor
from dcgan_nb.scores.metrics import (METRICS, STANDARD_METRICS, Metric, Sample, evaluate, fid, fid_infinity, frechet_distance, inception_score, kid,
                                     precision_recall, statistics)
from dcgan_nb.scores.memorization import _nearest, copied_share, interpolate, nearest_rows

SAMPLE = load_data('fashion_mnist_sample')


# FID

def reference_fid(x, y, ddof=1):
    mx, my, cx, cy = x.mean(0), y.mean(0), np.cov(x.T, ddof=ddof), np.cov(y.T, ddof=ddof)
    return ((mx - my)**2).sum() + np.trace(cx + cy - 2*np.real(scipy.linalg.sqrtm(cx @ cy)))


def test_fid_is_the_formula_with_n_minus_1(rng):
    real, fake = torch.randn(60, 7, generator=rng), torch.randn(45, 7, generator=rng) * 1.7 + 0.5
    x, y = real.double().numpy(), fake.double().numpy()
    assert fid(real, fake) == pytest.approx(reference_fid(x, y), rel=1e-6)
    assert fid(real, fake) == pytest.approx(fid(fake, real), rel=1e-9)
    assert fid(real, fake) != pytest.approx(reference_fid(x, y, ddof=0), rel=1e-3), 'the version with n must fail'
    assert fid(real, real) == pytest.approx(0, abs=1e-6)
    shift = torch.randn(7, generator=rng)
    assert fid(real, real + shift) == pytest.approx(shift.double().square().sum().item(), rel=1e-5)


def test_fid_agrees_with_torchmetrics_and_torch_fidelity(rng):
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torchmetrics.image.fid import FrechetInceptionDistance
    real, fake = torch.randn(400, 30, generator=rng).double(), torch.randn(300, 30, generator=rng).double() * 1.3 + 0.2
    given = torch.nn.Identity()
    given.num_features = 30
    metric = FrechetInceptionDistance(given).set_dtype(torch.float64)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    assert fid(real, fake) == pytest.approx(metric.compute().item(), rel=1e-6)
    theirs = fid_statistics_to_metric(fid_features_to_statistics(real), fid_features_to_statistics(fake), verbose=False)
    assert fid(real, fake) == pytest.approx(theirs['frechet_inception_distance'], rel=1e-6)


def test_frechet_distance_of_gaussians_in_closed_form(rng):
    # for commuting covariances: the squared distance of the means and of the roots of the eigenvalues
    q, _ = torch.linalg.qr(torch.randn(9, 9, generator=rng).double())
    a, b = torch.rand(2, 9, generator=rng).double() * 5
    m = torch.randn(2, 9, generator=rng).double()
    expected = (m[0] - m[1]).square().sum() + (a.sqrt() - b.sqrt()).square().sum()
    assert frechet_distance((m[0], q @ a.diag() @ q.T), (m[1], q @ b.diag() @ q.T)) == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize('n, d', [(10, 40), (2, 5), (40, 40)])
def test_singular_covariances_are_no_problem(n, d, rng):
    real, fake = torch.randn(n, d, generator=rng).double(), torch.randn(n, d, generator=rng).double() + 1
    # the trace of the root, from the singular values of the centered data, without any covariance
    cross = np.linalg.svd((real - real.mean(0)).numpy() @ (fake - fake.mean(0)).numpy().T, compute_uv=False).sum() / (n - 1)
    expected = (real.mean(0) - fake.mean(0)).square().sum() + real.var(0).sum() + fake.var(0).sum() - 2*cross
    assert fid(real, fake) == pytest.approx(expected.item(), rel=1e-5)


def test_near_singular_covariances_are_no_problem(rng):
    scales = torch.logspace(0, -12, 20).double()
    real, fake = torch.randn(2, 500, 20, generator=rng).double() * scales
    assert fid(real, fake) == pytest.approx(reference_fid(real[:, :6].numpy(), fake[:, :6].numpy()), rel=1e-2)
    constant = torch.ones(50, 4)
    assert fid(constant, constant + 2) == pytest.approx(16)


def test_fid_infinity_removes_the_bias(rng):
    real, fake = torch.randn(20_000, 40, generator=rng), torch.randn(1000, 40, generator=rng)
    assert abs(fid_infinity(real, fake)) < 0.4*fid(real, fake)
    shifted = fake + 1
    assert fid_infinity(real, shifted) == pytest.approx(40, rel=0.1)


# KID, Inception Score

def test_kid_is_the_unbiased_estimate(rng):
    real, fake = torch.randn(12, 5, generator=rng).double(), torch.randn(12, 5, generator=rng).double() + 0.3
    def k(a, b): return (a @ b.T / 5 + 1)**3
    def off_diagonal(m): return (m.sum() - m.diagonal().sum()) / (len(m) * (len(m) - 1))
    everything = (off_diagonal(k(real, real)) + off_diagonal(k(fake, fake)) - 2*k(real, fake).mean()).item()
    assert kid(real, fake, n_subsets=3, subset_size=12) == pytest.approx((everything, 0), rel=1e-9, abs=1e-9)
    value, std = kid(real, fake, n_subsets=3000)
    assert value == pytest.approx(everything, abs=6*std/math.sqrt(3000))
    with pytest.raises(InputError, match='subset_size=13'): kid(real, fake, subset_size=13)


def test_inception_score_is_the_formula(rng):
    logits = torch.randn(300, 10, generator=rng).double() * 3
    p = np.exp(logits.numpy())
    p /= p.sum(1, keepdims=True)
    expected = np.exp((p * (np.log(p) - np.log(p.mean(0)))).sum(1).mean())
    assert inception_score(logits, n_splits=1)[0] == pytest.approx(expected, rel=1e-6)
    n = 300 - int(torch.randint(1, 10, (), generator=rng))       # splits are equal: what is left over is not judged
    assert inception_score(logits[:n]) == inception_score(logits[:290])


@pytest.mark.parametrize('call, told', [
    *((lambda size=size: kid(torch.zeros(12, 5), torch.zeros(9, 5), subset_size=size), f'subset_size={size}') for size in (10, 1, 0, -1)), (lambda: kid(torch.zeros(9, 5), torch.zeros(9, 5), n_subsets=0), 'n_subsets=0'),
    (lambda: precision_recall(torch.zeros(9, 5), torch.zeros(9, 5), k=0), 'k=0'), (lambda: precision_recall(torch.zeros(9, 5), torch.zeros(9, 5), k_density=-1), 'k_density=-1'),
    *((lambda score=score: score(torch.randn(40, 5), torch.randn(40, 6)), 'real features are 5 numbers for each picture, fake features 6') for score in (fid, kid, precision_recall, fid_infinity)),
    *((lambda n=n: evaluate(SAMPLE.x_test[:1].repeat(n, 1, 1, 1), SAMPLE, load_classifier('fashion_mnist')), f'x_fake has {n} images, from 1 to 500') for n in (0, 501)),
    *((lambda n=n: evaluate(SAMPLE.x_test, SAMPLE, load_classifier('fashion_mnist'), y_fake=SAMPLE.y_test[:n]), f'x_fake has 500 images and y_fake {n} classes') for n in (0, 499))])
def test_what_cannot_be_scored_is_named_as_the_caller_names_it(call, told):
    with pytest.raises(InputError, match=told): call()


# Precision, recall, density, coverage

def test_precision_recall_density_coverage_are_their_definitions(rng):
    n_real, n_fake = 61, 47
    real, fake = torch.randn(n_real, 4, generator=rng).double(), torch.randn(n_fake, 4, generator=rng).double() * 1.2 + 0.4
    def d(a, b): return math.dist(a.tolist(), b.tolist())
    def radius(x, i, k): return sorted(d(x[i], x[j]) for j in range(len(x)) if j != i)[k - 1]
    r3, f3, r5 = ([radius(x, i, k) for i in range(len(x))] for x, k in ((real, 3), (fake, 3), (real, 5)))
    expected = dict(precision=np.mean([any(d(f, r) <= r3[i] for i, r in enumerate(real)) for f in fake]),
                    recall=np.mean([any(d(r, f) <= f3[j] for j, f in enumerate(fake)) for r in real]),
                    density=sum(d(f, r) <= r5[i] for f in fake for i, r in enumerate(real)) / (5*n_fake),
                    coverage=np.mean([any(d(f, r) <= r5[i] for f in fake) for i, r in enumerate(real)]))
    assert precision_recall(real, fake) == pytest.approx(expected)


def test_precision_and_recall_agree_with_torch_fidelity(rng):
    from torch_fidelity.metric_prc import prc_features_to_metric
    real, fake = torch.randn(200, 6, generator=rng), torch.randn(200, 6, generator=rng) * 1.1 + 0.3
    theirs = prc_features_to_metric(fake, real, prc_neighborhood=3, prc_batch_size=10000, verbose=False)
    ours = precision_recall(real, fake)
    assert (ours['precision'], ours['recall']) == pytest.approx((theirs['precision'], theirs['recall']), abs=1e-6)


def test_scores_do_not_depend_on_the_order_of_the_images(rng):
    real, fake = torch.randn(80, 6, generator=rng), torch.randn(80, 6, generator=rng) + 0.2
    mixed = fake[torch.randperm(80, generator=rng)]
    assert fid(real, mixed) == pytest.approx(fid(real, fake), rel=1e-9)
    assert precision_recall(real, mixed) == pytest.approx(precision_recall(real, fake))
    assert kid(real, mixed, subset_size=80) == pytest.approx(kid(real, fake, subset_size=80), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize('bad, message', [(torch.full((50, 4), math.nan), 'NaN'), (torch.full((50, 4), math.inf), 'NaN or infinite'),
                                          (torch.zeros(1, 4), 'too few'), (torch.zeros(50, 4, 1), 'must be')])
@pytest.mark.parametrize('score', [lambda x: fid(torch.zeros(50, 4), x), lambda x: kid(torch.zeros(50, 4), x), inception_score, statistics, project_b_score,
                                   lambda x: precision_recall(torch.zeros(50, 4), x), lambda x: fid_infinity(torch.zeros(50, 4), x)])
def test_no_score_without_sense(score, bad, message):
    with pytest.raises(InputError, match=message): score(bad)


# What FID does not say

def test_the_generalization_gap_is_the_mann_whitney_statistic(rng):
    high, low = torch.randint(0, 8, (57,), generator=rng).float(), torch.randint(-1, 7, (43,), generator=rng).float()      # many ties
    u = scipy.stats.mannwhitneyu(high.numpy(), low.numpy()).statistic
    assert auc(high, low) == pytest.approx(u / (57*43)) and auc(low, high) == pytest.approx(1 - auc(high, low))


def test_nearest_rows_are_the_nearest(rng):
    x, among = torch.randn(33, 3, 5, generator=rng) + 100, torch.randn(71, 3, 5, generator=rng) + 100
    d = torch.cdist(x.flatten(1).double(), among.flatten(1).double())
    index, distance = nearest_rows(x, among, batch_size=int(torch.randint(1, 40, (1,), generator=rng)))
    assert torch.equal(index, d.argmin(1)) and torch.allclose(distance.double(), d.min(1).values, rtol=1e-4)
    others = torch.cdist(among.flatten(1).double(), among.flatten(1).double()).fill_diagonal_(math.inf)
    kept = among.clone()
    assert torch.equal(nearest_rows(among, among, torch.arange(71))[0], others.argmin(1))
    assert torch.equal(among, kept), 'what was given is as it was'


def test_the_nearest_image_is_the_same_in_whatever_parts_it_is_looked_for(rng):
    x, among = (torch.randint(0, 256, (n, 2, 4, 5), generator=rng, dtype=torch.uint8) for n in (6, 83))
    whole = among[(x.flatten(1)[:, None].double() - among.flatten(1).double()).norm(dim=2).argmin(1)]
    for n in 1, 83, 200, int(torch.randint(2, 80, (1,), generator=rng)): assert torch.equal(_nearest(x, among, n), whole), n


def test_the_copied_share_finds_the_share_of_copies(rng):
    n, n_train, n_held_out, copies = 4000, 3000, 1000, 1200
    learned = torch.randint(0, n_train + n_held_out, (n - copies,), generator=rng)
    copied = torch.randint(0, n_train, (copies,), generator=rng)
    share, sigma = copied_share(torch.cat([copied, learned]), n_train, n_held_out)
    assert share == pytest.approx(copies / n, abs=6*sigma) and share > 6*sigma
    assert sigma > 0.9*math.sqrt(n_train / n_held_out / n), 'samples that share their nearest image count for less'


def test_copies_of_training_images_are_caught_and_unseen_images_are_not(rng):
    clf = load_extractor('clf', SAMPLE.info)
    copies = (SAMPLE.x_train[torch.randperm(1000, generator=rng)[:200]] + torch.randn(200, 1, 28, 28, generator=rng) * 10).clamp(0, 255).to(torch.uint8)
    caught = evaluate(copies, SAMPLE, clf, metrics='copying')['copying_clf_200']
    assert caught['value'] > 0.9 and caught['value'] > 5*caught['std'] and abs(caught['reference']) < 6*caught['std']
    noise = torch.randint(0, 256, copies.shape, dtype=torch.uint8, generator=rng)
    found = evaluate(noise, SAMPLE, clf, metrics='copying')['copying_clf_200']
    assert found['value'] < 4*found['std']


def test_wrong_classes_are_seen_by_the_scores_of_classes_and_by_no_other():
    clf, x, y = load_extractor('clf', SAMPLE.info), SAMPLE.x_train[:300], SAMPLE.y_train[:300]
    right, wrong = (evaluate(x, SAMPLE, clf, metrics='fid gantest fidclass', y_fake=labels) for labels in (y, (y + 1) % 10))
    assert right['fid_clf_300'] == wrong['fid_clf_300']
    assert right['gantest_clf_300']['value'] > 0.9 and wrong['gantest_clf_300']['value'] < 0.1
    assert wrong['fidclass_clf_300']['value'] > 5*right['fidclass_clf_300']['value']
    by_class = fid_by_class(Sample(SAMPLE.x_test, clf, SAMPLE.y_test), Sample(x, clf, y), SAMPLE.info.classes)
    assert tuple(by_class) == SAMPLE.info.classes


def test_interpolation_stays_on_the_sphere_and_goes_evenly(rng):
    z = torch.randn(2, 7, 30, generator=rng).double()
    z = z / z.norm(dim=2, keepdim=True)
    path = interpolate(*z, n_steps=6)
    assert torch.allclose(path.norm(dim=2), torch.ones(7, 6).double()) and torch.allclose(path[:, 0], z[0]) and torch.allclose(path[:, -1], z[1])
    steps = path.diff(dim=1).norm(dim=2)
    assert torch.allclose(steps, steps[:, :1].expand(-1, 5))


# Project B's estimator

def test_project_b_is_reproduced_with_scipy(rng):
    pool = torch.rand(100, 2048, generator=rng).double() * (torch.rand(100, 2048, generator=rng) > 0.3)
    p = (pool / pool.sum(1, keepdim=True)).clamp(min=1e-16).numpy()
    expected = [np.exp(np.mean([scipy.stats.entropy(part.mean(0), image) for image in part])) for part in np.split(p, 10)]
    mean, std = project_b_score(pool)
    assert mean == pytest.approx(np.mean(expected), rel=1e-3) and std == pytest.approx(np.std(expected), rel=1e-2, abs=1e-6)


def test_project_b_cannot_tell_clothes_from_noise_but_the_inception_score_can(rng):
    clf = load_extractor('clf', SAMPLE.info)
    noise = torch.randint(0, 256, SAMPLE.x_test.shape, dtype=torch.uint8, generator=rng)
    wrong = [project_b_score(project_b_features(clf, x))[0] for x in (SAMPLE.x_test, noise)]
    right = [inception_score(extract(clf, x).logits)[0] for x in (SAMPLE.x_test, noise)]
    assert max(wrong) / min(wrong) < 1.5 and right[0] > 5*right[1]


# Extractors

def test_features_do_not_depend_on_the_batch(rng):
    clf, batch = load_extractor('clf', SAMPLE.info), int(torch.randint(1, 90, (1,), generator=rng))
    assert torch.allclose(extract(clf, SAMPLE.x_test, batch).pool, extract(clf, SAMPLE.x_test).pool, atol=1e-4)


def test_evaluate_gives_every_score_with_its_reference_and_its_protocol():
    scores = evaluate(SAMPLE.x_train[:300], SAMPLE, load_extractor('clf', SAMPLE.info), metrics=(*STANDARD_METRICS, 'fidinf'))
    assert set(scores) == {f'{s}_clf_300' for s in ('fid', 'kid', 'is', 'precision', 'recall', 'density', 'coverage', 'fidinf')}
    for m in scores.values(): assert m.keys() == {'value', 'std', 'reference', 'n_fake', 'n_real'} and m['n_fake'] == m['n_real'] == 300


def test_a_metric_of_your_own_gets_what_it_needs_and_its_reference(monkeypatch, rng):
    def darker(real, fake): return real.images.float().mean().item() - fake.images.float().mean().item()
    def agreement(real, fake): return (fake.logits.argmax(1) == fake.labels).float().mean().item(), 0.5
    monkeypatch.setitem(METRICS, 'darker', Metric('Darker', darker, needs=('images',)))
    monkeypatch.setitem(METRICS, 'agreement', Metric('Agreement', agreement, needs=('logits', 'labels'), lower_is_better=False, n_max=100))
    black, clf = torch.zeros(300, 1, 28, 28, dtype=torch.uint8), load_extractor('clf', SAMPLE.info)
    y_fake = torch.randint(0, 10, (300,), generator=rng)
    scores = evaluate(black, SAMPLE, clf, metrics=('agreement', 'darker'), y_fake=y_fake)
    assert set(scores) == {'darker_clf_300', 'agreement_clf_100'}
    dark, agreed = scores['darker_clf_300'], scores['agreement_clf_100']
    assert 60 < dark['value'] < 80 and abs(dark['reference']) < 5 and dark['std'] is None, 'clothes are not black, and real images as bright as others'
    named = extract(clf, black[:1]).logits.argmax()
    assert agreed['value'] == pytest.approx((y_fake[:100] == named).float().mean().item()) and agreed['std'] == 0.5 and agreed['n_fake'] == 100
    assert agreed['reference'] > 0.9, 'real images have their own labels'


@pytest.fixture(scope='session')
def inception_file(tmp_path_factory):
    "Random weights in the right format: the published ones are not at hand everywhere."
    from torch_fidelity import feature_extractor_inceptionv3 as module
    patch = pytest.MonkeyPatch()
    patch.setattr(module, 'load_state_dict_from_url', lambda *a, **k: {})
    patch.setattr(module.FeatureExtractorInceptionV3, 'load_state_dict', lambda self, state: None)
    torch.manual_seed(0)
    net = module.FeatureExtractorInceptionV3('inception', ['2048'])
    patch.undo()
    for m in net.modules():                                # keep the signal alive through 48 random layers
        if isinstance(m, torch.nn.Conv2d): torch.nn.init.kaiming_normal_(m.weight)
    torch.nn.init.normal_(net.fc.weight, std=0.05)
    file = tmp_path_factory.mktemp('weights')/'inception.pth'
    torch.save(net.state_dict(), file)
    return file


def test_inception_is_torch_fidelitys_protocol(inception_file, rng):
    from torch_fidelity import calculate_metrics
    real, fake = SAMPLE.x_test[:12], to_uint8(torch.rand(12, 1, 28, 28, generator=rng) * 2 - 1)
    class Images(torch.utils.data.Dataset):
        def __init__(self, x): self.x = x.expand(-1, 3, -1, -1)
        def __len__(self): return len(self.x)
        def __getitem__(self, i): return self.x[i]
    theirs = calculate_metrics(input1=Images(fake), input2=Images(real), fid=True, kid=True, isc=True, isc_splits=1, kid_subsets=3, kid_subset_size=12, cuda=False,
                               batch_size=4, feature_extractor='inception-v3-compat', feature_extractor_weights_path=str(inception_file), cache=False, verbose=False)
    net = load_extractor('inception', SAMPLE.info, inception_file)
    a, b = extract(net, real), extract(net, fake)
    assert a.pool.shape == (12, 2048) and a.logits.shape == (12, 1008)
    assert fid(a.pool, b.pool) == pytest.approx(theirs['frechet_inception_distance'], rel=1e-3)
    assert kid(a.pool, b.pool, n_subsets=3, subset_size=12)[0] == pytest.approx(theirs['kernel_inception_distance_mean'], rel=1e-3)
    assert inception_score(b.logits, n_splits=1)[0] == pytest.approx(theirs['inception_score_mean'], rel=1e-3)


def test_inception_without_weights_says_where_they_go(monkeypatch, tmp_path):
    from torch_fidelity import feature_extractor_inceptionv3 as module
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    def no_network(*args, **kwargs): raise OSError('no route to host')
    monkeypatch.setattr(module, 'load_state_dict_from_url', no_network)
    with pytest.raises(InputError) as error: InceptionV3()
    assert 'weights-inception-2015-12-05-6726825d.pth' in str(error.value) and 'feature_weights=' in str(error.value)


def test_a_pickle_that_holds_code_is_refused(tmp_path):
    class Malicious:
        def __reduce__(self): return (open, (str(tmp_path/'pwned'), 'w'))
    torch.save({'weights': Malicious()}, tmp_path/'weights.pth')
    with pytest.raises(InputError, match='is not a file of InceptionV3 weights'): InceptionV3(tmp_path/'weights.pth')
    assert not (tmp_path/'pwned').exists()


def test_imagenet_sees_1280_features_and_knows_a_shoe_from_a_shirt():
    net = load_extractor('imagenet', SAMPLE.info)
    chosen = torch.cat([(SAMPLE.y_test == c).nonzero().flatten()[:20] for c in (6, 9)])      # shirts, ankle boots
    pool = extract(net, SAMPLE.x_test[chosen]).pool
    assert pool.shape == (40, 1280)
    other = torch.cdist(pool, pool).fill_diagonal_(math.inf).argmin(1)
    assert ((torch.arange(40) < 20) == (other < 20)).float().mean() > 0.85, 'nearest neighbors are of the same class'


def test_the_classifier_contract():
    features, logits = Classifier(3, 7)(torch.zeros(2, 3, 32, 32))
    assert features.shape == (2, 128) and logits.shape == (2, 7)
