"Pages that move, in a real browser: generators beside what PyTorch draws, two runs beside their images, and what a reader can do with them."
import json
import re
import shutil

import numpy as np
import pytest
import torch
from conftest import CHROMIUM, ROOT, built, served, trained
from PIL import Image

from dcgan_nb.foundations.core import InputError, load_projects
from dcgan_nb.gan.networks import ARCHITECTURES, generate
from dcgan_nb.runs.browser import layers_of, live_figure, write_live
from dcgan_nb.study.overview import explorer

load_projects()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason='no Chromium is installed (Debian: apt-get install chromium)')
CLASSES = 'shirt', 'boot', 'bag'
GRAY = 2/255      # a gray level, of a range of 2


def opened(browser, folder, *names, hash='', script=None, below=''):
    "A page in which some generators draw; errors fail the test."
    for name in ('live.js', 'book.css'): shutil.copy(ROOT/'nbs/assets'/name, folder/name)
    if script: (folder/'live.js').write_text(script)
    figure = live_figure({name: name.title() for name in names}, '.', 'live.js', below)
    (folder/'page.html').write_text(f'<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="book.css"><body>{figure}')
    page = browser.new_page()
    page.errors = []
    page.on('pageerror', lambda e: page.errors.append(str(e)))
    page.goto((folder/'page.html').as_uri() + hash)
    page.wait_for_function('document.querySelectorAll("figure.live canvas")[9].width < 300')      # 300 before anything is drawn: the generator comes when it is seen
    return page


def drawn(page, name, z, y):
    "Images of a generator in the page, (n, c, h, w)."
    images = page.evaluate('([name, z, y]) => z.map((z, i) => { const x = live.generators[name].draw(Float32Array.from(z), y[i]); return [x.c, x.h, x.w, Array.from(x.d)] })', [name, z.tolist(), y])
    return torch.stack([torch.tensor(d).view(c, h, w) for c, h, w, d in images])


def translatable():
    for arch in ARCHITECTURES:
        for n_classes in (0, 3) if ARCHITECTURES[arch].conditional else (0,):
            try: layers_of(built(arch, **dict(n_classes=3) if n_classes else {}))
            except InputError: continue
            yield arch, n_classes


@pytest.mark.parametrize('arch, n_classes', list(translatable()))
def test_the_page_draws_what_pytorch_draws(arch, n_classes, browser, rng, tmp_path):
    G = trained(arch, rng, **dict(n_classes=n_classes) if n_classes else {})
    write_live(G, tmp_path/'it.js', CLASSES)
    z = torch.randn(4, 12, generator=rng)
    y = torch.randint(3, (4,), generator=rng) if n_classes else None
    page = opened(browser, tmp_path, 'it')
    ours, theirs = generate(G, z, y), drawn(page, 'it', z, y.tolist() if n_classes else [0]*4)
    assert ours.shape == theirs.shape and ours.std() > 0.005
    off = (ours - theirs).abs()
    assert off.max() < 2*GRAY and off.mean() < 1e-3 and not page.errors
    page.close()


def test_most_architectures_can_be_drawn():
    assert set(ARCHITECTURES) - {arch for arch, _ in translatable()} <= {'progressive'} and ('resnet', 3) in translatable()


@pytest.mark.parametrize('right, wrong', {'row = gain.length > x.c ? y * x.c : 0': 'row = 0', 'y * stride - pad + ky': 'y * stride + ky', '(y >> 1)': '(y >> 2)', 'a.d[i] + b.d[i]': 'a.d[i]'}.items())
def test_a_wrong_layer_would_be_noticed(right, wrong, browser, rng, tmp_path):
    G = trained('resnet', rng, n_classes=3)
    write_live(G, tmp_path/'it.js', CLASSES)
    script = (ROOT/'nbs/assets/live.js').read_text()
    assert script.count(right) == 1
    page = opened(browser, tmp_path, 'it', script=script.replace(right, wrong))
    z = torch.randn(4, 12, generator=rng)
    assert (generate(G, z, torch.tensor([2, 1, 2, 1])) - drawn(page, 'it', z, [2, 1, 2, 1])).abs().max() > 10*GRAY
    page.close()


