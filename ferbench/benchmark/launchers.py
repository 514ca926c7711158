"""Where the runs of a grid are done: on this machine, as Slurm jobs (submitit), or on a Ray cluster.

Each launcher is told runs and hands back handles. What a run is, its lock and its record are `ferbench.benchmark.execute`'s
affair, wherever that is called; the folder of the grid must be visible under one path on all machines.
"""

from __future__ import annotations

import os
import queue
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from ferbench.benchmark.execute import (
    DISK_FULL,
    FAILED,
    INTERRUPTED,
    TAKEN,
    Outcome,
    Stop,
    Task,
    execute,
    mark_failed,
)
from ferbench.core.process import available_cores
from ferbench.engine import lock, slurm
from ferbench.errors import UserError

SECONDS_BETWEEN_QUESTIONS = 15.0  # to Slurm, of a job
#: States of a Slurm job whose run can go on.
_NO_FAILURE = (
    "BOOT_FAIL",
    "CANCELLED",
    "DEADLINE",
    "NODE_FAIL",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
    "forgotten",
)


class Handle(Protocol):
    """A run that was launched."""

    def done(self) -> bool:
        """Whether it has ended."""
        ...

    def result(self) -> Outcome:
        """How; only when it has ended."""
        ...


class Launcher(ABC):
    """Base of all launchers.

    Attributes:
        width: runs that may be handed over at a time; None: all, it does them in turn.
    """

    width: int | None = None

    @abstractmethod
    def launch(self, tasks: Sequence[Task]) -> list[Handle]:
        """Hand over runs; a handle each, in their order."""

    @abstractmethod
    def stop(self, now: bool = False) -> None:
        """Ask all runs to end; ``now``: at once. They can go on later."""

    @abstractmethod
    def close(self) -> None:
        """Give back what the launcher holds, when nothing is under way any more."""


class LocalLauncher(Launcher):
    """Processes of this machine: each run has its own share of the cores, and GPUs in turn where there are some.

    Args:
        jobs: runs at a time.
        processes: of each run.
    """

    def __init__(self, jobs: int, processes: int = 1):
        self._stop = Stop()
        self._slots: queue.Queue[dict[str, Any]] = queue.Queue()
        for slot in slots(jobs, processes):
            self._slots.put(slot)
        self._threads = ThreadPoolExecutor(jobs, thread_name_prefix="run")

    def launch(self, tasks: Sequence[Task]) -> list[Handle]:
        """See `Launcher.launch`."""
        return [_LocalHandle(self._threads.submit(self._do, task)) for task in tasks]

    def stop(self, now: bool = False) -> None:
        """See `Launcher.stop`."""
        self._stop.asked.set()
        if now:
            self._stop.now.set()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """See `Launcher.close`."""
        self._threads.shutdown(wait=True)

    def _do(self, task: Task) -> Outcome:
        slot = self._slots.get_nowait()  # there are as many as threads
        try:
            if slot["cores"] is not None:
                os.sched_setaffinity(0, slot["cores"])  # of this thread, which the training process inherits
            outcome = execute(task, slot["environment"], self._stop)
            if outcome.word == DISK_FULL:  # before the next one begins
                self._stop.asked.set()
            return outcome
        finally:
            self._slots.put(slot)


class _LocalHandle:
    def __init__(self, future: Future[Outcome]):
        self.done, self._future = future.done, future

    def result(self) -> Outcome:
        try:
            return self._future.result()
        except CancelledError:
            return Outcome(INTERRUPTED)


