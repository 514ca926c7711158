"""A csv file that lists images and, if they are labeled, their classes."""

from __future__ import annotations

import os
import posixpath
import re
import time
import unicodedata
from array import array
from collections.abc import Iterator, Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ferbench.data.datasets.base import UNLABELED, EncodedDataset
from ferbench.data.datasets.naming import FoundLabels, KeptRows
from ferbench.data.decoding import MAX_PIXELS
from ferbench.data.io import read_file
from ferbench.data.paths import IndexCache, PathArray, PathBuilder
from ferbench.data.text import csv_rows, shown
from ferbench.errors import UserError, nearest
from ferbench.registry import DATASETS

_WHAT = "the csv of images"
_LONGEST = 4096  # bytes of a path
LINKS = 32_768
"""Rows of a list whose files are compared, so that links to one are noticed: as many as are all read for the protocol."""
_TEXTS = ("paths", "labels", "group_names")  # of `_Rows`

_log = getLogger(__name__)


class _Rows(NamedTuple):
    """What a csv says, row by row.

    Attributes:
        paths: path of each row, with ``/``.
        lines: int32 [rows], from 1.
        codes: int32 [rows], index into ``labels``, or -1 for an empty cell.
        labels: different label texts, in order of appearance.
        groups: int32 [rows], index into ``group_names``; empty without a column of groups.
        group_names: different group texts, in order of appearance.
    """

    paths: PathArray
    lines: np.ndarray
    codes: np.ndarray
    labels: PathArray
    groups: np.ndarray
    group_names: PathArray

    def arrays(self) -> dict[str, np.ndarray]:
        """As an index file holds it."""
        found: dict[str, np.ndarray] = {}
        for name, value in self._asdict().items():
            if isinstance(value, PathArray):
                found |= {name: value.blob, f"{name}_offsets": value.offsets}
            else:
                found[name] = value
        return found

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> _Rows:
        """Inverse of `arrays`."""
        parts: dict[str, Any] = {
            name: PathArray(arrays[name], arrays[f"{name}_offsets"]) if name in _TEXTS else arrays[name]
            for name in cls._fields
        }
        return cls(**parts)

    def check(self) -> None:
        """Refuse arrays that cannot have come from a csv.

        Raises:
            ValueError: see `PathArray.check`; columns of different lengths; a code without a text.
        """
        for texts in (self.paths, self.labels, self.group_names):
            texts.check()
        count = len(self.paths)
        for codes, texts, counts in (
            (self.codes, self.labels, {count}),
            (self.groups, self.group_names, {count, 0}),
        ):
            if codes.dtype != np.int32 or codes.ndim != 1 or len(codes) not in counts:
                raise ValueError("the columns are not equally long")
            if len(codes) and not UNLABELED <= codes.min() <= codes.max() < len(texts):
                raise ValueError("a row has a label or a group without a name")
        if not count or self.lines.shape != (count,) or self.lines.dtype != np.int32:
            raise ValueError("the rows do not have one line each")


