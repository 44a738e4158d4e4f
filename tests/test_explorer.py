"Verdicts in the browser: the script judges as the library does, and a reader can change what a verdict rests on."
import json
import math
import os
import random

import pytest
from conftest import CHROMIUM, FLAGS, ROOT

from dcgan_nb.foundations.core import load_projects
from dcgan_nb.study.claims import Claim
from dcgan_nb.study.pages import open_study
from dcgan_nb.study.sensitivity import case_of, page_data, published_cases, random_case

load_projects()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason='no Chromium is installed (Debian: apt-get install chromium)')
RULES_JS, CASES = ROOT/'nbs/assets/rules.js', ROOT/'tests/rules_cases.json'


@pytest.fixture(scope='module')
def browser():
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope='module')
def study(): return open_study(runs_dir='no/such/folder')


def fresh_cases(n):
    seed = int.from_bytes(os.urandom(4), 'big')
    print(f'seed of these cases: {seed}')
    rng = random.Random(seed)
    return [random_case(rng) for _ in range(n)]


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


def test_the_browser_judges_fresh_cases_as_the_library_does(browser):
    cases = fresh_cases(300)
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
    return Claim(given['id'], '', '', '', given['rule'], given['measure']['name'], arms={arm: {} for arm in given['arms']}, delta=given['delta'], needs=given['needs'])


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
    'MIN_SEEDS = 6': 'MIN_SEEDS = 5'}.items())
def test_a_wrong_rule_would_be_noticed(right, wrong, browser):
    script = RULES_JS.read_text()
    assert script.count(right) == 1
    cases = fresh_cases(200)
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
