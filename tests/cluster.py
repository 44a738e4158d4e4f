"""A Slurm of one's own on one Debian machine, as root, for tests: python tests/cluster.py start FOLDER [NODES], and stop FOLDER.

Controller, nodes (`slurmd -N`, all on this machine, two CPUs each in Slurm's eyes) and munge keep all that they write in FOLDER. Slurm's commands look
for their configuration in one place only, so the file is linked there: a machine that has a Slurm already is left as it is."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

CONF = Path('/etc/slurm/slurm.conf')
PACKAGES = 'slurm-wlm', 'munge'
TEXT = """ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.sock
SlurmctldPort={port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
MinJobAge=3600
MaxArraySize=2000
KillWait=2
OverTimeLimit=0
SchedulerParameters=sched_interval=1,batch_sched_delay=0
SlurmdParameters=config_overrides
{nodes}
PartitionName=local Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_not():
    "Why there can be no test cluster here; empty if there can."
    if os.geteuid(): return 'it takes root to start one'
    if not shutil.which('slurmctld') and not shutil.which('apt-get'): return 'Slurm is not installed, and this is no Debian'
    if CONF.exists() and not (CONF.is_symlink() and CONF.read_text().startswith(TEXT.splitlines()[0])): return f'this machine has a Slurm of its own ({CONF})'
    if CONF.exists() and subprocess.run(['scontrol', 'ping'], capture_output=True).returncode == 0: return f'a test cluster is at work already ({CONF.readlink().parent})'
    return ''


def install():
    "From Debian, if it is not there."
    if all(shutil.which(name) for name in ('slurmctld', 'slurmd', 'munged')): return
    command = ['apt-get', 'install', '-qq', '-y', '--no-install-recommends', *PACKAGES]
    if subprocess.run(command, capture_output=True).returncode:       # the list of packages may be old
        subprocess.run(['apt-get', 'update', '-qq'], check=True)
        subprocess.run(command, check=True)


def free_ports(n):
    "Ports that nobody uses at the moment."
    sockets = [socket.create_server(('127.0.0.1', 0)) for _ in range(n)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets: s.close()
    return ports


class Cluster:
    "The cluster in a folder; used with `with`, it ends with the block."
    def __init__(self, folder, nodes=1):
        self.folder = Path(folder).resolve()
        self.nodes = [f'n{i + 1}' for i in range(nodes)]

    def start(self):
        if reason := why_not(): raise SystemExit(f'no test cluster: {reason}.')
        install()
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder/'state').mkdir(exist_ok=True)
        host, (port, *ports) = socket.gethostname().split('.')[0], free_ports(1 + len(self.nodes))
        memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') // 2**20 // len(self.nodes)
        nodes = [f'NodeName={n} NodeHostname={host} NodeAddr=127.0.0.1 Port={p} CPUs=2 RealMemory={memory} State=UNKNOWN' for n, p in zip(self.nodes, ports)]
        (self.folder/'slurm.conf').write_text(TEXT.format(host=host, folder=self.folder, port=port, nodes='\n'.join(nodes)))
        CONF.parent.mkdir(exist_ok=True)
        CONF.unlink(missing_ok=True)
        CONF.symlink_to(self.folder/'slurm.conf')
        key = self.folder/'munge.key'
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        at = self.folder
        subprocess.run(['munged', '--force', f'--key-file={key}', f'--socket={at}/munge.sock', f'--pid-file={at}/munged.pid', f'--log-file={at}/munged.log',
                        f'--seed-file={at}/munged.seed'], check=True)
        self.start_controller()
        for node in self.nodes: self.start_node(node)
        self.wait(lambda: self.states() == {'idle'}, 'all nodes are idle')
        return self

    def start_controller(self): subprocess.run(['slurmctld'], check=True)

    def start_node(self, node): subprocess.run(['slurmd', '-N', node], check=True)

    def states(self):
        "The states of all nodes."
        said = subprocess.run(['sinfo', '-h', '-N', '-o', '%t'], capture_output=True, text=True)
        return set(said.stdout.split())

    def wait(self, true, what, seconds=60):
        end = time.monotonic() + seconds
        while not true():
            if time.monotonic() > end: raise TimeoutError(f'after {seconds} s it is still not so that {what}')
            time.sleep(0.2)

    def kill(self, daemon, number=signal.SIGKILL):
        "End one of the cluster's own processes: munged, slurmctld, or slurmd.<node>; by its number, waiting until it is gone."
        path = self.folder/f'{daemon}.pid'
        if not path.exists(): return
        pid = int(path.read_text())
        try: os.kill(pid, number)
        except ProcessLookupError: pass
        self.wait(lambda: not Path(f'/proc/{pid}').exists(), f'{daemon} has ended')
        path.unlink(missing_ok=True)

    def controller_seconds(self):
        "What the controller has computed since it was started, in seconds of a processor."
        user, system = Path(f"/proc/{int((self.folder/'slurmctld.pid').read_text())}/stat").read_text().rsplit(')', 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf('SC_CLK_TCK')

    def crash(self, node):
        "A node dies: its daemon, its jobs, and whoever looks after them, at once."
        mine = f'SLURMD_NODENAME={node}'.encode()
        def of_node(pid):
            try: return mine in Path(f'/proc/{pid}/environ').read_bytes().split(b'\0')
            except OSError: return False
        pids = {int(p.name) for p in Path('/proc').glob('[0-9]*') if of_node(p.name)}
        parents = {int(Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[1]) for pid in pids}
        keepers = {pid for pid in parents if Path(f'/proc/{pid}/comm').read_text().startswith('slurmstepd')}
        self.kill(f'slurmd.{node}')
        for pid in keepers | pids:
            try: os.kill(pid, signal.SIGKILL)
            except ProcessLookupError: pass

    def stop(self):
        for state in 'RUNNING', 'PENDING':
            with suppress(subprocess.TimeoutExpired): subprocess.run(['scancel', f'--state={state}'], capture_output=True, timeout=60)
        time.sleep(1)
        for daemon in (*(f'slurmd.{node}' for node in self.nodes), 'slurmctld', 'munged'): self.kill(daemon, signal.SIGTERM)
        if CONF.is_symlink() and CONF.readlink() == self.folder/'slurm.conf': CONF.unlink()

    def __enter__(self):
        try: return self.start()
        except BaseException:
            self.stop()
            raise
    def __exit__(self, *error): self.stop()


if __name__ == '__main__':
    what, folder, *nodes = [*sys.argv[1:], '', ''][:3]
    if what == 'start' and folder: Cluster(folder, int(nodes[0] or 1)).start()
    elif what == 'stop' and Path(folder, 'slurm.conf').exists():
        Cluster(folder, Path(folder, 'slurm.conf').read_text().count('NodeName=')).stop()
    else: raise SystemExit(__doc__)
