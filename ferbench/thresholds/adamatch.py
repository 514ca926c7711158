"""AdaMatch's relative threshold."""

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
class RelativeThreshold(ThresholdRule):
    """``mask = [max p >= threshold * mean confidence of this step's labeled items]``.

    AdaMatch (Berthelot et al. 2022, arXiv 2106.04732). The mean is that of the global batch, so that all processes use
    one threshold.

    Args:
        threshold: share of the labeled items' confidence.

    Buffers:
        cutoff: float32 [], of the last step.

    >>> from ferbench.testing import make_evidence
    >>> rule = RelativeThreshold(0.9)
    >>> rule.bind(RunContext(num_classes=2, num_labeled=4, num_unlabeled=8, max_iters=100, class_counts=(2, 2)))
    >>> rule(make_evidence([[0.8, 0.2], [0.6, 0.4]], labeled_probs=[[0.7, 0.3], [0.9, 0.1]], labels=[0, 0]))
    tensor([1., 0.])
    >>> rule.thresholds()
    tensor([0.7200, 0.7200])
    """

    cutoff: Tensor

    def __init__(self, threshold: float = 0.95):
        super().__init__()
        check_numbers(self, SHARE, threshold=threshold)
        self.threshold = threshold

    @override
    def bind(self, context: RunContext) -> None:
        self.num_classes = context.num_classes
        self.register_buffer("cutoff", torch.tensor(float(self.threshold)))

    @override
    def forward(self, evidence: Evidence) -> Tensor:
        self.cutoff.copy_(self.threshold * evidence.labeled_probs.max(dim=1).values.mean())
        return pass_mask(evidence.probs, self.thresholds())

    @override
    def thresholds(self) -> Tensor:
        return self.cutoff.expand(self.num_classes)
