"""Kills at random moments, and what is left: `endurance.py [--n 100] [--kind NAMES] [--reports reports]`, or `make endurance N=100`.

A trial starts something, kills it (SIGKILL, with everything that it started) at a random moment, looks at what lies there, and asks for the same again.
It is survived if nothing half-done looked finished, and the end is that of a trial that nobody disturbed, bit for bit. Every trial is a line of
endurance.jsonl; called again, the programme goes on until N trials of the present code are there. Their summary is endurance.json, which the book shows.
"""
import argparse
import hashlib
import json
import mmap
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import dcgan_nb.runs.checkpoint as checkpoint                       # noqa: E402
import dcgan_nb.runs.run as running                                 # noqa: E402
from dcgan_nb.foundations.core import InputError, Registry, load_projects, write_file   # noqa: E402
from dcgan_nb.runs.config import RunConfig                          # noqa: E402
from dcgan_nb.runs.records import code_version, environment, read_record, scan_records   # noqa: E402
from dcgan_nb.study.commands import OPTIONS                         # noqa: E402

SMALL = dict(profile='smoke', device='cpu', epochs=4, g_width=4, d_width=4, batch_size=50, n_eval=60, metrics='fid is')
RUNS = dict(dcgan={}, penalty=dict(arch='resnet', loss='rpgan', penalty='r1r2', penalty_every=2, lr_decay='cosine', d_options='minibatch_std=True'),
            conditional=dict(arch='cdcgan', conditional=True), average=dict(ema=0.9, d_dropout=0.3, augment='cutout'), progressive=dict(arch='progressive'),
            ladder=dict(rungs=2, d_steps=2))
TITLES = dict(dcgan='A DCGAN, loss bce', penalty='Residual networks, relativistic loss, penalties', conditional='A conditional GAN', average='Averaged weights, dropout, augmentation',
              progressive='A progressive GAN', ladder='A run that is scored on its way', papermill='The same run, by papermill', page='A page of the book: executed, made HTML',
              workflow='A page, by Snakemake', export='make export', crowd='24 runs at once on 2 cores, four of them asked for twice')
SHARE = dict(papermill=1, page=1, workflow=1, export=1)      # how often a kind is drawn; a run of the list above: three times
PHASES = 'starting', 'training', 'checkpoint', 'evaluation', 'outputs', 'record', 'clearing'
MARKED = [(running, 'train', 'training'), (checkpoint, 'save_checkpoint', 'checkpoint'), (running, 'judged', 'evaluation'), (running, 'scores_of', 'evaluation'),
          (running, 'save_outputs', 'outputs'), (running, 'save_record', 'record'), (running, 'remove_checkpoints', 'clearing')]


# What a run is doing, in memory that it shares with who will kill it: how often that has changed, and what it is.

class Board:
    def __init__(self): self.memory, self.log = mmap.mmap(-1, 16), None
    def read(self) -> tuple[int, int]: return struct.unpack('qq', self.memory[:])

    def enter(self, phase:int) -> None:
        self.memory[:] = struct.pack('qq', self.read()[0] + 1, phase)
        if self.log is not None: self.log.append((time.perf_counter(), phase))

    def mark(self, module, name:str, phase:str) -> None:
        "Have a function say when it begins and ends."
        inner = getattr(module, name)
        def marked(*args, **given):
            before = self.read()[1]
            self.enter(PHASES.index(phase))
            try: return inner(*args, **given)
            finally: self.enter(before)
        setattr(module, name, marked)


def fork(do:Callable[[], None]) -> int:
    "A process of its own that has all modules already; its id. It says nothing."
    if child := os.fork(): return child
    code = 1
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1), os.dup2(silence, 2)
        do()
        code = 0
    finally: os._exit(code)


def ended(child:int) -> int:
    "The exit code of a forked process; negative: the signal that ended it."
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def timeless(history:list[dict]) -> list[dict]: return [{k: v for k, v in h.items() if k != 'seconds'} for h in history]


