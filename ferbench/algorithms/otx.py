"""OTX."""

from __future__ import annotations

from typing import Any

from ferbench.algorithms.matching import Matching
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class OTX(Matching):
    """The semi-supervised classifier of OpenVINO Training Extensions: FixMatch with a margin per class and iteration.

    ``L = L_x + lambda_u * sum_i(w_i * H(argmax p_i, p_i,strong)) / sum_i(w_i)``, see `OTXMargin` for w. There is no
    paper.

    Args:
        minimum: lower bound of the margin.
        parts: any argument of `Matching`.
    """

    def __init__(self, minimum: float = 0.5, **parts: Any):
        consistency = dict(type="ConsistencyCrossEntropy", over="weight")
        super().__init__(
            threshold=dict(type="OTXMargin", minimum=minimum), **{"consistency": consistency, **parts}
        )
