"""Aff-Wild2 expression frames as released for the ABAW challenges (Kollias & Zafeiriou, 2018 and later)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from logging import getLogger
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ferbench.data.datasets.abaw import EXPR_CLASSES, GET_AFFWILD2, Annotation, video_of
from ferbench.data.datasets.abaw_places import (
    TEST_LISTS,
    Crops,
    crops_in,
    find_annotations,
    find_crops,
    find_subject,
    find_test_list,
    read_test_list,
)
from ferbench.data.datasets.base import UNLABELED, ClassMap, EncodedDataset, require_folder
from ferbench.data.io import read_file
from ferbench.errors import UserError
from ferbench.registry import DATASETS

_log = getLogger(__name__)


@dataclass
class Counts:
    """What became of the annotated frames of one part. Of the test part, which has no labels, all crops are kept."""

    videos: int = 0
    subjects: int = 0
    annotated_frames: int = 0
    kept: int = 0
    dropped_invalid: int = 0
    dropped_classes: int = 0
    missing_crops: int = 0
    labels_beyond_last_crop: int = 0
    crops_beyond_last_label: int = 0
    in_several_places: int = 0
    crops_of_other_names: int = 0
    crops_of_frame_0: int = 0
    skipped: list[str] = field(default_factory=list)


@DATASETS.register_module()
class AffWild2Expr(EncodedDataset):
    """Frames of Aff-Wild2 with the expression labels of an ABAW challenge.

    Labels and crops are joined by frame number, never by position: crops are missing where no face was found,
    and annotations and crops may each run past the other's end. Both are counted (`summary`), not errors.

    Read are the annotation folders of ABAW1 to ABAW6 and later, up to two levels below ``root``; crops in
    ``cropped_aligned`` and in all folders whose names begin so, as the official batches unpack (see `find_crops`), called
    ``00001.jpg``, ``00001.png`` or ``1.jpg`` (see `crops_in`); and the list of the challenge's test videos. These layouts
    are those of public code of participants.

    Args:
        root: folder with the annotation release(s) and the folders of crops.
        annotations: the annotation release, if not below ``root`` or if there are several (see
            `find_annotations`).
        crops: folder(s) with one folder of crops per subject, or with `find_crops`' folders; those found below ``root`` if
            None. In several, the first that has the subject counts, and a warning names the subject.
        part: ``Train_Set`` or ``Validation_Set``; or ``Test_Set``: all crops of the challenge's test videos, without
            labels, as unlabeled data or to be predicted.
        test_list: the list of the test videos, if it is not found below ``root`` (see `find_test_list`).
        classes: target classes, None for the eight of the challenge; headers are mapped to them by name.
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
        UserError: missing folders, subjects without crops, crops that are counted from 0, a wrong annotation (with file
            and line).
    """

    tracks: np.ndarray
    frames: np.ndarray

    def __init__(
        self,
        root: str | Path | None = None,
        annotations: str | Path | None = None,
        crops: str | Path | Sequence[str | Path] | None = None,
        part: str = "Train_Set",
        test_list: str | Path | None = None,
        classes: Sequence[str] | None = None,
        rename: Mapping[str, str | None] | None = None,
        missing_videos: Literal["error", "skip"] = "error",
        unlabeled: Literal["invalid", "all"] | None = None,
        name: str | None = None,
    ):
        _check_choice("missing_videos", missing_videos, ("error", "skip"))
        _check_choice("unlabeled", unlabeled, (None, "invalid", "all"))
        if not isinstance(part, str):
            raise UserError(f"part={part!r}", expected="'Train_Set', 'Validation_Set' or 'Test_Set'")
        self.name = name or "affwild2-" + part.removesuffix("_Set").lower()
        self.classes = tuple(EXPR_CLASSES if classes is None else classes)
        self._rename, self._unlabeled = rename, unlabeled
        self.counts = Counts()
        self.root = None if root is None else require_folder(root, "Aff-Wild2", get=GET_AFFWILD2)
        self._maps: dict[tuple[str, ...], ClassMap] = {}
        self.annotations: Path | None = None
        if part == "Test_Set":
            _check_choice("unlabeled", unlabeled, (None, "all"))
            self._locate_crops(crops)
            self.list_file = _test_list(self.root, test_list)
            self._join(dict.fromkeys(read_test_list(self.list_file)), missing_videos)
            return
        if test_list is not None:
            raise UserError("test_list is given, but part is not 'Test_Set'", where=f"part={part!r}")
        self.list_file = self.annotations = _annotations(self.root, annotations, part, crops)
        files = sorted(f for f in self.annotations.glob("*.txt") if not f.name.startswith("."))
        if not files:
            raise UserError(
                "the folder holds no annotation files", where=self.annotations, expected="<video>.txt"
            )
        annotated = {file.stem: Annotation.read(file) for file in files}
        self._locate_crops(crops)
        self._join(annotated, missing_videos)

    def _locate_crops(self, crops: str | Path | Sequence[str | Path] | None) -> None:
        if crops is None:
            found = find_crops(self.root) if self.root is not None else []
            given: Sequence[str | Path] = found or [Path(self.root or "", "cropped_aligned")]
        else:
            given = [crops] if isinstance(crops, str | Path) else crops
        places = [
            require_folder(p, "the cropped-aligned images of Aff-Wild2", get=GET_AFFWILD2) for p in given
        ]
        inner = (
            [place for given in places for place in find_crops(given, around=False)]
            if crops is not None
            else []
        )
        self.crops = tuple(dict.fromkeys(places + inner))

    def _join(self, annotations: Mapping[str, Annotation | None], missing_videos: str) -> None:
        subjects: list[str] = []
        self._crops: list[Crops] = []
        frames: list[np.ndarray] = []
        labels: list[np.ndarray] = []
        for subject, annotation in annotations.items():
            crops = self._crops_of(subject)
            if crops is None:
                self.counts.skipped.append(subject)
                continue
            self._check_numbers(subject, annotation, crops)
            kept_frames, kept_labels = self._select(annotation, crops.numbers)
            subjects.append(subject)
            self._crops.append(crops)
            frames.append(kept_frames)
            labels.append(kept_labels)
        if self.counts.skipped and (missing_videos == "error" or not subjects):
            raise self._no_crops(self.counts.skipped)
        self._subjects = subjects
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
                "no frame is left", where=self.list_file, expected=f"crops for its labels; {self.summary()}"
            )

    def _no_crops(self, subjects: Sequence[str]) -> UserError:
        kind = "test" if self.annotations is None else "annotated"
        elsewhere = None if self.root is None else find_subject(self.root, subjects[0])
        if elsewhere is None or elsewhere.parent in self.crops:
            fix = "unpack all cropped-aligned images, or set missing_videos='skip'"
        else:
            fix = (
                f"a folder {subjects[0]} lies in {elsewhere.parent}: if it holds aligned crops, name all folders "
                "of such as crops=[...]"
            )
        names = ", ".join(subjects[:10]) + (", ..." if len(subjects) > 10 else "")
        return UserError(
            f"{len(subjects)} {kind} videos have no crops: {names}",
            where=", ".join(map(str, self.crops)), expected="<video>/00001.jpg, ...", fix=fix,
        )  # fmt: skip

    def _crops_of(self, subject: str) -> Crops | None:
        found = [crops for crops in (crops_in(place / subject) for place in self.crops) if len(crops.numbers)]
        if not found:
            return None
        used, *others = found
        self.counts.crops_of_other_names += used.others
        if others:
            self.counts.in_several_places += 1
            beyond = len(np.setdiff1d(np.concatenate([o.numbers for o in others]), used.numbers))
            _log.warning(
                "%s has crops in several folders, and those of %s are used; %d frames that only %s have are left out; "
                "keep one folder of each video",
                subject, used.folder, beyond, ", ".join(str(o.folder) for o in others),
            )  # fmt: skip
        return used

    def _check_numbers(self, subject: str, annotation: Annotation | None, crops: Crops) -> None:
        """Refuse crops that are counted from 0: each would have the label of the frame before it.

        A video of N annotated frames then has crops 0 to at most N - 1. One with a crop beyond is counted from 1, and its crop
        of frame 0 is left out.
        """
        if not crops.has_zero:
            return
        last = int(crops.numbers[-1])
        self.counts.crops_of_frame_0 += 1
        if annotation is not None and last >= len(annotation.labels):
            _log.warning("%s is left out: frames are counted from 1", crops.path(0))
            return
        lines = "" if annotation is None else f", and there are {len(annotation.labels)} annotated frames"
        raise UserError(
            f"the crops of {subject} seem to be counted from 0: they go from {crops.path(0)} to frame {last}{lines}",
            where=self.list_file if annotation is None else annotation.file,
            expected="the first frame as 00001.jpg: a frame's number is the line of its label under the header",
            fix="raise each number by 1, or remove the crop of frame 0 if the others are counted from 1",
        )

    def _select(self, annotation: Annotation | None, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Frame numbers and target labels of one subject that belong to the dataset."""
        if annotation is None:
            return numbers, np.full(len(numbers), UNLABELED)
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
        names without any crop; ``in_several_places`` = subjects of whom more than one folder has crops;
        ``crops_of_other_names`` = files that are left out because their names are not of the kind of the others' (`crops_in`);
        ``crops_of_frame_0`` = crops that are left out because frames are counted from 1.
        """
        c = self.counts
        return {
            "videos": c.videos, "subjects": c.subjects, "annotated_frames": c.annotated_frames,
            "kept": c.kept, "dropped_invalid": c.dropped_invalid, "dropped_classes": c.dropped_classes,
            "missing_crops": c.missing_crops, "labels_beyond_last_crop": c.labels_beyond_last_crop,
            "crops_beyond_last_label": c.crops_beyond_last_label, "skipped_videos": list(c.skipped),
            "in_several_places": c.in_several_places, "crops_of_other_names": c.crops_of_other_names,
            "crops_of_frame_0": c.crops_of_frame_0,
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
        return self._crops[self.tracks[index]].path(int(self.frames[index]))

    def where(self, index: int) -> str:
        """Crop file, annotation file and line; or the list that names the test video."""
        if self.annotations is None:
            return f"{self._path(index)} (test video of {self.list_file})"
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


def _annotations(root: Path | None, annotations: str | Path | None, part: str, crops: object) -> Path:
    if root is None and (annotations is None or crops is None):
        raise UserError(
            "Aff-Wild2 needs to know where it lies",
            expected="root=..., or both annotations=... and crops=...",
            fix=GET_AFFWILD2,
        )  # fmt: skip
    base = require_folder(annotations or root or "", "the Aff-Wild2 annotations", get=GET_AFFWILD2)
    return find_annotations(base, part)


def _test_list(root: Path | None, test_list: str | Path | None) -> Path:
    if test_list is not None:
        return Path(test_list).expanduser()
    if root is None:
        raise UserError("the list of test videos is not given", expected=f"test_list='.../{TEST_LISTS[0]}'")
    return find_test_list(root)
