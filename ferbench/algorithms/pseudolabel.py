"""Pseudo-Label."""

from __future__ import annotations

from typing import Any

from ferbench.algorithms.matching import Matching
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class PseudoLabel(Matching):
    """The weak view learns its own confident predictions (Lee 2013); no strong augmentation.

    ``L = L_x + lambda_u * ramp(it) * mean([max p >= threshold] * H(argmax p, p))``

    Batch-norm: unlabeled images pass apart from the labeled ones and stay out of the running statistics, as in common code.

    Args:
        threshold: fixed confidence threshold.
        ramp: fraction of the run over which lambda_u grows from 0.
        parts: any argument of `Matching`.
    """

    def __init__(self, threshold: float = 0.95, ramp: float = 0.4, **parts: Any):
        rule = dict(type="FixedThreshold", threshold=threshold)
        defaults = dict(prediction_view="weak", unlabeled_statistics=False)
        super().__init__(threshold=rule, ramp=ramp, **{**defaults, **parts})
