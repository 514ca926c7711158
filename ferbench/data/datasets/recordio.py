"""RecordIO files of face-recognition sets (InsightFace, im2rec) as unlabeled data, without MXNet."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from ferbench.data.datasets.base import UNLABELED, EncodedDataset
from ferbench.data.io import UnreadableImage
from ferbench.data.paths import IndexCache
from ferbench.data.recordio_file import (
    BrokenRecord,
    Record,
    RecordFile,
    read_index,
    scan_records,
    write_recordio,
)
from ferbench.errors import UserError
from ferbench.registry import DATASETS

__all__ = ["RecordIO", "last_image_key", "write_recordio"]

Layout = Literal["auto", "insightface", "im2rec"]
_log = logging.getLogger(__name__)
PROBES = 16  # records whose header is looked at when a file is first opened


@DATASETS.register_module()
class RecordIO(EncodedDataset):
    """The images of a RecordIO file as unlabeled data, in the order of their keys.

    Two layouts: ``insightface``: record 0 is a header with the number of images n, the images are the keys 1
    to n, further records describe identities and hold no image; ``im2rec``: every record is an image.

    Args:
        path: the ``.rec`` file, or a folder with ``train.rec``.
        index: the ``.idx`` file; beside the ``.rec`` with the same stem if None.
        layout: ``insightface``, ``im2rec``, or ``auto`` (insightface if record 0 holds numbers but no image).
        rebuild_index: list the records by a scan of the ``.rec`` and ignore the ``.idx`` (`rebuild_index` of
            `ferbench.data.recordio_file` writes a new ``.idx`` for good).
        cache: where the parsed index of a large file is kept (see `IndexCache`): 'auto', a folder, or None.
            It is used again while size and modification time of ``.rec`` and ``.idx`` are what they were.
        refresh: parse and check anew although a kept index seems valid (or delete the index folder).
        name: short name for logs and records; the folder's name if None.
        grayscale: see `EncodedDataset`.

    Raises:
        UserError: a missing file, a broken index, an index of another file, a ``.rec`` that is cut short.
    """

    def __init__(
        self,
        path: str | Path,
        index: str | Path | None = None,
        layout: Layout = "auto",
        rebuild_index: bool = False,
        cache: str | os.PathLike[str] | None = "auto",
        refresh: bool = False,
        name: str | None = None,
        grayscale: bool = False,
    ):
        if layout not in ("auto", "insightface", "im2rec"):
            raise UserError(f"layout={layout!r} is not known", expected="'auto', 'insightface' or 'im2rec'")
        rec = Path(path).expanduser()
        rec = rec / "train.rec" if rec.is_dir() else rec
        self.records = RecordFile(rec)
        self.name = name or rec.resolve().parent.name
        self.grayscale = grayscale
        idx = None if rebuild_index else Path(index or rec.with_suffix(".idx")).expanduser()
        signature = {"format": "records-1", "files": [_stamp(rec)] + ([] if idx is None else [_stamp(idx)])}
        kept = IndexCache(rec.parent, f"{rec.name} {idx and idx.name} {layout}", cache)
        saved = None if refresh else kept.load(signature, self._check_kept)
        if saved is None:
            keys, offsets = scan_records(self.records) if idx is None else read_index(idx)
            keys, offsets = self._images(keys, offsets, layout)
            saved = kept.save(signature, {"keys": keys, "offsets": offsets}, len(keys))
        self._keys, self._offsets = saved["keys"], saved["offsets"]
        self.labels = np.full(len(self._keys), UNLABELED, np.int16)

    def _images(self, keys: np.ndarray, offsets: np.ndarray, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
        """Keys and offsets of the records that hold images, after a check that the index fits the file."""
        end = self._check_end(keys, offsets)
        last = None if layout == "im2rec" else last_image_key(self.records, keys, offsets)
        if last is None and layout == "insightface":
            raise UserError(
                "record 0 is not the header of an InsightFace file", where=self.records.path,
                expected="two numbers and no image", fix="set layout='im2rec' if every record is an image",
            )  # fmt: skip
        if last is not None:
            start, stop = np.searchsorted(keys, [1, last + 1])
            if stop - start != last:
                raise UserError(
                    f"the index lists {stop - start} of the {last} images that the header record announces",
                    where=self.records.path, expected="an .idx written for this .rec",
                    fix="set rebuild_index=True",
                )  # fmt: skip
            keys, offsets = keys[start:stop], offsets[start:stop]
        elif end < self.records.size:
            _log.warning(
                "%s goes on for %d bytes after the last of the %d records that its index lists: what is there is not used. "
                "If the index was cut short, set rebuild_index=True",
                self.records.path, self.records.size - end, len(keys),
            )  # fmt: skip
        if not len(keys):
            raise UserError("the file holds no images", where=self.records.path)
        self._look_at_some(keys, offsets)
        return keys, offsets

    def _look_at_some(self, keys: np.ndarray, offsets: np.ndarray) -> None:
        for i in np.unique(np.linspace(0, len(keys) - 1, PROBES).astype(np.int64)):
            _probe(self.records, int(keys[i]), int(offsets[i]))

    def _check_kept(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Whether kept arrays can be an index of this file; ValueError."""
        keys, offsets = arrays["keys"], arrays["offsets"]
        if (
            keys.dtype != np.int64
            or offsets.dtype != np.int64
            or keys.ndim != 1
            or keys.shape != offsets.shape
        ):
            raise ValueError("keys and offsets are not as many whole numbers each")
        if not len(keys) or keys[0] < 0 or (keys[1:] <= keys[:-1]).any():
            raise ValueError("the keys do not rise")
        if offsets.min() < 0 or offsets.max() >= self.records.size:
            raise ValueError("a record lies beyond the file")
        self._look_at_some(keys, offsets)

    def _check_end(self, keys: np.ndarray, offsets: np.ndarray) -> int:
        """The byte where the last record ends."""
        at = int(np.argmax(offsets))
        beyond = int((offsets >= self.records.size).sum())
        if not beyond:
            try:
                self.records.read(int(offsets[at]))
                return self.records.payload(int(offsets[at]))[1]
            except (BrokenRecord, OSError) as error:
                if not isinstance(error, BrokenRecord) or not error.cut_short:
                    raise _misfit(self.records, int(keys[at]), error) from error
                beyond = 1
        raise UserError(
            f"the file is cut short: {beyond} of {len(keys)} records end beyond {self.records.size} bytes",
            where=self.records.path, expected=f"more than {int(offsets[at])} bytes, as its index says",
            fix="copy it again, or set rebuild_index=True if the .idx belongs to another file",
        )  # fmt: skip

    def item_id(self, index: int) -> str:
        """The record's key."""
        return str(self._keys[index])

    def where(self, index: int) -> str:
        """File, key and byte."""
        return f"{self.records.path}: record {self._keys[index]} at byte {self._offsets[index]}"

    def read_bytes(self, index: int) -> bytes:
        """See `EncodedDataset.read_bytes`."""
        try:
            return self.records.read(int(self._offsets[index])).image
        except (BrokenRecord, OSError) as error:
            raise UnreadableImage(f"{self.where(index)}: {error}") from error

    def sizes(self) -> np.ndarray:
        """Bytes from each record to the next image's; of the last in the file 0, as what follows it is no image."""
        offsets = np.asarray(self._offsets)
        ascending = (offsets[1:] >= offsets[:-1]).all()
        order = np.arange(len(offsets)) if ascending else np.argsort(offsets, kind="stable")
        sizes = np.zeros(len(offsets), np.int64)
        sizes[order[:-1]] = np.diff(offsets[order])
        return sizes


