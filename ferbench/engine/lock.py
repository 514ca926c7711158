"""Who works in the folder of a run: a lock that two never hold both, and that no process keeps that is known to be dead.

The lock is a file in the folder. It is created with O_EXCL, which is atomic on network file systems, too, and its owner
(host, process, time, Slurm job) is written into it. On one machine it is held by ``flock`` besides: the kernel gives it up when
the last process that holds it has ended, however it ended. The runner of a grid hands its lock on to the training as standard
input, which every process that is started on the way (torchrun and its own) inherits.

A lock file that is left over is taken over where the death of its owner is proved: nobody of this machine holds it, and
the owner was on this machine; or its process is gone (where the file system has no ``flock``); or the machine was started anew;
or Slurm says that its job is over. In all other cases only the user can know.
"""

from __future__ import annotations

import errno
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

try:
    import fcntl
except ImportError:  # not a POSIX system: only what is known of processes decides
    fcntl = None  # type: ignore[assignment] # typed as a module

NAME = ".lock"
ATTEMPTS, PAUSE = 3, 0.02  # who only looks (`look`) holds the lock for an instant
YOUNG = 60.0  # seconds in which a lock file without an owner is one that is just being written
STDIN = 0


class State(Enum):
    """What is known of a lock."""

    FREE = "free"  # or left over by somebody who is proved to be dead
    HELD = "held"
    UNKNOWN = "unknown"  # its owner was elsewhere, and nobody here can tell whether it lives


@dataclass(frozen=True)
class Owner:
    """Who holds a lock.

    Attributes:
        host: name of the machine; empty if unknown.
        pid: process.
        since: ISO 8601, UTC.
        boot: which start of the machine it was.
        namespace: in which the process has its number (containers have their own).
        started: when the process started, in ticks of the machine's clock: numbers of processes are used again.
        job: of Slurm, that the process belonged to.
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
        path: its file.
        descriptor: of the open file; a child process that inherits it holds the lock, too. One that is forked to load data
            does not: it would keep the lock of a training that was killed.
    """

    _open: set[int] = set()

    def __init__(self, path: Path, descriptor: int):
        self.path, self.descriptor = path, descriptor
        self._open.add(descriptor)
        owner = Owner(
            socket.gethostname(), os.getpid(), datetime.now(timezone.utc).isoformat(timespec="seconds"),
            _boot(), _namespace(), _started(os.getpid()), slurm.own_job(),
        )  # fmt: skip
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(owner)).encode(), 0)

    def release(self) -> None:
        """Give it up. The file is removed first, while nobody else can hold it."""
        if _is_current(self.descriptor, self.path):
            with suppress(OSError):
                self.path.unlink()
        self.close()

    def close(self) -> None:
        """Stop holding it in this process; whoever it was inherited from, or handed on to, still does."""
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
    """The lock, or None if somebody else holds it (`look` says who).

    Args:
        path: the lock file; its folder must exist.
        take_over: whether the user says that an owner of whom nothing can be known is dead.
    """
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE)
        if (lock := _try_to_take(path, take_over)) is not None:
            return lock
    return None


def look(path: Path) -> tuple[State, Owner | None]:
    """What is known of a lock, and its owner as its file says (None: there is no file)."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return State.FREE, None
    try:
        return _state(descriptor, path), owner_of(path)
    finally:
        os.close(descriptor)


def owner_of(path: Path) -> Owner | None:
    """Who holds a lock, as its file says; None if there is no such file."""
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
    """Hold the lock of a run's folder, which is made if it is not there; one that was handed on by a grid's runner will do.

    Of several processes of one run, process 0 holds it, and all learn how that went (if they are already connected).

    Args:
        folder: of the run.
        take_over: see `take`.

    Raises:
        FolderTaken: somebody else holds it, or may do.
    """
    import torch.distributed as dist  # here, for a training only: a report, which imports the grid, needs no torch

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
        told = [failure]
        dist.broadcast_object_list(told, src=0)
        failure = told[0]
    try:
        if failure is not None:
            raise failure
        yield
    finally:
        if held is not None:
            held.release()
        for place in made:  # a start that was refused leaves nothing
            with suppress(OSError):
                place.rmdir()


def taken(folder: Path) -> FolderTaken:
    """The message that somebody else holds the lock of a run's folder, and what can be done."""
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
    """A lock that the runner of a grid has handed on, and will give up itself."""

    def release(self) -> None:
        self.close()


