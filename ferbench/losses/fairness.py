"""FreeMatch's fairness term."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from ferbench.arguments import NONNEGATIVE, SHARE, check_numbers
from ferbench.contracts import MatchingStep
from ferbench.distributed import gather_rows, gather_rows_with_grad
from ferbench.functional.probabilities import as_probabilities
from ferbench.lifecycle import RunContext
from ferbench.losses.base import ExtraTerm
from ferbench.registry import LOSSES


@LOSSES.register_module()
class Fairness(ExtraTerm):
    """``sum_c A_c log B_c``: the selected predictions are to be as diverse as all predictions have been on average.

    FreeMatch (Wang et al. 2023, arXiv 2205.07246): A = norm(p / h) with p the running mean of the weak view's
    predictions and h that of their class histogram; B = norm(q / g) with q the mean prediction on the selected items of
    ``view`` and g the histogram of their predicted classes; norm divides by the sum. Running means start at 1/C and are
    updated before they are used. The term is negative. It looks at the global batch, and is 0 if nothing is selected.
    With soft weights, q and g are weighted means.

    Args:
        weight: factor in the total loss (0.001 to 0.05 in the paper).
        momentum: of the running means.
        view: whose predictions it spreads.

    Buffers:
        p_model, label_hist: float32 [C], p and h.

    >>> from ferbench.contracts import Output
    >>> from ferbench.testing import make_step
    >>> term = Fairness()
    >>> term.bind(RunContext(num_classes=2, num_labeled=4, num_unlabeled=8, max_iters=100, class_counts=(2, 2)))
    >>> output = Output(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1))
    >>> term(make_step({"weak": output, "strong": output}, weight=[1.0, 1.0]))
    tensor(-0.6931)
    """

    name = "fairness"
    p_model: Tensor
    label_hist: Tensor

    def __init__(self, weight: float = 0.01, momentum: float = 0.999, view: str = "strong"):
        super().__init__()
        check_numbers(self, NONNEGATIVE, weight=weight)
        check_numbers(self, SHARE, momentum=momentum)
        self.weight, self.momentum = weight, momentum
        self.views = self.needs_gradient = (view,)

    @override
    def bind(self, context: RunContext) -> None:
        uniform = torch.full((context.num_classes,), 1 / context.num_classes)
        self.register_buffer("p_model", uniform.clone())
        self.register_buffer("label_hist", uniform.clone())

    def forward(self, step: MatchingStep) -> Tensor:
        """Unweighted term, []."""
        everywhere = torch.ones_like(step.evidence.probs[:, 0])
        mean, hist = _mean_and_histogram(step.evidence.probs, everywhere)
        self.p_model.lerp_(mean, 1 - self.momentum)
        self.label_hist.lerp_(hist, 1 - self.momentum)
        weight = gather_rows(step.weight)
        strong = gather_rows_with_grad(step.outputs[self.views[0]].logits.float().softmax(dim=1))
        expected = _normalised_ratio(self.p_model, self.label_hist)
        found = _normalised_ratio(*_mean_and_histogram(strong, weight))
        return (expected * (found + 1e-12).log()).sum() * (weight.sum() > 0)


def _mean_and_histogram(probs: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean of the rows and of their top classes, [C] and [C]; zeros without weight."""
    share = (weight / weight.sum().clamp(min=1e-12))[:, None]
    top = as_probabilities(probs.detach().argmax(dim=1), probs.shape[1])
    return (share * probs).sum(dim=0), (share * top).sum(dim=0)


def _normalised_ratio(numerator: Tensor, divisor: Tensor) -> Tensor:
    """``numerator / divisor``, 0 where the divisor is 0, divided by its sum; [C]."""
    ratio = torch.where(divisor > 0, numerator / divisor.clamp(min=1e-12), 0.0)
    return ratio / ratio.sum().clamp(min=1e-12)
