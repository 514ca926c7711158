"""The lock of a run's folder: at most one training works in it, and a training that has died does not block it.

The lock is a file in the folder. It is created with O_EXCL, which is atomic on network file systems too, and names its owner
(host, process, time, Slurm job). The owner also holds the kernel's ``flock`` on it, which the kernel releases when the last
process that holds it has ended, however it ended. The runner of a grid passes its lock to the training as standard input,
which every process in between (torchrun and its workers) inherits.

The lock of a dead owner is taken over if the death is proved:

- the owner was on this machine, and no process of this machine holds the ``flock``;
- the file system has no ``flock``, and the owner's process is gone or the machine has been rebooted;
- Slurm says that the owner's job is over.

In every other case only the user can know.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path

from ferbench.engine import slurm
from ferbench.errors import FolderTaken, UserError

NAME = ".lock"
ATTEMPTS, PAUSE = 3, 0.02  # `look` holds the lock of somebody else for an instant
YOUNG = 60.0  # seconds during which a lock file without an owner may still be being written
STDIN = 0


class State(Enum):
    """What is known of a lock."""

    FREE = "free"  # or left behind by an owner that is proved to be dead
    HELD = "held"
    UNKNOWN = "unknown"  # its owner is, or was, on another machine; this one cannot tell whether it lives


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock.

    Attributes:
        host: name of its machine; empty if unknown.
        pid: its process id.
        since: when it took the lock (ISO 8601, UTC).
        boot: id of the machine's boot.
        namespace: namespace of the process id (each container has its own).
        started: start time of the process in clock ticks since the boot, as process ids are used again.
        job: its Slurm job.
    """

    host: str
    pid: int
    since: str
    boot: str = ""
    namespace: str = ""
    started: str = ""
    job: slurm.Job | None = None

    def __str__(self) -> str:
        if not self.host:
            return "an unknown process"
        return f"process {self.pid} on {self.host}{f' ({self.job})' if self.job else ''} since {self.since}"


class Lock:
    """A lock that is held; see `take`.

    Attributes:
        path: the lock file.
        descriptor: of the open file. A child process that inherits it holds the lock, too. Forked children (data-loading
            workers) close it: else they would keep the lock of a training that was killed.
    """

    _open: set[int] = set()

    def __init__(self, path: Path, descriptor: int):
        self.path, self.descriptor = path, descriptor
        owner = Owner(
            socket.gethostname(), os.getpid(), datetime.now(timezone.utc).isoformat(timespec="seconds"),
            _boot(), _namespace(), _started(os.getpid()), slurm.own_job(),
        )  # fmt: skip
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(owner)).encode(), 0)
        self._open.add(descriptor)

    def release(self) -> None:
        """Remove the file, then stop holding it: in this order nobody else can have taken it in between."""
        if _is_current(self.descriptor, self.path):
            with suppress(OSError):
                self.path.unlink()
        self.close()

    def close(self) -> None:
        """Stop holding it in this process; processes that share it still hold it."""
        self._open.discard(self.descriptor)
        os.close(self.descriptor)

    @classmethod
    def _close_in_child(cls) -> None:
        while cls._open:
            with suppress(OSError):
                os.close(cls._open.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=Lock._close_in_child)


def take(path: Path, take_over: bool = False) -> Lock | None:
    """Take a lock; None if somebody else holds it (`look` says who).

    Args:
        path: the lock file; its folder must exist.
        take_over: the user says that an owner in `State.UNKNOWN` is dead.
    """
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE)
        if (lock := _try_to_take(path, take_over)) is not None:
            return lock
    return None


def look(path: Path) -> tuple[State, Owner | None]:
    """State of a lock, and the owner that its file names (None: there is no file)."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return State.FREE, None
    try:
        return _state(descriptor, path), owner_of(path)
    finally:
        os.close(descriptor)


def owner_of(path: Path) -> Owner | None:
    """The owner that a lock file names, with an empty host if it names none; None if there is no file."""
    try:
        content = json.loads(path.read_bytes())
        job = content.get("job")
        more = {key: str(content.get(key, "")) for key in ("boot", "namespace", "started")}
        known = slurm.Job(str(job[0]), int(job[1]), str(job[2])) if job else None
        return Owner(str(content["host"]), int(content["pid"]), str(content["since"]), **more, job=known)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError):
        return Owner("", 0, "")


@contextmanager
def holding(folder: Path, take_over: bool = False) -> Iterator[None]:
    """Hold the lock of a run's folder, which is made if it is missing. A lock passed on by a grid's runner is used as it is.

    Of several connected processes, process 0 holds the lock, and all raise the same error if it could not take it.

    Args:
        folder: of the run.
        take_over: see `take`.

    Raises:
        FolderTaken: somebody else holds the lock, or may hold it.
    """
    import torch.distributed as dist  # only a training needs it: a report, which imports this module, needs no torch

    from ferbench.distributed import rank, world_size

    held: Lock | None = None
    failure: Exception | None = None
    made: list[Path] = []
    if rank() == 0:
        try:
            made = [place for place in (folder, *folder.parents) if not place.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            held = _inherited(folder / NAME) or take(folder / NAME, take_over)
            failure = None if held else taken(folder)
        except (OSError, UserError) as error:
            failure = error
    if world_size() > 1:
        shared = [failure]
        dist.broadcast_object_list(shared, src=0)
        failure = shared[0]
    try:
        if failure is not None:
            raise failure
        yield
    finally:
        if held is not None:
            held.release()
        for place in made:  # a refused start leaves no empty folders behind
            with suppress(OSError):
                place.rmdir()


def taken(folder: Path) -> FolderTaken:
    """The error that says who holds the lock of a run's folder, and what can be done."""
    state, owner = look(folder / NAME)
    who = owner or "a process that has just ended"
    if state is State.UNKNOWN:
        return FolderTaken(
            f"the folder is locked by {who}, and whether that is still at work cannot be told from here",
            where=folder / NAME,
            expected="a folder in which nobody trains",
            fix="wait for it; if it is gone for certain, --take-over (or removing this file) lets this start go on; "
            "--work-dir names another folder",
        )
    return FolderTaken(
        f"another training is at work in this folder: {who}",
        where=folder,
        expected="a folder in which nobody trains",
        fix="wait until it has ended, or end it; --work-dir names another folder",
    )


