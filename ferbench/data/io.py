"""Image files: read as bytes and decoded to RGB."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

import numpy as np

from ferbench.data.decoding import MAX_PIXELS, Undecodable, decode_rgb
from ferbench.errors import presentable

MAX_BYTES = 8 * MAX_PIXELS + (1 << 26)
"""Of a file: four channels of 16 bits, and 64 MB of whatever lies beside the pixels."""
_AT_ONCE = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class UnreadableImage(Exception):
    """An image whose bytes are missing, cut short or not an image. Counted by the loader, never hidden.

    Args:
        what: where it is, and what is wrong; shortened where its path is endless.
    """

    def __init__(self, what: str):
        super().__init__(presentable(what))


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
