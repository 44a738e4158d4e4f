"What endures: faults in the middle of a run, each in a process of its own, and the programme that kills at random moments."
import errno
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, Forked

sys.path.insert(0, str(ROOT/'workflow'))
import endurance  # noqa: E402
from endurance import outcome, read_trials  # noqa: E402

from dcgan_nb.foundations import core  # noqa: E402
from dcgan_nb.foundations.core import write_file  # noqa: E402
from dcgan_nb.runs import checkpoint  # noqa: E402
from dcgan_nb.runs import run as running  # noqa: E402
from dcgan_nb.runs.checkpoint import NEWEST, PREVIOUS, is_running, lock_run, unlock_run  # noqa: E402
from dcgan_nb.runs.config import RunConfig  # noqa: E402
from dcgan_nb.runs.records import read_record, read_records, why_unfinished  # noqa: E402


def start(given, prelude=lambda say: None):
    "A run that says each line, in a process of its own, after what `prelude` does to that process."
    def do(say):
        prelude(say)
        running.run(RunConfig.resolve(**given), say)
    return Forked(do)


def given(folder, **more): return endurance.SMALL | dict(seed=int.from_bytes(os.urandom(3), 'big'), runs_dir=str(folder)) | more
def folder_of(given): return RunConfig.resolve(**given).run_dir


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    "What to run, and its result if nothing disturbs it."
    run = given(tmp_path_factory.mktemp('whole'))
    process = start(run)
    heard = process.communicate()
    assert process.returncode == 0, heard
    return run, outcome(folder_of(run))


@pytest.mark.fault('A run is stopped for a while (SIGSTOP) and goes on (SIGCONT)', 'Meanwhile it counts as at work, and a second process waits for it; it ends with the same bits, trained once')
def test_a_run_that_is_stopped_for_a_while(whole, tmp_path):
    run = whole[0] | dict(runs_dir=str(tmp_path))
    first = start(run)
    first.until('epoch 1/')
    first.send_signal(signal.SIGSTOP)
    second = start(run)
    assert 'is at work on this run: waiting until it ends' in second.until(f'process {first.pid} on ')[-1]
    assert is_running(folder_of(run)) and why_unfinished(folder_of(run)) == 'at work' and not read_records(tmp_path)
    first.send_signal(signal.SIGCONT)
    heard = first.communicate()
    assert first.returncode == 0, heard
    again = second.communicate()
    assert second.returncode == 0 and 'Resumed' not in again
    assert outcome(folder_of(run)) == whole[1] and read_record(folder_of(run))['resumed'] == []


@pytest.mark.fault('A file system without locks', 'The run says so, once, and goes on; it ends with the same bits')
@pytest.mark.parametrize('name', ['ENOLCK', 'EOPNOTSUPP'])
def test_a_file_system_without_locks(name, whole, tmp_path):
    run = whole[0] | dict(runs_dir=str(tmp_path))
    def without_locks(say):
        def flock(*args): raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)))
        checkpoint.fcntl.flock = flock
    process = start(run, without_locks)
    heard = process.communicate()
    assert process.returncode == 0, heard
    assert heard.count(f'cannot be locked ({os.strerror(getattr(errno, name))}): nothing keeps a second process from working on this run.') == 1
    assert outcome(folder_of(run)) == whole[1]


def test_an_interruption_while_a_lock_is_taken_is_no_file_system_without_locks(monkeypatch, tmp_path):
    heard = []
    def interrupted(*args): raise KeyboardInterrupt
    monkeypatch.setattr(checkpoint.fcntl, 'flock', interrupted)
    with pytest.raises(KeyboardInterrupt): lock_run(tmp_path/'run', heard.append)
    assert not heard
    unlock_run(tmp_path/'run')


def clock_back(say):
    there, began = time.time, time.time()
    time.time = lambda: there() - (0 if there() - began < 0.3 else 400*24*3600)


@pytest.mark.fault('The clock is set back by a year during a run, and its files are dated in the future', 'Asked for again, it goes on from the newest checkpoint, which is known by its name; the same bits, no negative time')
def test_a_clock_that_is_set_back(whole, tmp_path):
    run = whole[0] | dict(runs_dir=str(tmp_path))
    folder, process = folder_of(run), start(run, clock_back)
    process.until('epoch 3/')
    process.send_signal(signal.SIGKILL)
    process.communicate()
    newest = NEWEST if (folder/NEWEST).is_file() else PREVIOUS      # killed just when the one had become the other
    future = time.time() + 400*24*3600
    os.utime(folder/PREVIOUS, (future, future))              # by its date it would be the newer one
    process = start(run, clock_back)
    heard = process.communicate()
    assert process.returncode == 0 and f'from {newest}' in heard, heard
    assert outcome(folder) == whole[1]
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


def waits(say):
    "After the second epoch's line, before its checkpoint, until it is told to go on."
    line_of, n = running.epoch_line, []
    def epoch_line(*args):
        n.append(0)
        if len(n) == 2:
            say('waits')
            os.read(0, 1)
        return line_of(*args)
    running.epoch_line = epoch_line


