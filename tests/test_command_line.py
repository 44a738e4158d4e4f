"What a user types at make and at dcgan-nb: every wrong value is answered by one sentence, and nothing is started; right ones do what they say."
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import conftest
import psutil
import pytest
from conftest import ROOT, dcgan_nb

from dcgan_nb.runs.records import scan_records
from dcgan_nb.runs.run import run as train
from dcgan_nb.study.claims import CLAIMS
from dcgan_nb.study.commands import COMMANDS, OPTIONS, main
from dcgan_nb.study.plan import plan

# A papermill that writes down that it was called. What it does with a run is in the file `do`: nothing, fail, die, wait.
PAPERMILL = """#!/usr/bin/env bash
notebooks=(); for given; do [[ "$given" == *.ipynb ]] && notebooks+=("$given"); done
echo "$*" >> "{folder}/calls"
case "$(cat "{folder}/do" 2>/dev/null)" in
    fail) echo 'Traceback'; echo '[IPKernelApp] WARNING | Kernel is running over TCP without encryption' >&2; echo 'ValueError: out of paper'; exit 1 ;;
    die)  echo 'nbclient.exceptions.DeadKernelError: Kernel died'; exit 1 ;;
    wait) echo 'epoch 1'; sleep 20 ;;
esac
cp "${{notebooks[0]}}" "${{notebooks[1]}}"
"""


@pytest.fixture
def stand_in(tmp_path):
    "The environment in which papermill only pretends."
    (tmp_path/'calls').touch()
    return conftest.stand_in(tmp_path, PAPERMILL.format(folder=tmp_path))


def make(run, *words, **env): return run('make', '--no-print-directory', '-s', '-o', '.venv/.ready', *words, **env)


WRONG = {
    'study CLAIM=A9': "claim='A9' is not known. Known: A0, ", 'study CLAIM=a0': "claim='a0' is not known. Did you mean 'A0'?", 'plan CLAIM=A9': "claim='A9' is not known.",
    'verdicts CLAIM=Q': "claim='Q' is not known.", 'page CLAIM=A9': "claim='A9' is not known.", 'page': 'CLAIM is missing: make page CLAIM=A4', 'show': 'RUN is missing: make show RUN=', 'show RUN=zz': "run='zz' is not there.",
    'report PROFILE=fast': "profile='fast' is not known.", 'study PROFILE=smok': "Did you mean 'smoke'?", 'plan PROFILE=cup': "Did you mean 'cpu'?",
    'study SEEDS=0': "seeds='0' is not a whole number from 1 on. Nearest: 1.", 'study SEEDS=-1': 'Nearest: 1.', 'plan SEEDS=-1': 'Nearest: 1.', 'plan SEEDS=0': 'Nearest: 1.',
    'study SEEDS=1000000': "seeds='1000000' is more than a study plans at a time. Nearest: 100.", 'study SEEDS=zero': "seeds='zero' is not a whole number", 'plan SEEDS=zero': "seeds='zero' is not a whole number", 'study SEEDS=2.5': 'Nearest: 2.', 'plan SEEDS=2.5': 'Nearest: 2.',
    'study MNIST=no/such': "mnist='no/such' is not a folder.", 'plan MNIST=no/such': "mnist='no/such' is not a folder.", 'report CORES=0': "cores='0' is not a whole number", 'study CORES=many': "cores='many' is not",
    'study RUNGS=5': "rungs='5' is more than there are: the ladder has 4 rungs. Nearest: 4.", 'plan RUNGS=0': "rungs='0' is not a whole number", 'plan RUNGS=two': "rungs='two' is not",
    'study ON=slrum': "on='slrum' is not known. Did you mean 'slurm'?", 'plan ON=cloud': "on='cloud' is not known. Known: local, slurm.", 'study JOB_MINUTES=0': "job_minutes='0' is not a whole number from 1 on. Nearest: 1.", 'plan JOB_MINUTES=long': "job_minutes='long' is not a whole number",
    'study GPU_RUNS=none': "gpu_runs='none' is not", 'report RUNS=mine': "runs='mine' is not known. Known: published, own.", 'verdicts RUNS=mine': "runs='mine' is not known.",
    'report REPORTS=README.md': "reports='README.md' is a file, not a folder.", 'runs REPORTS=README.md': 'is a file, not a folder.', 'plan REPORTS=README.md': 'is a file, not a folder.',
    'study REPORTS=2026_01': "reports='2026_01' would be read as a number. Nearest: './2026_01'.", 'report REPORTS=true': "Nearest: './true'.",
    'study REPORTS=README.md/new': 'is inside of README.md, a file, not a folder.', 'plan RUNS=mine': "runs='mine' is not known.", 'plan GPU_RUNS=0': "gpu_runs='0' is not a whole number",
    'study REPORTS=/proc/new': "reports='/proc/new' cannot be made", 'report REPORTS=/proc/new': "reports='/proc/new' cannot be made", 'endurance N=0': "n='0' is not a whole number from 1 on. Nearest: 1.",
    'endurance KIND=dcgna': "kind='dcgna' is not known. Did you mean 'dcgan'?", 'plan claim=A4': 'make plan does not take claim; it takes CLAIM PROFILE', 'study SEED=4': 'make study does not take SEED; it takes CLAIM',
    'report SEEDS=4': 'make report does not take SEEDS; it takes PROFILE RUNS CORES REPORTS CONTAINER.', 'test N=4': 'make test does not take N; it takes ALL.', 'faults N=4': 'make faults does not take N; it takes no names.', 'bench BENCH=speed': "'speed' is not known", 'bench DEVICE=tpu': "'tpu' is not known",
    'project NAME=A': 'NAME=A is no name of a project', 'project': 'NAME= is missing', 'change': 'WHY is missing', 'change WHY=nothing': 'nothing differs from'}


