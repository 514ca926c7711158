"""Pseudo-labels under the class shares of the unlabeled images, which are estimated."""

from __future__ import annotations

import torch
from torch import Tensor

from ferbench.alignments.base import AlignRule
from ferbench.errors import UserError
from ferbench.functional.probabilities import align, sharpen
from ferbench.lifecycle import RunContext
from ferbench.registry import ALIGNMENTS
from ferbench.thresholds.base import Evidence


@ALIGNMENTS.register_module()
class LabelShift(AlignRule):
    """``r = p * q / pi``, normalised; then ``q <- m q + (1 - m) mean(r)``.

    pi: class shares of the labeled stream, which p has learnt; q: those of the unlabeled images. Labels are often drawn
    evenly over the classes while faces come with few rare expressions: then p takes too many images for rare ones. q is
    estimated by expectation maximisation (Saerens, Latinne, Decaestecker 2002, Neural Computation 14(1), sec. 2.2), one
    batch after the other (Cappé & Moulines 2009, arXiv 0712.4273). SimPro (arXiv 2402.13505) has the idea for long-tailed
    semi-supervised learning; this rule is ours. Where both shares are the same it changes little.

    Args:
        momentum: m, of the running estimate.
        temperature: p^(1/T) in place of p; above 1 where the model is too confident, which makes q follow it too slowly.

    Buffers:
        labeled_shares: float32 [C], pi. shares: float32 [C], q; pi until the first step.
    """

    labeled_shares: Tensor
    shares: Tensor

    def __init__(self, momentum: float = 0.999, temperature: float = 1.0):
        super().__init__()
        if not 0 <= momentum < 1:
            raise UserError(f"LabelShift got momentum={momentum}", expected="at least 0 and below 1")
        if temperature <= 0:
            raise UserError(f"LabelShift got temperature={temperature}", expected="a number above 0")
        self.momentum, self.temperature = momentum, temperature

    def bind(self, context: RunContext) -> None:
        """See `Part.bind`."""
        shares = torch.tensor(context.class_shares)
        self.register_buffer("labeled_shares", shares, persistent=False)
        self.register_buffer("shares", shares.clone())

    def forward(self, evidence: Evidence) -> Tensor:
        """See `AlignRule.forward`."""
        probs = align(sharpen(evidence.probs.float(), self.temperature), self.labeled_shares, self.shares)
        self.shares.lerp_(probs.mean(dim=0), 1 - self.momentum)
        return probs.to(evidence.probs.dtype)
