"GAN Lab in a real browser: its hand-written formulas beside the library's through autograd, its training beside PyTorch's, and what a reader can do."
import os
import random
import statistics

import numpy as np
import pytest
import torch
from conftest import CHROMIUM, ROOT, opened

from dcgan_nb.gan.losses import LOSSES
from dcgan_nb.gan.penalties import PENALTIES
from dcgan_nb.study.lab import (DEFAULTS, PRESETS, PointGAN, Random, covered, drawn_points, gan_lab, network, point_d_step, point_samples, smallest_gradients,
                                smallest_path, train_points)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason='no Chromium is installed (Debian: apt-get install chromium)')
LAB_JS = ROOT/'nbs/assets/lab.js'
CASES = [(loss, penalty) for loss in ('bce', 'mse', 'hinge', 'minimax', 'wgan', 'rpgan') for penalty in ('none', 'r1', 'r2', 'r1r2', 'wgan_gp')]


@pytest.fixture(scope='module')
def computer(browser):
    "The script alone, in an empty page."
    page = browser.new_page()
    page.set_content(f'<!doctype html><script>{LAB_JS.read_text()}</script>')
    yield page
    page.close()


@pytest.fixture
def seed():
    seed = int.from_bytes(os.urandom(2), 'big') + 1
    print(f'seed of this test: {seed}')
    return seed


@pytest.fixture(autouse=True)
def doubles():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def as_list(net): return [dict(w=layer.weight.tolist(), b=layer.bias.tolist()) for layer in net if isinstance(layer, torch.nn.Linear)]


def flat(layers): return np.concatenate([np.concatenate([np.ravel(layer['w']), layer['b']]) for layer in layers])


def gradients(net): return flat([dict(w=layer.weight.grad.numpy(), b=layer.bias.grad.numpy()) for layer in net if isinstance(layer, torch.nn.Linear)])


def case(seed, n=7):
    "Networks, points and noise that were never seen before; wide weights, so that hinges are crossed and tanh bends."
    rng = Random(seed)
    G, D = network((2, 5, 6, 2), rng), network((2, 6, 5, 1), rng)
    for p in (*G.parameters(), *D.parameters()): p.data = 1.5*p.data + 0.3*torch.from_numpy(rng.normal(*p.shape))
    return G, D, torch.from_numpy(rng.normal(n, 2)), torch.from_numpy(rng.normal(n, 2)), torch.from_numpy(rng.uniform(n, 1))


def ours(loss, penalty, weight, seed, monkeypatch):
    "D's loss, penalty and gradient, G's loss and gradient, by the library and autograd."
    G, D, x_real, z, mix = case(seed)
    monkeypatch.setattr(torch, 'rand', lambda *shape, **_: mix)
    score = lambda x, y=None: D(x)[:, 0]
    d_loss, d_penalty = LOSSES[loss].d_loss(score(x_real), score(G(z).detach())), torch.zeros(())
    if PENALTIES[penalty]: d_penalty = PENALTIES[penalty](score, x_real, G(z).detach())
    (d_loss + weight*d_penalty).backward()
    d_gradient = gradients(D)
    g_loss = LOSSES[loss].g_loss(score(G(z)), score(x_real).detach())
    g_loss.backward()
    return d_loss.item(), d_penalty.item(), *d_gradient, g_loss.item(), *gradients(G)


def theirs(page, loss, penalty, weight, seed):
    "The same, by the script."
    G, D, x_real, z, mix = case(seed)
    d, d_sum, g, g_sum = page.evaluate('''([G, D, settings, real, z, mix]) => {
        const d = lab.dGradient(D, settings, real, z.map(z => lab.output(G, z)), mix), g = lab.gGradient(G, D, settings, z, real)
        return [[d.loss, d.penalty], d.sum, g.loss, g.sum] }''', [as_list(G), as_list(D), dict(loss=loss, penalty=penalty, weight=weight), x_real.tolist(), z.tolist(), mix.ravel().tolist()])
    return *d, *flat(d_sum), g, *flat(g_sum)


@pytest.mark.parametrize('loss, penalty', CASES)
def test_losses_penalties_and_gradients_are_the_library_s(loss, penalty, computer, seed, monkeypatch):
    weight = random.Random(seed).uniform(0.1, 3)
    assert theirs(computer, loss, penalty, weight, seed) == pytest.approx(ours(loss, penalty, weight, seed, monkeypatch), rel=1e-9, abs=1e-9)


