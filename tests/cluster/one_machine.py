"""A Slurm cluster of this one machine."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from ferbench.engine import slurm as ours

SECONDS = 300.0  # that anything here may take
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol", "sinfo", "squeue")

CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld}
SlurmdPort={slurmd}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CryptoType=crypto/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
KillWait=60
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES PriorityTier=1 GraceTime=60 State=UP
PartitionName=urgent Nodes={host} PriorityTier=10 State=UP
"""


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for what another process does."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.2)


class Slurm:
    """A cluster of this machine: four CPUs, of which ``urgent`` takes what ``main`` has."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: list[subprocess.Popen] = []

    def start(self) -> None:
        ports = [_free_port(), _free_port()]
        text = CONF.format(
            folder=self.folder, host=socket.gethostname().split(".")[0], ctld=ports[0], slurmd=ports[1]
        )
        (self.folder / "slurm.conf").write_text(text)
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        own = ("socket", "pid", "log", "seed")
        files = [
            f"--{name}{'' if name == 'socket' else '-file'}={self.folder / f'munge.{name}'}" for name in own
        ]
        self._daemon("munged", "--foreground", "--force", f"--key-file={key}", *files)
        until((self.folder / "munge.socket").exists, "munged does not answer")
        self._daemon("slurmctld", "-D")
        self._daemon("slurmd", "-D")
        until(
            lambda: "idle" in self.run("sinfo", "--noheader", check=False).stdout, "the node does not come up"
        )

    def stop(self) -> None:
        self.run("scancel", "--user=root", check=False)
        try:
            until(
                lambda: not self.run("squeue", "--noheader", check=False).stdout.strip(), "a job does not end"
            )
        finally:
            for daemon in reversed(self._daemons):
                daemon.terminate()
                daemon.wait()

    def _daemon(self, *words: str) -> None:
        out = open(self.folder / f"{words[0]}.out", "wb")  # noqa: SIM115 - the daemon's
        self._daemons.append(
            subprocess.Popen(words, env=self.environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        )

    def run(self, *words: object, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command that finds this cluster, and none other."""
        done = subprocess.run(
            list(map(str, words)),
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def shown(self, job: str) -> ours.Shown:
        known = ours.shown(job)
        assert known is not None
        return known


def _free_port() -> int:
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return own.getsockname()[1]
