"""FreeMatch."""

from __future__ import annotations

from typing import Any

from ferbench.algorithms.matching import Matching
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class FreeMatch(Matching):
    """Thresholds that follow the model's own confidence, and a fairness term (Wang et al. 2023, arXiv 2205.07246).

    ``T_c = tau * p_c / max p``, see `SelfAdaptiveThreshold`; ``L = L_x + lambda_u * L_u + fairness * L_f``, see `Fairness`.

    Args:
        momentum: of all running means.
        quantile: tau follows this quantile of the confidences; None: their mean.
        cap: upper bound of tau, or None.
        fairness: weight of the fairness term; 0: without it.
        parts: any other argument of `Matching`.
    """

    def __init__(
        self,
        momentum: float = 0.999,
        quantile: float | None = None,
        cap: float | None = None,
        fairness: float = 0.01,
        **parts: Any,
    ):
        rule = dict(type="SelfAdaptiveThreshold", momentum=momentum, quantile=quantile, cap=cap)
        terms = [dict(type="Fairness", weight=fairness, momentum=momentum)] if fairness else []
        super().__init__(threshold=rule, **{"terms": terms, **parts})
