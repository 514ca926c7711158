"""What names an image's class or person: a label beside it, a level of folders, a pattern in its path."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ferbench.data.datasets.base import UNLABELED, ClassMap, class_name, few
from ferbench.data.text import shown, whole_number
from ferbench.errors import UserError

if TYPE_CHECKING:
    from ferbench.data.datasets.folder import Tree

_EXPECTED = (
    "the level of a folder (1: below the root, -1: the one the image lies in), or a regular expression with one "
    "group, e.g. r'^S(\\d+)_'"
)


class KeptRows:
    """Mixin of data sets whose items are the rows of one file, or those of them that are kept.

    Attributes:
        path: the file.
    """

    path: Path
    _kept: np.ndarray | None = None  # int64 [N], row of each item; None: all of them

    def _row(self, index: int) -> int:
        return int(index if self._kept is None else self._kept[index])

    def item_id(self, index: int) -> str:
        """Number of the image in the file, from 0."""
        return str(self._row(index))

    def where(self, index: int) -> str:
        """File, and number of the image."""
        return f"{self.path}, image {self._row(index)}"


class FoundLabels(NamedTuple):
    """Labels as a list or a table holds them: class names, or integers that count in the source classes.

    Attributes:
        texts: the different labels.
        codes: int [rows], index into ``texts``, or -1 for none.
        place: where a row is, for messages.
        option: the argument that names the labels' column, for messages.
    """

    texts: Sequence[str]
    codes: np.ndarray
    place: Callable[[int], object]
    option: str = "label_column"

    def mapped(
        self,
        classes: Sequence[str] | None,
        source_classes: Sequence[str] | None,
        rename: Mapping[str, str | None] | None,
        where: object,
    ) -> tuple[ClassMap, np.ndarray, np.ndarray | None]:
        """The class map, the labels of the rows that are kept, and which these are (int64; None: all).

        Args:
            classes: target classes, or None.
            source_classes: class names in the order of the integers, or None where labels are names.
            rename: see `ClassMap`.
            where: the list or table, for messages.

        Raises:
            UserError: a label that is no class or out of range; see `ClassMap`.
        """
        given = (
            None
            if source_classes is None
            else [class_name(n, "source_classes", where) for n in source_classes]
        )
        source = sorted(self.texts) if given is None else given
        position = {name.lower(): i for i, name in enumerate(source)} | {
            name: i for i, name in enumerate(source)
        }
        rows = np.full(len(self.texts) + 1, UNLABELED, np.int64)  # last row: an empty cell
        for code, text in enumerate(self.texts):
            row = position.get(text, position.get(text.lower()))
            if _looks_like_a_number(text) and (row is None or source_classes is None):
                number = whole_number(text)
                known = source_classes is not None and number is not None and 0 <= number < len(source)
                row = number if known else None
            if row is None:
                what = "out of range" if whole_number(text) is not None else "no class"
                raise UserError(
                    f"label {shown(text)} is {what}", where=self.place(int(np.argmax(self.codes == code))),
                    expected="a class name" if source_classes is None else f"one of {few(source)}, or its index",
                    fix="give the class names, in the order of the integers, as `source_classes`; "
                    f"or read the images as unlabeled: {self.option}=None",
                )  # fmt: skip
            rows[code] = row
        class_map = ClassMap(source, classes, rename, where=where)
        labels = class_map(rows[self.codes])
        kept = (self.codes == UNLABELED) | (labels != UNLABELED)
        if kept.all():
            return class_map, labels, None
        return class_map, labels[kept], np.flatnonzero(kept)  # without the classes that the map drops


def _looks_like_a_number(text: str) -> bool:
    """Whether Python would take it for one: ``1``, also ``+1``, ``0_1``, ``1.0``, digits of other scripts."""
    try:
        float(text)
    except ValueError:
        return text.isdecimal()
    return text.lower().lstrip("+-") not in ("nan", "inf", "infinity")


def named_parts(tree: Tree, source: Any, option: str, root: Path) -> tuple[np.ndarray, list[str]]:
    """What the paths of all images name.

    Args:
        tree: the images.
        source: a level of folders (1 the first below the root, -1 the one an image lies in), or a regular expression that is
            searched in the path relative to the root and whose one group is the name.
        option: the argument that holds ``source``, for messages.
        root: the root, for messages.

    Returns:
        int32 [N], index into the names; the names, sorted. With a level from the root, empty folders count, too.

    Raises:
        UserError: neither a level nor a pattern; an image whose path names nothing.
    """
    if isinstance(source, bool) or not isinstance(source, (int, str)) or source == 0:
        raise UserError(f"{option}={source!r}", where=root, expected=_EXPECTED)
    if isinstance(source, int):
        levels = [_level(folder, source) for folder in tree.folders]
        counts = np.diff(tree.starts).tolist()
        found = sorted(
            {n for n, count in zip(levels, counts, strict=True) if n is not None and (count or source > 0)}
        )
        row = {name: i for i, name in enumerate(found)}
        per_folder = np.array([row.get(name, -1) if name is not None else -1 for name in levels], np.int32)
        codes = np.repeat(per_folder, counts)
    else:
        paths = (
            f"{folder}/{tree.names[i]}" if folder else tree.names[i]
            for folder, start, end in zip(
                tree.folders, tree.starts.tolist(), tree.starts[1:].tolist(), strict=False
            )
            for i in range(start, end)
        )
        return matched_parts(paths, source, option, root)
    missing = np.flatnonzero(codes < 0)
    if len(missing):
        first = shown(tree.path(int(missing[0])))
        raise UserError(
            f"the paths of {len(missing)} images name no {option.removesuffix('_from')}, the first is {first}", where=root,
            expected=f"a folder at level {source} above each image",
            fix=f"move the images, or set `{option}` to another level or to a pattern",
        )  # fmt: skip
    return codes, found


def _level(folder: str, level: int) -> str | None:
    parts = folder.split("/") if folder else []
    at = level - 1 if level > 0 else len(parts) + level
    return parts[at] if 0 <= at < len(parts) else None


def matched_parts(
    paths: Iterable[str], pattern: Any, option: str, root: Path
) -> tuple[np.ndarray, list[str]]:
    """What a pattern finds in each path or key; see `named_parts`.

    Raises:
        UserError: no regular expression with one group; a path that it does not match, or in which the group is empty.
    """
    try:
        search = re.compile(pattern)
    except (re.error, TypeError) as error:
        raise UserError(
            f"{option}={pattern!r} is no regular expression ({error})", where=root, expected=_EXPECTED
        ) from None
    if search.groups != 1:
        raise UserError(f"{option}={pattern!r} has {search.groups} groups", where=root, expected=_EXPECTED)
    names: dict[str, int] = {}
    codes, missing, first = array("i"), 0, ""
    for path in paths:
        match = search.search(path)
        found = bool(match and match[1])
        codes.append(names.setdefault(match[1], len(names)) if match and found else UNLABELED)
        if not found:
            missing, first = missing + 1, first or path
    if missing:
        raise UserError(
            f"the paths of {missing} images name no {option.removesuffix('_from')}, the first is {shown(first)}", where=root,
            expected=f"a match of {pattern!r}", fix=f"set `{option}` to a pattern that matches all of them",
        )  # fmt: skip
    order = sorted(names)
    place = {name: i for i, name in enumerate(order)}
    return np.array([place[name] for name in names], np.int32)[np.array(codes)], order
