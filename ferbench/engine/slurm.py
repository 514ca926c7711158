"""Slurm: the job of this process, from its environment, and the state of a job, from its controller."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import NamedTuple

from ferbench.errors import UserError

FIRST_PORT, PORTS = 15_000, 15_000  # below Linux' ports for outgoing connections, which begin at 32768
SECONDS_TO_ANSWER = 20.0

_OVER = (
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED",
    "TIMEOUT",
)  # fmt: skip


class Job(NamedTuple):
    """One start of a Slurm job.

    Attributes:
        id: as Slurm's commands take it: ``12``, or ``12_3`` for a member of an array.
        restarts: how often the job had been requeued before this start.
        cluster: name of its cluster.
    """

    id: str
    restarts: int
    cluster: str

    def __str__(self) -> str:
        return f"Slurm job {self.id}"


def own_job() -> Job | None:
    """The job of this process; None outside Slurm."""
    number = os.environ.get("SLURM_JOB_ID")
    if not number:
        return None
    array, member = (os.environ.get(f"SLURM_ARRAY_{name}") for name in ("JOB_ID", "TASK_ID"))
    if array and member:
        number = f"{array}_{member}"
    restarts = os.environ.get("SLURM_RESTART_COUNT", "0")
    return Job(number, int(restarts or 0), os.environ.get("SLURM_CLUSTER_NAME", ""))


def is_over(job: Job) -> bool | None:
    """Whether a start of a job has ended; None if the controller does not answer, or the job is of another cluster."""
    cluster = re.search(r"^ClusterName\s*=\s*(\S+)", _ask("show", "config") or "", re.MULTILINE)
    if cluster is None or (job.cluster and cluster[1] != job.cluster):
        return None
    known = shown(job.id)
    return None if known is None else known.over or known.restarts > job.restarts


class Shown(NamedTuple):
    """State of a job.

    Attributes:
        state: e.g. ``RUNNING``; empty for an unknown job: the controller forgets a job some minutes after its end.
        restarts: how often the job was requeued.
    """

    state: str
    restarts: int

    @property
    def over(self) -> bool:
        """Whether the job has ended and will not be started again."""
        return not self.state or self.state in _OVER


def shown(number: str) -> Shown | None:
    """Ask the controller for the state of a job; None if it does not answer.

    Args:
        number: ``12``, or ``12_3`` for a member of an array.
    """
    answer = _ask("show", "job", "--oneliner", number)
    for line in (answer or "").splitlines():
        told = dict(re.findall(r"\b(JobId|JobState|Restarts)=(\w+)", line))
        if "JobState" in told and ("_" in number or told.get("JobId") == number):
            return Shown(told["JobState"], int(told.get("Restarts", 0)))
    return Shown("", 0) if "Invalid job id" in (answer or "") else None


def set_environment() -> None:
    """Set the variables of torchrun from those of Slurm; an address and a port that the user has set are kept.

    Raises:
        UserError: one of Slurm's variables is missing.
    """
    for ours, theirs in (
        ("RANK", "SLURM_PROCID"),
        ("WORLD_SIZE", "SLURM_NTASKS"),
        ("LOCAL_RANK", "SLURM_LOCALID"),
    ):
        if theirs not in os.environ:
            raise UserError(
                f"--launcher slurm, but {theirs} is not set", fix="start it by tools/slurm_train.sh"
            )
        os.environ[ours] = os.environ[theirs]
    os.environ.setdefault("MASTER_PORT", str(port_of(*map(_number, ("SLURM_JOB_ID", "SLURM_STEP_ID")))))
    os.environ.setdefault("MASTER_ADDR", _address())


def port_of(job: int, step: int = 0) -> int:
    """Port at which the processes of a job step meet; it differs between jobs, and steps, that share a node.

    Args:
        job: number of the job.
        step: number of the step; at most 31 steps of a job may run at a time.

    >>> port_of(12), port_of(13), port_of(13, step=1)
    (15372, 15403, 15404)
    """
    return FIRST_PORT + (31 * job + step % 31) % PORTS


def first_host(nodes: str) -> str:
    """The first node of a list as Slurm writes it.

    >>> first_host("rack[2-3]n[07,09-12],login")
    'rack2n07'
    """
    first = re.match(r"(?:\[[^\]]*\]|[^,\[])*", nodes)
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first[0] if first else "")


def _address() -> str:
    """Address of process 0: the first node of the step (``srun`` may have been typed on a login node)."""
    nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_JOB_NODELIST", "")
    count = os.environ.get("SLURM_STEP_NUM_NODES") or os.environ.get("SLURM_JOB_NUM_NODES", "1")
    return "127.0.0.1" if count == "1" or not nodes else first_host(nodes)


def _number(variable: str) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else 0


def _ask(*words: str) -> str | None:
    """The output of ``scontrol``, errors included; None without Slurm, or if the controller does not answer."""
    if shutil.which("scontrol") is None:
        return None
    try:
        done = subprocess.run(
            ["scontrol", *words], capture_output=True, text=True, timeout=SECONDS_TO_ANSWER, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout + done.stderr
