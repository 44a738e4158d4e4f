"""JupyterLab on nbs/, with this environment's kernel: `lab.py [PORT]`, or `make lab`.

Only this machine reaches it, and only with the token of the address that is printed. It asks no other machine for news, updates or extensions.
"""
import os
import secrets
import socket
import sys
import threading
import time
from pathlib import Path

from dcgan_nb.foundations.core import InputError

FIRST = 8888      # the port that Jupyter's users know


def is_free(port:int) -> bool:
    "Whether nobody answers there."
    with socket.socket() as s: return s.connect_ex(('127.0.0.1', port)) != 0


def chosen_port(text:str, first:int=FIRST) -> int:
    "The port that was asked for, or, if none was, the first free one; an `InputError` if it is none or is taken."
    if text and not (text.isascii() and text.isdigit() and 1024 <= int(text) <= 65535):
        raise InputError(f'PORT={text} is no port: a whole number from 1024 to 65535, as in PORT={first}.')
    wanted = int(text or first)
    free = next((port for port in [*range(wanted, min(wanted + 50, 65536)), *range(first, first + 50)] if is_free(port)), None)
    if free is None: raise InputError(f'No port from {wanted} on is free: end what listens there.')
    if text and free != wanted: raise InputError(f'PORT={text} is taken by another program. The next free one: PORT={free}.')
    return free


def has_screen() -> bool:
    "Whether a browser can open; on a machine without a screen the address is all there is."
    return sys.platform in ('darwin', 'win32') or any(os.environ.get(name) for name in ('DISPLAY', 'WAYLAND_DISPLAY', 'BROWSER'))


def announce(port:int, text:str) -> None:
    "Print the text as soon as somebody answers at the port."
    while is_free(port): time.sleep(0.1)
    print(text, flush=True)


def options(port:int) -> list[str]:
    "What JupyterLab is told."
    given = {'ServerApp.port': port, 'ServerApp.port_retries': 0, 'ServerApp.ip': '127.0.0.1', 'ServerApp.root_dir': str(Path.cwd()),
             'FileContentsManager.preferred_dir': str(Path('nbs').resolve()), 'ServerApp.open_browser': has_screen(), 'ServerApp.answer_yes': True,
             'ServerApp.allow_root': True, 'Application.log_level': 'ERROR',
             'LabApp.news_url': None, 'LabApp.check_for_updates_class': 'jupyterlab.NeverCheckForUpdate', 'LabApp.extension_manager': 'readonly'}
    return [f'--{name}={value}' for name, value in given.items()]


if __name__ == '__main__':
    try: port = chosen_port(*sys.argv[1:] or [''])
    except InputError as error: print(error, file=sys.stderr); sys.exit(2)
    os.environ['JUPYTER_CONFIG_PATH'] = os.pathsep.join(filter(None, [str(Path(__file__).resolve().parent), os.environ.get('JUPYTER_CONFIG_PATH')]))   # labconfig/: does not ask whether it may fetch news
    token = os.environ.setdefault('JUPYTER_TOKEN', secrets.token_hex(16))
    threading.Thread(target=announce, args=(port, f'JupyterLab: http://localhost:{port}/lab/tree/nbs?token={token}\nCtrl-C ends it; make export after saving.'), daemon=True).start()
    from jupyterlab.labapp import LabApp      # here, because a wrong PORT needs no server
    LabApp.launch_instance(options(port))
