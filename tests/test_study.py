"The study's machinery, end to end on a part of it: real runs, real failures, a chapter made from what is there."
import json

import pytest
from conftest import EXECUTE, ROOT, dcgan_nb, snakemake

from dcgan_nb.runs.records import read_records
from dcgan_nb.study.judge import judge
from dcgan_nb.study.plan import plan


def files(folder):
    "Every file with its content and its time."
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob('*') if p.is_file()}


@pytest.fixture(scope='module')
def study(warm):
    def _study(reports, *config, more=()):
        return snakemake('--cores', 2, '--quiet', 'all', '--keep-going', *more, '--config', f'reports={reports}', *config, '--', 'study', OMP_NUM_THREADS='1', **warm)
    return _study


@pytest.fixture(scope='module')
def done(study, tmp_path_factory):
    reports = tmp_path_factory.mktemp('study')
    made = study(reports, 'profile=smoke', 'study=A4', 'seeds=2')
    assert made.returncode == 0, made.stdout + made.stderr
    return reports, made


def test_each_run_of_a_claim_is_made_once_and_reported(done):
    reports, made = done
    wanted = plan('smoke', 'A4', seeds=2, device='cpu')
    assert {r['run_id'] for r in read_records(reports/'runs')} == set(wanted)
    for run_id in wanted:
        assert (reports/'runs'/run_id/'outcome.txt').read_text() == 'finished\n'
        assert f'{run_id}  finished' in made.stdout
        assert (reports/'runs'/run_id/'run.ipynb').is_file() and (reports/'runs'/run_id/'animation.gif').is_file()


def test_a_second_call_trains_nothing(done, study):
    reports, _ = done
    before = {p: p.stat().st_mtime_ns for p in reports.rglob('record.json')}
    assert study(reports, 'profile=smoke', 'study=A4', 'seeds=1').returncode == 0
    assert {p: p.stat().st_mtime_ns for p in reports.rglob('record.json')} == before


def test_all_seeds_that_were_asked_for_are_judged_and_few_never_decide(done):
    verdict = judge(read_records(done[0]/'runs'), 'A4')['A4']
    assert (verdict.word, verdict.profile, verdict.n_seeds, verdict.n_runs) == ('undecided', 'smoke', 2, 4), 'two seeds, where one was planned'


def test_a_chapter_shows_the_runs_that_are_there(done, run, warm, tmp_path):
    page = tmp_path/'project_a.ipynb'
    made = run(*EXECUTE, 'nbs/chapters/project_a.ipynb', page, '-p', 'runs_dir', done[0]/'runs', '-p', 'records_dir', tmp_path/'none',
               '-p', 'files_dir', tmp_path/'files', '--no-progress-bar', OMP_NUM_THREADS='1', **warm)
    assert made.returncode == 0, made.stderr[-3000:]
    text = page.read_text()
    assert 'undecided (leaning' in text and 'not run' in text and 'Traceback' not in text
    assert json.loads((tmp_path/'files'/'grid_search_result.json').read_text()) == []     # the grids have not been run


def test_a_run_that_fails_is_reported_tried_again_and_does_not_stop_the_others(study, tmp_path):
    (tmp_path/'empty').mkdir()
    config = f'reports={tmp_path}', 'profile=cpu', 'study=D0', 'seeds=1', f'mnist={tmp_path}/empty'
    made = study(tmp_path, *config)
    assert made.returncode != 0
    outcome, = tmp_path.glob('runs/*/outcome.txt')
    assert outcome.read_text().startswith('failed: InputError') and 'lacks t10k-images' in outcome.read_text()
    assert outcome.read_text().strip()[:60] in made.stdout
    assert not (outcome.parent/'run.ipynb').exists()
    before = files(tmp_path)
    planned = study(tmp_path, *config, more=('--dry-run',))
    assert 'Nothing to be done' not in planned.stdout + planned.stderr and files(tmp_path) == before, 'a dry run changes nothing'


def test_plan_and_makefile_name_every_command(run):
    shown = run('make', 'help').stdout
    for command in ('make study', 'make plan', 'make verdicts', 'make page', 'make runs', 'make show', 'make second-look', 'make publish'): assert command in shown
    assert 'CLAIM' in (ROOT/'README.md').read_text()


def test_the_page_of_a_claim_is_made_alone(done):
    made = dcgan_nb('page', 'A4', '--runs', 'own', '--reports', done[0])
    assert made.returncode == 0, made.stderr
    page, = (done[0]/'page/own/_build/html').glob('project_*.html')
    assert made.stdout == f'A4: open {page}#a4\n' and 'id="a4"' in page.read_text() and 'class="verdict-box' in page.read_text() and 'runs: own' in page.read_text()
    assert {p.name for p in done[0].iterdir()} == {'runs', 'page', 'workflow.log'} or not (done[0]/'book').exists(), 'no other page, no example'
