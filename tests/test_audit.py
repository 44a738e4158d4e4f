"Audits: who draws, grades and concludes; tampered records are caught; one audit from the draw to its file. And what `verify` sees without training."
import json
import random
import shutil
import subprocess

import numpy as np
import papermill
import pytest
from conftest import ROOT, dcgan_nb
from PIL import Image

from dcgan_nb.foundations.core import InputError
from dcgan_nb.runs.config import RunConfig
from dcgan_nb.runs.records import read_record
from dcgan_nb.runs.run import run as train_run
from dcgan_nb.study import repeat
from dcgan_nb.study.audit import DIFFERENT, EXACT, IMPOSSIBLE, NOISE, audit_lines, draw, grade, largest_share, other_versions, outside_noise, prediction_interval, strata
from dcgan_nb.study.claims import study_records
from dcgan_nb.study.commands import main
from dcgan_nb.study.judge import judge
from dcgan_nb.study.verify import checks, run_verify, seal

PUBLISHED = ROOT/'reports/records'


def git(folder, *args): return subprocess.run(['git', *args], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def fresh():
    seed = random.SystemRandom().randrange(2**32)
    print(f'seed of this test: {seed}')
    return random.Random(seed)


# Drawing

def test_a_draw_is_the_same_for_the_same_seed_and_proportional(fresh):
    groups = {f'claim {i}': [f'{i}-{j}' for j in range(fresh.randrange(1, 40))] for i in range(9)}
    n_all = sum(map(len, groups.values()))
    n, seed = fresh.randrange(1, n_all), str(fresh.random())
    drawn = draw(groups, n, seed)
    shuffled = {name: fresh.sample(ids, len(ids)) for name, ids in fresh.sample(sorted(groups.items()), len(groups))}
    assert drawn == draw(shuffled, n, seed) and len(set(drawn)) == n
    assert any(drawn != draw(groups, n, str(other)) for other in range(20))
    for name, ids in groups.items():
        share = n * len(ids) / n_all
        assert int(share) - 1 <= len({*drawn} & {*ids}) <= int(share) + 2, f'{name}: its share is {share:.1f}'
    with pytest.raises(InputError, match=f'Nearest: {n_all}'): draw(groups, n_all + 1, seed)


def test_every_record_is_drawn_equally_often(fresh):
    groups = dict(small=['s'], large=[f'l{i}' for i in range(9)])
    times = sum('s' in draw(groups, 2, str(fresh.random())) for _ in range(2000))
    assert 300 < times < 500, 'two of ten: 400 in the mean, with a standard deviation of 18'


def test_every_published_record_is_in_one_stratum():
    records = study_records('no/runs')
    groups = strata(records)
    ids = [i for group in groups.values() for i in group]
    assert sorted(ids) == sorted(p.name for p in PUBLISHED.iterdir()), 'each once'
    some = next(name for name in groups if name)
    assert strata(records, some).keys() == {some}


# Grading

def record(scores, reference=0.01, cpu='one', history=(1.5, 1.4), **more):
    metrics = {key: dict(value=v, std=None, reference=reference) for key, v in scores.items()}
    return dict(run_id='x', status='finished', config={}, metrics=metrics, history=[dict(epoch=i, d_loss=x, seconds=random.random()) for i, x in enumerate(history, 1)],
                data=dict(sha256='0', n_train=1, n_test=1), networks=dict(g_parameters=1), environment=dict(cpu=cpu), d_scores={}) | more


def test_prediction_intervals_by_hand(fresh):
    shift, scale = fresh.uniform(-9, 9), fresh.uniform(0.1, 9)
    low, high = prediction_interval([shift + scale*x for x in (1, 2, 3, 4)])      # mean 2.5, s = 1.29099, t = 3.18245 with 3 degrees of freedom
    half = 3.18245 * 1.29099 * (5/4)**0.5
    assert (low, high) == (pytest.approx(shift + scale*(2.5 - half), rel=1e-4, abs=1e-4), pytest.approx(shift + scale*(2.5 + half), rel=1e-4, abs=1e-4))


def test_honest_repetitions_elsewhere_pass_and_others_do_not(fresh):
    "Log-normal FIDs of an arm: one more is inside in at least 95 of 100 cases, one of an arm twice as good in few."
    honest = forged = 0
    for _ in range(200):
        fids = [10 * np.exp(fresh.gauss(0, 0.03)) for _ in range(7)]
        others = [record(dict(fid_clf_10k=x), cpu='one') for x in fids[:5]]
        there = record(dict(fid_clf_10k=fids[6]), reference=0.011, cpu='two', history=(1.6,) * 2)
        honest += grade(record(dict(fid_clf_10k=fids[5])), there, others)[0] == NOISE
        forged += grade(record(dict(fid_clf_10k=fids[5] / 2)), there, others)[0] == NOISE
    assert honest > 160 and forged < 10


def test_all_scores_together_have_the_level(fresh):
    keys = [f'{m}_clf_10k' for m in ('kid', 'precision', 'recall', 'coverage')]
    def one(): return record({k: fresh.gauss(0.5, 0.1) for k in keys})
    flagged = sum(bool(outside_noise(seeds[0], seeds[1], seeds[2:])) for seeds in ([one() for _ in range(8)] for _ in range(200)))
    assert flagged < 40, 'two values of 5 % each: about 20 of 200'


@pytest.mark.parametrize('n, bad, share', [(12, 0, 0.2209), (59, 0, 0.0495), (1, 0, 0.95), (12, 1, 0.3387), (0, 0, 1), (4, 4, 1)])
def test_what_repetitions_prove_by_hand(n, bad, share): assert largest_share(n, bad) == pytest.approx(share, abs=1e-4)


def test_what_could_not_be_repeated_proves_nothing():
    def said(n, **asked): return audit_lines(dict(results=[dict(grade=EXACT)]*5 + [dict(grade=IMPOSSIBLE)]*n, drawn=[''] * 12, of=99, asked=dict(claims='', record='') | asked))
    assert said(0)[1] == said(7)[1] and 'at most 45.1 % of the 99 records would' in said(0)[1] and said(0)[0].startswith('5 of 12 drawn')
    assert '%' not in said(0, record='x')[1], 'one that was chosen is no draw'


# One audit from the draw to its file, in a clone of this repository, and what tampering with that record comes to

@pytest.fixture(scope='module')
def clone(tmp_path_factory):
    "A clone with one published record, made by its last commit."
    if not (ROOT/'.git').exists(): pytest.skip('not a git checkout')
    folder = tmp_path_factory.mktemp('audit')/'clone'
    git(ROOT, 'clone', '-q', '--shared', '--no-checkout', str(ROOT), str(folder))
    git(folder, 'config', 'core.sparseCheckout', 'true')
    (folder/'.git/info/sparse-checkout').write_text('/*\n!/reports/records/\n')
    git(folder, 'checkout', '-q', 'HEAD')
    shutil.copy(ROOT/'constraints.txt', folder)        # while newer versions are tried (make drift) it is not the committed one, and an audit would install that
    if git(folder, 'status', '--porcelain'): git(folder, '-c', 'user.name=test', '-c', 'user.email=', 'commit', '-qam', 'The lock of what is installed')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        made = train_run(RunConfig.resolve(profile='smoke', device='cpu', epochs=1, g_width=4, d_width=4, seed=random.randrange(1000)), report=None)
    assert made['code'] == dict(commit=git(folder, 'rev-parse', 'HEAD'), dirty=False)
    target = folder/'reports/records'/made['run_id']
    target.mkdir(parents=True)
    for name in ('record.json', 'samples.png', 'samples_by_epoch.png'): shutil.copy(folder/'reports/runs'/made['run_id']/name, target)
    return folder


@pytest.fixture
def here(clone, monkeypatch, tmp_path):
    monkeypatch.chdir(clone)
    monkeypatch.setenv('DCGAN_NB_CACHE', str(tmp_path/'cache'))
    return clone


@pytest.fixture(scope='module')
def again(clone, tmp_path_factory):
    "The audit of that record; what it trained is kept for the other tests."
    kept = tmp_path_factory.mktemp('again')/'run'
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(clone)
        patch.setenv('DCGAN_NB_CACHE', str(kept.parent/'cache'))
        whole = repeat.repeated_run
        def keeping(*args):
            made, folder, moved = whole(*args)
            shutil.copytree(folder, kept)
            return made, folder, moved
        patch.setattr(repeat, 'repeated_run', keeping)
        done = repeat.run_audit(reports='reports', report=lambda line: None)
    return dict(done=done, folder=kept)


def test_a_real_audit_repeats_a_run_at_its_commit_bit_for_bit(clone, again):
    done = again['done']
    path, = (p for p in (clone/'reports/audits').glob('*.json') if p.stem.endswith(done['code']['commit'][:8]))       # beside the published ones
    assert json.loads(path.read_text()) == json.loads(json.dumps(done))
    result, = done['results']
    assert (result['grade'], result['why'], result['changed']) == (EXACT, '', {})
    head = git(clone, 'rev-parse', 'HEAD')
    assert result['commit'] == head == done['code']['commit'] and path.stem.endswith(head[:8]) and done['of'] == 1
    assert git(clone, 'worktree', 'list').count('\n') == 0 and not git(clone, 'status', '--porcelain', '--untracked-files=no'), 'nothing is left behind'


def test_the_same_command_has_nothing_left_to_do(here, again, monkeypatch):
    monkeypatch.setattr(repeat, 'repeat_one', None)
    said = []
    assert repeat.run_audit(report=said.append)['results'] == again['done']['results']
    assert '1 of 1 drawn: 1 exact' in said[-1] and 'at most 95 %' in said[-1]


@pytest.fixture
def tampered(here, again, monkeypatch, tmp_path):
    "Grades the record after a change to it, or to its folder; the honest repetition is the one that was trained above, unless `trains`."
    folder, = (here/'reports/records').iterdir()
    def of(change, trains=False):
        copy = tmp_path/'records'/folder.name
        shutil.copytree(folder, copy)
        r = json.loads((copy/'record.json').read_text())
        change(r, copy)
        (copy/'record.json').write_text(json.dumps(r))
        if (new := r['run_id']) != copy.name and trains: copy = copy.rename(copy.with_name(new))
        if not trains: monkeypatch.setattr(repeat, 'repeated_run', lambda *args: (read_record(again['folder']), again['folder'], {}))
        (tmp_path/'work').mkdir(exist_ok=True)
        result = repeat.repeat_one(copy, study_records('no/runs', tmp_path/'records'), tmp_path/'work')
        return result['grade'], result['why']
    return of


def test_an_untouched_record_passes_the_same_test(tampered): assert tampered(lambda r, folder: None) == (EXACT, '')


def test_a_changed_score_is_caught(tampered, fresh):
    def better(r, folder):
        key = fresh.choice(sorted(r['metrics']))
        r['metrics'][key]['value'] = r['metrics'][key]['value'] * 0.999 + 1e-6
    result, why = tampered(better)
    assert result == DIFFERENT and 'repeated bit for bit: history; but not: scores' in why


def test_a_changed_history_is_caught(tampered):
    result, why = tampered(lambda r, folder: r['history'][0].update(d_loss=r['history'][0]['d_loss'] + 1e-9))
    assert result == DIFFERENT and 'history' in why


@pytest.mark.parametrize('change', [dict(g_lr=0.001), dict(loss='hinge'), dict(seed=1001)], ids=str)
def test_a_changed_configuration_or_seed_under_the_old_name_is_caught(tampered, change):
    result, why = tampered(lambda r, folder: r['config'].update(change))
    assert result == DIFFERENT and 'contradicts itself: its configuration is that of' in why


def test_a_changed_seed_with_its_name_changed_too_is_caught_by_training(tampered):
    def other(r, folder):
        r['config']['seed'] += 1
        r['run_id'] = RunConfig.of_record(r['config'] | dict(threads=1)).run_id
    result, why = tampered(other, trains=True)
    assert result == DIFFERENT and 'the arithmetic is the same' in why


def test_a_changed_picture_is_caught(tampered):
    def repaint(r, folder):
        x = np.array(Image.open(folder/'samples.png'))
        x[3, 3] ^= 1
        Image.fromarray(x).save(folder/'samples.png')
    result, why = tampered(repaint)
    assert result == DIFFERENT and why.endswith('but not: samples.png')


def test_a_commit_that_is_not_there_is_caught(tampered):
    result, why = tampered(lambda r, folder: r['code'].update(commit=r['code']['commit'][::-1]))
    assert result == IMPOSSIBLE and 'not in this repository' in why


def test_a_commit_younger_than_its_record_is_caught(tampered):
    result, why = tampered(lambda r, folder: r.update(written='2020-01-01T00:00:00+00:00'))
    assert result == IMPOSSIBLE and 'before its commit' in why


def test_an_older_commit_is_caught_by_running_it(here, tampered):
    "The first commit has no such notebook, or other code: it makes no such record."
    first = git(here, 'rev-list', '--max-parents=0', 'HEAD').split()[0]
    result, why = tampered(lambda r, folder: r['code'].update(commit=first), trains=True)
    assert result in (IMPOSSIBLE, DIFFERENT) and why


def test_changed_code_cannot_be_repeated(tampered):
    assert tampered(lambda r, folder: r['code'].update(dirty=True)) == (IMPOSSIBLE, 'it was made by code that was not committed')


# Interrupted, and gone on with

def test_an_interrupted_audit_goes_on_and_its_file_is_always_whole(monkeypatch, tmp_path):
    monkeypatch.setenv('DCGAN_NB_CACHE', str(tmp_path/'cache'))
    seen, files = [], []
    def one(folder, *args):
        files.extend(len(json.loads(p.read_text())['results']) for p in (tmp_path/'audits').glob('*.json'))
        if len(seen) in (2, 5) and seen[-1] != 'stop':
            seen.append('stop')
            raise KeyboardInterrupt
        seen.append(folder.name)
        return dict(run_id=folder.name, grade=EXACT, why='')
    monkeypatch.setattr(repeat, 'repeat_one', one)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt): repeat.run_audit(5, reports=tmp_path, report=lambda line: None)
    done = repeat.run_audit(5, reports=tmp_path, report=lambda line: None)
    repeated = [run for run in seen if run != 'stop']
    assert repeated == done['drawn'] == [r['run_id'] for r in done['results']] and len(set(repeated)) == 5, 'each once, in the order of the draw'
    assert files == [1, 2, 2, 3, 4, 4], 'what was there before each repetition'
    assert [p.suffix for p in (tmp_path/'audits').iterdir()] == ['.json']
    repeat.run_audit(4, reports=tmp_path, report=lambda line: None)
    assert len([*(tmp_path/'audits').iterdir()]) == 2, 'another question has a file of its own'