THROUGH_MAKE = [words for words in WRONG if words.split()[0] not in COMMANDS or '=' not in words or 'does not take' in WRONG[words]]           # answered by make, or by another program
THROUGH_MAKE += ['study CLAIM=A9', 'plan CLAIM=A9', 'page CLAIM=A9', 'show RUN=zz']           # and by each way in which make calls a command


@pytest.mark.sample(6)
@pytest.mark.parametrize('words', THROUGH_MAKE)
def test_a_wrong_value_of_a_make_variable_is_answered_in_one_sentence_and_nothing_starts(run, stand_in, tmp_path, words):
    done = make(run, *words.split(), **stand_in)
    said = [line for line in (done.stdout + done.stderr).splitlines() if not re.match(r'make(\[\d+\])?: \*\*\* ', line)]       # make's own last word; with a number where make has started the tests
    assert done.returncode != 0 and len(said) == 1 and WRONG[words] in said[0], done.stdout + done.stderr
    assert not (tmp_path/'calls').read_text()


@pytest.mark.parametrize('words', [words for words in WRONG if words not in THROUGH_MAKE])
def test_the_command_that_make_would_call_says_the_same(run, words, capsys, monkeypatch):
    *_, line = make(run, '-n', *words.split()).stdout.splitlines()
    called, *given = shlex.split(line)
    for start in (os, 'fork'), (subprocess, 'Popen'): monkeypatch.setattr(*start, None)            # nothing may be started
    assert called == 'dcgan-nb' and main(given) == 2
    said = capsys.readouterr()
    assert WRONG[words] in said.err and said.err.count('\n') == 1 and not said.out


def test_values_are_handed_on_as_they_are(run, stand_in):
    done = make(run, 'study', "CLAIM=A4'; touch 'pwned", **stand_in)
    assert done.returncode != 0 and 'is not known' in done.stderr and not (ROOT/'pwned').exists()


def test_help_teaches(run, capsys):
    shown = run('dcgan-nb', '--help').stdout
    for name in COMMANDS:
        assert f'\n  {name} ' in shown
        assert main([name, '--help']) == 0
        more = capsys.readouterr().out
        assert more.count(f'dcgan-nb {name}') >= 2, 'two examples'
    assert all(o.help for o in OPTIONS.values())


def test_what_make_is_given_is_not_given_to_what_it_calls(run, tmp_path):
    (tmp_path/'nested.mk').write_text('TAKES.nested := N\ninclude Makefile\nnested:\n\t@make --no-print-directory help\n')
    done = run('make', '-f', tmp_path/'nested.mk', 'nested', 'N=3')
    assert done.returncode == 0 and 'make report' in done.stdout, done.stderr


