"""A page while it is written: `watch.py PAGE [PORT]`, or `make watch PAGE=nbs/gan/13_losses.ipynb`.

After every save of the notebook its module is exported, its cells are run, and its page is rendered as in the book, alone, and reloaded by the browser.
The notebook itself is not touched: the editor that has it open would ask what that means. `make export` cleans it in the end.
"""
import contextlib
import functools
import html
import io
import re
import sys
import threading
import time
import webbrowser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copytree
from urllib.parse import urlsplit

import nbformat
from lab import chosen_port, has_screen
from mark_headings import marked, signs
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from dcgan_nb.foundations.core import InputError, first_line, nearest

FIRST = 8000      # the port to begin with
FOLDER = Path('reports/watch')
RUN = 'nbs/train.ipynb'
# What every notebook waits for is imported before it is needed, and leaves no name.
WARM = 'import torch, torchvision, torchmetrics, scipy.stats, seaborn; del torch, torchvision, torchmetrics, scipy, seaborn'
RELOAD = "<script>setInterval(async () => {{ try {{ if (await (await fetch('/version')).text() !== '{}') location.reload() }} catch {{ }} }}, 300)</script>"


def chosen_page(text:str) -> Path:
    "The notebook that was asked for; an `InputError` if there is none, or if it is no page."
    pages = {path.as_posix(): path for path in sorted(Path('nbs').rglob('*.ipynb')) if '.ipynb_checkpoints' not in path.parts and path.as_posix() != RUN}
    name = Path(text).as_posix()
    if not text: raise InputError('PAGE is missing: make watch PAGE=nbs/gan/13_losses.ipynb.')
    if name == RUN: raise InputError(f'PAGE={text} is a run, not a page: papermill {RUN} out.ipynb -p profile smoke.')
    if name in pages: return pages[name]
    by_stem = {path.stem: name for name, path in pages.items()}
    near = nearest(Path(text).stem, by_stem)
    raise InputError(f'PAGE={text} is not there.{re.sub("(?<=Did you mean .).+(?=.[?])", lambda m: by_stem.get(m[0], m[0]), near)}')


# Running

def new_kernel() -> NotebookClient:
    "A kernel that starts, and imports what takes long, while the author still writes."
    client = NotebookClient(nbformat.v4.new_notebook(), kernel_name='python3', timeout=None, resources=dict(metadata=dict(path='.')),
                            extra_arguments=[f'--IPKernelApp.exec_lines={WARM}'])
    client.create_kernel_manager()
    client.owns_km = False      # it is ended here, and the next one starts meanwhile
    client.start_new_kernel()
    return client


def end_kernel(client:NotebookClient) -> None:
    "At once, from whatever thread."
    if client.km and client.km.has_kernel: client.km.provisioner.process.kill()
    if client.km: client.km.cleanup_connection_file()


def write_here(notebook:dict, folder:Path) -> None:
    "What the cells write goes beside this page: as papermill does, after the defaults of the parameters."
    for cell in notebook['cells']:
        if 'parameters' not in cell['metadata'].get('tags', []): continue
        for name in re.findall(r'^(files|live)_dir\b', cell['source'], re.MULTILINE): cell['source'] += f"\n{name}_dir = '{(folder/name).as_posix()}'"


def execute(notebook:dict, client:NotebookClient) -> str:      # what went wrong: a traceback, or nothing
    "Run the cells, from the first to the last or to the one that fails; the kernel then ends."
    client.nb = notebook
    try: client.execute()
    except CellExecutionError as error: return error.traceback
    except DeadKernelError: return 'DeadKernelError: the kernel died while a cell was running.'
    return ''


def tell_failure(notebook:dict, problem:str) -> int:      # the number of the cell that failed, from 1
    "Say below the title that a cell failed, and show that cell whatever its tags hide."
    cells = notebook['cells']
    code = [i for i, cell in enumerate(cells) if cell['cell_type'] == 'code']
    errors = [i for i in code if any(o['output_type'] == 'error' for o in cells[i]['outputs'])]
    started = [i for i in code if cells[i].get('execution_count') or cells[i]['outputs']]
    at = (errors or started or code)[-1 if errors or started else 0]
    cells[at]['metadata'].pop('tags', None)
    why = html.escape(re.sub(r'\x1b\[[\d;]*m', '', problem).strip().splitlines()[-1])
    cells.insert(at, nbformat.v4.new_markdown_cell('<span id="failed"></span>'))
    cells.insert(1, nbformat.v4.new_markdown_cell(
        f'<div class="admonition error"><p class="admonition-title">A cell fails</p><p><a href="#failed">Cell {at + 1}</a>: <code>{why}</code> The cells below it were not run.</p></div>'))
    return at + 1


# Rendering