@pytest.mark.parametrize('n', [1, 12])
def test_a_number_and_a_name_at_once_are_refused(n, monkeypatch, tmp_path):
    monkeypatch.setattr(repeat, 'repeat_one', pytest.fail)
    some = next(p.name for p in PUBLISHED.iterdir())
    with pytest.raises(InputError, match=f"^n={n} draws records and record='{some}' names one: leave one of them out"): repeat.run_audit(n, run=some, reports=tmp_path, report=pytest.fail)
    assert not [*tmp_path.iterdir()]


# Verify

@pytest.fixture(scope='module')
def one_claim():
    "The runs of a claim about two arms that has an effect, arm by arm; one with few runs."
    found = [v.records for v in judge(study_records('no/runs')).values() if v.effect is not None and len(v.records) == 2 and v.n_seeds > 1]
    return [[r.get('rung_of', r['run_id']) for r in by_seed.values()] for by_seed in min(found, key=lambda arms: sum(map(len, arms.values()))).values()]


@pytest.fixture
def sealed(tmp_path, one_claim):
    for name in {run_id for arm in one_claim for run_id in arm}: shutil.copytree(PUBLISHED/name, tmp_path/'records'/name)
    seal(tmp_path)
    return tmp_path


def problems(folder): return {check.what: check.problems for check in checks(folder) if check.problems}


