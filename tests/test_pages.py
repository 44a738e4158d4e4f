"What the page of a claim says, and that it says it once: with some of the published claims, others each time."
import json
import random
import re

import pytest
from conftest import ROOT

from dcgan_nb.foundations.core import load_projects
from dcgan_nb.study.evidence import went_wrong
from dcgan_nb.study.figures import SECONDS
from dcgan_nb.study.pages import _costs, open_study
from dcgan_nb.study.problems import problem_text
from dcgan_nb.study.rules import effect_text


@pytest.fixture(scope='module')
def study():
    load_projects()
    return open_study('', 'no/such', 'reports/records')


@pytest.fixture
def some(study):
    seed = random.SystemRandom().randrange(2**32)
    print(f'seed of this test: {seed}')
    ids = [id for id, v in study.verdicts.items() if v.effect is not None]
    return random.Random(seed).sample(ids, 4)


def page(study, id): return ''.join(map(str, study.claim(id)))


def open_text(html): return re.sub(r'<div class="details">.*|<(figure|template|details)\b.*?</\1>|<div[^>]*class="trace".*?</div>', '', html, flags=re.DOTALL)


def test_a_page_says_each_number_once_and_how_it_was_judged_where_it_is_folded(study, some):
    for id in some:
        html, v = page(study, id), study.verdicts[id]
        seen = re.sub('<.*?>', '', open_text(html))
        assert seen.count(effect_text(v)) <= 1 and (v.p is None or seen.count(f'corrected {v.p_holm:.2g}') <= 1), id
        assert 'Holm’s correction over all tests' not in seen and html.count('<summary>How it was judged</summary>') == 1, id


def test_what_went_wrong_is_said_where_something_did(study):
    some = {id: bool(went_wrong(v)) for id, v in study.verdicts.items() if v.effect is not None and v.claim.measure == 'fid'}
    assert {*some.values()} == {True, False}
    for wrong in True, False:
        for id in [id for id in some if some[id] == wrong][:3]:
            html = page(study, id)
            assert ('interval of the rate' in html) == wrong and 'No run diverged' not in html, id


def test_a_claim_about_memory_or_a_feature_shows_no_images_and_blames_no_run(study):
    for id in ('C2', 'C3'):
        html = page(study, id)
        assert 'class="strips"' not in html and 'collapsed' not in html, id
    assert 'class="strips"' in page(study, 'A0')


def test_a_report_names_runs_that_have_a_page(study, some):
    for id in some:
        v = study.verdicts[id]
        there = {r.get('rung_of', r['run_id']) for r in v.runs}
        line = re.search(r'^Records: (\d+): (.*)$', problem_text(v, v.runs, '', '', '')[1], re.MULTILINE)
        assert int(line[1]) == len(there) and set(re.sub(r' and \d+ more$', '', line[2]).split(', ')) <= there


def test_headings_of_claims_ask_something_else_each_and_no_claim_stands_below_its_code():
    asked = []
    for path in sorted((ROOT/'nbs/chapters').glob('project_*.ipynb')):
        for cell in json.loads(path.read_text())['cells']:
            source = ''.join(cell['source'])
            asked += re.findall(r'^## [A-Z]\d+[a-z]?: (.*)$', source, re.MULTILINE) if cell['cell_type'] == 'markdown' else []
            if source.startswith('for part in study.'): assert cell['metadata'].get('tags') == ['remove-input'], f'{path.name}: {source}'
    assert len(asked) > 40 and all(text.endswith('?') for text in asked) and len({*asked}) == len(asked)


def ran(cpu, seconds):
    return dict(config=dict(device='cpu'), history=[dict(n_images=500)], networks={}, environment=dict(gpu=None, cpu=cpu), timings_s=dict(train_cpu=seconds) if seconds else {})


@pytest.mark.parametrize('first, second, said', [
    ({'slow': 200, 'fast': 100}, {'fast': 110}, ['100', '110']),     # 150 would be a median of two processors
    ({'slow': 200}, {'fast': 100}, None),                            # the same work may take half as long elsewhere
    ({'fast': 120}, {'fast': 90}, ['120', '90']),
    ({'fast': None}, {'fast': None}, ['—', '—'])])
def test_seconds_are_compared_on_one_processor_or_not_at_all(first, second, said):
    html = _costs({arm: {s: ran(cpu, seconds) for s, (cpu, seconds) in enumerate(runs.items())} for arm, runs in dict(a=first, b=second).items()})
    rows = [re.findall('<td>(.*?)</td>', row) for row in re.findall(r'<tr>.*?</tr>', html, re.DOTALL)]
    assert (SECONDS in html) == (said is not None) and ('no processor has run all arms' in html) == (said is None)
    if said: assert [row[1] for row in rows] == said and ('one kind of processor, fast' in html) == (said[0] != '—')
