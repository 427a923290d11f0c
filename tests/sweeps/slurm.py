"""A SLURM cluster of one node and two cores on this machine, without accounting; it ends with its context."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthInfo=socket={folder}/munge.socket
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
NodeName={host} NodeAddr=127.0.0.1 CPUs=2
PartitionName=all Nodes=ALL Default=YES
"""


def missing() -> str:
    """Return why no cluster can be started here; nothing if one can."""
    programs = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name) is None]
    if programs:
        return f"needs {', '.join(programs)}: apt-get install slurm-wlm munge"
    if find_spec("hydra_plugins.hydra_submitit_launcher") is None:
        return 'needs hydra-submitit-launcher: pip install -e ".[cluster]"'
    return "" if os.geteuid() == 0 else "needs root: slurmd starts jobs as their users"


@contextmanager
def cluster(folder: Path) -> Iterator[None]:
    """Run a cluster whose files lie in a folder."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(64))
    (folder / "munge.key").chmod(0o400)
    host = socket.gethostname().partition(".")[0]
    (folder / "slurm.conf").write_text(_CONF.format(folder=folder, host=host, ports=_free_ports(2)))
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    own = [f"--{name}={folder}/munge.{name.partition('-')[0]}" for name in ("key-file", "socket", "pid-file")]
    own += [f"--log-file={folder}/munged.log", f"--seed-file={folder}/munge.seed"]
    with ExitStack() as stack:
        stack.callback(os.environ.pop, "SLURM_CONF")
        stack.enter_context(_daemon(folder, "munged", "--foreground", "--force", *own))
        wait_for(lambda: (folder / "munge.socket").exists())
        stack.enter_context(_daemon(folder, "slurmctld", "-D"))
        stack.enter_context(_daemon(folder, "slurmd", "-D"))
        wait_for(lambda: ask("sinfo", "--noheader", "--format=%T") == "idle")
        stack.callback(end_jobs)
        yield


def ask(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def queue() -> dict[str, str]:
    """Return the state of each job that SLURM has."""
    lines = ask("squeue", "--array", "--noheader", "--format=%i %T").splitlines()
    return dict(line.split() for line in lines)


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.2)


@contextmanager
def _daemon(folder: Path, *command: str) -> Iterator[None]:
    with (folder / f"{command[0]}.out").open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as daemon:
        try:
            yield
        finally:
            daemon.terminate()


def end_jobs() -> None:
    """Cancel all jobs, and wait until none of their processes is left."""
    ask("scancel", "--signal=KILL", "--full", "--user=root")
    ask("scancel", "--user=root")
    wait_for(lambda: not queue())


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
