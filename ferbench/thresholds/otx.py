"""The per-class margin of OpenVINO Training Extensions, from the batch alone."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from ferbench.arguments import SHARE, check_numbers
from ferbench.contracts import Evidence
from ferbench.functional.thresholds import class_confidence, pass_mask
from ferbench.lifecycle import RunContext
from ferbench.registry import THRESHOLDS
from ferbench.thresholds.base import ThresholdRule


@THRESHOLDS.register_module()
class OTXMargin(ThresholdRule):
    """``T_c = max(minimum, mean of l_c and u_c)``, anew from each batch (openvinotoolkit/training_extensions).

    l_c: mean confidence of the batch's labeled items of class c that are predicted as c; u_c: that of its *selected*
    unlabeled items that are predicted as c. Where one of the two is missing the other stands alone; where both are, T_c
    stays. The mask is taken before the update. There is no paper; the rule is that of the semi-supervised classification
    head (``semi_sl_head.py``), without memory of earlier batches and without a ramp.

    Args:
        minimum: lower bound, and the threshold of every class before the first update.

    Buffers:
        threshold: float32 [C].

    >>> from ferbench.testing import make_evidence
    >>> rule = OTXMargin(minimum=0.5)
    >>> rule.bind(RunContext(num_classes=2, num_labeled=4, num_unlabeled=8, max_iters=100, class_counts=(2, 2)))
    >>> rule(make_evidence([[0.8, 0.2]], labeled_probs=[[0.6, 0.4], [0.1, 0.9]], labels=[0, 1]))
    tensor([1.])
    >>> rule.thresholds()
    tensor([0.7000, 0.9000])
    """

    threshold: Tensor

    def __init__(self, minimum: float = 0.5):
        super().__init__()
        check_numbers(self, SHARE, minimum=minimum)
        self.minimum = minimum

    @override
    def bind(self, context: RunContext) -> None:
        self.register_buffer("threshold", torch.full((context.num_classes,), float(self.minimum)))

    @override
    def forward(self, evidence: Evidence) -> Tensor:
        mask = pass_mask(evidence.probs, self.threshold)
        labeled = class_confidence(evidence.labeled_probs, evidence.labels)
        unlabeled = class_confidence(evidence.probs, evidence.probs.argmax(dim=1), counted=mask)
        # NaN where nothing counts
        means = torch.stack([sums / counts for sums, counts in (labeled, unlabeled)])
        new = means.nanmean(dim=0).clamp(min=self.minimum).float()
        self.threshold.copy_(torch.where(new.isnan(), self.threshold, new))
        return mask

    @override
    def thresholds(self) -> Tensor:
        return self.threshold
