"""One run of a grid, done where this is called: here, in a Slurm job, or on a machine of a Ray cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from ferbench import records
from ferbench.benchmark import torchrun_failures
from ferbench.engine import lock
from ferbench.errors import ExitStatus, UserError, disk_full

CONSOLE = "console.log"
POLL = 0.2  # seconds between two looks at whether to stop
GRACE = 60.0  # seconds that a run has to end by itself: it may be writing a checkpoint
TAIL = 20_000  # bytes of console output in which the reason of a failure is looked for

DROPPED = {"all": (), "best": ("last.pth",), "none": ("*.pth",)}  # by what is kept of a finished run

FINISHED, FAILED, INTERRUPTED, TAKEN, DISK_FULL = "finished", "failed", "interrupted", "taken", "disk full"

_CAN_GO_ON = {
    ExitStatus.STOPPED: INTERRUPTED,
    ExitStatus.INTERRUPTED: INTERRUPTED,
    **{
        -number: INTERRUPTED
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
    },
    ExitStatus.DISK_FULL: DISK_FULL,
    ExitStatus.TAKEN: TAKEN,
}  # by exit code


@dataclass(frozen=True)
class Task:
    """What it takes to do a run (it can be pickled).

    Attributes:
        title: for people.
        folder: of the run.
        command: that trains it, and goes on with it if it was begun.
        blank: its record, should it fail before it has written one.
        retry_failed: whether to do it again if it has failed.
        iterations: of the run.
        images: source images that it sees.
        keep: checkpoints to keep of a finished run: ``all``, ``best`` or ``none``.
        processes: that train it together.
        take_over: do it though it is locked by a machine of which nothing can be known.
    """

    title: str
    folder: Path
    command: tuple[str, ...]
    blank: records.Record
    retry_failed: bool = False
    iterations: int = 0
    images: int = 0
    keep: str = "all"
    processes: int = 1
    take_over: bool = False


@dataclass(frozen=True)
class Outcome:
    """How it ended.

    Attributes:
        word: ``finished``; ``failed``; ``interrupted``: it can go on; ``taken``: somebody else does it; ``disk full``: it
            can go on when there is space.
        reason: why it failed, or who does it.
    """

    word: str
    reason: str | None = None


@dataclass
class Stop:
    """How a runner in the same process asks to end a run: at its own pace, or now."""

    asked: threading.Event = field(default_factory=threading.Event)
    now: threading.Event = field(default_factory=threading.Event)


def execute(task: Task, environment: Mapping[str, str] | None = None, stop: Stop | None = None) -> Outcome:
    """Do a run, unless it is done or somebody else does it; its record says afterwards how it ended.

    Args:
        task: the run.
        environment: variables to set for the training process.
        stop: asks to end it.
    """
    stop = stop or Stop()
    if stop.asked.is_set():
        return Outcome(INTERRUPTED)
    try:
        task.folder.mkdir(parents=True, exist_ok=True)
        held = lock.take(task.folder / lock.NAME, task.take_over)
        if held is None:
            return Outcome(TAKEN, str(lock.owner_of(task.folder / lock.NAME)))
        try:
            return _finished_or_failed(task) or _train(task, held, environment or {}, stop)
        finally:
            held.release()
    except (OSError, UserError) as error:
        return Outcome(FAILED if disk_full(error) is None else DISK_FULL, records.reason_of(error))


def mark_failed(task: Task, reason: str) -> None:
    """Write into the record of a run that it has failed.

    Raises:
        UserError: it cannot be written.
    """
    path = task.folder / records.NAME
    if _record(task) is not None:
        records.mark_failed(path, reason)
        return
    task.folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    records.write(replace(task.blank, status=records.FAILED, failure=reason, written=now), path)


def _finished_or_failed(task: Task) -> Outcome | None:
    """What an earlier start, or another runner in the meantime, has made of the run; None: there is something to do."""
    own = _record(task)
    if own is None:
        return None
    if own.status == records.FINISHED:
        return Outcome(FINISHED)
    if own.status == records.FAILED:
        if not task.retry_failed:
            return Outcome(FAILED, own.failure)
        records.write(replace(own, status=records.RUNNING, failure=None), task.folder / records.NAME)
    return None


def _train(task: Task, held: lock.Lock, environment: Mapping[str, str], stop: Stop) -> Outcome:
    console, mark = task.folder / CONSOLE, uuid.uuid4().hex
    with open(console, "ab") as output:
        start = output.tell()
        process = subprocess.Popen(
            task.command,
            stdin=held.descriptor,  # a training that outlives its runner keeps the lock
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment, "PYTHONPATH": _python_path(), torchrun_failures.MARK: mark},
            start_new_session=True,  # Ctrl-C is the runner's to hand on
        )
        try:
            code = _wait(process, stop)
        except BaseException:  # a Ray task that is cancelled, say
            _end(process)
            raise
        finally:
            if task.processes > 1:
                torchrun_failures.kill_marked(mark)
    return _outcome_of(task, code, _text(console, start), stop)


def _wait(process: subprocess.Popen, stop: Stop) -> int:
    while True:
        try:
            return process.wait(timeout=POLL)
        except subprocess.TimeoutExpired:
            if stop.asked.is_set():
                return _end(process, stop.now)


def _end(process: subprocess.Popen, now: threading.Event | None = None) -> int:
    """Ask a training to end, and kill it and its data-loading processes if it does not."""
    process.terminate()
    for _ in range(int(GRACE / POLL)):
        if now is not None and now.is_set():
            break
        with suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=POLL)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def _outcome_of(task: Task, code: int, output: str, stop: Stop) -> Outcome:
    own = _record(task)
    if code == 0 and own is not None and own.status == records.FINISHED:
        for checkpoint in [f for p in DROPPED[task.keep] for f in task.folder.glob(p)]:
            checkpoint.unlink()
        return Outcome(FINISHED)
    word = INTERRUPTED if stop.asked.is_set() else _CAN_GO_ON.get(code)
    said = own.failure if own is not None and own.status == records.FAILED else _last_error(output)
    how = _ending(code)
    first = torchrun_failures.failure_of(output) if task.processes > 1 else None
    if first is not None:  # the record may have the word of a process that only lost its connection
        word = word or _CAN_GO_ON.get(first.code)
        said, how = first.said, f"process {first.rank}: {_ending(first.code)}"
    if word is not None:
        if own is not None and own.status == records.FAILED:
            records.write(replace(own, status=records.RUNNING, failure=None), task.folder / records.NAME)
        return Outcome(word, None if word == INTERRUPTED else said or how)
    reason = " ".join(f"{said or 'it said nothing'} ({how})".split())
    mark_failed(task, reason)
    return Outcome(FAILED, reason)


def _record(task: Task) -> records.Record | None:
    """The run's record; None if there is none, or a damaged one, which is as good as none."""
    try:
        return records.read(task.folder / records.NAME)
    except UserError:
        return None


