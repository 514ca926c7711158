"""How a batch comes from a data-loading process: through shared memory, or, where there is too little of it, through a pipe.

torch puts each tensor of a batch into a file of ``/dev/shm``. A container has 64 MB of it by default, and where it is full
torch loses the batch in a thread of the worker, whose traceback nobody waits for: the training would wait for ever. So the
batches that are under way at a time are counted before the workers start; and a worker that finds no room all the same (other
programs use it, too) sends the bytes instead. The tensors are the same either way, bit for bit.
"""

from __future__ import annotations

import os
import weakref
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.logging import print_log
from torch.utils.data import Dataset

SHARED_MEMORY = "/dev/shm"
SHARE = 0.9  # of what is free, to be used at most
SMALL = 1 << 16  # bytes of a batch beside its images
PREFETCH = 4  # batches that each worker is ahead


class Transport(NamedTuple):
    """What was chosen.

    Attributes:
        prefetch: batches that each worker is ahead.
        shared: whether through shared memory.
    """

    prefetch: int
    shared: bool


_reserved: dict[int, int] = {}  # bytes by loader, of those that are alive
_room = 0  # bytes there were when there was no loader
_told: set[str] = set()


def free_shared_memory() -> int | None:
    """Bytes that are free in ``/dev/shm``; None where there is no such folder."""
    try:
        found = os.statvfs(SHARED_MEMORY)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def choose(batch: int, workers: int) -> Transport:
    """How the batches of a loader come here; its log line says so where it is not as usual.

    Args:
        batch: bytes of a batch.
        workers: processes of the loader.
    """
    global _room
    free = free_shared_memory() if workers else None
    if free is None:
        return Transport(PREFETCH, True)
    if not _reserved:
        _room = free
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    left = int(_room * SHARE) // processes - sum(_reserved.values())
    left = max(left, 0)
    for prefetch in (PREFETCH, 2, 1):
        if need(batch, workers, prefetch) <= left:
            break
    else:
        prefetch = 0
    if prefetch == PREFETCH:
        return Transport(PREFETCH, True)
    how = (
        f"each is at most {prefetch} ahead instead of {PREFETCH}"
        if prefetch
        else "the images come through pipes, which is slower"
    )
    text = (
        f"{SHARED_MEMORY} is small: data-loading processes ({workers}) with batches of {batch / 1e6:.1f} MB would need "
        f"{need(batch, workers, PREFETCH) / 1e6:.0f} MB of {left / 1e6:.0f} MB that are left for them; {how}. "
        "Results are the same. In Docker: --shm-size=8g"
    )
    if text not in _told:  # a loader is made for each validation
        _told.add(text)
        print_log(text, logger="current", level=30)
    return Transport(prefetch or 2, prefetch > 0)


def need(batch: int, workers: int, prefetch: int) -> int:
    """Bytes under way at a time: each worker's, and the two that the training has in hand."""
    return (batch + SMALL) * (workers * prefetch + 2)


def reserve(loader: object, size: int) -> None:
    """Count the bytes of a loader as used while it lives."""
    key = id(loader)
    _reserved[key] = size
    weakref.finalize(loader, _reserved.pop, key, None)


class Sent(Dataset):
    """A data set whose tensors leave a worker in a form that cannot get lost.

    Args:
        dataset: makes batches.
        shared: whether shared memory is to be tried.
    """

    def __init__(self, dataset: Dataset, shared: bool):
        self.dataset, self.shared = dataset, shared

    def __getitem__(self, key: Any) -> Any:
        batch = self.dataset[key]
        if self.shared:
            try:
                return _map(batch, torch.Tensor, lambda tensor: tensor.share_memory_())
            except RuntimeError:  # no room; where only some tensors had any, theirs is given back with them
                pass
        return _map(batch, torch.Tensor, lambda tensor: _Bytes(tensor.numpy()))


class _Bytes(NamedTuple):
    """A tensor as it goes through a pipe."""

    array: np.ndarray


def received(batch: Any) -> Any:
    """What `Sent` was given."""
    return _map(batch, _Bytes, lambda sent: torch.from_numpy(sent.array))


def _map(value: Any, kind: type, change: Any) -> Any:
    if isinstance(value, kind):
        return change(value)
    return {k: _map(v, kind, change) for k, v in value.items()} if isinstance(value, dict) else value
