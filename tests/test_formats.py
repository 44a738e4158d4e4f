"Generators as files for other programs: every architecture, wrong inputs, and the links of a page in a real browser."
import json
import re
import sys
from html import unescape

import numpy as np
import pytest
import torch
from conftest import ROOT, tiny, trained

import dcgan_nb
from dcgan_nb.foundations.core import InputError, load_projects
from dcgan_nb.gan.networks import ARCHITECTURES, generate, load_generator
from dcgan_nb.runs.browser import live_figure, write_live
from dcgan_nb.runs.formats import TOLERANCE, downloads, onnx_difference, to_onnx

ort = pytest.importorskip('onnxruntime')
load_projects()
WITH_CLASSES = [(arch, n) for arch in ARCHITECTURES for n in ((0, 3) if ARCHITECTURES[arch].conditional else (0,))]


@pytest.mark.sample(5)
@pytest.mark.parametrize('arch, n_classes', WITH_CLASSES)
def test_an_onnx_file_draws_what_pytorch_draws_or_is_refused(arch, n_classes, rng, tmp_path):
    G, file = trained(arch, rng, **dict(n_classes=n_classes) if n_classes else {}), tmp_path/'g.onnx'
    if arch == 'progressive':
        with pytest.raises(InputError, match='progressive cannot be written as ONNX.*values.*safetensors'): to_onnx(G, file)
        assert not list(tmp_path.iterdir())
        return
    assert to_onnx(G.train(), file, run_id='it', seed=5) == file.stat().st_size and G.training
    session = ort.InferenceSession(file)
    for n in 1, 6:
        z, y = torch.randn(n, 12, generator=rng), torch.randint(n_classes, (n,), generator=rng) if n_classes else None
        x, = session.run(None, dict(z=z.numpy()) | (dict(y=y.numpy()) if n_classes else {}))
        ours = generate(G, z, y).numpy()
        assert x.shape == ours.shape and x.dtype == np.float32 and np.abs(x - ours).max() < TOLERANCE
        assert n == 1 or np.abs(x - ours[::-1]).max() > 100*TOLERANCE, 'another order of images is noticed'
    about = session.get_modelmeta().custom_metadata_map
    assert (about['run_id'], about['seed'], json.loads(about['generator'])) == ('it', '5', G.spec)
    assert str(ROOT).encode() not in file.read_bytes() and sys.prefix.encode() not in file.read_bytes(), 'no path of this machine'


def test_a_file_of_another_generator_is_told_apart(rng, tmp_path):
    one, other = trained('dcgan', rng), trained('dcgan', rng)
    to_onnx(one, tmp_path/'g.onnx')
    assert onnx_difference(tmp_path/'g.onnx', one) < TOLERANCE < 100*TOLERANCE < onnx_difference(tmp_path/'g.onnx', other)


def test_what_is_no_generator_is_refused_and_the_averaged_one_is_named(rng, tmp_path):
    gan = tiny(ema=0.9)
    for wrong in gan, gan.D, torch.nn.Linear(2, 2), 'run folder':
        with pytest.raises(InputError, match='gan.sampler, which is the averaged generator'): to_onnx(wrong, tmp_path/'g.onnx')
    assert to_onnx(gan.sampler, tmp_path/'g.onnx') and dcgan_nb.to_onnx is to_onnx
    before = (tmp_path/'g.onnx').read_bytes()
    next(gan.G.parameters()).data.fill_(torch.inf)
    with pytest.raises(InputError, match='has diverged'): to_onnx(gan.G, tmp_path/'g.onnx')
    assert [p.name for p in tmp_path.iterdir()] == ['g.onnx'] and (tmp_path/'g.onnx').read_bytes() == before


@pytest.mark.parametrize('package', ['onnx', 'onnxscript', 'onnxruntime'])
def test_a_missing_package_is_named_with_its_remedy(package, rng, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"\({package}\): pip install 'dcgan-nb\[onnx\]'"): to_onnx(trained('mlp', rng), tmp_path/'g.onnx')
    assert 'onnx_requirements' in (ROOT/'settings.ini').read_text() and "'onnx'" in (ROOT/'setup.py').read_text()


