"The book: built by the real workflow from smoke runs, then opened page by page in a real browser. DCGAN_NB_BOOK names a built book to check instead."
import html
import os
import random
import re
import shutil
import sys
import urllib.parse
from collections import Counter
from pathlib import Path

import pytest
from conftest import LIBRARY, ROOT, serious_violations, served, snakemake

from dcgan_nb.foundations.core import load_projects
from dcgan_nb.runs.records import read_record
from dcgan_nb.study.claims import CLAIMS, study_records
from dcgan_nb.study.judge import courses, outcome
from dcgan_nb.study.evidence import style_of

sys.path.insert(0, str(ROOT/'workflow'))
import finish_book  # noqa: E402

load_projects()


# name of a run folder → content of its record
JUNK = dict(cut='{"schema": 1, "run_id"', empty='', foreign='[1, 2]', newer='{"schema": 2}', shape='{"schema": 1}', binary='\x00\x01')


def make_junk(runs):
    "Run folders as no run leaves them; what the book must say of each."
    reasons = dict(cut='not a readable record', empty='not a readable record', foreign='not a record of a run', newer='has schema 2', shape='not a valid record', binary='not a readable record',
                   failed='InputError: no data', partial='goes on from its checkpoint', nothing='no record.json', folder='not a readable record', under_another_name='the record in it is of')
    for name in reasons: (runs/name).mkdir(parents=True)
    for name, text in JUNK.items(): (runs/name/'record.json').write_text(text)
    (runs/'failed'/'outcome.txt').write_text('failed: InputError: no data\n')
    (runs/'partial'/'checkpoint.pt').write_bytes(b'x')
    (runs/'folder'/'record.json').mkdir()
    (runs/'under_another_name'/'record.json').write_bytes(next(ROOT.glob('reports/records/*/record.json')).read_bytes())
    return reasons


EXECUTED = 'gan/13_losses', 'study/47_pages', 'projects/75_l'


@pytest.fixture(scope='session')
def book(tmp_path_factory):
    """The folder with the HTML. Of the library some pages are executed, the others stand in it as they are in `nbs`: `make test` has executed each of them
    before, and a kernel of its own for every page is most of what a book takes. All chapters are executed."""
    if given := os.environ.get('DCGAN_NB_BOOK'): return Path(given).resolve()
    reports = tmp_path_factory.mktemp('reports')
    make_junk(reports/'runs')
    for path in LIBRARY:
        page = reports/'book'/path.relative_to(ROOT/'nbs')
        page.parent.mkdir(parents=True, exist_ok=True)
        if page.relative_to(reports/'book').with_suffix('').as_posix() not in EXECUTED: shutil.copy(path, page)
    built = snakemake('--cores', 'all', '--config', 'profile=smoke', f'reports={reports}')
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-6000:]
    return reports/'_build/html'


@pytest.fixture(scope='session')
def pages(book):
    "All pages, but of those that are all made alike, which are single runs and library pages that were not executed, only some, drawn at random."
    name = lambda p: p.relative_to(book).with_suffix('').as_posix()
    runs = {p for p in book.glob('runs/*.html') if is_run_page(p)}
    alike = {p for p in book.rglob('[0-9][0-9]_*.html') if name(p) not in EXECUTED}
    return sorted({p for p in book.rglob('*.html') if '_static' not in p.relative_to(book).parts} - runs - alike | {*random.sample(sorted(runs), 3), *random.sample(sorted(alike), 10)})


def is_run_page(path): return path.parent.name == 'runs' and not re.match(r'\d\d_', path.name)


def test_all_pages_are_there(book):
    names = {p.relative_to(book).with_suffix('').as_posix() for p in book.rglob('*.html')}
    library = {p.relative_to(ROOT/'nbs').with_suffix('').as_posix() for p in LIBRARY}
    assert library | {p.stem for p in ROOT.glob('nbs/chapters/*.ipynb')} | {'index', 'readme'} <= names
    assert sum(name.startswith('examples/') for name in names) >= 3


