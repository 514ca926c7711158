"""Millions of names without a Python object each, and the index files that keep them between runs.

An index is a folder of npy files and one ``index.json``. Processes map the files read-only, so that all of
them share one copy in the page cache; a spawned worker receives a path, not the data (`SharedArray`).
"""

from __future__ import annotations

import codecs
import hashlib
import json
import logging
import os
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from ferbench.core.files import atomic_write
from ferbench.core.hashing import sha256
from ferbench.errors import UserError, shortened

AUTO_CACHE_ITEMS = 100_000
"""``cache='auto'`` writes an index from this many items on: below, a scan is faster than anybody notices."""

_log = logging.getLogger(__name__)
_CHUNK = 1 << 24


class PathArray(Sequence[str]):
    """An immutable list of N strings held in two arrays.

    Args:
        blob: uint8 [total bytes], all strings in UTF-8, one after the other.
        offsets: integer [N + 1]; string i is ``blob[offsets[i]:offsets[i + 1]]``.
    """

    def __init__(self, blob: np.ndarray, offsets: np.ndarray):
        self.blob, self.offsets = blob, offsets

    @classmethod
    def from_strings(cls, strings: Iterable[str]) -> PathArray:
        """Pack strings; an iterator is consumed one by one, so that they need not exist all at once."""
        builder = PathBuilder()
        builder.extend(strings)
        return builder.build()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = int(index)
        if not -len(self) <= i < len(self):
            raise IndexError(f"string {i} of {len(self)}")
        i %= len(self)
        start, stop = self.offsets.item(i), self.offsets.item(i + 1)
        return str(
            self.blob.data[start:stop], "utf-8"
        )  # a memoryview: slicing a mapped array costs 10 times more

    @property
    def nbytes(self) -> int:
        """Bytes held by both arrays."""
        return self.blob.nbytes + self.offsets.nbytes

    def check(self) -> None:
        """Refuse arrays that are no list of strings, e.g. those of a damaged index.

        Raises:
            ValueError: other types or shapes, offsets that fall or leave the blob, bytes that are not UTF-8.
        """
        blob, offsets = self.blob, self.offsets
        if blob.dtype != np.uint8 or blob.ndim != 1 or offsets.dtype.kind not in "iu" or offsets.ndim != 1:
            raise ValueError("strings are not uint8 with whole offsets")
        if (
            not len(offsets)
            or offsets[0] != 0
            or offsets[-1] != len(blob)
            or (offsets[1:] < offsets[:-1]).any()
        ):
            raise ValueError("the offsets of the strings do not rise from 0 to their end")
        decoder = codecs.getincrementaldecoder("utf-8")()
        for start in range(0, len(blob), _CHUNK):
            decoder.decode(blob.data[start : start + _CHUNK])
        decoder.decode(b"", final=True)
        starts = offsets[:-1]
        if (blob[starts[starts < len(blob)]] & 0xC0 == 0x80).any():
            raise ValueError("a string begins within a character")

    def duplicate(self, key: Callable[[str], str] = str) -> tuple[int, int] | None:
        """Positions of two strings of equal ``key``, or None. O(N log N); no string is kept."""
        hashes = np.fromiter((hash(key(s)) for s in self), np.int64, len(self))
        order = np.argsort(hashes, kind="stable")
        same = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
        pairs = sorted((int(order[k + 1]), int(order[k])) for k in same)
        return next(
            ((first, second) for second, first in pairs if key(self[first]) == key(self[second])), None
        )


class PathBuilder:
    """Grows a `PathArray`: a string costs its bytes and four more."""

    def __init__(self) -> None:
        self._blob, self._lengths = bytearray(), array("I")

    def extend(self, strings: Iterable[str]) -> None:
        """Append strings.

        Raises:
            UnicodeEncodeError: a string is not valid Unicode (a file name that is not UTF-8).
        """
        for string in strings:
            data = string.encode()
            self._blob += data
            self._lengths.append(len(data))

    def build(self) -> PathArray:
        """The strings so far; the builder is spent."""
        offsets = np.zeros(len(self._lengths) + 1, np.uint32 if len(self._blob) < 2**32 else np.int64)
        np.cumsum(np.asarray(self._lengths), out=offsets[1:], dtype=offsets.dtype)
        return PathArray(np.asarray(self._blob), offsets)


class SharedArray(np.memmap):
    """A read-only array file, mapped. Its pickle is the path: a spawned worker maps the same file."""

    _source: str | None = None

    def __array_finalize__(self, obj: Any) -> None:
        super().__array_finalize__(obj)
        self._source = None  # a slice or a result is not the file any more

    def __reduce__(self) -> Any:
        return np.asarray(self).__reduce__() if self._source is None else (open_shared, (self._source,))


