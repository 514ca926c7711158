"""From datasets to batches: workers decode once, make all views, and hand over uint8."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ferbench.arguments import COUNT
from ferbench.core import stopping
from ferbench.core.process import available_cores
from ferbench.data import transport
from ferbench.data.datasets.base import FaceDataset
from ferbench.data.datasets.opening import read_image
from ferbench.data.io import UnreadableImage
from ferbench.data.preprocess import Preprocess
from ferbench.data.samplers import SAMPLERS, ClassBalancedSampler, EndlessSampler
from ferbench.data.views import Views
from ferbench.distributed import rank, world_size
from ferbench.errors import UserError, nearest
from ferbench.functional.randomness import derive_seed

REPLACEMENTS = 16
# Images of one stream that a process may be asked for in a step. Three views of them at 112 px are 2 GB, for each of the many
# batches that are loaded ahead: more than any run needs, and a mistyped number would fill the memory without a word.
LARGEST_SHARE = 16_384
MU = 7  # FixMatch's
PATIENCE = 540.0  # seconds without a batch after which a training ends; other processes wait for it for 600


class TrainBatches(Dataset):
    """Makes one rank's share of a training batch from the sampler's keys.

    An unreadable image is replaced by another item of the set, chosen by a hash of its index (so the same on every
    machine and at every resume), and reported in the batch; rules get the index that was actually used.

    Args:
        dataset: the images.
        views: makes the views.
        names: views to make.
        seed: of the run.
        reveal: key under which labels are handed over: ``labels`` for the labeled stream; ``hidden_labels`` for the
            unlabeled one (for diagnostics only).
    """

    def __init__(self, dataset: FaceDataset, views: Views, names: Sequence[str], seed: int, reveal: str):
        self.dataset, self.views, self.names, self.seed, self.reveal = (
            dataset,
            views,
            tuple(names),
            seed,
            reveal,
        )

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, keys: np.ndarray) -> dict[str, Any]:
        try:
            return self._make(keys)
        except UserError as error:  # raised in a worker it would reach the user inside a traceback
            return {"error": error}

    def _make(self, keys: np.ndarray) -> dict[str, Any]:
        epochs, indices = keys[:, 0], keys[:, 1].copy()
        images, unreadable = [], []
        for row, index in enumerate(indices.tolist()):
            image, used, reasons = self._read(index)
            images.append(image)
            unreadable += reasons
            indices[row] = used
        rendered = self.views.render(images, self.names, self.seed, epochs, indices)
        batch: dict[str, Any] = {
            "images": {name: torch.from_numpy(array) for name, array in rendered.items()},
            "index": torch.from_numpy(indices),
            self.reveal: torch.from_numpy(self.dataset.labels[indices].astype(np.int64)),
            "unreadable": unreadable,
        }
        if self.dataset.targets is not None:
            batch["targets"] = torch.from_numpy(self.dataset.targets[indices])
        return batch

    def size_of(self, rows: int) -> int:
        """Bytes of a batch's images."""
        return rows * len(self.names) * self.views.size**2 * 3

    def _read(self, index: int) -> tuple[np.ndarray, int, list[tuple[int, str]]]:
        failed: list[tuple[int, str]] = []
        candidate = index
        for attempt in range(REPLACEMENTS):
            try:
                return read_image(self.dataset, candidate), candidate, failed
            except UnreadableImage as error:
                failed.append((candidate, str(error)))
                candidate = derive_seed("replacement", index, attempt) % len(self.dataset)
        raise UserError(
            f"{REPLACEMENTS} images of {self.dataset.name!r} in a row could not be read",
            where=failed[-1][1],
            fix="python tools/check_data.py CONFIG lists all unreadable files",
        )


class EvalBatches(Dataset):
    """Prepares evaluation images; unreadable ones are left out and reported."""

    def __init__(self, dataset: FaceDataset, preprocess: Preprocess):
        self.dataset, self.size, self.prepare = dataset, preprocess.size, preprocess.prepare

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, indices: np.ndarray) -> dict[str, Any]:
        images = np.empty((len(indices), self.size, self.size, 3), np.uint8)
        used: list[int] = []
        unreadable: list[tuple[int, str]] = []
        for index in indices.tolist():
            try:
                images[len(used)] = self.prepare(read_image(self.dataset, index))
                used.append(index)
            except UnreadableImage as error:
                unreadable.append((index, str(error)))
        return {
            "images": torch.from_numpy(images[: len(used)]),
            "labels": torch.from_numpy(self.dataset.labels[used].astype(np.int64)),
            "index": torch.tensor(used, dtype=torch.int64),
            "unreadable": unreadable,
        }

    def size_of(self, rows: int) -> int:
        """Bytes of a batch's images."""
        return rows * self.size**2 * 3


