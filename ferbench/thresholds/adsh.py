"""Adsh's thresholds: of every class the same share passes."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from typing_extensions import override

from ferbench.arguments import COUNT, POSITIVE_SHARE, check_numbers
from ferbench.contracts import Evidence
from ferbench.core.pass_table import PassTable
from ferbench.functional.frequency import quantile_thresholds
from ferbench.functional.thresholds import pass_mask
from ferbench.lifecycle import DatasetPass, RunContext
from ferbench.registry import THRESHOLDS
from ferbench.thresholds.base import ThresholdRule


@THRESHOLDS.register_module()
class AdshThreshold(ThresholdRule):
    """``mask = [max p >= exp(-s_y)]``; s makes the same share of every class pass (Guo & Li 2022, ICML, PMLR 162).

    The share is that of the head class' items above ``threshold``, measured once per epoch on the unlabeled set; see
    `ferbench.functional.frequency.quantile_thresholds`. The head is the class with most labeled items. Until the first
    measurement every class has ``threshold``, i.e. s = -ln(threshold).

    Args:
        threshold: of the head class.
        epoch_length: iterations per epoch; None: a twentieth of the run.
        weights: ``ema`` or ``student`` model for the measurement.
        view: ``weak`` (training augmentation) or ``eval`` (clean image).
        max_items: at most so many unlabeled items per pass, evenly spread; None: all.

    Buffers:
        s: float32 [C]. While a pass lasts: 8 bytes per unlabeled item.

    >>> rule = AdshThreshold(threshold=0.95)
    >>> rule.bind(RunContext(num_classes=2, num_labeled=4, num_unlabeled=6, max_iters=100, class_counts=(3, 1)))
    >>> probs = torch.tensor([[0.99, 0.01], [0.98, 0.02], [0.6, 0.4], [0.55, 0.45], [0.2, 0.8], [0.3, 0.7]])
    >>> rule.see_unlabeled(probs, index=torch.arange(6))
    >>> rule.finish_unlabeled_pass()
    >>> rule.thresholds()
    tensor([0.9900, 0.8000])
    """

    s: Tensor

    def __init__(
        self,
        threshold: float = 0.95,
        epoch_length: int | None = None,
        weights: str = "ema",
        view: str = "weak",
        max_items: int | None = None,
    ):
        super().__init__()
        check_numbers(self, POSITIVE_SHARE, threshold=threshold)
        check_numbers(self, COUNT, or_none=True, epoch_length=epoch_length)
        self.threshold, self.epoch_length = threshold, epoch_length
        self.weights, self.view, self.max_items = weights, view, max_items

    @override
    def bind(self, context: RunContext) -> None:
        interval = self.epoch_length or max(1, context.max_iters // 20)
        self.unlabeled_pass = DatasetPass(interval, self.weights, self.view, self.max_items)
        self.head = max(range(context.num_classes), key=lambda c: context.class_counts[c])
        self.register_buffer("s", torch.full((context.num_classes,), -math.log(self.threshold)))
        self.seen = PassTable(context.num_unlabeled, 2)

    @override
    def forward(self, evidence: Evidence) -> Tensor:
        return pass_mask(evidence.probs, self.thresholds())

    @override
    def see_unlabeled(self, probs: Tensor, index: Tensor) -> None:
        self.seen.put_predictions(index, probs)

    @override
    def finish_unlabeled_pass(self) -> None:
        confidence, label = self.seen.take_predictions(self.s.device)
        new = quantile_thresholds(confidence, label, self.thresholds(), self.head, self.threshold)
        self.s.copy_(-new.log())

    @override
    def thresholds(self) -> Tensor:
        return torch.exp(-self.s)
