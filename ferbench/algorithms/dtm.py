"""DTM."""

from __future__ import annotations

import math
from typing import Any

from ferbench.algorithms.matching import Matching
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class DTM(Matching):
    """Dynamic Threshold Module (Yu et al. 2023, arXiv 2303.08617), with the constants of Ada-CM (arXiv 2203.12341).

    ``T_c(e) = max(floor, beta * mu_c(e) / (1 + gamma^-e))``, see `DynamicThreshold`.

    Full recipe: two weak views are averaged; the items below the threshold pull their two weak features together;
    ``L = 0.5 * L_x + 1.0 * L_u + 0.1 * L_low``. The paper's own constants could not be checked: these are our defaults.
    ``threshold_only=True`` is FixMatch with the dynamic threshold and nothing else (one weak view, no extra term,
    ``L = L_x + L_u``): the form in which a comparison isolates the threshold.

    Args:
        threshold_only: see above.
        beta, gamma, floor: of the threshold.
        rule: any other argument of `DynamicThreshold` (``source``, ``scope``, ``weights``, ``view``, ...).
        parts: any other argument of `Matching`.
    """

    def __init__(
        self,
        threshold_only: bool = False,
        beta: float = 0.97,
        gamma: float = math.e,
        floor: float = 0.8,
        rule: dict | None = None,
        **parts: Any,
    ):
        threshold = dict(type="DynamicThreshold", beta=beta, gamma=gamma, floor=floor, **(rule or {}))
        if not threshold_only:
            low_confidence = dict(type="LowConfidenceContrast", weight=0.1, temperature=0.07)
            parts = dict(weak_views=("weak", "weak2"), lambda_x=0.5, terms=[low_confidence]) | parts
        super().__init__(threshold=threshold, **parts)