class _Inherited(Lock):
    """A lock passed on by the runner of a grid, which releases it itself."""

    def release(self) -> None:
        self.close()


def _inherited(path: Path) -> Lock | None:
    """The lock that the parent process passed on as standard input, if it did; standard input becomes empty.

    Children of this process do not inherit the lock.
    """
    try:
        if not os.path.samestat(os.fstat(STDIN), os.stat(path)) or _flock(STDIN) is False:
            return None
    except OSError:
        return None
    descriptor = os.dup(STDIN)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, STDIN)
    os.close(nothing)
    return _Inherited(path, descriptor)


class _Removed(Exception):
    """The lock file that was opened is not there any more."""


def _try_to_take(path: Path, take_over: bool) -> Lock | None:
    while True:
        with suppress(FileExistsError, _Removed):
            return _create(path)
        with suppress(FileNotFoundError, _Removed):
            return _take_existing(path, take_over)


def _create(path: Path) -> Lock:
    """Create the lock file and take it.

    Raises:
        FileExistsError: it is there.
        _Removed: another process took the new file for one left behind.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        _flock(descriptor, wait=True)  # others find no owner in it yet, and let go at once
        if not _is_current(descriptor, path):
            raise _Removed
        return Lock(path, descriptor)
    except BaseException:  # e.g. a full disk: the owner could not be written
        if _is_current(descriptor, path):
            path.unlink(missing_ok=True)
        os.close(descriptor)
        raise


def _take_existing(path: Path, take_over: bool) -> Lock | None:
    """Take a lock whose file exists; None if somebody holds it.

    Raises:
        FileNotFoundError: it does not exist any more.
        _Removed: it was removed after it was opened, by its owner or here.
    """
    descriptor = os.open(path, os.O_RDWR)
    lock = None
    try:
        state = _state(descriptor, path)
        if not _is_current(descriptor, path):
            raise _Removed
        if state is State.FREE or (state is State.UNKNOWN and take_over):
            if _flock(descriptor):
                lock = Lock(path, descriptor)
            elif _remove_left_over(descriptor, path):  # whoever creates the next one holds it
                raise _Removed
        return lock
    finally:
        if lock is None:
            os.close(descriptor)


def _state(descriptor: int, path: Path) -> State:
    """State of a lock whose file is open; if it is not held, this takes its ``flock``, where the file system has one."""
    locked = _flock(descriptor)
    if locked is False:
        return State.HELD
    owner = owner_of(path)
    if owner is None:
        return State.FREE
    if not owner.host:  # its creator is about to write who it is, or died before it did
        return State.FREE if time.time() - os.fstat(descriptor).st_mtime > YOUNG else State.HELD
    if owner.host == socket.gethostname():
        return _state_here(owner, locked is True)
    over = slurm.is_over(owner.job) if owner.job else None
    return {True: State.FREE, False: State.HELD, None: State.UNKNOWN}[over]


def _state_here(owner: Owner, locked: bool) -> State:
    """The same for an owner on this machine. ``locked``: this process holds the ``flock``, so that no other one does."""
    if locked or (owner.boot and _boot() and owner.boot != _boot()):
        return State.FREE
    if owner.namespace != _namespace() or not _namespace():
        return State.UNKNOWN
    started = _started(owner.pid)
    return State.HELD if started and started == owner.started else State.FREE


def _remove_left_over(descriptor: int, path: Path) -> bool:
    """Remove the lock file of a dead owner where the file system has no ``flock``; False if another process is doing so.

    A second file, created with O_EXCL, lets one process do so at a time: else one might remove the lock that another has
    just taken.
    """
    guard = path.with_name(path.name + ".removing")
    try:
        os.close(os.open(guard, os.O_CREAT | os.O_EXCL, 0o644))
    except FileExistsError:
        with suppress(FileNotFoundError):
            if time.time() - guard.stat().st_mtime > YOUNG:  # its creator died
                guard.unlink()
        return False
    try:
        if _is_current(descriptor, path):
            path.unlink()
        return True
    finally:
        guard.unlink(missing_ok=True)


def _flock(descriptor: int, wait: bool = False) -> bool | None:
    """Take the ``flock`` of a file; False if another process holds it, None if the file system has none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            raise
        return None
    return True


def _is_current(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one at ``path``."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def _boot() -> str:
    """Id of this machine's boot; empty where the system does not say."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _namespace() -> str:
    """Namespace of this system's process ids; empty where the system does not say."""
    with suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""


def _started(pid: int) -> str:
    """Start time of a process in clock ticks since the boot; empty if there is none, or it is a zombie."""
    with suppress(OSError, IndexError):
        state, *more = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return "" if state in (b"Z", b"X") else more[18].decode()
    return ""