class SlurmLauncher(Launcher):
    """One Slurm job per run, as an array, by submitit.

    Args:
        folder: for what submitit writes.
        jobs: jobs at a time, or None.
        parameters: of submitit's executor (``slurm_partition``, ``timeout_min``, ``gpus_per_node``, ``cpus_per_task``, ...).

    Raises:
        UserError: submitit is not installed, or takes no such parameter.
    """

    def __init__(self, folder: Path, jobs: int | None, parameters: Mapping[str, Any]):
        submitit = _module("submitit", "slurm")
        self._executor = submitit.AutoExecutor(folder=folder, cluster="slurm")
        limit = {} if jobs is None else {"slurm_array_parallelism": jobs}
        try:
            self._executor.update_parameters(**{**limit, **parameters})
        except (NameError, TypeError, ValueError) as error:
            raise UserError(
                f"submitit refuses the parameters: {error}", where="`slurm` in the grid", expected="its own names",
            ) from error  # fmt: skip
        self._jobs: list[Any] = []

    def launch(self, tasks: Sequence[Task]) -> list[Handle]:
        """See `Launcher.launch`."""
        if not tasks:
            return []
        with self._executor.batch():
            jobs = [self._executor.submit(execute, task) for task in tasks]
        self._jobs += jobs
        return [_SlurmHandle(task, job) for task, job in zip(tasks, jobs, strict=True)]

    def stop(self, now: bool = False) -> None:
        """See `Launcher.stop`."""
        for job in self._jobs:
            job.cancel()

    def close(self) -> None:
        """See `Launcher.close`; Slurm is told nothing."""


class RayLauncher(Launcher):
    """One Ray task per run.

    Args:
        jobs: tasks at a time; None: as many as the cluster's resources allow.
        options: ``address`` of the cluster (default ``auto``); the others are those of a task (``num_cpus``, ``num_gpus``).

    Raises:
        UserError: Ray is not installed, or there is no cluster.
    """

    def __init__(self, jobs: int | None, options: Mapping[str, Any]):
        self._ray = _module("ray", "ray")
        own = {k: v for k, v in options.items() if k != "address"}
        address = options.get("address", "auto")
        try:
            self._ray.init(address=address, ignore_reinit_error=True)
        except (ConnectionError, ValueError) as error:
            raise UserError(
                f"there is no Ray cluster: {error}", where=address, fix="start one: ray start --head",
            ) from error  # fmt: skip
        self._execute = self._ray.remote(**{"max_retries": 0, "num_cpus": 1, **own})(execute)
        self._tasks: list[Any] = []
        self.width = jobs

    def launch(self, tasks: Sequence[Task]) -> list[Handle]:
        """See `Launcher.launch`."""
        handles: list[Handle] = []
        for task in tasks:
            reference = self._execute.remote(task)
            self._tasks.append(reference)
            handles.append(
                _RemoteHandle(
                    task,
                    lambda r=reference: bool(self._ray.wait([r], timeout=0)[0]),
                    lambda r=reference: self._ray.get(r),
                )
            )
        return handles

    def stop(self, now: bool = False) -> None:
        """See `Launcher.stop`."""
        for reference in self._tasks:
            self._ray.cancel(reference, force=now)

    def close(self) -> None:
        """See `Launcher.close`."""
        self._ray.shutdown()


class _RemoteHandle:
    """A run on another machine, which may end without telling how: its node or its job was taken away."""

    def __init__(self, task: Task, done: Any, result: Any):
        self.task, self.done, self._result = task, done, result

    def result(self) -> Outcome:
        try:
            return self._result()
        except Exception as error:
            return self._lost(error)

    def _lost(self, error: Exception, state: str = "") -> Outcome:
        """What is to be said of a run whose process told nothing: it is over only if nobody can hold its lock any more."""
        known, owner = lock.look(self.task.folder / lock.NAME)
        if known is not lock.State.FREE:
            return Outcome(TAKEN, str(owner))
        if state.startswith(_NO_FAILURE) or "Cancelled" in type(error).__name__:
            return Outcome(INTERRUPTED)
        first = next(iter(str(error).splitlines()), "")  # submitit goes on with the job's whole output
        reason = " ".join(f"{state} {type(error).__name__}: {first}".split())
        mark_failed(self.task, reason)
        return Outcome(FAILED, reason)


