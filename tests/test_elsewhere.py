"Studies elsewhere: what they cost there, in a container, on several GPUs. Engines and GPUs are stand-ins: no machine here has them."
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time

import conftest
import papermill
import pytest
from conftest import ROOT
from test_numbers import prose, typed_results

from dcgan_nb.study import commands
from dcgan_nb.study.machines import Machine, study_cost, until_done

CONTAINER = ROOT/'workflow/container'


# The chapter

@pytest.fixture(scope='module')
def chapter(tmp_path_factory):
    "The page, made from a few published records: its outputs as text, and how many records they are."
    folder, n = tmp_path_factory.mktemp('chapter'), random.randint(3, 9)
    for path in random.sample([p.parent for p in ROOT.glob('reports/records/*/record.json')], n): shutil.copytree(path, folder/'records'/path.name)
    page = papermill.execute_notebook(ROOT/'nbs/chapters/elsewhere.ipynb', folder/'page.ipynb', dict(records_dir=str(folder/'records'), runs_dir=str(folder/'none')), cwd=ROOT, progress_bar=False)
    data = [o['data'] for c in page.cells for o in c.get('outputs', []) if 'data' in o]
    return '\n'.join(d.get('text/html') or d.get('text/markdown', '') for d in data), n


def test_a_guess_is_called_a_guess_in_its_row_and_a_measurement_says_of_how_many_runs(chapter):
    text, n = chapter
    rows = re.findall(r'<tr>.*?</tr>', text[text.index('<table'):text.index('</table>')], re.DOTALL)[1:]
    assert len(rows) == 8, 'four machines, two profiles'
    for row in rows: assert ('a guess' in row) == ('GPU' in row.split('</td>')[1]) and (f'measured: {n} runs' in row) != ('a guess' in row), row


def test_the_figure_can_be_read_and_says_what_is_guessed(chapter):
    figure = re.search(r'<figure class="chart">.*?</figure>', chapter[0], re.DOTALL)[0]
    assert 'aria-label="' in figure and 'guess' in figure.split('<figcaption>')[1]
    for label in ('laptop, 2 cores', 'one GPU', 'kilowatt-hours', 'hours until all is done'): assert label in figure, label


def test_the_queue_of_the_chapter_is_computed(chapter):
    assert len(re.findall(r'\*\*Profile \w+, with(?:out)?.*?\d+ runs in \d+ jobs?', chapter[0])) == 2


COST = re.compile(r'\d[\d.,]*\s*(?:h|hours?|minutes?|seconds?|kWh|W|watts?|[GM]B|gigabytes)\b')

def test_no_cost_is_typed_into_the_chapter():
    text = '\n\n'.join(''.join(c['source']) for c in json.loads((ROOT/'nbs/chapters/elsewhere.ipynb').read_text())['cells'] if c['cell_type'] == 'markdown')
    assert not typed_results(text) and not COST.findall(prose(text))
    assert COST.findall(prose('It takes 12 hours and 3.5 kWh.')) == ['12 hours', '3.5 kWh'], 'a typed one is found'


def test_commands_of_the_chapter_are_targets_of_make(run):
    text = '\n'.join(''.join(c['source']) for c in json.loads((ROOT/'nbs/chapters/elsewhere.ipynb').read_text())['cells'] if c['cell_type'] == 'markdown')
    calls = {line.split('#')[0].strip() for block in re.findall(r'```sh\n(.*?)```', text, re.DOTALL) for line in block.splitlines() if re.match(r'(CUDA\S+ )?make ', line)}
    assert len(calls) > 6
    for call in calls:
        done = run('bash', '-c', f'{call} --no-print-directory -n -o .venv/.ready')
        assert done.returncode == 0, (call, done.stderr)


def test_a_schedule_is_that_of_units_that_take_the_next_run_when_they_are_free():
    for _ in range(20):
        minutes, units = [random.uniform(0.1, 9) for _ in range(random.randint(1, 30))], random.randint(1, 8)
        now, left, waiting = 0.0, [], list(minutes)           # minute by minute, by hand
        while waiting or left:
            while waiting and len(left) < units: left.append(waiting.pop(0))
            step = min(left)
            now, left = now + step, [m - step for m in left if m - step > 1e-12]
        assert until_done(minutes, units) == pytest.approx(now)