def open_shared(path: str) -> SharedArray:
    """Map an npy file read-only.

    Raises:
        UserError: the file is gone, e.g. because the index was rewritten while a run used it.
    """
    try:
        mapped = np.lib.format.open_memmap(path, mode="r").view(SharedArray)
    except Exception as error:  # a damaged header can make NumPy fail in any way
        raise UserError(
            f"a file of a dataset index cannot be opened ({error})", where=path,
            expected="the index that the main process opened", fix="start again: the index is then rebuilt",
        ) from error  # fmt: skip
    mapped._source = os.path.abspath(path)
    return mapped


class IndexCache:
    """Where the index of one dataset lies between runs.

    Nothing here decides whether an index is still true: the dataset says what it depends on (`load`'s
    ``signature``). Files are named after their content, which is compared with the name each time they are opened, and
    published by one rename of ``index.json``; several processes that build the same index at once write the same files.

    Args:
        data: the folder that holds the data.
        key: what else tells this index from others of the same folder (kind, options); text of any length.
        cache: ``'auto'``: ``<data>/.ferbench``, or ``~/.cache/ferbench`` where that cannot be written, and
            only from `AUTO_CACHE_ITEMS` items on; a folder: there, always; None: never.
    """

    def __init__(self, data: Path, key: str, cache: str | os.PathLike[str] | None):
        self.required = cache not in (None, "auto")
        inside = data / ".ferbench"
        home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ferbench"
        elsewhere = f"{data.resolve()}\n{key}"  # a shared cache folder must tell data folders apart
        if cache is None:
            self.places: list[Path] = []
        elif cache == "auto":
            self.places = [inside / _digest(key), home / _digest(elsewhere)]
        else:
            self.places = [Path(cache).expanduser() / _digest(elsewhere)]

    def load(
        self, signature: Mapping[str, Any], check: Callable[[Mapping[str, np.ndarray]], None] | None = None
    ) -> dict[str, SharedArray] | None:
        """The index whose signature equals ``signature``, or None when there is none or it is damaged.

        Args:
            signature: plain types.
            check: raises an error where arrays, although they are as they were written, cannot be an index of the data.
        """
        for folder in self.places:
            try:
                saved = json.loads((folder / "index.json").read_text(encoding="utf-8"))
                if saved["signature"] != signature:
                    continue
                arrays = {name: _open_verified(folder, name, file) for name, file in saved["arrays"].items()}
                if check is not None:
                    check(arrays)
            except FileNotFoundError:
                continue
            except Exception as error:  # whatever is wrong with it: it is made anew, never used
                _log.warning("the index in %s is not usable and will be rebuilt: %s", folder, error)
            else:
                return arrays
        return None

    def prepare(self, count: int) -> Path | None:
        """Create the folder that an index of ``count`` items goes to, or None when it is not to be kept."""
        if not self.required and count < AUTO_CACHE_ITEMS:
            return None
        problem: OSError | None = None
        for folder in self.places:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                problem = error
            else:
                if os.access(folder, os.W_OK):
                    return folder
        if self.places:
            self._cannot_write(problem or PermissionError("not writable"))
        return None

    def save(
        self, signature: Mapping[str, Any], arrays: Mapping[str, np.ndarray], count: int
    ) -> dict[str, Any]:
        """Keep an index and return it mapped; returned as it is where it is not kept.

        Raises:
            UserError: a cache folder was named and cannot be written.
        """
        folder = self.prepare(count)
        if folder is None:
            return dict(arrays)
        try:
            return _publish(folder, signature, arrays)
        except OSError as error:
            self._cannot_write(error)
            return dict(arrays)

    def _cannot_write(self, error: OSError) -> None:
        if self.required:
            raise UserError(
                f"the dataset index cannot be written ({error.strerror or error})", where=self.places[0],
                expected="a folder with write permission and free space",
                fix="set `cache` to another folder, or None",
            ) from error  # fmt: skip
        _log.warning("no dataset index is kept, each start scans anew: %s", error)


def _digest(text: str) -> str:
    return sha256(text)[:16]


def _file_name(name: str, values: np.ndarray) -> str:
    """Name of the file of an array, by its type, shape and bytes."""
    content = hashlib.blake2b(f"{values.dtype}{values.shape}".encode(), digest_size=8)
    content.update(values.data)
    return f"{name}-{content.hexdigest()}.npy"


def _open_verified(folder: Path, name: str, file: str) -> SharedArray:
    mapped = open_shared(os.path.join(folder, os.path.basename(file)))
    if file != _file_name(name, mapped):
        raise ValueError(f"{shortened(file)} does not hold what its name says")
    return mapped


def _publish(
    folder: Path, signature: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> dict[str, SharedArray]:
    files: dict[str, str] = {}
    opened: dict[str, SharedArray] = {}
    for name, values in arrays.items():
        contiguous = np.ascontiguousarray(values)
        files[name] = _file_name(name, contiguous)
        with atomic_write(folder / files[name]) as file:
            np.save(file, contiguous)
        opened[name] = open_shared(str(folder / files[name]))
    with atomic_write(folder / "index.json") as file:
        file.write(json.dumps({"signature": signature, "arrays": files}, indent=1).encode())
    for old in folder.glob("*.npy"):
        if old.name not in files.values():
            old.unlink(missing_ok=True)
    return opened