def last_image_key(records: RecordFile, keys: np.ndarray, offsets: np.ndarray) -> int | None:
    """Number of images n (their keys are 1 to n) by InsightFace's header record, or None without one.

    Args:
        records: the file.
        keys: int [N], sorted.
        offsets: int [N], byte offset of each key.
    """
    header = _probe(records, 0, int(offsets[0])) if len(keys) and keys[0] == 0 else None
    if header is None or header.image or len(header.labels) < 2:
        return None
    announced = float(header.labels[0])
    if not 1 < announced < 2**63 or announced % 1:
        raise UserError(
            f"record 0 announces {announced - 1:g} images", where=f"{records.path}: record 0",
            expected="InsightFace's header (number of images + 1, ...)", fix="copy the file again",
        )  # fmt: skip
    first_identity = int(announced)
    if first_identity < 2**24:
        return first_identity - 1
    # The header is float32: from here on its numbers are rounded, so the records themselves decide.
    reach = int(np.spacing(header.labels[0]))
    start, stop = np.searchsorted(keys, [first_identity - reach, first_identity + reach + 1])
    for at in range(stop - 1, start - 1, -1):
        if _probe(records, int(keys[at]), int(offsets[at])).image:
            return int(keys[at])
    return first_identity - 1


def _probe(records: RecordFile, key: int, offset: int) -> Record:
    try:
        return records.read(offset)
    except (BrokenRecord, OSError) as error:
        raise _misfit(records, key, error) from error


def _misfit(records: RecordFile, key: int, error: Exception) -> UserError:
    return UserError(
        f"the index does not fit the records: {error}", where=f"{records.path}: record {key}",
        expected="an .idx written for this .rec", fix="set rebuild_index=True, or copy both files again",
    )  # fmt: skip


def _stamp(file: Path) -> list[int]:
    try:
        status = file.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(
            f"a file of the RecordIO set is missing ({reason})", where=file,
            expected="train.rec and, beside it, train.idx",
            fix="set rebuild_index=True to do without the .idx" if file.suffix == ".idx" else "check `path`",
        ) from error  # fmt: skip
    if not stat.S_ISREG(status.st_mode):
        raise UserError("a file of the RecordIO set is no file", where=file, expected="train.rec, train.idx")
    return [status.st_size, status.st_mtime_ns]