def _text(console: Path, start: int) -> str:
    with open(console, "rb") as output:
        output.seek(max(start, console.stat().st_size - TAIL))
        return output.read().decode("utf-8", "replace")


def _last_error(output: str) -> str:
    """Our own message, or the last line: of a traceback that is the error."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    ours = [line.partition(": ")[2] for line in lines if line.startswith(("error: ", "error ("))]
    return (ours or lines or [""])[-1]


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"killed by {name}" + (", for lack of memory unless somebody did it" if name == "SIGKILL" else "")


def _python_path() -> str:
    """Where the training process finds this package, in a checkout that is not installed, too."""
    root = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))


def train_command(
    config: Path, folder: Path, data: str | Path | None, plugins: Sequence[str], processes: int = 1
) -> tuple[str, ...]:
    """The command line that trains a run, or goes on with it; as ``tools/dist_train.sh`` with several processes."""
    torchrun = ["-m", "ferbench.core.torchrun", "--standalone", "--nproc_per_node", str(processes)]
    words = [
        sys.executable,
        *(torchrun if processes > 1 else []),
        "-m",
        "ferbench",
        "train",
        str(config),
        "--work-dir",
        str(folder),
        "--resume",
    ]
    if data is not None:
        words += ["--data", str(data)]
    if plugins:
        words += ["--plugin", *plugins]
    if processes > 1:
        words += ["--launcher", "pytorch"]
    return tuple(words)