def outcome(folder:Path) -> tuple:
    "All of a run that must not depend on interruptions."
    record = read_record(folder)
    return (folder/'generator.safetensors').read_bytes(), timeless(record['history']), record['metrics'], record['d_scores'], (folder/'samples.png').read_bytes()


@dataclass
class Moment:
    "When something was killed: at which share of the time that it takes undisturbed, and what it was doing."
    share: float
    phase: str


class Crashed(Exception):
    "What ended by itself, and not well."


class Training:
    "One kind of run, each in a forked process."
    def __init__(self, kind:str, folder:Path, rng:random.Random):
        self.given, self.rng = SMALL | RUNS[kind] | dict(seed=rng.randrange(2**31)), rng
        self.expected, self.log = self.undisturbed(folder)

    def config(self, folder): return RunConfig.resolve(**self.given, runs_dir=str(folder))

    def start(self, folder, board, log=None) -> int:
        def do():
            board.log = None if log is None else [(time.perf_counter(), 0)]
            for module, name, phase in MARKED: board.mark(module, name, phase)
            running.run(self.config(folder), None)
            if log is not None: log.write_text(json.dumps([*board.log, (time.perf_counter(), 0)]))
        return fork(do)

    def undisturbed(self, folder):
        if code := ended(self.start(folder/'whole', Board(), folder/'log.json')): raise SystemExit(f'the undisturbed run ended with {code}: {self.given}')
        return outcome(self.config(folder/'whole').run_dir), json.loads((folder/'log.json').read_text())

    def kill(self, child, board) -> Moment|None:
        "Every phase is as likely as any other, however short it is; None: it was over before that."
        start, end = self.log[0][0], self.log[-1][0]
        parts = [(i, phase, t, self.log[i + 1][0]) for i, (t, phase) in enumerate(self.log[:-1])]
        wanted = self.rng.choice(sorted({phase for _, phase, *_ in parts}))
        i, _, begin, until = self.rng.choice([part for part in parts if part[1] == wanted])
        while board.read()[0] < i and not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT): time.sleep(0.0002)
        wait = self.rng.random() * (until - begin)
        time.sleep(wait)
        os.kill(child, signal.SIGSTOP)               # what it was doing when the signal came, not a moment later
        phase = PHASES[board.read()[1]]
        os.kill(child, signal.SIGKILL)
        code = ended(child)
        if code not in (0, -signal.SIGKILL): raise Crashed(f'before it was killed, it ended with {code}')
        return Moment((begin + wait - start) / (end - start), phase) if code else None

    def trial(self, folder) -> tuple[Moment|None, str]:
        board = Board()
        run_dir = self.config(folder).run_dir
        try: moment = self.kill(self.start(folder, board), board)
        except Crashed as problem: return Moment(1.0, ''), str(problem)
        if (run_dir/'record.json').exists() and outcome(run_dir) != self.expected: return moment, 'a record that was not finished'
        if code := ended(self.start(folder, Board())): return moment, f'asked for again, it ended with {code}'
        if outcome(run_dir) != self.expected: return moment, 'asked for again, it ended differently'
        if scan_records(folder)[1]: return moment, 'a folder that is no evidence'
        left = sorted(p.name for p in run_dir.iterdir() if p.name.endswith('.part') or p.name.startswith('checkpoint'))
        return moment, f"left behind: {', '.join(left)}" if left else ''


def kill_all(process:subprocess.Popen) -> None:
    "A process and everything that it has started."
    try: family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess: family = []
    for p in (psutil.Process(process.pid), *family):
        try: p.kill()
        except psutil.NoSuchProcess: pass
    process.wait()
    psutil.wait_procs(family, timeout=30)


