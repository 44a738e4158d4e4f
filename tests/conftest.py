"What all tests share: the project's root, its commands, fresh random numbers, tiny GANs, and the report of the faults that were tried."
import functools
import http.server
import json
import os
import random
import runpy
import shutil
import subprocess
import sys
import tempfile
import threading
import traceback
from collections import defaultdict
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent                       # papermill, snakemake, … of this environment
LIBRARY = sorted(ROOT.glob('nbs/*/[0-9][0-9]_*.ipynb'), key=lambda p: p.name)                     # its notebooks, in the order of their numbers
MODULES = sorted(p for p in ROOT.glob('dcgan_nb/**/*.py') if p.stem not in ('__init__', '_modidx'))

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome', 'chrome'))), None)
FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']


@contextmanager
def served(folder):
    "A folder on a local server; gives its address."
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try: yield f'http://127.0.0.1:{server.server_port}/'
    finally: server.shutdown()


def files_of_the_project():
    "What is in the repository, or could be added to it; in an unpacked archive, what it was packed with."
    from dcgan_nb.foundations.archive import listed_files
    if packed := listed_files(ROOT): return [name for name in packed if not name.startswith('book/')]
    listed = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard'], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode: pytest.skip('neither a git checkout nor an unpacked archive')
    return listed.stdout.splitlines()


def fresh_copy(root):
    "What is in the repository, or could be added to it, without the published records; the environment of the tests serves there, and nothing is installed."
    for name in files_of_the_project():
        if name.startswith('reports/records/') or not (ROOT/name).is_file(): continue
        (root/name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT/name, root/name)
    (root/'.venv').mkdir()
    (root/'.venv/.ready').touch()


def module_name(path):
    "dcgan_nb/gan/networks.py → dcgan_nb.gan.networks"
    return '.'.join(path.relative_to(ROOT).with_suffix('').parts)


def outputs(notebook):
    "What the code cells of an executed notebook, as a dict, have printed."
    return '\n'.join(''.join(o.get('text', [])) for c in notebook['cells'] for o in c.get('outputs', []) if o.get('name') == 'stdout')


# Tiny GANs. The imports are inside: tests of the repository and of its commands need no networks.

def tiny_config(**given):
    "A configuration that trains in a moment: images of 16 × 16 pixels, width 4."
    from dcgan_nb.runs.config import RunConfig
    return RunConfig.resolve(**dict(profile='smoke', device='cpu', image_size=16, g_width=4, d_width=4, latent_dim=8, batch_size=50, epochs=1) | given)


def tiny(**given):
    "A GAN of that configuration, before its first step."
    from dcgan_nb.gan.state import init
    return init(tiny_config(**given))


def tiny_data(n=1000, size=16):
    "The first n training images of the shipped sample, uint8 (n, 1, size, size), and their labels, int64 (n,)."
    from dcgan_nb.foundations.batches import training_set
    from dcgan_nb.foundations.datasets import load_data
    x, y = training_set(load_data('fashion_mnist_sample'), size=size)
    return x[:n], y[:n]


def weights(*nets, buffers=False):
    "All parameters of some networks as one vector; with buffers, the running averages of batch norm as well."
    import torch
    tensors = [t for net in nets for t in (net.state_dict().values() if buffers else net.parameters())]
    return torch.cat([t.detach().flatten().cpu().double() for t in tensors])


def timeless(history):
    "The entries of a history without the seconds, the one thing that differs when a run is repeated."
    return [{k: v for k, v in entry.items() if k != 'seconds'} for entry in history]


class Forked:
    """A process of its own that has all modules already, and so begins at once: `do(say)` runs in it, `say` a line for whoever reads `stdout`; what is
    written to `stdin` it can read. Ends with 0, or with 1 after the error's name and message."""
    def __init__(self, do):
        import torch._dynamo, torchmetrics.image.inception, torchmetrics.image.kid  # noqa: E401, F401   what a run loads late, once for all of them
        (self.hear, say), (listen, tell) = os.pipe(), os.pipe()
        self.pid, self.returncode = os.fork(), None
        if not self.pid:
            os.close(self.hear), os.close(tell), os.dup2(listen, 0)
            speak, code = lambda line: os.write(say, f'{line}\n'.encode()), 1
            try:
                do(speak)
                code = 0
            except BaseException as error: speak(f'{type(error).__name__}: {error}')
            finally: os._exit(code)
        os.close(say), os.close(listen)
        self.stdout, self.stdin = open(self.hear), open(tell, 'w')

    def until(self, beginning):
        "What it says up to a line."
        heard = []
        for line in self.stdout:
            heard.append(line)
            if line.startswith(beginning): return heard
        raise AssertionError(''.join(heard))

    def send_signal(self, number): os.kill(self.pid, number)

    def communicate(self, said=''):
        "Tell it something, hear the rest, and wait for its end."
        if said: self.stdin.write(said)
        self.stdin.close()
        heard = self.stdout.read()
        self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.stdout.close()
        return heard