def edit(path, change):
    r = json.loads(path.read_text())
    change(r)
    path.write_text(json.dumps(r))


def test_what_is_committed_is_what_was_published(capsys):
    assert run_verify() == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and [int(line.split()[1]) for line in lines][:1] == [len([*PUBLISHED.iterdir()])]


def test_the_manifest_is_read_by_sha256sum(sealed):
    if not shutil.which('sha256sum'): pytest.skip('no sha256sum')
    check = ['sha256sum', '--check', '--quiet', 'manifest.sha256']
    assert subprocess.run(check, cwd=sealed, capture_output=True).returncode == 0
    next((sealed/'records').glob('*/record.json')).write_text('{}')
    assert subprocess.run(check, cwd=sealed, capture_output=True).returncode != 0


def test_nothing_wrong_says_nothing(sealed): assert problems(sealed) == {} and run_verify(sealed) == 0


def test_a_changed_a_missing_and_an_added_picture(sealed):
    pictures = sorted((sealed/'records').glob('*/samples.png'))
    pictures[0].write_bytes(pictures[1].read_bytes())
    pictures[2].unlink()
    shutil.copy(pictures[1], pictures[1].with_name('more.png'))
    found = problems(sealed)
    assert found.keys() == {'pictures'} and sorted(p.split(' is ', 1)[1] for p in found['pictures']) == ['in no manifest', 'not there', 'not what was published']
    assert run_verify(sealed) == 1


