"""Files are written whole or not at all."""

from __future__ import annotations

import fcntl
import glob
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

DAY = 86_400.0  # seconds


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its name only once it is whole (temporary file, then rename).

    What a writer that was killed has left of the same file is removed.
    """
    remove_unfinished(path.parent, path.name)
    temporary, lock = _new_temporary(path)
    try:
        with open(temporary, "wb") as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(lock)


def remove_unfinished(folder: Path, name: str = "*") -> None:
    """Remove the temporary files of writers that do not live any more.

    A writer holds a lock of its file, which the kernel gives up however it ends. On a file system without locks, a file is left
    alone for a day.

    Args:
        folder: where they are.
        name: of the file that was to be written; ``*``: any.
    """
    pattern = f".{name if name == '*' else glob.escape(name)}.*.tmp"
    for file in folder.glob(pattern):
        with suppress(OSError):  # somebody else removed it, or it is not ours to remove
            descriptor = os.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if _locked(descriptor, wait=False, otherwise=time.time() - file.stat().st_mtime > DAY):
                    file.unlink()
            finally:
                os.close(descriptor)


def _new_temporary(path: Path) -> tuple[Path, int]:
    """A new file beside ``path``, and the descriptor that holds its lock."""
    while True:
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        _locked(descriptor, wait=True, otherwise=True)
        if os.fstat(descriptor).st_nlink:  # else it was taken for a dead writer's before it was locked
            return temporary, descriptor
        os.close(descriptor)


def _locked(descriptor: int, wait: bool, otherwise: bool) -> bool:
    """Whether the lock of a file could be had; ``otherwise`` where the file system has none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return otherwise
    return True
