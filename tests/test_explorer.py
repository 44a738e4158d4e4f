"Verdicts in the browser: the script judges as the library does, and a reader can change what a verdict rests on."
import json
import math
import os
import random
import re
from dataclasses import replace

import pytest
from conftest import CHROMIUM, ROOT, opened

from dcgan_nb.foundations.core import load_projects
from dcgan_nb.study.claims import CLAIMS, PROJECTS, Claim, arm_config
from dcgan_nb.study.judge import courses
from dcgan_nb.study.pages import Study, open_study
from dcgan_nb.study.rules import RULES
from dcgan_nb.study.sensitivity import case_of, judge_values, page_data, published_cases, random_case, sensitivity, values_of

load_projects()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason='no Chromium is installed (Debian: apt-get install chromium)')
RULES_JS, CASES = ROOT/'nbs/assets/rules.js', ROOT/'tests/rules_cases.json'


@pytest.fixture(scope='module')
def study(): return open_study(runs_dir='no/such/folder')


@pytest.fixture(scope='module')
def cases():
    "Made up anew each time, and judged by the library."
    seed = int.from_bytes(os.urandom(4), 'big')
    print(f'seed of these cases: {seed}')
    rng = random.Random(seed)
    return [random_case(rng) for _ in range(300)]


JUDGED = """cases => cases.map(({ claim, arms, others, n_epochs }) => {
  const v = rules.judge(claim, arms, others, n_epochs)
  return { ...v, low: isFinite(v.low) ? v.low : null, high: isFinite(v.high) ? v.high : null, delta_text: rules.deltaText(claim) }
})"""


def in_the_browser(browser, cases, script=None):
    "What the script makes of each case."
    page = browser.new_page()
    page.set_content(f'<!doctype html><script>{script or RULES_JS.read_text()}</script>')
    found = page.evaluate(JUDGED, cases)
    page.close()
    return found


def differences(cases, found):
    "Where the browser's verdicts are not the library's: (case, field, ours, theirs)."
    def same(ours, theirs):
        if isinstance(ours, float) or isinstance(theirs, float): return None not in (ours, theirs) and math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-9)
        return ours == theirs
    return [(i, name, ours, theirs[name]) for i, (case, theirs) in enumerate(zip(cases, found, strict=True)) for name, ours in case['verdict'].items() if not same(ours, theirs[name])]


def test_the_browser_judges_fresh_cases_as_the_library_does(browser, cases):
    assert len({case['verdict']['text'] for case in cases}) >= 6, 'nearly every verdict occurs'
    assert not differences(cases, in_the_browser(browser, cases))


def test_the_browser_judges_published_claims_as_they_were_published(browser, study):
    cases = published_cases(study)
    assert len(cases) > 10 and not differences(cases, in_the_browser(browser, cases))
    for case in cases:
        published = study.courses[case['claim']['id']]
        assert any((v.text, v.p_holm, v.effect) == tuple(case['verdict'][name] for name in ('text', 'p_holm', 'effect')) for v in published.values()), case['claim']['id']


def claim_in(case):
    given = case['claim']
    return Claim(given['id'], '', '', '', given['rule'], given['measure']['name'], arms={arm: {} for arm in given['arms']}, delta=given['delta'], needs=given['needs'], judged_at=tuple(given['judged_at']), shows=given['shows'])


def test_the_cases_kept_with_the_tests_are_judged_by_both_as_they_were(browser):
    cases = json.loads(CASES.read_text())
    again = [case_of(claim_in(case), case['arms'], case['others'], case['n_epochs']) for case in cases]
    assert not differences(cases, [case['verdict'] for case in again]), 'a rule has changed: write the cases anew, see nbs/study/53_sensitivity.ipynb'
    assert not differences(cases, in_the_browser(browser, cases))


