"Numbers of results come from records: none is typed into the prose of a chapter, and each that is shown says where it comes from."
import json
import re
import shutil

import pytest
from conftest import ROOT, serious_violations

from dcgan_nb.foundations.core import load_projects
from dcgan_nb.runs.numbers import number, trace
from dcgan_nb.runs.records import read_records
from dcgan_nb.study.run_pages import run_page
from dcgan_nb.scores.metrics import METRICS
from dcgan_nb.study.claims import chosen_claims
from dcgan_nb.study.pages import _linked_seeds, open_study
from dcgan_nb.study.rules import RULES

load_projects()

# The rule. A result is a share (67 %), a factor of an effect (× 3, three times as high), a spread (± 2), a p, or a number that follows a measure's name (FID 2.3, a recall of 0.1).
# It may be typed if somebody else said it or if it was settled before: in “a quote”, a > block of one, or `code`; in a sentence that links to its source; where a claim of the book has the same number
# in its quote, source or tested sentence; and as a level or a threshold: 95 % interval, 90 % sure, −20 % means, the middle 95 %. Numbers of images, seeds, epochs, runs and the like are settings.
NAMES = '|'.join(sorted({re.escape(m.title) for m in METRICS.values()} | {'FID', 'KID', 'precision', 'recall'}, key=len, reverse=True))
NUMBER = r'(?<![\w.,])\d[\d,]*(?:\.\d+)?(?![\d,]*\d)'
RESULT = re.compile(rf'{NUMBER} ?%|(?<!\d)(?<!\d )× ?{NUMBER}|± ?{NUMBER}|{NUMBER} times (?:as|lower|higher|better|worse)|\bp\$? ?[=<≈] ?\$?{NUMBER}|\b(?:{NAMES})\b[^.,;:\d]{{0,25}}?{NUMBER}(?! (?:generated |real |training )?(?:images|seeds|epochs|runs|digits|steps|trials|arms))')
SETTLED = re.compile(rf'{NUMBER} ?% (?:interval|intervals|sure|FID means|of resampled)')


def prose(markdown):
    "The text without quotes, code and formulas' dollar signs of single letters."
    markdown = re.sub(r'(?s)```.*?```|`[^`]*`|“[^”]*”', ' … ', markdown)
    return '\n'.join(line for line in markdown.splitlines() if not line.lstrip().startswith('>'))


def typed_results(markdown, known=''):
    "The results that somebody typed; `known` is what claims say, whose numbers may be repeated."
    written = set(re.findall(NUMBER, known))
    found = []
    for sentence in re.split(r'(?<=[.!?])\s+|\n', prose(markdown)):
        if re.search(r'\]\(https?://', sentence): continue
        found += [m[0] for m in RESULT.finditer(SETTLED.sub(' … ', sentence)) if re.search(rf'{NUMBER}(?=\D*$)', m[0])[0] not in written]
    return found


def known_of(letter): return ' '.join(f'{c.quote} {c.source} {c.tested}' for c in chosen_claims(letter))


CHAPTERS = [*sorted(ROOT.glob('nbs/chapters/project_*.ipynb')), ROOT/'nbs/chapters/verdicts.ipynb']


@pytest.mark.parametrize('path', CHAPTERS, ids=lambda path: path.stem)
def test_no_result_is_typed_into_a_chapter(path):
    known = known_of(path.stem[-1].upper() if path.stem.startswith('project_') else '')
    found = [r for cell in json.loads(path.read_text())['cells'] if cell['cell_type'] == 'markdown' for r in typed_results(''.join(cell['source']), known)]
    assert not found, f'{path.name}: {found} must come from the records'


def test_no_result_is_typed_into_the_note_of_a_claim():
    assert not [(c.id, found) for c in chosen_claims() if (found := typed_results(c.note, known_of(c.project)))]


@pytest.mark.parametrize('text', ['With hinge the FID 2.3 is the best.', 'It reached an FID of 7.', 'Its FID is 67 % lower.', 'The loss is 3 times as high.', 'FID rises by × 2.1 then.', 'We found 26.5 ± 1.6 here.',
                                  'The difference counts ($p$ = 0.03).', 'The test gives p = 0.02.', 'A recall of 0.128 is low.', '- the Inception Score was 8.58 here'])
def test_a_typed_result_is_found(text):
    assert typed_results(f'# A chapter\n\nSome words. {text}\n'), text


@pytest.mark.parametrize('text', ['> They said FID 2.3.', 'They call it “67 % better”.', 'Lucic et al. found FID 24.5 ± 2.1 ([paper](https://arxiv.org/abs/1711.10337)).', 'Brackets hold the 95 % interval.', 'A classifier is 90 % sure of it.',
                                  'Run `make study SEEDS=6`, or `p = 0.5`.', 'Six seeds, 25 epochs of 60,000 images, learning rate 0.0002.', 'FID is computed with 500 images.', 'See part 4 of 6.', 'Images of 28×28 or 28 × 28 pixels.'])
