"""Which items each step sees: a pure function of (seed, stream, step), so that resuming at any step costs nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from ferbench.data.randomness import derive_seed


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
        self.size, self.batch_size, self.seed, self.stream = size, batch_size, seed, stream
        self.rank, self.share, self.start = rank, batch_size // world, start
        self._permutations: dict[int, np.ndarray] = {}

    def __iter__(self) -> Iterator[np.ndarray]:
        step = self.start
        while True:
            yield self.keys(step)
            step += 1

    def keys(self, step: int) -> np.ndarray:
        """This rank's share of step ``step``."""
        first = step * self.batch_size + self.rank * self.share
        epochs, offsets = np.divmod(np.arange(first, first + self.share, dtype=np.int64), self.size)
        items = np.empty_like(offsets)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            items[here] = self._permutation(epoch)[offsets[here]]
        return np.stack([epochs, items], axis=1)

    def _permutation(self, epoch: int) -> np.ndarray:
        if epoch not in self._permutations:
            generator = np.random.default_rng(derive_seed("order", self.seed, self.stream, epoch))
            # A batch spans few epochs; older permutations are never asked for again.
            self._permutations = {e: p for e, p in self._permutations.items() if e >= epoch - 1}
            order = np.arange(self.size, dtype=np.uint32)
            generator.shuffle(order)
            self._permutations[epoch] = order
        return self._permutations[epoch]