@pytest.mark.parametrize('right, wrong', {
    'claim.measure.ratio ? Math.log(1 + claim.delta) : claim.delta': 'claim.delta',                 # δ on the linear scale
    "rule === 'same' ? 0.9 : 0.95": '0.95',                                                         # no equivalence test
    'tQuantile(level, x.length - 1)': '1.96',                                                       # the normal distribution
    '(names.length - i) * p[name]': 'names.length * p[name]',                                       # Bonferroni
    'largest = Math.max(largest, Math.min(1, (names.length - i) * p[name]))': 'Math.min(1, (names.length - i) * p[name])',
    'difference(first) <= observed': 'difference(first) < observed',                                # the observed way does not count
    '* 1e12': '* 1e1',                                                                              # what differs is a tie
    'm.lower_is_better ? 1 : -1': '1',
    'Object.keys(a).filter(s => s in b)': 'Object.keys(a)',                                         # pairs that are none
    'looks * permutationP': 'permutationP',                                 # a second look costs nothing
    'MIN_SEEDS = 6': 'MIN_SEEDS = 5'}.items())
def test_a_wrong_rule_would_be_noticed(right, wrong, browser, cases):
    script = RULES_JS.read_text()
    assert script.count(right) == 1
    assert differences(cases, in_the_browser(browser, cases, script.replace(right, wrong)))


def test_student_s_t_is_that_of_scipy(browser):
    from scipy.stats import t
    page = browser.new_page()
    page.set_content(f'<!doctype html><script>{RULES_JS.read_text()}</script>')
    for n in range(1, 40):
        for level in 0.5, 0.9, 0.95, 0.999: assert page.evaluate('([level, n]) => rules.tQuantile(level, n)', [level, n]) == pytest.approx(t.ppf((1 + level)/2, n), rel=1e-9)
    page.close()


def test_what_the_page_carries_is_small(study):
    assert len(json.dumps(page_data(study))) < 100_000


# The page

def records_of(claim, rng):
    "Made-up records of two rungs: the first arm is better on the first and no longer on the second."
    first, second = claim.arms
    for times, truth in (1, {first: 5, second: 10}), (2, {first: 7, second: 5}):
        for arm, value in truth.items():
            for s in range(7):
                config = arm_config(replace(claim, times=times), arm, s, 'cpu', device='cpu').record()
                yield dict(config=config, status='finished', run_id=f'{times}-{arm}-{s}', metrics=dict(fid_clf_10k=dict(value=value * math.exp(rng.gauss(0, 0.03)))), history=[dict(n_images=60_000)], timings_s={})


@pytest.fixture
def made_up(monkeypatch):
    "A study with three claims of its own: of two arms on two rungs, of three arms, and one that has not been run."
    monkeypatch.setitem(PROJECTS, 'Z', 'a made-up study')
    arms = dict(hinge=dict(loss='hinge'), mse=dict(loss='mse'))
    two, three, none = (Claim('Z1', '', '', 'Hinge is better.', 'better', arms=arms), Claim('Z2', '', '', 'Hinge is the best.', 'best', arms=arms | dict(bce={})),
                        Claim('Z3', '', '', 'Nobody ran it.', 'same', arms=dict(wide=dict(g_width=8, loss='mse'), narrow=dict(g_width=4, loss='mse'))))
    for claim in (two, three, none): monkeypatch.setitem(CLAIMS, claim.id, claim)
    seed = int.from_bytes(os.urandom(4), 'big')
    print(f'seed of these records: {seed}')
    records = list(records_of(two, random.Random(seed)))
    return Study(records, courses(records, 'Z'))


def explorer(browser, folder, data, hash='', width=1000): return opened(browser, folder, sensitivity(data), 'rules.js', 'sensitivity.js', hash=hash, width=width)


def shown(page): return page.get_by_role('status').inner_text()


def as_chosen(page):
    "The verdict as it is computed in the page, without the words that say by which measure."
    return re.match('As chosen here, by [^:]+: (.*)', shown(page), re.DOTALL)[1]


def published(page): return page.locator('.sensitivity .verdict-box').first.inner_text()


def judged(study, id, times, delta=None, without=()):
    "What the library says of a claim after such changes."
    v = study.courses[id][times]
    claim = replace(v.claim, delta=delta or v.claim.delta)
    arms = {arm: {s: x for s, x in by_seed.items() if s not in without} for arm, by_seed in zip(claim.arms, values_of(v))}
    others = {other: 1.0 if (p := course.get(times, course[1]).p) is None else p for other, course in study.courses.items() if other != id and RULES[course[1].claim.rule].tests}
    return judge_values(claim, arms, others, v.n_epochs)