def test_verdicts_come_in_the_terminal(run, tmp_path):
    shown = make(run, 'verdicts', 'CLAIM=A0 C3', f'REPORTS={tmp_path}').stdout.splitlines()
    assert [line.split()[0] for line in shown[:7]] == ['claim', 'A0', *['×']*4, 'C3'] and 'C3, “1 channel”: 6 of 6 runs collapsed.' in shown[7:]
    assert re.search(r'supported +FID +−7\d % \[.*\] +6 +cpu × 8 +published$', shown[1]) and re.search(r'× 1 +supported +FID +−6\d % \[.*\] +6 +cpu +published$', shown[2])


def test_changing_the_seeds_does_not_execute_finished_runs_again_and_a_study_makes_nothing_else(stand_in, tmp_path):
    reports, calls = tmp_path/'reports', tmp_path/'calls'
    def study(seeds):
        calls.write_text('')
        done = dcgan_nb('study', 'A4', '--profile', 'smoke', '--seeds', seeds, '--reports', reports, **stand_in)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout, sorted(re.search(r'-p seed (\d+)', call)[1] if '-p seed' in call else '0' for call in calls.read_text().splitlines())
    text, made = study(1)
    assert made == ['0', '0'] and 'A4' in text and '2 runs of profile smoke' in text and all(re.search(rf'^run {n}/2  \S+$', text, re.M) and re.search(rf'^run {n}/2  \S+  finished$', text, re.M) for n in (1, 2)), 'two arms: no example, no page'
    text, made = study(2)
    assert made == ['1', '1'] and 'run 2/2' in text, 'those of this call are counted, not those that were there'


@pytest.mark.parametrize('what, outcome', dict(fail='failed: ValueError: out of paper', die='failed: its kernel died: killed, or out of memory').items())
def test_the_outcome_of_a_run_names_the_cause(run, stand_in, tmp_path, what, outcome):
    (tmp_path/'do').write_text(what)
    done = run('bash', 'workflow/run.sh', tmp_path/'runs/a_run', 'run 1/1  a_run', **stand_in)
    assert done.returncode == 1 and done.stdout.endswith(f'run 1/1  a_run  {outcome}\n')
    assert (tmp_path/'runs/a_run/outcome.txt').read_text().strip() == outcome == scan_records(tmp_path/'runs')[1][str(tmp_path/'runs/a_run')]


def test_a_study_names_the_cause(stand_in, tmp_path):
    (tmp_path/'do').write_text('fail')
    outcome = 'failed: ValueError: out of paper'
    done = dcgan_nb('study', 'A4', '--profile', 'smoke', '--reports', tmp_path/'reports', **stand_in)
    runs = [p for p in (tmp_path/'reports/runs').iterdir() if p.is_dir()]
    assert done.returncode != 0 and len(runs) == 2
    for folder in runs:
        assert (folder/'outcome.txt').read_text().strip() == outcome and f'{folder.name}: {outcome}' in done.stdout
    assert 'IPKernelApp' not in done.stdout and 'Not all runs have finished; the next call tries them again.' in done.stdout


def began(folder):
    "Wait until a first run below a folder is at work."
    while not any('epoch' in log.read_text() for log in folder.rglob('run.log')): time.sleep(0.1)


def test_a_run_that_is_interrupted_is_not_called_failed(run, stand_in, tmp_path):
    (tmp_path/'do').write_text('wait')
    process = subprocess.Popen(['bash', 'workflow/run.sh', str(tmp_path/'a_run'), 'run 1/1  a_run'], cwd=ROOT, env=os.environ | stand_in, stdout=subprocess.PIPE, text=True, start_new_session=True)
    began(tmp_path)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(20) == 130 and 'run 1/1  a_run  interrupted' in process.stdout.read()
    assert scan_records(tmp_path)[1][str(tmp_path/'a_run')] == 'interrupted: asked for again, the run starts anew'


def start(stand_in, reports, *more):
    return subprocess.Popen(['dcgan-nb', 'study', 'A4', '--profile', 'smoke', '--reports', str(reports), *more], cwd=ROOT, env=os.environ | stand_in,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))     # ignored where the tests themselves run in the background


