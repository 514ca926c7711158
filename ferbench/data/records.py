"""The RecordIO file format of MXNet (dmlc-core ``recordio.h``, ``mxnet/recordio.py``): read, index, write.

A record is a chain of parts, almost always one: uint32 magic, uint32 ``flag << 29 | length``, ``length``
bytes, zeros up to a multiple of 4. Flag 0 is a whole record; 1, 2, 3 are the first, a middle and the last
part of a payload that holds the magic number at a multiple of 4, where it was cut and the magic number left
out. The payload of an image record is ``<IfQQ``: number of labels (0: the one in the next field), label, id,
id2; then the labels as float32; then the image.
"""

from __future__ import annotations

import contextlib
import os
import struct
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np

from ferbench.data.io import replacing
from ferbench.errors import UserError

MAGIC = struct.pack("<I", 0xCED7230A)
_HEADER = struct.Struct("<IfQQ")
_FIRST_READ = 16_384  # one system call for a record of the usual size (a 112-pixel JPEG has 3 to 8 kB)
_MAX_PART = (1 << 29) - 1


class BrokenRecord(Exception):
    """Bytes that are no whole record.

    Attributes:
        cut_short: whether the file ended within the record.
    """

    def __init__(self, what: str, cut_short: bool = False):
        super().__init__(what)
        self.cut_short = cut_short


class Record(NamedTuple):
    """One image record: labels (float32 [K]), id, encoded image (empty in a header or identity record)."""

    labels: np.ndarray
    id: int
    image: bytes


