"Every exported module imports alone, anywhere, without the tools that the notebooks are made with."
import subprocess
import sys

from conftest import MODULES, module_name

# A finder that refuses the tools: what imports them fails, as it would where they are not installed.
# Each module is imported in a process of its own, in which none of ours is there yet, only the large ones of others.
ALONE = """
import importlib, os, sys, traceback
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {'nbdev', 'fastcore', 'execnb', 'papermill', 'IPython', 'ipykernel', 'snakemake', 'jupyter_book'}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
import scipy.stats, seaborn, torch

def imports(name):
    before = torch.get_rng_state()
    module = importlib.import_module(name)
    assert torch.equal(before, torch.get_rng_state()), 'importing moved the global random numbers'
    assert not torch.cuda.is_initialized(), 'importing started CUDA'
    print(module.__name__, flush=True)

for name in sys.argv[1:]:
    if os.fork():
        os.wait()
        continue
    try: imports(name)
    except BaseException: traceback.print_exc()
    os._exit(0)
"""


def import_each(names, cwd):
    done = subprocess.run([sys.executable, '-c', ALONE, *names], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split(), done.stderr


def test_modules_import_alone(tmp_path):
    names = [module_name(p) for p in MODULES]
    imported, errors = import_each(names, tmp_path)
    assert names and imported == names, errors


def test_a_module_that_needs_a_tool_draws_numbers_or_fails_is_found(tmp_path):
    for name, text in dict(tool='import nbdev', draws='import torch; torch.rand(1)', fails='1/0', good='import json').items(): (tmp_path/f'{name}.py').write_text(text)
    imported, errors = import_each(['tool', 'draws', 'fails', 'good'], tmp_path)
    assert imported == ['good']
    for error in ('ModuleNotFoundError: nbdev', 'moved the global random numbers', 'ZeroDivisionError'): assert error in errors


def test_what_every_start_pays_for_stays_small(tmp_path):
    def loaded(modules):
        code = f"import sys, {', '.join(f'dcgan_nb.{m}' for m in modules)}; print(*sys.modules)"
        return set(subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split())
    slow = {'scipy', 'pandas', 'matplotlib', 'seaborn', 'torchmetrics', 'torchvision', 'torch.utils.flop_counter'}
    assert not loaded(['runs.config', 'gan.train', 'runs.records', 'scores.metrics', 'study.claims']) & slow, 'the workflow and the training take these'
    assert not loaded(['study.commands']) & {'scipy.stats', 'matplotlib', 'seaborn', 'torchmetrics', 'torchvision'}, 'a command that is wrong is answered before these'
    assert not loaded([f'projects.{path.stem}' for path in MODULES if path.parent.name == 'projects']) & slow, 'every run and every command loads the projects'
    assert loaded(['study.judge', 'study.figures', 'study.plan', 'study.pages']) & slow == {'scipy', 'pandas', 'matplotlib', 'seaborn'}
