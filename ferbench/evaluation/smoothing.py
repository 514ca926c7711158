"""Predictions for frames of videos, smoothed over the frames around them."""

from __future__ import annotations

import numpy as np

from ferbench.data.datasets.base import FaceDataset
from ferbench.evaluation.metrics import has_videos

WINDOW = (
    31  # frames; about a second of Aff-Wild2, whose videos have 30 a second. Our default, chosen on no data.
)
_UNIT = 2.0**-32


def smooth_over_frames(probs: np.ndarray, tracks: np.ndarray, frames: np.ndarray, window: int) -> np.ndarray:
    """Centred moving average of the class probabilities of each track.

    A row becomes the mean of those rows of its track whose frame number differs from its own by at most ``window // 2``.
    At the ends of a track, and where frames are missing, fewer rows are averaged; none is filled in.

    Sums are taken of whole multiples of 2^-32 (float32 probabilities from 1/512 on are such), and are therefore exact: the
    length of the data and the order of the rows do not change a bit, and two classes with equal sums stay equal.

    Args:
        probs: [N, C] in [0, 1].
        tracks: [N] integers; one person in one video.
        frames: [N] integers; number of the frame within its video, in any order.
        window: number of frames, odd.

    Returns:
        float64 [N, C].

    Raises:
        ValueError: the window is not odd, or not positive.
    """
    if window < 1 or window % 2 == 0:
        raise ValueError(f"a centred window has an odd number of frames, not {window}")
    if not len(probs):
        return np.zeros(probs.shape, np.float64)
    half = window // 2
    first = int(frames.min())
    # All tracks on one line of frame numbers, too far from each other for a window to reach from one into the next.
    place = tracks.astype(np.int64) * (int(frames.max()) - first + window) + (frames - first)
    order = np.argsort(place, kind="stable")
    line = place[order]
    units = np.rint(probs[order].astype(np.float64) / _UNIT).astype(np.int64)
    total = np.concatenate([np.zeros((1, probs.shape[1]), np.int64), units.cumsum(axis=0)])
    start = np.searchsorted(line, place - half, side="left")
    stop = np.searchsorted(line, place + half, side="right")
    return (total[stop] - total[start]) * _UNIT / (stop - start)[:, None]


def smoothed_frames(
    dataset: FaceDataset, index: np.ndarray, probs: np.ndarray, window: int = WINDOW
) -> np.ndarray:
    """Smooth the class probabilities of a dataset's frames, see `smooth_over_frames`.

    Args:
        dataset: with frame numbers, see `has_frames`.
        index: [M] places in it that were seen.
        probs: [M, C].
        window: number of frames, odd.

    Returns:
        float64 [M, C].
    """
    assert dataset.tracks is not None
    assert dataset.frames is not None
    return smooth_over_frames(probs, dataset.tracks[index], dataset.frames[index], window)


def has_frames(dataset: FaceDataset) -> bool:
    """Whether images of a dataset are frames of videos whose order is known."""
    return has_videos(dataset) and dataset.frames is not None