def check_batch(dataset: FaceDataset, batch_size: Any, stream: str, processes: int | None = None) -> None:
    """Whether a stream can be cut into global batches.

    Args:
        dataset: of the stream.
        batch_size: images of a global batch.
        stream: its name.
        processes: that share a batch; None: those there are.

    Raises:
        UserError: no images, or a batch that is no positive number, cannot be split over the processes, or is too large for any
            memory (it may be larger than the data set, which then is gone through more than once in a step).
    """
    at = "train_dataloader.batch_size" + (" times unlabeled_dataloader.mu" if stream == "unlabeled" else "")
    if batch_size not in COUNT:
        raise UserError(
            f"the global batch of the {stream} stream is {batch_size!r}", where=at, expected=COUNT.words
        )
    if len(dataset) == 0:
        raise UserError(f"the {stream} stream has no images", where=dataset.name)
    world = processes or world_size()
    if batch_size % world:
        raise UserError(
            f"the global batch of {batch_size} {stream} images cannot be split over {world} processes",
            where=at,
            expected=f"a multiple of {world}",
        )
    if batch_size > LARGEST_SHARE * world:
        raise UserError(
            f"the global batch of the {stream} stream is {batch_size} images, which no memory holds",
            where=at,
            expected=f"at most {LARGEST_SHARE} for each process",
            fix="correct the number",
        )


def check_mu(loader: Mapping[str, Any] | None) -> int:
    """Unlabeled images per labeled image of a step, from ``unlabeled_dataloader``.

    Raises:
        UserError: it is no positive whole number.
    """
    mu = (loader or {}).get("mu", MU)
    if mu not in COUNT:
        raise UserError(f"unlabeled_dataloader.mu is {mu!r}", expected=COUNT.words)
    return mu


