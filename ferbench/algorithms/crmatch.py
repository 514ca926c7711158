"""CRMatch."""

from __future__ import annotations

from typing import Any

from ferbench.algorithms.matching import Matching
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class CRMatch(Matching):
    """Invariant classes, equivariant features (Fan et al. 2021, arXiv 2112.05825).

    ``L = L_x + lambda_u * mean([max p >= threshold] * H(argmax p, p_strong)) + distance * L_d + rotation * L_rot``: FixMatch
    with `FeatureDistance` and `RotationTerm`. What is rotated here are the weak views, each by one random angle; public
    code rotates B further images by all four.

    Args:
        threshold: fixed confidence threshold.
        distance: weight of the distance between weak and strong features.
        rotation: weight of the rotation term; 0: no such head.
        weak_gradient: see `FeatureDistance`.
        parts: any argument of `Matching`.
    """

    def __init__(
        self,
        threshold: float = 0.95,
        distance: float = 1.0,
        rotation: float = 1.0,
        weak_gradient: bool = True,
        **parts: Any,
    ):
        terms = [dict(type="FeatureDistance", weight=distance, weak_gradient=weak_gradient)]
        if rotation:
            terms.append(dict(type="RotationTerm", view="weak", weight=rotation))
        rule = dict(type="FixedThreshold", threshold=threshold)
        super().__init__(threshold=rule, **{"terms": terms, **parts})