@pytest.mark.fault("Missing, failed, partial, damaged and foreign records among one's runs", 'The book is built all the same; each is listed with its reason on this page')
def test_no_record_breaks_the_book(book, tmp_path):
    if os.environ.get('DCGAN_NB_BOOK'): pytest.skip('a book that is given has no such records')
    page, rows = html.unescape((book/'faults.html').read_text()), make_junk(tmp_path)
    for name, reason in rows.items(): assert re.search(f'/{name}</td>\\s*<td[^>]*>[^<]*{re.escape(reason)}', page), name
    assert f'{len(rows)} run folders are no evidence' in (book/'verdicts.html').read_text()


def test_nothing_is_done_twice(run, book):
    if os.environ.get('DCGAN_NB_BOOK'): pytest.skip('a book that is given is not built')
    again = run('snakemake', '--snakefile', 'workflow/Snakefile', '--cores', 'all', '--nolock', '--dry-run', '--config', 'profile=smoke', f'reports={book.parent.parent}')
    assert 'Nothing to be done' in again.stdout + again.stderr


def test_a_changed_page_is_made_alone(book):
    if os.environ.get('DCGAN_NB_BOOK'): pytest.skip('a book that is given is not built')
    page = book.parent.parent/'book/speed.ipynb'
    page.write_text(page.read_text().replace('This page measures nothing.', 'This page weighs nothing.', 1))
    made = {p: p.stat().st_mtime_ns for p in book.rglob('*.html')}
    built = snakemake('--cores', 'all', '--config', 'profile=smoke', f'reports={book.parent.parent}')
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    assert not {p.stem for p, at in made.items() if p.stat().st_mtime_ns > at} & {'losses', 'verdicts', '10_networks'}
    assert 'This page weighs nothing.' in (book/'speed.html').read_text()


def test_pages_show_outputs_and_figures(book):
    for page in ('index', 'losses', 'calibration', *EXECUTED):
        text = (book/f'{page}.html').read_text()
        assert ('<figure class="chart">' if page in ('losses', 'calibration') else '_images/') in text, f'{page} shows no figure'
        assert 'Traceback' not in text, page
    losses = (book/'losses.html').read_text()
    for label in ('bce', 'mse', 'hinge', 'real reference'): assert f'<th>{label}</th>' in losses
    assert re.search(r'<th>FID ↓ \(fid_clf_\w+\)</th>', losses)


def test_the_verdicts_have_a_row_for_each_claim_with_its_command_and_its_evidence(book):
    text = (book/'verdicts.html').read_text()
    for claim in CLAIMS.values():
        assert f'href="project_{claim.project.lower()}.html#{claim.id.lower()}"' in text
        assert not claim.arms or f'make study CLAIM={claim.id}<' in text
        page = (book/f'project_{claim.project.lower()}.html').read_text()
        assert claim.tested in html.unescape(page)
    words = Counter(outcome(course).word for course in courses(study_records('no/such/folder')).values())
    for word, n in words.items():
        if word != 'not run': assert text.count(f'<span class="verdict {style_of(word)}">{word}<') >= n, 'published records are judged on the page'


def test_links_lead_somewhere_and_nothing_is_loaded_from_elsewhere(book, pages):
    assert not finish_book.broken_links(book)
    records = [ref for page in finish_book.pages_of(book).values() for _, ref in page.refs if ref.startswith('records/')]
    assert len(records) > 100 and all(read_record(book/ref)['run_id'] == Path(ref).stem for ref in records[::20]), 'runs link to their records'


def test_claims_lead_to_their_runs_side_by_side_whose_images_are_there(book, pages):
    known = dict(re.findall(r'"id": "([^"]+)", "folder": "([^"]+)"', (book/'explore.html').read_text()))
    asked = {run for page in pages for pair in re.findall(r'explore\.html#explore&amp;a=([^&"]+)&amp;b=([^&"]+)"', page.read_text()) for run in pair}
    assert len(asked) > 10 and asked <= known.keys() and all((book/f'records/{folder}.png').is_file() for folder in known.values())


