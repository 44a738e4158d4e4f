"What endures: faults in the middle of a run, each in a process of its own, and the programme that kills at random moments."
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, timeless

sys.path.insert(0, str(ROOT/'workflow'))
import endurance  # noqa: E402
from endurance import read_trials  # noqa: E402

from dcgan_nb.foundations import core  # noqa: E402
from dcgan_nb.foundations.core import write_file  # noqa: E402
from dcgan_nb.runs import checkpoint  # noqa: E402
from dcgan_nb.runs.checkpoint import NEWEST, PREVIOUS, is_running, lock_run, unlock_run  # noqa: E402
from dcgan_nb.runs.config import RunConfig  # noqa: E402
from dcgan_nb.runs.records import read_record, read_records, why_unfinished  # noqa: E402

# A run that says each line at once, after what `prelude` does to its process.
RUN = '''
import sys, json
{prelude}
from dcgan_nb.runs.config import RunConfig
from dcgan_nb.runs.run import run
run(RunConfig.resolve(**json.loads(sys.argv[1])), lambda line: print(line, flush=True))
'''


def start(given, prelude='', **more):
    return subprocess.Popen([sys.executable, '-c', RUN.format(prelude=prelude), json.dumps(given)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            env=os.environ | dict(OMP_NUM_THREADS='1'), **more)


def until(process, beginning):
    "Read what it says up to a line."
    heard = []
    for line in process.stdout:
        heard.append(line)
        if line.startswith(beginning): return heard
    raise AssertionError(''.join(heard))


def given(folder, **more): return endurance.SMALL | dict(seed=int.from_bytes(os.urandom(3), 'big'), runs_dir=str(folder)) | more
def folder_of(given): return RunConfig.resolve(**given).run_dir


def result(folder):
    record = read_record(folder)
    return (folder/'generator.safetensors').read_bytes(), timeless(record['history']), record['metrics'], record['d_scores']


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    "What to run, and its result if nothing disturbs it."
    run = given(tmp_path_factory.mktemp('whole'))
    process = start(run)
    heard, _ = process.communicate()
    assert process.returncode == 0, heard
    return run, result(folder_of(run))


@pytest.mark.fault('A run is stopped for a while (SIGSTOP) and goes on (SIGCONT)', 'Meanwhile it counts as at work, and a second process waits for it; it ends with the same bits, trained once')
def test_a_run_that_is_stopped_for_a_while(whole, tmp_path):
    run = whole[0] | dict(runs_dir=str(tmp_path))
    first = start(run)
    until(first, 'epoch 1/')
    first.send_signal(signal.SIGSTOP)
    second = start(run)
    assert 'is at work on this run: waiting until it ends' in until(second, f'process {first.pid} on ')[-1]
    assert is_running(folder_of(run)) and why_unfinished(folder_of(run)) == 'at work' and not read_records(tmp_path)
    first.send_signal(signal.SIGCONT)
    heard, _ = first.communicate()
    assert first.returncode == 0, heard
    again, _ = second.communicate()
    assert second.returncode == 0 and 'Resumed' not in again
    assert result(folder_of(run)) == whole[1] and read_record(folder_of(run))['resumed'] == []


NO_LOCKS = '''
import errno, fcntl, os
def flock(*args): raise OSError(errno.{name}, os.strerror(errno.{name}))
fcntl.flock = flock
'''


@pytest.mark.fault('A file system without locks', 'The run says so, once, and goes on; it ends with the same bits')
@pytest.mark.parametrize('name', ['ENOLCK', 'EOPNOTSUPP'])
def test_a_file_system_without_locks(name, whole, tmp_path):
    run = whole[0] | dict(runs_dir=str(tmp_path))
    process = start(run, NO_LOCKS.format(name=name))
    heard, _ = process.communicate()
    assert process.returncode == 0, heard
    assert heard.count(f'cannot be locked ({os.strerror(getattr(errno, name))}): nothing keeps a second process from working on this run.') == 1
    assert result(folder_of(run)) == whole[1]


def test_an_interruption_while_a_lock_is_taken_is_no_file_system_without_locks(monkeypatch, tmp_path):
    heard = []
    def interrupted(*args): raise KeyboardInterrupt
    monkeypatch.setattr(checkpoint.fcntl, 'flock', interrupted)
    with pytest.raises(KeyboardInterrupt): lock_run(tmp_path/'run', heard.append)
    assert not heard
    unlock_run(tmp_path/'run')


CLOCK_BACK = '''
import time
there, began = time.time, time.time()
time.time = lambda: there() - (0 if there() - began < 1 else 400*24*3600)
'''


@pytest.mark.fault('The clock is set back by a year during a run, and its files are dated in the future', 'Asked for again, it goes on from the newest checkpoint, which is known by its name; the same bits, no negative time')
def test_a_clock_that_is_set_back(whole, tmp_path):
    run = whole[0] | dict(runs_dir=str(tmp_path))
    folder, process = folder_of(run), start(run, CLOCK_BACK)
    until(process, 'epoch 3/')
    process.kill()
    process.communicate()
    future = time.time() + 400*24*3600
    os.utime(folder/PREVIOUS, (future, future))              # by its date it would be the newer one
    process = start(run, CLOCK_BACK)
    heard, _ = process.communicate()
    assert process.returncode == 0 and f'from {NEWEST}' in heard, heard
    assert result(folder) == whole[1]
    record = read_record(folder)
    assert all(seconds >= 0 for seconds in record['timings_s'].values()) and all(h['seconds'] >= 0 for h in record['history'])


@pytest.fixture
def broken(tmp_path):
    "A small disk, and what breaks and mends a folder on it: read-only, or full."
    disk = tmp_path/'disk'
    disk.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=20m', 'tmpfs', disk], capture_output=True).returncode: pytest.skip('no small disk can be mounted here')
    def fill(folder): (disk/'filler').write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize))
    def protect(folder):
        if subprocess.run(['chattr', '+i', folder], capture_output=True).returncode: pytest.skip('root can write here whatever is forbidden')
    yield disk, dict(full=(fill, lambda folder: (disk/'filler').unlink()), protected=(protect, lambda folder: subprocess.run(['chattr', '-i', folder], check=True)))
    subprocess.run(['umount', '-l', disk], check=True)


