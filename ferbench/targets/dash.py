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
    """

    def __init__(self, threshold: DashThreshold):
        super().__init__()
        self._threshold = (threshold,)  # in a tuple: its buffers are saved once, under the rule's own name

    @override
    def forward(self, evidence: Evidence) -> Tensor:
        return self._threshold[0].target(evidence)
