"Every exported module imports alone, anywhere, without the tools that the notebooks are made with."
import subprocess
import sys

import pytest
from conftest import ROOT

MODULES = sorted(p.stem for p in ROOT.glob('dcgan_nb/*.py') if p.stem not in ('__init__', '_modidx'))
# A finder that refuses the tools: what imports them fails, as it would where they are not installed.
WITHOUT_TOOLS = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {'nbdev', 'fastcore', 'execnb', 'papermill', 'IPython', 'ipykernel', 'snakemake', 'jupyter_book'}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
import torch
before = torch.get_rng_state()
import dcgan_nb.%s as module
assert torch.equal(before, torch.get_rng_state()), 'importing moved the global random numbers'
assert not torch.cuda.is_initialized(), 'importing started CUDA'
print(module.__name__)
"""


@pytest.mark.parametrize('name', MODULES)
def test_module_imports_alone(name, tmp_path):
    done = subprocess.run([sys.executable, '-c', WITHOUT_TOOLS % name], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f'dcgan_nb.{name}'


def test_what_every_start_pays_for_stays_small(tmp_path):
    def loaded(modules):
        code = f"import sys, {', '.join(f'dcgan_nb.{m}' for m in modules)}; print(*sys.modules)"
        return set(subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split())
    slow = {'scipy', 'pandas', 'matplotlib', 'seaborn', 'torchmetrics', 'torchvision', 'torch.utils.flop_counter'}
    assert not loaded(['config', 'train', 'records', 'metrics']) & slow, 'the workflow and the training take these'
    assert loaded(['claims', 'report']) & slow == {'scipy', 'pandas', 'matplotlib', 'seaborn'}
