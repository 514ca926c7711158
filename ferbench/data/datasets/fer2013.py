"""FER2013: 48 x 48 grey faces of seven expressions, kept apart from copies of its own test images.

Goodfellow et al., "Challenges in Representation Learning: A report on three machine learning contests",
ICONIP 2013.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ferbench.data.datasets.base import ClassMap, FaceDataset
from ferbench.data.datasets.fer2013_images import (
    FER2013_CLASSES,
    GET_FER2013,
    Images,
    find_csv,
    load_csv,
    load_folder,
)
from ferbench.data.io import decode, read_file
from ferbench.data.paths import PathArray
from ferbench.errors import UserError
from ferbench.registry import DATASETS

TRAINING = "Training"
_log = logging.getLogger(__name__)


def usages(usage: str | Sequence[str]) -> list[str]:
    """The names in an option that is one usage or a list of them.

    Raises:
        UserError: it is neither.
    """
    names = [usage] if isinstance(usage, str) else usage
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"usage={usage!r}", expected="a usage, or a list of them")
    return list(names)


class FER2013Faces(FaceDataset):
    """Images of one or more usages; what the labels are is left to the subclass.

    Attributes:
        groups: int32 [N], items with the same pixels share a group (their labels may contradict each other).
        images: all of FER2013 that was found.
        rows: int64 [N], the item's position in ``images``.
    """

    groups_are_copies = True

    def __init__(self, root: str | Path, cache: str | os.PathLike[str] | None = "auto"):
        self.root = find_csv(Path(root).expanduser())
        if not self.root.exists():
            raise UserError("FER2013 does not lie there", where=self.root, fix=GET_FER2013)
        self.images = self.load(cache)
        self.rows = np.arange(len(self.images.emotion))

    def load(self, cache: str | os.PathLike[str] | None) -> Images:
        """The images of the csv or the folder at `root`."""
        return (load_folder if self.root.is_dir() else load_csv)(self.root, cache)

    def select_usage(
        self, usage: str | Sequence[str], drop_duplicates_of: str | Sequence[str] | None
    ) -> tuple[np.ndarray, int]:
        """Rows (int64) of the usages, without copies of other usages, and how many such copies were left out.

        Raises:
            UserError: a usage of which there is no image.
        """
        wanted = usages(usage)
        rows = np.flatnonzero(self._of_usages(wanted))
        if drop_duplicates_of is None:
            return rows, 0
        if drop_duplicates_of == "auto":
            others = (
                [u for u in self.images.usages if u not in wanted and u != TRAINING]
                if TRAINING in wanted
                else []
            )
            elsewhere = self._of_usages(others, must_exist=False)
            if others and not elsewhere.any():
                _log.warning(
                    "%s holds no test images, so that copies of them in its training images (351 of the released ones) "
                    "cannot be left out: a test on FER2013 or FER+ would know some of its images",
                    self.root,
                )
        else:
            elsewhere = self._of_usages([u for u in usages(drop_duplicates_of) if u not in wanted])
        is_copy = np.isin(self.images.first[rows], self.images.first[elsewhere])
        return rows[~is_copy], int(is_copy.sum())

    def _of_usages(self, names: Sequence[str], must_exist: bool = True) -> np.ndarray:
        mask = np.zeros(len(self.images.usage), bool)
        for name in names:
            code = self.images.usages.index(name) if name in self.images.usages else -1
            found = self.images.usage == code
            if must_exist and not found.any():
                present = [self.images.usages[u] for u in np.unique(self.images.usage)]
                raise UserError(
                    f"there are no images of usage {name!r}",
                    where=self.root,
                    expected="one of " + ", ".join(present),
                )
            mask |= found
        return mask

    def keep(self, rows: np.ndarray, labels: np.ndarray) -> None:
        """Fix the items of the dataset: ``rows`` (int64 [N]) and their target labels."""
        if not len(rows):
            raise UserError(
                "no image of FER2013 is left",
                where=self.root,
                expected=f"at least one; found: {self.summary()}",
            )
        self.rows, self.labels = rows, labels
        first, groups = np.unique(self.images.first[rows], return_inverse=True)
        self.groups = groups.reshape(-1).astype(np.int32)
        self.group_names = PathArray.from_strings(self._row_id(int(row)) for row in first)

    def summary(self) -> dict[str, Any]:
        """Counts: ``kept`` items, ``per_class``, ``copies`` of another item, ``unreadable`` files."""
        if not hasattr(self, "labels"):
            return {"images": len(self.images.emotion)}
        return {
            "kept": len(self),
            "copies": len(self) - len(self.group_names),
            "unreadable": int((~self.images.readable[self.rows]).sum()),
            "per_class": dict(zip(self.classes, self.class_counts().tolist(), strict=True)),
        }

    def _row_id(self, row: int) -> str:
        return f"row{row:05d}" if self.images.paths is None else self.images.paths[row]

    def item_id(self, index: int) -> str:
        """``row00012`` (rows of the csv are counted from 0), or the image's path relative to the folder."""
        return self._row_id(int(self.rows[index]))

    def where(self, index: int) -> str:
        """Csv file and line, or image file."""
        row = int(self.rows[index])
        return (
            f"{self.root}:{row + 2}"
            if self.images.paths is None
            else os.path.join(self.root, self.images.paths[row])
        )

    def read(self, index: int) -> np.ndarray:
        """See `FaceDataset.read`; uint8 [48, 48, 3], three equal channels."""
        row = int(self.rows[index])
        if not self.images.readable[row]:
            return decode(read_file(self.where(index), self.where, index), self.where, index)
        return cv2.cvtColor(np.asarray(self.images.pixels[row]), cv2.COLOR_GRAY2RGB)

    def content(self, index: int) -> bytes:
        """The 48 x 48 grey values; of a file that cannot be decoded, its bytes."""
        row = int(self.rows[index])
        if not self.images.readable[row]:
            return read_file(self.where(index), self.where, index)
        return self.images.pixels[row].tobytes()


