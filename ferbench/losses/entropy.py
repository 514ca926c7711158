"""Entropy minimisation on unlabeled images."""

from __future__ import annotations

from torch import Tensor

from ferbench.arguments import NONNEGATIVE, check_numbers
from ferbench.contracts import MatchingStep
from ferbench.functional.losses import entropy
from ferbench.losses.base import ExtraTerm
from ferbench.registry import LOSSES


@LOSSES.register_module()
class EntropyTerm(ExtraTerm):
    """``mean_i H(p_i)`` of an unlabeled view (Grandvalet & Bengio 2004); with VAT in arXiv 1704.03976, sec. 4.2.

    Args:
        weight: factor in the total loss.
        view: the view.

    >>> import torch
    >>> from ferbench.contracts import Output
    >>> from ferbench.testing import make_step
    >>> EntropyTerm()(make_step({"weak": Output(torch.zeros(3, 2), torch.zeros(3, 1))}, weight=[1.0, 1.0, 0.0]))
    tensor(0.6931)
    """

    name = "entropy"

    def __init__(self, weight: float = 0.06, view: str = "weak"):
        super().__init__()
        check_numbers(self, NONNEGATIVE, weight=weight)
        self.weight = weight
        self.views = self.needs_gradient = (view,)

    def forward(self, step: MatchingStep) -> Tensor:
        """Unweighted term, []."""
        return entropy(step.outputs[self.views[0]].logits).mean()