def test_a_record_that_is_changed_but_still_sound(sealed):
    edit(next((sealed/'records').glob('*/record.json')), lambda r: r.update(written='2020-01-01T00:00:00+00:00'))
    assert problems(sealed).keys() == {'records'}


def test_a_record_of_another_shape(sealed, capsys):
    edit(path := next((sealed/'records').glob('*/record.json')), lambda r: r['history'][0].update(seconds='long'))
    found = problems(sealed)
    assert found.keys() >= {'records', 'schemas'} and path.parent.name in found['schemas'][0]


def test_a_record_that_is_cut_off(sealed):
    path = next((sealed/'records').glob('*/record.json'))
    path.write_text(path.read_text()[:-40])
    assert len(problems(sealed)['schemas']) == 1


@pytest.mark.parametrize('change', [dict(seed=4321), dict(g_lr=0.0123)], ids=str)
def test_a_configuration_that_has_another_name(sealed, change):
    edit(path := next((sealed/'records').glob('*/record.json')), lambda r: r['config'].update(change))
    names = problems(sealed)['names']
    assert len(names) == 1 and names[0].startswith(path.parent.name) and 'its configuration is that of' in names[0]


def test_a_record_in_another_s_folder(sealed):
    first, second = sorted((sealed/'records').glob('*/record.json'))[:2]
    second.write_bytes(first.read_bytes())
    assert len(problems(sealed)['names']) == 1