@pytest.mark.fault('The run folder cannot be written any more, or its disk is full, in the middle of a run', 'One clear error, no record; when it can be written again, the run goes on from its checkpoint, the same bits')
@pytest.mark.parametrize('fault, reason', [('protected', 'Operation not permitted'), ('full', 'No space left on device')])
def test_a_folder_that_cannot_be_written_any_more(fault, reason, broken, whole):
    disk, ways = broken
    run = whole[0] | dict(runs_dir=str(disk))
    folder, (breaks, mends) = folder_of(run), ways[fault]
    process = start(run, waits)
    process.until('waits')
    breaks(folder)
    try: heard = process.communicate('\n')
    finally: mends(folder)
    assert process.returncode != 0 and f'{NEWEST} could not be written: {reason}. What was there before is unchanged.' in heard, heard
    assert not (folder/'record.json').exists() and not list(folder.glob('.*.part'))
    assert 'asked for again, the run goes on from its checkpoint' in why_unfinished(folder) or why_unfinished(folder).startswith('failed: InputError')
    again = start(run)
    heard = again.communicate()
    assert again.returncode == 0 and 'Resumed after epoch 1' in heard, heard
    assert outcome(folder) == whole[1]


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


def scarce(say):
    line_of = running.epoch_line
    def epoch_line(entry, n):
        if entry['epoch'] == 2:
            used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used, used))
            bytearray(10**9)
        return line_of(entry, n)
    running.epoch_line = epoch_line


@pytest.mark.fault('One of several runs gets no more memory', 'It alone fails, and says why; the others end as ever, and asked for again it goes on, bit for bit')
def test_one_of_several_runs_has_no_memory(whole, tmp_path):
    run = whole[0] | dict(runs_dir=str(tmp_path))
    other = run | dict(seed=run['seed'] + 1)
    processes = [start(run, scarce), start(other)]
    heard = [p.communicate() for p in processes]
    assert [p.returncode != 0 for p in processes] == [True, False], heard
    assert why_unfinished(folder_of(run)).startswith('failed: MemoryError') and [r['config']['seed'] for r in read_records(tmp_path)] == [other['seed']]
    again = start(run)
    assert 'Resumed after epoch' in again.communicate() and outcome(folder_of(run)) == whole[1]


# The programme itself

@pytest.fixture
def programme(monkeypatch, capsys, tmp_path):
    "Try something, in runs that are shorter than those of `make endurance`; what it says, and its exit code."
    monkeypatch.setattr(endurance, 'SMALL', endurance.SMALL | dict(epochs=3, metrics='fid'))
    def trials(*arguments):
        code = endurance.main([*map(str, arguments), '--kind', 'dcgan', '--reports', str(tmp_path)])
        return capsys.readouterr().out, code
    return trials


def test_trials_go_on_where_they_were_stopped(programme, tmp_path):
    said, code = programme('--n', 1)
    assert code == 0, said
    with open(tmp_path/'endurance.jsonl', 'a') as log: log.write('{"kind": "dcg')         # it was killed itself
    more, code = programme('--n', 2)
    assert code == 0 and '2/2  dcgan  killed at ' in more and '2 of 2 survived' in more
    trials, report = read_trials(tmp_path/'endurance.jsonl'), json.loads((tmp_path/'endurance.json').read_text())
    assert len(trials) == 2 == report['kinds']['dcgan']['tried'] == report['kinds']['dcgan']['survived']
    assert all(phase in endurance.PHASES and survived for _, phase, survived in report['kinds']['dcgan']['kills'])


# Known-wrong libraries: one takes up other weights than it has put down, one never tidies up, one fails by itself.

def forgetful(monkeypatch):
    inner = running.resume
    def resume(gan, folder):
        said = inner(gan, folder)
        if said: next(gan.G.parameters()).data.add_(1e-3)
        return said
    monkeypatch.setattr(running, 'resume', resume)
    def kill_late(self, child, board):
        while endurance.PHASES[board.read()[1]] != 'evaluation': time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
        assert endurance.ended(child) == -signal.SIGKILL
        return endurance.Moment(0.9, 'evaluation')
    monkeypatch.setattr(endurance.Training, 'kill', kill_late)


def untidy(monkeypatch): monkeypatch.setattr(running, 'remove_checkpoints', lambda folder: None)


def failing(monkeypatch):
    def save_record(*args, **given): raise OSError('by itself')
    calm = endurance.Training.undisturbed
    def undisturbed(self, folder):
        found = calm(self, folder)
        monkeypatch.setattr(running, 'save_record', save_record)
        return found
    monkeypatch.setattr(endurance.Training, 'undisturbed', undisturbed)


@pytest.mark.sample(1)
@pytest.mark.parametrize('wrong, expected', [(forgetful, 'ended differently'), (untidy, r'left behind: .*checkpoint'), (failing, 'it ended with 1')])
def test_a_library_that_loses_something_is_found_out(wrong, expected, programme, monkeypatch):
    wrong(monkeypatch)
    said, code = programme('--n', 1)
    assert code == 1 and re.search(expected, said), said


def test_a_run_that_was_killed_while_it_cleared_up_is_cleared_when_it_is_asked_for_again(whole, tmp_path):
    run = whole[0] | dict(runs_dir=str(tmp_path))
    folder = folder_of(run)
    def dies(say): running.remove_checkpoints = lambda folder: os.kill(os.getpid(), signal.SIGKILL)
    killed = start(run, dies)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL and (folder/'record.json').exists() and (folder/NEWEST).exists()
    again = start(run)
    again.communicate()
    assert again.returncode == 0 and not list(folder.glob('*.pt')) and outcome(folder) == whole[1]


@pytest.mark.parametrize('arguments, answer', [(['--kind', 'dcgna'], "kind='dcgna' is not known. Did you mean 'dcgan'?"), (['--kind', ''], "kind='' names none."), (['--n', '0'], "n='0' is not a whole number from 1 on")])
def test_what_the_programme_is_asked(arguments, answer, tmp_path):
    with pytest.raises(core.InputError, match=re.escape(answer)): endurance.main([*arguments, '--reports', str(tmp_path)])
    assert not list(tmp_path.iterdir())
