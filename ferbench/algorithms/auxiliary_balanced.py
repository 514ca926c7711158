"""ABC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typing_extensions import override

from ferbench.algorithms.rebalancing import Rebalancing
from ferbench.losses.second_head import AuxiliaryBalancedLoss
from ferbench.registry import ALGORITHMS

HEAD = "abc"


@ALGORITHMS.register_module()
class ABC(Rebalancing):
    """An auxiliary classifier that sees balanced data predicts in place of the base's (Lee et al. 2021, arXiv 2110.10368).

    ``L = L_base + weight * L_abc``, see `AuxiliaryBalancedLoss`. The base's pseudo-labels stay those of its own classifier.

    Args:
        base: the algorithm underneath.
        weight: of the auxiliary classifier's loss.
        threshold: confidence that the auxiliary classifier's pseudo-label must reach.
        prediction_views: views that learn it; None: the base's (the paper takes two strong ones).
    """

    def __init__(
        self,
        base: Any,
        weight: float = 1.0,
        threshold: float = 0.95,
        prediction_views: Sequence[str] | None = None,
    ):
        super().__init__(base)
        inner = self.matching
        views = tuple(prediction_views or (inner.prediction_view,))
        inner.terms.append(AuxiliaryBalancedLoss(weight, threshold, HEAD, self.weak_views, views))

    @property
    @override
    def prediction_head(self) -> str:
        return HEAD
