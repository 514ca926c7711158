"""Distribution alignment: on average, the pseudo-labels get the class shares that they should have."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from typing_extensions import override

from ferbench.alignments.base import AlignRule
from ferbench.arguments import COUNT, NONNEGATIVE, SHARE, check_choice, check_numbers
from ferbench.contracts import Evidence
from ferbench.functional.probabilities import align
from ferbench.lifecycle import RunContext
from ferbench.registry import ALIGNMENTS

TARGETS = ("uniform", "model", "labeled")


@ALIGNMENTS.register_module()
class EMAAlignment(AlignRule):
    """``p * (p_target + eps) / (p_model + eps)``, normalised; p_model: running mean of the predictions (ReMixMatch).

    Berthelot et al. 2020, arXiv 1911.09785, sec. 3.1; AdaMatch (arXiv 2106.04732) aligns to the model's own predictions on
    labeled images. Both means are updated before they are used; p_model starts as the first batch's mean, p_target
    (of ``model``) as uniform.

    Args:
        target: ``uniform``: every class equally often; ``model``: as often as the model predicts it on labeled images
            (running mean); ``labeled``: as often as it occurs in the labeled set.
        momentum: of the running means.
        eps: see `ferbench.functional.probabilities.align`.

    Buffers:
        p_model: float32 [C]; NaN until the first step. p_target: float32 [C].

    >>> from ferbench.testing import make_evidence
    >>> rule = EMAAlignment()
    >>> rule.bind(RunContext(num_classes=2, num_labeled=4, num_unlabeled=8, max_iters=100, class_counts=(2, 2)))
    >>> rule(make_evidence([[0.9, 0.1], [0.6, 0.4]]))
    tensor([[0.7500, 0.2500],
            [0.3333, 0.6667]])
    """

    p_model: Tensor
    p_target: Tensor

    def __init__(self, target: str = "uniform", momentum: float = 0.999, eps: float = 1e-6):
        super().__init__()
        check_choice(self, TARGETS, target=target)
        check_numbers(self, SHARE, momentum=momentum)
        check_numbers(self, NONNEGATIVE, eps=eps)
        self.target, self.momentum, self.eps = target, momentum, eps

    @override
    def bind(self, context: RunContext) -> None:
        classes = context.num_classes
        target = torch.full((classes,), 1 / classes)
        if self.target == "labeled":
            counts = torch.tensor(context.class_counts, dtype=torch.float64)
            target = (counts / counts.sum()).float()
        self.register_buffer("p_target", target)
        self.register_buffer("p_model", torch.full((classes,), math.nan))

    @override
    def forward(self, evidence: Evidence) -> Tensor:
        mean = evidence.probs.float().mean(dim=0)
        self.p_model.copy_(torch.where(self.p_model.isnan(), mean, mean.lerp(self.p_model, self.momentum)))
        if self.target == "model":
            self.p_target.lerp_(evidence.labeled_probs.float().mean(dim=0), 1 - self.momentum)
        return align(evidence.probs, self.p_model, self.aim(evidence.iteration), self.eps)

    def aim(self, iteration: int) -> Tensor:
        """The shares that the predictions are brought to, [C]."""
        return self.p_target


@ALIGNMENTS.register_module()
class QueueAlignment(AlignRule):
    """As `EMAAlignment` to uniform, with the mean of the last batches' predictions as p_model (CoMatch, SimMatch).

    Li et al. 2021, arXiv 2011.11183; Zheng et al. 2022, arXiv 2203.06915. Rows not yet written count as 0 in the mean;
    normalising takes that out again, but for ``eps``.

    Args:
        length: batches that are remembered.
        eps: see `ferbench.functional.probabilities.align`.

    Buffers:
        queue: float32 [length, C], batch means, the latest last.

    >>> from ferbench.testing import make_evidence
    >>> rule = QueueAlignment(length=2)
    >>> rule.bind(RunContext(num_classes=2, num_labeled=4, num_unlabeled=8, max_iters=100, class_counts=(2, 2)))
    >>> rule(make_evidence([[0.9, 0.1], [0.6, 0.4]]))
    tensor([[0.7500, 0.2500],
            [0.3333, 0.6667]])
    """

    queue: Tensor

    def __init__(self, length: int = 256, eps: float = 1e-6):
        super().__init__()
        check_numbers(self, COUNT, length=length)
        check_numbers(self, NONNEGATIVE, eps=eps)
        self.length, self.eps = length, eps

    @override
    def bind(self, context: RunContext) -> None:
        self.register_buffer("queue", torch.zeros(self.length, context.num_classes))

    @property
    def p_model(self) -> Tensor:
        """[C] mean over the queue."""
        return self.queue.mean(dim=0)

    @override
    def forward(self, evidence: Evidence) -> Tensor:
        mean = evidence.probs.float().mean(dim=0)
        self.queue.copy_(torch.cat([self.queue[1:], mean[None]]))
        p_model = self.p_model
        return align(evidence.probs, p_model, torch.full_like(p_model, 1 / len(p_model)), self.eps)