class Command:
    "Something that is made by a command, and killed at a random moment of the time that it takes."
    def __init__(self, kind:str, folder:Path, rng:random.Random):
        self.rng, self.seed, began = rng, rng.randrange(2**31), None
        self.prepare(folder/'whole')
        began = time.monotonic()
        process = self.start(folder/'whole')
        said, _ = process.communicate()
        if process.returncode: raise SystemExit(f'undisturbed, {kind} ended with {process.returncode}: {said[-3000:]}')
        self.seconds, self.expected = time.monotonic() - began, self.result(folder/'whole')

    def prepare(self, folder): folder.mkdir(parents=True)
    def broken(self, folder) -> str: return ''
    def phase(self, folder) -> str: return ''

    def spawn(self, *command, cwd=ROOT):
        env = os.environ | dict(PATH=f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}', OMP_NUM_THREADS='1', PYTHONPATH=str(cwd))
        return subprocess.Popen([str(c) for c in command], cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, start_new_session=True)

    def trial(self, folder) -> tuple[Moment|None, str]:
        self.prepare(folder)
        share, process = self.rng.random(), self.start(folder)
        try: process.communicate(timeout=share * self.seconds)
        except subprocess.TimeoutExpired: moment = Moment(share, self.phase(folder))
        else: moment = None
        if moment: kill_all(process)
        elif process.returncode: return Moment(1.0, ''), f'before it was killed, it ended with {process.returncode}'
        if problem := self.broken(folder): return moment, problem
        process = self.start(folder)
        said, _ = process.communicate()
        if process.returncode: return moment, f'asked for again, it ended with {process.returncode}: {said.strip().splitlines()[-1][:200] if said.strip() else ""}'
        return moment, '' if self.result(folder) == self.expected else 'asked for again, it ended differently'


class Papermill(Command):
    def start(self, folder):
        given = SMALL | dict(seed=self.seed, runs_dir=folder)
        return self.spawn('bash', 'workflow/run.sh', folder/self.run_id, 'run', *(str(x) for k, v in given.items() for x in ('-p', k, v)))
    @property
    def run_id(self): return RunConfig.resolve(**SMALL, seed=self.seed).run_id
    def result(self, folder): return outcome(folder/self.run_id)
    def broken(self, folder): return 'a record that was not finished' if (folder/self.run_id/'record.json').exists() and self.result(folder) != self.expected else ''


def shown(notebook:Path) -> list:
    "What an executed notebook shows."
    return [(c['cell_type'], c['source'], c.get('outputs')) for c in json.loads(notebook.read_text())['cells'] if 'injected-parameters' not in c['metadata'].get('tags', [])]


class Page(Command):
    def start(self, folder): return self.spawn('dcgan-nb', 'page', 'A4', '--reports', folder)
    def page(self, folder): return next(folder.glob('page/*/_build/html/*.html'), None)
    def result(self, folder): return self.page(folder).read_text().replace(str(folder), '')


class Workflow(Command):
    def start(self, folder):
        return self.spawn('snakemake', '-s', 'workflow/Snakefile', '--nolock', '--rerun-incomplete', '--cores', '1', '-q', 'all', '--config', 'examples=published', f'reports={folder}', '--', f'{folder}/book/limits.ipynb')
    def result(self, folder): return [(kind, ''.join(source).replace(str(folder), '')) for kind, source, _ in shown(folder/'book/limits.ipynb')], [o for *_, o in shown(folder/'book/limits.ipynb')]


class Export(Command):
    "In a copy of the project whose notebooks an editor has left dirty, and whose modules are those of another time."
    def prepare(self, folder):
        self.source = folder.parent/'source'           # as it was when the trials began
        for name in ('nbs', 'dcgan_nb', 'workflow'):
            if not (self.source/name).exists(): shutil.copytree(ROOT/name, self.source/name, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints'))
        shutil.copytree(self.source, folder)
        for name in ('settings.ini', 'README.md', 'pyproject.toml', 'setup.py', 'Makefile', 'constraints.txt'): shutil.copy(ROOT/name, folder)
        (folder/'.venv').mkdir()
        (folder/'.venv/.ready').touch()
        for path in folder.glob('nbs/**/*.ipynb'):
            notebook = json.loads(path.read_text())
            for cell in notebook['cells']:
                if cell['cell_type'] == 'code': cell['execution_count'] = 7
            path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + '\n')
    def start(self, folder): return self.spawn('make', '-s', '-o', '.venv/.ready', 'export', cwd=folder)
    def result(self, folder): return {str(p.relative_to(folder)): p.read_bytes() for part in ('nbs/**/*.ipynb', 'dcgan_nb/**/*.py', 'README.md') for p in folder.glob(part)}
    def broken(self, folder):
        "The notebooks are the source: what is lost there comes back from nowhere."
        for path in sorted(folder.glob('nbs/**/*.ipynb')):
            try: cells = json.loads(path.read_text())['cells']
            except ValueError: return f'{path.relative_to(folder)} is cut off'
            if [c['source'] for c in cells] != [c['source'] for c in json.loads((self.source/path.relative_to(folder)).read_text())['cells']]: return f'{path.relative_to(folder)} has lost cells'
        return ''


