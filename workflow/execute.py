"""Papermill, with its arguments, for many notebooks at once: `python -S execute.py NOTEBOOK …`; `execute.py serve SOCKET` makes it begin warm.

Its kernels talk through sockets with names of their own, not through ports, which two kernels that start at the same moment might both choose. And most of the
time that a short run or a page takes is imports: papermill, then PyTorch, SciPy and seaborn in its kernel. The server, which the workflow starts, has loaded them
once, and nothing of this project; papermill and its kernel are forks of it, and otherwise what they are without it: processes of their own, with the caller's
folder, environment and terminal.
"""
import os
import signal
import socket
import sys

SERVER = 'DCGAN_NB_WARM'       # the environment variable that says where the server listens; empty: there is none


# Who asks: no more imports than needed, and none of other packages.

def asked(words:list[str]) -> int|None:
    "What papermill ended with, if a server answers. The signals that we get are papermill's."
    import array
    import json
    try:
        server = socket.socket(socket.AF_UNIX)
        server.connect(os.environ.get(SERVER, ''))
        message = json.dumps(dict(words=words, cwd=os.getcwd(), env=dict(os.environ), group=os.getpgrp())).encode()
        server.sendmsg([len(message).to_bytes(4, 'big')], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [0, 1, 2]))])
        server.sendall(message)
        child = int(server.recv(20))
    except (OSError, ValueError): return None           # nobody is there, or no longer
    for number in signal.SIGINT, signal.SIGTERM: signal.signal(number, lambda n, frame: os.kill(child, n))
    try: return int(server.recv(20))
    except (OSError, ValueError): return 1              # who answered was killed


# Papermill itself.

def papermill(words:list[str], launch=None) -> None:
    "The command, in this process; `launch` starts its kernel, in place of what does so ever."
    from papermill.cli import papermill as command
    import tempfile
    import jupyter_client
    from jupyter_client.provisioning import local_provisioner
    from traitlets import default

    class Manager(jupyter_client.AsyncKernelManager):
        @default('transport')
        def _transport(self): return 'ipc'
        @default('ip')
        def _sockets(self):      # how their names begin; Linux needs no files for them
            return ('@' if sys.platform == 'linux' else f'{tempfile.gettempdir()}/') + f'kernel-{os.getpid()}-{os.urandom(4).hex()}'
    jupyter_client.AsyncKernelManager = Manager
    if launch: local_provisioner.launch_kernel = launch
    sys.argv = ['papermill', *words, '--start-timeout', '300']      # seconds, on a machine that is busy
    command()


class Kernel:
    """A fork that will be a kernel, with what jupyter_client wants of a `Popen`. It is there before papermill has threads, because a lock that one of these holds
    would never be free in a fork."""
    def __init__(self):
        self.returncode, self.stdin, self.stdout, self.stderr = None, None, None, None
        told, self.tell = os.pipe()
        def live():
            os.close(self.tell)
            os.setsid()        # a signal to papermill's group is not one to its kernel
            with open(told) as words: told_what = words.read()
            if not told_what: return          # papermill has ended before it wanted a kernel
            import json
            command, cwd, env = json.loads(told_what)
            settle(cwd, env, [os.open(os.devnull, os.O_RDONLY)])
            from ipykernel.kernelapp import IPKernelApp
            IPKernelApp.launch_instance(argv=[*command[command.index('ipykernel_launcher') + 1:], f"--IPKernelApp.parent_handle={env['JPY_PARENT_PID']}"])
        self.pid = fork(live)
        os.close(told)

    def launch(self, command:list[str], env:dict|None=None, cwd:str|None=None, **given):
        "In place of jupyter_client's function of this name."
        import json
        with open(self.tell, 'w') as words: words.write(json.dumps([command, cwd or os.getcwd(), dict(env or os.environ) | dict(JPY_PARENT_PID=str(os.getpid()))]))
        return self

    def poll(self):
        if self.returncode is None:
            try: pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError: self.returncode = 0
            else: self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout=None):
        import subprocess
        import time
        end = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if end is not None and time.monotonic() > end: raise subprocess.TimeoutExpired('kernel', timeout)
            time.sleep(0.01)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None: os.kill(self.pid, number)
    def kill(self): self.send_signal(signal.SIGKILL)
    def terminate(self): self.send_signal(signal.SIGTERM)