@pytest.fixture(scope='session')
def run():
    "Run a command in the project's root, as a user would; the result has returncode, stdout and stderr."
    env = os.environ | {'PATH': f'{BIN}{os.pathsep}{os.environ["PATH"]}'}

    def _run(*command, cwd=ROOT, timeout=600, **more_env):
        return subprocess.run([str(c) for c in command], cwd=cwd, env=env | more_env, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=timeout)
    return _run


def forked(do, more_env):
    """What a command would do, in a process that is forked from this one: PyTorch, which takes seconds to load, is there already. The result has returncode,
    stdout and stderr."""
    import torch  # noqa: F401
    with tempfile.TemporaryFile('w+') as out, tempfile.TemporaryFile('w+') as err:
        pid, code = os.fork(), 1
        if not pid:
            try:
                os.chdir(ROOT)
                os.environ.update({'PATH': f'{BIN}{os.pathsep}{os.environ["PATH"]}'} | more_env)
                sys.stdout, sys.stderr = out, err
                for n, file in enumerate([open(os.devnull), out, err]): os.dup2(file.fileno(), n)
                code = do()
            except SystemExit as end: code = end.code or 0
            except BaseException: traceback.print_exc(file=err)
            finally:
                out.flush(), err.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        said = [file.seek(0) or file.read() for file in (out, err)]
    return subprocess.CompletedProcess(do, code, *said)


def script(*words, **more_env):
    "A Python file and what it is given."
    def do():
        sys.argv = [str(word) for word in words]
        runpy.run_path(sys.argv[0], run_name='__main__')
    return forked(do, more_env)


def snakemake(*arguments, **more_env):
    "The workflow, as a command begins it."
    return script('workflow/schedule.py', '--snakefile', 'workflow/Snakefile', '--nolock', *arguments, **more_env)


def dcgan_nb(*words, **more_env):
    "A command of the library."
    from dcgan_nb.study.commands import main
    return forked(lambda: main([str(word) for word in words]), more_env)


EXECUTE = [sys.executable, '-S', 'workflow/execute.py']       # in place of `papermill`, as the workflow calls it


@pytest.fixture(scope='session')
def warm(tmp_path_factory):
    "The environment in which notebooks begin warm, as they do in the workflow: there is a server that has loaded all."
    if sys.platform != 'linux':
        yield dict(DCGAN_NB_WARM='')
        return
    there = tmp_path_factory.mktemp('warm')/'socket'
    process = subprocess.Popen([sys.executable, 'workflow/execute.py', 'serve', there], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline()
    yield dict(DCGAN_NB_WARM=str(there))
    process.kill()
    process.wait()


def stand_in(folder, script):
    "The environment in which papermill is this script: a package of its name that comes first."
    package = folder/'stand_in/papermill'
    package.mkdir(parents=True)
    (folder/'stand_in/papermill.sh').write_text(script)
    (package/'__init__.py').touch()
    (package/'cli.py').write_text(f"import os, sys\nos.execv('/bin/bash', ['bash', {str(folder/'stand_in/papermill.sh')!r}, *sys.argv[1:]])\n")
    return dict(PYTHONPATH=f"{folder}/stand_in{os.pathsep}{os.environ.get('PYTHONPATH', '')}", DCGAN_NB_WARM='')


@pytest.fixture
def rng(request):
    "Fresh random numbers in every test; the seed is printed if the test fails."
    import torch
    seed = int.from_bytes(os.urandom(4), 'big')
    print(f'seed of this test: {seed}')
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope='module')
def browser():
    "A headless Chromium, one for the tests of a file; without one they are skipped."
    if CHROMIUM is None: pytest.skip('no Chromium is installed (Debian: apt-get install chromium)')
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def opened(browser, folder, body, *scripts, hash='', width=1000, **context):
    "A page of the book that has this inside, from a file, with these scripts of `nbs/assets`; errors and requests to elsewhere are found in its `wrong`."
    for name in (*scripts, 'book.css'): shutil.copy(ROOT/'nbs/assets'/name, folder/name)
    (folder/'page.html').write_text('<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="book.css"><body>' + body.replace('_static/', ''))
    page = browser.new_page(viewport=dict(width=width, height=900), **context)
    page.wrong = []
    page.on('pageerror', lambda e: page.wrong.append(str(e)))
    page.on('request', lambda r: r.url.startswith('file:') or page.wrong.append(r.url))
    page.goto((folder/'page.html').as_uri() + hash)
    return page


