"""CoMatch."""

from __future__ import annotations

from typing import Any

from ferbench.algorithms.matching import Matching
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class CoMatch(Matching):
    """Pseudo-labels and embeddings teach each other through a graph (Li et al. 2021, arXiv 2011.11183).

    Weak probabilities are aligned by a queue of batch means, then smoothed over similar items of a memory;
    ``L = L_x + lambda_u * mean([max p >= threshold] * H(p, p_strong)) + weight * L_c``, L_c the contrast of the graph of
    pseudo-labels with the graph of two strong views' embeddings.

    Args:
        threshold: fixed confidence threshold.
        temperature: of the embeddings' similarity, in memory and graph.
        alpha: how much of its own pseudo-label an item keeps.
        length: batches of the alignment's queue.
        dim: dimensions of the embedding.
        memory: any other argument of `MemorySmoothing` (``batches``, ``start``).
        contrast: any other argument of `GraphContrast` (``weight``, ``threshold``).
        parts: any other argument of `Matching`.
    """

    def __init__(
        self,
        threshold: float = 0.95,
        temperature: float = 0.2,
        alpha: float = 0.9,
        length: int = 32,
        dim: int = 128,
        memory: dict | None = None,
        contrast: dict | None = None,
        **parts: Any,
    ):
        shared = dict(temperature=temperature, dim=dim)
        smoothing = dict(type="MemorySmoothing", alpha=alpha, **shared, **(memory or {}))
        defaults = dict(
            alignment=[dict(type="QueueAlignment", length=length), smoothing],
            target=dict(type="SoftTarget", temperature=1.0),
            terms=[dict(type="GraphContrast", **shared, **(contrast or {}))],
            embedding="projection",
        )
        super().__init__(threshold=dict(type="FixedThreshold", threshold=threshold), **{**defaults, **parts})