def test_nothing_to_run_costs_nothing():
    cost = study_cost(Machine('any', 'cpu', 2), {}, [])
    assert cost['hours'] == cost['kwh'] == (0, 0, 0) and cost['runs'] == cost['measured'] == 0


# Containers

ENGINE = """#!/bin/bash
echo "{name} $*" >> "{folder}/calls"
case $1 in
    info) exit {answers} ;;
    image) [ -e "{folder}/image" ] ;;
    build) touch "{folder}/image" ;;
    run) while [ "$1" != localhost/dcgan-nb ]; do shift; done; shift
         unset MAKEFLAGS CONTAINER          # nothing of what calls an engine is known inside
         DCGAN_NB_VENV={folder}/venv exec make --no-print-directory --old-file={folder}/venv/.ready "$@" ;;
esac
"""


@pytest.fixture
def machine(tmp_path, run):
    "A machine with nothing but the engines that it is given, each of which makes an image and runs it as a stand-in: `make` with an environment elsewhere."
    (tmp_path/'bin').mkdir(), (tmp_path/'venv/bin').mkdir(parents=True)
    for name in ('bash', 'dirname', 'env', 'id', 'make', 'mkdir', 'touch', 'tr'): (tmp_path/'bin'/name).symlink_to(shutil.which(name))
    def script(path, text):
        path.write_text(text)
        path.chmod(0o755)
    script(tmp_path/'venv/bin/dcgan-nb', '#!/bin/bash\nprintf "<%s>" "$@"\n')
    (tmp_path/'calls').touch()
    def call(*words, engines=(), silent=()):
        for name in (*engines, *silent): script(tmp_path/'bin'/name, ENGINE.format(name=name, folder=tmp_path, answers=int(name in silent)))
        return run(tmp_path/'bin/make', '--no-print-directory', '-s', *words, PATH=str(tmp_path/'bin'))
    return call


def calls(folder): return [line for line in (folder/'calls').read_text().splitlines() if not line.endswith(' info')]


def test_without_an_engine_one_sentence_says_what_is_missing(machine):
    for words, what in ((['container'], 'podman, docker or buildah'), (['study', 'CONTAINER=1', 'CLAIM=A4'], 'podman or docker')):
        for silent in ((), ['docker']):           # there is none, or it does not answer
            done = machine(*words, silent=silent)
            assert done.returncode != 0 and what in done.stderr and len([line for line in done.stderr.splitlines() if not re.match(r'make(\[\d+\])?: \*\*\* ', line)]) == 1, done.stderr
            assert not done.stdout


def test_without_the_image_one_sentence_says_how_to_make_it(machine, tmp_path):
    done = machine('study', 'CONTAINER=1', engines=['podman'])
    assert done.returncode != 0 and '`make container` builds it' in done.stderr and not any('run' in c.split() for c in calls(tmp_path))


def test_the_engine_that_works_is_taken(machine, tmp_path):
    assert machine('container', engines=['buildah', 'docker'], silent=['podman']).returncode == 0
    assert [c.split()[:2] for c in calls(tmp_path)] == [['docker', 'build']]


@pytest.mark.parametrize('engine, who', dict(podman='--userns=keep-id' if os.getuid() else '--user 0:0', docker=f'--user {os.getuid()}:{os.getgid()}').items())
def test_what_was_typed_arrives_in_the_container(machine, tmp_path, engine, who):
    assert machine('container', engines=[engine]).returncode == 0
    reports = tmp_path/'my reports'
    done = machine('study', 'CONTAINER=1', 'CLAIM=A4 D2', f'REPORTS={reports}', "RUNS=it's", 'SEEDS=2', 'PYTHON=python3')
    assert done.stdout == f"<study><A4><D2><--seeds=2><--runs=it's><--reports={reports}>", done.stdout + done.stderr
    called = calls(tmp_path)[-1]
    assert f'--volume {ROOT}:/project ' in called and f'--volume {reports}:{reports} ' in called and f' {who} ' in called and reports.is_dir()
    assert 'CONTAINER' not in called and 'PYTHON' not in called
    assert machine('report', 'CONTAINER=1', 'PROFILE=smoke').stdout == '<report><--profile=smoke>'


def test_only_what_runs_in_a_container_takes_the_name(machine):
    for words in (['verdicts'], ['plan'], ['test']):
        done = machine(*words, 'CONTAINER=1', engines=['podman'])
        assert done.returncode != 0 and 'does not take CONTAINER' in done.stderr


