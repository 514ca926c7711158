"""One view's predictions as the target of another's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ferbench.errors import UserError, nearest
from ferbench.functional.losses import kl_divergence, weighted_mean
from ferbench.losses.base import ExtraTerm
from ferbench.registry import LOSSES

if TYPE_CHECKING:
    from ferbench.algorithms.matching import MatchingStep

ITEMS = ("selected", "unselected", "all")


@LOSSES.register_module()
class ViewDivergence(ExtraTerm):
    """``mean_i(w_i * KL(softmax(z_target / T) || softmax(z_view)))`` over the whole batch; no gradient to the target view.

    SequenceMatch (Nguyen 2023, arXiv 2310.15787) has three of them.

    Args:
        view: the unlabeled view that learns.
        target: the view that it learns from.
        weight: factor in the total loss.
        temperature: T of the target.
        items: w_i: ``selected``: the threshold rule's weight; ``unselected``: 1 minus that; ``all``: 1.
    """

    def __init__(
        self,
        view: str = "strong",
        target: str = "weak",
        weight: float = 1.0,
        temperature: float = 0.5,
        items: str = "selected",
    ):
        super().__init__()
        if items not in ITEMS:
            raise UserError(
                f"ViewDivergence got items={items!r}", expected=" or ".join(ITEMS), fix=nearest(items, ITEMS)
            )
        self.name, self.weight, self.temperature, self.items = (
            f"kl_{view}_{target}",
            weight,
            temperature,
            items,
        )
        self.views, self.needs_gradient = (view, target), (view,)

    def forward(self, step: MatchingStep) -> Tensor:
        """Unweighted term, []."""
        logits, of_target = (step.outputs[view].logits.float() for view in self.views)
        target = (of_target.detach() / self.temperature).softmax(dim=1)
        weight = {
            "selected": step.weight,
            "unselected": 1.0 - step.weight,
            "all": torch.ones_like(step.weight),
        }[self.items]
        return weighted_mean(kl_divergence(logits, target), weight)
