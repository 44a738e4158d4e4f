"""A study on a real Slurm that is started here: nothing is lost, nothing doubled, and the records are those of a study on one machine, bit for bit.

DCGAN_NB_CLUSTER=1: one batch of two runs whose job is killed. DCGAN_NB_CLUSTER=full (`make test-cluster`): 24 runs on four
nodes, with everything that goes wrong on a cluster, and 1,000 trivial runs, whose cost goes to reports/benchmarks/ and from there to the speed page."""
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from cluster import Cluster, why_not
from conftest import BIN, ROOT, stand_in
from test_workflow import PAPERMILL

sys.path.insert(0, str(ROOT/'workflow'))
from endurance import outcome  # noqa: E402

from benchmarks.measure import write_result  # noqa: E402
from dcgan_nb.study.plan import plan

pytest.importorskip('snakemake_executor_plugin_cluster_generic', reason='it takes Python 3.11')
ASKED = os.environ.get('DCGAN_NB_CLUSTER', '')
if not ASKED: pytest.skip('DCGAN_NB_CLUSTER=1 starts a Slurm here (root on Debian); make test-cluster tries everything', allow_module_level=True)
if why_not(): pytest.skip(f'no Slurm can be started here: {why_not()}', allow_module_level=True)
full = pytest.mark.skipif(ASKED != 'full', reason='make test-cluster, or DCGAN_NB_CLUSTER=full: it takes some minutes')


@pytest.fixture(scope='module')
def cluster(tmp_path_factory):
    with ExitStack() as stack:
        try:
            cluster = stack.enter_context(Cluster(tmp_path_factory.mktemp('slurm'), nodes=4 if ASKED == 'full' else 1))
            subprocess.run(['sbatch', '--wait', '--output', '/dev/null', '--wrap', 'true'], check=True, capture_output=True, timeout=60)
        except (TimeoutError, OSError, subprocess.SubprocessError) as error:
            if ASKED == 'full': raise
            pytest.skip(f'no Slurm came up here: {error}')
        yield cluster


class Study:
    "A study that was started, and goes on in the background; its output is in a file."
    def __init__(self, reports, *words, claims=('A4',), **env):
        self.said = Path(f'{reports}.{time.monotonic_ns()}.txt')
        with open(self.said, 'w') as out:
            self.process = subprocess.Popen([BIN/'dcgan-nb', 'study', *claims, '--profile', 'smoke', '--reports', reports, *words], cwd=ROOT, stdout=out, stderr=out, start_new_session=True,
                                            env=os.environ | dict(PATH=f'{BIN}{os.pathsep}{os.environ["PATH"]}', OMP_NUM_THREADS='1') | env)

    def ended(self, code=0):
        assert self.process.wait(timeout=1800) == code, self.said.read_text()[-3000:]
        return self.said.read_text()

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def jobs(state='running'):
    "Jobs in a state, and the nodes that they are on."
    said = subprocess.run(['squeue', '-h', '-t', state, '-o', '%i %N'], capture_output=True, text=True).stdout
    return dict((line.split() + [''])[:2] for line in said.splitlines())


def training(reports):
    "The runs that have a checkpoint, and so are in the middle of their training."
    return {path.parent.name for path in Path(reports, 'runs').glob('*/checkpoint.pt')}


def finished(reports):
    "How often each run was reported as finished, by all jobs."
    text = '\n'.join(path.read_text() for path in Path(reports, 'queue').glob('*.log'))
    return Counter(re.findall(r'^run \d+/\d+  (\S+)  finished$', text, re.M))


def outcomes(reports): return {folder.parent.name: outcome(folder.parent) for folder in Path(reports, 'runs').glob('*/record.json')}


def test_a_job_that_is_killed_is_tried_again_and_passes_over_what_is_finished(cluster, tmp_path):
    there = tmp_path/'there'
    study = Study(there, '--on', 'slurm', **no_time(tmp_path))
    (tmp_path/'wait').touch()
    ids = list(plan('smoke', 'A4', device='cpu'))
    cluster.wait(lambda: (tmp_path/'calls').exists() and ids[1] in ''.join(p.read_text() for p in (there/'queue').glob('*.log')), 'the second run has begun', 600)
    subprocess.run(['scancel', *jobs()], check=True)
    (tmp_path/'wait').unlink()
    said = study.ended()
    assert '2 runs in 1 job (0 with a GPU)' in said
    assert finished(there) == dict.fromkeys(ids, 1), 'the first run was not made again'