def copied():
    "The files that each recipe takes from the project."
    recipe, apptainer, kept = ((CONTAINER/name).read_text() for name in ('Containerfile', 'apptainer.def', 'Containerfile.dockerignore'))
    in_recipe = {word for line in re.findall(r'^COPY (.*) \S+$', recipe, re.M) for word in line.split()}
    return in_recipe, set(re.findall(r'^    (\S+) /project/', apptainer, re.M)), set(re.findall(r'^!(.+)$', kept, re.M))


def test_both_recipes_take_the_same_files_and_no_others_reach_the_engine():
    recipe, apptainer, kept = copied()
    assert recipe == apptainer == kept and all((ROOT/name).is_file() for name in recipe)


def test_both_recipes_install_the_lock_by_its_hashes_and_have_all_that_this_needs():
    needed, = re.findall(r'^\$\(VENV\)/\.hashes: (.*)$', (ROOT/'Makefile').read_text(), re.M)
    assert set(needed.split()) | {'Makefile', 'README.md', 'dcgan_nb/__init__.py'} <= copied()[0]      # setup.py reads the README and finds the package
    for name in ('Containerfile', 'apptainer.def'):
        text = (CONTAINER/name).read_text()
        assert len(re.findall(r'make env HASHES=1', text)) == 1 and 'pip install' not in text, name
        assert not re.search(r'(?i)password|token|secret|https?://', text)
    steps = re.findall(r'^[A-Z]+', (CONTAINER/'Containerfile').read_text(), re.M)
    assert steps.index('RUN') < steps.index('USER') < steps.index('ENTRYPOINT') and not re.search(r'^USER (root|0)', (CONTAINER/'Containerfile').read_text(), re.M)


# Several GPUs

# What runs there: says when it starts and ends and on which GPU, and goes on when it may.
WORK = 'echo "+$WEIGHT $CUDA_VISIBLE_DEVICES $$" >> "{0}/log"; until [ -e "{0}/go" ]; do sleep 0.05; done; echo "-$WEIGHT $CUDA_VISIBLE_DEVICES $$" >> "{0}/log"'


def start(folder, need, share=2, gpus='0,GPU-5f', script=ROOT/'workflow/on_gpu.sh'):
    env = os.environ | dict(CUDA_VISIBLE_DEVICES=gpus, TMPDIR=str(folder), WEIGHT=str(need))
    return subprocess.Popen(['bash', str(script), str(share), str(need), 'bash', '-c', WORK.format(folder)], env=env, start_new_session=True)


def log(folder): return (folder/'log').read_text().splitlines() if (folder/'log').exists() else []


def wait_for(folder, n):
    while sum(line[0] == '+' for line in log(folder)) < n: time.sleep(0.05)


def most(folder):
    "GPU → the most that it had at a time."
    now, top = {}, {}
    for line in log(folder):
        weight, gpu, _ = line.split()
        now[gpu] = now.get(gpu, 0) + int(weight)
        top[gpu] = max(top.get(gpu, 0), now[gpu])
    return top


def test_runs_are_spread_over_the_gpus_and_no_gpu_has_more_than_its_share(tmp_path):
    going = [start(tmp_path, 1) for _ in range(7)]
    wait_for(tmp_path, 4)
    assert most(tmp_path) == {'0': 2, 'GPU-5f': 2}, 'no more have begun'
    (tmp_path/'go').touch()
    assert [p.wait(60) for p in going] == [0]*7 and len(log(tmp_path)) == 14 and set(most(tmp_path).values()) <= {1, 2}


def test_two_runs_are_on_two_gpus(tmp_path):
    going = [start(tmp_path, 1) for _ in range(2)]
    wait_for(tmp_path, 2)
    (tmp_path/'go').touch()
    assert [p.wait(60) for p in going] == [0, 0] and most(tmp_path) == {'0': 1, 'GPU-5f': 1}


def test_a_timed_run_has_a_gpu_for_itself(tmp_path):
    going = [start(tmp_path, 1)]
    wait_for(tmp_path, 1)
    going += [start(tmp_path, 2)]
    wait_for(tmp_path, 2)
    going += [start(tmp_path, 1), start(tmp_path, 1)]
    wait_for(tmp_path, 3)
    shared, = {line.split()[1] for line in log(tmp_path) if line[:2] == '+1'}
    alone, = {line.split()[1] for line in log(tmp_path) if line[:2] == '+2'}
    assert shared != alone
    (tmp_path/'go').touch()
    assert [p.wait(60) for p in going] == [0]*4 and set(most(tmp_path).values()) == {2}


