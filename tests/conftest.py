"What all tests share: the project's root, its commands, fresh random numbers, and the report of the faults that were tried."
import json
import os
import subprocess
import sys
from datetime import datetime, timezone
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


# A test with the mark `fault(what is done, what happens then)` breaks something on purpose. With --faults FILE (`make faults`)
# these tests alone are run, and what they saw becomes a table of the book.
def pytest_addoption(parser):
    parser.addoption('--faults', metavar='FILE', help='run the tests of faults alone and write what they saw')


def pytest_collection_modifyitems(config, items):
    if config.getoption('--faults'): items[:] = [item for item in items if item.get_closest_marker('fault')]


seen = {}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    mark = item.get_closest_marker('fault')
    if mark and not report.skipped:
        entry = seen.setdefault(item.nodeid, dict(test=item.nodeid, fault=mark.args[0], outcome=mark.args[1], passed=True))
        entry['passed'] &= report.passed


def pytest_sessionfinish(session):
    "The report of all faults; what was not tried this time stays as it was seen before."
    if path := session.config.getoption('--faults'):
        from dcgan_nb.data import write_file
        from dcgan_nb.records import code_version, environment
        path = Path(path)
        before = {f['test']: f for f in json.loads(path.read_text())['faults']} if path.exists() else {}
        now = dict(written=datetime.now(timezone.utc).isoformat(timespec='seconds'), commit=code_version()['commit'], versions=environment()['versions'])
        faults = before | {test: fault | now for test, fault in seen.items()}
        write_file(path, json.dumps(dict(faults=[faults[test] for test in sorted(faults)]), indent=1, ensure_ascii=False) + '\n')