class Crowd:
    "Many runs at once, some of them asked for twice: none may be lost, or trained twice."
    def __init__(self, kind, folder, rng): self.rng = rng

    def trial(self, folder):
        seeds = self.rng.sample(range(2**31), 20)
        asked, trained, cores = seeds + seeds[:4], folder/'trained', sorted(os.sched_getaffinity(0))[:2]
        trained.mkdir(parents=True)
        def train(seed):
            os.sched_setaffinity(0, cores)
            epochs = [0]
            def report(line): epochs[0] += line.startswith('epoch')
            one = running.Run(RunConfig.resolve(**SMALL | dict(seed=seed, epochs=2), runs_dir=str(folder/'runs')), report)
            known = one.open() is not None
            one.train()
            one.score()
            if not known: (trained/f'{seed}.{os.getpid()}').touch()
        children = [fork(lambda seed=seed: train(seed)) for seed in asked]
        codes = [ended(child) for child in children]
        if any(codes): return None, f'{sum(map(bool, codes))} of 24 ended with an error'
        found, unused = scan_records(folder/'runs')
        if sorted(r['config']['seed'] for r in found) != sorted(seeds) or unused: return None, f'{len(found)} records of 20'
        once = sorted(int(p.name.split('.')[0]) for p in trained.iterdir())
        return None, '' if once == sorted(seeds) else f'{len(once)} trainings of 20 runs'


KINDS = Registry('kind', **{kind: Training for kind in RUNS} | dict(papermill=Papermill, page=Page, workflow=Workflow, export=Export, crowd=Crowd))


# The trials and their summary

def code_hash() -> str:
    "Of all that trains, writes and goes on: trials of other code do not count."
    tried = 'dcgan_nb/**/*.py', 'nbs/**/*.ipynb', 'workflow/*', 'Makefile'
    paths = sorted(p for part in tried for p in ROOT.glob(part) if p.is_file() and '.ipynb_checkpoints' not in p.parts)
    return hashlib.sha256(b''.join(str(p.relative_to(ROOT)).encode() + p.read_bytes() for p in paths)).hexdigest()[:16]


def read_trials(log:Path) -> list[dict]:
    "All whole lines."
    if not log.exists(): return []
    def parsed(line):
        try: return json.loads(line)
        except ValueError: return None            # the last one, if the programme was killed itself
    return [t for t in map(parsed, log.read_text(encoding='utf-8').splitlines()) if t]


def append(log:Path, trial:dict) -> None:
    "One line in one write, on a line of its own even if the one before was cut off."
    with open(log, 'ab+') as file:
        cut = file.seek(0, 2) and (file.seek(-1, 2), file.read(1))[1] != b'\n'
        file.write(b'\n'*cut + json.dumps(trial, ensure_ascii=False).encode() + b'\n')
        file.flush()
        os.fsync(file.fileno())