@pytest.mark.sample(1)
@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=['Ctrl-C', 'ended', 'killed'])
def test_a_study_that_is_stopped_is_done_by_the_next_call(stand_in, tmp_path, how):
    (tmp_path/'do').write_text('wait')
    process = start(stand_in, tmp_path/'reports')
    began(tmp_path/'reports')
    if how == signal.SIGTERM: process.terminate()           # nobody but the command is told
    else: os.killpg(process.pid, how)
    said = process.communicate(timeout=60)[1]
    if how != signal.SIGKILL: assert process.returncode == 2 and said.endswith('interrupted; called again, it goes on with what is missing\n'), said
    if how == signal.SIGTERM:
        assert not [p for p in psutil.process_iter(['cmdline']) if str(tmp_path) in ' '.join(p.info['cmdline'] or [])], 'nothing goes on'
        return
    (tmp_path/'do').write_text('')
    again = dcgan_nb('study', 'A4', '--profile', 'smoke', '--reports', tmp_path/'reports', **stand_in)
    assert again.returncode == 0, again.stdout + again.stderr
    assert len(list((tmp_path/'reports').glob('runs/*/run.ipynb'))) == 2 and 'Not all runs' not in again.stdout


def test_a_second_command_in_the_same_folder_waits(stand_in, tmp_path):
    (tmp_path/'do').write_text('wait')
    first = start(stand_in, tmp_path/'reports')
    began(tmp_path/'reports')
    (tmp_path/'do').write_text('')
    second = start(stand_in, tmp_path/'reports', '--seeds', '2')
    while 'at work in' not in (line := second.stdout.readline()): assert line, second.stderr.read()
    assert re.match(r'process \d+ on .* is at work in .*reports: waiting until it ends\.', line)
    os.killpg(first.pid, signal.SIGINT)
    assert first.wait(60) == 2
    rest, said = second.communicate(timeout=120)
    assert second.returncode == 0, rest + said
    assert len(list((tmp_path/'reports').glob('runs/*/run.ipynb'))) == 4


def test_an_error_that_no_run_explains_is_shown(run, stand_in, tmp_path):
    copy = tmp_path/'copy'
    for name in ('nbs', 'dcgan_nb', 'workflow'): shutil.copytree(ROOT/name, copy/name, ignore=shutil.ignore_patterns('__pycache__'))
    shutil.copy(ROOT/'settings.ini', copy)
    with open(copy/'workflow/book.smk', 'a') as file: file.write("\nraise ValueError('the workflow is broken')\n")
    done = run('dcgan-nb', 'report', '--profile', 'smoke', cwd=copy, **stand_in | dict(PYTHONPATH=f"{copy}{os.pathsep}{stand_in['PYTHONPATH']}"))
    assert done.returncode != 0 and 'the workflow is broken' in done.stderr and 'workflow.log' in done.stderr


def test_a_step_of_the_workflow_that_fails_says_why_itself(run, stand_in, tmp_path):
    copy = tmp_path/'copy'
    for name in ('nbs', 'dcgan_nb', 'workflow'): shutil.copytree(ROOT/name, copy/name, ignore=shutil.ignore_patterns('__pycache__'))
    shutil.copy(ROOT/'settings.ini', copy)
    (copy/'workflow/run.sh').write_text('echo "links that lead nowhere:" >&2; echo "  a.html: #b" >&2; exit 1\n')
    done = run('dcgan-nb', 'study', 'A4', '--profile', 'smoke', cwd=copy, **stand_in | dict(PYTHONPATH=f"{copy}{os.pathsep}{stand_in['PYTHONPATH']}"))
    assert done.returncode != 0 and 'links that lead nowhere:\n' in done.stdout and '  a.html: #b' in done.stdout, done.stdout + done.stderr


