"Generators that are judged again: what is written, what is read, and what becomes of it when the run is made anew or published."
import json
import random
import shutil

import pytest
import torch
from conftest import ROOT

from dcgan_nb.foundations.datasets import load_data
from dcgan_nb.gan.networks import GENERATOR, load_generator
from dcgan_nb.runs.config import RunConfig
from dcgan_nb.runs.ladder import rungs
from dcgan_nb.runs.records import SECOND_LOOK, read_records, read_second_look
from dcgan_nb.runs.run import run as train
from dcgan_nb.scores.features import load_extractor
from dcgan_nb.study import second_look
from dcgan_nb.study.claims import CLAIMS, arm_records, measured, study_records
from dcgan_nb.study.judge import courses, judge, outcome, read_otherwise
from dcgan_nb.study.overview import verdict_table
from dcgan_nb.study.plan import publish

PUBLISHED = ROOT/'reports/records'
LOOKED = sorted(p.parent.name for p in PUBLISHED.glob(f'*/{SECOND_LOOK}'))


def look_at(record, **more):
    "A second look at a run, made up."
    return dict(run_id=record['run_id'], written=record['written'], noises=dict(fid_clf_100=[1, 2]), metrics=dict(kid_imagenet_100=dict(value=0.5)),
                code=dict(commit='0123', dirty=False)) | more


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    "A small run with two rungs, and one whose generator is gone."
    folder = tmp_path_factory.mktemp('runs')
    for seed in (0, 1):
        c = RunConfig.resolve(profile='smoke', device='cpu', g_width=4, d_width=4, epochs=2, rungs=2, n_eval=100, metrics='fid', seed=seed, runs_dir=str(folder))
        train(c, report=None)
    (c.run_dir/GENERATOR).unlink()
    return folder


def test_a_published_generator_scores_what_its_record_says(rng, monkeypatch):
    monkeypatch.setattr(second_look, 'NOISES', 1)
    r = random.Random(rng.initial_seed()).choice([r for r in read_records(PUBLISHED) if (r['folder']/GENERATOR).is_file() and r['config']['dataset'] == 'fashion_mnist'])
    c, data = RunConfig.of_record(r['config']), load_data('fashion_mnist')
    again = second_look.by_noise(load_generator(r['folder']), c, data, load_extractor('clf', data.info))
    assert again
    for key, (value,) in again.items(): assert value == pytest.approx(r['metrics'][key]['value'], rel=0.01), r['run_id']


@pytest.mark.skipif(not LOOKED, reason='nobody has looked at published runs again')
@pytest.mark.parametrize('name', LOOKED)
def test_published_looks_are_whole_and_begin_with_the_noise_of_the_run(name):
    look, record = (json.loads((PUBLISHED/name/file).read_text()) for file in (SECOND_LOOK, 'record.json'))
    for key, values in look['noises'].items():
        assert len(set(values)) == len(values) == second_look.NOISES and values[0] == pytest.approx(record['metrics'][key]['value'], rel=0.01)
    learned = {key: m for key, m in look['metrics'].items() if key.split('_')[0] == 'gantrain'}      # of those with labels, since it is asked for
    assert {key.split('_')[0] for key in look['noises']} == {'fid', 'is'} and {key.split('_')[0] for key in look['metrics'].keys() - learned} == {'fid', 'kid', 'coverage'}
    assert record['config']['conditional'] or not learned
    assert all(0.1 < m['value'] < m['reference'] + 0.02 and m['n_fake'] == record['config']['n_eval'] for m in learned.values())
    assert read_second_look(PUBLISHED/name, record) == look, 'it counts'
    assert all(m['n_fake'] == second_look.SEEN and 'imagenet' in key for key, m in look['metrics'].items() if key not in learned) and look['code']['commit']


