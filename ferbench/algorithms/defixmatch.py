"""DeFixMatch."""

from __future__ import annotations

from typing import Any

from ferbench.algorithms.matching import Matching
from ferbench.arguments import NONNEGATIVE, check_numbers
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class DeFixMatch(Matching):
    """FixMatch without bias: its consistency loss on labeled images is subtracted (Schmutz et al. 2023, arXiv 2203.07512).

    ``L = (H(y, p_weak) + H(y, p_strong)) / 2 + lambda_u * (L_u(unlabeled) - L_u(labeled))``. Needs a strong view of the
    labeled images too.

    Args:
        threshold: fixed confidence threshold, for both.
        lambda_u: weight of both consistency losses.
        parts: any other argument of `Matching`.
    """

    def __init__(self, threshold: float = 0.95, lambda_u: float = 0.5, **parts: Any):
        check_numbers(self, NONNEGATIVE, lambda_u=lambda_u)
        terms = [
            dict(type="LabeledStrongLoss", weight=0.5),
            dict(type="LabeledConsistency", weight=-lambda_u, threshold=threshold),
        ]
        super().__init__(
            threshold=dict(type="FixedThreshold", threshold=threshold),
            lambda_u=lambda_u,
            **{"lambda_x": 0.5, "terms": terms, **parts},
        )
