"""What DFEW, FERV39k and MAFW share: lists of clips, and a folder of frames for each clip."""

from __future__ import annotations

import os
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from ferbench.data.datasets.base import UNLABELED, ClassMap, EncodedDataset, require_folder
from ferbench.data.datasets.listed import AS_RELEASED, bad_line, first_existing, is_name, names_in
from ferbench.data.io import read_file
from ferbench.data.paths import PathBuilder
from ferbench.data.text import shown
from ferbench.errors import UserError

_ENDINGS = (".jpg", ".jpeg", ".png")
_NUMBER = re.compile(r"(?<![0-9])([0-9]{1,9})\Z", re.ASCII)  # at the end of a name; it fits into 32 bits
_REASONS = ("repeated_rows", "dropped_clips", "missing_clips", "images_without_number")


class Clip(NamedTuple):
    """A row of a list of clips: name of the clip and of its folder of frames, line, class number."""

    name: str
    line: int
    code: int


class ClipFrames(EncodedDataset):
    """Frames of labeled clips: each frame has the label of its clip.

    A clip's label says which expression the clip shows, not each of its frames: labels of single frames are noisier
    than the set's own. Scores count frames; the published ones of these sets count clips, and are not comparable.

    A subclass says where lists and frames lie (`lists`, `places`) and reads a list (`rows`). Frames of a clip are the
    image files of its folder whose names end with a number, in the order of the numbers.

    Args:
        root: the set's folder.
        part: ``train`` or ``test``.
        fold: which of the official divisions.
        frames_per_clip: so many frames of each clip, evenly spread over it; None for all.
        annotations: the list, if it is not found below ``root``.
        images: folder with a folder of frames for each clip, if it is not found below ``root``.
        missing_clips: ``error`` or ``skip`` (and count) listed clips of which there is no frame.
        classes: target classes; None for those of the set.
        rename: source class -> target class, or None to leave its clips out (see `ClassMap`).
        name: short name for logs and records.

    Attributes:
        groups: the clip of each frame, so that no split parts the frames of one.
        tracks: the same.
        frames: number of each frame in its clip, by its file name.

    Raises:
        UserError: missing folder or list; a line that is no clip and label (file and line); clips without frames.
    """

    source: tuple[str, ...]
    get: str
    folds: range
    tracks: np.ndarray
    frames: np.ndarray
    groups: np.ndarray

    def __init__(
        self,
        root: str | Path,
        part: Literal["train", "test"] = "train",
        fold: int = 1,
        frames_per_clip: int | None = None,
        annotations: str | Path | None = None,
        images: str | Path | None = None,
        missing_clips: Literal["error", "skip"] = "error",
        classes: Sequence[str] | None = None,
        rename: Mapping[str, str | None] | None = None,
        name: str | None = None,
    ):
        kind = type(self).__name__
        if part not in ("train", "test") or missing_clips not in ("error", "skip"):
            raise UserError(
                f"part={part!r}, missing_clips={missing_clips!r}",
                expected="part 'train' or 'test', missing_clips 'error' or 'skip'",
            )
        if fold not in self.folds:
            raise UserError(f"fold={fold!r}", expected=f"{self.folds.start} to {self.folds.stop - 1}")
        if frames_per_clip is not None and not (isinstance(frames_per_clip, int) and frames_per_clip > 0):
            raise UserError(
                f"frames_per_clip={frames_per_clip!r}", expected="a whole number above 0, or None"
            )
        self.name = name or f"{kind.lower()}-{part}" + (f"-{fold}" if len(self.folds) > 1 else "")
        self.class_map = ClassMap(self.source, classes or self.source, rename, where=self.name)
        self.classes = self.class_map.target
        folder = require_folder(root, kind, synthetic=False, get=self.get)
        self.list_file = (
            first_existing(folder, self.lists(part, fold), f"the list of {kind}", self.get)
            if annotations is None
            else Path(annotations).expanduser()
        )
        if images is None:
            images = first_existing(
                folder, self.places(), f"the folder of frames of {kind}", self.frames_wanted()
            )
        self.folder = require_folder(images, f"the frames of {kind}", synthetic=False, get=self.get)
        self.left_out = dict.fromkeys(_REASONS, 0)
        self._gather(self._clips(), frames_per_clip, missing_clips)

    @abstractmethod
    def lists(self, part: str, fold: int) -> Sequence[str]:
        """Places below the root where the list of a part may lie."""

    @abstractmethod
    def places(self) -> Sequence[str]:
        """Places below the root where the folders of frames may lie."""

    @abstractmethod
    def rows(self, path: Path) -> Iterator[Clip]:
        """The clips of a list."""

    def frames_wanted(self) -> str:
        """What to do where there are videos but no frames."""
        return (
            f"unpack the frames, or name their folder as `images`; of a clip that is a video make them by "
            f"ffmpeg -i CLIP {self.places()[0]}/<clip>/%05d.jpg"
        )

    def _clips(self) -> list[Clip]:
        """The clips of the list, each once."""
        found: dict[str, Clip] = {}
        for clip in self.rows(self.list_file):
            if not is_name(clip.name) or "\\" in clip.name:
                raise bad_line(self.list_file, clip.line, f"no name of a clip: {shown(clip.name)}", "<clip>")
            first = found.setdefault(clip.name, clip)
            if first.code != clip.code:
                raise UserError(
                    f"the clip {shown(clip.name)} is listed twice, with different labels",
                    where=f"{self.list_file}:{first.line} and :{clip.line}", expected="every clip once", fix=AS_RELEASED,
                )  # fmt: skip
            self.left_out["repeated_rows"] += first is not clip
        return list(found.values())

    def _gather(self, clips: Sequence[Clip], most: int | None, missing_clips: str) -> None:
        files, numbers, held, missing = PathBuilder(), [np.empty(0, np.int32)], [], []
        for clip in clips:
            if self.class_map(np.array(clip.code)) == UNLABELED:
                self.left_out["dropped_clips"] += 1
                continue
            frames, without = _frames_of(self.folder / clip.name)
            self.left_out["images_without_number"] += without
            if not frames:
                missing.append(clip.name)
                continue
            if most is not None and len(frames) > most:
                frames = [frames[i] for i in (2 * np.arange(most) + 1) * len(frames) // (2 * most)]
            files.extend(name for _, name in frames)
            numbers.append(np.array([number for number, _ in frames], np.int32))
            held.append(clip)
        self.left_out["missing_clips"] = len(missing)
        if missing and (missing_clips == "error" or not held):
            raise UserError(
                f"{len(missing)} listed clips have no frames: {', '.join(missing[:10])}"
                + (", ..." if len(missing) > 10 else ""),
                where=self.folder, expected="<clip>/00001.jpg, ...",
                fix=f"{self.frames_wanted()}; or set missing_clips='skip'",
            )  # fmt: skip
        if not held:
            raise UserError(
                f"{self.name} has no clips", where=self.list_file, expected=f"at least one; {self.left_out}"
            )
        self._files, self._lines = files.build(), [clip.line for clip in held]
        self.frames = np.concatenate(numbers)
        counts = [len(n) for n in numbers[1:]]
        self.groups = self.tracks = np.repeat(np.arange(len(held), dtype=np.int32), counts)
        self.group_names = [clip.name for clip in held]
        self.labels = np.repeat(self.class_map(np.array([clip.code for clip in held])), counts)

    def summary(self) -> dict[str, Any]:
        """Counts: ``kept`` frames, ``clips``, frames ``per_class``, and what was left out and why."""
        counts = dict(zip(self.classes, self.class_counts().tolist(), strict=True))
        return {"kept": len(self), "clips": len(self.group_names), "per_class": counts} | self.left_out

    def item_id(self, index: int) -> str:
        """``<clip>/<file of the frame>``."""
        return f"{self.group_names[self.groups[index]]}/{self._files[index]}"

    def where(self, index: int) -> str:
        """Image file; list file and line."""
        return f"{self.folder}/{self.item_id(index)} ({self.list_file}:{self._lines[self.groups[index]]})"

    def read_bytes(self, index: int) -> bytes:
        """See `EncodedDataset.read_bytes`."""
        return read_file(f"{self.folder}/{self.item_id(index)}", self.where, index)


def _frames_of(folder: Path) -> tuple[list[tuple[int, str]], int]:
    """Number and file name of each frame in a folder, by number; and how many images have no number.

    Raises:
        UserError: two files have one number.
    """
    images = [n for n in names_in(folder) if n.lower().endswith(_ENDINGS) and not n.startswith(".")]
    numbers = {name: int(match[1]) for name in images if (match := _NUMBER.search(os.path.splitext(name)[0]))}
    frames = sorted((number, name) for name, number in numbers.items())
    for (number, name), (following, other) in pairwise(frames):
        if number == following:
            raise UserError(
                f"{shown(name)} and {shown(other)} are both frame {number}",
                where=folder,
                expected="one file a frame",
            )
    return frames, len(images) - len(frames)