# Waits after an epoch's line, before its checkpoint, until it is told to go on.
STEP = '''
import dcgan_nb.runs.run as running
line_of, n = running.epoch_line, []
def epoch_line(*args):
    n.append(0)
    if len(n) == 2: print('waits', flush=True); sys.stdin.readline()
    return line_of(*args)
running.epoch_line = epoch_line
'''


@pytest.mark.fault('The run folder cannot be written any more, or its disk is full, in the middle of a run', 'One clear error, no record; when it can be written again, the run goes on from its checkpoint, the same bits')
@pytest.mark.parametrize('fault, reason', [('protected', 'Operation not permitted'), ('full', 'No space left on device')])
def test_a_folder_that_cannot_be_written_any_more(fault, reason, broken, whole):
    disk, ways = broken
    run = whole[0] | dict(runs_dir=str(disk))
    folder, (breaks, mends) = folder_of(run), ways[fault]
    process = start(run, STEP, stdin=subprocess.PIPE)
    until(process, 'waits')
    breaks(folder)
    try: heard, _ = process.communicate('\n')
    finally: mends(folder)
    assert process.returncode != 0 and f'{NEWEST} could not be written: {reason}. What was there before is unchanged.' in heard, heard
    assert not (folder/'record.json').exists() and not list(folder.glob('.*.part'))
    assert 'asked for again, the run goes on from its checkpoint' in why_unfinished(folder) or why_unfinished(folder).startswith('failed: InputError')
    again = start(run)
    heard, _ = again.communicate()
    assert again.returncode == 0 and 'Resumed after epoch 1' in heard, heard
    assert result(folder) == whole[1]


