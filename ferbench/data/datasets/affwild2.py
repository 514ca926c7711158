"""Aff-Wild2 expression frames as released for the ABAW challenges (Kollias & Zafeiriou, 2018 and later)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ferbench.data.datasets.abaw import (
    EXPR_CLASSES,
    GET_AFFWILD2,
    Annotation,
    crop_frames,
    find_annotations,
    video_of,
)
from ferbench.data.datasets.base import UNLABELED, ClassMap, EncodedDataset, require_folder
from ferbench.data.io import read_file
from ferbench.errors import UserError
from ferbench.registry import DATASETS


@dataclass
class Counts:
    """What became of the annotated frames of one part."""

    videos: int = 0
    subjects: int = 0
    annotated_frames: int = 0
    kept: int = 0
    dropped_invalid: int = 0
    dropped_classes: int = 0
    missing_crops: int = 0
    labels_beyond_last_crop: int = 0
    crops_beyond_last_label: int = 0
    skipped: list[str] = field(default_factory=list)


@DATASETS.register_module()
class AffWild2Expr(EncodedDataset):
    """Frames of Aff-Wild2 with the expression labels of an ABAW challenge.

    Labels and crops are joined by frame number, never by position: crops are missing where no face was found,
    and annotations and crops may each run past the other's end. Both are counted (`summary`), not errors.

    Args:
        root: folder with the annotation release(s) and ``cropped_aligned``.
        annotations: the annotation release, if not below ``root`` or if there are several (see
            `find_annotations`).
        crops: folder(s) with one folder of crops per subject; ``root/cropped_aligned`` if None. In several,
            the first that has the subject counts.
        part: ``Train_Set`` or ``Validation_Set``.
        classes: target classes; headers are mapped to them by name.
        rename: header's class -> target class, or None to leave its frames out (see `ClassMap`).
        missing_videos: ``error`` or ``skip`` (and count) annotated subjects of whom there is no crop at all.
        unlabeled: None: the labeled frames; ``invalid``: the frames of this part that are annotated as -1;
            ``all``: every crop of this part's subjects, labels hidden. The latter two have labels -1.
        name: short name for logs and records.

    Attributes:
        groups: the video of each frame; two people of one video share it, so that no split parts them.
        tracks: the subject of each frame: two people of one video are two tracks.
        frames: number of each frame in its video, from 1.
        counts: what became of the annotated frames (see `summary`).

    Raises:
        UserError: missing folders, subjects without crops, a wrong annotation (with file and line).
    """

    tracks: np.ndarray
    frames: np.ndarray

    def __init__(
        self,
        root: str | Path | None = None,
        annotations: str | Path | None = None,
        crops: str | Path | Sequence[str | Path] | None = None,
        part: str = "Train_Set",
        classes: Sequence[str] = EXPR_CLASSES,
        rename: Mapping[str, str | None] | None = None,
        missing_videos: Literal["error", "skip"] = "error",
        unlabeled: Literal["invalid", "all"] | None = None,
        name: str | None = None,
    ):
        _check_choice("missing_videos", missing_videos, ("error", "skip"))
        _check_choice("unlabeled", unlabeled, (None, "invalid", "all"))
        self.name = name or "affwild2-" + part.removesuffix("_Set").lower()
        self.annotations, self.crops = _locate(root, annotations, crops, part)
        self.classes = tuple(classes)
        self._rename, self._unlabeled = rename, unlabeled
        self.counts = Counts()
        files = sorted(f for f in self.annotations.glob("*.txt") if not f.name.startswith("."))
        if not files:
            raise UserError(
                "the folder holds no annotation files", where=self.annotations, expected="<video>.txt"
            )
        self._maps: dict[tuple[str, ...], ClassMap] = {}
        self._join(files, missing_videos)

    def _join(self, files: Sequence[Path], missing_videos: str) -> None:
        subjects: list[str] = []
        folders: list[Path] = []
        frames: list[np.ndarray] = []
        labels: list[np.ndarray] = []
        for file in files:
            annotation = Annotation.read(file)
            folder, numbers = self._crops_of(file.stem)
            if folder is None:
                self.counts.skipped.append(file.stem)
                continue
            kept_frames, kept_labels = self._select(annotation, numbers)
            subjects.append(file.stem)
            folders.append(folder)
            frames.append(kept_frames)
            labels.append(kept_labels)
        skipped = self.counts.skipped
        if skipped and (missing_videos == "error" or not subjects):
            raise UserError(
                f"{len(skipped)} annotated videos have no crops: {', '.join(skipped[:10])}"
                + (", ..." if len(skipped) > 10 else ""),
                where=", ".join(map(str, self.crops)), expected="<video>/00001.jpg, ...",
                fix="unpack all cropped-aligned images, or set missing_videos='skip'",
            )  # fmt: skip
        self._subjects, self._folders = subjects, folders
        self.tracks = np.repeat(np.arange(len(subjects), dtype=np.int32), [len(f) for f in frames])
        self.frames = np.concatenate(frames).astype(np.int32)
        self.labels = np.concatenate(labels).astype(np.int16)
        names, group_of_subject = np.unique([video_of(s) for s in subjects], return_inverse=True)
        self.group_names = names.tolist()
        self.groups = group_of_subject.astype(np.int32)[self.tracks]
        self.counts.videos, self.counts.subjects, self.counts.kept = (
            len(names),
            len(subjects),
            len(self.labels),
        )
        if not len(self.labels):
            raise UserError(
                "no frame is left", where=self.annotations, expected=f"crops for its labels; {self.summary()}"
            )

    def _crops_of(self, subject: str) -> tuple[Path | None, np.ndarray]:
        for place in self.crops:
            numbers = crop_frames(place / subject)
            if len(numbers):
                return place / subject, numbers
        return None, np.empty(0, np.int64)

    def _select(self, annotation: Annotation, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Frame numbers and target labels of one subject that belong to the dataset."""
        if annotation.source not in self._maps:
            where = f"{annotation.file}:1"
            self._maps[annotation.source] = ClassMap(annotation.source, self.classes, self._rename, where)
        raw, count = annotation.labels, len(annotation.labels)
        mapped = self._maps[annotation.source](raw)
        has_crop = np.zeros(count, bool)
        has_crop[numbers[numbers <= count] - 1] = True
        wanted = mapped != UNLABELED
        self.counts.annotated_frames += count
        self.counts.dropped_invalid += int((raw == UNLABELED).sum())
        self.counts.dropped_classes += int(((raw != UNLABELED) & ~wanted).sum())
        self.counts.missing_crops += int((wanted & ~has_crop).sum())
        self.counts.labels_beyond_last_crop += max(0, count - int(numbers[-1]))
        self.counts.crops_beyond_last_label += int((numbers > count).sum())
        if self._unlabeled == "all":
            return numbers, np.full(len(numbers), UNLABELED)
        kept = np.flatnonzero(has_crop & ((raw == UNLABELED) if self._unlabeled == "invalid" else wanted))
        return kept + 1, mapped[kept]

    def summary(self) -> dict[str, Any]:
        """What was found: counts of videos, subjects and frames, and of what was left out and why.

        ``annotated_frames`` = lines under the headers; ``kept`` = items of this dataset; ``missing_crops`` =
        frames with a class but no crop; ``per_class`` = labeled items by class name; ``skipped_videos`` =
        names without any crop.
        """
        c = self.counts
        return {
            "videos": c.videos, "subjects": c.subjects, "annotated_frames": c.annotated_frames,
            "kept": c.kept, "dropped_invalid": c.dropped_invalid, "dropped_classes": c.dropped_classes,
            "missing_crops": c.missing_crops, "labels_beyond_last_crop": c.labels_beyond_last_crop,
            "crops_beyond_last_label": c.crops_beyond_last_label, "skipped_videos": list(c.skipped),
            "per_class": dict(zip(self.classes, self.class_counts().tolist(), strict=True)),
        }  # fmt: skip

    def subject_of(self, index: int) -> str:
        """Name of the annotation file and crop folder of an item, e.g. ``video59_right``."""
        return self._subjects[self.tracks[index]]

    def frame_of(self, index: int) -> int:
        """Frame number of an item, from 1."""
        return int(self.frames[index])

    def item_id(self, index: int) -> str:
        """``<subject>/<frame>.jpg``, as the challenge's own files name a frame."""
        return f"{self.subject_of(index)}/{self.frames[index]:05d}.jpg"

    def item_ids(self, indices: np.ndarray) -> list[str]:
        """See `FaceDataset.item_ids`."""
        subjects, frames = self.tracks[indices].tolist(), self.frames[indices].tolist()
        return [f"{self._subjects[s]}/{f:05d}.jpg" for s, f in zip(subjects, frames, strict=True)]

    def _path(self, index: int) -> str:
        return f"{self._folders[self.tracks[index]]}/{self.frames[index]:05d}.jpg"

    def where(self, index: int) -> str:
        """Crop file, annotation file and line."""
        annotation = self.annotations / (self.subject_of(index) + ".txt")
        return f"{self._path(index)} (label: {annotation}:{self.frame_of(index) + 1})"

    def read_bytes(self, index: int) -> bytes:
        """See `EncodedDataset.read_bytes`."""
        return read_file(self._path(index), self.where, index)


def _check_choice(option: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise UserError(
            f"{option}={value!r} is not known", expected="one of " + ", ".join(map(repr, allowed))
        )


def _locate(
    root: str | Path | None,
    annotations: str | Path | None,
    crops: str | Path | Sequence[str | Path] | None,
    part: str,
) -> tuple[Path, tuple[Path, ...]]:
    if root is None and (annotations is None or crops is None):
        raise UserError(
            "Aff-Wild2 needs to know where it lies",
            expected="root=..., or both annotations=... and crops=...",
            fix=GET_AFFWILD2,
        )  # fmt: skip
    if root is not None:
        root = require_folder(root, "Aff-Wild2", get=GET_AFFWILD2)
    base = require_folder(annotations or root or "", "the Aff-Wild2 annotations", get=GET_AFFWILD2)
    if crops is None:
        crops = Path(root or "", "cropped_aligned")
    places = [crops] if isinstance(crops, str | Path) else crops
    found = [require_folder(p, "the cropped-aligned images of Aff-Wild2", get=GET_AFFWILD2) for p in places]
    return find_annotations(base, part), tuple(found)
