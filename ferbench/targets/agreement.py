"""MultiMatch's pseudo-label."""

from __future__ import annotations

from torch import Tensor

from ferbench.contracts import Evidence
from ferbench.registry import TARGETS
from ferbench.targets.rules import TargetRule
from ferbench.thresholds.agreement import HeadAgreement


@TARGETS.register_module()
class AgreedTarget(TargetRule):
    """What two heads tell the first one.

    Args:
        agreement: the `HeadAgreement` that has looked at the step.
    """

    def __init__(self, agreement: HeadAgreement):
        super().__init__()
        self.agreement = agreement

    def forward(self, evidence: Evidence) -> Tensor:
        """See `TargetRule.forward`."""
        return self.agreement.labels[:, 0]
