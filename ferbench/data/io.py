"""Files: images are read as bytes and decoded to RGB, results are written whole or not at all."""

from __future__ import annotations

import fcntl
import glob
import os
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ferbench.data.decoding import MAX_PIXELS, Undecodable, decode_rgb

MAX_BYTES = 8 * MAX_PIXELS + (1 << 26)
"""Of a file: four channels of 16 bits, and 64 MB of whatever lies beside the pixels."""
_AT_ONCE = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
DAY = 86_400.0  # seconds


class UnreadableImage(Exception):
    """An image whose bytes are missing, cut short or not an image. Counted by the loader, never hidden."""


def read_file(path: str | os.PathLike[str], where: Callable[[int], str], index: int) -> bytes:
    """All bytes of an image file.

    Nothing but a regular file is read: to open a FIFO would wait for a writer, and a device has no end. A file that
    grows meanwhile is read as far as it went when it was opened.

    Args:
        path: the file.
        where: called with ``index`` only when an error has to name the item.
        index: the item.

    Raises:
        UnreadableImage: the file is missing, no regular file, too large for an image, or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | _AT_ONCE)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableImage(f"{where(index)}: {_kind(status.st_mode)}, not a file")
            if status.st_size > MAX_BYTES:
                raise UnreadableImage(
                    f"{where(index)}: the file has {status.st_size:,} bytes, too many for an image"
                )
            return _exactly(descriptor, status.st_size)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UnreadableImage(f"{where(index)}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the name
        raise UnreadableImage(f"{where(index)!r}: {error}") from error


def _exactly(descriptor: int, size: int) -> bytes:
    data = os.read(descriptor, size)
    while len(data) < size and (more := os.read(descriptor, size - len(data))):
        data += more
    return data


def _kind(mode: int) -> str:
    for is_it, name in (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    ):
        if is_it(mode):
            return name
    return "something else"


def decode(
    data: bytes,
    where: Callable[[int], str],
    index: int,
    grayscale: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Decode an encoded image to uint8 RGB [H, W, 3]; `ferbench.data.decoding` says what it means.

    Args:
        data: the encoded image.
        where: called with ``index`` only when an error has to name the item.
        index: the item.
        grayscale: give all three channels the image's luminance.
        max_pixels: greatest height times width.

    Raises:
        UnreadableImage: empty, cut short, corrupt, too large, or no image.
    """
    if not data:
        raise UnreadableImage(f"{where(index)}: the file is empty")
    try:
        return decode_rgb(data, grayscale, max_pixels)
    except Undecodable as error:
        raise UnreadableImage(f"{where(index)}: {error}") from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
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