def test_every_published_run_has_a_page_which_names_the_claims_that_use_it(book):
    published = {p.parent.name for p in ROOT.glob('reports/records/*/record.json')}
    made = {p.stem: p for p in book.glob('runs/*.html') if is_run_page(p)}
    assert published <= made.keys()
    linked = {Path(ref).stem for name in ('project_a', 'verdicts') for _, ref in finish_book.Page(book/f'{name}.html').refs if ref.startswith('runs/')} & published
    assert len(linked) > 20 and all('href="../project_' in made[name].read_text() for name in linked), 'there and back'
    named, = re.findall(r'one real run, `([^`]+)`', (ROOT/'README.md').read_text())
    assert f'href="runs/{named}.html"><code' in (book/'readme.html').read_text(), 'an id in the text is a link'


def test_the_front_page_shows_every_verdict_and_hands_over_its_generators(book):
    text = (book/'index.html').read_text()
    for claim in CLAIMS.values(): assert re.search(f'class="chip [a-z ]+" href="project_{claim.project.lower()}.html#{claim.id.lower()}"', text), claim.id
    names = re.search('data-generators="([^"]+)"', text)[1].split()
    assert names[0] == 'best_cond' and {'bce', 'mse', 'hinge'} <= set(names) and all((book/f'live/{name}.js').read_text().startswith('live.add(') for name in names)
    assert {ref for tag, ref in finish_book.Page(book/'index.html').refs if ref.startswith('live/')} == {f'live/{name}.{format}' for name in names for format in ('onnx', 'safetensors')}
    for name in names: assert all(1000 < (book/f'live/{name}.{format}').stat().st_size < 3e6 for format in ('onnx', 'safetensors'))


def test_the_front_page_is_light_and_loads_no_generator_but_the_first(browser, book):
    asked = set()
    page = browser.new_page(viewport=dict(width=1280, height=900))
    page.on('request', lambda r: asked.add(urllib.parse.unquote(urllib.parse.urlsplit(r.url).path)))
    page.goto((book/'index.html').as_uri())
    page.locator('figure.live').scroll_into_view_if_needed()
    page.wait_for_function('document.querySelector("figure.live canvas").width > 0 && "best_cond" in live.generators')
    assert page.locator('svg.fa-magnifying-glass path').first.get_attribute('d'), 'icons that the book names are drawn'
    page.close()
    live = {path for path in asked if Path(path).parent == book/'live'}
    assert {Path(path).name for path in live} == {'best_cond.js'}
    assert sum(Path(path).stat().st_size for path in asked - live if Path(path).is_file()) < 1.5e6


def test_icons_that_nobody_names_lose_their_drawing(tmp_path):
    (tmp_path/'_static/scripts').mkdir(parents=True)
    (tmp_path/'a.html').write_text('<i class="fas fa-search"></i>')
    icons = '{"magnifying-glass":[512,512,[128,"search"],"f002","M1 2"],monero:[496,512,[],"f3d0","M3 4"],duo:[1,2,[],"f1",["M5","M6"]]}'
    (tmp_path/'_static/scripts/fontawesome.js').write_text(icons)
    for _ in 1, 2:
        finish_book.drop_icons(tmp_path)
        assert (tmp_path/'_static/scripts/fontawesome.js').read_text() == icons.replace('"M3 4"', '""').replace('["M5","M6"]', '""')


def test_scripts_that_a_page_has_no_use_for_go():
    mathjax = '<script>window.MathJax = {"options": {}}</script>\n  <script defer="defer" src="../_static/mathjax/tex-chtml.js"></script>'
    search = ''.join(f'\n<script src="../{name}.js?v=1"></script>' for name in ('_static/searchtools', '_static/language_data', 'searchindex'))
    kept = '<script src="_static/book.js"></script>'
    for body, stays in ('<p>text</p>', ''), ('<span class="math">x</span>', mathjax), ('<td>$x$</td>', mathjax):
        assert finish_book.lightened(f'<head>{mathjax}{search}{kept}</head>{body}') == f'<head>{stays}{kept}</head>{body}'


