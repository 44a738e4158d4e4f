"A run that is killed goes on where it left off: real processes, real signals."
import hashlib
import os
import signal
import subprocess
import sys
import time

import pytest

RUN = '''
import sys
from pathlib import Path

from dcgan_nb.foundations.batches import training_set
from dcgan_nb.foundations.datasets import load_data
from dcgan_nb.gan.networks import generator_bytes
from dcgan_nb.gan.state import init
from dcgan_nb.gan.train import train
from dcgan_nb.runs.checkpoint import Checkpoints, resume
from dcgan_nb.runs.config import RunConfig

folder = Path(sys.argv[1])
config = RunConfig.resolve(profile='smoke', device='cpu', recipe='b_before', g_width=4, d_width=4, epochs=12, ema=0.9, seed=int(sys.argv[2]))
gan = init(config)
print(*resume(gan, folder), flush=True)
keep = Checkpoints(folder, epochs=1, minutes=60)
def after(gan):
    keep.after_epoch(gan)
    print(len(gan.history), flush=True)
x, y = training_set(load_data('fashion_mnist_sample'))
train(gan, (x[:300], y[:300]), after)
(folder/'generator').write_bytes(generator_bytes(gan.G) + generator_bytes(gan.sampler))
print('resumed', gan.resumed, flush=True)
'''


def start(folder, seed):
    return subprocess.Popen([sys.executable, '-c', RUN, str(folder), str(seed)], stdout=subprocess.PIPE, text=True,
                            env=dict(os.environ, OMP_NUM_THREADS='1'))


@pytest.mark.fault('Training killed (SIGKILL) right after a checkpoint, and at a random moment', 'Asked for again, it ends with the same weights, bit for bit')
@pytest.mark.parametrize('where', ['after an epoch', 'at any moment'])
def test_a_killed_run_ends_with_the_same_weights_as_one_that_was_not(tmp_path, where):
    seed = int.from_bytes(os.urandom(2), 'big')
    whole, killed = tmp_path/'whole', tmp_path/'killed'
    whole.mkdir(), killed.mkdir()
    assert start(whole, seed).wait() == 0
    process = start(killed, seed)
    for line in process.stdout:
        if line.strip() == '4': break
    if where == 'at any moment': time.sleep(int.from_bytes(os.urandom(1), 'big') / 256 * 0.3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not (killed/'generator').exists()
    process = start(killed, seed)
    said, _ = process.communicate()
    assert process.returncode == 0 and 'Resumed after epoch' in said
    digest = lambda folder: hashlib.sha256((folder/'generator').read_bytes()).hexdigest()
    assert digest(whole) == digest(killed)


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