def test_every_loss_and_penalty_of_the_page_is_one_of_the_library(computer):
    assert set(computer.evaluate('Object.keys(lab.LOSSES)')) == {loss for loss, _ in CASES} <= set(LOSSES)
    assert set(computer.evaluate('Object.keys(lab.PENALTIES)')) == {penalty for _, penalty in CASES} <= set(PENALTIES)


WRONG = {
    'g: fake => [softplus(-fake), -sigmoid(-fake)]': ('g: fake => [softplus(-fake), -sigmoid(fake)]', 'bce', 'none'),           # the saturating slope
    '[(fake - 1) ** 2 / 2, fake - 1]': ('[fake ** 2 / 2, fake]', 'mse', 'none'),                                                # D's target for G
    'real < 1 ? -1 : 0': '-1', 'fake > -1 ? 1 : 0': '1',                                                                        # no margin
    'softplus(fake - real), -sigmoid(fake - real)': ('softplus(fake - real), sigmoid(fake - real)', 'rpgan', 'none'),
    '[s / 2, 1 / 2]': ('[s, 1]', 'bce', 'r1'),                                                                                  # R₁ without its half
    '(slope - 1) / slope]': ('slope - 1]', 'wgan', 'wgan_gp'),                                                                  # the slope's root forgotten
    'real[i].map((x, k) => x + mix[i] * (fake[i][k] - x))': ('fake[i]', 'wgan', 'wgan_gp'),                                     # not between
    'const up = w.map(row => dot(row, p))': ('const up = w.map(row => 0)', 'bce', 'r1'),                                        # no way back
    '-2 * a * (1 - a * a)': ('0', 'bce', 'r2'),                                                                                 # tanh does not bend
    'if (extra[l]) u =': ('if (false) u =', 'bce', 'r1'),
    'sum[l].b[i] += u[i]': ('sum[l].b[i] += 0', 'bce', 'none'),
    'weight / n, sum)': ('weight, sum)', 'bce', 'r1')}
WRONG |= {right: (wrong, 'hinge', 'none') for right, wrong in WRONG.items() if isinstance(wrong, str)}


@pytest.mark.parametrize('right', WRONG)
def test_a_wrong_formula_would_be_noticed(right, browser, seed, monkeypatch):
    wrong, loss, penalty = WRONG[right]
    script = LAB_JS.read_text()
    assert script.count(right) == 1
    page = browser.new_page()
    page.set_content(f'<!doctype html><script>{script.replace(right, wrong)}</script>')
    off = lambda i: np.abs(np.subtract(theirs(page, loss, penalty, 1.5, seed + i), ours(loss, penalty, 1.5, seed + i, monkeypatch))).max()
    assert any(off(i) > 1e-3 for i in range(40)), 'some scores are beyond the hinge'
    page.close()