class _SlurmHandle(_RemoteHandle):
    """A job, whose end is known by its result, or by Slurm: submitit asks only ``sacct``, which many clusters lack.

    A job that Slurm has put back into its queue is not over.
    """

    def __init__(self, task: Task, job: Any):
        super().__init__(task, self._is_done, job.result)
        self._job, self._state = job, ""
        self._asked = time.monotonic()

    def _is_done(self) -> bool:
        if self._state or self._job.done():
            return True
        if time.monotonic() < self._asked + SECONDS_BETWEEN_QUESTIONS:
            return False
        self._asked = time.monotonic()
        known = slurm.shown(str(self._job.job_id))
        if known is not None and known.over and not self._job.done():  # the result may have come in between
            self._state = known.state or "forgotten by Slurm"
        return bool(self._state)

    def result(self) -> Outcome:
        if self._state:
            return self._lost(RuntimeError(f"job {self._job.job_id} left no result"), self._state)
        return super().result()

    def _lost(self, error: Exception, state: str = "") -> Outcome:
        return super()._lost(error, state or str(self._job.state))


def make_launcher(
    kind: str,
    jobs: int | None,
    folder: Path,
    slurm: Mapping[str, Any],
    ray: Mapping[str, Any],
    processes: int = 1,
) -> Launcher:
    """The launcher of a name.

    Args:
        kind: ``local``, ``slurm`` or ``ray``.
        jobs: runs at a time; None: one on this machine, else as many as there may be.
        folder: of the grid.
        slurm: see `SlurmLauncher`.
        ray: see `RayLauncher`.
        processes: of each run; more than one only for the local one (see `require_processes`).

    Raises:
        UserError: what it needs is not there.
    """
    if kind == "slurm":
        return SlurmLauncher(folder / "slurm", jobs, slurm)
    if kind == "ray":
        return RayLauncher(jobs, ray)
    return LocalLauncher(jobs or 1, processes)


def require_processes(kind: str, processes: int) -> None:
    """Refuse what a launcher cannot give to each run.

    Args:
        kind: see `make_launcher`.
        processes: of each run.

    Raises:
        UserError: there are several, and the launcher is not the local one, or this machine has GPUs, but fewer.
    """
    if processes == 1:
        return
    if kind != "local":
        raise UserError(
            f"each run is to have {processes} processes, which only the local launcher starts",
            where=f"`processes` in the grid, --launcher {kind}", expected="processes = 1, or --launcher local",
        )  # fmt: skip
    gpus = _gpus()
    if 0 < len(gpus) < processes:
        raise UserError(
            f"each run is to have {processes} processes, but {len(gpus)} GPUs are visible",
            where="`processes` in the grid", expected="a GPU for each process (or none at all: CUDA_VISIBLE_DEVICES=)",
        )  # fmt: skip


def slots(jobs: int, processes: int = 1) -> list[dict[str, Any]]:
    """Shares of this machine: ``cores`` (a set, or None where processes cannot be bound) and ``environment`` of each.

    Args:
        jobs: number of shares. With more of them than cores, they take turns on all cores with one thread each.
        processes: that divide each share among them: its cores, and as many GPUs, one after the other.
    """
    cores = available_cores()
    own = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    bound = len(own) == cores and jobs <= cores  # not under a container's quota, which no core belongs to
    gpus = _gpus()
    groups = [gpus[i : i + processes] for i in range(0, len(gpus) - processes + 1, processes)]
    found = []
    for i in range(jobs):
        share = set(own[i * cores // jobs : (i + 1) * cores // jobs]) if bound else None
        threads = len(share) if share else max(1, cores // jobs)
        threads = max(1, threads // processes)
        environment = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(threads)}
        if groups:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(groups[i % len(groups)])
        found.append({"cores": share, "environment": environment})
    return found


def _gpus() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    import torch

    return [str(i) for i in range(torch.cuda.device_count())]


def _module(name: str, extra: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(
            f"--launcher {extra} needs the package {name}", fix=f"pip install 'ferbench[{extra}]'"
        ) from error
