"The book as a site, as a citation, as a PDF, and what builds it elsewhere: small books made here, the real files, the real commands."
import functools
import http.server
import re
import secrets
import shutil
import sys
import threading
import xml.etree.ElementTree as xml
from html import unescape
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import fastjsonschema
import numpy as np
import pytest
import yaml
from conftest import CHROMIUM, ROOT, script, snakemake
from PIL import Image

from dcgan_nb.foundations.core import InputError
from dcgan_nb.study.problems import issue_address, problem_link, problem_text, project_settings
from dcgan_nb.study.site import CARD, make_site, site_url, social_card

sys.path.insert(0, str(ROOT/'workflow'))
import finish_book  # noqa: E402
import pdf  # noqa: E402

LOC = '{http://www.sitemaps.org/schemas/sitemap/0.9}loc'


def word(): return 'x' + secrets.token_hex(3)


def sphinx_page(title, *links):
    return (f'<html><head><title>{title}</title></head><body><blockquote><p>About {title}.</p></blockquote>' + ''.join(f'<a href="{link}">a</a>' for link in links)
            + '<footer class="bd-footer-content"></footer></body></html>')


@pytest.fixture
def book(tmp_path):
    "A book of three pages, one of them in a folder, with a style sheet whose fonts lie beside it."
    html = tmp_path/'html'
    (html/'_static').mkdir(parents=True)
    (html/'gan').mkdir()
    (html/'_static/book.css').write_text('@font-face { src: url(fonts/a.woff2) }\nh1 { color: rgb(1, 2, 3) }')
    (html/'searchindex.js').write_text('')
    for name, up in {'index': '', 'verdicts': '', 'gan/13_losses': '../'}.items(): (html/f'{name}.html').write_text(sphinx_page(name, f'{up}verdicts.html'))
    return html


def made(book, url='', stamp='Version 1.', card=None):
    site = book.parent/'site'
    make_site(book, site, url, stamp, '2026-01-31', 'A title', 'A book.', card)
    return site


def test_any_folder_of_the_web_is_an_address_and_nothing_else():
    host, folder = word(), word()
    for url in (f'https://{host}.org', f'http://{host}:8{secrets.randbelow(900) + 100}/{folder}', f'https://{host}.example.org/~{folder}/a-b/'): assert site_url(url).rstrip('/') == url.rstrip('/')
    for wrong in (host + '.org', f'//{host}.org', f'ftp://{host}.org/', f'https://{host}.org/?{folder}', f'https://{host}.org/#{folder}', f'https://{host} .org', f'https://{folder}@{host}.org/',
                  f'https://{host}.org/{folder}.html', f'https://{host}.org/"{folder}', f'https://{host}.org/../{folder}', 'https://', '.', ' '):
        with pytest.raises(InputError) as error: site_url(wrong)
        near = re.search(r'Nearest: (\S+)\.$', str(error.value))
        assert wrong in str(error.value) and (not near or site_url(near[1]) == near[1]), 'the nearest is an address itself'


@pytest.mark.parametrize('given, said', {'--url=example.org/book': 'Nearest: https://example.org/book/.', '--cores=none': 'cores', '--reports=README.md': 'is a file, not a folder'}.items())
def test_a_wrong_address_is_one_sentence_and_nothing_is_made(tmp_path, given, said):
    done = script('workflow/site_folder.py', '--reports', tmp_path/'reports', given)
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1 and not done.stdout and not (tmp_path/'reports').exists()


def test_make_hands_its_values_on(run):
    done = run('make', '--no-print-directory', '-o', '.venv/.ready', 'site', "URL=https://it's wrong")
    assert done.returncode != 0 and 'is not the address of a folder on the web' in done.stderr.splitlines()[0] and 'Traceback' not in done.stderr


def test_without_training_no_run_is_planned(tmp_path):
    plan = lambda *more: snakemake('--cores', 1, '--dry-run', '--config', f'reports={tmp_path}', 'profile=smoke', *more)
    published, trained = plan('examples=published'), plan()
    assert published.returncode == trained.returncode == 0, published.stderr[-2000:]
    shown = published.stdout + published.stderr
    assert 'rule run:' in trained.stdout + trained.stderr and 'rule run:' not in shown and 'nbs/train.ipynb' not in shown
    assert all(f'output: {tmp_path}/book/{name}.ipynb' in shown for name in ('index', 'losses', 'verdicts', 'calibration')) and '/examples/' not in shown


