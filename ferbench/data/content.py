"""What the images of a data set hold, in one hash: two sets of equal names and labels but other pixels are not equal."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from ferbench.data.datasets.base import FaceDataset
from ferbench.data.io import UnreadableImage

ALL_ITEMS = 1 << 15
"""Of a set of at most so many items, every stored image is hashed."""
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
            found["sizes_sha256"] = hashlib.sha256(np.ascontiguousarray(sizes, "<i8").data).hexdigest()
    return found
