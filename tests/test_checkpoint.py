"A run that is killed goes on where it left off: real processes, real signals."
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import Forked, tiny_data

from dcgan_nb.gan.networks import generator_bytes
from dcgan_nb.gan.state import init
from dcgan_nb.gan.train import train
from dcgan_nb.runs.checkpoint import Checkpoints, resume
from dcgan_nb.runs.config import RunConfig

def start(folder, seed):
    "Training in a process of its own, which says its epochs and writes its generator at the end."
    def do(say):
        gan = init(RunConfig.resolve(profile='smoke', device='cpu', recipe='b_before', g_width=4, d_width=4, epochs=12, ema=0.9, seed=seed))
        for line in resume(gan, folder): say(line)
        keep = Checkpoints(folder, epochs=1, minutes=60)
        def after(gan):
            keep.after_epoch(gan)
            say(f'epoch {len(gan.history)}')
        train(gan, tiny_data(300, size=28), after)
        (folder/'generator').write_bytes(generator_bytes(gan.G) + generator_bytes(gan.sampler))
    return Forked(do)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    "A seed, and the generator of a training that nothing disturbed."
    seed, folder = int.from_bytes(os.urandom(2), 'big'), tmp_path_factory.mktemp('whole')
    process = start(folder, seed)
    heard = process.communicate()
    assert process.returncode == 0, heard
    return seed, (folder/'generator').read_bytes()


@pytest.mark.fault('Training killed (SIGKILL) right after a checkpoint, and at a random moment', 'Asked for again, it ends with the same weights, bit for bit')
@pytest.mark.sample(1)
@pytest.mark.parametrize('where', ['after an epoch', 'at any moment'])
def test_a_killed_run_ends_with_the_same_weights_as_one_that_was_not(where, whole, tmp_path):
    seed, generator = whole
    process = start(tmp_path, seed)
    process.until('epoch 4')
    if where == 'at any moment': time.sleep(int.from_bytes(os.urandom(1), 'big') / 256 * 0.3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not (tmp_path/'generator').exists()
    process = start(tmp_path, seed)
    heard = process.communicate()
    assert process.returncode == 0 and 'Resumed after epoch' in heard, heard
    assert (tmp_path/'generator').read_bytes() == generator


LOCK = "import sys; from pathlib import Path; from dcgan_nb.runs.checkpoint import lock_run; lock_run(Path(sys.argv[1]), lambda s: print(s, flush=True)); print('locked', flush=True); sys.stdin.read()"


@pytest.mark.fault('Two processes asked for the same run, and the first is killed', 'The second says who holds the run and waits; the lock goes with the process that held it')
def test_a_second_process_waits_for_the_first_and_a_crashed_one_leaves_no_lock(tmp_path):
    def lock(): return subprocess.Popen([sys.executable, '-c', LOCK, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    first = lock()
    assert first.stdout.readline() == 'locked\n'
    second = lock()
    assert second.stdout.readline().startswith(f'process {first.pid} on ')
    first.kill()
    assert second.stdout.readline() == 'locked\n'
    first.communicate(), second.communicate()
    assert second.returncode == 0
