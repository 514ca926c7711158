"""Who does a run: a lock that two runners never hold both, and that no dead process keeps.

The lock is a file beside the run. It is created with O_EXCL, which is atomic on network file systems, too, and its owner
(host, process, time) is written into it. On one machine it is held by ``flock`` besides, which the training process inherits:
the kernel gives it up when the last of them has ended, however it ended. A lock file that nobody of this machine holds is
taken over if its owner was on this machine, and left alone if it was on another one, which cannot be asked.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a POSIX system: a lock file of a dead process has to be removed by hand
    fcntl = None  # type: ignore[assignment] # typed as a module

NAME = ".lock"
ATTEMPTS, PAUSE = 3, 0.02  # who only looks (`is_held`) holds the lock for an instant
YOUNG = 60.0  # seconds in which a lock file without an owner is one that is just being written


@dataclass(frozen=True)
class Owner:
    """Who holds a lock.

    Attributes:
        host: name of the machine; empty if unknown.
        pid: process.
        since: ISO 8601, UTC.
    """

    host: str
    pid: int
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}" if self.host else "an unknown process"


class Lock:
    """A lock that is held; see `take`.

    Attributes:
        path: its file.
        descriptor: of the open file; a child process that inherits it holds the lock, too.
    """

    def __init__(self, path: Path, descriptor: int):
        self.path, self.descriptor = path, descriptor

    def release(self) -> None:
        """Give it up. The file is removed first, while nobody else can hold it."""
        with suppress(FileNotFoundError):
            self.path.unlink()
        os.close(self.descriptor)


def take(path: Path) -> Lock | None:
    """The lock, or None if somebody else holds it (`owner_of` says who).

    Args:
        path: the lock file; its folder must exist.
    """
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE)
        if (lock := _try_to_take(path)) is not None:
            return lock
    return None


def _try_to_take(path: Path) -> Lock | None:
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
        free = _flock(descriptor, created)
        if free and not _is_current(descriptor, path):  # its file was removed while we waited for it
            os.close(descriptor)
            continue
        if not free or not (created or _may_be_taken_over(path)):
            os.close(descriptor)
            return None
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        owner = Owner(socket.gethostname(), os.getpid(), now)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(owner)).encode(), 0)
        return Lock(path, descriptor)


def owner_of(path: Path) -> Owner | None:
    """Who holds a lock, as its file says; None if there is no such file."""
    try:
        content = json.loads(path.read_bytes())
        return Owner(str(content["host"]), int(content["pid"]), str(content["since"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return Owner("", 0, "")


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock (as far as this machine can tell)."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not _flock(descriptor, False) or not _may_be_taken_over(path)
    finally:
        os.close(descriptor)


def _flock(descriptor: int, created: bool) -> bool:
    """Whether the lock could be had; where the file system has none, only who created the file has it.

    Who created the file may wait: others see no owner in it yet, and let go at once.
    """
    if fcntl is None:
        return created
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if created else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            raise
        return created
    return True


def _is_current(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _may_be_taken_over(path: Path) -> bool:
    owner = owner_of(path)
    if owner is None or owner.host:
        return owner is not None and owner.host == socket.gethostname()
    return time.time() - path.stat().st_mtime > YOUNG  # created, and its maker died before it wrote its name
