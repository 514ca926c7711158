"""Dash's targets."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from ferbench.contracts import Evidence
from ferbench.targets.rules import TargetRule
from ferbench.thresholds.dash import DashThreshold


class DashTarget(TargetRule):
    """The target whose loss `DashThreshold` compares with rho: soft at first, hard once rho is at its floor.

    Args:
        threshold: the rule; it alone holds the state.

    >>> from ferbench.lifecycle import RunContext
    >>> from ferbench.testing import make_evidence
    >>> rule = DashThreshold(rho_init=0.5)
    >>> rule.bind(RunContext(num_classes=2, num_labeled=4, num_unlabeled=8, max_iters=100, class_counts=(2, 2)))
    >>> DashTarget(rule)(make_evidence([[0.8, 0.2]]))
    tensor([[0.9412, 0.0588]])
    >>> DashTarget(rule)(make_evidence([[0.8, 0.2]], iteration=99))
    tensor([[1., 0.]])
    """

    def __init__(self, threshold: DashThreshold):
        super().__init__()
        self._threshold = (threshold,)  # in a tuple: its buffers are saved once, under the rule's own name

    @override
    def forward(self, evidence: Evidence) -> Tensor:
        return self._threshold[0].target(evidence)
