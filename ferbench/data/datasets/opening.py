"""What every dataset must be, checked in one place when it is opened: ours, and those of plug-ins."""

from __future__ import annotations

from typing import Any

import numpy as np

from ferbench.data.datasets.base import UNLABELED, FaceDataset, few
from ferbench.data.io import UnreadableImage
from ferbench.errors import UserError, described, shortened

TRIED = 8
"""Images, evenly spread, of which one must be readable for a dataset to open."""


def opened(dataset: Any, where: object, classes: tuple[str, ...] | None = None) -> FaceDataset:
    """The dataset, if it is one and an image of it can be read.

    Args:
        dataset: what a registered class built.
        where: config key, for messages.
        classes: target classes of the experiment; None where its labels need not be theirs.

    Raises:
        UserError: it is no `FaceDataset`; see `problems`; other classes; none of the images tried can be read, or one is no
            uint8 RGB.
    """
    if not isinstance(dataset, FaceDataset):
        raise UserError(
            f"a dataset is a {type(dataset).__name__}", where=where, expected="a subclass of FaceDataset",
            fix="derive it from ferbench.data.datasets.FaceDataset",
        )  # fmt: skip
    named = f"{where}: {type(dataset).__name__} {dataset.name!r}"
    for problem in problems(dataset):
        raise UserError(problem, where=named, expected="what ferbench.data.datasets.FaceDataset describes")
    if classes is not None and (dataset.labels != UNLABELED).any() and tuple(dataset.classes) != classes:
        raise UserError(
            f"the dataset's classes are {few(dataset.classes)}", where=named,
            expected=f"those of the experiment, in their order: {few(classes)}",
            fix="leave `classes` out of the dataset's config, and map names with `rename`",
        )  # fmt: skip
    _read_one(dataset, named)
    return dataset


def _read_one(dataset: FaceDataset, named: str) -> None:
    first: UnreadableImage | None = None
    chosen = np.unique(np.linspace(0, max(len(dataset) - 1, 0), min(TRIED, len(dataset))).astype(np.int64))
    for index in chosen.tolist():
        try:
            read_image(dataset, index)
        except UnreadableImage as error:
            first = first or error
        else:
            return
    if first is not None:
        raise UserError(
            f"no image can be read: {len(chosen)} of {len(dataset)} were tried, the first was {first}", where=named,
            expected="images where the dataset looks for them",
            fix="check the folder of the images; python tools/check_data.py CONFIG lists every unreadable one",
        )  # fmt: skip


def read_image(dataset: FaceDataset, index: int) -> np.ndarray:
    """Item ``index`` as uint8 RGB [H, W, 3].

    Raises:
        UnreadableImage: see `FaceDataset.read`.
        UserError: the dataset gives something else.
    """
    image: Any = dataset.read(index)
    if (
        isinstance(image, np.ndarray)
        and image.dtype == np.uint8
        and image.ndim == 3
        and image.shape[2] == 3
        and image.size
    ):
        return image
    raise UserError(
        f"the dataset {dataset.name!r} gives {described(image)} as an image", where=dataset.where(index),
        expected="uint8 of shape (height, width, 3), RGB", fix="convert it in the dataset's `read`",
    )  # fmt: skip


def problems(dataset: FaceDataset) -> list[str]:
    """What is wrong with labels, label distributions, groups and frame numbers; each one sentence."""
    labels, count = dataset.labels, len(dataset.classes)
    limit, grey = getattr(dataset, "max_pixels", 1), getattr(dataset, "grayscale", False)
    if type(limit) is not int or limit < 1 or not isinstance(grey, bool):
        return [
            f"max_pixels is {shortened(limit)} and grayscale {shortened(grey)}, expected a number and True or False"
        ]
    if not (isinstance(labels, np.ndarray) and labels.ndim == 1 and labels.dtype.kind == "i"):
        return [f"labels are {described(labels)}, expected signed integers of one dimension"]
    if len(labels) != len(dataset):
        return [f"there are {len(labels)} labels of {len(dataset)} images"]
    found = []
    outside = np.flatnonzero((labels < UNLABELED) | (labels >= count))
    if len(outside):
        i = int(outside[0])
        found.append(
            f"{len(outside)} labels are out of range, first {labels[i]} of {dataset.where(i)}; there are {count} classes"
        )
    if dataset.targets is not None:
        found += _target_problems(dataset, dataset.targets)
    for name in ("groups", "tracks", "frames"):
        values = getattr(dataset, name)
        if values is not None and (
            np.shape(values) != (len(dataset),) or np.asarray(values).dtype.kind not in "iu"
        ):
            found.append(f"{name} are {described(values)}, expected {len(dataset)} integers")
    return found


def _target_problems(dataset: FaceDataset, targets: np.ndarray) -> list[str]:
    expected = (len(dataset), len(dataset.classes))
    if np.shape(targets) != expected:
        return [f"label distributions have the shape {np.shape(targets)}, expected {expected}"]
    labeled = dataset.labels >= 0
    good = (targets >= 0).all(axis=1) & np.isclose(targets.sum(axis=1), 1, atol=1e-4)  # NaN is neither
    bad = np.flatnonzero(labeled & ~good)
    return (
        [f"{len(bad)} label distributions do not add up to 1, first {dataset.where(int(bad[0]))}"]
        if len(bad)
        else []
    )
