"""From bytes to pixels: the one place that decodes images and decides their channel order (RGB)."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

cv2.setNumThreads(0)  # workers are the parallelism; OpenCV's own threads in each of them would only fight
# What OpenCV prints about a bad image names no file; `UnreadableImage` does, and the loader reports it.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


class UnreadableImage(Exception):
    """An image whose bytes are missing, cut short or not an image. Counted by the loader, never hidden."""


def read_file(path: str | os.PathLike[str], where: Callable[[int], str], index: int) -> bytes:
    """All bytes of an image file.

    Args:
        path: the file.
        where: called with ``index`` only when an error has to name the item.
        index: the item.

    Raises:
        UnreadableImage: the file is missing or cannot be read.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            return file.readall()
    except OSError as error:
        raise UnreadableImage(f"{where(index)}: {error.strerror or error}") from error


def is_truncated_jpeg(data: bytes) -> bool:
    """Whether ``data`` starts as a JPEG but lacks the end marker (it might decode to a half-grey image)."""
    return data[:2] == b"\xff\xd8" and data.rfind(b"\xff\xd9", max(0, len(data) - 4096)) < 0


def decode(data: bytes, where: Callable[[int], str], index: int, grayscale: bool = False) -> np.ndarray:
    """Decode an encoded image to uint8 RGB [H, W, 3].

    Args:
        data: the encoded image.
        where: called with ``index`` only when an error has to name the item.
        index: the item.
        grayscale: give all three channels the image's luminance.

    Raises:
        UnreadableImage: empty, cut short, or no image.
    """
    if not data:
        raise UnreadableImage(f"{where(index)}: the file is empty")
    if is_truncated_jpeg(data):
        raise UnreadableImage(f"{where(index)}: the JPEG is cut short ({len(data)} bytes, no end marker)")
    try:
        mode = cv2.IMREAD_GRAYSCALE if grayscale else cv2.IMREAD_COLOR_RGB
        image = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    except cv2.error as error:  # e.g. a header that claims a billion pixels
        raise UnreadableImage(f"{where(index)}: OpenCV refuses it ({error.err})") from error
    if image is None:
        raise UnreadableImage(f"{where(index)}: not an image that OpenCV can decode ({len(data)} bytes)")
    return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if grayscale else image


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its name only once it is whole (temporary file, then rename)."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