# The power goes: what was not flushed is lost.

class Disk:
    """What would be on a disk that keeps nothing longer in memory than it must: of a file the bytes that were flushed, of a folder the names at
    its last flush, and of those that changed since then any."""
    def __init__(self, monkeypatch, folder):
        self.folder, self.flushed, self.states = folder, {}, []         # inode → bytes
        self.sync, self.replace, self.unlink = os.fsync, os.replace, Path.unlink
        monkeypatch.setattr(os, 'fsync', self.on_fsync)
        monkeypatch.setattr(os, 'replace', self.on_change(os.replace))
        monkeypatch.setattr(Path, 'replace', self.on_change(Path.replace))
        monkeypatch.setattr(Path, 'unlink', self.on_change(Path.unlink))
        self.names = self.now()

    def now(self): return {p.name: p.stat().st_ino for p in self.folder.iterdir()}

    def on_fsync(self, opened):
        self.sync(opened)
        if os.path.isdir(f'/proc/self/fd/{opened}'): self.names = self.now()
        else: self.flushed[os.fstat(opened).st_ino] = Path(f'/proc/self/fd/{opened}').read_bytes()
        self.look()

    def on_change(self, change):
        def changed(*args, **given):
            done = change(*args, **given)
            self.look()
            return done
        return changed

    def look(self):
        "The two extremes: none of the names that changed since the last flush is there as it is now, or all are."
        for names in (self.names, self.now()): self.states.append({name: self.flushed.get(inode, b'') for name, inode in names.items()})


def flushes_no_folder(monkeypatch): monkeypatch.setattr(core, '_flush_folder', lambda folder: None)


def power_cuts(monkeypatch, folder):
    "What may lie in the folder if the power goes while three files are written one after the other, and when they are."
    folder.mkdir()
    disk = Disk(monkeypatch, folder)
    for name in ('images', 'images', 'record'): write_file(folder/name, f'{name} {len(disk.states)}')
    return disk.states, {name: disk.flushed.get(inode, b'') for name, inode in disk.names.items()}


@pytest.mark.fault('The power goes while files are written one after the other, and whatever was not flushed to the disk is lost', 'Every file has its old or its new content, whole; a record is never there without what was written before it')
def test_a_power_cut_leaves_whole_files_in_their_order(monkeypatch, tmp_path):
    states, at_last = power_cuts(monkeypatch, tmp_path/'folder')
    assert len(states) > 10
    for state in states:
        assert all(content for name, content in state.items() if not name.startswith('.')), state
        assert 'images' in state or 'record' not in state
    assert at_last.keys() == {'images', 'record'}, 'what was written is there'


def test_a_power_cut_without_a_flush_of_the_folder_is_seen(monkeypatch, tmp_path):
    flushes_no_folder(monkeypatch)
    assert 'record' not in power_cuts(monkeypatch, tmp_path/'folder')[1]


def test_a_power_cut_without_a_flush_of_the_file_is_seen(monkeypatch, tmp_path):
    (tmp_path/'folder').mkdir()
    disk = Disk(monkeypatch, tmp_path/'folder')
    (tmp_path/'folder/.part').write_text('new')
    os.replace(tmp_path/'folder/.part', tmp_path/'folder/file')
    assert disk.states[-1] == {'file': b''}


SCARCE = '''
import resource
import dcgan_nb.runs.run as running
line_of = running.epoch_line
def epoch_line(entry, n):
    if entry['epoch'] == 2:
        used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used, used))
        bytearray(10**9)
    return line_of(entry, n)
running.epoch_line = epoch_line
'''