@DATASETS.register_module()
class FER2013(FER2013Faces):
    """FER2013 with its own labels.

    351 Training rows are pixel for pixel one of 280 PublicTest images; they are left out by default, whatever
    the use of the data, labeled or unlabeled. Copies within a usage stay: their labels may differ, and a
    split by `ferbench.data.splits.BudgetSplit` puts all of them on one side.

    Args:
        root: ``fer2013.csv``, ``icml_face_data.csv`` or ``train.csv`` of Kaggle (or another csv with their columns), the
            folder it lies in, or a folder of images ``<usage>/<class>/*``. ``train.csv`` has no test images, so that the
            training images that are copies of such stay (a warning says so).
        usage: ``Training``, ``PublicTest``, ``PrivateTest``, in a folder also ``test``; or a list of them.
        classes: target classes; None for Angry, Disgust, Fear, Happy, Sad, Surprise, Neutral.
        rename: source class -> target class, or None to leave its images out (see `ClassMap`).
        drop_duplicates_of: usages; images whose pixels equal one of theirs are left out. ``auto``: for
            Training all other usages found, else none. None: nothing is left out.
        cache: where the parsed pixels are kept (see `ferbench.data.paths.IndexCache`): ``auto``, a folder, or
            None.
        name: short name for logs and records.

    Raises:
        UserError: no such file or usage; a row that is no image, label or usage (file and line); an image
            file that is not 48 x 48; an unknown class folder.
    """

    def __init__(
        self,
        root: str | Path,
        usage: str | Sequence[str] = TRAINING,
        classes: Sequence[str] | None = None,
        rename: Mapping[str, str | None] | None = None,
        drop_duplicates_of: str | Sequence[str] | None = "auto",
        cache: str | os.PathLike[str] | None = "auto",
        name: str | None = None,
    ):
        super().__init__(root, cache)
        self.name = name or "fer2013-" + "+".join(usages(usage)).lower()
        self.class_map = ClassMap(FER2013_CLASSES, classes or FER2013_CLASSES, rename, where=self.name)
        self.classes = self.class_map.target
        rows, self._copies_of_test = self.select_usage(usage, drop_duplicates_of)
        labels = self.class_map(np.asarray(self.images.emotion)[rows])
        self._dropped_classes = int((labels < 0).sum())
        self.keep(rows[labels >= 0], labels[labels >= 0])

    def summary(self) -> dict[str, Any]:
        """As `FER2013Faces.summary`, and ``dropped_duplicates`` of other usages, ``dropped_classes``."""
        return super().summary() | {
            "dropped_duplicates": self._copies_of_test, "dropped_classes": self._dropped_classes,
        }  # fmt: skip
