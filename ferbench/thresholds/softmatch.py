"""SoftMatch's weights in place of a threshold."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from ferbench.arguments import POSITIVE, SHARE, check_choice, check_numbers
from ferbench.contracts import Evidence
from ferbench.functional.weighting import group_statistics, truncated_gaussian
from ferbench.lifecycle import RunContext
from ferbench.registry import THRESHOLDS
from ferbench.thresholds.base import ThresholdRule

STATISTICS = ("raw", "aligned")


@THRESHOLDS.register_module()
class TruncatedGaussian(ThresholdRule):
    """``w = exp(-min(max p - mu, 0)^2 / (2 var / n_sigma^2))``, running mean mu and variance of the confidence.

    SoftMatch (Chen et al. 2023, arXiv 2301.10921). The weighted confidence is the aligned one; mu (from 1/C) and var
    (from 1) are updated before they are used. A batch (``per_class``: a class) of fewer than two items leaves them alone.

    Args:
        momentum: of the running statistics.
        n_sigma: see `ferbench.functional.weighting.truncated_gaussian`.
        per_class: mu and var of each predicted class instead of common ones.
        statistics: whose confidences feed them: those before alignment (``raw``, the paper), or the ``aligned`` ones.

    Buffers:
        mean, variance: float32 [1], or [C].

    >>> from ferbench.testing import make_evidence
    >>> rule = TruncatedGaussian(momentum=0.0, n_sigma=1.0)
    >>> rule.bind(RunContext(num_classes=2, num_labeled=4, num_unlabeled=8, max_iters=100, class_counts=(2, 2)))
    >>> rule(make_evidence([[0.9, 0.1], [0.7, 0.3]]))
    tensor([1.0000, 0.7788])
    >>> rule.thresholds()
    tensor([0.8000, 0.8000])
    """

    mean: Tensor
    variance: Tensor

    def __init__(
        self,
        momentum: float = 0.999,
        n_sigma: float = 2.0,
        per_class: bool = False,
        statistics: str = "raw",
    ):
        super().__init__()
        check_choice(self, STATISTICS, statistics=statistics)
        check_numbers(self, SHARE, momentum=momentum)
        check_numbers(self, POSITIVE, n_sigma=n_sigma)
        self.momentum, self.n_sigma = momentum, n_sigma
        self.per_class, self.statistics = per_class, statistics

    @override
    def bind(self, context: RunContext) -> None:
        self.num_classes = context.num_classes
        groups = self.num_classes if self.per_class else 1
        self.register_buffer("mean", torch.full((groups,), 1 / self.num_classes))
        self.register_buffer("variance", torch.ones(groups))

    @override
    def forward(self, evidence: Evidence) -> Tensor:
        seen, group = self._confidence(evidence.raw_probs if self.statistics == "raw" else evidence.probs)
        mean, variance, count = group_statistics(seen, group, len(self.mean))
        pace = (1 - self.momentum) * (count >= 2)
        self.mean.lerp_(mean, pace)
        self.variance.lerp_(variance, pace)
        confidence, group = self._confidence(evidence.probs)
        weight = truncated_gaussian(confidence, self.mean[group], self.variance[group], self.n_sigma)
        return weight.to(evidence.probs.dtype)

    def thresholds(self) -> Tensor:
        """The confidence from which an item counts fully, [C]."""
        return self.mean.expand(self.num_classes)

    def _confidence(self, probs: Tensor) -> tuple[Tensor, Tensor]:
        """Each item's confidence and its group, [B] and [B]."""
        confidence, label = probs.float().max(dim=1)
        return confidence, label if self.per_class else torch.zeros_like(label)
