"What a job does with its batch, and what Slurm's answers mean, without a Slurm: `make test-cluster` tries the same on a real one."
import os
import secrets
import subprocess

import pytest
from conftest import ROOT, stand_in


def program(folder, name, text):
    folder.mkdir(exist_ok=True)
    (folder/name).write_text(f'#!/bin/sh\n{text}\n')
    (folder/name).chmod(0o755)


def of_path(folder): return os.environ | dict(PATH=f'{folder}:{os.environ["PATH"]}')


@pytest.fixture
def batch(tmp_path):
    "A batch of four runs, and a papermill that writes down what it was asked for and does what a file called by the run's loss says."
    runs = [f'run-{secrets.token_hex(3)}' for _ in range(4)]
    (tmp_path/'some.runs').write_text(''.join(f"{run} -p loss l{i} -p note 'two words'\n" for i, run in enumerate(runs)))
    env = stand_in(tmp_path, f'echo "$*" >> {tmp_path}/asked; what={tmp_path}/$(echo "$*" | sed "s/.*-p loss \\([^ ]*\\).*/\\1/"); [ -e $what ] && . $what; touch "$2"')
    def make(): return subprocess.run(['bash', 'workflow/batch.sh', tmp_path/'reports', tmp_path/'some.runs'], cwd=ROOT, env=os.environ | env, capture_output=True, text=True)
    def asked():
        "The losses of the runs that were started since the last question."
        lines = (tmp_path/'asked').read_text().splitlines() if (tmp_path/'asked').exists() else []
        (tmp_path/'asked').unlink(missing_ok=True)
        assert all('-p note two words' in line for line in lines)
        return [line.split('-p loss ')[1][:2] for line in lines]
    return tmp_path, runs, make, asked


def test_a_batch_makes_its_runs_in_order_and_passes_over_what_is_finished(batch):
    folder, runs, make, asked = batch
    assert make().returncode == 0 and asked() == ['l0', 'l1', 'l2', 'l3']
    (folder/'reports/runs'/runs[2]/'run.ipynb').unlink()
    assert make().returncode == 0 and asked() == ['l2']
    assert make().returncode == 0 and asked() == []


def test_a_run_that_fails_stops_no_other_and_one_that_is_cut_off_makes_the_job_be_tried_again(batch):
    folder, runs, make, asked = batch
    (folder/'l1').write_text('echo "InputError: no such thing" >&2; exit 1')
    assert make().returncode == 0 and asked() == ['l0', 'l1', 'l2', 'l3'], 'more time does not help it'
    assert 'no such thing' in (folder/'reports/runs'/runs[1]/'outcome.txt').read_text()
    (folder/'l1').write_text('echo "DeadKernelError: Kernel died" >&2; exit 1')
    assert make().returncode == 1 and asked() == ['l1']
    (folder/'l1').write_text('')
    assert make().returncode == 0 and asked() == ['l1']


def test_a_run_at_which_another_job_is_at_work_is_left_for_the_end_and_found_finished(batch):
    folder, runs, make, asked = batch
    there = folder/'reports/runs'/runs[0]
    there.mkdir(parents=True)
    other = subprocess.Popen(['flock', there/'.job', 'sh', '-c', f'while [ ! -e {folder}/asked ] || [ $(wc -l < {folder}/asked) -lt 3 ]; do sleep 0.05; done; touch {there}/run.ipynb'])
    assert make().returncode == 0 and asked() == ['l1', 'l2', 'l3'] and other.wait() == 0


def test_where_files_cannot_be_locked_the_runs_are_made_without_locks(batch):
    folder, _, make, asked = batch
    program(folder/'bin', 'flock', 'echo "No locks available" >&2; exit 71')
    assert make().returncode == 0 and asked() == ['l0', 'l1', 'l2', 'l3']


@pytest.mark.parametrize('queue, accounting, status', [
    ('echo RUNNING', '', 'running'), ('echo PENDING', '', 'running'), ('echo COMPLETED', '', 'success'), ('echo TIMEOUT', '', 'failed'), ('echo NODE_FAIL', '', 'failed'),
    ('echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1', '', 'running'), ('echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1', 'exit 1', 'failed'),
    ('echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1', 'echo COMPLETED', 'success'), ('', 'echo OUT_OF_MEMORY', 'failed')])
def test_the_state_of_a_job_is_success_failed_or_running(tmp_path, queue, accounting, status):
    program(tmp_path, 'squeue', queue)
    program(tmp_path, 'sacct', accounting or 'exit 1')
    said = subprocess.run(['bash', 'workflow/profiles/slurm/status.sh', '17'], cwd=ROOT, env=of_path(tmp_path), capture_output=True, text=True)
    assert said.stdout.strip() == status
