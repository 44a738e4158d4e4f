"Runs that are scored on their way, and what readers of records make of them."
import json
import shutil

import pytest
import torch

from dcgan_nb.foundations.core import InputError, load_projects
from dcgan_nb.runs.config import RunConfig
from dcgan_nb.runs.ladder import rungs
from dcgan_nb.runs.records import read_record
from dcgan_nb.runs.run import Run, run
from dcgan_nb.study.audit import other_seeds
from dcgan_nb.study.claims import Records, study_records
from dcgan_nb.study.plan import plan, plan_table
from dcgan_nb.study.queue import missing
from dcgan_nb.study.site import card_record

load_projects()


def draw(rng): return int(torch.randint(2**31 - 1, (), generator=rng))


def tiny(folder, **given):
    return RunConfig.resolve(**dict(profile='smoke', device='cpu', epochs=4, rungs=2, g_width=4, d_width=4, batch_size=100, n_eval=60, metrics='fid is') | given, runs_dir=str(folder))


def untimed(record): return [{k: v for k, v in h.items() if k != 'seconds'} for h in record['history']]


def weights(config): return (config.run_dir/'generator.safetensors').read_bytes()


@pytest.mark.sample(2)
@pytest.mark.parametrize('given', [dict(), dict(recipe='b_before', ema=0.9, d_steps=2), dict(arch='cdcgan', conditional=True, d_options='head=classes'),
                                   dict(arch='resnet', loss='rpgan', penalty='r1r2', penalty_every=3, d_options='spectral=True minibatch_std=True', augment='cutout')], ids=str)
def test_to_be_scored_on_the_way_changes_no_bit(given, tmp_path, rng):
    seed = draw(rng)
    climbing, plain, short = (tiny(tmp_path, seed=seed, **given | more) for more in (dict(epochs=2), dict(epochs=2, rungs=1), dict(epochs=1, rungs=1)))
    climbed, whole, half = (run(c, report=None) for c in (climbing, plain, short))
    assert weights(climbing) == weights(plain) != weights(short)
    first, last = rungs(read_record(climbing.run_dir))
    for rung, record in (first, half), (last, whole):
        assert [rung[k] for k in ('run_id', 'status', 'metrics', 'd_scores', 'flags')] == [record[k] for k in ('run_id', 'status', 'metrics', 'd_scores', 'flags')]
        assert untimed(rung) == untimed(record) and rung['rung_of'] == climbed['run_id']


def test_a_ladder_that_is_interrupted_goes_on_and_keeps_its_first_rung(tmp_path, rng):
    seed, said = draw(rng), []
    whole, broken = tiny(tmp_path/'a', seed=seed), tiny(tmp_path/'b', seed=seed)
    def stop(line):
        said.append(line)
        if line.startswith('epoch 3/4'): raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): run(broken, stop)
    assert [line for line in said if 'scored after epoch 2' in line]
    one, other = run(whole, None), run(broken, None)
    assert other['resumed'] == [2] and not one['resumed'] and untimed(one) == untimed(other) and weights(whole) == weights(broken)
    for record in one, other: assert record['timings_s']['train'] >= sum(h['seconds'] for h in record['history']), 'all epochs are counted'
    assert 'train_cpu' in one['timings_s'] and 'train_cpu' not in other['timings_s'], 'half of it is not shown as the whole'


def test_a_run_that_did_not_end_is_not_scored_and_loses_nothing(tmp_path):
    config = tiny(tmp_path, rungs=1)
    def stop(line):
        if line.startswith('epoch 2/4'): raise KeyboardInterrupt
    broken = Run(config, stop)
    broken.open()
    with pytest.raises(KeyboardInterrupt): broken.train()
    before = sorted(p.name for p in config.run_dir.iterdir())
    with pytest.raises(InputError, match=f'^{config.run_id} is not trained to its end and saved. Call train'): broken.score()
    assert sorted(p.name for p in config.run_dir.iterdir()) == before and not (config.run_dir/'record.json').exists()
    broken.report = lambda line: None
    for _ in range(2): broken.train()        # trained is trained
    record = broken.score()
    assert record['status'] == 'finished' and record['resumed'] == [1] and len(record['history']) == 4