# Who answers.

def fork(do) -> int:
    "A process of its own, which ends with what `do` ends with; its id."
    if child := os.fork(): return child
    code = 1
    try:
        do()
        code = 0
    except SystemExit as end: code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except KeyboardInterrupt: code = 130
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        for stream in sys.stdout, sys.stderr:
            try: stream.flush()
            except (OSError, ValueError): pass
        os._exit(code)


def load() -> None:
    "What all pages and runs load first."
    os.environ.setdefault('MPLBACKEND', 'module://matplotlib_inline.backend_inline')      # as a kernel has it
    import ipykernel.kernelapp, matplotlib.pyplot, nbclient, pandas, papermill.cli, scipy.stats, seaborn, torch, torch._dynamo       # noqa: E401, F401
    pandas.set_option('display.max_columns', 20)           # what pandas finds when a kernel loads it; here it believes in a terminal


def settle(cwd:str, env:dict, files:list) -> None:
    "A fork becomes a process of its caller."
    import numpy
    import torch
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in signal.SIGTERM, signal.SIGCHLD: signal.signal(number, signal.SIG_DFL)
    for here, file in enumerate(files):
        if file is not None: os.dup2(file if isinstance(file, int) else file.fileno(), here)
    os.chdir(cwd)
    there, given = ([os.path.abspath(path) for path in e.get('PYTHONPATH', '').split(os.pathsep) if path] for e in (os.environ, env))
    sys.path[:] = given + [path for path in sys.path if path not in there]
    os.environ.clear()
    os.environ.update(env)
    if (n := env.get('OMP_NUM_THREADS', '')).isdigit(): torch.set_num_threads(int(n))       # which PyTorch reads when it is loaded
    torch.seed()               # who does not choose a seed has another one in every process
    numpy.random.seed()


def answer(caller:socket.socket) -> None:
    "In a fork of the server: another fork is the papermill that was asked for; this one waits for it, and ends it if the caller is no more."
    import json
    import select
    head, files, *_ = socket.recv_fds(caller, 4, 3)
    message = b''
    while len(message) < int.from_bytes(head, 'big'): message += caller.recv(1 << 16)
    wanted = json.loads(message)
    def live():
        caller.close()
        try: os.setpgid(0, wanted['group'])          # Ctrl-C in the caller's terminal reaches it
        except OSError: pass                         # in another session it cannot be; the caller hands signals on
        settle(wanted['cwd'], wanted['env'], files)
        papermill(wanted['words'], Kernel().launch)
    child = fork(live)
    caller.sendall(str(child).encode())
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if select.select([caller], [], [], 0.02)[0]: os.kill(child, signal.SIGKILL)
    caller.sendall(str(abs(os.waitstatus_to_exitcode(ended[1]))).encode())


def serve(path:str) -> None:
    "Until the process that started this one has ended."
    parent, server = os.getppid(), socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(64)
    server.settimeout(0.5)
    print('who asks now waits until all is loaded', flush=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)       # Ctrl-C is meant for those who were asked for
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)      # nobody waits for the forks
    try:
        load()
        while os.getppid() == parent:
            try: caller, _ = server.accept()
            except TimeoutError: continue
            def live():
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                server.close()
                answer(caller)
            fork(live)
            caller.close()
    finally: os.unlink(path)


if __name__ == '__main__':
    del sys.path[0]                # this folder: kernels shall find no more here than they do elsewhere
    first, *words = sys.argv[1:]
    if first == 'serve': serve(*words)
    elif not sys.flags.no_site: papermill(sys.argv[1:])
    elif (code := asked(sys.argv[1:])) is None: os.execv(sys.executable, [sys.executable, *sys.argv])
    else: sys.exit(code)