def summary(trials:list[dict]) -> dict:
    "Of each kind, how many trials there were, how many were survived, and at which moments something was killed."
    kinds = {}
    for t in trials:
        kind = kinds.setdefault(t['kind'], dict(title=TITLES[t['kind']], tried=0, survived=0, seconds=0, kills=[], problems=[]))
        kind['tried'] += 1
        kind['survived'] += not t['problem']
        kind['seconds'] = round(kind['seconds'] + t['seconds'], 1)
        if t['share'] is not None: kind['kills'].append([round(t['share'], 4), t['phase'], not t['problem']])
        if t['problem']: kind['problems'].append(t['problem'])
    return dict(written=max(t['written'] for t in trials), commits=sorted({t['commit'] for t in trials if t['commit']}), code=trials[-1]['code'], machine={k: environment()[k] for k in ('cpu', 'n_cores', 'system', 'versions')},
                seconds=round(sum(t['seconds'] for t in trials), 1), kinds={k: kinds[k] for k in KINDS if k in kinds})


def said(report:dict) -> list[str]:
    "A line for each kind."
    rows = [(k['title'], f"{k['survived']} of {k['tried']} survived", *k['problems'][:1]) for k in report['kinds'].values()]
    width = max(len(r[0]) for r in rows)
    return [f'{title:{width}}  {" · ".join(rest)}' for title, *rest in rows]


def options(words:list[str]) -> argparse.Namespace:
    "What was asked for, checked."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument('--n', default='100', help='trials of the present code in all')
    parser.add_argument('--kind', default=' '.join(KINDS), help='only these, separated by spaces: ' + ', '.join(KINDS))
    parser.add_argument('--reports', default=str(ROOT/'reports'))
    parser.add_argument('--seed', type=int, default=None, help='of the moments; None: fresh ones')
    o = parser.parse_args(words)
    for name in 'n', 'reports': setattr(o, name, OPTIONS[name].check(name, getattr(o, name)))
    o.kind, o.reports = [kind for kind in o.kind.split() if KINDS[kind]], Path(o.reports)
    if not o.kind: raise InputError(f"kind='' names none. Known: {', '.join(KINDS)}.")
    return o


def main(argv=None) -> int:
    o = options(sys.argv[1:] if argv is None else argv)
    kinds = o.kind
    load_projects()
    o.reports.mkdir(parents=True, exist_ok=True)
    log, code, rng, made = o.reports/'endurance.jsonl', code_hash(), random.Random(o.seed), {}
    counted = lambda: [t for t in read_trials(log) if t['code'] == code]
    fair = {kind: SHARE.get(kind, 3) for kind in kinds if kind != 'crowd'}
    with tempfile.TemporaryDirectory(prefix='endurance-') as place:
        while len(done := [t for t in counted() if t['kind'] in kinds]) < o.n:
            tried = {kind: sum(t['kind'] == kind for t in done) for kind in kinds}
            crowded = 'crowd' in kinds and (not fair or not tried['crowd'] and len(done) >= o.n // 2)      # once, in the middle: it takes as long as many others
            kind = 'crowd' if crowded else min(fair, key=lambda k: (tried[k] + 1) / fair[k])
            if kind not in made: made[kind] = KINDS[kind](kind, Path(place)/kind, rng)
            folder, began = Path(place)/kind/str(len(done)), time.monotonic()
            moment, problem = made[kind].trial(folder)
            shutil.rmtree(folder, ignore_errors=True)
            if moment is None and kind != 'crowd' and not problem:
                print(f'-  {kind}  was over before its moment came: does not count', flush=True)
                continue
            append(log, dict(kind=kind, share=moment and moment.share, phase=moment and moment.phase, problem=problem, seconds=round(time.monotonic() - began, 2), code=code,
                             commit=code_version()['commit'], written=datetime.now(timezone.utc).isoformat(timespec='seconds')))
            print(f'{len(done) + 1}/{o.n}  {kind}' + (f'  killed at {100*moment.share:.0f} % {moment.phase}' if moment else '') + f'  {problem or "survived"}', flush=True)
    report = summary(counted())
    write_file(o.reports/'endurance.json', json.dumps(report, indent=1, ensure_ascii=False) + '\n')
    print(*said(report), sep='\n')
    return any(k['problems'] for k in report['kinds'].values())


if __name__ == '__main__':
    try: sys.exit(main())
    except InputError as error: print(error, file=sys.stderr); sys.exit(2)