def test_who_is_killed_leaves_its_place(tmp_path):
    first = start(tmp_path, 2)
    wait_for(tmp_path, 1)
    going = [start(tmp_path, 2)]
    wait_for(tmp_path, 2)
    going += [start(tmp_path, 2)]
    os.killpg(first.pid, signal.SIGKILL)
    first.wait(20)
    wait_for(tmp_path, 3)
    assert log(tmp_path)[2].split()[1] == log(tmp_path)[0].split()[1]
    (tmp_path/'go').touch()
    assert [p.wait(60) for p in going] == [0, 0]


def test_a_version_that_takes_places_without_locks_is_found(tmp_path):
    wrong = tmp_path/'wrong.sh'
    wrong.write_text((ROOT/'workflow/on_gpu.sh').read_text().replace('if flock --nonblock "$fd"', 'if true'))
    going = [start(tmp_path, 1, script=wrong) for _ in range(5)]
    wait_for(tmp_path, 5)
    assert most(tmp_path) == {'0': 5}
    (tmp_path/'go').touch()
    for p in going: p.wait(60)


@pytest.mark.parametrize('gpus, need', [('', 1), ('0', 1), ('0,1', 0), (None, 1)])
def test_with_one_gpu_or_none_nothing_is_done(run, tmp_path, gpus, need):
    env = {k: v for k, v in os.environ.items() if k != 'CUDA_VISIBLE_DEVICES'} | dict(TMPDIR=str(tmp_path)) | (dict(CUDA_VISIBLE_DEVICES=gpus) if gpus is not None else {})
    done = subprocess.run(['bash', ROOT/'workflow/on_gpu.sh', '4', str(need), 'bash', '-c', 'echo "${CUDA_VISIBLE_DEVICES-none} $1"; exit 7', 'it', 'two words'], env=env, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == (f"{'none' if gpus is None else gpus} two words\n", 7) and not list(tmp_path.iterdir())


@pytest.mark.sample(2)
@pytest.mark.parametrize('gpus, total', {None: 3, '': 3, '1': 3, '0,1,2': 9}.items())
def test_as_many_runs_begin_as_all_gpus_take(monkeypatch, tmp_path, capsys, gpus, total):
    called = []
    class Workflow:
        exitcode = 0
        def __init__(self, target, args): called.extend(args[0])
        def start(self): pass
        def join(self): pass
    monkeypatch.setattr(commands._FORK, 'Process', Workflow)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    if gpus is not None: monkeypatch.setenv('CUDA_VISIBLE_DEVICES', gpus)
    assert commands.main(['study', 'A4', '--profile', 'smoke', '--gpu-runs', '3', '--reports', str(tmp_path/'reports')]) == 0
    assert f'gpu={total}' in called and 'gpu_runs=3' in called


def test_a_study_on_two_gpus_gives_each_run_one_of_them(run, tmp_path):
    env = conftest.stand_in(tmp_path, f'notebooks=(); for given; do [[ "$given" == *.ipynb ]] && notebooks+=("$given"); done\n'
                            f'echo "$CUDA_VISIBLE_DEVICES $*" >> "{tmp_path}/calls"; until [ $(wc -l < "{tmp_path}/calls") -ge 2 ]; do sleep 0.05; done\ncp "${{notebooks[0]}}" "${{notebooks[1]}}"\n')
    (tmp_path/'stand_in/sitecustomize.py').write_text('import torch\ntorch.cuda.is_available = lambda: True\n')       # a run waits until another has begun
    done = run('dcgan-nb', 'study', 'A4', '--profile', 'smoke', '--seeds', '2', '--cores', '4', '--gpu-runs', '1', '--reports', tmp_path/'reports', **env | dict(CUDA_VISIBLE_DEVICES='0,1', TMPDIR=str(tmp_path)), timeout=200)
    calls = (tmp_path/'calls').read_text().splitlines()
    assert done.returncode == 0 and len(calls) == 4, done.stdout + done.stderr
    assert {call.split()[0] for call in calls[:2]} == {'0', '1'} and {call.split()[0] for call in calls} == {'0', '1'} and all('-p device cuda' in call for call in calls)
