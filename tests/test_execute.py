"Notebooks that are executed by workflow/execute.py: the same with a server that has loaded all and without one."
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import ROOT, outputs

EXECUTE = [sys.executable, '-S', str(ROOT/'workflow/execute.py')]
pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='elsewhere notebooks begin as ever')


def notebook(path, *cells):
    code = [dict(cell_type='code', metadata={}, source=text, outputs=[], execution_count=None, id=f'c{i}') for i, text in enumerate(cells)]
    path.write_text(json.dumps(dict(cells=code, metadata=dict(kernelspec=dict(name='python3', display_name='Python 3', language='python')), nbformat=4, nbformat_minor=5)))
    return path


@pytest.fixture
def server(warm):
    "Where a server listens."
    return warm['DCGAN_NB_WARM']


@pytest.fixture(params=['warm', 'cold'])
def there(request): return request.getfixturevalue('server') if request.param == 'warm' else ''


def execute(there, path, *words, cwd=ROOT, **env):
    "The executed notebook's path, and what the command ended with."
    out = path.with_suffix('.out.ipynb')
    return out, subprocess.run([*EXECUTE, path, out, '--no-progress-bar', *map(str, words)], cwd=cwd, env=os.environ | dict(DCGAN_NB_WARM=there) | env, capture_output=True, text=True, timeout=120)


SEEN = """
import json, os, random, sys, threading
import numpy, torch, pandas, matplotlib, dcgan_nb
print(random.random(), numpy.random.rand(), torch.rand(1).item())
print(json.dumps(dict(cwd=os.getcwd(), word=os.environ.get('WORD'), package=dcgan_nb.__file__, threads=torch.get_num_threads(), columns=pandas.get_option('display.max_columns'),
                      backend=matplotlib.get_backend(), session=os.getsid(0) == os.getpid(), main=threading.current_thread() is threading.main_thread(), parent=os.getppid() != 1,
                      first=sys.path[0], here=any(path.endswith('workflow') for path in sys.path), x=x)))
torch.arange(6.).view(2, 3), pandas.DataFrame(dict(a=[1]))
"""


def test_a_notebook_sees_its_caller_and_the_same_with_a_server_and_without_one(server, tmp_path):
    "Folder, environment, packages, threads and parameters are those of whoever asks, not the server's."
    (tmp_path/'lib/dcgan_nb').mkdir(parents=True)
    (tmp_path/'lib/dcgan_nb/__init__.py').touch()
    word, x, found = f'{random.random()}', random.randrange(1000), []
    random_numbers = []
    for there in server, server, '':
        path = notebook(tmp_path/'seen.ipynb', 'x = 0', SEEN)
        given = json.loads(path.read_text())
        given['cells'][0]['metadata']['tags'] = ['parameters']
        path.write_text(json.dumps(given))
        out, done = execute(there, path, '-p', 'x', x, cwd=tmp_path, WORD=word, PYTHONPATH=str(tmp_path/'lib'), OMP_NUM_THREADS='2')
        assert done.returncode == 0, done.stderr
        cells = json.loads(out.read_text())['cells']
        chance, seen = outputs(dict(cells=cells)).splitlines()
        random_numbers += chance.split()
        found.append((json.loads(seen), [o.get('data') for o in cells[-1]['outputs'] if 'data' in o], done.stdout))
    assert found[0] == found[1] == found[2]
    assert len(set(random_numbers)) == 9, 'what nobody seeds differs'
    seen = found[0][0]
    assert (seen['cwd'], seen['word'], seen['threads'], seen['x'], seen['session'], seen['here']) == (str(tmp_path), word, 2, x, True, False) and seen['package'] == str(tmp_path/'lib/dcgan_nb/__init__.py')


def test_an_error_is_an_error_and_says_which(there, tmp_path):
    _, done = execute(there, notebook(tmp_path/'wrong.ipynb', 'print(1)', "raise ValueError('out of paper')"))
    assert done.returncode == 1 and done.stderr.strip().endswith('ValueError: out of paper') and not done.stdout
    _, done = execute(there, tmp_path/'none.ipynb')
    assert done.returncode != 0 and 'none.ipynb' in done.stderr


def test_kernels_need_no_ports(there, tmp_path):
    out, done = execute(there, notebook(tmp_path/'talks.ipynb', 'from ipykernel.kernelapp import IPKernelApp; print(IPKernelApp.instance().transport)'))
    assert done.returncode == 0 and outputs(json.loads(out.read_text())) == 'ipc\n'


def test_many_at_once(server, tmp_path):
    "Twenty, among them those that fail and those that end their kernel: each gets its own answer."
    cells = ['print({i})', "raise ValueError('{i}')", 'import os; os._exit(1)', 'import time; time.sleep(0.5); print({i})']
    processes = []
    for i in range(20):
        path = notebook(tmp_path/f'{i}.ipynb', cells[i % 4].format(i=i))
        processes.append(subprocess.Popen([*EXECUTE, path, tmp_path/f'{i}.out.ipynb', '--no-progress-bar'], env=os.environ | dict(DCGAN_NB_WARM=server), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))
    said = [(p.communicate(timeout=120)[1], p.returncode) for p in processes]
    for i, (text, code) in enumerate(said):
        if i % 4 in (0, 3): assert code == 0 and outputs(json.loads((tmp_path/f'{i}.out.ipynb').read_text())) == f'{i}\n', text
        else: assert code == (1 if i % 4 == 1 else 138) and (f'ValueError: {i}' if i % 4 == 1 else 'DeadKernelError') in text, text


def alive(pids): return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def wait_for(what):
    for _ in range(600):
        if found := what(): return found
        time.sleep(0.05)
    raise AssertionError('it has not come')


@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
def test_who_asked_is_stopped_and_so_are_papermill_and_its_kernel(there, tmp_path, how):
    path = notebook(tmp_path/'long.ipynb', f"import os, time; open(r'{tmp_path}/pids', 'w').write(f'{{os.getpid()}} {{os.getppid()}} '); time.sleep(100)")
    process = subprocess.Popen([*EXECUTE, path, tmp_path/'long.out.ipynb', '--no-progress-bar'], env=os.environ | dict(DCGAN_NB_WARM=there), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))       # ignored where tests run in the background
    wait_for(lambda: (tmp_path/'pids').exists() and (tmp_path/'pids').read_text().endswith(' '))
    pids = [*map(int, (tmp_path/'pids').read_text().split())]
    os.killpg(process.pid, how)
    assert process.wait(60) != 0
    wait_for(lambda: not alive(pids))


def test_a_server_that_has_gone_is_done_without(tmp_path):
    "Its socket lies there still."
    there = tmp_path/'socket'
    process = subprocess.Popen([sys.executable, ROOT/'workflow/execute.py', 'serve', there], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline()
    process.kill()
    process.wait()
    out, done = execute(str(there), notebook(tmp_path/'one.ipynb', 'print(1)'))
    assert there.exists() and done.returncode == 0 and outputs(json.loads(out.read_text())) == '1\n'


def test_a_server_ends_with_who_started_it(tmp_path):
    there = tmp_path/'socket'
    script = f"import subprocess, sys; p = subprocess.Popen([sys.executable, {str(ROOT/'workflow/execute.py')!r}, 'serve', {str(there)!r}], stdout=subprocess.PIPE); p.stdout.readline(); print(p.pid)"
    pid = int(subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True).stdout)
    wait_for(lambda: not alive([pid]))
    assert not Path(there).exists()