def render(notebook:dict, name:str, folder:Path=FOLDER) -> tuple[Path, list[str]]:      # the page, and what Sphinx says of it
    "A book of one page, in this process: what does not change is not read again."
    from jupyter_book.cli.main import main as jupyter_book
    folder = folder.resolve()
    copytree('nbs/assets', folder/'assets', dirs_exist_ok=True)
    (folder/name).parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, folder/name)
    (folder/'_toc.yml').write_text(f'format: jb-book\nroot: {name.removesuffix(".ipynb")}\n')
    page, said = (folder/'_build/html'/name).with_suffix('.html'), io.StringIO()
    page.unlink(missing_ok=True)
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), contextlib.suppress(Exception, SystemExit):
        jupyter_book(['build', str(folder), '--toc', str(folder/'_toc.yml'), '--config', '_config.yml', '--path-output', str(folder), '-q'], standalone_mode=False)
    said = re.sub(r'\x1b\[[\d;]*m', '', said.getvalue())
    if not page.is_file(): raise InputError(f'The page could not be rendered: {said.strip()[-1000:]}')
    return page, [line for line in said.splitlines() if re.search('WARNING|ERROR', line) and 'xref_missing' not in line]      # other pages are missing here, not in the book


def build(path:Path, client:NotebookClient, folder:Path=FOLDER) -> tuple[str, str]:      # the page's HTML, and a report for the terminal
    "Export, run, render."
    from nbdev.doclinks import nbdev_export
    notebook, began, report = nbformat.read(path, as_version=4), time.monotonic(), []
    try: nbdev_export(path=str(path))
    except Exception as error: report.append(f'not exported: {type(error).__name__}: {first_line(error)}')
    for cell in notebook['cells']:
        if cell['cell_type'] == 'code': cell |= dict(outputs=[], execution_count=None)
    notebook['metadata'].pop('widgets', None)
    write_here(notebook, folder)
    if problem := execute(notebook, client): report += [problem, f'cell {tell_failure(notebook, problem)} fails']
    sign_of = signs(notebook)
    for cell in notebook['cells']:
        if cell['cell_type'] == 'markdown': cell['source'] = marked(cell['source'], sign_of)
    page, warnings = render(notebook, path.relative_to('nbs').as_posix().removeprefix('chapters/'), folder)
    return page.read_text(encoding='utf-8'), '\n'.join([*warnings, *report, f'{path}: {time.monotonic() - began:.1f} s'])


# Serving

class Site:
    "The page as it is now, on a local server; the browser asks for its version and reloads when it has changed."
    def __init__(self, name:str, port:int, folder:Path=FOLDER):
        self.version, self.text, self.path = 0, '<!doctype html><meta charset="utf-8"><title>…</title><body><p>The page is being made …</p></body>', f'/{name}'
        self.server = ThreadingHTTPServer(('127.0.0.1', port), functools.partial(Handler, site=self, directory=str(folder/'_build/html')))
        self.address = f'http://localhost:{self.server.server_port}{self.path}'

    def show(self, text:str) -> None: self.version, self.text = self.version + 1, text


class Handler(SimpleHTTPRequestHandler):
    def __init__(self, *args, site:Site, **kwargs): self.site = site; super().__init__(*args, **kwargs)

    def log_message(self, *args): pass

    def end_headers(self): self.send_header('Cache-Control', 'no-store'); super().end_headers()

    def do_GET(self):
        path, version = urlsplit(self.path).path, self.site.version
        if path == '/version': self.answer('text/plain', str(version))
        elif path == self.site.path: self.answer('text/html; charset=utf-8', self.site.text.replace('</body>', RELOAD.format(version) + '</body>'))
        elif path == '/': self.send_response(302); self.send_header('Location', self.site.path); self.end_headers()
        else: super().do_GET()

    def answer(self, kind:str, text:str) -> None:
        self.send_response(200)
        self.send_header('Content-Type', kind)
        self.end_headers()
        self.wfile.write(text.encode())


class Watcher(threading.Thread):
    "Builds the page after every save."
    def __init__(self, path:Path, site:Site): super().__init__(daemon=True); self.path, self.site, self.client = path, site, new_kernel()

    def saved(self):
        "What changes with a save; nothing while the file is being replaced."
        try: stat = self.path.stat()
        except FileNotFoundError: return None
        return stat.st_mtime_ns, stat.st_size

    def run(self):
        seen = None
        while True:
            if (now := self.saved()) in (None, seen): time.sleep(0.1); continue
            seen = now
            try: text, report = build(self.path, self.client)
            except Exception as error: text, report = f'<!doctype html><meta charset="utf-8"><body><pre>{html.escape(str(error))}</pre></body>', str(error)
            print(report, flush=True)
            self.site.show(text)
            end_kernel(self.client)
            self.client = new_kernel()


if __name__ == '__main__':
    try: page, port = chosen_page(sys.argv[1] if sys.argv[1:] else ''), chosen_port(sys.argv[2] if sys.argv[2:] else '', FIRST)
    except InputError as error: print(error, file=sys.stderr); sys.exit(2)
    site = Site(page.relative_to('nbs').with_suffix('.html').as_posix().removeprefix('chapters/'), port)
    watcher = Watcher(page, site)
    watcher.start()
    print(f'{page}: {site.address}\nSave the notebook, and the page follows. Ctrl-C ends it.', flush=True)
    if has_screen(): webbrowser.open(site.address)
    try: site.server.serve_forever()
    except KeyboardInterrupt: pass
    finally: end_kernel(watcher.client)
