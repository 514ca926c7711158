"""Pseudo-labels without the class prior of the labels."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from ferbench.alignments.base import AlignRule
from ferbench.arguments import NONNEGATIVE, check_numbers
from ferbench.contracts import Evidence
from ferbench.functional.imbalance import log_prior
from ferbench.lifecycle import RunContext, require_shuffled
from ferbench.registry import ALIGNMENTS


@ALIGNMENTS.register_module()
class PriorRemoval(AlignRule):
    """``p / prior^tau``, normalised: post-hoc logit adjustment (Menon et al. 2021, arXiv 2007.07314) of the pseudo-labels.

    Args:
        tau: strength.

    Buffers:
        prior: float32 [C], log of each class' share of the labeled items.

    >>> from ferbench.testing import make_evidence
    >>> rule = PriorRemoval()
    >>> rule.bind(RunContext(num_classes=2, num_labeled=4, num_unlabeled=8, max_iters=100, class_counts=(3, 1)))
    >>> rule(make_evidence([[0.75, 0.25]]))
    tensor([[0.5000, 0.5000]])
    """

    prior: Tensor

    def __init__(self, tau: float = 1.0):
        super().__init__()
        check_numbers(self, NONNEGATIVE, tau=tau)
        self.tau = tau

    @override
    def bind(self, context: RunContext) -> None:
        require_shuffled(self, context)
        self.register_buffer("prior", log_prior(context.class_counts), persistent=False)

    @override
    def forward(self, evidence: Evidence) -> Tensor:
        scaled = evidence.probs * (-self.tau * self.prior).softmax(dim=0)
        return (scaled / scaled.sum(dim=1, keepdim=True)).to(evidence.probs.dtype)