def serious_violations(page):
    "What axe-core finds on a page and calls serious or critical."
    from axe_playwright_python.sync_playwright import Axe
    return [v for v in Axe().run(page).response['violations'] if v['impact'] in ('serious', 'critical')]


def built(arch, **given):
    "A small generator of that architecture."
    from dcgan_nb.gan.networks import ARCHITECTURES, build_generator
    made = ARCHITECTURES[arch]
    return build_generator(arch, latent_dim=12, channels=1, size=made.image_size or 28, **dict(width=8) if 'width' in made.g_defaults else {}, **given)


def trained(arch, rng, **given):
    "A generator whose weights and averages are no longer the first ones."
    import torch
    G = built(arch, **given)
    n_classes = given.get('n_classes', 0)
    with torch.no_grad():
        for p in G.parameters(): p.copy_(torch.randn(p.shape, generator=rng) * (0.3 if p.dim() == 1 else p[0].numel()**-0.5))
        G.train()
        for _ in range(20): G(torch.randn(32, 12, generator=rng), *([torch.randint(n_classes, (32,), generator=rng)] if n_classes else []))
    return G.eval()


# A test with the mark `fault(what is done, what happens then)` breaks something on purpose. With --faults FILE (`make faults`)
# these tests alone are run, and what they saw becomes a table of the book.
# One with the mark `sample(n)` has cases that are all alike: n of them, drawn at random, are run; with --all, all.
def pytest_addoption(parser):
    parser.addoption('--faults', metavar='FILE', help='run the tests of faults alone and write what they saw')
    parser.addoption('--all', action='store_true', help='run all cases of a test whose cases are all alike, not only some that are drawn at random')


def drawn(items, seed):
    "The tests without the cases that are left out this time. All processes of a call draw the same."
    rng, alike = random.Random(seed), defaultdict(list)
    for item in items:
        if mark := item.get_closest_marker('sample'): alike[item.path, item.originalname, mark.args[0]].append(item)
    left_out = {item for (*_, n), cases in alike.items() for item in rng.sample(cases, max(0, len(cases) - n))}
    return [item for item in items if item not in left_out]


def pytest_collection_modifyitems(config, items):
    """Files whose tests are forked from pytest come first: where PyTorch has begun threads of autograd, a fork cannot train. Then those that call commands: they take
    longest, and no worker shall have one left when the others are done."""
    calls = {item.path for item in items if 'run' in item.fixturenames}
    items.sort(key=lambda item: (not hasattr(item.module, 'Forked'), item.path not in calls))
    chosen = items[:]
    if config.getoption('--faults'): chosen = [item for item in items if item.get_closest_marker('fault')]
    elif not config.getoption('--all'): chosen = drawn(items, os.environ.get('PYTEST_XDIST_TESTRUNUID') or os.urandom(8))
    config.hook.pytest_deselected(items=[item for item in items if item not in set(chosen)])
    items[:] = chosen


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
        from dcgan_nb.foundations.core import write_file
        from dcgan_nb.runs.records import code_version, environment
        path = Path(path)
        before = {f['test']: f for f in json.loads(path.read_text())['faults']} if path.exists() else {}
        now = dict(written=datetime.now(timezone.utc).isoformat(timespec='seconds'), commit=code_version()['commit'], versions=environment()['versions'])
        faults = before | {test: fault | now for test, fault in seen.items()}
        write_file(path, json.dumps(dict(faults=[faults[test] for test in sorted(faults)]), indent=1, ensure_ascii=False) + '\n')


def pytest_terminal_summary(terminalreporter, config):
    "How many of the faults that were tried were survived."
    if config.getoption('--faults'): terminalreporter.write_line(f"faults: {len(seen)} tried, {sum(f['passed'] for f in seen.values())} survived")
