"""Which items each step sees: a pure function of (seed, stream, step), so that resuming at any step costs nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from ferbench.functional.randomness import derive_seed, uniforms

SAMPLERS = ("shuffled", "class_balanced")


class Permutations:
    """One permutation of ``size`` items per epoch, a function of the epoch and of what it is for.

    Args:
        size: items.
        purpose: names and numbers that make permutations independent.
    """

    def __init__(self, size: int, *purpose: str | int):
        self.size, self.purpose = size, purpose
        self._kept: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        """Permutations that are held at this moment."""
        return len(self._kept)

    def __getitem__(self, epoch: int) -> np.ndarray:
        """uint32 [size]."""
        if epoch not in self._kept:
            generator = np.random.default_rng(derive_seed("order", *self.purpose, epoch))
            # A batch spans few epochs; older permutations are never asked for again.
            self._kept = {e: p for e, p in self._kept.items() if e >= epoch - 1}
            order = np.arange(self.size, dtype=np.uint32)
            generator.shuffle(order)
            self._kept[epoch] = order
        return self._kept[epoch]

    def at(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Epoch and item, int64 each, at places of the endless sequence of permutations."""
        epochs, offsets = np.divmod(places, self.size)
        items = np.empty_like(offsets)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            items[here] = self[epoch][offsets[here]]
        return epochs, items


class EndlessSampler(Sampler[np.ndarray]):
    """Endless shuffled stream: one permutation of the set after the other, cut into global batches.

    Position p of the stream is item ``permutation(epoch)[p % size]`` with ``epoch = p // size``; step k covers the
    positions [k * batch, (k + 1) * batch), of which rank r takes its r-th equal slice. The world size only splits the
    batch, and starting at step k replays nothing.

    Args:
        size: items in the set.
        batch_size: items per step over all ranks; divisible by ``world``.
        seed: of the run.
        stream: name that makes the streams of one run independent (``labeled``, ``unlabeled``).
        rank, world: this process and the number of processes.
        start: first step to yield.

    Yields:
        int64 [batch_size / world, 2]: (epoch, item) per row.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        seed: int,
        stream: str,
        rank: int = 0,
        world: int = 1,
        start: int = 0,
    ):
        self.batch_size, self.seed, self.stream = batch_size, seed, stream
        self.rank, self.share, self.start = rank, batch_size // world, start
        self._permutations = Permutations(size, seed, stream)

    def __iter__(self) -> Iterator[np.ndarray]:
        step = self.start
        while True:
            yield self.keys(step)
            step += 1

    def keys(self, step: int) -> np.ndarray:
        """This rank's share of step ``step``."""
        return np.stack(self._permutations.at(self._places(step)), axis=1)

    def _places(self, step: int) -> np.ndarray:
        """Positions in the stream of this rank's share of a step."""
        first = step * self.batch_size + self.rank * self.share
        return np.arange(first, first + self.share, dtype=np.int64)


class ClassBalancedSampler(EndlessSampler):
    """Endless stream in which every class has the same share, as if each had a shuffled stream of its own.

    The stream is a sequence of rounds; each round holds every class once, in an order of its own. The k-th item of class c
    is ``permutation_c(k // n_c)[k % n_c]``: within a class no item comes again before all its others have come. A class
    without items takes no part. As for `EndlessSampler`, a position's item is a function of the position alone.

    Args:
        labels: class of each item of the set.
        further: as `EndlessSampler`.

    Yields:
        int64 [batch_size / world, 2]: (how often the item has been seen before, item) per row.
    """

    def __init__(
        self,
        labels: np.ndarray,
        batch_size: int,
        seed: int,
        stream: str,
        rank: int = 0,
        world: int = 1,
        start: int = 0,
    ):
        super().__init__(len(labels), batch_size, seed, stream, rank, world, start)
        self.classes = np.unique(labels)
        self._items = [np.flatnonzero(labels == c) for c in self.classes]
        self._within = [
            Permutations(len(items), seed, stream, "class", int(c))
            for c, items in zip(self.classes, self._items, strict=True)
        ]

    def keys(self, step: int) -> np.ndarray:
        """This rank's share of step ``step``."""
        rounds, slots = np.divmod(self._places(step), len(self.classes))
        chosen = self._orders(rounds)[np.arange(len(slots)), slots]
        keys = np.empty((len(slots), 2), np.int64)
        for c, (items, permutations) in enumerate(zip(self._items, self._within, strict=True)):
            here = chosen == c
            epochs, places = permutations.at(rounds[here])
            keys[here] = np.stack([epochs, items[places]], axis=1)
        return keys

    def _orders(self, rounds: np.ndarray) -> np.ndarray:
        """Order of the classes in each of some rounds, [rounds, classes]."""
        zeros = np.zeros_like(rounds)
        return uniforms(self.seed, rounds, zeros, f"class order {self.stream}", len(self.classes)).argsort(
            axis=1
        )