def test_a_look_belongs_to_the_end_of_a_run_and_goes_when_the_run_is_made_anew(runs):
    first = next(r for r in read_records(runs) if r['config']['seed'] == 0)
    assert [r['run_id'] for r in second_look.to_look_at(runs, n=100)] == [first['run_id']] and second_look.to_look_at(runs) == []
    file = first['folder']/SECOND_LOOK
    file.write_text(json.dumps(look_at(first)))
    assert second_look.to_look_at(runs, n=100) == []
    looked = next(r for r in read_records(runs) if r['config']['seed'] == 0)
    assert [measured('kid_imagenet', r) for r in rungs(looked)] == [None, 0.5] and measured('kid_imagenet', first) is None
    train(RunConfig.of_record(first['config'] | dict(runs_dir=str(runs), force=True)), report=None)
    assert not file.exists()


def test_nothing_to_look_at_is_said_and_starts_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(second_look, 'get_context', lambda _: pytest.fail('a process was started'))
    said = []
    assert second_look.look_again(tmp_path, report=said.append) == 0 and said == ['0 runs to look at, about two minutes each']


def test_looks_are_published_with_their_runs_and_those_at_other_runs_are_not_kept(tmp_path):
    some = [r for by_seed in arm_records(CLAIMS['A0'], study_records('no/such/folder'), 'cpu').values() for r in by_seed.values()][:4]
    own, out = ({r['run_id']: tmp_path/layer/r['run_id'] for r in some} for layer in ('runs', 'out'))
    for r in some: shutil.copytree(r['folder'], own[r['run_id']], ignore=shutil.ignore_patterns(SECOND_LOOK))
    looked, kept, stale, dirty = some
    (own[looked['run_id']]/SECOND_LOOK).write_text(json.dumps(look_at(looked)))
    (own[dirty['run_id']]/SECOND_LOOK).write_text(json.dumps(look_at(dirty, code=dict(commit='0123', dirty=True))))
    for r, look in (kept, look_at(kept)), (stale, look_at(stale, written='2020-01-01T00:00:00+00:00')):
        out[r['run_id']].mkdir(parents=True)
        (out[r['run_id']]/SECOND_LOOK).write_text(json.dumps(look))
    assert len(publish(str(tmp_path/'runs'), str(tmp_path/'out'))) == 4
    assert [(out[r['run_id']]/SECOND_LOOK).exists() for r in some] == [True, True, False, False]


def test_the_other_judge_gives_a_verdict_of_its_own(rng):
    records = study_records('no/such/folder')
    v = judge(records, 'A4')['A4']
    arms = arm_records(CLAIMS['A4'], records, 'cpu')
    better = {r['run_id'] for r in next(iter(arms.values())).values()}      # of the claim's favorite
    for gap, words in ((0.5, {'supported'}), (2, {'opposite found'})):
        looked = [r | dict(second_look=dict(metrics=dict(kid_imagenet_2500=dict(value=(gap if r['run_id'] in better else 1) * (1 + 0.01*torch.rand((), generator=rng).item())))))
                  for by_seed in arms.values() for r in by_seed.values()]
        said = read_otherwise(v, looked)['kid_imagenet']
        assert {said.word} == words and said.n_seeds == v.n_seeds
    assert 'kid_imagenet' not in read_otherwise(v, [r for by_seed in arms.values() for r in by_seed.values()])


def test_the_table_of_verdicts_says_what_other_measures_come_to_where_all_runs_have_them(rng):
    records = [{k: v for k, v in r.items() if k != 'second_look'} for r in study_records('no/such/folder')]
    favorite = {r['run_id'] for r in next(iter(outcome(courses(records, 'A0')['A0']).records.values())).values()}

    def row(n_looked):
        "Of A0, when so many seeds of each arm were looked at by a judge who sees the opposite."
        kid = lambda r: dict(value=(2 if r['run_id'] in favorite else 1) * (1 + 0.01*torch.rand((), generator=rng).item()))
        looked = [r | dict(second_look=dict(metrics=dict(kid_imagenet_2500=kid(r)))) if r['config']['seed'] < n_looked else r for r in records]
        return verdict_table({id: outcome(course) for id, course in courses(looked, 'A0').items()})
    some, all_, none = row(3), row(6), row(0)
    assert 'KID, coverage:</i> the same' in none and some == none
    assert '<i>KID in ImageNet features:</i> opposite found' in all_ and 'KID, coverage:</i> the same' in all_