@pytest.mark.fault('One of several runs gets no more memory', 'It alone fails, and says why; the others end as ever, and asked for again it goes on, bit for bit')
def test_one_of_several_runs_has_no_memory(whole, tmp_path):
    run = whole[0] | dict(runs_dir=str(tmp_path))
    other = run | dict(seed=run['seed'] + 1)
    processes = [start(run, SCARCE), start(other)]
    heard = [p.communicate()[0] for p in processes]
    assert [p.returncode != 0 for p in processes] == [True, False], heard
    assert why_unfinished(folder_of(run)).startswith('failed: MemoryError') and [r['config']['seed'] for r in read_records(tmp_path)] == [other['seed']]
    again = start(run)
    assert 'Resumed after epoch' in again.communicate()[0] and result(folder_of(run)) == whole[1]


# The programme itself

def program(*arguments, prelude=''):
    code = f"import sys; sys.path.insert(0, 'workflow')\nimport endurance\n{prelude}\nsys.exit(endurance.main(sys.argv[1:]))"
    return subprocess.run([sys.executable, '-c', code, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, env=os.environ | dict(OMP_NUM_THREADS='1'))


def test_trials_go_on_where_they_were_stopped(tmp_path):
    done = program('--n', 2, '--kind', 'dcgan', '--reports', tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    with open(tmp_path/'endurance.jsonl', 'a') as log: log.write('{"kind": "dcg')         # it was killed itself
    more = program('--n', 3, '--kind', 'dcgan', '--reports', tmp_path)
    assert more.returncode == 0 and more.stdout.startswith('3/3  dcgan  killed at ') and '3 of 3 survived' in more.stdout
    trials, report = read_trials(tmp_path/'endurance.jsonl'), json.loads((tmp_path/'endurance.json').read_text())
    assert len(trials) == 3 == report['kinds']['dcgan']['tried'] == report['kinds']['dcgan']['survived'] and all(0 <= t['share'] <= 1 for t in trials)
    assert all(phase in endurance.PHASES and survived for _, phase, survived in report['kinds']['dcgan']['kills'])


# Two known-wrong libraries: one takes up other weights than it has put down, the other never tidies up.
WRONG = dict(forgetful=("inner = endurance.running.resume\ndef resume(gan, folder):\n    said = inner(gan, folder)\n    if said: next(gan.G.parameters()).data.add_(1e-3)\n    return said\nendurance.running.resume = resume", 8, 'ended differently'),
             untidy=("endurance.running.remove_checkpoints = lambda folder: None", 1, 'left behind: checkpoint'))


@pytest.mark.parametrize('wrong', WRONG)
def test_a_library_that_loses_something_is_found_out(wrong, tmp_path):
    prelude, n, expected = WRONG[wrong]
    done = program('--n', n, '--kind', 'dcgan', '--reports', tmp_path, prelude=prelude)
    assert done.returncode == 1 and expected in done.stdout, done.stdout + done.stderr


def test_a_run_that_was_killed_while_it_cleared_up_is_cleared_when_it_is_asked_for_again(whole, tmp_path):
    run = whole[0] | dict(runs_dir=str(tmp_path))
    folder = folder_of(run)
    killed = start(run, "import os, signal\nimport dcgan_nb.runs.run as running\nrunning.remove_checkpoints = lambda folder: os.kill(os.getpid(), signal.SIGKILL)")
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL and (folder/'record.json').exists() and (folder/NEWEST).exists()
    again = start(run)
    again.communicate()
    assert again.returncode == 0 and not list(folder.glob('*.pt')) and result(folder) == whole[1]


@pytest.mark.parametrize('arguments, answer', [(['--kind', 'dcgna'], "Did you mean 'dcgan'?"), (['--n', '0'], '1 or more')])
def test_what_the_programme_is_asked(arguments, answer, tmp_path, capsys):
    with pytest.raises(SystemExit): endurance.main([*arguments, '--reports', str(tmp_path)])
    assert answer in capsys.readouterr().err and not list(tmp_path.iterdir())
