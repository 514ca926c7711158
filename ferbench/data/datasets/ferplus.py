"""FER+: FER2013 labeled anew by ten people per image.

Barsoum et al., "Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label
Distribution", ICMI 2016 (arXiv 1608.01041).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ferbench.data.datasets.base import ClassMap
from ferbench.data.datasets.fer2013 import TRAINING, FER2013Faces, usages
from ferbench.data.datasets.fer2013_images import USAGES, Images
from ferbench.data.datasets.ferplus_votes import (
    FERPLUS_CLASSES,
    NO_CLASS,
    has_label_folders,
    load_label_folders,
    read_votes,
)
from ferbench.errors import UserError
from ferbench.registry import DATASETS

# FER+ names in the order of FER2013_CLASSES, for the check below
_FER2013_IN_FERPLUS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
# Two thirds of the labels of FER2013 agree with the plurality of FER+; of rows in another order, a fifth.
LEAST_AGREEMENT = 0.4
AGREEMENT_FROM = 200  # images; for fewer, the share says nothing


def plurality(votes: np.ndarray) -> np.ndarray:
    """int64 [N]: the column with most votes; -1 where two columns have as many (or there are none)."""
    most = votes.max(axis=1, initial=0)
    unique = (votes == most[:, None]).sum(axis=1) == 1
    return np.where(unique & (most > 0), votes.argmax(axis=1), -1)


@DATASETS.register_module()
class FERPlus(FER2013Faces):
    """FER2013 images with the votes of FER+.

    Read are ``fer2013.csv`` with ``fer2013new.csv``, or the folders ``FER2013Train``, ``FER2013Valid`` and
    ``FER2013Test`` with ``label.csv`` and images, as FER+'s own scripts and readme have them (see `load_label_folders`).
    Votes belong to rows by position within a usage: file names in the votes file are not rows of the csv.
    Plurality is taken over all ten columns (eight emotions, unknown, NF). Left out, in this order, and
    counted in `summary`: copies of test images (see `FER2013`); ties; images whose plurality is unknown or
    NF; ``min_share``; classes that the target set lacks.

    Args:
        root: ``fer2013.csv``, the folder it lies in, or the one of FER+'s own folders. Another folder of images has lost
            the order of rows and is refused.
        votes: ``fer2013new.csv``; beside the csv if None. FER+'s own folders have their own.
        usage: as in `FER2013`.
        mode: ``majority``: labels only; ``probability``: also `targets`, the votes for target classes divided
            by their sum (those for unknown, NF and dropped classes do not count).
        min_share: least share of all votes that the plurality must have; 0.5 is "more than half", the strict
            majority of the paper. 0: any.
        drop_single_votes: whether one vote alone for a class counts as a slip and is set to 0 before anything
            else, as in the paper.
        classes: target classes; None for the eight of FER+.
        rename: FER+ class -> target class, or None to leave it out (see `ClassMap`).
        drop_duplicates_of: as in `FER2013`.
        cache: as in `FER2013`.
        name: short name for logs and records.

    Raises:
        UserError: as `FER2013`; further if a usage has another number of rows in the two files, or if the
            labels of FER2013 show that the rows do not belong together.
    """

    def __init__(
        self,
        root: str | Path,
        votes: str | Path | None = None,
        usage: str | Sequence[str] = TRAINING,
        mode: Literal["majority", "probability"] = "majority",
        min_share: float = 0.0,
        drop_single_votes: bool = False,
        classes: Sequence[str] | None = None,
        rename: Mapping[str, str | None] | None = None,
        drop_duplicates_of: str | Sequence[str] | None = "auto",
        cache: str | os.PathLike[str] | None = "auto",
        name: str | None = None,
    ):
        if mode not in ("majority", "probability"):
            raise UserError(f"mode={mode!r} is not known", expected="'majority' or 'probability'")
        self._own_votes: np.ndarray | None = None
        super().__init__(root, cache)
        if self.images.paths is not None and self._own_votes is None:
            raise UserError(
                "FER+ votes go by the rows of fer2013.csv, which a folder of images has lost",
                where=self.root, expected="root=.../fer2013.csv, or a folder with FER2013Train/label.csv",
            )  # fmt: skip
        if votes is not None and self._own_votes is not None:
            raise UserError(
                f"votes={str(votes)!r} beside folders that have their own label.csv", where=self.root
            )
        self.name = name or "ferplus-" + "+".join(usages(usage)).lower()
        self.class_map = ClassMap(FERPLUS_CLASSES, classes or FERPLUS_CLASSES, rename, where=self.name)
        self.classes = self.class_map.target
        self.agreement: float | None = None
        if self._own_votes is None:
            path = self.root.with_name("fer2013new.csv") if votes is None else Path(votes).expanduser()
            all_rows, _ = self.select_usage(usage, None)
            joined = self._join(path, usages(usage))
            self._check_agreement(joined[all_rows], all_rows, path)
        else:
            joined = self._own_votes
        rows, copies = self.select_usage(usage, drop_duplicates_of)
        self._left_out: dict[str, int] = {"dropped_duplicates": copies}
        self._label(rows, joined[rows], mode, min_share, drop_single_votes)

    def load(self, cache: str | os.PathLike[str] | None) -> Images:
        """See `FER2013Faces.load`; FER+'s own folders are read with their votes."""
        if not self.root.is_dir() or not has_label_folders(self.root):
            return super().load(cache)
        images, self._own_votes = load_label_folders(self.root, cache)
        return images

    def _join(self, path: Path, usages: Sequence[str]) -> np.ndarray:
        """int64 [rows of the csv, 10]: the votes of each row; zeros for other usages."""
        votes, vote_usage = read_votes(path)
        joined = np.zeros((len(self.images.usage), votes.shape[1]), np.int64)
        for usage in usages:
            code = USAGES.index(usage)
            rows, of_votes = np.flatnonzero(self.images.usage == code), np.flatnonzero(vote_usage == code)
            if len(rows) != len(of_votes):
                raise UserError(
                    f"{usage} has {len(rows)} rows in FER2013 but {len(of_votes)} in the votes of FER+",
                    where=f"{self.root} and {path}", expected="as many: votes are joined by row",
                    fix="use both files as they were released",
                )  # fmt: skip
            joined[rows] = votes[of_votes]
        return joined

    def _check_agreement(self, votes: np.ndarray, rows: np.ndarray, path: Path) -> None:
        emotion_in_ferplus = np.array([FERPLUS_CLASSES.index(name) for name in _FER2013_IN_FERPLUS])
        label = plurality(votes)
        agree = label == emotion_in_ferplus[np.asarray(self.images.emotion)[rows]]
        agreement = self.agreement = float(agree[label >= 0].mean()) if (label >= 0).any() else 0.0
        if len(rows) >= AGREEMENT_FROM and agreement < LEAST_AGREEMENT:
            raise UserError(
                f"only {agreement:.0%} of FER2013's labels agree with FER+: rows do not belong together",
                where=f"{self.root} and {path}", expected="about 2 of 3 (rows in the released order)",
                fix="use both files as they were released",
            )  # fmt: skip

    def _label(
        self, rows: np.ndarray, votes: np.ndarray, mode: str, min_share: float, drop_single_votes: bool
    ) -> None:
        if drop_single_votes:
            votes = np.where(votes == 1, 0, votes)
        label = plurality(votes)
        share = votes.max(axis=1) / np.maximum(votes.sum(axis=1), 1)
        emotions = len(FERPLUS_CLASSES)
        mapped = self.class_map(np.where(label < emotions, label, -1))
        kept = np.ones(len(rows), bool)
        for reason, out in (
            ("dropped_ties", label < 0),
            ("dropped_unknown", label == emotions + NO_CLASS.index("unknown")),
            ("dropped_no_face", label == emotions + NO_CLASS.index("NF")),
            ("dropped_below_min_share", (min_share > 0) & (share <= min_share)),
            ("dropped_classes", mapped < 0),
        ):
            self._left_out[reason] = int((kept & out).sum())
            kept &= ~out
        if mode == "probability":
            to_target = np.zeros((emotions, len(self.classes)))
            for source, target in enumerate(self.class_map.table[:-1].tolist()):
                if target >= 0:
                    to_target[source, target] = 1
            counted = votes[kept, :emotions] @ to_target
            self.targets = (counted / counted.sum(axis=1, keepdims=True)).astype(np.float32)
        self.keep(rows[kept], mapped[kept])

    def summary(self) -> dict[str, Any]:
        """As `FER2013Faces.summary`, with what was left out and why, and how far FER2013's labels agree if there are any."""
        found = super().summary() | self._left_out
        return (
            found if self.agreement is None else found | {"agreement_with_fer2013": round(self.agreement, 4)}
        )