def test_runs_and_show_tell_of_real_folders(run, tmp_path, capsys):
    published = next(p.parent for p in sorted(ROOT.glob('reports/records/*s0*/record.json')))
    shutil.copytree(published, tmp_path/'runs'/published.name)
    (tmp_path/'runs/a_broken_one').mkdir()
    shown = make(run, 'runs', f'REPORTS={tmp_path}').stdout
    record = json.loads((published/'record.json').read_text())
    (fid,) = (f"{m['value']:.4g} \\(clf, 10k\\)" for key, m in record['metrics'].items() if key == 'fid_clf_10k')
    assert re.search(f'{published.name} +finished +{record["config"]["profile"]} +{fid} ', shown) and re.search('a_broken_one +no record.json', shown)
    def said(*words):
        assert main([*map(str, words)]) == 0
        return capsys.readouterr().out
    assert said('runs', '--reports', tmp_path/'nowhere').startswith(f'no runs yet in {tmp_path}/nowhere/runs. Some that take seconds: make study CLAIM=')
    assert f"published (commit {record['code']['commit'][:8]}, {record['environment']['cpu']}): the same scores\n" in said('show', published.name, '--reports', tmp_path)
    assert 'a_broken_one: no record.json' in said('show', 'a_broken', '--reports', tmp_path)
    shown = said('show', published.name)
    for text in (f'{published.name}: finished', f"commit {record['code']['commit'][:8]}", 'papermill nbs/train.ipynb', record['environment']['cpu']): assert text in shown


def test_a_command_may_be_called_from_any_folder_of_the_project_and_from_no_other(tmp_path, monkeypatch, capsys):
    def said(code, *words):
        assert main([*map(str, words)]) == code
        told = capsys.readouterr()
        assert bool(told.err) == bool(code)
        return told.err or told.out
    as_usual, below = said(0, 'verdicts', 'A0'), ROOT/'nbs/study'
    monkeypatch.chdir(below)
    assert said(0, 'verdicts', 'A0') == as_usual and Path.cwd() == below
    away = os.path.relpath(tmp_path, below)
    assert said(0, 'runs', '--reports', away).startswith(f'no runs yet in {below}/{away}/runs.') and said(0, 'runs', '--reports', tmp_path).startswith(f'no runs yet in {tmp_path}/runs.')
    assert said(2, 'plan', '--mnist', '40_stats.ipynb').startswith(f"mnist='{below}/40_stats.ipynb' is not a folder.") and 'runs of profile smoke' in said(0, 'plan', 'A4', '--profile', 'smoke', '--mnist', '.')
    monkeypatch.chdir(tmp_path)
    for words in (('verdicts', 'A0'), ('runs',), ('show', 'fashion'), ('study', 'A0'), ('audit',), ('verify',)): assert said(2, *words) == f'{tmp_path} is in no folder of the project: call this where settings.ini, nbs and reports are, or below.\n'
    assert main(['study', '--help']) == 0 and not [*tmp_path.iterdir()]


def test_own_runs_that_do_not_count_yet_are_named(tmp_path, capsys):
    def said(*words):
        assert main(['verdicts', *words, '--reports', str(tmp_path)]) == 0
        return capsys.readouterr().out
    first, second = plan('smoke', 'A4', device='cpu', runs_dir=str(tmp_path/'runs')).values()
    assert 'There are no finished runs of your own yet' in said('A4', '--runs', 'own')
    train(first, None)
    shown, (of_first, of_second) = said('A4', 'B1', '--runs', 'own'), CLAIMS['A4'].arms
    assert f'A4 is judged by published runs: every arm needs one of your own, finished, in one profile; yours: smoke: “{of_first}” 1, “{of_second}” 0.\n' in shown
    assert 'B1 is judged by published runs; yours: none.' in shown
    assert 'own' not in said('A4')
    train(second, None)
    shown = said('A4', '--runs', 'own')
    assert 'judged by published' not in shown and re.search(r'^A4 .* 1 +smoke +own\b', shown, re.M)
    assert re.search(r'Published runs come first there.*\n.*\nA4 .* 1 +smoke +own\b', said('A4'), re.M)


def test_papermill_itself_prints_no_noise(run, tmp_path):
    given = dict(profile='smoke', epochs=1, n_eval=50, g_width=4, d_width=4, runs_dir=tmp_path/'runs')
    done = run('papermill', 'nbs/train.ipynb', tmp_path/'out.ipynb', '--no-progress-bar', *(word for k, v in given.items() for word in ('-p', k, v)))
    assert done.returncode == 0, done.stderr
    for noise in ('without encryption', 'KeyboardInterrupt', 'Unable to parse', 'WARNING'): assert noise not in done.stdout + done.stderr
