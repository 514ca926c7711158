"""A threshold that follows the model: it lets a fixed share of the unlabeled images pass."""

from __future__ import annotations

import torch
from torch import Tensor

from ferbench.arguments import INNER_SHARE, SHARE, check_numbers
from ferbench.registry import THRESHOLDS
from ferbench.thresholds import Evidence, RunContext, ThresholdRule


@THRESHOLDS.register_module()
class TopShareThreshold(ThresholdRule):
    """``mask = [max p >= level]``, level = running mean of each batch's (1 - share) quantile of max p.

    Args:
        share: share of the unlabeled images that should pass, in (0, 1).
        momentum: of the running mean, in [0, 1); 0: each batch's own quantile.
        floor: the level never falls below it.

    Buffers:
        level: float32 [], NaN before the first step.
    """

    level: Tensor

    def __init__(self, share: float = 0.5, momentum: float = 0.99, floor: float = 0.0):
        super().__init__()
        check_numbers(self, INNER_SHARE, share=share)
        check_numbers(self, SHARE, momentum=momentum, floor=floor)
        self.share, self.momentum, self.floor = share, momentum, floor

    def bind(self, context: RunContext) -> None:
        self.register_buffer("level", torch.tensor(float("nan")))
        self.num_classes = context.num_classes

    def forward(self, evidence: Evidence) -> Tensor:
        confidence = evidence.probs.max(dim=1).values
        now = confidence.quantile(1 - self.share)
        # torch.where, not if: looking at the value would make the GPU wait at every step.
        mixed = torch.where(self.level.isnan(), now, self.level.lerp(now, 1 - self.momentum))
        self.level.copy_(mixed.clamp(min=self.floor))
        return (confidence >= self.level).float()

    def thresholds(self) -> Tensor:
        return self.level.expand(self.num_classes)
