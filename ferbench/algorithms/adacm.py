"""Ada-CM."""

from __future__ import annotations

import math
from typing import Any

from ferbench.algorithms.matching import Matching
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class AdaCM(Matching):
    """Adaptive confidence margin per class and epoch (Li et al., CVPR 2022, arXiv 2203.12341).

    ``T_c(e) = max(floor, beta * mu_c(e) / (1 + gamma^-e))``, see `DynamicThreshold`. Two weak views are averaged; the
    items below the margin pull their two weak features together; ``L = 0.5 * L_x + 1.0 * L_u + 0.1 * L_low``.

    Every constant is that of the authors' public code, and stays so; `DTM` is the same recipe with constants that are our
    choice. The rest of their training (ResNet-18 of MS-Celeb-1M, dropout and L2 norm before the linear layer, Adam
    without schedule, 20 epochs of 800 iterations) belongs to the protocol: ``model.head=dict(dropout=0.5,
    normalize=True)`` and so on.

    Args:
        beta, gamma, floor: of the threshold.
        rule: any other argument of `DynamicThreshold` (``source``, ``scope``, ``weights``, ``view``, ...).
        parts: any other argument of `Matching`.
    """

    def __init__(
        self,
        beta: float = 0.97,
        gamma: float = math.e,
        floor: float = 0.8,
        rule: dict | None = None,
        **parts: Any,
    ):
        threshold = dict(beta=beta, gamma=gamma, floor=floor, **{"type": "DynamicThreshold", **(rule or {})})
        low_confidence = dict(type="LowConfidenceContrast", weight=0.1, temperature=0.07)
        recipe: dict[str, Any] = dict(weak_views=("weak", "weak2"), lambda_x=0.5, terms=[low_confidence])
        super().__init__(threshold=threshold, **recipe | parts)
