"""Debiased pseudo-labels: what the model predicts too often is taken out of its pseudo-labels, and put into the margin."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from ferbench.alignments.base import AlignRule
from ferbench.arguments import NONNEGATIVE, SHARE, check_numbers
from ferbench.contracts import Evidence
from ferbench.lifecycle import RunContext
from ferbench.registry import ALIGNMENTS


@ALIGNMENTS.register_module()
class DebiasedAlignment(AlignRule):
    """``softmax(z - tau log q)``, with q the running mean of the predictions; the other view learns ``z + tau log q``.

    Debiased-PL (Wang et al. 2022, arXiv 2201.01490), by the authors' code: the pseudo-labels use q from before the step, q
    then moves towards the batch's mean prediction (as it came, all items), and the margin uses the new q. Evaluation uses
    the plain logits.

    Args:
        tau: strength; 0 leaves everything as it is.
        momentum: of q, which starts as uniform.

    Buffers:
        p_model: float32 [C], q.

    >>> from ferbench.testing import make_evidence
    >>> rule = DebiasedAlignment(tau=1.0, momentum=0.0)
    >>> rule.bind(RunContext(num_classes=2, num_labeled=4, num_unlabeled=8, max_iters=100, class_counts=(2, 2)))
    >>> rule(make_evidence([[0.75, 0.25]]))
    tensor([[0.7500, 0.2500]])
    >>> rule.margin().exp()
    tensor([0.7500, 0.2500])
    """

    p_model: Tensor

    def __init__(self, tau: float = 0.4, momentum: float = 0.999):
        super().__init__()
        check_numbers(self, NONNEGATIVE, tau=tau)
        check_numbers(self, SHARE, momentum=momentum)
        self.tau, self.momentum = tau, momentum

    @override
    def bind(self, context: RunContext) -> None:
        classes = context.num_classes
        self.register_buffer("p_model", torch.full((classes,), 1 / classes))

    @override
    def forward(self, evidence: Evidence) -> Tensor:
        probs = evidence.probs
        scaled = probs * (-self.margin()).exp()
        self.p_model.lerp_(probs.float().mean(dim=0), 1 - self.momentum)
        return (scaled / scaled.sum(dim=1, keepdim=True)).to(probs.dtype)

    @override
    def margin(self) -> Tensor:
        return self.tau * self.p_model.clamp_min(1e-12).log()  # of a class that is never predicted