@pytest.mark.parametrize('loss, penalty', CASES)
def test_the_two_numbers_move_as_autograd_says(loss, penalty, computer, seed, monkeypatch):
    rng = random.Random(seed)
    theta, psi, weight = rng.gauss(0, 1), rng.gauss(0, 1), rng.uniform(0.1, 3)
    found = computer.evaluate('([settings, theta, psi]) => { const g = lab.smallest(settings, theta, psi); return [g.theta, g.psi] }', [dict(loss=loss, penalty=penalty, weight=weight), theta, psi])
    assert found == pytest.approx(smallest_gradients(loss, penalty, weight, theta, psi), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize('both', [False, True])
def test_the_two_numbers_take_the_library_s_path(both, computer, seed):
    settings = dict(loss='bce', penalty='r1', weight=0.3, rate=random.Random(seed).uniform(0.02, 0.3), both=both)
    path = computer.evaluate('settings => { let p = [1, 0]; return Array.from({ length: 40 }, () => p = lab.smallestStep(settings, ...p)) }', settings)
    assert np.allclose(path, smallest_path(**settings, n_steps=40)[1:], atol=1e-9)
    assert not np.allclose(path, smallest_path(**settings | dict(both=not both), n_steps=40)[1:], atol=1e-3), 'in turn and at once are two paths'


def test_random_numbers_are_the_same(computer, seed):
    found = computer.evaluate('seed => { const r = lab.random(seed); return [...Array.from({ length: 5 }, r.uniform), ...r.normals(50)] }', seed)
    rng = Random(seed)
    assert found == pytest.approx([*rng.uniform(5), *rng.normal(50)], abs=1e-12)


STEPS = {'the default': {}, 'a grid, R₁ + R₂': dict(data='grid', penalty='r1r2', loss='rpgan'), 'five steps of G, R₂': dict(g_steps=5, penalty='r2', loss='hinge'),
         'D begins earlier, plain descent': dict(ahead=10, optimizer='sgd', loss='minimax'), 'WGAN-GP': dict(loss='wgan', penalty='wgan_gp', weight=10)}
TRAINED = '''([settings, n]) => { const it = lab.train(lab.gan(settings), n), points = lab.samples(it)
    return { G: it.G, D: it.D, gGrad: it.gGrad, dLoss: it.dLoss, points, covered: lab.covered(it.modes, points) } }'''


@pytest.mark.parametrize('name', STEPS)
def test_training_is_the_same_as_in_pytorch(name, computer, seed, monkeypatch):
    settings, n = DEFAULTS | STEPS[name] | dict(seed=seed), 12
    gan = PointGAN(**settings)
    before = flat(as_list(gan.G))
    monkeypatch.setattr(torch, 'rand', lambda n, *_, **__: torch.from_numpy(gan.rng.uniform(n, 1)))
    train_points(gan, n)
    found = computer.evaluate(TRAINED, [settings, n])
    for net in 'GD': assert np.abs(flat(found[net]) - flat(as_list(getattr(gan, net)))).max() < 1e-5
    assert [found['dLoss'], found['gGrad']] == pytest.approx([gan.history[-1][0], gan.history[-1][3]], abs=1e-5)
    points = point_samples(gan)
    assert np.abs(found['points'] - points).max() < 1e-5 and tuple(found['covered'].values()) == pytest.approx(covered(settings['data'], points))
    assert np.abs(flat(found['G']) - before).max() > 1e-4, 'it has learned something'
    other = computer.evaluate(TRAINED, [settings | dict(lr=settings['lr'] * 1.1), n])
    assert np.abs(flat(found['D']) - flat(other['D'])).max() > 1e-4, 'another learning rate would be noticed'
    assert computer.evaluate(TRAINED, [settings, n]) == found, 'the same seed, the same path'
    assert computer.evaluate(TRAINED, [settings | dict(seed=seed + 1), n])['G'] != found['G']


def test_coverage_counts_as_the_library_does(computer, seed):
    rng = Random(seed)
    points = np.concatenate([drawn_points('ring', 60, rng).numpy()[:40], 0.8*rng.normal(60, 2)])
    found = computer.evaluate('points => lab.covered(lab.DATA.ring, points)', points.tolist())
    assert (found['modes'], found['near']) == pytest.approx(covered('ring', points))


# What the presets promise, at the places that they name

MODES = 'settings => { const it = lab.gan(settings); return [1000, 250, 250].map(n => lab.covered(it.modes, lab.samples(lab.train(it, n))).modes) }'


@pytest.mark.parametrize('name', PRESETS)
def test_a_preset_shows_what_it_says(name, computer):
    settings = DEFAULTS | PRESETS[name]['settings']
    both = [settings | more for more in ({}, PRESETS[name]['instead'])]
    if name == 'vanishing':
        it, other = (computer.evaluate(TRAINED, [given, 400]) for given in both)
        assert it['gGrad'] < other['gGrad']/100 and it['covered']['modes'] == 0 < other['covered']['modes']
    else: it, other = (statistics.median(computer.evaluate(MODES, given)) for given in both)      # of three moments: points are on their way from place to place
    if name == 'collapse': assert it <= 2 and other >= 7
    if name == 'r1':
        assert it >= 7 and other <= 4
        distance = computer.evaluate('settings => ["r1", "none"].map(penalty => { let p = [1, 0]; for (let i = 0; i < 500; i++) p = lab.smallestStep({ ...settings, penalty }, ...p); return Math.hypot(...p) })', settings)
        assert distance[0] < 1e-3 and 0.9 < distance[1] < 1.1


# The page

def lab(browser, folder, hash='', width=1000, **context): return opened(browser, folder, gan_lab(), 'lab.js', hash=hash, width=width, **context)


def pictures(page): return page.evaluate('Array.from(document.querySelectorAll(".lab canvas"), c => c.toDataURL())')


def said(page): return page.get_by_role('status').inner_text()


def test_a_reader_plays_by_the_keyboard(browser, tmp_path):
    page = lab(browser, tmp_path)
    assert page.get_by_role('button', name='R₁ converges').get_attribute('aria-pressed') == 'true' and said(page) == ''
    begin = pictures(page)
    page.get_by_role('button', name='Step').press('Enter')
    assert said(page).count('Step 1:') == 2 and pictures(page) != begin
    page.get_by_role('button', name='Start').press('Space')
    page.wait_for_function('/Step [1-9][0-9]+:/.test(document.querySelectorAll(".lab .sides p")[0].textContent)')
    page.get_by_role('button', name='Pause').press('Space')
    page.wait_for_function('/Step [1-9][0-9]+:.*Step [1-9][0-9]+:/.test(document.querySelector(".lab [role=status]").textContent)')
    page.get_by_role('button', name='Reset').press('Enter')
    assert pictures(page) == begin and said(page) == ''
    page.get_by_label('Penalty').select_option('none')
    slider = page.get_by_role('slider', name='Its weight')
    before = slider.get_attribute('aria-valuetext')
    slider.press('ArrowRight')
    assert float(slider.get_attribute('aria-valuetext')) > float(before)
    page.get_by_role('checkbox', name='both players at once').press('Space')
    page.get_by_role('spinbutton', name='Seed').fill('7')
    page.get_by_role('spinbutton', name='Seed').press('Tab')
    for part in 'preset=r1', 'penalty=none', 'both=true', 'seed=7': assert part in page.url
    for _ in range(3): page.get_by_role('button', name='Step').press('Enter')
    again = lab(browser, tmp_path, page.url[page.url.index('#'):])
    for _ in range(3): again.get_by_role('button', name='Step').press('Enter')
    assert said(again) == said(page) != '' and pictures(again) == pictures(page), 'whoever opens the address sees the same'
    assert not page.wrong + again.wrong
    page.close(), again.close()


def test_a_preset_starts_but_not_where_little_motion_is_wanted(browser, tmp_path):
    for motion, label in ('no-preference', 'Pause'), ('reduce', 'Start'):
        page = lab(browser, tmp_path, reduced_motion=motion)
        page.get_by_role('button', name='Mode collapse').click()
        assert page.locator('.lab .go').inner_text() == label and page.url.endswith('#lab&preset=collapse')
        assert page.locator('.lab .see').inner_text() == PRESETS['collapse']['see'] and not page.wrong
        page.close()


@pytest.mark.parametrize('hash', ['', '#lab&preset=nobody&loss=x&weight=&seed=1e99&lr=nan&both=7', '#lab&preset=vanishing&seed=-3&ahead=99', '#lab&preset=__proto__', '#a0'])
@pytest.mark.parametrize('width', [390, 1280])
def test_any_address_shows_something_sensible_on_any_screen(hash, width, browser, tmp_path):
    page = lab(browser, tmp_path, hash, width)
    page.get_by_role('button', name='Step').click()
    assert said(page).count('Step 1:') == 2 and 'NaN' not in said(page) and not page.wrong
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    assert page.evaluate('Array.from(document.querySelectorAll(".lab canvas"), c => c.ariaLabel.length > 40)') == [True]*3
    assert page.evaluate('Array.from(document.querySelectorAll(".lab select, .lab input"), e => Boolean(e.labels[0].textContent.trim()))') == [True]*len(page.locator('.lab select, .lab input').all())
    page.close()


def test_d_moves_before_g_and_a_penalty_counts(seed):
    gan, heavy = PointGAN(seed=seed), PointGAN(seed=seed, penalty='r1', weight=10)
    for it in (gan, heavy): point_d_step(it)
    assert flat(as_list(gan.G)).tolist() == flat(as_list(heavy.G)).tolist() and flat(as_list(gan.D)).tolist() != flat(as_list(heavy.D)).tolist()