def train_loader(
    batches: TrainBatches,
    batch_size: int,
    stream: str,
    start: int,
    workers: int | None,
    sampler: str = "shuffled",
) -> Iterator[dict[str, Any]]:
    """Endless batches of one stream, from step ``start`` on.

    Args:
        batches: dataset and views.
        batch_size: global; see `check_batch`.
        stream: ``labeled`` or ``unlabeled``.
        start: first step.
        workers: processes per rank; None: from the number of CPUs.
        sampler: ``shuffled``, or ``class_balanced``; see `check_sampler`.
    """
    place = (batch_size, batches.seed, stream, rank(), world_size(), start)
    keys = (
        ClassBalancedSampler(batches.dataset.labels, *place)
        if sampler == "class_balanced"
        else EndlessSampler(len(batches), *place)
    )
    return _Loader(batches, keys, workers, batch_size // world_size())


def check_sampler(sampler: Any) -> str:
    """The order of the labeled stream, from ``train_dataloader.sampler``.

    Raises:
        UserError: there is no such order.
    """
    if sampler not in SAMPLERS:
        raise UserError(
            f"train_dataloader.sampler is {sampler!r}",
            expected=" or ".join(SAMPLERS),
            fix=nearest(str(sampler), SAMPLERS),
        )
    return sampler


def eval_loader(batches: EvalBatches, batch_size: int, workers: int | None) -> Iterator[dict[str, Any]]:
    """This rank's share of an evaluation set: every image exactly once over all ranks, none repeated as padding."""
    mine = np.arange(rank(), len(batches), world_size())
    shares = [mine[i : i + batch_size] for i in range(0, len(mine), batch_size)]
    return batch_loader(batches, shares, workers)


def batch_loader(
    batches: TrainBatches | EvalBatches, shares: Sequence[np.ndarray], workers: int | None
) -> Iterator[dict[str, Any]]:
    """Start loading a data set from one end to the other; a training that is told to end may break it off.

    Args:
        batches: makes a batch of a share.
        shares: this process' part of the set, cut into batches.
        workers: processes; None: from the number of CPUs.
    """
    return stopping.breakable(_Loader(batches, shares, workers, max(map(len, shares), default=0)))


class _Loader:
    """An iterator over batches. Its workers run from the start on, before the first batch is asked for.

    Args:
        batches: makes a batch of a key.
        keys: of the batches.
        workers: processes; None: from the number of CPUs.
        rows: images of the largest batch.
    """

    def __init__(self, batches: TrainBatches | EvalBatches, keys: Any, workers: int | None, rows: int):
        self.workers = workers = default_workers() if workers is None else workers
        size = batches.size_of(rows)
        chosen = transport.choose(size, workers)
        if workers and chosen.shared:
            transport.reserve(self, transport.need(size, workers, chosen.prefetch))
        self.batches = iter(
            DataLoader(
                transport.Sent(batches, chosen.shared) if workers else batches,
                batch_size=None,  # the dataset makes whole batches
                collate_fn=_as_it_is,
                sampler=keys,
                num_workers=workers,
                prefetch_factor=chosen.prefetch if workers else None,
                pin_memory=torch.cuda.is_available(),
                worker_init_fn=_single_threaded,
                multiprocessing_context=_worker_context() if workers else None,
                timeout=PATIENCE if workers else 0,
            )
        )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        try:
            return transport.received(next(self.batches))
        except RuntimeError as error:
            if not str(error).startswith("DataLoader timed out"):
                raise
            raise _nothing_came(self.workers) from error


def _nothing_came(workers: int) -> UserError:
    free = transport.free_shared_memory()
    room = "" if free is None else f"; {transport.SHARED_MEMORY} has {free / 1e6:.0f} MB free"
    return UserError(
        f"{workers} data-loading processes have delivered nothing for {PATIENCE:g} s{room}",
        expected="a batch now and then",
        fix="see whether the disk or network drive of the images answers, and whether "
        f"{transport.SHARED_MEMORY} is full (in Docker: --shm-size=8g), or set num_workers of the dataloaders to 0; go on with "
        "--resume",
    )


def _as_it_is(batch: Any) -> Any:
    return batch


@contextmanager
def explaining_dead_workers() -> Iterator[None]:
    """Make a `UserError` of what is raised when a data-loading process dies.

    torch raises a RuntimeError in whatever line of the main thread the news arrives; before it, taking over a batch whose
    memory the dead process was to hand over may fail in any way that a connection can.
    """
    try:
        yield
    except (RuntimeError, OSError, EOFError) as error:
        frames = traceback.walk_tb(error.__traceback__)
        if not str(error).startswith("DataLoader worker (pid") and not any(
            frame.f_globals.get("__name__") == "multiprocessing.resource_sharer" for frame, _ in frames
        ):
            raise
        raise UserError(
            f"a data-loading process died: {str(error) or type(error).__name__}",
            expected="enough memory (also /dev/shm) for all of them",
            fix="go on with --resume; if it dies again, set num_workers of the dataloaders lower (0: none); in Docker, give it "
            "more shared memory (--shm-size=8g)",
        ) from error


def _worker_context() -> BaseContext | None:
    """How workers are started; None: as the system does it, where it does not fork."""
    if sys.platform in ("win32", "darwin"):
        return None
    from ferbench.data.forking import CheckedForkContext

    return CheckedForkContext()


def _single_threaded(worker: int) -> None:
    torch.set_num_threads(1)


def default_workers() -> int:
    """Loader processes per rank and stream: the cores of this process but one, shared by the local ranks, at most 16."""
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(16, available_cores() // local - 1))


def to_device(batch: Any, device: torch.device) -> Any:
    """Move every tensor of a nested batch, asynchronously where the source is pinned."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    return batch


def described(labeled: Mapping[str, Any], unlabeled: Mapping[str, Any] | None) -> dict[str, Any]:
    """The streams as the protocol of a run names them.

    Args:
        labeled, unlabeled: ``train_dataloader`` and ``unlabeled_dataloader`` of the config.
    """
    return {
        "batch_size": labeled["batch_size"],
        "sampler": labeled.get("sampler", "shuffled"),
        "mu": (unlabeled or {}).get("mu"),
    }