@pytest.fixture
def page_of_two(rng, tmp_path):
    "A page with two generators and their files, and a stretch of nothing above it."
    generators = dict(knows=trained('resnet', rng, n_classes=3), plain=trained('dcgan', rng))
    titles, below = {name: f'It <{name}>' for name in generators}, ''
    for name, G in generators.items():
        write_live(G, tmp_path/f'live/{name}.js', ('a', 'b', 'c'))
        below += downloads(G, tmp_path/'live', name, titles[name], run_id=name)
    (tmp_path/'page.html').write_text(f'<!doctype html><meta charset="utf-8"><div style="height: 5000px">above</div>{live_figure(titles, script=(ROOT/"nbs/assets/live.js").as_uri(), below=below)}')
    return generators, tmp_path/'page.html'


def loaded(page): return page.evaluate("Array.from(document.querySelectorAll('script[src*=\"live/\"]'), s => s.getAttribute('src'))")


def test_a_generator_is_loaded_when_it_is_wanted_and_taken_along_with_the_keyboard(browser, page_of_two):
    generators, path = page_of_two
    page, errors = browser.new_page(), []
    page.on('pageerror', lambda e: errors.append(str(e)))
    page.goto(path.as_uri())
    page.get_by_label('Generator').wait_for(state='attached')
    page.wait_for_timeout(300)
    assert loaded(page) == [], 'nobody has seen it yet'
    page.locator('figure.live').scroll_into_view_if_needed()
    page.wait_for_function('document.querySelector("figure.live canvas").width === 28')
    assert loaded(page) == ['live/knows.js'], 'the first one alone'
    assert page.get_by_label('Generator').locator('option').all_inner_texts() == ['It <knows>', 'It <plain>']
    for name in 'knows', 'plain':
        page.get_by_label('Generator').select_option(name)
        page.wait_for_function('name => name in live.generators', arg=name)
        links = page.locator('figcaption a:visible')
        assert links.evaluate_all('links => links.map(a => a.getAttribute("href"))') == [f'live/{name}.onnx', f'live/{name}.safetensors']
        for i in 0, 1:
            links.nth(i).focus()
            with page.expect_download() as taken: page.keyboard.press('Enter')
            assert taken.value.path().read_bytes() == (path.parent/f'live/{name}.{("onnx", "safetensors")[i]}').read_bytes()
        page.locator('summary:visible').focus()
        page.keyboard.press('Enter')
        assert page.locator('pre:visible').count() == 2
    assert loaded(page) == ['live/knows.js', 'live/plain.js'] and not errors
    page.close()


def test_a_generator_that_is_not_there_is_named_and_the_others_draw(browser, page_of_two):
    _, path = page_of_two
    (path.parent/'live/knows.js').unlink()
    page = browser.new_page()
    page.goto(path.as_uri() + '#live&generator=knows')
    page.locator('figure.live').scroll_into_view_if_needed()
    page.get_by_text('live/knows.js could not be loaded.').wait_for()
    page.get_by_label('Generator').select_option('plain')
    page.wait_for_function('document.querySelector("figure.live canvas").width === 28')
    assert page.get_by_text('could not be loaded').is_hidden()
    page.close()


def test_without_javascript_all_files_are_offered(browser, page_of_two):
    generators, path = page_of_two
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    hrefs = re.findall('href="([^"]+)" download', page.content())
    assert len(hrefs) == 4 and page.locator('figcaption a:visible').count() == 4 and all((path.parent/href).is_file() for href in hrefs)
    assert 'With JavaScript' in page.locator('figure.live').inner_text()
    context.close()


def test_the_lines_on_the_page_run_as_they_are(page_of_two, monkeypatch):
    generators, path = page_of_two
    monkeypatch.chdir(path.parent/'live')
    texts = [unescape(text) for text in re.findall('<code>(.*?)</code>', path.read_text(), re.DOTALL)]
    assert len(texts) == 4
    for text in texts:
        made = {}
        exec(text, made)
        assert tuple(made['x'].shape) == (10, 1, 28, 28) and float(made['x'].std()) > 0.005
    for name, G in generators.items(): assert load_generator(path.parent/f'live/{name}.safetensors').spec == G.spec
