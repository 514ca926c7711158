"""TRAS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typing_extensions import override

from ferbench.algorithms.rebalancing import Rebalancing
from ferbench.alignments.prior import PriorRemoval
from ferbench.losses.second_head import TransferLoss
from ferbench.registry import ALGORITHMS

HEAD = "tras"


@ALGORITHMS.register_module()
class TRAS(Rebalancing):
    """Transfer and Share: a second head learns the first one's predictions without the class prior (arXiv 2205.13358).

    ``L = L_base + weight * L_tras``, see `TransferLoss`; the base's pseudo-labels are taken without the prior, too
    (`PriorRemoval`). The second head makes the predictions. The prior is the share of each class in the labels.

    Args:
        base: the algorithm underneath.
        weight: of the second classifier's loss.
        tau: strength of the adjustment by the prior.
        scale, offset: A and B of `ferbench.functional.imbalance.transferred_targets`.
        threshold: confidence that the second classifier must reach.
        warmup: share of the run before the second classifier learns.
        prediction_views: views that learn; None: the base's (the authors' code takes two strong ones).
    """

    def __init__(
        self,
        base: Any,
        weight: float = 1.0,
        tau: float = 1.0,
        scale: float = 2.0,
        offset: float = 2.0,
        threshold: float = 0.95,
        warmup: float = 0.02,
        prediction_views: Sequence[str] | None = None,
    ):
        super().__init__(base)
        inner = self.matching
        views = tuple(prediction_views or (inner.prediction_view,))
        self.align(PriorRemoval(tau))
        inner.terms.append(
            TransferLoss(weight, tau, scale, offset, threshold, warmup, HEAD, self.weak_views, views)
        )

    @property
    @override
    def prediction_head(self) -> str:
        return HEAD
