"What all tests share: the project's root, its commands, a cache of their own."
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent                       # papermill, snakemake, … of this environment


@pytest.fixture(scope='session')
def run():
    "Run a command in the project's root, as a user would; the result has returncode, stdout and stderr."
    env = os.environ | {'PATH': f'{BIN}{os.pathsep}{os.environ["PATH"]}'}

    def _run(*command, cwd=ROOT, timeout=600, **more_env):
        return subprocess.run([str(c) for c in command], cwd=cwd, env=env | more_env, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=timeout)
    return _run


@pytest.fixture
def rng(request):
    "Fresh random numbers in every test; the seed is printed if the test fails."
    import torch
    seed = int.from_bytes(os.urandom(4), 'big')
    print(f'seed of this test: {seed}')
    return torch.Generator().manual_seed(seed)