def test_quotes_and_settings_may_be_typed(text): assert not typed_results(text)


def test_a_claim_lets_its_own_numbers_be_repeated_and_no_other():
    assert not typed_results('The FID of 62.97 is theirs.', 'FID: 62.97') and typed_results('The FID of 62.98 is theirs.', 'FID: 62.97')


# In a browser

@pytest.fixture
def page_of(browser, tmp_path):
    "Opens a page with two numbers and one trace."
    for name in 'numbers.js', 'book.css': shutil.copy(ROOT/'nbs/assets'/name, tmp_path)
    inside = f'<p><button>elsewhere</button></p><p id="x1">{number("−48 %", "#x1", "t")} and {number("0.02", "#x1", "t")} and {number("7", "#x1")}</p>' + trace('t', dict(seeds='six', run='<a href="#r">r</a>'))
    (tmp_path/'page.html').write_text(f'<!doctype html><html lang="en"><meta charset="utf-8"><title>t</title><link rel="stylesheet" href="book.css"><script src="numbers.js"></script><body>{inside}</body></html>')
    opened = []
    def page_of(**how):
        context = browser.new_context(viewport=dict(width=390, height=700), **how)
        opened.append(context)
        page = context.new_page()
        page.goto((tmp_path/'page.html').as_uri())
        return page
    yield page_of
    for context in opened: context.close()


def test_a_click_shows_what_stands_behind_a_number_and_escape_or_a_click_elsewhere_closes_it(page_of):
    page = page_of()
    page.click('text="−48 %"')
    assert 'six' in page.inner_text('.trace') and '#' not in page.url and page.locator('.trace').get_attribute('role') == 'dialog'
    box = page.locator('.trace').bounding_box()
    assert box['x'] >= 0 and box['x'] + box['width'] <= 390
    page.click('text="0.02"')
    assert page.locator('.trace').count() == 1 and page.get_attribute('text="0.02"', 'aria-expanded') == 'true'
    page.keyboard.press('Escape')
    assert page.locator('.trace').count() == 0 and page.evaluate('document.activeElement.textContent') == '0.02'
    page.click('text="0.02"')
    page.click('button')
    assert page.locator('.trace').count() == 0
    page.click('text="7"')                      # it has no trace
    assert page.url.endswith('#x1')


def test_the_keyboard_does_the_same(page_of):
    page = page_of()
    for _ in range(2): page.keyboard.press('Tab')       # over the button
    assert page.locator('.trace').count() == 1, 'focus shows it'
    page.keyboard.press('Enter')
    page.keyboard.press('Tab')
    assert page.evaluate('document.activeElement.textContent') == 'r', 'Enter goes into it'
    page.keyboard.press('Escape')
    assert page.locator('.trace').count() == 0 and page.evaluate('document.activeElement.textContent') == '−48 %'


def test_without_javascript_the_link_leads_to_the_place(page_of):
    page = page_of(java_script_enabled=False)
    page.click('text="−48 %"')
    assert page.url.endswith('#x1') and not page.locator('.trace').count() and 'six' not in page.inner_text('body')


def test_the_page_of_a_run_is_narrow_enough_for_a_phone_and_can_be_read_in_the_dark(browser, tmp_path):
    record = max(read_records(ROOT/'reports/records'), key=lambda r: len(r['run_id']) + len(r['history'])) | dict(layer='published')
    for name in 'runs', '_static': (tmp_path/name).mkdir()
    for name in 'numbers.js', 'book.css', 'favicon.svg': shutil.copy(ROOT/'nbs/assets'/name, tmp_path/'_static')
    (tmp_path/'runs/it.html').write_text(run_page(record, [dict(page='a.html', claim='X1', arm='a', tested='so', verdict='supported')]))
    for mode in 'light', 'dark':
        page = browser.new_page(viewport=dict(width=390, height=800))
        page.goto((tmp_path/'runs/it.html').as_uri())
        page.evaluate('mode => { document.documentElement.dataset.theme = mode }', mode)
        assert page.evaluate('document.documentElement.scrollWidth') <= 391
        assert not [(v['id'], v['nodes'][0]['html'][:200]) for v in serious_violations(page)]
        page.close()


def test_the_seeds_of_every_claim_lead_to_their_runs():
    study = open_study('', 'no/such/folder')
    for id, verdict in study.verdicts.items():
        if not (arms := study.arms(id)) or not RULES[verdict.claim.rule].measures: continue
        shown = _linked_seeds(verdict.claim, arms)
        for by_seed in arms.values():
            for r in by_seed.values(): assert f'runs/{r.get("rung_of", r["run_id"])}.html"' in shown, (id, r['run_id'])
