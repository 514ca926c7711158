"""Extra terms on the items that the threshold rule does not select: Ada-CM, DTM and SS-MFAR."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from ferbench.arguments import NONNEGATIVE, POSITIVE, check_choice, check_numbers
from ferbench.contracts import MatchingStep
from ferbench.distributed import gather_rows, gather_rows_with_grad
from ferbench.functional.losses import masked_contrast
from ferbench.losses.base import ExtraTerm
from ferbench.losses.reduction import OVER, mean_over
from ferbench.registry import LOSSES


@LOSSES.register_module()
class LowConfidenceContrast(ExtraTerm):
    """Pulls the two weak views of each unselected item together (Ada-CM, arXiv 2203.12341, eq. 7).

    SimCLR loss over the L2-normalised features of the items of weight 0, of the global batch: all processes' items are
    each other's negatives, so the result does not depend on the number of processes.

    Args:
        weight: factor in the total loss.
        temperature: of the similarity.

    >>> import torch
    >>> from ferbench.contracts import Output
    >>> from ferbench.testing import make_step
    >>> output = Output(torch.zeros(2, 2), torch.eye(2))
    >>> LowConfidenceContrast(temperature=1.0)(make_step({"weak": output, "weak2": output}, weight=[0.0, 0.0]))
    tensor(0.5514)
    """

    name = "low_confidence"
    views = ("weak", "weak2")
    needs_gradient = ("weak", "weak2")

    def __init__(self, weight: float = 0.1, temperature: float = 0.07):
        super().__init__()
        check_numbers(self, NONNEGATIVE, weight=weight)
        check_numbers(self, POSITIVE, temperature=temperature)
        self.weight, self.temperature = weight, temperature

    def forward(self, step: MatchingStep) -> Tensor:
        """Unweighted term, []."""
        features = (F.normalize(step.outputs[view].features.float(), dim=1) for view in self.views)
        first, second = map(gather_rows_with_grad, features)
        return masked_contrast(first, second, gather_rows((step.weight == 0).float()), self.temperature)


@LOSSES.register_module()
class LowConfidenceKL(ExtraTerm):
    """Symmetric KL, in bits, between weak and strong probabilities of the unselected items (SS-MFAR, arXiv 2207.09012).

    ``sum_i v_i (KL(p_i,weak || p_i,strong) + KL(p_i,strong || p_i,weak)) / sum_i v_i`` with ``v = 1 - weight``. Both
    views carry a gradient, as in the authors' code.

    Args:
        weight: factor in the total loss.
        over: ``weight``: the mean of the unselected items (the authors' code), or ``batch``: divide by the batch size.

    >>> import torch
    >>> from ferbench.contracts import Output
    >>> from ferbench.testing import make_step
    >>> weak, strong = (Output(torch.tensor([[z, 0.0]]), torch.zeros(1, 1)) for z in (1.0, 0.0))
    >>> round(LowConfidenceKL()(make_step({"weak": weak, "strong": strong}, weight=[0.0])).item(), 4)
    0.3333
    """

    name = "low_confidence"
    views = ("weak", "strong")
    needs_gradient = ("weak", "strong")

    def __init__(self, weight: float = 0.5, over: str = "weight"):
        super().__init__()
        check_numbers(self, NONNEGATIVE, weight=weight)
        check_choice(self, OVER, over=over)
        self.weight, self.over = weight, over

    def forward(self, step: MatchingStep) -> Tensor:
        """Unweighted term, []."""
        log_weak, log_strong = (step.outputs[v].logits.float().log_softmax(dim=1) for v in self.views)
        # sum p (log p - log q) + q (log q - log p) = sum (p - q) (log p - log q)
        both = ((log_weak.exp() - log_strong.exp()) * (log_weak - log_strong)).sum(dim=1)
        return mean_over(both, 1.0 - step.weight, self.over) / math.log(2)
