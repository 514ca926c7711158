"""DTM."""

from __future__ import annotations

import math
from typing import Any

from ferbench.algorithms.adacm import AdaCM
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class DTM(AdaCM):
    """Dynamic Threshold Module (Yu et al. 2023, arXiv 2303.08617), with the constants of Ada-CM (arXiv 2203.12341).

    ``T_c(e) = max(floor, beta * mu_c(e) / (1 + gamma^-e))``, see `DynamicThreshold`.

    Full recipe: that of `AdaCM`. The paper's own formula, constants and loss weights could not be checked, so these are
    our defaults, and would follow the paper if they could; `AdaCM` stays what its authors' code is.
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
        if threshold_only:
            parts = dict(weak_views=("weak",), lambda_x=1.0, terms=()) | parts
        super().__init__(beta, gamma, floor, rule, **parts)