class RecordFile:
    """Random access to the records of a file. Each process opens its own descriptor; reads share no position.

    Args:
        path: the ``.rec`` file.

    Raises:
        UserError: the file does not exist.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self.size = path.stat().st_size
        except OSError as error:
            raise UserError(
                f"the RecordIO file cannot be opened ({error.strerror})", where=path, expected="a .rec file"
            ) from error
        self._descriptor = self._owner = -1

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_descriptor": -1, "_owner": -1}

    def __del__(self) -> None:
        if getattr(self, "_descriptor", -1) >= 0:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)

    def _pread(self, count: int, offset: int) -> bytes:
        if self._owner != os.getpid():  # first use, or first use after a fork
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            self._owner = os.getpid()
        return os.pread(self._descriptor, count, offset)

    def payload(self, offset: int) -> tuple[bytes, int]:
        """Payload of the record at byte ``offset``, and the byte where the next record starts.

        Raises:
            BrokenRecord: no record starts there, or the file ends before the record does.
        """
        parts: list[bytes] = []
        while True:
            data = self._pread(_FIRST_READ, offset)
            flag, length = _part_header(data, offset)
            if flag not in ((0, 1) if not parts else (2, 3)):
                raise BrokenRecord(f"the record part at byte {offset} has the unexpected flag {flag}")
            if length > len(data) - 8:
                data += self._pread(length - (len(data) - 8), offset + len(data))
            if length > len(data) - 8:
                raise BrokenRecord(f"the file ends within the record at byte {offset}", cut_short=True)
            parts.append(data[8 : 8 + length])
            offset += 8 + (length + 3) // 4 * 4
            if flag in (0, 3):
                return MAGIC.join(parts), offset

    def read(self, offset: int) -> Record:
        """The image record at byte ``offset``.

        Raises:
            BrokenRecord: see `payload`, or a payload that is no image record.
        """
        return _parse(self.payload(offset)[0], offset)

    def spans(self) -> Iterator[tuple[int, int]]:
        """Byte offset and id of every record, from a walk over the headers.

        Raises:
            BrokenRecord: the chain of records breaks.
        """
        offset = 0
        while offset < self.size:
            start, data = offset, self._pread(8 + _HEADER.size, offset)
            flag, length = _part_header(data, offset)
            offset += 8 + (length + 3) // 4 * 4
            if offset > self.size:
                raise BrokenRecord(f"the file ends within the record at byte {start}", cut_short=True)
            if flag == 0 and length >= _HEADER.size:
                yield start, _HEADER.unpack_from(data, 8)[2]
            else:
                payload, offset = self.payload(start)
                yield start, _parse(payload, start).id


def _part_header(data: bytes, offset: int) -> tuple[int, int]:
    if len(data) < 8:
        raise BrokenRecord(f"the file ends before the record at byte {offset}", cut_short=True)
    if data[:4] != MAGIC:
        raise BrokenRecord(f"no record starts at byte {offset} (found {data[:4].hex()}, not {MAGIC.hex()})")
    word = int.from_bytes(data[4:8], "little")
    return word >> 29, word & _MAX_PART


def _parse(payload: bytes, offset: int) -> Record:
    if len(payload) < _HEADER.size:
        raise BrokenRecord(f"the record at byte {offset} is too short for its header ({len(payload)} bytes)")
    count, label, identity, _ = _HEADER.unpack_from(payload)
    end = _HEADER.size + 4 * count
    if end > len(payload):
        raise BrokenRecord(f"the record at byte {offset} claims {count} labels but has {len(payload)} bytes")
    labels = np.frombuffer(payload, "<f4", count, _HEADER.size) if count else np.array([label], np.float32)
    return Record(labels, identity, payload[end:])


def read_index(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Keys (sorted) and byte offsets of an ``.idx`` file, lines of ``key<tab>offset``; int64 [N] each.

    Raises:
        UserError: missing, empty, a line that is not two whole numbers, a key that comes twice.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # NumPy 1 only warns
            numbers = np.fromfile(path, np.int64, sep=" ")
    except (ValueError, DeprecationWarning):
        raise _bad_line(path) from None
    except OSError as error:
        raise UserError(
            f"the record index cannot be read ({error.strerror})", where=path,
            expected="lines of key<tab>offset",
            fix="set rebuild_index=True",
        ) from error  # fmt: skip
    if len(numbers) != 2 * _count_lines(path) or (numbers < 0).any():
        raise _bad_line(path)
    if not len(numbers):
        raise UserError("the record index is empty", where=path, fix="set rebuild_index=True")
    keys, offsets = numbers[0::2], numbers[1::2]
    if (keys[1:] > keys[:-1]).all():
        return np.ascontiguousarray(keys), np.ascontiguousarray(offsets)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    twice = np.flatnonzero(keys[1:] == keys[:-1])
    if len(twice):
        raise UserError(
            f"key {keys[twice[0]]} comes twice in the record index",
            where=f"{path}:{order[twice[0] + 1] + 1}",
            expected="every key once", fix="set rebuild_index=True",
        )  # fmt: skip
    return keys, offsets[order]


def _count_lines(path: Path) -> int:
    lines, last = 0, b"\n"
    with open(path, "rb") as file:
        while chunk := file.read(1 << 24):
            lines, last = lines + chunk.count(b"\n"), chunk[-1:]
    return lines + (last != b"\n")


def _bad_line(path: Path) -> UserError:
    """Name the first line of an index that cannot be right (slow, and only on the way out)."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):  # noqa: B007 - named after the loop
            cells = line.split()
            if len(cells) != 2 or not all(cell.isdigit() for cell in cells):
                break
    return UserError(
        f"the record index is broken: {line[:80]!r}", where=f"{path}:{number}", expected="key<tab>offset",
        fix="copy it again, or set rebuild_index=True to list the records by a scan",
    )  # fmt: skip


def scan_records(records: RecordFile) -> tuple[np.ndarray, np.ndarray]:
    """Keys (sorted) and byte offsets of all records from a walk over the file; int64 [N] each.

    The key of a record is the id in its header; where those are not all different, its position in the file.

    Raises:
        UserError: the chain of records breaks.
    """
    try:
        pairs = np.fromiter(records.spans(), np.dtype((np.int64, 2)))
    except BrokenRecord as error:
        raise UserError(
            f"the records cannot be listed: {error}",
            where=records.path,
            expected="RecordIO",
            fix="copy it again",
        ) from error
    offsets, keys = pairs[:, 0], pairs[:, 1]
    order = np.argsort(keys, kind="stable")
    if (np.diff(keys[order]) == 0).any():
        return np.arange(len(offsets)), np.ascontiguousarray(offsets)
    return keys[order], offsets[order]