def test_a_verdict_that_no_longer_follows(sealed):
    verdicts = json.loads((sealed/'verdicts.json').read_text())
    id = next(k for k, v in verdicts.items() if any(e['effect'] is not None for e in v['budgets'].values()))
    entry = next(e for e in verdicts[id]['budgets'].values() if e['effect'] is not None)
    entry['effect'] += 0.01
    del verdicts[next(k for k in verdicts if k != id)]
    (sealed/'verdicts.json').write_text(json.dumps(verdicts))
    found = problems(sealed)
    assert found.keys() == {'verdicts'} and len(found['verdicts']) == 2 and run_verify(sealed) == 1


def test_a_better_score_changes_the_verdict_that_rests_on_it_too(sealed, one_claim):
    "Even with a manifest that was written anew."
    for name in one_claim[0]: edit(sealed/'records'/name/'record.json', lambda r: [m.update(value=m['value'] / 10) for m in r['metrics'].values()])
    before = (sealed/'verdicts.json').read_bytes()
    seal(sealed)
    (sealed/'verdicts.json').write_bytes(before)
    assert problems(sealed).keys() == {'verdicts'}


@pytest.mark.parametrize('name', ['manifest.sha256', 'verdicts.json'])
def test_a_missing_seal_is_named(sealed, name):
    (sealed/name).unlink()
    with pytest.raises(InputError, match=f'{name} is not there: make seal writes it'): checks(sealed)


