"""Consistency losses that weight an item by how rare the class of its pseudo-label is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from ferbench.arguments import COUNT, check_numbers
from ferbench.core.parts import build
from ferbench.distributed import sum_over_ranks
from ferbench.functional.frequency import effective_number_weights
from ferbench.lifecycle import DatasetPass, RunContext
from ferbench.losses.base import Consistency
from ferbench.registry import LOSSES


@LOSSES.register_module()
class RarityWeightedConsistency(Consistency):
    """Another consistency loss with ``weight_i * w_(y_i)``, w from the counts of pseudo-labels (SAW, PMLR 162, 2022).

    Once per epoch the classes that the model gives to the unlabeled images are counted, confident or not; see
    `ferbench.functional.frequency.effective_number_weights`. Before the first count every class weighs 1.

    Args:
        loss: the consistency loss, or its config.
        epoch_length: iterations per epoch; None: a twentieth of the run.
        weights: ``ema`` or ``student`` model that is counted.
        view: ``weak`` (training augmentation) or ``eval`` (clean image).
        max_items: at most so many unlabeled items per pass, evenly spread; their counts are scaled up. None: all.

    Buffers:
        class_weight: float32 [C]. counts: int64 [C], those of the pass that lasts.

    >>> loss = RarityWeightedConsistency()
    >>> loss.bind(RunContext(num_classes=2, num_labeled=4, num_unlabeled=4, max_iters=100, class_counts=(2, 2)))
    >>> loss.see_unlabeled(torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.4, 0.6]]), index=torch.arange(4))
    >>> loss.finish_unlabeled_pass()
    >>> loss.class_weight
    tensor([0.7273, 1.2727])
    """

    class_weight: Tensor
    counts: Tensor

    def __init__(
        self,
        loss: Any = None,
        epoch_length: int | None = None,
        weights: str = "ema",
        view: str = "weak",
        max_items: int | None = None,
    ):
        super().__init__()
        loss = loss or dict(type="ConsistencyCrossEntropy")
        self.loss = loss if isinstance(loss, nn.Module) else build(LOSSES, loss, "consistency.loss")
        check_numbers(self, COUNT, or_none=True, epoch_length=epoch_length)
        self.epoch_length = epoch_length
        self.weights, self.view, self.max_items = weights, view, max_items

    @override
    def bind(self, context: RunContext) -> None:
        interval = self.epoch_length or max(1, context.max_iters // 20)
        self.unlabeled_pass = DatasetPass(interval, self.weights, self.view, self.max_items)
        self.items = context.num_unlabeled
        self.register_buffer("class_weight", torch.ones(context.num_classes))
        self.register_buffer("counts", torch.zeros(context.num_classes, dtype=torch.int64))

    @override
    def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        label = target.argmax(dim=1) if target.is_floating_point() else target
        return self.loss(logits, target, weight * self.class_weight[label])

    @override
    def see_unlabeled(self, probs: Tensor, index: Tensor) -> None:
        label = probs.argmax(dim=1)
        self.counts.index_add_(0, label, torch.ones_like(label))

    @override
    def finish_unlabeled_pass(self) -> None:
        counts = sum_over_ranks(self.counts).double()
        self.class_weight.copy_(effective_number_weights(counts * (self.items / counts.sum())))
        self.counts.zero_()
