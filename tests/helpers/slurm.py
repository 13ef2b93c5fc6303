"""A Slurm cluster of two nodes on this machine: its daemons run from one folder and listen on the loopback interface.

The daemons are real; a node's CPUs, memory and GPUs are numbers that Slurm counts and nothing enforces.
"""

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from waiting import wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel", "setpriv")
PACKAGES = "munge slurmctld slurmd slurm-client"
NODES = ("node1", "node2")
CPUS = 4
GPUS = 2
MAXIMUM_JOBS = 10_000  # that the controller knows at once, finished ones of the last hour included

CONFIGURATION = """\
ClusterName=lape
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
# A requeued job waits until the credential of its first start has expired: 120 s by default.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdSpoolDir={folder}/%n
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=100
GresTypes=gpu
# The nodes have what is written here, whatever the machine has.
SlurmdParameters=config_overrides
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SchedulerParameters=sched_interval=2,bf_interval=2
ReturnToService=2
SlurmdTimeout=6
MessageTimeout=5
KillWait=2
MinJobAge=3600
MaxJobCount={maximum_jobs}
NodeName=node1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[1]} CPUs={cpus} RealMemory=1000000 Gres=gpu:{gpus}
NodeName=node2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[2]} CPUs={cpus} RealMemory=1000000 Gres=gpu:{gpus}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing_programs() -> list[str]:
    """What has to be installed for a cluster to start here."""
    return [name for name in PROGRAMS if _which(name) is None]


def _which(name: str) -> str | None:
    """A program, in the folders of the daemons too, which are not on every user's path."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]))