def test_the_command_says_it_in_its_exit_code(capsys):
    done = dcgan_nb('verify')
    assert done.returncode == 0 and done.stdout.count('all as published') == 5, done.stderr
    assert main(['audit', '--record', 'fashion_mnist-no-such-run']) == 2
    said = capsys.readouterr().err
    assert said.startswith("record='fashion_mnist-no-such-run' is no published run.") and said.count('\n') == 1


# Versions

def test_an_audit_says_which_versions_are_not_the_record_s(monkeypatch, tmp_path, fresh):
    was = {f'p{i}': f'{i}.{fresh.randrange(9)}' for i in range(9)}
    moved = set(fresh.sample(sorted(was), 3))
    now = {name: version + '.1' * (name in moved) for name, version in was.items()} | dict(fresh='1.0')
    found = other_versions(*(record({}, environment=dict(cpu='one', versions=versions)) for versions in (was, now)))
    assert found == {name: [was[name], now[name]] for name in moved} | dict(fresh=[None, '1.0'])
    monkeypatch.setenv('DCGAN_NB_CACHE', str(tmp_path/'cache'))
    for versions, says in (found, True), ({}, False):
        monkeypatch.setattr(repeat, 'repeat_one', lambda folder, *args: dict(run_id=folder.name, grade=EXACT, why='', versions=versions))
        lines = []
        repeat.run_audit(1, reports=tmp_path/str(says), report=lines.append)
        said = [line for text in lines for line in text.splitlines() if 'other versions' in line]
        assert len(said) == says and (not says or all(f'{name} {was[name]} → {now[name]}' in said[0] for name in moved)), lines


# The page

def page(folder, tmp_path):
    "What the chapter shows of the audits in a folder, as text."
    out = tmp_path/'page.ipynb'
    papermill.execute_notebook(ROOT/'nbs/chapters/audit.ipynb', out, dict(audits_dir=str(folder)), cwd=ROOT, progress_bar=False)
    return '\n'.join(''.join(data) for cell in json.loads(out.read_text())['cells'] for o in cell.get('outputs', []) for kind, data in o.get('data', {}).items() if kind in ('text/html', 'text/markdown'))


def test_the_page_shows_an_audit_or_says_that_there_is_none(tmp_path, fresh):
    assert 'There has been no audit so far' in page(tmp_path/'none', tmp_path)
    n_exact, n_bad = fresh.randrange(2, 20), fresh.randrange(1, 4)
    results = [dict(run_id=f'run-{i}', grade=EXACT if i < n_exact else DIFFERENT, why='' if i < n_exact else 'a <score> was changed', commit='abcdef0123', seconds=60, packages={}, versions=dict(torch=['1.9', '2.0']) if i == 0 else {}) for i in range(n_exact + n_bad)]
    machine = dict(cpu='A processor', gpu=None, system='Linux', versions=dict(python='3.11', torch='2.0'))
    (tmp_path/'some').mkdir()
    (tmp_path/'some/2030-01-02-abcdef01.json').write_text(json.dumps(dict(code=dict(commit='abcdef0123', dirty=False), asked=dict(claims='', record=''), drawn=['x'] * 30, of=448, machine=machine, results=results)))
    text = page(tmp_path/'some', tmp_path)
    assert '2030-01-02-abcdef01' in text and f'{n_exact + n_bad} of 30 drawn: {n_exact} exact, {n_bad} different' in text and 'A processor' in text
    assert f'up to {100*largest_share(n_exact + n_bad, n_bad):.3g} %' in text and text.count('A &lt;score&gt; was changed.') == n_bad and text.count('Other versions: torch 1.9 → 2.0.') == 1 and 'no audit so far' not in text
