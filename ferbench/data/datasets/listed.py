"""What RAF-DB, AffectNet and ExpW share: a list file that names images and numbers their classes."""

from __future__ import annotations

import os
from abc import abstractmethod
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ferbench.data.datasets.base import UNLABELED, ClassMap, EncodedDataset
from ferbench.data.io import read_file
from ferbench.data.paths import PathArray, PathBuilder
from ferbench.data.text import shown, text_lines, whole_number
from ferbench.errors import UserError

AS_RELEASED = "use the list file as it was released"


class Rows:
    """Grows the columns of a list file: item id, line, class number."""

    def __init__(self) -> None:
        self.names, self.lines, self.codes = PathBuilder(), array("i"), array("h")

    def add(self, name: str, line: int, code: int, path: Path) -> None:
        """Append a row; ``code`` is the position in the source classes, or -1 to leave the row out.

        Raises:
            UserError: the name is absolute or leaves its folder; with file (``path``) and line.
        """
        if not is_name(name):
            raise bad_line(
                path, line, f"no name of an image: {shown(name)}", "a path within the images' folder"
            )
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

    def hold(
        self, names: PathArray, lines: np.ndarray | None, codes: np.ndarray, boxes: np.ndarray | None = None
    ) -> None:
        """Fix the items: the rows whose class the target set has.

        Args:
            names: item id of each row.
            lines: int [rows], the line of each row, from 1; None without a list file.
            codes: int [rows], index into the source classes; -1: no row of this dataset.
            boxes: int [rows, 4], what else a row says of its item, or None.

        Raises:
            UserError: nothing is left; two rows of one item that do not say the same.
        """
        codes = np.asarray(codes, np.int64)
        repeated = self._repetitions(
            names, lines, codes if boxes is None else np.column_stack([codes, boxes])
        )
        mapped = self.class_map(np.where(repeated, UNLABELED, codes))
        self.kept = np.flatnonzero(mapped != UNLABELED)
        self.labels = mapped[self.kept]
        self.left_out["dropped_classes"] = int(
            ((codes != UNLABELED) & (mapped == UNLABELED) & ~repeated).sum()
        )
        self.left_out["repeated_rows"] = int(repeated.sum())
        self._names, self._lines = names, lines
        if not len(self.kept):
            raise UserError(
                f"{self.name} has no images", where=self.list_file, expected=f"at least one; {self.summary()}"
            )

    def _repetitions(self, names: PathArray, lines: np.ndarray | None, values: np.ndarray) -> np.ndarray:
        """bool [rows]: rows that say once more what an earlier one said."""
        repeated = np.zeros(len(values), bool)
        seen: dict[str, int] = {}
        for row, name in enumerate(names):
            first = seen.setdefault(name, row)
            if first == row:
                continue
            if (values[first] != values[row]).any():
                at = "" if lines is None else f":{lines[first]} and :{lines[row]}"
                raise UserError(
                    f"{shown(name)} is listed twice, with different labels or boxes", where=f"{self.list_file}{at}",
                    expected="every image once", fix=AS_RELEASED,
                )  # fmt: skip
            repeated[row] = True
        return repeated

    @abstractmethod
    def file(self, index: int) -> str:
        """Path of the image file of an item."""

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
        UserError: as `text_lines`; a line with fewer cells.
    """
    for number, text in text_lines(path, fix=AS_RELEASED):
        parts = cells_of(text)
        if not parts:
            continue
        if len(parts) < cells:
            raise bad_line(path, number, f"a line of {len(parts)} cells: {shown(text)}", expected)
        first = text.strip(" \t")
        for cell in reversed(parts[1 - cells :]):
            first = first[: -len(cell)].rstrip(" \t")
        yield number, [first, *parts[1 - cells :]]


def cells_of(text: str) -> list[str]:
    """The cells of a line, parted by blanks and tabs (and by no other blank of Unicode)."""
    return [cell for cell in text.replace("\t", " ").split(" ") if cell]


def parse_code(text: str, codes: range, path: Path, line: int) -> int:
    """The class number in ``text``.

    Raises:
        UserError: not an integer of ``codes``, in ASCII digits; with file and line.
    """
    code = whole_number(text)
    if code is None or code not in codes:
        what = f"label {shown(text)} is out of range"
        raise bad_line(path, line, what, f"an integer from {codes.start} to {codes.stop - 1}")
    return code


def bad_line(path: Path, line: int, what: str, expected: str) -> UserError:
    """The error that names a line of a list file."""
    return UserError(what, where=f"{path}:{line}", expected=expected, fix=AS_RELEASED)


def first_existing(root: Path, relative: Sequence[str], what: str, fix: str) -> Path:
    """The first of several places below ``root`` that exists.

    Raises:
        UserError: none does; names all of them.
    """
    for place in relative:
        if (root / place).exists():
            return root / place
    raise UserError(f"{what} was not found", where=root, expected=" or ".join(relative), fix=fix)


def is_name(name: str) -> bool:
    """Whether ``name`` is a path within a folder that a file system can hold: relative, without ``.`` and ``..``."""
    return all(part not in ("", ".", "..") and len(part.encode()) <= 255 for part in name.split("/"))


def names_in(folder: Path) -> list[str]:
    """Names of the files in a folder, by one call and without a look at each; none where there is no folder.

    Raises:
        UserError: the folder cannot be listed.
    """
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(f"a folder cannot be listed: {error.strerror}", where=folder) from error


def join(folder: Path, name: str) -> str:
    """``folder/name`` as a string, without building a `Path` per image."""
    return os.path.join(folder, name)
