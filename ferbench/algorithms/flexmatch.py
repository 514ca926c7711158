"""FlexMatch."""

from __future__ import annotations

from typing import Any

from ferbench.algorithms.matching import Matching
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class FlexMatch(Matching):
    """Per-class thresholds that grow as a class is learnt (Zhang et al. 2021, arXiv 2110.08263).

    The classes are measured against the most frequent pseudo-label, so head classes keep the full threshold.

    Args:
        threshold: P, the threshold of the best-learnt class.
        warmup: count the items without a record while they are the largest group.
        parts: any argument of `Matching`.
    """

    def __init__(self, threshold: float = 0.95, warmup: bool = True, **parts: Any):
        super().__init__(threshold=dict(type="FlexThreshold", threshold=threshold, warmup=warmup), **parts)
