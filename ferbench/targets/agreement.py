"""MultiMatch's pseudo-label."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from ferbench.contracts import Evidence
from ferbench.registry import TARGETS
from ferbench.targets.rules import TargetRule
from ferbench.thresholds.agreement import HeadAgreement


@TARGETS.register_module()
class AgreedTarget(TargetRule):
    """The pseudo-label of the first head: the class on which the two other heads agree.

    Args:
        agreement: the `HeadAgreement` that has looked at the step.
    """

    def __init__(self, agreement: HeadAgreement):
        super().__init__()
        self.agreement = agreement

    @override
    def forward(self, evidence: Evidence) -> Tensor:
        return self.agreement.labels[:, 0]