def test_what_is_said_to_nbdev_is_not_said_to_readers(pages):
    cell = lambda code: f'<div class="cell docutils container">\n<div class="cell_input docutils container">\n<div class="highlight-ipython3 notranslate"><div class="highlight"><pre><span></span>{code}\n</pre></div>\n</div>\n</div>\n</div>\n'
    line, comment, code = '<span class="c1">#| export</span>\n', '<span class="c1"># a | b</span>', '<span class="n">x</span>'
    lesson = cell(line + code).replace('ipython3', 'python')                     # a text that teaches it
    assert finish_book.without_directives(cell('<span class="c1">#| default_exp gan.losses</span>') + cell(line + comment) + cell(code) + lesson) == cell(comment) + cell(code) + lesson
    assert not [page.name for page in pages if re.search(r'ipython3[^>]*><div class="highlight"><pre><span></span><span class="c1">#\|', page.read_text())]


def test_headings_of_claims_carry_the_sign_of_their_verdict(book):
    for claim in CLAIMS.values():
        page = (book/f'project_{claim.project.lower()}.html').read_text()
        sign = re.search(f'data-claim="{claim.id}" data-glyph="(.)"', page)[1]
        assert re.search(f'<h2>{claim.id} {re.escape(sign)} ', page) or re.search(f'<h2 id="{claim.id.lower()}"', page), claim.id


def test_every_picture_has_a_description(book, pages):
    for page in pages:
        for alt in re.findall(r'<img\b[^>]*>', page.read_text()): assert re.search(r'alt="[^"]*\w', alt) and '_images/' not in alt.split('alt="')[1].split('"')[0], (page.name, alt)
    before = '<h1>A &amp; <em>B</em><a class="headerlink" href="#a">#</a></h1><img alt="../_images/f00.png" src="../_images/f00.png"><img alt="a curve" src="x.png">'
    assert finish_book.described(before) == before.replace('"../_images/f00.png" src', '"Figure: A &amp; B" src', 1)


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    (tmp_path/'b.html').write_text('<p id="there">')
    (tmp_path/'a.html').write_text('<a href="b.html#there"></a><a href="#here" id="here"></a><a href="https://example.org/x"></a><img src="data:,">')
    assert finish_book.broken_links(tmp_path) == []
    wrong = ['b.html#nowhere', 'c.html', '#nowhere', 'records/own/x.json']
    (tmp_path/'a.html').write_text(''.join(f'<a href="{ref}"></a>' for ref in wrong) + '<script src="https://example.org/x.js"></script>')
    assert finish_book.broken_links(tmp_path) == sorted(f'a.html: {ref}' for ref in [*wrong, 'https://example.org/x.js'])
    (tmp_path/'a.html').write_text("""<A HREF=c.html></A><a title='id="here"' href='#here'></a><!-- <p id="here"> --><script>'<p id="here">'</script>""")
    assert finish_book.broken_links(tmp_path) == ['a.html: #here', 'a.html: c.html'], 'however it is written, and not where it is only talked about'


def test_notebooks_can_be_downloaded(book, pages):
    for page in pages:
        if page.stem in ('search', 'genindex') or is_run_page(page): continue
        downloads = [ref for tag, ref in finish_book.Page(page).refs if ref.endswith('.ipynb') and '_sources' in ref]
        assert downloads, page.name
        assert '"cells"' in (page.parent/downloads[0]).resolve().read_text()


SERVED = 'index.html', 'verdicts.html', 'project_a.html', 'gan/13_losses.html'      # opened from a server as well as from a file


@pytest.fixture(scope='module')
def site(book):
    "The book on a local server."
    with served(book) as address: yield address


LOOKED_AT = 'index', 'verdicts', 'project_a', 'sensitivity', 'explore', 'leaderboard', 'readme', 'changes', 'gan/13_losses', 'projects/75_l'