class Slurm:
    """The running cluster; `start` makes one.

    Every process of it, jobs included, has its configuration's path in SLURM_CONF, and those of a node have its name
    in SLURMD_NODENAME: by these they are found and killed, so that another cluster on the machine is left alone.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.configuration = folder / "slurm.conf"
        self.environment = self.within(os.environ)
        self._ports = _free_ports(1 + len(NODES))
        self._daemons: dict[str, subprocess.Popen] = {}

    def within(self, environment: Mapping[str, str]) -> dict[str, str]:
        """An environment in which Slurm's commands reach this cluster."""
        others = {key: value for key, value in environment.items() if not key.startswith("SLURM")}
        # Before Slurm's own: see `_write`.
        path = os.pathsep.join([str(self.folder / "bin"), others.get("PATH", os.defpath)])
        return others | {"SLURM_CONF": str(self.configuration), "PATH": path}

    def _configure(self, maximum_jobs: int) -> None:
        settings = {"folder": self.folder, "user": getpass.getuser(), "ports": self._ports, "cpus": CPUS, "gpus": GPUS}
        self.configuration.write_text(CONFIGURATION.format(**settings, maximum_jobs=maximum_jobs))

    def _write(self) -> None:
        """Write everything that the daemons read."""
        for name in ("state", "bin", *NODES):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        self._configure(MAXIMUM_JOBS)
        # A GPU is any character device to Slurm.
        for number in range(GPUS):
            (self.folder / f"gpu{number}").symlink_to("/dev/null")
        (self.folder / "gres.conf").write_text(f"NodeName=node[1-2] Name=gpu File={self.folder}/gpu[0-{GPUS - 1}]\n")
        # The executor's jobs start `srun` without any SLURM_CONF, as a cluster's configuration lies in /etc.
        wrapper = self.folder / "bin" / "srun"
        wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={self.configuration} exec {_which("srun")} "$@"\n')
        wrapper.chmod(0o755)

    def _daemon(self, name: str, *command: str, **environment: str) -> None:
        """Start a daemon that dies with this process, however that ends."""
        with open(self.folder / f"{name}.log", "a") as log:
            self._daemons[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", _which(command[0]), *command[1:]],
                env=self.environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start(self) -> None:
        """Start the daemons; returns when both nodes are idle."""
        self._write()
        files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "out", "seed-file": "seed"}
        flags = [f"--{flag}={self.folder}/munge.{suffix}" for flag, suffix in files.items()]
        # --force: the folder above the socket may be the user's alone.
        self._daemon("munged", "munged", "--foreground", "--force", "--num-threads=10", *flags)
        wait_until((self.folder / "munge.socket").exists, "munged's socket")
        self._daemon("slurmctld", "slurmctld", "-D")
        for node in NODES:
            self.start_node(node)
        wait_until(lambda: set(self.nodes().values()) == {"IDLE"}, "idle nodes")

    def stop(self) -> None:
        """Kill every process of the cluster, its jobs' included."""
        for daemon in self._daemons.values():
            daemon.kill()
        wait_until(lambda: not self._kill(), "the end of the cluster's processes")
        for daemon in self._daemons.values():
            daemon.wait()

    def restart_controller(self, maximum_jobs: int = MAXIMUM_JOBS) -> None:
        """Stop slurmctld and start it again with the state that it saved, to take so many jobs at once."""
        controller = self._daemons.pop("slurmctld")
        controller.terminate()
        controller.wait()
        self._configure(maximum_jobs)
        self._daemon("slurmctld", "slurmctld", "-D")
        wait_until(self.nodes, "the controller's answer")

    def clear(self) -> None:
        """Cancel all jobs and bring back all nodes; returns when they are idle."""
        self.run("scancel", f"--user={getpass.getuser()}")
        for node in NODES:
            if self._daemons[node].poll() is not None:
                self.start_node(node)

        def idle() -> bool:
            states = self.nodes()
            for node, state in states.items():
                # A node that was dead reports itself as soon as it is up; until then it cannot be resumed.
                if state in ("DRAINED", "DOWN"):
                    self.run("scontrol", "update", f"nodename={node}", "state=resume")
            return set(states.values()) == {"IDLE"}

        wait_until(idle, "idle nodes")

    def log(self, daemon: str) -> str:
        """What a daemon has logged."""
        return (self.folder / f"{daemon}.log").read_text(errors="replace")

    def start_node(self, node: str) -> None:
        """Start a node's slurmd."""
        self._daemon(node, "slurmd", "-D", "-N", node, SLURMD_NODENAME=node)

    def kill_node(self, node: str) -> None:
        """What a power cut does to a node: its slurmd, its job steps and their processes die at once."""
        wait_until(lambda: not self._kill(node), f"the end of the processes of {node}")
        self._daemons[node].wait()

    def _kill(self, node: str | None = None) -> int:
        """Kill the processes of a node, or all of the cluster; returns how many there were."""
        marks = {f"SLURM_CONF={self.configuration}"} | ({f"SLURMD_NODENAME={node}"} if node else set())
        found = 0
        for process, variables in _environments():
            if marks <= variables:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
                    found += 1
        return found

    def variables(self, program: str) -> list[dict[str, str]]:
        """Environments of the jobs' running processes whose command line contains a text."""
        found = []
        for process, variables in _environments():
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                pairs = dict(variable.split("=", 1) for variable in variables if "=" in variable)
                if program in line and pairs.get("SLURM_CONF") == str(self.configuration):
                    found.append(pairs)
        return found

    def run(self, *command: str) -> str:
        """Run a command of Slurm; returns what it printed."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def nodes(self) -> dict[str, str]:
        """The state of each node, such as IDLE, MIXED or DOWN*; none where the controller does not answer yet."""
        done = subprocess.run(["sinfo", "-hN", "-o", "%N %T"], env=self.environment, capture_output=True, text=True)
        return {name: state.upper() for name, state in (line.split() for line in done.stdout.splitlines())}

    def jobs(self) -> list[dict[str, str]]:
        """The jobs that the controller knows, finished ones included, with their comment, which names the rule.

        A task of an array has an `id` such as 7_2 and a `number` like any job's.
        """
        lines = self.run("squeue", "-h", "--array", "--states=all", "-o", "%i|%A|%T|%k|%N").splitlines()
        return [dict(zip(("id", "number", "state", "comment", "node"), line.split("|"), strict=True)) for line in lines]


def _environments() -> Iterator[tuple[int, set[str]]]:
    """Every other process that this user may look into, with the variables that it was started with."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                yield int(entry.name), set((entry / "environ").read_bytes().decode(errors="replace").split("\0"))


def _free_ports(number: int) -> list[int]:
    """TCP ports of the loopback interface that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Slurm]:
    """A cluster in a new folder, for the length of a block."""
    folder.mkdir(parents=True)
    slurm = Slurm(folder)
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()
