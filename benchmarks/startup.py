"""What a run costs beside its training: the imports, the way to the first step, a whole smoke run, new and asked for again.

Every measurement is a fresh process, from its start to its end. All of them take turns. The files are in the system's cache after the first
round, which is not counted. `python` alone is the start of the interpreter, which all others contain. The smoke runs go through papermill.
"""
import importlib.util
import itertools
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import measure as m
from dcgan_nb.foundations.core import project_root

FIRST_STEP = '''
from dcgan_nb.foundations.batches import batches, training_set
from dcgan_nb.foundations.datasets import load_data
from dcgan_nb.gan.state import init
from dcgan_nb.gan.train import d_step, g_step
from dcgan_nb.runs.config import RunConfig
gan = init(RunConfig.resolve(profile='smoke', device={device!r}))
data = training_set(load_data(gan.config.dataset, device=gan.config.device))
x, y = next(batches(data, gan.config.batch_size, gan.order))
d_step(gan, x, y)
g_step(gan, x, y)['g_loss'].item()
'''


def run_modules() -> list[str]:
    "The modules of the library that the run notebook imports."
    return sorted(set(re.findall(r'from (dcgan_nb[.\w]+) import', (project_root()/'nbs'/'train.ipynb').read_text(encoding='utf-8'))))


def call(*arguments) -> None:
    "Run Python in a process of its own; an error of its is an error here."
    done = subprocess.run([sys.executable, *arguments], cwd=project_root(), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode: raise RuntimeError(f'python {" ".join(arguments)[:80]} failed: {done.stderr.strip()[-2000:]}')


def papermill_runs(device:str, folder:Path) -> dict:   # name → function
    "A smoke run that has never been, and the same run asked for again."
    numbers = itertools.count()
    def run(runs_dir):
        call('-m', 'papermill', 'nbs/train.ipynb', str(folder/'run.ipynb'), '--no-progress-bar', '--log-level', 'WARNING',
             '-p', 'profile', 'smoke', '-p', 'device', device, '-p', 'runs_dir', str(runs_dir))
    def new(): run(folder/str(next(numbers)))
    def again(): run(folder/'0')        # the warm-up round made it
    return {'papermill, new run': new, 'papermill, finished run': again}


def measure(device:str, repeats:int, quick:bool) -> tuple[dict, list[dict]]:   # parameters, rows
    commands = {'python': 'pass', 'import torch': 'import torch', 'imports of a run': f"import {', '.join(run_modules())}",
                'first training step': FIRST_STEP.format(device=device)}
    variants = {name: lambda code=code: call('-c', code) for name, code in commands.items()}
    skipped = ('papermill is not installed' if importlib.util.find_spec('papermill') is None else
               'left out of the quick benchmark' if quick else None)
    with tempfile.TemporaryDirectory() as folder:
        whole = papermill_runs(device, Path(folder))
        rows = m.compared(m.interleave(variants | ({} if skipped else whole), repeats))
    rows = [{k: v for k, v in row.items() if k in ('variant', 'seconds')} for row in rows]
    return dict(profile='smoke'), rows + ([dict(variant=name, skipped=skipped) for name in whole] if skipped else [])


if __name__ == '__main__': m.command('startup', measure, __doc__)
