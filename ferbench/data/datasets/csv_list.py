"""A csv file that lists images and, if they are labeled, their classes."""

from __future__ import annotations

import csv
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ferbench.data.datasets.base import UNLABELED, ClassMap, EncodedDataset
from ferbench.data.io import read_file
from ferbench.data.paths import PathBuilder
from ferbench.errors import UserError, nearest
from ferbench.registry import DATASETS


@DATASETS.register_module()
class CsvList(EncodedDataset):
    """Images listed in a csv file with a header, one row an image.

    A label is a class name, or an integer index into ``source_classes``; an empty cell means unlabeled.

    Args:
        path: the csv file (UTF-8).
        root: folder that the listed paths are relative to; the csv's own folder if None.
        classes: target classes; None takes ``source_classes`` or the names found, sorted, after ``rename``.
        source_classes: class names in the csv's own order; needed where labels are integers.
        rename: csv class -> target class, or None to leave its rows out (see `ClassMap`).
        path_column: header of the path column. Backslashes are read as ``/``.
        label_column: header of the label column; None reads the list as unlabeled.
        delimiter: one character between cells.
        name: short name for logs and records; the csv's stem if None.
        grayscale: see `EncodedDataset`.

    Raises:
        UserError: no such file or column, a row with too few cells, a label that is no class or out of range,
            a path listed twice; each with file and line.
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
    ):
        self.path = Path(path).expanduser()
        self.root = self.path.parent if root is None else Path(root).expanduser()
        self.name = name or self.path.stem
        self.grayscale = grayscale
        names, lines = PathBuilder(), array("i")
        codes = array("i")  # rows of `found`, in order of appearance
        found: dict[str, int] = {}
        for line, item, label in self._rows(path_column, label_column, delimiter):
            names.extend([item.replace("\\", "/")])
            lines.append(line)
            codes.append(found.setdefault(label, len(found)) if label else UNLABELED)
        self._paths, self._lines = names.build(), np.asarray(lines)
        self._kept: np.ndarray | None = None  # rows of the csv, or None for all
        if not len(self._paths):
            raise UserError(
                "the csv lists no images", where=self.path, expected="one row per image under the header"
            )
        self._refuse_duplicates()
        coded = np.asarray(codes, dtype=np.int64)
        self.labels = np.full(len(coded), UNLABELED, np.int16)
        if found:
            self._label(coded, list(found), classes, source_classes, rename)

    def _rows(
        self, path_column: str, label_column: str | None, delimiter: str
    ) -> Iterator[tuple[int, str, str]]:
        """Line, path and label text ('' if none) of each row."""
        try:
            with open(self.path, newline="", encoding="utf-8-sig") as file:
                reader = csv.reader(file, delimiter=delimiter)
                header = [cell.strip() for cell in next(reader, [])]
                path_at = self._column(header, path_column, "path_column")
                label_at = (
                    None if label_column is None else self._column(header, label_column, "label_column")
                )
                needed = 1 + max(path_at, -1 if label_at is None else label_at)
                for row in reader:
                    if not row:
                        continue
                    if len(row) < needed or not row[path_at].strip():
                        raise UserError(
                            f"a row has no path or too few cells: {delimiter.join(row)!r}",
                            where=f"{self.path}:{reader.line_num}", expected=delimiter.join(header),
                        )  # fmt: skip
                    label = "" if label_at is None else row[label_at].strip()
                    yield reader.line_num, row[path_at].strip(), label
        except OSError as error:
            raise UserError(
                f"the csv of images cannot be read ({error.strerror})", where=self.path,
                expected="a csv file with a header", fix="check `path` in the dataset's config",
            ) from error  # fmt: skip
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"not a csv file in UTF-8 ({error})", where=self.path) from error

    def _column(self, header: list[str], name: str, option: str) -> int:
        if name not in header:
            raise UserError(
                f"the csv has no column {name!r}" if any(header) else "the csv is empty",
                where=f"{self.path}:1",
                expected=nearest(name, header) if any(header) else "a header line",
                fix=f"set `{option}` to the column's header",
            )  # fmt: skip
        return header.index(name)

    def _refuse_duplicates(self) -> None:
        pair = self._paths.duplicate()
        if pair is not None:
            first, second = (int(self._lines[i]) for i in pair)
            raise UserError(
                f"{self._paths[pair[0]]!r} is listed twice", where=f"{self.path}:{first} and :{second}",
                expected="every image once", fix="remove one of the two rows",
            )  # fmt: skip

    def _label(
        self,
        codes: np.ndarray,
        found: list[str],
        classes: Sequence[str] | None,
        source_classes: Sequence[str] | None,
        rename: Mapping[str, str | None] | None,
    ) -> None:
        source = list(source_classes) if source_classes is not None else sorted(found)
        position = {name.lower(): i for i, name in enumerate(source)}
        rows = np.full(len(found) + 1, UNLABELED, np.int64)  # last row: an empty cell
        for code, text in enumerate(found):
            row = position.get(text.lower())
            integer = _integer(text)
            if integer is not None and (row is None or source_classes is None):
                row = integer if source_classes is not None and 0 <= integer < len(source) else None
            if row is None:
                raise UserError(
                    f"label {text!r} is {'out of range' if integer is not None else 'no class'}",
                    where=f"{self.path}:{self._lines[np.argmax(codes == code)]}",
                    expected="a class name" if source_classes is None else "one of " + ", ".join(source),
                    fix="give the csv's class names, in the order of its integers, as `source_classes`",
                )  # fmt: skip
            rows[code] = row
        self.class_map = ClassMap(source, classes, rename, where=self.path)
        self.classes = self.class_map.target
        mapped = self.class_map(rows[codes])
        kept_rows = (codes == UNLABELED) | (mapped != UNLABELED)
        if not kept_rows.all():  # classes that the map drops
            self._kept = np.flatnonzero(kept_rows)
            mapped = mapped[self._kept]
        self.labels = mapped

    def _row(self, index: int) -> int:
        return int(index if self._kept is None else self._kept[index])

    def item_id(self, index: int) -> str:
        """The path as listed, with ``/``."""
        return self._paths[self._row(index)]

    def where(self, index: int) -> str:
        """Image file, csv and line."""
        return f"{os.path.join(self.root, self.item_id(index))} ({self.path}:{self._lines[self._row(index)]})"

    def read_bytes(self, index: int) -> bytes:
        """See `EncodedDataset.read_bytes`."""
        return read_file(os.path.join(self.root, self.item_id(index)), self.where, index)


def _integer(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
