"""What RAF-DB, AffectNet and ExpW share: a list file that names images and numbers their classes."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ferbench.data.datasets.base import UNLABELED, ClassMap, EncodedDataset
from ferbench.data.io import read_file
from ferbench.data.paths import PathArray, PathBuilder
from ferbench.errors import UserError


class Rows:
    """Grows the columns of a list file: item id, line, class number."""

    def __init__(self) -> None:
        self.names, self.lines, self.codes = PathBuilder(), array("i"), array("h")

    def add(self, name: str, line: int, code: int) -> None:
        """Append a row; ``code`` is the position in the source classes, or -1 to leave the row out."""
        self.names.extend([name])
        self.lines.append(line)
        self.codes.append(code)


class ListedFaces(EncodedDataset):
    """Images of a list file. A subclass parses it, calls `hold`, and says in `file` where an image lies.

    Attributes:
        list_file: the list; None where there is none.
        kept: int64 [N], row of the list of each item.
    """

    def __init__(
        self,
        name: str,
        source: Sequence[str],
        classes: Sequence[str] | None,
        rename: Mapping[str, str | None] | None,
    ):
        self.name = name
        self.class_map = ClassMap(source, classes or source, rename, where=name)
        self.classes = self.class_map.target
        self.list_file: Path | None = None
        self.left_out: dict[str, int] = {}

    def hold(self, names: PathArray, lines: np.ndarray | None, codes: np.ndarray) -> None:
        """Fix the items: the rows whose class the target set has.

        Args:
            names: item id of each row.
            lines: int [rows], the line of each row, from 1; None without a list file.
            codes: int [rows], index into the source classes; -1: no row of this dataset.

        Raises:
            UserError: nothing is left.
        """
        mapped = self.class_map(np.asarray(codes, np.int64))
        self.kept = np.flatnonzero(mapped != UNLABELED)
        self.labels = mapped[self.kept]
        self.left_out["dropped_classes"] = int(
            ((np.asarray(codes) != UNLABELED) & (mapped == UNLABELED)).sum()
        )
        self._names, self._lines = names, lines
        if not len(self.kept):
            raise UserError(
                f"{self.name} has no images", where=self.list_file, expected=f"at least one; {self.summary()}"
            )

    def file(self, index: int) -> str:
        """Path of the image file of an item."""
        raise NotImplementedError

    def item_id(self, index: int) -> str:
        """The name in the list."""
        return self._names[int(self.kept[index])]

    def where(self, index: int) -> str:
        """Image file; list file and line."""
        at = "" if self._lines is None else f" ({self.list_file}:{self._lines[self.kept[index]]})"
        return self.file(index) + at

    def read_bytes(self, index: int) -> bytes:
        """See `EncodedDataset.read_bytes`."""
        return read_file(self.file(index), self.where, index)

    def summary(self) -> dict[str, Any]:
        """Counts: ``kept`` items, ``per_class``, and what was left out and why."""
        counts = dict(zip(self.classes, self.class_counts().tolist(), strict=True))
        return {"kept": len(self), "per_class": counts} | self.left_out


def split_lines(path: Path, cells: int, expected: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and the ``cells`` cells of each line; blanks part cells, only the first may contain blanks.

    Raises:
        UserError: the file cannot be read; a line with fewer cells.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, text in enumerate(file, 1):
                if not text.strip():
                    continue
                parts = text.strip().rsplit(maxsplit=cells - 1)
                if len(parts) != cells:
                    raise bad_line(path, number, f"a line of {len(parts)} cells: {text.strip()!r}", expected)
                yield number, parts
    except OSError as error:
        raise UserError(f"the list file cannot be read: {error.strerror}", where=path) from error
    except UnicodeDecodeError as error:
        raise UserError(f"the list file is not a text file in UTF-8 ({error})", where=path) from error


def parse_code(text: str, codes: range, path: Path, line: int) -> int:
    """The class number in ``text``.

    Raises:
        UserError: not an integer of ``codes``; with file and line.
    """
    try:
        code = int(text)
    except ValueError:
        code = codes.stop
    if code not in codes:
        what = f"label {text!r} is out of range"
        raise bad_line(path, line, what, f"an integer from {codes.start} to {codes.stop - 1}")
    return code


def bad_line(path: Path, line: int, what: str, expected: str) -> UserError:
    """The error that names a line of a list file."""
    return UserError(
        what, where=f"{path}:{line}", expected=expected, fix="use the list file as it was released"
    )


def first_existing(root: Path, relative: Sequence[str], what: str, fix: str) -> Path:
    """The first of several places below ``root`` that exists.

    Raises:
        UserError: none does; names all of them.
    """
    for place in relative:
        if (root / place).exists():
            return root / place
    raise UserError(f"{what} was not found", where=root, expected=" or ".join(relative), fix=fix)


def join(folder: Path, name: str) -> str:
    """``folder/name`` as a string, without building a `Path` per image."""
    return os.path.join(folder, name)