@DATASETS.register_module()
class CsvList(KeptRows, EncodedDataset):
    """Images listed in a csv file with a header, one row an image.

    A label is a class name, or an integer index into ``source_classes`` (ASCII digits); an empty cell means unlabeled.

    Args:
        path: the csv file (UTF-8).
        root: folder that the listed paths are relative to; the csv's own folder if None.
        classes: target classes; None takes ``source_classes`` or the names found, sorted, after ``rename``.
        source_classes: class names in the csv's own order; needed where labels are integers.
        rename: csv class -> target class, or None to leave its rows out (see `ClassMap`).
        path_column: header of the path column. Backslashes are read as ``/``.
        label_column: header of the label column; None reads the list as unlabeled.
        group_column: header of a column that says what belongs together (person, video), for splits
            ``by='group'``; None: items are independent.
        delimiter: one character between cells.
        allow_outside: let listed paths be absolute or leave ``root`` (``..``). Such a list means other files
            on another machine.
        cache: where the rows of a long list are kept (see `IndexCache`): 'auto', a folder, or None. They are
            used again while the csv's size, times and inode are what they were.
        refresh: read the csv although its kept rows seem valid.
        name: short name for logs and records; the csv's stem if None.
        grayscale: see `EncodedDataset`.
        max_pixels: see `EncodedDataset`.

    Raises:
        UserError: no such file or column, a row with too few or too many cells, a label that is no class or out
            of range, an image listed twice (also in two spellings, and in lists of up to `LINKS` rows by links to one
            file), a path that leaves ``root`` or is longer than a path can be; each with file and line.
    """

    def __init__(
        self,
        path: str | Path,
        root: str | Path | None = None,
        classes: Sequence[str] | None = None,
        source_classes: Sequence[str] | None = None,
        rename: Mapping[str, str | None] | None = None,
        path_column: str = "path",
        label_column: str | None = "label",
        delimiter: str = ",",
        name: str | None = None,
        grayscale: bool = False,
        group_column: str | None = None,
        allow_outside: bool = False,
        cache: str | os.PathLike[str] | None = "auto",
        refresh: bool = False,
        max_pixels: int = MAX_PIXELS,
    ):
        self.path = Path(path).expanduser()
        self.root = self.path.parent if root is None else Path(root).expanduser()
        self.name = name or self.path.stem
        self.grayscale, self.max_pixels = grayscale, max_pixels
        if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n':
            raise UserError(
                f"delimiter={delimiter!r}", where=self.path,
                expected="one character between cells, e.g. ',' or ';' or '\\t'",
            )  # fmt: skip
        columns = {"path_column": path_column, "label_column": label_column, "group_column": group_column}
        reading = _Reading(self.path, columns, delimiter, allow_outside)
        rows = reading.kept_rows(cache, refresh)
        self._paths, self._lines = rows.paths, rows.lines
        if len(self._paths) <= LINKS:
            self._refuse_links()
        codes = np.asarray(rows.codes)
        found = FoundLabels(list(rows.labels), codes, lambda row: f"{self.path}:{self._lines[row]}")
        self.class_map, self.labels, self._kept = found.mapped(classes, source_classes, rename, self.path)
        self.classes = self.class_map.target if len(rows.labels) else ()
        if group_column is not None:
            groups = np.asarray(rows.groups)
            self.groups = groups if self._kept is None else groups[self._kept]
            self.group_names = rows.group_names

    def _refuse_links(self) -> None:
        """Refuse two rows that lead to one file by links, of files or of folders."""
        seen: dict[tuple[int, int], int] = {}
        for row, path in enumerate(self._paths):
            try:
                status = os.stat(os.path.join(self.root, path))
            except (OSError, ValueError):
                continue  # named when it is read
            first = seen.setdefault((status.st_dev, status.st_ino), row)
            if first != row and (status.st_nlink > 1 or self._real(first) == self._real(row)):
                raise _twice(self.path, self._paths, self._lines, first, row, ", a link to the same file")

    def _real(self, row: int) -> str:
        return os.path.realpath(os.path.join(self.root, self._paths[row]))

    def item_id(self, index: int) -> str:
        """The path as listed, with ``/``."""
        return self._paths[self._row(index)]

    def where(self, index: int) -> str:
        """Image file, csv and line."""
        return f"{os.path.join(self.root, self.item_id(index))} ({self.path}:{self._lines[self._row(index)]})"

    def read_bytes(self, index: int) -> bytes:
        """See `EncodedDataset.read_bytes`."""
        return read_file(os.path.join(self.root, self.item_id(index)), self.where, index)


