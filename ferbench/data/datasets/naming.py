"""What the path of an image says of it: its class, its person, at a level of folders or by a pattern."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ferbench.data.text import shown
from ferbench.errors import UserError

if TYPE_CHECKING:
    from ferbench.data.datasets.folder import Tree

_EXPECTED = (
    "the level of a folder (1: below the root, -1: the one the image lies in), or a regular expression with one "
    "group, e.g. r'^S(\\d+)_'"
)


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
        codes, found = _matches(tree, source, option, root)
    missing = np.flatnonzero(codes < 0)
    if len(missing):
        first = shown(tree.path(int(missing[0])))
        raise UserError(
            f"the paths of {len(missing)} images name no {option.removesuffix('_from')}, the first is {first}", where=root,
            expected=f"a folder at level {source} above each image" if isinstance(source, int) else f"a match of {source!r}",
            fix=f"move the images, or set `{option}` to another level or to a pattern",
        )  # fmt: skip
    return codes, found


def _level(folder: str, level: int) -> str | None:
    parts = folder.split("/") if folder else []
    at = level - 1 if level > 0 else len(parts) + level
    return parts[at] if 0 <= at < len(parts) else None


def _matches(tree: Tree, pattern: str, option: str, root: Path) -> tuple[np.ndarray, list[str]]:
    try:
        search = re.compile(pattern)
    except re.error as error:
        raise UserError(
            f"{option}={pattern!r} is no regular expression ({error})", where=root, expected=_EXPECTED
        ) from None
    if search.groups != 1:
        raise UserError(f"{option}={pattern!r} has {search.groups} groups", where=root, expected=_EXPECTED)
    names: dict[str, int] = {}
    codes = np.empty(len(tree.names), np.int32)
    at = 0
    for folder, count in zip(tree.folders, np.diff(tree.starts).tolist(), strict=True):
        for i in range(at, at + count):
            match = search.search(f"{folder}/{tree.names[i]}" if folder else tree.names[i])
            codes[i] = names.setdefault(match[1], len(names)) if match and match[1] else -1
        at += count
    order = sorted(names)
    place = {name: i for i, name in enumerate(order)}
    return np.array([*(place[name] for name in names), -1], np.int32)[codes], order
