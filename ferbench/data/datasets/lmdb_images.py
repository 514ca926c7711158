"""Encoded images in an LMDB database, one under each key."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ferbench.data.datasets.base import UNLABELED, ClassMap, EncodedDataset
from ferbench.data.datasets.naming import KeptRows, matched_parts
from ferbench.data.datasets.packed import need, require_file
from ferbench.data.decoding import MAX_PIXELS
from ferbench.data.io import UnreadableImage
from ferbench.data.paths import IndexCache, PathArray, PathBuilder
from ferbench.data.text import shown
from ferbench.errors import UserError
from ferbench.registry import DATASETS

NOTES = frozenset(
    [b"__len__", b"__keys__", b"length", b"num-samples", b"num_samples", b"meta_info", b"classnames"]
)
"""Keys under which writers put notes, not images; values of others that are no images are unreadable."""

_LISTING = """
import sys, lmdb
with lmdb.open(sys.argv[1], subdir=sys.argv[2] == "folder", readonly=True, lock=False).begin() as transaction:
    for key in transaction.cursor().iternext(values=False):
        pass
"""

_open: dict[str, Any] = {}


@DATASETS.register_module()
class LmdbImages(KeptRows, EncodedDataset):
    """Encoded images in an LMDB database (``data.mdb``), in the order of their keys. Values must be the bytes of a JPEG, PNG,
    ...; pickled values are not read. One that is cut short is refused, and so is one with damaged pages: the library trusts
    them and may end its process, so the keys are listed in another process first. Needs lmdb:
    ``pip install 'ferbench[lmdb]'``.

    Args:
        path: the folder with ``data.mdb``, or a database in one file.
        class_from: a regular expression with one group that is searched in the key and names the class, e.g.
            ``r'^([^/]+)/'``; None reads all as unlabeled.
        group_from: the same for what belongs together (person, video), for splits ``by='group'``; or None.
        classes: target classes; None takes the names found, sorted (after ``rename``).
        rename: name found -> target class, or None to leave its images out (see `ClassMap`).
        cache: where the keys of a large database are kept (see `IndexCache`). They are used again while its size and
            modification time are what they were.
        refresh: list the keys although a kept index seems valid.
        name: short name for logs and records; the folder's name if None.
        grayscale: see `EncodedDataset`.
        max_pixels: see `EncodedDataset`.

    Raises:
        UserError: lmdb is not installed; no such database, or one that is cut short or damaged; keys that name no class or
            group.
    """

    def __init__(
        self,
        path: str | Path,
        class_from: str | None = None,
        group_from: str | None = None,
        classes: Sequence[str] | None = None,
        rename: Mapping[str, str | None] | None = None,
        cache: str | os.PathLike[str] | None = "auto",
        refresh: bool = False,
        name: str | None = None,
        grayscale: bool = False,
        max_pixels: int = MAX_PIXELS,
    ):
        self.path = Path(path).expanduser()
        self.name, self.grayscale, self.max_pixels = name or self.path.stem, grayscale, max_pixels
        self._file = require_file(
            self.path / "data.mdb" if self.path.is_dir() else self.path, "the LMDB database"
        )
        status = os.stat(self._file)
        index = IndexCache(self._file.parent, f"lmdb {self._file.name}", cache)
        signature = {"format": "lmdb-1", "file": [status.st_size, status.st_mtime_ns]}
        kept = None if refresh else index.load(signature, lambda arrays: _keys(arrays).check())
        if kept is None:
            kept = index.save(signature, *self._list())
        self._hex, self._names = bool(kept["hexadecimal"][0]), _keys(kept)
        self.labels = np.full(len(self._names), UNLABELED, np.int16)
        if class_from is not None:
            codes, found = matched_parts(self._names, class_from, "class_from", self.path)
            self.class_map = ClassMap(found, classes, rename, where=self.path)
            self.classes = self.class_map.target
            labels = self.class_map(codes)
            if (labels == UNLABELED).any():  # classes that the map drops
                self._kept = np.flatnonzero(labels != UNLABELED)
                labels = labels[self._kept]
            self.labels = labels
        if group_from is not None:
            groups, self.group_names = matched_parts(self._names, group_from, "group_from", self.path)
            self.groups = groups if self._kept is None else groups[self._kept]

    def _database(self) -> Any:
        """The open database, which all datasets of this process share."""
        place = str(self.path.resolve())
        if place not in _open:
            lmdb = need("lmdb")
            try:
                database = lmdb.open(
                    place,
                    subdir=self.path.is_dir(),
                    readonly=True,
                    lock=False,
                    readahead=False,
                    meminit=False,
                )
                size = (database.info()["last_pgno"] + 1) * database.stat()["psize"]
            except (lmdb.Error, OSError) as error:
                raise UserError(
                    f"the LMDB database cannot be opened ({error})", where=self.path, fix="copy it again"
                ) from error
            if self._file.stat().st_size < size:  # to read what is missing would end the process
                database.close()
                raise UserError(
                    f"the LMDB database is cut short: {self._file.stat().st_size} bytes", where=self._file,
                    expected=f"{size} bytes", fix="copy it again",
                )  # fmt: skip
            _open[place] = database
        return _open[place]

    def _probe(self) -> None:
        """List the keys in a process of its own, which damaged pages may end.

        Raises:
            UserError: they did.
        """
        place = [str(self.path.resolve()), "folder" if self.path.is_dir() else "file"]
        ended = subprocess.run([sys.executable, "-c", _LISTING, *place], capture_output=True, check=False)
        if ended.returncode < 0:
            raise UserError(
                f"the LMDB database is damaged: to list its keys ended a process (signal {-ended.returncode})",
                where=self.path, fix="copy it again",
            )  # fmt: skip

    def _list(self) -> tuple[dict[str, np.ndarray], int]:
        database, lmdb = self._database(), need("lmdb")
        self._probe()
        try:
            with database.begin() as transaction:
                keys = [key for key in transaction.cursor().iternext(values=False) if key not in NOTES]
        except lmdb.Error as error:
            raise UserError(
                f"the LMDB database is damaged ({error})", where=self.path, fix="copy it again"
            ) from error
        if not keys:
            raise UserError("the LMDB database holds no images", where=self.path)
        builder, hexadecimal = PathBuilder(), not all(map(_is_text, keys))
        builder.extend(key.hex() if hexadecimal else key.decode() for key in keys)
        names = builder.build()
        flag = np.array([hexadecimal], np.uint8)
        return {"names": names.blob, "name_offsets": names.offsets, "hexadecimal": flag}, len(keys)

    def item_id(self, index: int) -> str:
        """The key; in hexadecimal digits where not all keys of the database are text."""
        return self._names[self._row(index)]

    def where(self, index: int) -> str:
        """Database and key."""
        return f"{self.path}, key {shown(self.item_id(index))}"

    def read_bytes(self, index: int) -> bytes:
        """See `EncodedDataset.read_bytes`."""
        key = self.item_id(index)
        database, lmdb = self._database(), need("lmdb")
        try:
            with database.begin() as transaction:
                value = transaction.get(bytes.fromhex(key) if self._hex else key.encode())
        except lmdb.Error as error:
            raise UnreadableImage(f"{self.where(index)}: the database is damaged ({error})") from error
        if value is None:
            raise UnreadableImage(f"{self.where(index)}: there is no such key any more")
        return value


def _close_all() -> None:
    while _open:
        _open.popitem()[1].close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_close_all
    )  # LMDB forbids a child to use, or to open, what its parent has open


def _is_text(key: bytes) -> bool:
    try:
        return key.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _keys(arrays: Mapping[str, Any]) -> PathArray:
    return PathArray(arrays["names"], arrays["name_offsets"])
