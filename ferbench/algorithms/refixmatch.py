"""ReFixMatch."""

from __future__ import annotations

from typing import Any

from ferbench.algorithms.matching import Matching
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class ReFixMatch(Matching):
    """FixMatch, and soft targets for the items below the threshold (Nguyen & Yang 2023, arXiv 2308.07509).

    ``L = L_x + lambda_u * L_u + low_confidence * mean([max p < threshold] * KL(p^(T) || p_strong^(T)))``, see
    `LowConfidenceDivergence`.

    Args:
        threshold: fixed confidence threshold.
        temperature: T.
        low_confidence: weight of the term.
        parts: any other argument of `Matching`.
    """

    def __init__(
        self, threshold: float = 0.95, temperature: float = 0.5, low_confidence: float = 1.0, **parts: Any
    ):
        term = dict(type="LowConfidenceDivergence", weight=low_confidence, temperature=temperature)
        super().__init__(
            threshold=dict(type="FixedThreshold", threshold=threshold), **{"terms": [term], **parts}
        )
