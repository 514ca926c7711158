"""What an encoded image means, decided once for all formats: whole or cut short, how large, which way up, how bright.

- What the decoder calls corrupt is no image. libjpeg and libpng say so on the standard error of the process only, and go
  on: half of a picture may then be grey. Here it is heard (`Listener`).
- EXIF's orientation is applied: images come upright.
- Of several frames (GIF, WebP, PNG, TIFF) the first counts.
- Transparent parts show `BACKGROUND`, in every format. The fourth channel of a BMP without an alpha mask is no transparency.
- 16-bit images are scaled to 8 bits by their upper byte, PNM files by their own maximum. One whose brightest value is below
  a quarter of the range (data of 12 bits, say) would come out nearly black and is refused.
- Floating-point images have no stated white and are refused.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
from contextlib import suppress
from io import BytesIO
from typing import Any, NamedTuple

import cv2
import numpy as np

cv2.setNumThreads(0)  # workers are the parallelism; OpenCV's own threads in each of them would only fight
# What OpenCV itself prints about a bad image names no file; the loader, which reports it, does.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

MAX_PIXELS = 64_000_000
"""Of an image, height times width: a larger one is refused before it takes memory (6 GB for 2^30 pixels, twice)."""
BACKGROUND = 127
"""Grey that shows where an image is transparent: what the transforms fill uncovered parts with."""

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_SOS = 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15
_ALONE = frozenset([0x00, 0x01, *range(0xD0, 0xD8)])  # stuffed 0xFF, TEM, restarts: two bytes, no length
_BETWEEN_SCANS = frozenset([0xC4, 0xCC, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)])
_PNG = b"\x89PNG\r\n\x1a\n"
_PNM = re.compile(rb"P([2356])(?:\s+|#[^\n]*\n)+\d+(?:\s+|#[^\n]*\n)+\d+(?:\s+|#[^\n]*\n)+(\d+)")
_DARK = 1 << 14
_CORRUPT = re.compile(
    rb"^(?:Corrupt JPEG data|Premature end of JPEG|Inconsistent progression|libpng error).*$", re.M
)
_HARMLESS = re.compile(rb"^libpng warning:.*\n?", re.M)


class Undecodable(Exception):
    """Why bytes give no image, as one clause."""


class _Header(NamedTuple):
    """What can be told without decoding. ``format`` is Pillow's name; '' where nobody knows."""

    height: int
    width: int
    format: str
    transparent: bool = False