def test_pages_can_be_used_without_seeing_or_without_a_mouse(browser, book):
    "axe-core finds no serious violation, in light and dark, on a desk and on a phone."
    found = []
    page = browser.new_page()
    for name in LOOKED_AT:
        page.goto((book/f'{name}.html').as_uri())
        for mode, width in (('light', 1280), ('dark', 390)) if name in ('index', 'project_a', 'sensitivity') else (('dark', 390),):
            page.set_viewport_size(dict(width=width, height=900))
            page.evaluate('mode => { document.documentElement.dataset.theme = mode }', mode)
            page.wait_for_timeout(600)           # the theme lets what scrolls be reached, a moment after the width has changed
            found += [(name, mode, v['id'], v['nodes'][0]['html'][:200]) for v in serious_violations(page)]
    page.set_content('<html lang="en"><title>t</title><main><h1>t</h1><img src="x.png"><p style="color: #aaa; background: #bbb">pale</p></main>')
    assert {v['id'] for v in serious_violations(page)} >= {'image-alt', 'color-contrast'}, 'what is wrong is found'
    page.close()
    assert not found


@pytest.mark.parametrize('mode', ['light', 'dark'])
def test_a_page_is_as_light_as_the_reader_s_system_and_samples_stand_on_it_without_a_frame(browser, book, mode):
    page = browser.new_page(color_scheme=mode)
    page.goto((book/'project_a.html').as_uri())
    assert page.evaluate('document.documentElement.dataset.theme') == mode
    strip, around = (page.eval_on_selector(what, 'e => { const s = getComputedStyle(e); return [s.backgroundColor, s.padding] }') for what in ('.strips img', '.strips'))
    assert strip == ['rgba(0, 0, 0, 0)', '0px'] and around[0] == 'rgba(0, 0, 0, 0)'
    page.close()


@pytest.mark.parametrize('mode', ['light', 'dark'])
def test_letters_in_figures_have_the_color_of_the_page(browser, book, mode):
    page = browser.new_page(color_scheme=mode)
    page.goto((book/'calibration.html').as_uri())
    colors = page.eval_on_selector_all('figure.chart svg text, figure.chart svg tspan', 'all => [...new Set(all.map(e => getComputedStyle(e).fill))]')
    assert colors == [page.evaluate('getComputedStyle(document.querySelector("article")).color')]
    frames = page.eval_on_selector_all('figure.chart svg g[id^=legend] > g[id^=patch] path', 'all => all.map(e => getComputedStyle(e).fill)')
    assert frames and set(frames) == {'none'}, 'a legend has no sheet of its own, which would be white in the dark'
    page.close()


def test_every_page_opens_without_errors_and_without_one_request_to_elsewhere(browser, book, pages, site):
    problems, page = [], browser.new_page()
    page.on('request', lambda r: r.url.startswith(own) or problems.append((name, 'request', r.url)))
    page.on('response', lambda r: r.status >= 400 and problems.append((name, r.status, r.url)))
    page.on('requestfailed', lambda r: problems.append((name, 'failed', r.url)))
    page.on('console', lambda m: m.type == 'error' and problems.append((name, 'console', m.text)))
    page.on('pageerror', lambda e: problems.append((name, 'error', str(e))))
    for path in pages:
        name = path.relative_to(book).as_posix()
        for url in [path.as_uri(), *([site + urllib.parse.quote(name)] if name in SERVED else [])]:
            own = ('http://127.0.0.1:', 'data:', 'blob:') if url.startswith('http') else ('file:', 'data:', 'blob:')
            page.set_viewport_size(dict(width=1280, height=900))
            page.goto(url, wait_until='load')
            if formulas := page.locator('span.math, div.math').count():
                page.wait_for_function('window.MathJax && MathJax.startup && MathJax.startup.promise')
                page.evaluate('MathJax.startup.promise.then(() => 0)')
                if page.locator('mjx-container').count() < formulas or page.locator('mjx-merror').count(): problems.append((name, 'formulas', formulas))
            for width in 1280, 390:
                page.set_viewport_size(dict(width=width, height=900))
                wide = page.evaluate('document.documentElement.scrollWidth')
                if wide > width + 1: problems.append((name, f'{wide} pixels wide at {width}', url))
    page.close()
    assert not problems