def test_a_record_says_after_which_epochs_it_was_scored(tmp_path):
    config = tiny(tmp_path)
    record = run(config, None)
    for wrong in ([{k: v for k, v in h.items() if k != 'metrics'} for h in record['history']], [h | dict(metrics=record['metrics']) for h in record['history']]):
        (config.run_dir/'record.json').write_text(json.dumps(record | dict(history=wrong)))
        with pytest.raises(InputError, match='it is scored after epochs'): read_record(config.run_dir)


def test_a_study_reads_rungs_as_runs_and_plans_no_rung_twice(tmp_path):
    configs = plan('smoke', 'A4', rungs=2, device='cpu', runs_dir=str(tmp_path))
    assert {(c.epochs, c.rungs) for c in configs.values()} == {(4, 2)}
    for c in configs.values(): run(c, None)
    records = study_records(str(tmp_path), str(tmp_path/'nothing'))
    short, long = ({c.run_id for c in plan('smoke', 'A4', rungs=1, device='cpu').values()}, {RunConfig.planned(**vars(c) | dict(rungs=1)).run_id for c in configs.values()})
    assert {r['run_id'] for r in records} == short | long and all(r['config']['rungs'] == 1 and r['layer'] == 'own' for r in records)
    for n in 1, 2: assert plan_table('smoke', 'A4', records, n_rungs=n, device='cpu').to_run.sum() == 0, 'a climbed rung is done'
    assert plan_table('smoke', 'A4', records, n_rungs=3, device='cpu').to_run.sum() == 2
    one = next(c for c in plan('smoke', 'A4', device='cpu', runs_dir=str(tmp_path)).values())
    run(one, None)
    found = {r['run_id']: r for r in study_records(str(tmp_path), str(tmp_path/'nothing'))}
    assert 'rung_of' not in found[one.run_id] and len(found) == 4, 'a run of its own comes before a rung'
    published = tmp_path/'published'
    for c in configs.values(): shutil.copytree(c.run_dir, published/c.run_id)
    for prefer, is_rung in dict(own=False, published=True).items():       # each layer climbs by itself
        found = {r['run_id']: r for r in study_records(str(tmp_path), str(published), prefer)}
        assert all(r['layer'] == prefer for r in found.values())
        r = found[one.run_id]
        assert ('rung_of' in r, 'rung_of' in r['twin'], r['twin']['run_id']) == (is_rung, not is_rung, one.run_id)


def test_what_a_ladder_has_climbed_through_is_not_run_and_what_it_did_not_draw_is_not_shown(tmp_path):
    ladder = tiny(tmp_path, metrics='fid')
    record = run(ladder, None)
    at = {n: RunConfig.resolve(**ladder.record() | dict(epochs=n, rungs=1)) for n in (1, 2, 4)}
    wanted = {c.run_id: c for c in (*at.values(), ladder)}
    assert missing(wanted, tmp_path).keys() == {at[1].run_id, ladder.run_id}, 'its own notebook is not there yet'
    (ladder.run_dir/'run.ipynb').touch()
    assert missing(wanted, tmp_path).keys() == {at[1].run_id}
    records = study_records(str(tmp_path), str(tmp_path/'nothing'))
    shown = {r['config']['epochs']: (r['folder']/'samples.png').is_file() for r in records}
    assert shown == {2: False, 4: True} and card_record(records)['config']['epochs'] == 4
    others = Records(r | dict(run_id=f'{n} {r["run_id"]}', config=r['config'] | dict(seed=r['config']['seed'] + n)) for r in records for n in range(4))
    assert [r['config']['epochs'] for r in other_seeds(record, others)] == [4, 4, 4], 'of the whole run'
