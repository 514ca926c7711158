"""Extra terms on a strong view of the labeled images (DeFixMatch)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ferbench.arguments import FINITE, NONNEGATIVE, SHARE, check_numbers
from ferbench.contracts import MatchingStep
from ferbench.core.parts import build
from ferbench.distributed import local_rows
from ferbench.functional.losses import cross_entropy, weighted_mean
from ferbench.functional.thresholds import pass_mask
from ferbench.losses.base import ExtraTerm
from ferbench.registry import LOSSES


@LOSSES.register_module()
class LabeledStrongLoss(ExtraTerm):
    """The supervised loss on the strong view of the labeled images.

    Args:
        weight: factor in the total loss.
        loss: config of the loss; None: `SupervisedCrossEntropy`.

    >>> import torch
    >>> from ferbench.contracts import Output
    >>> from ferbench.testing import make_step
    >>> output = Output(torch.zeros(1, 2), torch.zeros(1, 1))
    >>> LabeledStrongLoss()(make_step({"weak": output, "labeled_strong": output}, weight=[1.0], labels=[1]))
    tensor(0.6931)
    """

    learns_labels = True

    name = "labeled_strong"
    labeled_views = ("strong",)
    needs_gradient = ("labeled_strong",)

    def __init__(self, weight: float = 0.5, loss: Any = None):
        super().__init__()
        check_numbers(self, NONNEGATIVE, weight=weight)
        self.weight = weight
        self.loss = build(LOSSES, loss or dict(type="SupervisedCrossEntropy"), "LabeledStrongLoss.loss")

    def forward(self, step: MatchingStep) -> Tensor:
        """Unweighted term, []."""
        logits = step.outputs["labeled_strong"].logits
        return self.loss(logits, step.batch.target, step.batch.iteration)


@LOSSES.register_module()
class LabeledConsistency(ExtraTerm):
    """The consistency loss on labeled images, as if their labels were not known; subtracted, it removes FixMatch's bias.

    ``mean_i([max p >= threshold] * H(argmax p, p_strong))`` with p the prediction on the weak labeled view (DeFixMatch,
    Schmutz et al. 2023, arXiv 2203.07512).

    Args:
        weight: factor in the total loss; *minus* that of the consistency loss.
        threshold: as that of the unlabeled images.

    >>> import torch
    >>> from ferbench.contracts import Output
    >>> from ferbench.testing import make_step
    >>> output = Output(torch.zeros(2, 2), torch.zeros(2, 1))
    >>> probs = torch.tensor([[0.99, 0.01], [0.6, 0.4]])
    >>> step = make_step({"weak": output, "labeled_strong": output}, [1.0, 1.0], labels=[0, 0], labeled_probs=probs)
    >>> LabeledConsistency()(step)
    tensor(0.3466)
    """

    name = "labeled_consistency"
    labeled_views = ("strong",)
    needs_gradient = ("labeled_strong",)

    def __init__(self, weight: float = -0.5, threshold: float = 0.95):
        super().__init__()
        check_numbers(self, FINITE, weight=weight)
        check_numbers(self, SHARE, threshold=threshold)
        self.weight, self.threshold = weight, threshold

    def forward(self, step: MatchingStep) -> Tensor:
        """Unweighted term, []."""
        mask, label = self.selected(step)
        return weighted_mean(cross_entropy(step.outputs["labeled_strong"].logits, label), mask)

    def selected(self, step: MatchingStep) -> tuple[Tensor, Tensor]:
        """Mask and pseudo-label of this process' labeled images, [b] and [b]."""
        probs = local_rows(step.evidence.labeled_probs)
        return pass_mask(probs, self.threshold), probs.argmax(dim=1)