def rebuild_index(rec: str | Path) -> Path:
    """Write ``<rec stem>.idx`` anew from a scan of the ``.rec`` file, and return its path.

    Raises:
        UserError: see `scan_records`.
    """
    rec = Path(rec)
    keys, offsets = scan_records(RecordFile(rec))
    idx = rec.with_suffix(".idx")
    with replacing(idx) as file:
        np.savetxt(file, np.column_stack([keys, offsets]), fmt="%d", delimiter="\t")
    return idx


def write_recordio(
    path: str | Path,
    jpegs: Iterable[bytes],
    layout: Literal["insightface", "im2rec"] = "insightface",
    identities: Sequence[int] | None = None,
) -> int:
    """Write encoded images as ``path`` (``.rec``) and its ``.idx``; both appear only when they are whole.

    Args:
        path: the ``.rec`` file.
        jpegs: encoded images, consumed one by one.
        layout: ``insightface`` (keys 1 to n, header record 0, one record per identity after the images) or
            ``im2rec`` (keys 0 to n - 1).
        identities: label of each image; all 0 if None. ``insightface`` wants those of an identity to adjoin.

    Returns:
        Number of images.

    Raises:
        ValueError: an identity that comes back after another one (``insightface``).
    """
    rec = Path(path)
    offsets: list[tuple[int, int]] = []
    first_keys: dict[int, int] = {}
    shift = 1 if layout == "insightface" else 0
    count, last_identity = 0, None
    with replacing(rec.with_suffix(".idx")) as idx, replacing(rec) as file:  # the index appears last

        def add(key: int, labels: Sequence[float] | float, image: bytes = b"") -> None:
            offsets.append((key, file.tell()))
            _write_payload(file, _image_header(key, labels) + image)

        if shift:
            add(0, (0.0, 0.0))  # its numbers are known at the end
        for count, image in enumerate(jpegs, 1):
            identity = 0 if identities is None else int(identities[count - 1])
            if shift and identity != last_identity and identity in first_keys:
                raise ValueError(f"identity {identity} comes back at image {count}: sort by identity")
            first_keys.setdefault(identity, count)
            last_identity = identity
            add(count - 1 + shift, float(identity), image)
        if shift:
            starts = [*first_keys.values(), count + 1]
            for number, (first, end) in enumerate(pairwise(starts)):
                add(count + 1 + number, (float(first), float(end)))
            file.seek(0)
            _write_payload(file, _image_header(0, (float(count + 1), float(count + len(starts)))))
        idx.writelines(f"{key}\t{offset}\n".encode() for key, offset in offsets)
    return count


def _image_header(key: int, labels: Sequence[float] | float) -> bytes:
    if isinstance(labels, float):
        return _HEADER.pack(0, labels, key, 0)
    return _HEADER.pack(len(labels), 0.0, key, 0) + np.asarray(labels, "<f4").tobytes()


def _write_payload(file: BinaryIO, payload: bytes) -> None:
    cuts: list[int] = []
    at = payload.find(MAGIC)
    while at >= 0:
        if at % 4 == 0:
            cuts.append(at)
        at = payload.find(MAGIC, at + (4 if at % 4 == 0 else 1))
    starts, ends = [0, *(c + 4 for c in cuts)], [*cuts, len(payload)]
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        flag = 0 if not cuts else 1 if number == 0 else 3 if number == len(cuts) else 2
        part = payload[start:end]
        file.write(MAGIC + struct.pack("<I", flag << 29 | len(part)) + part + bytes(-len(part) % 4))
