"""FreeMatch's self-adaptive threshold."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from ferbench.arguments import SHARE, check_numbers
from ferbench.contracts import Evidence
from ferbench.functional.thresholds import pass_mask
from ferbench.functional.weighting import quantile, self_adaptive_thresholds
from ferbench.lifecycle import RunContext
from ferbench.registry import THRESHOLDS
from ferbench.thresholds.base import ThresholdRule


@THRESHOLDS.register_module()
class SelfAdaptiveThreshold(ThresholdRule):
    """``mask = [max p >= tau * p_y / max p]``, running means tau of the confidence and p of the predictions.

    FreeMatch (Wang et al. 2023, arXiv 2205.07246). Both start at 1/C and are updated before the mask is taken.

    Args:
        momentum: of the running means.
        quantile: tau follows this quantile of the batch's confidences instead of their mean; None: the mean.
        cap: upper bound of tau (0.95 in public implementations' ``clip_thresh``), or None.

    Buffers:
        level: float32 [], tau. p_model: float32 [C].

    >>> from ferbench.testing import make_evidence
    >>> rule = SelfAdaptiveThreshold(momentum=0.5)
    >>> rule.bind(RunContext(num_classes=2, num_labeled=4, num_unlabeled=8, max_iters=100, class_counts=(2, 2)))
    >>> rule(make_evidence([[0.9, 0.1], [0.6, 0.4]]))
    tensor([1., 0.])
    >>> rule.thresholds()
    tensor([0.6250, 0.3750])
    """

    level: Tensor
    p_model: Tensor

    def __init__(self, momentum: float = 0.999, quantile: float | None = None, cap: float | None = None):
        super().__init__()
        check_numbers(self, SHARE, momentum=momentum)
        check_numbers(self, SHARE, or_none=True, quantile=quantile, cap=cap)
        self.momentum, self.quantile, self.cap = momentum, quantile, cap

    @override
    def bind(self, context: RunContext) -> None:
        classes = context.num_classes
        self.register_buffer("level", torch.tensor(1 / classes))
        self.register_buffer("p_model", torch.full((classes,), 1 / classes))

    @override
    def forward(self, evidence: Evidence) -> Tensor:
        probs = evidence.probs.float()
        confidence = probs.max(dim=1).values
        seen = confidence.mean() if self.quantile is None else quantile(confidence, self.quantile)
        self.level.lerp_(seen, 1 - self.momentum)
        if self.cap is not None:
            self.level.clamp_(max=self.cap)
        self.p_model.lerp_(probs.mean(dim=0), 1 - self.momentum)
        return pass_mask(evidence.probs, self.thresholds())

    @override
    def thresholds(self) -> Tensor:
        return self_adaptive_thresholds(self.level, self.p_model)
