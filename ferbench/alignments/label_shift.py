"""Pseudo-labels under the class shares of the unlabeled images, which are estimated."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from ferbench.alignments.base import AlignRule
from ferbench.arguments import SHARE_BELOW_1, check_numbers
from ferbench.contracts import Evidence
from ferbench.lifecycle import RunContext
from ferbench.registry import ALIGNMENTS


@ALIGNMENTS.register_module()
class LabelShiftAlignment(AlignRule):
    """``r = p * q / pi``, normalised; then ``q <- m q + (1 - m) mean(r)``.

    pi: class shares of the labeled stream; q: those of the unlabeled images. Labels are often drawn evenly over the
    classes while faces come with few rare expressions: then p takes too many images for rare ones. q is estimated by
    expectation maximisation (Saerens, Latinne, Decaestecker 2002, doi 10.1162/089976602753284446), one batch after the
    other. That needs a p which stays a posterior under pi, though it learns pseudo-labels under q: their logits get
    log(q / pi) (`margin`). SimPro (arXiv 2402.13505), too, estimates these shares by expectation maximisation; the rule
    here is ours.

    Args:
        momentum: m, of the running estimate.
        warmup: share of the run in which q stays pi: as long as p says little, it says nothing about q either.
        applied: False: q is estimated and changes nothing, neither pseudo-labels nor their loss.

    Buffers:
        labeled_shares: float32 [C], pi. shares: float32 [C], q.

    >>> from ferbench.testing import make_evidence
    >>> rule = LabelShiftAlignment(momentum=0.0, warmup=0.0)
    >>> rule.bind(RunContext(num_classes=2, num_labeled=4, num_unlabeled=8, max_iters=100, class_counts=(2, 2)))
    >>> rule(make_evidence([[0.9, 0.1], [0.6, 0.4]]))
    tensor([[0.9000, 0.1000],
            [0.6000, 0.4000]])
    >>> rule.shares
    tensor([0.7500, 0.2500])
    """

    labeled_shares: Tensor
    shares: Tensor

    def __init__(self, momentum: float = 0.999, warmup: float = 0.1, applied: bool = True):
        super().__init__()
        check_numbers(self, SHARE_BELOW_1, momentum=momentum, warmup=warmup)
        self.momentum, self.warmup, self.applied = momentum, warmup, applied

    @override
    def bind(self, context: RunContext) -> None:
        shares = torch.tensor(context.class_shares)
        self.start = self.warmup * context.max_iters
        self.register_buffer("labeled_shares", shares, persistent=False)
        self.register_buffer("shares", shares.clone())

    @override
    def forward(self, evidence: Evidence) -> Tensor:
        probs = evidence.probs.float() * self.shift().exp()
        probs = probs / probs.sum(dim=1, keepdim=True)
        if evidence.iteration >= self.start:
            self.shares.lerp_(probs.mean(dim=0), 1 - self.momentum)
        return probs.to(evidence.probs.dtype) if self.applied else evidence.probs

    @override
    def margin(self) -> Tensor | None:
        return self.shift() if self.applied else None

    def shift(self) -> Tensor:
        """``log(q / pi)``, [C]; 0 for a class that has no labels."""
        # Bounded below: a share of 0 would shut a class out for good.
        return (self.shares.clamp_min(1e-6) / self.labeled_shares.clamp_min(1e-6)).log()
