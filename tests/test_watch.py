"A page follows its notebook: `make watch` exports, runs and renders what was saved, and a browser that looks at it sees the change."
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from urllib.request import urlopen

import nbformat
import pytest
from conftest import BIN, ROOT, fresh_copy

sys.path.insert(0, str(ROOT/'workflow'))
from lab import chosen_port  # noqa: E402
from watch import chosen_page, tell_failure, write_here  # noqa: E402

from dcgan_nb.foundations.core import InputError  # noqa: E402


@pytest.mark.parametrize('wrong, said', {
    '': 'PAGE is missing', 'nbs/train.ipynb': 'is a run, not a page', 'nbs/gan/13_loses.ipynb': "Did you mean 'nbs/gan/13_losses.ipynb'?", 'verdict': "Did you mean 'nbs/chapters/verdicts.ipynb'?",
    'nbs/gan/.ipynb_checkpoints/13_losses-checkpoint.ipynb': 'is not there', '@@@': 'PAGE=@@@ is not there.'}.items())
def test_a_page_that_is_not_there(wrong, said, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError) as error: chosen_page(wrong)
    assert said in str(error.value) and '\n' not in str(error.value)


def test_every_page_of_the_book_can_be_watched(monkeypatch):
    monkeypatch.chdir(ROOT)
    for path in ROOT.glob('nbs/**/*.ipynb'):
        if path.name != 'train.ipynb' and '.ipynb_checkpoints' not in path.parts: assert chosen_page(str(path.relative_to(ROOT))).samefile(path)


def notebook(*cells):
    "Markdown cells are those that begin with #, code the others."
    made = nbformat.v4.new_notebook()
    made.cells = [nbformat.v4.new_markdown_cell(c) if c.startswith('# ') else nbformat.v4.new_code_cell(c) for c in cells]
    return made


def test_a_failing_cell_is_named_and_shown():
    made = notebook('# Title', '1', '<b>', '3')
    made.cells[2].outputs = [nbformat.v4.new_output('error', ename='E', evalue='x', traceback=[])]
    made.cells[2].metadata.tags = ['remove-cell']
    assert tell_failure(made, '…\n\x1b[31mE: <x>\x1b[0m\n') == 3
    kinds = [c.source for c in made.cells]
    assert 'Cell 3' in kinds[1] and '<code>E: &lt;x&gt;</code>' in kinds[1] and kinds[3:5] == ['<span id="failed"></span>', '<b>'] and 'tags' not in made.cells[4].metadata


def test_what_a_page_writes_goes_beside_it(tmp_path):
    made = notebook("runs_dir = 'a'", "files_dir = 'b'   # to take away")
    for cell in made.cells: cell.metadata.tags = ['parameters']
    write_here(made, tmp_path)
    values = {}
    for cell in made.cells: exec(cell.source, values)
    assert values['runs_dir'] == 'a' and values['files_dir'] == f'{tmp_path}/files'


def save(path, *cells):
    "As an editor does: a new file takes the place of the old one."
    made = notebook(*cells)
    for cell in made.cells[1:]: cell |= dict(execution_count=5, outputs=[nbformat.v4.new_output('stream', text='what the editor has shown')])
    text = nbformat.writes(made)
    part = path.with_suffix('.part')
    part.write_text(text)
    part.replace(path)
    return text


def test_the_browser_sees_what_was_saved(browser, tmp_path):
    root, log = tmp_path/'repository', tmp_path/'log'
    fresh_copy(root)
    path, module, n = root/'nbs/gan/99_watched.ipynb', root/'dcgan_nb/gan/watched.py', int.from_bytes(os.urandom(3), 'big')
    exported = f'#| export\ndef twice(): return {n} + {n}'
    save(path, '# Watched', '#| default_exp gan.watched', exported, 'print(f"it is {twice()}")')
    shutil.rmtree(root/'reports', ignore_errors=True)
    process = subprocess.Popen(['make', '-s', '-o', '.venv/.ready', 'watch', f'PAGE={path.relative_to(root)}', f'PORT={chosen_port("", 28000 + os.getpid() % 9000)}'], cwd=root, stdin=subprocess.DEVNULL,
                               stdout=log.open('w'), stderr=subprocess.STDOUT, env={k: v for k, v in os.environ.items() if k not in ('DISPLAY', 'WAYLAND_DISPLAY', 'BROWSER')} | dict(PATH=f'{BIN}{os.pathsep}{os.environ["PATH"]}', PYTHONPATH=str(root), OMP_NUM_THREADS='1'),
                               start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    try:
        while not (found := re.search(r'http://localhost:\d+/\S+', log.read_text())): assert process.poll() is None, log.read_text(); time.sleep(0.2)
        page = browser.new_page()
        page.set_default_timeout(240_000)
        page.goto(found[0])
        page.wait_for_selector(f'article >> text=it is {2*n}')
        assert 'bd-article' in page.content() and 'what the editor has shown' not in page.content(), 'as in the book, and executed'
        assert f'return {n} + {n}' in module.read_text()
        saved = save(path, '# Watched again', '#| default_exp gan.watched', exported.replace('+', '*'), f'print(f"it is {{twice() // {n}}}")', '1/0', 'print("never")')
        page.wait_for_selector('.admonition.error >> text=ZeroDivisionError')
        assert f'it is {n}\n' in page.locator('article').inner_text() + '\n' and page.locator('article h1').inner_text().startswith('Watched again') and 'The cells below it were not run' in page.content()
        assert path.read_text() == saved, 'the notebook is the editor’s'
        assert f'return {n} * {n}' in module.read_text()
        assert 'ZeroDivisionError' in log.read_text() and 'cell 5 fails' in log.read_text()
        save(path, '# Mended', '#| default_exp gan.watched', exported, f'print("mended {n}")')
        page.wait_for_selector(f'article >> text=mended {n}')
        assert not page.locator('.admonition.error').count()
        page.close()
        assert int(urlopen(re.sub(r'(\d)/.*', r'\1/version', found[0])).read()) == 3, 'a save, a build'
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try: process.wait(60)
        except subprocess.TimeoutExpired: os.killpg(process.pid, signal.SIGKILL); raise AssertionError('Ctrl-C does not end it') from None
    assert 'Traceback (most recent call last):\n  File' not in log.read_text(), log.read_text()
    assert json.loads(path.read_text())['cells'][0]['source'] == ['# Mended']