def decode_rgb(data: bytes, grayscale: bool = False, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode an image.

    Args:
        data: the encoded image.
        grayscale: give all three channels the image's luminance.
        max_pixels: greatest height times width.

    Returns:
        uint8 RGB [H, W, 3].

    Raises:
        Undecodable: no image, cut short, corrupt, too large, of a kind that has no 8-bit meaning.
    """
    header = _header(data)
    if header.height * header.width > max_pixels:
        raise Undecodable(
            f"the image has {header.width} x {header.height} pixels, more than the {max_pixels:,} that are read"
        )
    # OpenCV's own order RGB is asked for where it is safe and saves a pass: 4.14 mixes up the channels of 16-bit TIFF.
    direct = header.format in ("JPEG", "PNG") and not grayscale
    mode = cv2.IMREAD_COLOR_RGB if direct else cv2.IMREAD_GRAYSCALE if grayscale else cv2.IMREAD_COLOR
    if header.format not in ("JPEG", "AVIF"):  # of both OpenCV makes 8 bits properly
        mode |= cv2.IMREAD_ANYDEPTH
    try:
        image, complaint = _listener.decode(np.frombuffer(data, np.uint8), mode)
    except cv2.error as error:  # e.g. a header that claims a billion pixels
        raise Undecodable(f"OpenCV refuses it ({error.err})") from error
    if image is None:
        because = f": {complaint}" if complaint else ""
        raise Undecodable(f"not an image that OpenCV can decode ({len(data)} bytes{because})")
    if complaint:
        raise Undecodable(f"the decoder calls it corrupt: {complaint}")
    deep = image.dtype != np.uint8
    image = _eight_bits(image, data)
    if header.transparent or header.format == "AVIF":
        return _on_background(data, deep, grayscale)
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    return image if direct else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _header(data: bytes) -> _Header:
    if data[:2] == _SOI:
        height, width, scan = jpeg_header(data)
        if not _is_whole(data, scan):
            raise Undecodable(f"the JPEG is cut short ({len(data)} bytes, no end marker)")
        return _Header(height, width, "JPEG")
    if data[:8] == _PNG and len(data) > 33:
        width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
        pixels = data.find(b"IDAT")
        return _Header(height, width, "PNG", data[25] in (4, 6) or data.find(b"tRNS", 0, pixels) > 0)
    from PIL import Image  # only here: starting a program should not wait for it

    try:
        with Image.open(BytesIO(data)) as picture:
            width, height = picture.size
            return _Header(height, width, picture.format or "", picture.has_transparency_data)
    except Image.DecompressionBombError:
        raise Undecodable("the image is far too large to be read") from None
    except Exception:  # Pillow's plugins raise what they like; OpenCV decides
        return _Header(0, 0, "")


def jpeg_header(data: bytes) -> tuple[int, int, int]:
    """Height and width (0 where no frame is declared) of a JPEG, and the byte where its first scan starts.

    Segments are skipped by their length, so that a thumbnail in one of them is not met.

    Raises:
        Undecodable: there is no scan.
    """
    at, height, width, end = 2, 0, 0, len(data)
    while 0 <= (at := data.find(b"\xff", at)) < end - 3:  # libjpeg, too, skips bytes between segments
        marker = data[at + 1]
        if marker == 0xFF or marker in _ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            break
        if marker in _FRAMES and at + 9 <= end:
            height, width = data[at + 5] << 8 | data[at + 6], data[at + 7] << 8 | data[at + 8]
        at += 2 + (data[at + 2] << 8 | data[at + 3])
        if marker == _SOS:
            return height, width, at
    raise Undecodable(f"the JPEG is cut short ({len(data)} bytes, no picture in them)")


def _is_whole(data: bytes, scan: int) -> bool:
    """Whether the image whose first scan starts at byte ``scan`` has its end marker; what follows it means nothing.

    A file that ends with the marker needs no walk: bytes that are missing before it are what the decoder complains of.
    """
    if data.endswith(_EOI) and len(data) >= scan + 2:
        return True
    if data.find(_EOI, scan) < 0:
        return False
    at, end = scan, len(data)
    while 0 <= (at := data.find(b"\xff", at)) < end - 1:
        marker = data[at + 1]
        if marker == 0xD9:
            return True
        if marker == 0xFF:
            at += 1
        elif marker in _ALONE:
            at += 2
        elif marker in _BETWEEN_SCANS and at + 4 <= end:
            at += 2 + (data[at + 2] << 8 | data[at + 3])
        else:
            return False
    return False


def _eight_bits(image: np.ndarray, data: bytes) -> np.ndarray:
    if image.dtype == np.uint8 and data[:1] != b"P":
        return image
    pnm = _PNM.match(data[:1024])
    if pnm is not None and image.dtype in (np.uint8, np.uint16):
        top = int(pnm[2])
        # OpenCV scales the text formats of 8 bits (P2, P3) itself, and nothing else.
        if top != 255 and (image.dtype == np.uint16 or pnm[1] in b"56"):
            return np.minimum(np.rint(image * (255 / max(top, 1))), 255).astype(np.uint8)
        return image
    if image.dtype == np.uint8:
        return image
    if image.dtype != np.uint16:
        raise Undecodable(f"an image of {image.dtype} values, whose white is not known; save it with 8 bits")
    if 0 < (peak := int(image.max())) < _DARK:
        raise Undecodable(
            f"a 16-bit image whose brightest value is {peak} of 65535, as of data with {peak.bit_length()} bits: it would "
            "come out nearly black; save it with 8 bits, or scaled to the whole range"
        )
    return (image >> 8).astype(np.uint8)


def _on_background(data: bytes, deep: bool, grayscale: bool) -> np.ndarray:
    """The picture on `BACKGROUND`, from Pillow: OpenCV drops or ignores the transparency and rotation of some formats."""
    from PIL import Image, ImageOps

    try:
        with Image.open(BytesIO(data)) as picture:
            if deep and picture.mode not in ("RGBA", "LA"):
                raise Undecodable("a 16-bit image with one transparent colour; save it with 8 bits")
            rgba = np.asarray(ImageOps.exif_transpose(picture).convert("RGBA"))
    except (OSError, SyntaxError, ValueError) as error:
        raise Undecodable(f"its transparency cannot be read ({error})") from error
    alpha = rgba[..., 3:].astype(np.uint32)
    image = ((rgba[..., :3] * alpha + BACKGROUND * (255 - alpha) + 127) // 255).astype(np.uint8)
    if grayscale:
        image[:] = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    return image


class Listener:
    """Decodes with OpenCV, and hears what libjpeg and libpng print meanwhile.

    They write to file descriptor 2, which is turned to a file in memory for the while (7 us an image). Several threads may
    decode at once; when something was printed meanwhile, the image is decoded again with no other beside it, so that the
    complaint is about this one.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._decoding, self._started, self._alone = 0, 0, False
        self._sink = self._stderr = -1

    def decode(self, data: np.ndarray, mode: int) -> tuple[np.ndarray | None, str]:
        """The image, or None, and the first complaint, or ''.

        Raises:
            cv2.error: OpenCV refuses the image.
        """
        image, said, shared = self._decode(data, mode, alone=False)
        if said and shared:
            image, said, shared = self._decode(data, mode, alone=True)
        found = _CORRUPT.search(said) if said else None
        return image, "" if found is None else found[0].decode("utf-8", "replace").strip()

    def _decode(self, data: np.ndarray, mode: int, alone: bool) -> tuple[Any, bytes, bool]:
        with self._changed:
            while self._alone or (alone and self._decoding):
                self._changed.wait()
            self._alone = alone
            self._decoding += 1
            self._started += 1
            if self._decoding == 1:
                self._turn_away()
            beside, order, start = self._decoding > 1, self._started, os.lseek(self._sink, 0, os.SEEK_END)
        try:
            image = cv2.imdecode(data, mode)
        finally:
            with self._changed:
                beside |= self._started > order
                end = os.lseek(self._sink, 0, os.SEEK_END)
                said = os.pread(self._sink, end - start, start) if end > start else b""
                self._decoding -= 1
                self._alone = False
                if not self._decoding:
                    self._turn_back()
                self._changed.notify_all()
        return image, said, beside

    def _turn_away(self) -> None:
        if self._sink < 0:
            self._sink = _memory_file()
        try:
            self._stderr = os.dup(2)
        except OSError:  # a daemon has closed it
            self._stderr = os.open(os.devnull, os.O_WRONLY)
        os.dup2(self._sink, 2)

    def _turn_back(self) -> None:
        os.dup2(self._stderr, 2)
        os.close(self._stderr)
        self._stderr = -1
        size = os.lseek(self._sink, 0, os.SEEK_END)
        if size:
            rest = _HARMLESS.sub(b"", _CORRUPT.sub(b"", os.pread(self._sink, size, 0))).strip()
            os.ftruncate(self._sink, 0)
            os.lseek(self._sink, 0, os.SEEK_SET)
            if rest:  # what others had to say
                with suppress(OSError):
                    os.write(2, rest + b"\n")

    def abandon(self) -> None:
        """In a child process: turn file descriptor 2 back and let go of the parent's files; no thread decodes here any more."""
        if self._stderr >= 0:
            os.dup2(self._stderr, 2)
        for descriptor in (self._sink, self._stderr):
            if descriptor >= 0:
                os.close(descriptor)


def _memory_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("complaints")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


_listener = Listener()


def _renew_listener() -> None:
    global _listener
    _listener.abandon()
    _listener = Listener()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_listener)
