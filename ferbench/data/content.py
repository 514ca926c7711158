"""What the images of a data set hold, in one hash: two sets of equal names and labels but other pixels are not equal."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ferbench.core.hashing import sha256
from ferbench.core.plain import spelled_out
from ferbench.data.datasets.base import FaceDataset
from ferbench.data.io import UnreadableImage
from ferbench.registry import DATASETS

ALL_ITEMS = 1 << 15
"""Of a set of at most so many items, every stored image is hashed."""
MAX_IDS = 1 << 16
"""Item ids that identify a data set of millions."""
#: Options of data sets that say where they lie, how they are called or how fast they are read, beside paths.
_NO_PROTOCOL = ("name", "classes", "refresh", "rebuild_index", "allow_outside")
SAMPLE = 1 << 11
"""Items hashed of a larger set, and of one whose images can only be had by decoding them."""


def positions(count: int, cheap: bool = True) -> np.ndarray:
    """Which of ``count`` items are hashed: int64, ascending, a pure function of its arguments.

    Args:
        count: items of the set.
        cheap: whether an item is had without decoding it.
    """
    if count <= (ALL_ITEMS if cheap else SAMPLE):
        return np.arange(count)
    return (
        np.arange(SAMPLE, dtype=np.int64) * (count - 1) // (SAMPLE - 1)
    )  # the first, the last, evenly between


def identity(dataset: FaceDataset) -> dict[str, Any]:
    """Hash of what the images hold, and of how many.

    Args:
        dataset: its items are hashed in its own order, as `FaceDataset.content` gives them; one that cannot be read counts
            as such. Neither places nor times of files enter, so a copy on another machine has the same hash.

    Returns:
        ``images_sha256``; for a sample also ``images_sampled``, how many, and, where the set knows the sizes of all its
        images, ``sizes_sha256``.
    """
    chosen = positions(len(dataset), cheap=type(dataset).content is not FaceDataset.content)
    digest = hashlib.sha256()
    for index in chosen.tolist():
        try:
            content = dataset.content(index)
        except UnreadableImage:
            digest.update(b"unreadable\n")
        else:
            digest.update(b"%d\n" % len(content))
            digest.update(content)
    found: dict[str, Any] = {"images_sha256": digest.hexdigest()}
    if len(chosen) < len(dataset):
        found["images_sampled"] = len(chosen)
        sizes = dataset.sizes()
        if sizes is not None:
            found["sizes_sha256"] = sha256(np.ascontiguousarray(sizes, "<i8").tobytes())
    return found


def described(config: Mapping[str, Any], dataset: FaceDataset, labeled: bool) -> dict[str, Any]:
    """A data set as the protocol of a run names it: type and options without places, and hashes of what it holds, in its
    order.

    Args:
        config: of the data set.
        dataset: what was built from it.
        labeled: whether its labels count.
    """
    count = len(dataset)
    chosen = (
        np.arange(count) if count <= MAX_IDS else np.linspace(0, count - 1, MAX_IDS).round().astype(np.int64)
    )
    found = {
        **spelled_out(DATASETS, config, _NO_PROTOCOL),
        "images": count,
        "ids_sha256": sha256("\n".join(dataset.item_ids(chosen))),
        **identity(dataset),
    }
    if labeled:
        found["class_counts"] = counts_by_name(dataset, dataset.classes)
        found["labels_sha256"] = sha256(np.ascontiguousarray(dataset.labels, "<i2").tobytes())
        if dataset.targets is not None:  # rounded: the last bit of a quotient is the machine's
            found["targets_sha256"] = sha256(np.round(dataset.targets * 1e4).astype("<i4").tobytes())
    return found


def counts_by_name(dataset: FaceDataset, classes: Sequence[str]) -> dict[str, int]:
    """Class -> images with this label; empty where no label is known."""
    known = dataset.labels[dataset.labels >= 0]
    if not len(known):
        return {}
    return dict(zip(classes, np.bincount(known, minlength=len(classes)).tolist(), strict=True))
