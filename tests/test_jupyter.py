"The notebooks are edited in JupyterLab, as its users do: in a real browser, in a fresh copy of the repository. What it writes beside the change does not stay."
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
from conftest import BIN, ROOT, fresh_copy
from test_extension import RECIPES, given

sys.path.insert(0, str(ROOT/'workflow'))
from clean import clean  # noqa: E402
from lab import chosen_port  # noqa: E402

from dcgan_nb.foundations.core import InputError  # noqa: E402


def test_a_port_is_free_or_the_next_free_one_is_named():
    with socket.socket() as other:
        other.bind(('127.0.0.1', 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=rf'^PORT={port} is taken by another program. The next free one: PORT=\d+\.$'): chosen_port(str(port))
        assert chosen_port('', port) != port
    assert chosen_port(str(port)) == port
    for wrong in ('80', '65536', '-1', 'abc', '8888.0', '٨٨٨٨'):
        with pytest.raises(InputError, match=f'^PORT={re.escape(wrong)} is no port: a whole number from 1024 to 65535'): chosen_port(wrong)


def test_nothing_that_an_editor_adds_stays(tmp_path):
    source = ROOT/'nbs/chapters/verdicts.ipynb'
    notebook = json.loads(source.read_text())
    notebook['metadata'] = dict(kernelspec=dict(display_name='My env', name='my-env'), language_info=dict(name='python', version='3.99'), widgets={'a': 1}, vscode={}, toc={})
    for i, cell in enumerate(notebook['cells']):
        cell['metadata'] |= dict(editable=True, slideshow={}, scrolled=True, collapsed=False, execution={'iopub.status.busy': 'now'}, jupyter=dict(outputs_hidden=False))
        if cell['cell_type'] == 'markdown': cell['attachments'] = {}
        else: cell |= dict(execution_count=i, outputs=[dict(output_type='stream', name='stdout', text=['here'])])
    copy = tmp_path/'it.ipynb'
    copy.write_text(json.dumps(notebook))
    clean(copy)
    assert copy.read_text() == source.read_text()
    copy.write_text('<<<<<<< ours')
    with pytest.raises(SystemExit, match='it.ipynb is no notebook'): clean(copy)


def wait(condition, what, seconds=240):
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, what() if callable(what) else what
        time.sleep(0.2)
    return found


@pytest.fixture
def lab(tmp_path):
    "`make lab` in a copy of the repository; gives the copy and the address."
    pytest.importorskip('jupyterlab', reason='JupyterLab is not installed: make env')
    root = tmp_path/'repository'
    fresh_copy(root)
    own = {f'JUPYTER_{name}_DIR': str(tmp_path/name) for name in ('CONFIG', 'DATA', 'RUNTIME')}       # not what the user has set
    env = {k: v for k, v in os.environ.items() if k not in ('DISPLAY', 'WAYLAND_DISPLAY', 'BROWSER', 'JUPYTER_TOKEN', 'JUPYTER_CONFIG_PATH')}
    log = tmp_path/'log'
    process = subprocess.Popen(['make', '-s', '-o', '.venv/.ready', 'lab', f'PORT={chosen_port("", 18000 + os.getpid() % 9000)}'], cwd=root, stdin=subprocess.DEVNULL, stdout=log.open('w'), stderr=subprocess.STDOUT,
                               env=env | own | dict(PATH=f'{BIN}{os.pathsep}{env["PATH"]}', PYTHONPATH=str(root), OMP_NUM_THREADS='1'), start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    try: yield root, wait(lambda: re.search(r'http://localhost:\d+/lab/tree/nbs\?token=\w+', log.read_text()), log.read_text)[0]
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try: process.wait(60)
        except subprocess.TimeoutExpired: os.killpg(process.pid, signal.SIGKILL); raise AssertionError('Ctrl-C does not end it') from None


def test_a_loss_that_is_written_in_jupyterlab_trains(browser, lab, run):
    root, address = lab
    recipe = RECIPES['A loss']
    words = next(words for words in recipe.commands if words[0] == 'papermill')
    path = root/recipe.notebook
    files = {p: p.read_bytes() for folder in ('nbs', 'dcgan_nb') for p in (root/folder).rglob('*') if p.suffix in ('.ipynb', '.py', '.md')}
    before = json.loads(path.read_text())
    page = browser.new_page()
    page.set_default_timeout(240_000)
    asked = set()
    page.on('request', lambda request: asked.add(request.url.split('/')[2]) if request.url.startswith('http') else None)
    page.goto(address.replace('/tree/nbs', f'/tree/{recipe.notebook}'))
    page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]')
    cells = page.locator('.jp-Notebook .jp-Cell')
    def there_are(n): wait(lambda: cells.count() == n, lambda: f'{cells.count()} cells in place of {n}')
    there_are(len(before['cells']))      # they appear one after the other
    cells.last.click()
    for key in ('Escape', 'b'): page.keyboard.press(key)
    there_are(len(before['cells']) + 1)
    page.keyboard.press('Enter')
    page.wait_for_selector('.jp-Notebook .jp-mod-active .cm-content:focus')      # what is written before goes nowhere
    page.keyboard.insert_text(recipe.cell)
    page.get_by_role('menuitem', name='Run', exact=True).click()
    page.get_by_text('Run All Cells', exact=True).click()
    prompts = page.locator('.jp-Notebook .jp-CodeCell .jp-InputPrompt')
    wait(lambda: re.search(r'\[\d+\]', prompts.last.text_content()), lambda: f'{prompts.all_text_contents()} {cells.last.text_content()} {page.locator("[data-mime-type*=error]").all_text_contents()}')
    page.keyboard.press('Control+s')
    wait(lambda: b'd_loss_exponential' in path.read_bytes(), 'it is not saved')
    page.close()
    assert asked == {address.split('/')[2]}, 'no other machine is asked for anything'
    saved = json.loads(path.read_text())
    assert not [o for c in saved['cells'] for o in c.get('outputs', []) if o['output_type'] == 'error']
    assert saved['cells'][-1]['execution_count'] and any(c.get('outputs') for c in saved['cells']), 'it was run'

    def there(*words):
        done = run(*words, cwd=root, PYTHONPATH=str(root), OMP_NUM_THREADS='1')
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    there('make', '-s', '-o', '.venv/.ready', 'export')
    *others, added = json.loads(path.read_text())['cells']
    assert others == before['cells'] and ''.join(added['source']) == recipe.cell
    assert path.read_text() == json.dumps(before | dict(cells=[*others, added]), indent=1, ensure_ascii=False) + '\n', 'the cell, and nothing else'
    module = root/f'dcgan_nb/{path.parent.name}/{path.stem[3:]}.py'
    changed = {p for p, content in files.items() if p.read_bytes() != content}      # the parameters of the run name the losses there are
    assert changed <= {path, module, root/'dcgan_nb/_modidx.py', root/'nbs/train.ipynb'} and recipe.cell.removeprefix('#| export\n') in module.read_text()
    there(*words, '-p', 'epochs', 1, '-p', 'n_eval', 50)
    record, = (json.loads(p.read_text()) for p in root.glob('reports/runs/*/record.json'))
    assert record['status'] == 'finished' and record['config']['loss'] == given(words)['loss']
