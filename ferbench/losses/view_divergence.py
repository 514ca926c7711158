"""An extra term by which one view learns the predictions on another view."""

from __future__ import annotations

import torch
from torch import Tensor

from ferbench.arguments import NONNEGATIVE, POSITIVE, SHARE, check_choice, check_numbers
from ferbench.contracts import MatchingStep
from ferbench.functional.losses import kl_divergence, weighted_mean
from ferbench.functional.thresholds import pass_mask
from ferbench.losses.base import ExtraTerm
from ferbench.registry import LOSSES

ITEMS = ("confident", "selected", "unselected", "all")


@LOSSES.register_module()
class ViewDivergence(ExtraTerm):
    """``mean_i(w_i * KL(softmax(z_target / T) || softmax(z_view)))`` over the whole batch; no gradient to the target view.

    SequenceMatch (Nguyen 2023, arXiv 2310.15787) has three of them.

    Args:
        view: the unlabeled view that learns.
        target: the view that it learns from.
        weight: factor in the total loss.
        temperature: T of the target.
        items: w_i: ``confident``: 1 where the target view's confidence (T = 1) reaches ``threshold``; ``selected``: the
            threshold rule's weight; ``unselected``: 1 minus that; ``all``: 1.
        threshold: see ``items``.

    >>> from ferbench.contracts import Output
    >>> from ferbench.testing import make_step
    >>> weak, strong = (Output(torch.tensor([[z, 0.0]]), torch.zeros(1, 1)) for z in (9.0, 0.0))
    >>> ViewDivergence()(make_step({"weak": weak, "strong": strong}, weight=[1.0]))
    tensor(0.6931)
    """

    def __init__(
        self,
        view: str = "strong",
        target: str = "weak",
        weight: float = 1.0,
        temperature: float = 0.5,
        items: str = "confident",
        threshold: float = 0.95,
    ):
        super().__init__()
        check_choice(self, ITEMS, items=items)
        check_numbers(self, NONNEGATIVE, weight=weight)
        check_numbers(self, POSITIVE, temperature=temperature)
        check_numbers(self, SHARE, threshold=threshold)
        self.name, self.weight = f"kl_{view}_{target}", weight
        self.temperature, self.items, self.threshold = temperature, items, threshold
        self.views, self.needs_gradient = (view, target), (view,)

    def forward(self, step: MatchingStep) -> Tensor:
        """Unweighted term, []."""
        logits, of_target = (step.outputs[view].logits.float() for view in self.views)
        of_target = of_target.detach()
        weight = {
            "confident": pass_mask(of_target.softmax(dim=1), self.threshold),
            "selected": step.weight,
            "unselected": 1.0 - step.weight,
            "all": torch.ones_like(step.weight),
        }[self.items]
        return weighted_mean(kl_divergence(logits, (of_target / self.temperature).softmax(dim=1)), weight)