def test_a_reader_changes_delta_seeds_and_budget_and_shares_it(browser, made_up, tmp_path):
    page = explorer(browser, tmp_path, page_data(made_up))
    assert made_up.verdicts['Z1'].text == 'depends on the budget' and published(page).startswith('Published: depends on the budget')
    page.get_by_label('Budget').select_option('1')
    assert as_chosen(page).startswith('supported')
    slider, before = page.get_by_role('slider'), published(page)

    for key in ['ArrowRight']*6 + ['PageUp']*2 + ['End'] + ['ArrowLeft']*3 + ['PageDown']*4:
        slider.press(key)
        percent = slider.get_attribute('aria-valuetext')
        v = judged(made_up, 'Z1', 1, float(percent.removesuffix(' %'))/100)
        assert as_chosen(page).startswith(v.text) and v.because.replace('$', '') in shown(page), percent
    assert published(page) == before, 'the published verdict stays as it is'
    page.get_by_role('button', name='As published').click()
    page.get_by_label('Budget').select_option('1')
    for out in 3, 0:
        page.get_by_role('checkbox', name=str(out), exact=True).press('Space')
        without = {3} if out == 3 else {0, 3}
        v = judged(made_up, 'Z1', 1, without=without)
        assert as_chosen(page).startswith(v.text) and f'p = {v.p:.2g}' in shown(page) and f'{v.n_seeds} seeds' in shown(page)
        assert page.locator('svg circle.out').count() == 2*len(without)
    assert 'undecided (leaning for)' in shown(page) and 'If so few seeds could decide: supported' in shown(page)
    again = explorer(browser, tmp_path, page_data(made_up), hash=page.url[page.url.index('#'):])
    assert shown(again) == shown(page) and not again.get_by_role('checkbox', name='3').is_checked()
    page.get_by_role('button', name='As published').click()
    assert page.url.endswith('#sensitivity&claim=Z1') and page.get_by_role('checkbox', name='3').is_checked()
    assert not page.wrong + again.wrong
    page.close(), again.close()


def test_what_is_not_judged_in_the_browser_says_so(browser, made_up, tmp_path):
    page = explorer(browser, tmp_path, page_data(made_up), '#sensitivity&claim=Z2')
    assert 'not judged in the browser' in shown(page) or 'no runs yet' in shown(page)
    page.get_by_label('Claim').select_option('Z3')
    assert 'There are no runs yet' in shown(page) and published(page).startswith('Published: not run')
    assert not page.get_by_role('slider').is_visible() and not page.wrong
    page.get_by_label('Claim').select_option('Z1')
    assert page.get_by_role('slider').is_visible() and not page.wrong
    page.close()


@pytest.mark.parametrize('hash', ['#sensitivity&claim=nobody&delta=x', '#sensitivity&delta=1e99&out=77,-1&budget=3', '#a0', '#sensitivity&claim=Z1&out=0,1,2,3,4,5,6'])
@pytest.mark.parametrize('width', [390, 1280])
def test_any_address_shows_something_sensible_on_any_screen(hash, width, browser, made_up, tmp_path):
    page = explorer(browser, tmp_path, page_data(made_up), hash, width)
    assert as_chosen(page) and not page.wrong
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    box = page.locator('.sensitivity svg').bounding_box()
    assert all(box['x'] - 1 <= c['x'] and c['x'] + c['width'] <= box['x'] + box['width'] + 1 for c in (dot.bounding_box() for dot in page.locator('.sensitivity svg circle').all())), 'every dot is in the figure'
    page.close()


def test_the_published_claims_open_as_they_were_published(browser, study, tmp_path):
    data = page_data(study)
    page = explorer(browser, tmp_path, data)
    ids = [c['id'] for c in data['claims'] if 'claim' in c]
    for id in random.sample(ids, 12):
        page.get_by_label('Claim').select_option(id)
        v = study.verdicts[id]
        if not v.word.startswith('depends'): assert as_chosen(page).startswith(v.text), id
        assert published(page).startswith(f'Published: {v.text}')
    assert not page.wrong and len(ids) > 10
    page.close()
