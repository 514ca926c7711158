"""What every source of faces has in common: an ordered list of images, held as compact arrays."""

from __future__ import annotations

import os
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ferbench.data.decoding import MAX_PIXELS
from ferbench.data.io import UnreadableImage, decode
from ferbench.data.text import shown
from ferbench.errors import UserError, shortened

UNLABELED = -1


class FaceDataset(ABC):
    """An immutable, ordered list of face images, some, all or none of them labeled.

    It knows nothing of views, splits or algorithms. Everything it holds per item is one NumPy array (no Python object
    per item), so that forked workers share it instead of copying it.

    Attributes:
        labels: int16 (int32 beyond 32,767 classes) [N], index into `classes`; `UNLABELED` (-1) where the label is unknown.
        classes: the names that `labels` index, in the order of the *target* set (see `ClassMap`); () if unlabeled.
        targets: float32 [N, C] label distributions (e.g. FER+ votes), or None.
        groups: int32 [N], e.g. the video of each frame, or None where items are independent.
        group_names: name of each group.
        groups_are_copies: whether the items of a group are copies of one image (FER2013), not frames of one video. A
            split then never parts them.
        tracks: int32 [N], the person of one video whom a frame shows, or None where the order of frames is not known.
        frames: int32 [N], number of a frame within its video, missing frames counted; None where `tracks` is.
        name: short name for logs, records and manifests.
    """

    name: str = "dataset"
    labels: np.ndarray
    classes: tuple[str, ...] = ()
    targets: np.ndarray | None = None
    groups: np.ndarray | None = None
    group_names: Sequence[str] = ()
    groups_are_copies: bool = False
    tracks: np.ndarray | None = None
    frames: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def item_id(self, index: int) -> str:
        """Stable name of an item: the same on every machine (a path relative to the root, a row, a record key)."""

    @abstractmethod
    def read(self, index: int) -> np.ndarray:
        """Decode item ``index`` to uint8 RGB [H, W, 3].

        Raises:
            UnreadableImage: the item's bytes are missing, cut short or no image.
        """

    def content(self, index: int) -> bytes:
        """What item ``index`` holds, for the hash that tells two sets of equal names apart (`ferbench.data.content`).

        The decoded image here; override where the stored bytes can be had without decoding.

        Raises:
            UnreadableImage: see `read`.
        """
        image = self.read(index)
        return f"{image.dtype} {image.shape}\n".encode() + image.tobytes()

    def sizes(self) -> np.ndarray | None:
        """Stored bytes of every item, int64 [N], where they are known without a look at each; else None."""
        return None

    def item_ids(self, indices: np.ndarray) -> list[str]:
        """`item_id` of many items (override where a vectorised way is faster)."""
        return [self.item_id(int(i)) for i in indices]

    def where(self, index: int) -> str:
        """Where a human finds item ``index`` (file, file and line, record)."""
        return self.item_id(index)

    def class_counts(self) -> np.ndarray:
        """int64 [C]: labeled items per class."""
        return np.bincount(self.labels[self.labels >= 0], minlength=len(self.classes)).astype(np.int64)


class EncodedDataset(FaceDataset):
    """A dataset whose items are encoded images (JPEG, PNG, ...) somewhere.

    Attributes:
        grayscale: read images as grey. For colour images that are mixed with a grey set (FER2013): a network tells the
            two apart by colour alone, and self-training turns the difference into a class.
        max_pixels: greatest height times width of an image; a larger one is unreadable.
    """

    grayscale: bool = False
    max_pixels: int = MAX_PIXELS

    @abstractmethod
    def read_bytes(self, index: int) -> bytes:
        """The encoded image.

        Raises:
            UnreadableImage: the bytes cannot be had.
        """

    def read(self, index: int) -> np.ndarray:
        """See `FaceDataset.read`."""
        return decode(self.read_bytes(index), self.where, index, self.grayscale, self.max_pixels)

    def content(self, index: int) -> bytes:
        """The encoded image."""
        return self.read_bytes(index)


