"""Any tree of image files: unlabeled, or labeled by one folder per class."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ferbench.data.datasets.base import UNLABELED, ClassMap, EncodedDataset, require_folder
from ferbench.data.datasets.naming import named_parts
from ferbench.data.decoding import MAX_PIXELS
from ferbench.data.io import read_file
from ferbench.data.paths import IndexCache, PathArray, PathBuilder
from ferbench.errors import UserError
from ferbench.registry import DATASETS

IMAGE_EXTENSIONS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".avif", ".jp2",
    ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
"""Endings of the formats that are read (`ferbench.data.decoding`)."""
_MANY_ENDINGS = (
    200  # different ones that are counted; numbered files without an ending have as many as there are files
)

_log = logging.getLogger(__name__)


class Tree(NamedTuple):
    """The image files below a root, folder by folder.

    Attributes:
        folders: D folders relative to the root ('' is the root itself), every folder before its subfolders.
        mtimes: int64 [D], nanoseconds; they change when an entry is added, removed or renamed.
        starts: int64 [D + 1]; folder d holds the files ``starts[d]`` to ``starts[d + 1]``.
        names: N file names without their folder.
        endings: the endings, in small letters, of the files that are left out for them ('' for none).
        left_out: int64 [endings], how many have each.
    """

    folders: PathArray
    mtimes: np.ndarray
    starts: np.ndarray
    names: PathArray
    endings: PathArray
    left_out: np.ndarray

    def path(self, index: int) -> str:
        """Path of file ``index`` relative to the root, with ``/``."""
        return self.paths(np.array([index]))[0]

    def paths(self, indices: np.ndarray) -> list[str]:
        """`path` of many files."""
        rows = (np.searchsorted(self.starts, indices, side="right") - 1).tolist()
        pairs = ((self.folders[row], self.names[i]) for row, i in zip(rows, indices.tolist(), strict=True))
        return [f"{folder}/{name}" if folder else name for folder, name in pairs]

    def arrays(self) -> dict[str, np.ndarray]:
        """As an index file holds it."""
        return {
            "folders": self.folders.blob, "folder_offsets": self.folders.offsets, "mtimes": self.mtimes,
            "starts": self.starts, "names": self.names.blob, "name_offsets": self.names.offsets,
            "endings": self.endings.blob, "ending_offsets": self.endings.offsets, "left_out": self.left_out,
        }  # fmt: skip

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Tree:
        """Inverse of `arrays`."""
        folders = PathArray(arrays["folders"], arrays["folder_offsets"])
        names = PathArray(arrays["names"], arrays["name_offsets"])
        endings = PathArray(arrays["endings"], arrays["ending_offsets"])
        return cls(folders, arrays["mtimes"], arrays["starts"], names, endings, arrays["left_out"])

    def check(self) -> None:
        """Refuse arrays that cannot have come from a scan.

        Raises:
            ValueError: see `PathArray.check`; numbers of folders or files that contradict each other; a name that would
                lead out of its folder.
        """
        self.folders.check()
        self.names.check()
        self.endings.check()
        if self.left_out.shape != (len(self.endings),) or self.left_out.dtype != np.int64:
            raise ValueError("the endings left out do not have one number each")
        if len(self.mtimes) != len(self.folders) or self.mtimes.dtype != np.int64 or len(self.folders) < 1:
            raise ValueError("the folders do not have one time each")
        starts = self.starts
        if starts.shape != (len(self.folders) + 1,) or starts.dtype != np.int64 or starts[0] != 0:
            raise ValueError("the folders do not have one start each")
        if starts[-1] != len(self.names) or (starts[1:] < starts[:-1]).any():
            raise ValueError("the files do not belong to one folder each")
        blob = self.names.blob
        if ((blob == ord("/")) | (blob == 0)).any() or self.folders[0] != "":
            raise ValueError("a file name has a separator")
        if any({".", "..", ""} & set(folder.split("/")) for folder in self.folders if folder):
            raise ValueError("a folder leads out of the root")

    def is_unchanged(self, root: Path) -> bool:
        """Whether no folder gained, lost or renamed an entry since the scan (one stat per folder)."""
        base = str(root)
        try:
            return all(
                _mtime(os.path.join(base, folder)) == t
                for folder, t in zip(self.folders, self.mtimes.tolist(), strict=True)
            )
        except OSError:
            return False


def scan_tree(root: Path, extensions: Iterable[str] = IMAGE_EXTENSIONS) -> Tree:
    """List the image files below ``root``.

    The order is the same on every machine: files of a folder first, then its subfolders, each sorted by the
    UTF-8 bytes of their names. Names that begin with a dot are left out; links to folders are followed.

    Raises:
        UserError: a folder that cannot be listed, a file name that is not UTF-8, a circular link.
    """
    suffixes = tuple(e.lower() for e in extensions)
    folders, names = PathBuilder(), PathBuilder()
    mtimes: list[int] = []
    counts: list[int] = []
    left_out: Counter[str] = Counter()
    pending: list[tuple[str, tuple[tuple[int, int], ...]]] = [("", (_identity(root),))]
    while pending:  # depth first; beside each folder the identities of its ancestors and itself
        folder, ancestors = pending.pop()
        here = os.path.join(root, folder)
        mtimes.append(_mtime(here))  # before listing: what changes meanwhile is seen as a change next time
        files, subfolders = _list_folder(here, suffixes, left_out)
        counts.append(len(files))
        try:
            folders.extend([folder])
            names.extend(files)
        except UnicodeEncodeError as error:
            raise UserError(
                f"a file name is not valid UTF-8: {error.object!r}", where=here,
                expected="names that mean the same on every machine",
                fix="rename the file, e.g. with `convmv`",
            ) from error  # fmt: skip
        for name in reversed(subfolders):
            identity = _identity(Path(here, name))
            if identity in ancestors:
                raise UserError(
                    "a link leads back into its own folder", where=Path(here, name), fix="remove the link"
                )
            pending.append((f"{folder}/{name}" if folder else name, (*ancestors, identity)))
    starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    endings = [ending for ending, _ in left_out.most_common()]
    return Tree(
        folders.build(), np.array(mtimes, np.int64), starts, names.build(), PathArray.from_strings(endings),
        np.array([left_out[ending] for ending in endings], np.int64),
    )  # fmt: skip


def _list_folder(
    folder: str, suffixes: tuple[str, ...], left_out: Counter[str]
) -> tuple[list[str], list[str]]:
    """Files that count and subfolders, sorted; ``left_out`` counts the endings of the others."""
    files: list[str] = []
    subfolders: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    subfolders.append(entry.name)
                elif entry.name.lower().endswith(suffixes):
                    files.append(entry.name)
                else:
                    ending = os.path.splitext(entry.name)[1].lower().encode("utf-8", "replace").decode()
                    left_out[ending if ending in left_out or len(left_out) < _MANY_ENDINGS else "others"] += 1
    except OSError as error:
        raise UserError(
            f"a folder cannot be listed ({error.strerror})",
            where=folder,
            fix="check its permissions and the disk",
        ) from error
    return sorted(files, key=os.fsencode), sorted(subfolders, key=os.fsencode)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle: as good as any other file that cannot be opened
        return False


def _mtime(folder: str | Path) -> int:
    return os.stat(folder).st_mtime_ns


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


@DATASETS.register_module()
class ImageFolder(EncodedDataset):
    """Image files below a folder, at any depth.

    Args:
        root: the folder. Items are named by their path relative to it.
        labeled: whether the first folder level names the class (``root/<class>/.../face.jpg``); the same as
            ``class_from=1``.
        classes: target classes; None takes the names found, sorted (after ``rename``).
        rename: name found -> target class, or None to leave its images out (see `ClassMap`).
        extensions: file name endings of images, case ignored.
        cache: where the index of a large tree is kept (see `IndexCache`): 'auto', a folder, or None. A kept
            index is used again while the modification time of every folder in the tree is what it was, that
            is while no file or folder was added, removed or renamed. A file may change its content.
        refresh: scan anew although a kept index seems valid (deleting the index folder does the same).
        name: short name for logs and records; the root's name if None.
        grayscale: see `EncodedDataset`.
        class_from: what names the class of an image: a level of folders (2: ``root/<person>/<class>/...``, -1:
            the folder it lies in), or a regular expression with one group that is searched in the path
            relative to the root, e.g. ``r'_(HA|SA|NE)[^/]*$'``.
        group_from: the same for what belongs together (person, video), for splits ``by='group'``.
        max_pixels: see `EncodedDataset`.

    Raises:
        UserError: no such folder, no images in it, images whose path names no class or group, an unknown class.
    """

    def __init__(
        self,
        root: str | Path,
        labeled: bool = False,
        classes: Sequence[str] | None = None,
        rename: Mapping[str, str | None] | None = None,
        extensions: Sequence[str] = IMAGE_EXTENSIONS,
        cache: str | os.PathLike[str] | None = "auto",
        refresh: bool = False,
        name: str | None = None,
        grayscale: bool = False,
        class_from: int | str | None = None,
        group_from: int | str | None = None,
        max_pixels: int = MAX_PIXELS,
    ):
        self.root = require_folder(root, "images")
        self.name = name or self.root.resolve().name
        self.grayscale, self.max_pixels = grayscale, max_pixels
        if class_from is None and labeled:
            class_from = 1
        if class_from is None and (classes or rename):
            raise UserError(
                "classes or rename are given for an image folder that is not labeled", where=self.root,
                expected="labeled=True (a folder per class) or class_from=..., or neither classes nor rename",
            )  # fmt: skip
        if isinstance(extensions, str) or not all(isinstance(e, str) and e for e in extensions):
            raise UserError(
                f"extensions={extensions!r}", where=self.root, expected="a list such as ['.jpg', '.png']"
            )
        self._tree = _indexed_tree(self.root, extensions, cache, refresh)
        self._kept: np.ndarray | None = None  # positions in the tree, or None for all
        count = len(self._tree.names)
        if not count:
            raise UserError(
                "the folder holds no images" + self._others(", but files that end in "), where=self.root,
                expected="files that end in " + ", ".join(extensions),
                fix="check the path, or set `extensions`",
            )  # fmt: skip
        if class_from is None:
            self.labels = np.full(count, UNLABELED, np.int16)
        else:
            self._label(class_from, classes, rename)
        if group_from is not None:
            groups, self.group_names = named_parts(self._tree, group_from, "group_from", self.root)
            self.groups = groups if self._kept is None else groups[self._kept]

    def _label(
        self,
        class_from: int | str,
        classes: Sequence[str] | None,
        rename: Mapping[str, str | None] | None,
    ) -> None:
        codes, source = named_parts(self._tree, class_from, "class_from", self.root)
        self.class_map = ClassMap(source, classes, rename, where=self.root)
        self.classes = self.class_map.target
        labels = self.class_map(codes)
        if (labels == UNLABELED).any():  # classes that the map drops
            self._kept = np.flatnonzero(labels != UNLABELED)
            labels = labels[self._kept]
        self.labels = labels

    def _others(self, before: str) -> str:
        """Endings that are left out, with counts."""
        return (
            before + ", ".join(f"{e} {n}" for e, n in self.other_endings.items())
            if self.other_endings
            else ""
        )

    @property
    def other_endings(self) -> dict[str, int]:
        """Files that are left out, by their ending."""
        counts = zip(self._tree.endings, self._tree.left_out.tolist(), strict=True)
        return {ending or "(none)": count for ending, count in counts}

    def summary(self) -> dict[str, Any]:
        """Counts: ``kept`` images, ``dropped_classes``, and ``other_endings``."""
        return {
            "kept": len(self), "dropped_classes": len(self._tree.names) - len(self), "other_endings": self.other_endings,
        }  # fmt: skip

    def item_id(self, index: int) -> str:
        """Path relative to the root, with ``/`` on every system."""
        return self._tree.path(int(index if self._kept is None else self._kept[index]))

    def item_ids(self, indices: np.ndarray) -> list[str]:
        """See `FaceDataset.item_ids`."""
        chosen = np.asarray(indices)
        return self._tree.paths(chosen if self._kept is None else self._kept[chosen])

    def where(self, index: int) -> str:
        """The file."""
        return os.path.join(self.root, self.item_id(index))

    def read_bytes(self, index: int) -> bytes:
        """See `EncodedDataset.read_bytes`."""
        return read_file(self.where(index), self.where, index)


def _indexed_tree(
    root: Path, extensions: Sequence[str], cache: str | os.PathLike[str] | None, refresh: bool
) -> Tree:
    signature = {"format": "tree-2", "extensions": sorted(e.lower() for e in extensions)}
    index = IndexCache(root, str(signature), cache)
    saved = None if refresh else index.load(signature, lambda arrays: Tree.from_arrays(arrays).check())
    if saved is not None:
        tree = Tree.from_arrays(saved)
        if tree.is_unchanged(root):
            return tree
        _log.info("%s has changed since it was indexed and is scanned anew", root)
    started = time.perf_counter()
    tree = scan_tree(root, extensions)
    count = len(tree.names)
    if time.perf_counter() - started > 5:
        _log.info("found %d images below %s in %.0f s", count, root, time.perf_counter() - started)
    if _mtime(root) == tree.mtimes[0]:
        # The index folder itself may be a new entry of the root, and must not count.
        index.prepare(count)
        tree.mtimes[0] = _mtime(root)
    return Tree.from_arrays(index.save(signature, tree.arrays(), count))