def no_time(folder):
    "An environment whose papermill makes a run in no time; the second one waits as long as there is a file `wait`."
    return stand_in(folder, PAPERMILL.format(folder=folder).replace('echo \'epoch 1\'', f'while [ -e "{folder}/wait" ] && [ $(wc -l < "{folder}/calls") = 2 ]; do sleep 0.1; done'))


@full
def test_whatever_happens_to_a_cluster_the_records_are_those_of_one_machine(cluster, tmp_path):
    there, words = tmp_path/'there', ('--seeds', '12', '--on', 'slurm', '--job-minutes', '1')
    wanted = plan('smoke', 'A4', seeds=12, device='cpu')
    assert len(wanted) == 24
    first = Study(there, *words)
    cluster.wait(lambda: training(there), 'a run is being trained', 300)
    second = Study(there, *words)                              # two studies in one folder: it waits
    cluster.wait(lambda: 'waiting until it ends' in second.said.read_text(), 'the second study waits', 120)
    first.kill()                                               # its jobs go on, and the second study asks for the same runs
    cluster.wait(lambda: '.runs' in str(list((there/'queue').iterdir())) and len(jobs()) > 2, 'the second study has jobs', 120)

    cancelled = next(iter(jobs()))
    subprocess.run(['scancel', cancelled], check=True)
    cluster.wait(lambda: cancelled in jobs('cancelled'), 'it is cancelled')
    cluster.kill('slurmctld')                                  # the controller dies, and jobs go on without it
    time.sleep(15)
    cluster.start_controller()
    cluster.wait(jobs, 'the controller knows its jobs again', 120)

    job, node = next((job, node) for job, node in jobs().items() if node)
    cluster.crash(node)                                        # a node dies with all that is on it, and is back later
    cluster.wait(lambda: jobs().get(job) != node, 'its job is given up', 120)
    cluster.start_node(node)

    drained = next(n for n in cluster.nodes if n != node)
    subprocess.run(['scontrol', 'update', f'NodeName={drained}', 'State=DRAIN', 'Reason=test'], check=True)
    cluster.wait(lambda: drained not in jobs().values(), 'it is empty', 600)
    subprocess.run(['scontrol', 'update', f'NodeName={drained}', 'State=RESUME'], check=True)

    if limited := jobs():                                      # a limit that ends in the middle of a run
        for job in limited: subprocess.run(['scontrol', 'update', f'JobId={job}', 'TimeLimit=1'], check=True)
        cluster.wait(lambda: jobs('timeout') or not set(limited) & set(jobs()), 'a limit is hit', 300)
    second.ended()

    local = Study(tmp_path/'here', '--seeds', '12')
    local.ended()
    assert outcomes(there) == outcomes(tmp_path/'here') and set(outcomes(there)) == set(wanted)
    ended, said = {state: len(jobs(state)) for state in ('completed', 'cancelled', 'node_fail', 'timeout', 'failed')}, finished(there)
    print(ended)
    assert ended['timeout'] and set(said) <= set(wanted) and set(said.values()) == {1}, 'no run was made twice'
    assert len(said) >= len(wanted) - sum(ended.values()) + ended['completed'], 'who is killed right after a run has no time to say that it is finished'


@full
def test_a_run_that_fails_does_not_stop_its_batch_and_a_thousand_trivial_ones_show_what_the_queue_costs(cluster, tmp_path):
    there, env = tmp_path/'there', no_time(tmp_path)
    (tmp_path/'fail').write_text('-p seed 7')
    start, busy = time.monotonic(), cluster.controller_seconds()
    arms, words = ('A1', 'A4'), ('--seeds', '100', '--on', 'slurm')
    study = Study(there, *words, claims=arms, **env)
    said = study.ended(1)
    busy = cluster.controller_seconds() - busy
    took, ids = time.monotonic() - start, set(plan('smoke', ' '.join(arms), seeds=100, device='cpu'))
    failed = {path.parent.name for path in (there/'runs').glob('*/outcome.txt') if path.read_text().startswith('failed: InputError')}
    assert len(ids) == 1000 and len(failed) == 10 and set(finished(there)) == ids - failed and set(finished(there).values()) == {1}
    assert 'Not all runs have finished' in said and all(run_id in said for run_id in failed)
    rows = [dict(runs=len(ids), jobs=len(list((there/'queue').glob('*.log'))), seconds=took, controller_seconds=busy)]
    print(write_result('queue', 'cpu', dict(nodes=len(cluster.nodes), quick=False, repeats=1), rows, ROOT/'reports/benchmarks'), rows)
    (tmp_path/'fail').unlink()
    Study(there, *words, claims=arms, **env).ended()
    assert set(finished(there)) == ids and set(finished(there).values()) == {1}, 'the next call makes what failed, and nothing else'