def test_noise_is_normal_repeatable_and_truncated(browser, rng, tmp_path):
    write_live(trained('mlp', rng), tmp_path/'it.js')
    page = opened(browser, tmp_path, 'it')
    noise = lambda *given: torch.tensor(page.evaluate('given => Array.from(live.noise(...given))', list(given)))
    z, again, other = noise(20_000, 5), noise(20_000, 5), noise(20_000, 6)
    assert torch.equal(z, again) and abs(z.mean()) < 0.05 and abs(z.std() - 1) < 0.05 and abs(torch.corrcoef(torch.stack([z, other]))[0, 1]) < 0.05
    assert abs((z.abs() < 1).float().mean() - 0.683) < 0.03
    assert noise(20_000, 5, 0.5).abs().max() <= 0.5
    between = torch.tensor(page.evaluate('() => Array.from(live.mixed(live.noise(500, 1), live.noise(500, 2), 0.5))'))
    assert abs(between.norm() - 500**0.5) < 2.5, 'half way, noise is as long as noise is'
    page.close()


def pixels(page): return page.evaluate('Array.from(document.querySelectorAll("figure.live canvas"), c => c.toDataURL()).join()')


def test_a_reader_can_choose_walk_drag_and_share(browser, rng, tmp_path):
    write_live(trained('resnet', rng, n_classes=3), tmp_path/'knows.js', CLASSES)
    write_live(trained('dcgan', rng), tmp_path/'plain.js', CLASSES)
    page = opened(browser, tmp_path, 'knows', 'plain')
    assert page.locator('figure.live figure figcaption').all_inner_texts() == [CLASSES[i % 3] for i in range(10)]
    seen = [pixels(page)]

    def changed(act):
        act()
        page.wait_for_function('before => Array.from(document.querySelectorAll("figure.live canvas"), c => c.toDataURL()).join() !== before', arg=seen[-1])
        seen.append(pixels(page))
    changed(lambda: page.get_by_label('Draws').select_option('bag'))
    assert set(page.locator('figure.live figure figcaption').all_inner_texts()) <= {'', 'bag'}
    changed(lambda: page.get_by_role('spinbutton', name='Noise').fill('7') or page.get_by_role('spinbutton', name='Noise').blur())
    changed(lambda: page.get_by_label('Truncation').fill('0.5'))
    pad = page.get_by_role('slider', name='two directions')
    changed(lambda: pad.press('ArrowRight'))
    box = pad.bounding_box()
    changed(lambda: page.mouse.move(box['x'] + 10, box['y'] + 10) or page.mouse.down() or page.mouse.up())
    given = dict(pair.split('=') for pair in re.sub('.*#live&', '', page.url).split('&'))
    assert (given['generator'], given['class'], given['noise'], given['truncation']) == ('knows', '2', '7', '0.5') and float(given['x']) < -0.5 < 0.5 < float(given['y'])
    shared = opened(browser, tmp_path, 'knows', 'plain', hash=page.url[page.url.index('#'):])
    assert pixels(shared) == seen[-1], 'whoever opens the address sees the same'
    changed(lambda: page.get_by_label('Generator').select_option('plain'))
    assert page.get_by_label('Draws').is_disabled()
    page.get_by_role('button', name='Walk').click()
    for _ in range(3): changed(lambda: None)
    page.get_by_role('button', name='Stop').click()
    assert not page.errors and not shared.errors
    page.close(), shared.close()


@pytest.mark.parametrize('hash', ['#live&generator=nobody&class=77&noise=-3&truncation=x&x=9', '#live&noise=1e99', '#a0'])
def test_an_address_that_makes_no_sense_shows_something_sensible(hash, browser, rng, tmp_path):
    write_live(trained('resnet', rng, n_classes=3), tmp_path/'knows.js', CLASSES)
    page = opened(browser, tmp_path, 'knows', hash=hash)
    assert not page.errors and json.loads(page.evaluate('JSON.stringify(Array.from(document.querySelectorAll("figure.live canvas"), c => c.width))')) == [28]*10
    page.close()


