"What happens when things break: real processes, real signals, real full disks. `make faults` turns what these tests saw into a page of the book."
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import BIN, EXECUTE, ROOT, tiny_data

sys.path.insert(0, str(ROOT/'workflow'))
from endurance import outcome  # noqa: E402

from dcgan_nb.foundations.core import InputError, write_file
from dcgan_nb.gan.networks import generator_bytes
from dcgan_nb.gan.state import init
from dcgan_nb.gan.train import train_epoch
from dcgan_nb.runs.checkpoint import NEWEST, PREVIOUS, resume, save_checkpoint
from dcgan_nb.runs.config import RunConfig
from dcgan_nb.runs.records import read_record, read_records, scan_records
from dcgan_nb.runs.run import run as train

SMALL = dict(profile='smoke', device='cpu', metrics='fid', epochs=7, g_width=8, d_width=8, n_eval=50, recipe='b_before', checkpoint_epochs=1)   # dropout and soft labels: every random stream
PARAMETERS = [str(x) for k, v in SMALL.items() for x in ('-p', k, v)]


def papermill(out, *parameters, output=subprocess.PIPE, program=(BIN/'papermill',), **env):
    "Papermill in a process of its own, which Ctrl-C reaches even if the tests run in the background, where a shell has it ignored."
    command = [*program, 'nbs/train.ipynb', out, '--no-progress-bar', '--log-output', *parameters]
    return subprocess.Popen([str(c) for c in command], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
                            env=os.environ | {'PATH': f'{BIN}{os.pathsep}{os.environ["PATH"]}', 'OMP_NUM_THREADS': '1'} | env, start_new_session=True,
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    "A run that nothing disturbed."
    runs = tmp_path_factory.mktemp('whole')
    config = RunConfig.resolve(**SMALL, runs_dir=str(runs))
    train(config, report=None)
    return outcome(config.run_dir)


INTERRUPTIONS = [
    pytest.param(lambda papermill, kernel: kernel.kill(), id='kernel killed', marks=pytest.mark.fault('The kernel alone killed during training', 'Papermill says that the kernel died and exits with an error; asked for again, the run goes on, bit for bit')),
    pytest.param(lambda papermill, kernel: papermill.send_signal(signal.SIGINT), id='Ctrl-C', marks=pytest.mark.fault('Ctrl-C during training', 'Papermill and its kernel end; asked for again, the run goes on, bit for bit')),
]


@pytest.mark.sample(1)
@pytest.mark.parametrize('interrupt', INTERRUPTIONS)
def test_an_interrupted_run_goes_on_and_ends_the_same(interrupt, whole, warm, tmp_path, request):
    folder = tmp_path/RunConfig.resolve(**SMALL).run_id
    process = papermill(tmp_path/'out.ipynb', *PARAMETERS, '-p', 'runs_dir', tmp_path)
    while not (folder/PREVIOUS).exists():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    kernel = next(p for p in psutil.Process(process.pid).children(recursive=True) if 'ipykernel_launcher' in ' '.join(p.cmdline()))
    interrupt(psutil.Process(process.pid), kernel)
    said, _ = process.communicate(timeout=60)
    assert process.returncode != 0, said
    if signalled := 'Aborted!' in said:
        ours = said.partition('Task exception was never retrieved')[0]       # what papermill itself may still say if it looks at the kernel in the moment in which it ends it
        assert f'{folder.name}: interrupted: asked for again, the run goes on from its checkpoint' in ours and 'Traceback' not in ours, said
    assert signalled == (request.node.callspec.id == 'Ctrl-C')
    kernel.wait(timeout=60)                                       # none is left behind
    assert not (folder/'record.json').exists() and not read_records(tmp_path)
    assert 'goes on from its checkpoint' in scan_records(tmp_path)[1][str(folder)]
    program = dict(program=EXECUTE, **warm) if signalled else {}        # asked for as the workflow does, or as before
    process = papermill(tmp_path/'again.ipynb', *PARAMETERS, '-p', 'runs_dir', tmp_path, **program)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert 'Resumed after epoch' in (tmp_path/'again.ipynb').read_text()
    assert outcome(folder) == whole
    assert len(read_record(folder)['resumed']) == 1 and not (folder/NEWEST).exists()


@pytest.fixture
def tiny_disk(tmp_path):
    "A folder on a disk of 4 MB, and what fills it up."
    folder = tmp_path/'disk'
    folder.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', folder], capture_output=True).returncode: pytest.skip('a small disk cannot be mounted here')

    def fill():
        disk = os.statvfs(folder)
        (folder/'filler').write_bytes(bytes(disk.f_bavail * disk.f_frsize - 3*4096))
    yield folder, fill
    subprocess.run(['umount', '-l', folder], check=True)


@pytest.mark.fault('The disk is full when a checkpoint is written', 'One clear error; the checkpoint before is intact, nothing half-written is left')
def test_a_full_disk_is_a_clear_error_and_costs_nothing(tiny_disk):
    folder, fill = tiny_disk
    gan = init(RunConfig.resolve(**SMALL))
    save_checkpoint(gan, folder)
    before = (folder/NEWEST).read_bytes()
    fill()
    gan.history.append(train_epoch(gan, tiny_data(50, size=28)))
    with pytest.raises(InputError, match='checkpoint.pt could not be written: No space left on device'): save_checkpoint(gan, folder)
    assert sorted(p.name for p in folder.iterdir()) == [PREVIOUS, 'filler'] and (folder/PREVIOUS).read_bytes() == before
    assert resume(init(gan.config), folder) == [f'Resumed after epoch 0 from {PREVIOUS}.']


@pytest.mark.fault('A cell raises in the middle of a run (its disk is full)', 'Papermill exits with an error, the output notebook is marked as failed, there is no record, and the earlier checkpoint is intact')
def test_a_cell_that_raises_leaves_a_consistent_folder(tmp_path, tiny_disk):
    disk, fill = tiny_disk
    config = RunConfig.resolve(**SMALL)
    save_checkpoint(init(config), disk/config.run_id)
    fill()
    process = papermill(tmp_path/'out.ipynb', *PARAMETERS, '-p', 'runs_dir', disk)
    said, _ = process.communicate()
    assert process.returncode != 0 and 'could not be written: No space left on device' in said
    notebook = json.loads((tmp_path/'out.ipynb').read_text())
    assert 'An Exception was encountered' in ''.join(notebook['cells'][0]['source'])
    assert not (disk/config.run_id/'record.json').exists()
    assert resume(init(config), disk/config.run_id) == [f'Resumed after epoch 0 from {PREVIOUS}.']


KILLED_WHILE_WRITING = '''
import sys, os, signal
from pathlib import Path
from dcgan_nb.foundations.core import write_file
os.fsync = lambda f: os.kill(os.getpid(), signal.SIGKILL)
write_file(Path(sys.argv[1]), b'new'*1000)
'''


@pytest.mark.fault('Killed while a file is being written', 'The file has its old content, whole')
def test_a_kill_while_writing_leaves_the_old_file(tmp_path):
    write_file(tmp_path/'file', 'old')
    killed = subprocess.run([sys.executable, '-c', KILLED_WHILE_WRITING, tmp_path/'file'], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL and (tmp_path/'file').read_text() == 'old'


def cut(content): return content[:len(content) // 2]
def flip(content): return content[:-1000] + bytes([content[-1000] ^ 1]) + content[-999:]
def empty(content): return b''


@pytest.fixture
def two_checkpoints(tmp_path):
    gan = init(RunConfig.resolve(**SMALL))
    for _ in range(2):
        gan.history.append(train_epoch(gan, tiny_data(50, size=28)))
        save_checkpoint(gan, tmp_path)
    return gan.config, tmp_path


DAMAGES = [pytest.param(damage, id=damage.__name__, marks=pytest.mark.fault(f'The newest checkpoint {what}', 'It is named, and the one before is used'))
           for damage, what in ((cut, 'is cut off in the middle'), (flip, 'has one flipped bit'), (empty, 'is empty'))]


@pytest.mark.parametrize('damage', DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(damage, two_checkpoints):
    config, folder = two_checkpoints
    (folder/NEWEST).write_bytes(damage((folder/NEWEST).read_bytes()))
    gan = init(config)
    said = resume(gan, folder)
    assert len(said) == 2 and said[0].startswith(f'{NEWEST} is damaged') and said[1] == f'Resumed after epoch 1 from {PREVIOUS}.'
    assert len(gan.history) == 1 and gan.resumed == [1]


@pytest.mark.fault('Both checkpoints are damaged', 'Both are named, and the run starts anew and says so')
def test_two_damaged_checkpoints_mean_a_new_start_and_untouched_weights(two_checkpoints):
    config, folder = two_checkpoints
    for name in NEWEST, PREVIOUS: (folder/name).write_bytes(flip((folder/name).read_bytes()))
    gan = init(config)
    said = resume(gan, folder)
    assert [s.split()[0] for s in said[:2]] == [NEWEST, PREVIOUS] and said[2] == 'No checkpoint could be read: the run starts anew.'
    assert generator_bytes(gan.G) == generator_bytes(init(config).G) and gan.history == []


EVIL = 'import os, pickle\nclass Evil:\n    def __reduce__(self): return (os.system, ("touch {}",))\n'


@pytest.mark.fault('A pickle that runs code, in place of a checkpoint', 'Refused without running it, with or without a matching checksum')
@pytest.mark.parametrize('signed', [False, True])
def test_a_malicious_checkpoint_is_refused(signed, two_checkpoints, tmp_path):
    import hashlib
    config, folder = two_checkpoints
    space = {}
    exec(EVIL.format(tmp_path/'pwned'), space)
    evil = space['pickle'].dumps(space['Evil'](), protocol=2)
    (folder/NEWEST).write_bytes(hashlib.sha256(evil).digest()*signed + evil)
    said = resume(init(config), folder)
    assert NEWEST in said[0] and said[1].startswith('Resumed after epoch 1') and not (tmp_path/'pwned').exists()
    space['pickle'].loads(evil)
    assert (tmp_path/'pwned').exists(), 'the pickle is as malicious as it claims to be'


@pytest.mark.fault('A parameter that is code, or a path out of the run folder', 'Refused as an unknown name; nothing is run or written')
@pytest.mark.parametrize('parameter', [('loss', "bce'); open('pwned', 'w'); ('"), ('dataset', '../../pwned'), ('arch', '{x}; import os'), ('seed', '1; open("pwned", "w")'), ('recipe', '$(touch pwned)')])
def test_parameters_cannot_carry_code(parameter, tmp_path):
    with pytest.raises(InputError, match=f'{parameter[0]}='): RunConfig.resolve(profile='smoke', runs_dir=str(tmp_path), **dict([parameter]))
    if parameter[0] != 'loss': return
    process = papermill(tmp_path/'out.ipynb', *PARAMETERS, '-p', 'runs_dir', tmp_path/'runs', '-p', *parameter)
    said, _ = process.communicate()
    assert process.returncode != 0 and 'is not known' in said and not (ROOT/'pwned').exists() and not (tmp_path/'runs').exists()


@pytest.mark.fault('A kernel that never starts', 'Papermill gives up after its start timeout and exits with an error; no run folder is made')
def test_a_kernel_that_never_starts(tmp_path):
    spec = tmp_path/'kernels'/'asleep'
    spec.mkdir(parents=True)
    (spec/'kernel.json').write_text(json.dumps(dict(argv=[sys.executable, '-c', 'import time; time.sleep(600)', '{connection_file}'], display_name='asleep', language='python')))
    process = subprocess.run([BIN/'papermill', 'nbs/train.ipynb', tmp_path/'out.ipynb', '-k', 'asleep', '--start-timeout', '3', '--no-progress-bar', *PARAMETERS, '-p', 'runs_dir', tmp_path/'runs'],
                             cwd=ROOT, env=os.environ | dict(JUPYTER_PATH=str(tmp_path)), capture_output=True, text=True, timeout=60)
    assert process.returncode != 0 and "Kernel didn't respond in 3 seconds" in process.stderr and not (tmp_path/'runs').exists()
    assert not [p for p in psutil.process_iter(['cmdline']) if 'time.sleep(600)' in ' '.join(p.info['cmdline'] or [])], 'it is not left behind'


@pytest.mark.fault('Five runs at once on one machine, as the workflow starts them', 'None is lost: no two kernels can choose the same port, because they have names in place of ports; the same run asked for twice is trained once')
def test_five_runs_at_once(warm, tmp_path):
    tiny = ['-p', 'profile', 'smoke', '-p', 'device', 'cpu', '-p', 'epochs', '1', '-p', 'g_width', '2', '-p', 'd_width', '2', '-p', 'n_eval', '50', '-p', 'metrics', 'fid', '-p', 'runs_dir', tmp_path/'runs']
    logs = [open(tmp_path/f'{i}.log', 'w') for i in range(5)]
    processes = [papermill(tmp_path/f'{i}.ipynb', *tiny, '-p', 'seed', i % 4, output=logs[i], program=EXECUTE, **warm) for i in range(5)]     # the first and the last are the same run
    failed = [Path(log.name).read_text()[-2000:] for p, log in zip(processes, logs) if p.wait() != 0]
    assert not failed, failed[0]
    assert sorted(r['config']['seed'] for r in read_records(tmp_path/'runs')) == list(range(4))
    assert not scan_records(tmp_path/'runs')[1]


def test_the_table_in_the_book_is_of_these_tests(request):
    "Run `make faults` after a change of the faults."
    listed = {f['test']: (f['fault'], f['outcome'], f['passed']) for f in json.loads((ROOT/'reports/faults.json').read_text())['faults']}
    for item in request.session.items:
        if mark := item.get_closest_marker('fault'): assert listed.get(item.nodeid) == (*mark.args, True), item.nodeid
    for test in listed: assert f"def {test.split('::')[1].split('[')[0]}(" in (ROOT/test.split('::')[0]).read_text(), test
