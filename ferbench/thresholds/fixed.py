"""One fixed threshold for all classes and times (FixMatch, Pseudo-Label, UDA)."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from ferbench.arguments import SHARE, check_numbers
from ferbench.contracts import Evidence
from ferbench.functional.thresholds import pass_mask
from ferbench.lifecycle import RunContext
from ferbench.registry import THRESHOLDS
from ferbench.thresholds.base import ThresholdRule


@THRESHOLDS.register_module()
class FixedThreshold(ThresholdRule):
    """``mask = [max p >= threshold]`` (FixMatch, Sohn et al. 2020, arXiv 2001.07685, eq. 4).

    Args:
        threshold: confidence that a pseudo-label must reach, in [0, 1].

    >>> from ferbench.testing import make_evidence
    >>> FixedThreshold(0.95)(make_evidence([[0.97, 0.03], [0.6, 0.4]]))
    tensor([1., 0.])
    """

    level: Tensor

    def __init__(self, threshold: float = 0.95):
        super().__init__()
        check_numbers(self, SHARE, threshold=threshold)
        self.threshold = threshold

    @override
    def bind(self, context: RunContext) -> None:
        self.register_buffer(
            "level", torch.full((context.num_classes,), float(self.threshold)), persistent=False
        )

    @override
    def forward(self, evidence: Evidence) -> Tensor:
        return pass_mask(evidence.probs, self.threshold)

    @override
    def thresholds(self) -> Tensor:
        return self.level
