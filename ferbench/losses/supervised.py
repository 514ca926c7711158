"""Loss on the labeled items."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from typing_extensions import override

from ferbench.functional.losses import cross_entropy
from ferbench.lifecycle import RunContext
from ferbench.losses.base import SupervisedLoss, check_class_factors, class_factors
from ferbench.registry import LOSSES


@LOSSES.register_module()
class SupervisedCrossEntropy(SupervisedLoss):
    """Mean cross-entropy against the label, or against a label distribution where the data has one (FER+ votes).

    Args:
        class_weight: one factor per class on its items' loss (the mean still divides by the batch size), or None.

    >>> import torch
    >>> SupervisedCrossEntropy()(torch.zeros(2, 4), torch.tensor([0, 3]), iteration=0)
    tensor(1.3863)
    """

    class_weight: Tensor | None

    def __init__(self, class_weight: Sequence[float] | None = None):
        super().__init__()
        self.register_buffer("class_weight", class_factors(self, class_weight), persistent=False)

    @override
    def bind(self, context: RunContext) -> None:
        check_class_factors(self, self.class_weight, context.num_classes)

    @override
    def forward(self, logits: Tensor, target: Tensor, iteration: int) -> Tensor:
        return cross_entropy(logits, target, self.class_weight).mean()