# Two runs side by side

@pytest.fixture
def page_on_a_server(tmp_path):
    "A folder on a local server: from a file, a page may draw pictures but a test may not read them back."
    with served(tmp_path) as address: yield tmp_path, f'{address}page.html'


def strip(folder, name, epochs, size):
    "What a run leaves: a row of sixteen images for each epoch, a white line between them."
    images = np.random.default_rng().integers(0, 256, (epochs, 16, size, size), dtype=np.uint8)
    tiles = np.pad(images, [(0, 0), (0, 0), (0, 1), (0, 1)], constant_values=255)
    sheet = tiles.transpose(0, 2, 1, 3).reshape(epochs * (size + 1), 16 * (size + 1))[:-1, :-1]
    (folder/'records/published').mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(folder/f'records/published/{name}.png')
    return images


def on_canvas(page, i, size):
    "The sixteen images that a side shows, uint8 (16, size, size)."
    width, data = page.evaluate('i => { const c = document.querySelectorAll(".explorer canvas")[i]; return [c.width, Array.from(c.getContext("2d").getImageData(0, 0, c.width, c.height).data.filter((_, k) => k % 4 === 0))] }', i)
    pixels = np.array(data, dtype=np.uint8).reshape(-1, width)
    return np.stack([pixels[y*(size + 1):][:size, x*(size + 1):][:, :size] for y in range(4) for x in range(4)])


def test_two_runs_are_shown_at_the_same_epoch_and_the_address_says_so(browser, page_on_a_server):
    folder, url = page_on_a_server
    made = {name: strip(folder, name, epochs, size) for name, epochs, size in (('long', 5, 28), ('short', 2, 32))}
    groups = [('A0: a claim', [dict(id=name, folder=f'published/{name}', label=name, epochs=len(x), images=[100*(i + 1) for i in range(len(x))], size=x.shape[-1], score='FID 4.') for name, x in made.items()])]
    shutil.copy(ROOT/'nbs/assets/explore.js', folder/'explore.js')
    (folder/'page.html').write_text('<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><body>' + explorer(groups).replace('_static/', ''))
    page = browser.new_page()
    errors = []
    page.on('pageerror', lambda e: errors.append(str(e)))
    page.goto(url)

    def shows(page, epoch):
        page.wait_for_function('n => Array.from(document.querySelectorAll(".explorer figcaption"), c => c.textContent).some(text => text.startsWith(`Epoch ${n} of 5`))', arg=epoch)
        page.wait_for_function('Array.from(document.querySelectorAll(".explorer canvas")).every(c => c.width > 100)')
        for i, name in enumerate(page.evaluate('Array.from(document.querySelectorAll(".explorer select"), s => s.value)')):
            row = min(epoch, len(made[name])) - 1
            assert np.array_equal(on_canvas(page, i, made[name].shape[-1]), made[name][row]), (name, epoch)
    shows(page, 5)
    slider = page.get_by_role('slider', name='epoch')
    slider.fill('1')
    shows(page, 1)
    assert page.locator('.explorer figcaption').first.inner_text() == 'Epoch 1 of 5, 100 images seen. At the end: FID 4.'
    slider.press('ArrowRight')
    shows(page, 2)
    page.get_by_label('second run').select_option('long')
    shows(page, 2)
    again = browser.new_page()
    again.goto(page.url)
    shows(again, 2)
    assert again.evaluate('Array.from(document.querySelectorAll(".explorer select"), s => s.value)') == ['long', 'long']
    page.get_by_role('button', name='Play').click()
    page.wait_for_function('document.querySelector(".explorer figcaption").textContent.startsWith("Epoch 4")')
    page.get_by_role('button', name='Stop').click()
    assert not errors
    page.close(), again.close()