def test_every_page_says_what_it_was_made_from_and_shows_the_card(book):
    stamp = f'Version {word()}, <made>.'
    site = made(book, 'https://example.org/book/', stamp)
    pages = {p.relative_to(site).as_posix(): p.read_text() for p in site.rglob('*.html')}
    assert pages.keys() == {'index.html', 'verdicts.html', 'gan/13_losses.html', '404.html'}
    for name, text in pages.items():
        assert unescape(text).count(stamp) == 1 and stamp not in text, f'{name} has the stamp, escaped'
        if name == '404.html': continue
        said = dict(re.findall(r'<meta (?:property|name)="((?:og|twitter):[\w:]+)" content="([^"]*)">', text))
        assert said['og:image'] == f'https://example.org/book/{CARD}' and said['twitter:card'] == 'summary_large_image' and said['og:title'] in text and said['og:description'].startswith('About ')
        assert said['og:url'] == 'https://example.org/book/' + name.replace('index.html', '')
    listed = [e.text for e in xml.parse(site/'sitemap.xml').iter(LOC)]
    assert sorted(listed) == ['https://example.org/book/', 'https://example.org/book/gan/13_losses.html', 'https://example.org/book/verdicts.html']
    assert 'Sitemap: https://example.org/book/sitemap.xml' in (site/'robots.txt').read_text()


def test_without_an_address_nothing_needs_one(book):
    made(book, 'https://example.org/')
    site = made(book)
    assert not (site/'sitemap.xml').exists() and (site/'robots.txt').read_text() == 'User-agent: *\nAllow: /\n'
    assert not any('https:' in p.read_text() for p in site.rglob('*.html') if p.name != '404.html')
    assert f'content="../{CARD}"' in (site/'gan/13_losses.html').read_text()
    (site/'404.html').unlink()
    assert finish_book.broken_links(site) == [], 'all links of the book work in the site'


def test_a_site_is_there_completely_or_not_at_all(book, tmp_path):
    site = made(book, stamp='Version 1.')
    def broken(*_, **__): raise OSError('no space left')
    with pytest.raises(OSError): made(book, stamp='Version 2.', card=SimpleNamespace(savefig=broken))
    assert 'Version 1.' in (site/'index.html').read_text() and 'Version 2.' not in (site/'index.html').read_text()
    made(book, stamp='Version 3.')
    assert 'Version 3.' in (site/'index.html').read_text() and not [p for p in tmp_path.iterdir() if p.name.endswith('.part')]
    other = tmp_path/'other'
    other.mkdir()
    (other/'thesis.txt').write_text('mine')
    with pytest.raises(InputError, match='holds something that is no site'): make_site(book, other, '', 'V', '2026-01-31', 'T', 'A.', None)
    assert (other/'thesis.txt').read_text() == 'mine'


def test_the_card_counts_the_verdicts_and_shows_the_samples(tmp_path, rng):
    words = {'supported': secrets.randbelow(9) + 2, 'undecided': secrets.randbelow(9) + 12, 'opposite found': 1}
    verdicts = {f'{w}{i}': SimpleNamespace(word=w) for w, n in words.items() for i in range(n)}
    Image.fromarray(np.full((64, 64), 200, np.uint8)).save(tmp_path/'samples.png')
    records = [dict(run_id='a', folder=tmp_path, config=dict(conditional=False), metrics={'fid_clf_10k': dict(value=1.)}, history=[dict(n_images=10**6)])]
    card, empty = social_card('A title ' * 6, verdicts, records), social_card('A title', {}, [])
    said = ' '.join(t.get_text() for t in card.findobj(lambda a: hasattr(a, 'get_text')))
    for w, n in words.items(): assert f' {n} {w}' in said
    card.canvas.draw()
    assert max(t.get_window_extent().x1 for t in [*card.texts, *card.axes[0].texts]) < 0.58 * card.bbox.width, 'no letter runs into the samples'
    for fig, gray in (card, True), (empty, False):
        fig.savefig(tmp_path/'card.png', dpi=100)
        pixels = np.asarray(Image.open(tmp_path/'card.png').convert('RGB'))
        assert pixels.shape == (630, 1200, 3) and (pixels < 128).any() and ((pixels[200:400, 800:1000] == 200).all() == gray)
        edge = np.concatenate([pixels[:4].ravel(), pixels[-4:].ravel(), pixels[:, :8].ravel(), pixels[:, -8:].ravel()])
        assert (edge == 255).all(), 'nothing is cut off at the edge'