class ClassMap:
    """Maps a source's class names to the target set's, by name, never by position.

    Args:
        source: class names of the data as it lies on disk, in its own label order.
        target: class names of the experiment, in the order of the network's outputs; None takes the source's names,
            renamed, in their order.
        rename: source name -> target name, for sets that spell a class differently (``{'happy': 'Happiness'}``).
            Comparison ignores case and how accents are coded. ``None`` as the target name drops the class.
        where: config key or file that an error names.

    Raises:
        UserError: a source class has no target class and is not dropped explicitly.
    """

    def __init__(
        self,
        source: Sequence[str],
        target: Sequence[str] | None,
        rename: Mapping[str, str | None] | None = None,
        where: object = None,
    ):
        if target is not None and not isinstance(target, (list, tuple)):
            raise UserError(
                f"classes is {shortened(target)}", where=where, expected="a list of names, or None"
            )
        if rename is not None and not isinstance(rename, Mapping):
            raise UserError(
                f"rename is {shortened(rename)}", where=where, expected="{'name in the data': 'target class'}"
            )
        renamed = {
            _key(class_name(k, "rename", where)): None if v is None else class_name(v, "rename", where)
            for k, v in (rename or {}).items()
        }
        if target is None:
            own = (renamed.get(_key(name), name) for name in source)
            target = list(dict.fromkeys(name for name in own if name is not None))
        self.source, self.target = tuple(source), tuple(class_name(t, "classes", where) for t in target)
        by_name: dict[str, int] = {}
        for i, name in enumerate(self.target):
            other = self.target[by_name.setdefault(_key(name), i)]
            if by_name[_key(name)] != i:
                raise UserError(
                    f"the classes {shown(other)} and {shown(name)} are one: letters may be small or large", where=where,
                    expected="different names", fix=f"add rename={{{name!r}: {other!r}}}, or rename one of them",
                )  # fmt: skip
        # The last row: unlabeled stays unlabeled. Unlabeled data may be sorted by tens of thousands of identities.
        kind = np.int16 if len(self.target) <= np.iinfo(np.int16).max else np.int32
        self.table = np.full(len(self.source) + 1, UNLABELED, kind)
        for i, name in enumerate(self.source):
            to = renamed.get(_key(name), name)
            if to is None:
                continue
            if _key(to) not in by_name:
                raise UserError(
                    f"class {shown(name)} has no counterpart in the target classes",
                    where=where,
                    expected=f"one of {few(self.target)}",
                    fix=f"add rename={{{shown(name)}: '<target class>'}} to the dataset's config; None leaves its images out",
                )
            self.table[i] = by_name[_key(to)]

    def __call__(self, labels: np.ndarray) -> np.ndarray:
        """int16 or int32 [N]: source labels (or -1) as target labels; -1 where the class is dropped."""
        return self.table[labels]

    def as_dict(self) -> dict[str, str | None]:
        """Source name -> target name (None: dropped), as written into the run record."""
        return {
            n: (self.target[t] if t >= 0 else None)
            for n, t in zip(self.source, self.table[:-1].tolist(), strict=True)
        }


def _key(name: str) -> str:
    """Equal for names that are one: in small letters, accents as letters."""
    return unicodedata.normalize("NFC", name).lower()


def class_name(name: Any, option: str, where: object) -> str:
    """The class name.

    Raises:
        UserError: it is no text (a number, say), or empty.
    """
    if isinstance(name, str) and name.strip():
        return name
    raise UserError(
        f"{option} has the class name {name!r}, a {type(name).__name__}",
        where=where,
        expected="text",
        fix="put quotes around it",
    )


def few(names: Sequence[str], count: int = 12) -> str:
    """The first names, for a message, and how many there are if there are more."""
    listed = ", ".join(name if len(name) <= 80 else shown(name) for name in names[:count])
    return listed + (f", ... ({len(names)} in all)" if len(names) > count else "")


class Subset(FaceDataset):
    """The items ``indices`` of another dataset, in that order."""

    def __init__(self, parent: FaceDataset, indices: np.ndarray, name: str | None = None):
        self.parent, self.indices = parent, np.asarray(indices, np.int64)
        self.name = name or parent.name
        self.labels = parent.labels[self.indices]
        self.classes = parent.classes
        self.targets = None if parent.targets is None else parent.targets[self.indices]
        self.groups = None if parent.groups is None else parent.groups[self.indices]
        self.group_names = parent.group_names
        self.groups_are_copies = parent.groups_are_copies
        self.tracks = None if parent.tracks is None else parent.tracks[self.indices]
        self.frames = None if parent.frames is None else parent.frames[self.indices]

    def item_id(self, index: int) -> str:
        """See `FaceDataset.item_id`."""
        return self.parent.item_id(int(self.indices[index]))

    def item_ids(self, indices: np.ndarray) -> list[str]:
        """See `FaceDataset.item_ids`."""
        return self.parent.item_ids(self.indices[indices])

    def where(self, index: int) -> str:
        """See `FaceDataset.where`."""
        return self.parent.where(int(self.indices[index]))

    def read(self, index: int) -> np.ndarray:
        """See `FaceDataset.read`."""
        return self.parent.read(int(self.indices[index]))

    def content(self, index: int) -> bytes:
        """See `FaceDataset.content`."""
        return self.parent.content(int(self.indices[index]))


