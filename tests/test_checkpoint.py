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

from dcgan_nb.checkpoint import Checkpoints, resume
from dcgan_nb.config import RunConfig
from dcgan_nb.data import load_data
from dcgan_nb.models import generator_bytes
from dcgan_nb.train import new_game, train

folder = Path(sys.argv[1])
config = RunConfig.resolve(profile='smoke', device='cpu', recipe='b_before', g_width=4, d_width=4, epochs=12, seed=int(sys.argv[2]))
game = new_game(config)
print(*resume(game, folder), flush=True)
keep = Checkpoints(folder, epochs=1, minutes=60)
def after(game):
    keep.after_epoch(game)
    print(len(game.history), flush=True)
train(game, load_data('fashion_mnist_sample').x_train[:300], after)
(folder/'generator').write_bytes(generator_bytes(game.G))
print('resumed', game.resumed, flush=True)
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


HOLD = "import sys; from pathlib import Path; from dcgan_nb.checkpoint import hold_run; hold_run(Path(sys.argv[1]), lambda s: print(s, flush=True)); print('held', flush=True); sys.stdin.read()"


@pytest.mark.fault('Two processes asked for the same run, and the first is killed', 'The second says who holds the run and waits; the lock goes with the process that held it')
def test_a_second_process_waits_for_the_first_and_a_crashed_one_leaves_no_lock(tmp_path):
    def hold(): return subprocess.Popen([sys.executable, '-c', HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    first = hold()
    assert first.stdout.readline() == 'held\n'
    second = hold()
    assert second.stdout.readline().startswith(f'process {first.pid} on ')
    first.kill()
    assert second.stdout.readline() == 'held\n'
    first.communicate(), second.communicate()
    assert second.returncode == 0
