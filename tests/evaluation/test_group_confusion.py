"""Confusion matrices by video: against scikit-learn, over batches and processes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from sklearn.metrics import confusion_matrix

from ferbench.evaluation.metrics import GroupConfusion, has_videos

CLASSES = ("Neutral", "Anger", "Disgust")
FRAMES = 97


def sample():
    """Logits, labels (some -1), and a dataset of five videos, one of which has no labeled frame."""
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 4, FRAMES).astype(np.int32)
    labels = rng.integers(-1, 3, FRAMES)
    groups[:5], labels[:5] = 4, -1
    dataset = SimpleNamespace(groups=groups, group_names=list("abcde"), classes=CLASSES)
    return torch.from_numpy(rng.normal(size=(FRAMES, 3))), torch.from_numpy(labels), dataset


def expected():
    logits, labels, dataset = sample()
    predicted = logits.argmax(1).numpy()
    found = {}
    for number, name in enumerate("abcd"):
        mine = (dataset.groups == number) & (labels.numpy() >= 0)
        matrix = confusion_matrix(labels.numpy()[mine], predicted[mine], labels=range(3))
        found[name] = [[t, p, int(matrix[t, p])] for t in range(3) for p in range(3) if matrix[t, p]]
    return found


def count(order):
    logits, labels, dataset = sample()
    counts = GroupConfusion(dataset)
    for batch in torch.from_numpy(order).split(20):
        counts.update(logits[batch], labels[batch], batch)
    return counts


def test_batches_in_any_order():
    assert count(np.arange(FRAMES)).compute() == expected()
    assert count(np.random.default_rng(1).permutation(FRAMES)).compute() == expected()


def _worker(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save(count(np.arange(rank, FRAMES, 2)).compute(), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes(tmp_path):
    mp.start_processes(_worker, args=(str(tmp_path),), nprocs=2, start_method="fork")
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt", weights_only=True) == expected()


@pytest.mark.parametrize(("groups", "copies", "videos"), [
    (None, False, False), ([0, 0, 1], False, True), ([0, 1, 2], False, False), ([0, 0, 1], True, False),
])  # fmt: skip
def test_what_counts_as_videos(groups, copies, videos):
    class Faces(SimpleNamespace):
        def __len__(self):
            return 3

    own = None if groups is None else np.array(groups)
    assert has_videos(Faces(groups=own, groups_are_copies=copies)) == videos