def _inherited(path: Path) -> Lock | None:
    """The lock, if standard input is its file, held by who started this process. Its own children do not inherit it."""
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


def _try_to_take(path: Path, take_over: bool) -> Lock | None:
    while True:
        created = True
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            created = False
            try:
                descriptor = os.open(path, os.O_RDWR)
            except FileNotFoundError:  # given up between the two calls
                continue
        try:
            lock = _take_file(descriptor, path, created, take_over)
        except BaseException:
            os.close(descriptor)
            if created:  # e.g. a full disk: the owner could not be written
                path.unlink(missing_ok=True)
            raise
        if isinstance(lock, Lock):
            return lock
        os.close(descriptor)
        if lock is None:
            return None


def _take_file(descriptor: int, path: Path, created: bool, take_over: bool) -> Lock | bool | None:
    """The lock; None: somebody holds it; False: its file was removed in the meantime, try again."""
    if created:
        _flock(descriptor, wait=True)  # others see no owner in it yet, and let go at once
        return Lock(path, descriptor) if _is_current(descriptor, path) else False
    state = _state(descriptor, path)
    if not _is_current(descriptor, path):  # its file was removed while we looked
        return False
    if state is State.HELD or (state is State.UNKNOWN and not take_over):
        return None
    if _flock(descriptor):
        return Lock(path, descriptor)
    return False if _removed(descriptor, path) else None


def _state(descriptor: int, path: Path) -> State:
    """What is known of a lock whose file exists; it is held afterwards where its file system has locks and it was free."""
    locked = _flock(descriptor)
    if locked is False:
        return State.HELD
    owner = owner_of(path)
    if owner is None:
        return State.FREE
    if not owner.host:  # created, and perhaps its maker died before it wrote its name
        return State.FREE if time.time() - os.fstat(descriptor).st_mtime > YOUNG else State.HELD
    if owner.host == socket.gethostname():
        return _state_here(owner, locked is True)
    over = slurm.is_over(owner.job) if owner.job else None
    return {True: State.FREE, False: State.HELD, None: State.UNKNOWN}[over]


def _state_here(owner: Owner, locked: bool) -> State:
    """The same for an owner on this machine. ``locked``: we hold the kernel's lock, so that nobody else here does."""
    if locked or (owner.boot and _boot() and owner.boot != _boot()):
        return State.FREE
    if owner.namespace != _namespace() or not _namespace():
        return State.UNKNOWN
    started = _started(owner.pid)
    return State.HELD if started and started == owner.started else State.FREE


def _removed(descriptor: int, path: Path) -> bool:
    """Remove a lock that is left over, where no ``flock`` keeps two from doing so at a time: who makes a second file may."""
    guard = path.with_name(path.name + ".removing")
    try:
        os.close(os.open(guard, os.O_CREAT | os.O_EXCL, 0o644))
    except FileExistsError:
        with suppress(FileNotFoundError):
            if time.time() - guard.stat().st_mtime > YOUNG:  # its maker died
                guard.unlink()
        return False
    try:
        if _is_current(descriptor, path):
            path.unlink()
        return True
    finally:
        guard.unlink(missing_ok=True)


def _flock(descriptor: int, wait: bool = False) -> bool | None:
    """Whether the kernel's lock could be had; None where the file system has none."""
    if fcntl is None:
        return None
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
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def _boot() -> str:
    """Which start of this machine this is; empty where the system does not say."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _namespace() -> str:
    """In which numbers of processes are what they are here; empty where the system does not say."""
    with suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""


def _started(pid: int) -> str:
    """When a process of this machine started; empty if there is none, or it has ended and only waits to be asked how."""
    with suppress(OSError, IndexError):
        state, *more = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return "" if state in (b"Z", b"X") else more[18].decode()
    return ""
