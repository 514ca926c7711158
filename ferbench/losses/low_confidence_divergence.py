"""ReFixMatch's use of the items that no pseudo-label is trusted for."""

from __future__ import annotations

from torch import Tensor

from ferbench.arguments import NONNEGATIVE, POSITIVE, check_numbers
from ferbench.contracts import MatchingStep
from ferbench.functional.losses import cross_entropy
from ferbench.functional.probabilities import sharpen
from ferbench.losses.base import ExtraTerm
from ferbench.registry import LOSSES


@LOSSES.register_module()
class LowConfidenceDivergence(ExtraTerm):
    """``mean_i((1 - w_i) * KL(softmax(z_weak / T) || softmax(z_strong / T)))`` over the whole batch.

    ReFixMatch (Nguyen & Yang 2023, arXiv 2308.07509). The target, from the aligned probabilities, carries no gradient.

    Args:
        weight: factor in the total loss.
        temperature: T.
        of_probs: take the softmax of the probabilities over T, instead of the logits, as the target. Public code does; it
            makes every target nearly uniform.

    >>> import torch
    >>> from ferbench.contracts import Output
    >>> from ferbench.testing import make_step
    >>> output = Output(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 1))
    >>> abs(LowConfidenceDivergence()(make_step({"weak": output, "strong": output}, weight=[0.0])).item()) < 1e-6
    True
    """

    name = "low_confidence"
    views = ("weak", "strong")
    needs_gradient = ("strong",)

    def __init__(self, weight: float = 1.0, temperature: float = 0.5, of_probs: bool = False):
        super().__init__()
        check_numbers(self, NONNEGATIVE, weight=weight)
        check_numbers(self, POSITIVE, temperature=temperature)
        self.weight, self.temperature, self.of_probs = weight, temperature, of_probs

    def forward(self, step: MatchingStep) -> Tensor:
        """Unweighted term, []."""
        target = sharpen(step.probs, self.temperature)
        if self.of_probs:
            target = (step.probs / self.temperature).softmax(dim=1)
        logits = step.outputs["strong"].logits.float() / self.temperature
        negative_entropy = (target * target.clamp_min(1e-30).log()).sum(dim=1)
        return ((cross_entropy(logits, target) + negative_entropy) * (1.0 - step.weight)).mean()
