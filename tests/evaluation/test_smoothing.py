"""Smoothing over frames: by hand, against a double loop, over batches and processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given
from hypothesis import strategies as st

from ferbench.data.datasets.base import Concat, FaceDataset, Subset
from ferbench.evaluation.predictions import Predictions
from ferbench.evaluation.smoothing import has_frames, smooth_over_frames, smoothed_frames


class Frames(FaceDataset):
    classes = ("Neutral", "Anger", "Disgust")

    def __init__(self, tracks, frames, groups=None):
        self.tracks, self.frames = np.asarray(tracks, np.int32), np.asarray(frames, np.int32)
        self.groups = np.asarray(tracks if groups is None else groups, np.int32)
        self.group_names = [f"video{i}" for i in range(self.groups.max(initial=0) + 1)]
        self.labels = np.zeros(len(self.frames), np.int16)

    def item_id(self, index):
        return str(index)

    def read(self, index):
        raise AssertionError("not read here")


class Faces(Frames):
    """Pictures without an order."""

    def __init__(self, count):
        super().__init__([0] * count, [0] * count)
        self.tracks = self.frames = self.groups = None


def naive(probs, tracks, frames, window):
    found = np.empty(probs.shape)
    for i in range(len(probs)):
        near = [
            probs[j].astype(np.float64)
            for j in range(len(probs))
            if tracks[j] == tracks[i] and abs(int(frames[j]) - int(frames[i])) <= window // 2
        ]
        found[i] = np.sum(near, axis=0) / len(near)
    return found


def test_by_hand():
    """Two people of one video; of the first, frame 3 is missing. Window of 3: one frame to either side."""
    tracks = np.array([0, 0, 0, 0, 1, 1])
    frames = np.array([1, 2, 4, 5, 2, 3])
    probs = np.array([[1.0, 0.0], [0.5, 0.5], [0.25, 0.75], [0.75, 0.25], [0.0, 1.0], [0.5, 0.5]])
    found = smooth_over_frames(probs, tracks, frames, 3)
    assert found.tolist() == [
        [0.75, 0.25], [0.75, 0.25],  # frames 1 and 2; 3 is missing, and 4 is too far from 2
        [0.5, 0.5], [0.5, 0.5],
        [0.25, 0.75], [0.25, 0.75],  # frame 2 of the other person is no neighbour
    ]  # fmt: skip
    found = smooth_over_frames(probs, tracks, frames, 5)
    assert found[0].tolist() == [0.75, 0.25]  # 1, 2
    assert found[1].tolist() == [1.75 / 3, 1.25 / 3]  # 1, 2, 4
    assert found[2].tolist() == [0.5, 0.5]  # 2, 4, 5
    assert found[3].tolist() == [0.5, 0.5]  # 4, 5


@st.composite
def videos(draw):
    count = draw(st.integers(0, 40))
    whole = st.integers(0, 2**24)
    tracks = np.array(draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)), np.int32)
    frames = np.array(draw(st.lists(st.integers(-5, 25), min_size=count, max_size=count)), np.int32)
    probs = np.array(draw(st.lists(st.tuples(whole, whole, whole), min_size=count, max_size=count)))
    return probs.reshape(count, 3).astype(np.float32) / np.float32(2**24), tracks, frames


@given(videos(), st.integers(0, 8).map(lambda half: 2 * half + 1))
def test_as_a_double_loop(content, window):
    found = smooth_over_frames(*content, window)
    assert found.shape == content[0].shape
    np.testing.assert_array_equal(
        found, naive(*content, window)
    )  # multiples of 2^-24: sums are exact both ways


def test_small_probabilities():
    """Below 2^-9 they are rounded, by at most 2^-33."""
    rng = np.random.default_rng(0)
    probs = rng.dirichlet([0.05] * 8, 300).astype(np.float32)
    tracks, frames = np.arange(300) // 100, np.arange(300) % 100
    difference = smooth_over_frames(probs, tracks, frames, 31) - naive(probs, tracks, frames, 31)
    assert 0 < np.abs(difference).max() <= 2.0**-33
    alone = smooth_over_frames(probs, tracks, frames, 1)
    assert np.array_equal(alone.argmax(1), probs.argmax(1))


@pytest.mark.parametrize("window", [0, -3, 4])
def test_a_window_without_a_centre(window):
    with pytest.raises(ValueError, match="odd number of frames"):
        smooth_over_frames(np.ones((1, 2)), np.zeros(1, int), np.zeros(1, int), window)


def test_a_long_way_between_frames():
    """Large numbers of tracks and frames do not run over."""
    tracks, frames = (
        np.array([2**31 - 1, 0, 2**31 - 1], np.int32),
        np.array([2**31 - 1, 0, 2**31 - 3], np.int32),
    )
    probs = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    assert smooth_over_frames(probs, tracks, frames, 5).tolist() == [[0.5, 0.5]] * 3


def test_frames_of_subsets_and_of_several_sets():
    video = Frames([0, 0, 1, 1], [1, 3, 1, 2])
    both = Concat([video, Faces(2), Subset(video, np.array([3, 0]))])
    assert both.frames.tolist() == [1, 3, 1, 2, 0, 0, 2, 1]
    assert both.tracks.tolist() == [0, 0, 1, 1, 2, 3, 5, 4]  # nobody is in two parts; faces are alone
    assert has_frames(video)
    assert has_frames(both)
    assert not has_frames(Concat([Faces(2), Faces(1)]))


def test_groups_without_an_order_are_not_smoothed():
    people = Faces(4)
    people.groups = np.array([0, 0, 1, 1], np.int32)
    assert not has_frames(people)


COUNT, MISSING, WINDOW = 97, 13, 7


def sample():
    """Probabilities, and a dataset of three people in two videos, in no order; one image cannot be read."""
    rng = np.random.default_rng(0)
    tracks = rng.integers(0, 3, COUNT)
    frames = np.empty(COUNT, int)
    for track in range(3):
        mine = np.flatnonzero(tracks == track)
        frames[mine] = rng.choice(60, len(mine), replace=False)
    probs = rng.integers(0, 2**20, (COUNT, 3)).astype(np.float32) / np.float32(2**20)
    return torch.from_numpy(probs), Frames(tracks, frames, groups=tracks // 2)


def expected():
    probs, dataset = sample()
    read = np.flatnonzero(np.arange(COUNT) != MISSING)
    return dict(zip(
        read.tolist(), naive(probs.numpy()[read], dataset.tracks[read], dataset.frames[read], WINDOW).tolist(),
        strict=True,
    ))  # fmt: skip


def collect(order):
    probs, dataset = sample()
    predictions = Predictions(dataset)
    for batch in torch.from_numpy(order[order != MISSING]).split(20):
        predictions.update(probs[batch], batch)
    index, found = predictions.gather()
    smoothed = smoothed_frames(dataset, index, found, WINDOW)
    return dict(zip(index.tolist(), smoothed.tolist(), strict=True))


def test_batches_in_any_order():
    assert collect(np.arange(COUNT)) == expected()
    assert collect(np.random.default_rng(1).permutation(COUNT)) == expected()


def _worker(rank: int, folder: str, empty: bool) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    order = np.arange(COUNT * rank) if empty else np.arange(rank, COUNT, 2)
    torch.save(collect(order), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("empty", [False, True])
def test_two_processes(tmp_path, empty):
    """Each has seen half of the frames, or one all of them; each gets the whole result."""
    mp.start_processes(_worker, args=(str(tmp_path), empty), nprocs=2, start_method="fork")
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert first == second == expected()