class _Reading(NamedTuple):
    """How a csv is read. ``columns`` are the headers by the name of the option that sets them."""

    path: Path
    columns: Mapping[str, str | None]
    delimiter: str
    allow_outside: bool

    def kept_rows(self, cache: str | os.PathLike[str] | None, refresh: bool) -> _Rows:
        """The rows, from the index of an earlier start if the csv is what it was."""
        options = {**self.columns, "delimiter": self.delimiter, "allow_outside": self.allow_outside}
        index = IndexCache(self.path.parent, f"csv {self.path.name} {sorted(options.items())}", cache)
        signature = {"format": "csv-1", "options": options, "file": self._stamp()}
        saved = None if refresh else index.load(signature, lambda arrays: _Rows.from_arrays(arrays).check())
        if saved is not None:
            return _Rows.from_arrays(saved)
        started = time.perf_counter()
        rows = self.rows()
        if time.perf_counter() - started > 5:
            _log.info(
                "read %d rows of %s in %.0f s", len(rows.lines), self.path, time.perf_counter() - started
            )
        if self._stamp() == signature["file"]:  # else it was written to meanwhile
            return _Rows.from_arrays(index.save(signature, rows.arrays(), len(rows.lines)))
        return rows

    def _stamp(self) -> list[int]:
        """Changes when the file does."""
        try:
            status = os.stat(self.path)
        except (OSError, ValueError):
            return []  # reading it says what is wrong
        return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]

    def rows(self) -> _Rows:
        """Read and check the csv.

        Raises:
            UserError: see `CsvList`.
        """
        paths, lines, codes, groups = PathBuilder(), array("i"), array("i"), array("i")
        labels: dict[str, int] = {}
        group_names: dict[str, int] = {}
        for line, item, label, group in self._cells():
            paths.extend([item])
            lines.append(line)
            codes.append(labels.setdefault(label, len(labels)) if label else UNLABELED)
            if group is not None:
                groups.append(group_names.setdefault(group, len(group_names)))
        if not lines:
            raise UserError(
                "the csv lists no images", where=self.path, expected="one row per image under the header"
            )
        found = _Rows(
            paths.build(), np.array(lines, np.int32), np.array(codes, np.int32), PathArray.from_strings(labels),
            np.array(groups, np.int32), PathArray.from_strings(group_names),
        )  # fmt: skip
        self._refuse_duplicates(found)
        return found

    def _cells(self) -> Iterator[tuple[int, str, str, str | None]]:
        """Line, path, label text ('' if none) and group (None without such a column) of each row."""
        rows = csv_rows(self.path, _WHAT, "save it as a csv in UTF-8, or check `path`", self.delimiter)
        header = [cell.strip() for cell in next(rows, (1, []))[1]]
        at = {
            key: None if name is None else self._column(header, name, key)
            for key, name in self.columns.items()
        }
        path_at, label_at, group_at = (at[key] for key in ("path_column", "label_column", "group_column"))
        assert path_at is not None
        needed = 1 + max(i for i in at.values() if i is not None)
        for line, row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) < needed or not (item := row[path_at].strip()):
                self._refuse(line, "a row has no path or too few cells", row, header)
            if len(row) > len(header) and any(cell.strip() for cell in row[len(header) :]):
                self._refuse(line, "a row has more cells than the header", row, header)
            if not _is_plain(item):
                item = self._checked_path(line, item)
            group = None if group_at is None else row[group_at].strip()
            if group == "":
                self._refuse(line, f"a row has no {self.columns['group_column']!r}", row, header)
            yield line, item, "" if label_at is None else row[label_at].strip(), group

    def _checked_path(self, line: int, item: str) -> str:
        item = item.replace("\\", "/")
        if "\n" in item:
            raise UserError(f"a path goes over two lines: {shown(item)}", where=f"{self.path}:{line}")
        inside = _one_spelling(item)
        if len(item.encode()) > _LONGEST or any(len(part.encode()) > 255 for part in item.split("/")):
            raise UserError(
                f"a listed path is longer than a file's can be: {shown(item)}", where=f"{self.path}:{line}",
                expected=f"at most {_LONGEST:,} bytes, and 255 between two slashes",
            )  # fmt: skip
        if inside in (".", "..") or (
            not self.allow_outside and (inside.startswith(("../", "/")) or re.match("[A-Za-z]:", inside))
        ):
            raise UserError(
                f"a listed path leaves the folder of the images: {shown(item)}", where=f"{self.path}:{line}",
                expected="paths relative to `root`, and below it",
                fix="write them relative to a folder that holds all images and set `root` to it, or set allow_outside=True",
            )  # fmt: skip
        return item

    def _refuse(self, line: int, what: str, row: list[str], header: list[str]) -> None:
        raise UserError(
            f"{what}: {shown(self.delimiter.join(row))}", where=f"{self.path}:{line}",
            expected=shown(self.delimiter.join(header)),
        )  # fmt: skip

    def _column(self, header: list[str], name: str, option: str) -> int:
        if header.count(name) == 1:
            return header.index(name)
        if name in header:
            raise UserError(
                f"the csv has several columns {name!r}", where=f"{self.path}:1", expected="different headers",
                fix=f"rename one, or set `{option}` to another",
            )  # fmt: skip
        fix = f"set `{option}` to the column's header"
        other = [d for d in ",;\t|" if len(header) == 1 and name in header[0].split(d)]
        if other:
            fix = f"set `delimiter` to {other[0]!r}"
        raise UserError(
            f"the csv has no column {name!r}" if any(header) else "the csv is empty",
            where=f"{self.path}:1",
            expected=nearest(name, [h[:80] for h in header]) if any(header) else "a header line",
            fix=fix,
        )

    def _refuse_duplicates(self, rows: _Rows) -> None:
        pair = rows.paths.duplicate(_one_spelling)
        if pair is not None:
            raise _twice(self.path, rows.paths, rows.lines, *pair)


def _twice(
    csv: Path, paths: Sequence[str], lines: np.ndarray, first: int, second: int, how: str = ""
) -> UserError:
    one, other = paths[first], paths[second]
    spelt = "" if one == other else f", the second time as {shown(other)}{how}"
    return UserError(
        f"{shown(one)} is listed twice{spelt}", where=f"{csv}:{lines[first]} and :{lines[second]}",
        expected="every image once", fix="remove one of the two rows",
    )  # fmt: skip


def _is_plain(path: str) -> bool:
    """Whether a path is certainly relative, below its root and spelt in the one way (quick; most are)."""
    return (
        path.isascii()
        and len(path) <= 255
        and path[0] not in "./"
        and "/." not in path
        and "//" not in path
        and "\\" not in path
        and "\n" not in path
        and path[1:2] != ":"
        and path[-1] != "/"
    )


def _one_spelling(path: str) -> str:
    """Equal for all spellings of one path: ``./a.jpg``, ``b/../a.jpg``, accents as letters or as marks."""
    if _is_plain(path):
        return path
    return posixpath.normpath(unicodedata.normalize("NFC", path))