class Concat(FaceDataset):
    """Several datasets, one after the other. Labeled ones must have the same target classes, in the same order."""

    def __init__(self, parts: Sequence[FaceDataset], name: str | None = None):
        if not parts:
            raise UserError("a list of datasets is empty", expected="at least one dataset")
        self.parts = tuple(parts)
        self.name = name or "+".join(p.name for p in parts)
        self.starts = np.cumsum([0] + [len(p) for p in parts])
        self.labels = np.concatenate([p.labels for p in parts])
        labeled = [p for p in parts if p.classes]
        self.classes = labeled[0].classes if labeled else ()
        for part in labeled:
            if part.classes != self.classes:
                raise UserError(
                    f"data sets {labeled[0].name!r} and {part.name!r} are to be mixed but have different classes",
                    expected=f"{self.classes} in both", where=f"{part.name}: {part.classes}",
                    fix="give both the same `classes` and map names with `rename`",
                )  # fmt: skip
        if any(p.targets is not None for p in parts):
            self.targets = np.concatenate([_targets(p, len(self.classes)) for p in parts])
        if any(p.groups is not None for p in parts):
            self._merge_groups()
            self.groups_are_copies = all(p.groups_are_copies for p in parts if p.groups is not None)
        if any(p.frames is not None for p in parts):
            self._merge_tracks()

    def _merge_groups(self) -> None:
        names: list[str] = []
        groups = []
        for part in self.parts:  # items without a group become groups of their own part, one each
            own = part.groups if part.groups is not None else np.arange(len(part), dtype=np.int32)
            own_names = part.group_names if part.groups is not None else part.item_ids(np.arange(len(part)))
            groups.append(own.astype(np.int32) + len(names))
            names.extend(f"{part.name}/{n}" for n in own_names)
        self.groups, self.group_names = np.concatenate(groups), names

    def _merge_tracks(self) -> None:
        tracks, frames = [], []
        start = 0
        for part in self.parts:  # an item without a frame number is a track of its own
            own = part.tracks if part.tracks is not None else np.arange(len(part), dtype=np.int32)
            tracks.append(own.astype(np.int32) + start)
            frames.append(part.frames if part.frames is not None else np.zeros(len(part), np.int32))
            start += int(own.max(initial=-1)) + 1
        self.tracks, self.frames = np.concatenate(tracks), np.concatenate(frames)

    def _locate(self, index: int) -> tuple[FaceDataset, int]:
        part = int(np.searchsorted(self.starts, index, side="right")) - 1
        return self.parts[part], int(index - self.starts[part])

    def item_id(self, index: int) -> str:
        """See `FaceDataset.item_id`; prefixed with the part's name."""
        part, i = self._locate(index)
        return f"{part.name}/{part.item_id(i)}"

    def where(self, index: int) -> str:
        """See `FaceDataset.where`."""
        part, i = self._locate(index)
        return part.where(i)

    def read(self, index: int) -> np.ndarray:
        """See `FaceDataset.read`."""
        part, i = self._locate(index)
        return part.read(i)

    def content(self, index: int) -> bytes:
        """See `FaceDataset.content`."""
        part, i = self._locate(index)
        return part.content(i)


def _targets(part: FaceDataset, num_classes: int) -> np.ndarray:
    if part.targets is not None:
        return part.targets
    eye = np.vstack([np.eye(num_classes, dtype=np.float32), np.zeros((1, num_classes), np.float32)])
    return eye[part.labels]  # label -1 picks the last, all-zero row


def require_folder(path: str | Path, what: str, synthetic: bool = True, get: str | None = None) -> Path:
    """The folder, or an error that says how to get the data.

    Args:
        path: folder to look for.
        what: what lies in it, e.g. ``the Aff-Wild2 annotations``.
        synthetic: whether `ferbench make-synthetic` can stand in for the data.
        get: where the real data comes from.
    """
    if not isinstance(path, str | os.PathLike):
        raise UserError(f"the folder with {what} is given as {path!r}", expected="a path, as text")
    folder = Path(path).expanduser()
    if os.path.isdir(folder):  # not `Path.is_dir`, which raises an error for a name that is too long
        return folder
    fixes = [get] if get else []
    if synthetic:
        fixes.append("or draw synthetic faces in the same layout: python tools/make_synthetic.py OUT")
    raise UserError(
        f"the folder with {what} does not exist",
        where=folder,
        expected="a folder",
        fix="; ".join(fixes) or None,
    )


__all__ = [
    "UNLABELED",
    "ClassMap",
    "Concat",
    "EncodedDataset",
    "FaceDataset",
    "Subset",
    "UnreadableImage",
    "require_folder",
]
