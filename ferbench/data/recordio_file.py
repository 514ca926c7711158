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
import stat
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np

from ferbench.core.files import atomic_write
from ferbench.errors import UserError

MAGIC = struct.pack("<I", 0xCED7230A)
_HEADER = struct.Struct("<IfQQ")
_FIRST_READ = 16_384  # one system call for a record of the usual size (a 112-pixel JPEG has 3 to 8 kB)
_MAX_PART = (1 << 29) - 1
_DIGITS = 18  # of a number in an index: as many fit into 64 bits
_BLOCK = 1 << 20  # bytes of an index that are parsed at once
_KINDS = np.zeros(
    256, np.uint8
)  # of bytes in an index: 1 digit, 2 blank, 3 line end, 0 none that belongs there
_KINDS[list(b"0123456789")], _KINDS[list(b" \t\r")], _KINDS[ord("\n")] = 1, 2, 3


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
        UserError: the file does not exist, cannot be opened, or is no regular file.
    """

    def __init__(self, path: Path):
        self.path = path
        self._descriptor = self._owner = -1
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):  # to open a FIFO would wait for ever
                raise UserError("the RecordIO file is no file", where=path, expected="a .rec file")
            self.size = status.st_size
            self._pread(1, 0)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            reason = error.strerror if isinstance(error, OSError) else error
            raise UserError(
                f"the RecordIO file cannot be opened ({reason})", where=path, expected="a .rec file"
            ) from error

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
                identity = _HEADER.unpack_from(data, 8)[2]
            else:
                payload, offset = self.payload(start)
                identity = _parse(payload, start).id
            if identity >= 2**63:
                raise BrokenRecord(f"the record at byte {start} has the id {identity}, beyond 63 bits")
            yield start, identity


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
        UserError: missing, empty, a line that is not two whole numbers, a key or an offset that comes twice.
    """
    try:
        with open(path, "rb") as file:
            blocks = [_parse_lines(path, lines) for lines in _line_blocks(file)]
    except OSError as error:
        raise UserError(
            f"the record index cannot be read ({error.strerror})", where=path,
            expected="lines of key<tab>offset",
            fix="set rebuild_index=True",
        ) from error  # fmt: skip
    if not blocks:
        raise UserError("the record index is empty", where=path, fix="set rebuild_index=True")
    numbers = np.concatenate(blocks)
    keys, offsets = numbers[0::2], numbers[1::2]
    for what, values in (("byte offset", offsets), ("key", keys)):
        order = np.argsort(values, kind="stable")
        twice = np.flatnonzero(np.diff(values[order]) == 0)
        if len(twice):
            raise UserError(
                f"{what} {values[order[twice[0]]]} comes twice in the record index",
                where=f"{path}:{order[twice[0] + 1] + 1}",
                expected="every record once", fix="set rebuild_index=True",
            )  # fmt: skip
    return keys[order], offsets[order]


def _line_blocks(file: BinaryIO) -> Iterator[bytes]:
    """The file in blocks of whole lines; the last one is given its line end if it has none."""
    rest = b""
    while block := file.read(_BLOCK):
        lines, end, rest = (rest + block).rpartition(b"\n")
        if end:
            yield lines + end
        elif len(rest) > _BLOCK:  # no line is that long: this is no index, and not read to its end
            yield rest
    if rest:
        yield rest + b"\n"


def _parse_lines(path: Path, lines: bytes) -> np.ndarray:
    """The numbers of whole lines, int64 [2 * lines]; each line must be two, of at most 18 digits."""
    kinds = _KINDS[np.frombuffer(lines, np.uint8)]
    is_digit = np.concatenate([[False], kinds == 1])
    edges = np.flatnonzero(is_digit[1:] != is_digit[:-1])
    starts, stops, ends = edges[0::2], edges[1::2], np.flatnonzero(kinds == 3)
    if not (
        kinds.all()
        and 0 < len(starts) == 2 * len(ends)
        and (stops - starts <= _DIGITS).all()
        and (starts[1::2] < ends).all()
        and (starts[2::2] > ends[:-1]).all()
    ):
        raise _bad_line(path)
    return np.fromstring(lines, np.int64, sep=" ")


def _bad_line(path: Path) -> UserError:
    """Name the first line of an index that cannot be right (slow, and only on the way out)."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):  # noqa: B007 - named after the loop
            cells = line.split()
            if len(cells) != 2 or not all(cell.isdigit() and len(cell) <= _DIGITS for cell in cells):
                break
    return UserError(
        f"the record index is broken: {line[:80]!r}", where=f"{path}:{number}", expected="key<tab>offset",
        fix="copy it again, or set rebuild_index=True to list the records by a scan",
    )  # fmt: skip


def scan_records(records: RecordFile) -> tuple[np.ndarray, np.ndarray]:
    """Keys (sorted) and byte offsets of all records from a walk over the file; int64 [N] each.

    The key of a record is the id in its header; where those are not all different, its position in the file.

    Raises:
        UserError: the chain of records breaks; there is no record; an id beyond 63 bits.
    """
    try:
        pairs = np.fromiter(records.spans(), np.dtype((np.int64, 2)))
    except (BrokenRecord, OSError) as error:
        raise UserError(
            f"the records cannot be listed: {error}",
            where=records.path,
            expected="RecordIO",
            fix="copy it again",
        ) from error
    if not len(pairs):
        raise UserError(
            "the file holds no records", where=records.path, expected="RecordIO", fix="copy it again"
        )
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
    with atomic_write(idx) as file:
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
    with atomic_write(rec.with_suffix(".idx")) as idx, atomic_write(rec) as file:  # the index appears last

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
