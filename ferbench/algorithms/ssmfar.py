"""SS-MFAR."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ferbench.algorithms.adacm import AdaCM
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class SSMFAR(AdaCM):
    """The expression branch of SS-MFAR (Gera et al., ABAW 2022, arXiv 2207.09012): Ada-CM's margin from the student.

    ``L = 0.5 * (L_x + L_u) + 0.5 * L_con``: one weak view; the margin's statistic comes from the trained network, not its
    average; the items below the margin bring their weak and strong probabilities together (`LowConfidenceKL`). The
    authors' code looks for those items at wrong rows of the batch; here they are the unlabeled items of weight 0.

    Args:
        class_weight: one factor per class on L_x and L_u, or None. The authors take N / n_c.
        rule: any argument of `DynamicThreshold` beside beta, gamma and floor.
        recipe: any other argument of `AdaCM`.
    """

    def __init__(self, class_weight: Sequence[float] | None = None, rule: dict | None = None, **recipe: Any):
        own: dict[str, Any] = dict(
            weak_views=("weak",),
            lambda_x=0.5,
            lambda_u=0.5,
            terms=[dict(type="LowConfidenceKL", weight=0.5)],
            supervised_loss=dict(type="SupervisedCrossEntropy", class_weight=class_weight),
            consistency=dict(type="ConsistencyCrossEntropy", class_weight=class_weight),
        )
        super().__init__(rule=dict(weights="student") | (rule or {}), **own | recipe)