@pytest.fixture
def lost(book):
    "A server that has the site in a folder and answers every wrong address with its 404.html."
    site = made(book)
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
        def send_error(self, code, *args):
            page = (site/'404.html').read_bytes()
            self.send_response(code)
            self.send_header('Content-Type', 'text/html')
            self.send_header('Content-Length', str(len(page)))
            self.end_headers()
            if self.command == 'GET': self.wfile.write(page)
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Handler, directory=str(site.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()


def test_a_wrong_address_has_a_page_at_any_depth_that_leads_back(browser, lost):
    for place in ('/site/nothing.html', f'/site/{word()}/{word()}/{word()}.html'):
        page = browser.new_page(viewport=dict(width=390, height=800))
        asked = []
        page.on('request', lambda r: asked.append((r.method, r.url)))
        assert page.goto(lost + place).status == 404
        page.wait_for_function("document.querySelector('a[data-page]').href.includes('/site/')")
        assert page.locator('h1').inner_text() == 'There is no such page' and page.evaluate("getComputedStyle(document.querySelector('h1')).color") == 'rgb(1, 2, 3)', 'in the looks of the book'
        assert [url for method, url in asked if method == 'GET' and not url.endswith('favicon.ico')] == [lost + place], 'it needs nothing beside it'
        page.click('text=All verdicts')
        assert page.url == f'{lost}/site/verdicts.html' and page.evaluate('document.documentElement.scrollWidth') <= 390
        page.close()


# On paper

def test_chapters_become_one_document_that_stands_alone(tmp_path):
    page = lambda title, *rest: f'<html><head><title>x</title></head><body><nav>menu</nav><article class="bd-article"><h1>{title}</h1>{"".join(rest)}</article></body></html>'
    (tmp_path/'verdicts.html').write_text(page('All', '<a class="x" href="project_q.html#q1">Q1</a><a href="project_q.html">Q</a><a href="records/a.json">a</a><a href="https://example.org/">far</a>'))
    (tmp_path/'project_q.html').write_text(page('Q', '<h2>Q1 ✓ what<a>#</a></h2><h2>The recipe</h2><h2 id="q2">Q2: more</h2>'))
    made = pdf.printable(tmp_path, ['verdicts.html', 'project_q.html'], 'Version 1.')
    assert re.findall('href="([^"]*)"', made) == ['#q1', '#project_q.html', 'https://example.org/'] and 'menu' not in made
    assert re.findall(r'<h2[^>]* class="claim">(Q\d)', made) == ['Q1', 'Q2'] and '<h2>The recipe' in made and '<h1 id="project_q.html">' in made


def test_without_a_browser_nothing_is_printed(run, tmp_path):
    done = run(sys.executable, 'workflow/pdf.py', '--reports', tmp_path/'reports', PATH='/nowhere')
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and 'There is no Chromium' in done.stderr and not (tmp_path/'reports').exists()


@pytest.mark.skipif(CHROMIUM is None, reason='no Chromium is installed (Debian: apt-get install chromium)')
def test_a_claim_begins_a_sheet_and_what_is_not_for_paper_is_left_out(tmp_path):
    style = (ROOT/'nbs/assets/book.css').read_text()
    claims = ''.join(f'<h2 class="claim">Q{i}</h2><p>text</p>' for i in range(4))
    page = lambda body: f'<html class="print"><style>{style}</style><article class="bd-article"><h1>All</h1>{body}<div class="details" style="break-before: page">folded</div></article></html>'
    def sheets(body):
        (tmp_path/'print.html').write_text(page(body))
        pdf.print_pdf(CHROMIUM, tmp_path/'print.html', tmp_path/'out.pdf')
        return len(re.findall(rb'/Type\s*/Page\b', (tmp_path/'out.pdf').read_bytes()))
    assert sheets(claims) == 5 and sheets(claims.replace(' class="claim"', '')) == 1
    with pytest.raises(InputError, match='could not print'): pdf.print_pdf(shutil.which('false'), tmp_path/'print.html', tmp_path/'other.pdf')
    assert sorted(p.name for p in tmp_path.iterdir()) == ['out.pdf', 'print.html']


# A report of a problem

def doubted(**given):
    claim = SimpleNamespace(id='Q1', quote=f'“{word()}” & <b>', source=word(), tested=f'{word()} # ? = %')
    run = dict(run_id=word(), environment=dict(versions=dict(torch=word())), code=dict(commit='0123456789', dirty=False))
    return SimpleNamespace(text='undecided', because='', claim=claim), [run | dict(run_id=f'{word()}-{i}') for i in range(given.get('n', 3))]


def test_a_problem_arrives_whole_at_the_repository():
    v, runs = doubted()
    title, text = problem_text(v, runs, 'make study CLAIM=Q1', 'ab12', 'FID +3 %')
    for part in (v.claim.quote, v.claim.tested, v.text, 'make study CLAIM=Q1', 'ab12', runs[0]['environment']['versions']['torch'], project_settings()['version'], *(r['run_id'] for r in runs)): assert part in text, part
    for url, keys in {'https://github.com/a/b': ('title', 'body'), 'https://gitlab.com/a/b': ('issue[title]', 'issue[description]')}.items():
        address = unescape(re.search('href="([^"]*)"', problem_link(title, text, url))[1])
        found = parse_qs(urlsplit(address).query, strict_parsing=True)
        assert address.startswith(url + '/') and [found[k][0].strip() for k in keys] == [title.strip(), text.strip()]
    assert len(issue_address('https://github.com/a/b', *problem_text(*doubted(n=2000), 'c', 'v', ''))) < 6000, 'however many runs there are'


def test_without_a_repository_the_text_can_be_copied():
    title, text = problem_text(*doubted(), 'c', 'v', '')
    shown = problem_link(title, text, '')
    assert 'href' not in shown and 'mailto' not in shown and '<b>' not in shown and text in unescape(shown)
    assert ('href' in problem_link(title, text)) == bool(project_settings()['git_url']), 'settings.ini decides'
    with pytest.raises(InputError, match='is not the address of a repository'): problem_link(title, text, 'git@example.org:a/b')


# The citation

PERSON_OR_ENTITY = dict(type='object', required=['name'], additionalProperties=False, properties=dict(name=dict(type='string', minLength=1), website=dict(type='string', format='uri')))
TEXT = dict(type='string', minLength=1)
CFF = dict(type='object', required=['cff-version', 'message', 'title', 'authors'], additionalProperties=False, properties={
    'cff-version': dict(const='1.2.0'), 'message': TEXT, 'title': TEXT, 'abstract': TEXT, 'type': dict(enum=['software', 'dataset']), 'version': dict(type=['string', 'number']), 'license': TEXT,
    'authors': dict(type='array', minItems=1, items=PERSON_OR_ENTITY), 'keywords': dict(type='array', minItems=1, uniqueItems=True, items=TEXT),
    'repository-code': dict(type='string', format='uri'), 'url': dict(type='string', format='uri'), 'date-released': dict(type='string', pattern=r'^\d{4}-\d\d-\d\d$')})


def test_the_citation_is_valid_and_agrees_with_the_settings(run):
    "The keys that the Citation File Format 1.2.0 knows, as far as we use them; cffconvert, where it is installed, says the same."
    text = (ROOT/'CITATION.cff').read_text()
    cited, valid, settings = yaml.safe_load(text), fastjsonschema.compile(CFF), project_settings()
    valid(cited)
    for wrong in (cited | dict(authors=[]), cited | dict(autor='x'), cited | {'cff-version': '1.3'}, {k: v for k, v in cited.items() if k != 'title'}):
        with pytest.raises(fastjsonschema.JsonSchemaException): valid(wrong)
    licenses = {'apache2': 'Apache-2.0', 'mit': 'MIT'}
    assert (cited['version'], cited['license'], cited['authors']) == (settings['version'], licenses[settings['license']], [dict(name=settings['author'])])
    assert cited['keywords'] == settings['keywords'].split() and cited.get('repository-code', '') == settings['git_url']
    if shutil.which('cffconvert'): assert run('cffconvert', '--validate').returncode == 0


# What builds the site elsewhere

GITHUB, GITLAB, DRIFT = ROOT/'.github/workflows/pages.yml', ROOT/'.gitlab-ci.yml', ROOT/'.github/workflows/drift.yml'


def steps():
    "Every command of the three files."
    for path in GITHUB, DRIFT:
        for job in yaml.safe_load(path.read_text())['jobs'].values():
            for step in job['steps']: yield from step.get('run', '').splitlines()
    for job in yaml.safe_load(GITLAB.read_text()).values():
        if isinstance(job, dict): yield from job.get('script', [])


def test_the_steps_are_targets_that_there_are():
    targets = set(re.findall(r'^([a-z-]+):', (ROOT/'Makefile').read_text(), re.MULTILINE))
    commands = list(steps())
    for command in commands: assert command == 'mv reports/site public' or re.fullmatch(r'make ([a-z-]+)( URL="\$SITE"| HASHES=1| ALL=1)?', command)[1] in targets, command
    assert {'make test ALL=1', 'make site URL="$SITE"'} <= set(commands) and not any(f'make {name}' in command for command in commands for name in ('report', 'study', 'bench')), 'nothing is trained'


def test_actions_are_pinned_and_may_do_little(run):
    workflow = yaml.safe_load(GITHUB.read_text())
    uses = [step['uses'] for job in workflow['jobs'].values() for step in job['steps'] if 'uses' in step]
    assert uses and all(re.fullmatch(r'actions/[a-z-]+@v\d+', action) for action in uses)
    assert workflow['permissions'] == dict(contents='read')
    writes = {name: {k for k, v in job.get('permissions', {}).items() if v == 'write'} for name, job in workflow['jobs'].items()}
    assert writes == dict(test=set(), build=set(), deploy={'pages', 'id-token'}) and 'main' in workflow['jobs']['deploy']['if'] and set(workflow['jobs']['deploy']['needs']) == {'test', 'build'}
    assert all(job['timeout-minutes'] for job in workflow['jobs'].values()), 'what hangs ends'
    python = [step for job in workflow['jobs'].values() for step in job['steps'] if 'setup-python' in step.get('uses', '')]
    assert python and all(step['with']['cache'] == 'pip' and (ROOT/step['with']['cache-dependency-path']).is_file() for step in python)
    assert all('${{' not in command for command in steps()), 'what comes from outside reaches a shell as a variable only'
    weekly = yaml.safe_load(DRIFT.read_text())
    assert weekly['permissions'] == dict(contents='read') and not any('permissions' in job for job in weekly['jobs'].values()), 'it only looks'
    assert all(job['timeout-minutes'] and all(re.fullmatch(r'actions/[a-z-]+@v\d+', s['uses']) for s in job['steps'] if 'uses' in s) for job in weekly['jobs'].values())
    assert re.fullmatch(r'\d+ \d+ \* \* [0-6]', weekly[True]['schedule'][0]['cron']), 'once a week (YAML takes the word on for a truth value)'
    if shutil.which('actionlint'):
        checked = run('actionlint', GITHUB, DRIFT)
        assert checked.returncode == 0, checked.stdout


def test_they_name_no_registry_and_no_place_of_one_machine():
    for path in GITHUB, GITLAB, DRIFT:
        assert not re.search(r'https?://|index-url|(?<![\w.$}])/(?:usr|opt|home|root|builds)/', path.read_text()), path
    jobs = yaml.safe_load(GITLAB.read_text())
    for name, job in jobs.items():
        if isinstance(job, dict) and 'script' in job: assert job['stage'] in jobs['stages'] and set(job.get('needs', [])) <= jobs.keys(), name
    assert jobs['pages']['artifacts']['paths'] == ['public']
