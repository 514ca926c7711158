"""FixMatch."""

from __future__ import annotations

from typing import Any

from ferbench.algorithms.matching import Matching
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class FixMatch(Matching):
    """A fixed confidence threshold for all classes (Sohn et al. 2020, arXiv 2001.07685).

    ``L = L_x + lambda_u * mean([max p >= threshold] * H(argmax p, p_strong))``

    Args:
        threshold: fixed confidence threshold.
        temperature: None for hard pseudo-labels; else targets are ``softmax(weak logits / temperature)``.
        parts: any argument of `Matching`.
    """

    def __init__(self, threshold: float = 0.95, temperature: float | None = None, **parts: Any):
        target = (
            dict(type="HardTarget")
            if temperature is None
            else dict(type="SoftTarget", temperature=temperature)
        )
        super().__init__(
            threshold=dict(type="FixedThreshold", threshold=threshold), **{"target": target, **parts}
        )
