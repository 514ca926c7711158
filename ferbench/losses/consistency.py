"""Consistency losses: between the pseudo-label and the prediction on another view."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from typing_extensions import override

from ferbench.arguments import check_choice
from ferbench.functional.losses import cross_entropy, kl_divergence, squared_error, weighted_mean
from ferbench.lifecycle import RunContext
from ferbench.losses.base import Consistency, check_class_factors, class_factors
from ferbench.losses.reduction import OVER, mean_over
from ferbench.registry import LOSSES


@LOSSES.register_module()
class ConsistencyCrossEntropy(Consistency):
    """``mean_i(w_i * H(target_i, p_i))`` over the whole batch (FixMatch, arXiv 2001.07685, eq. 4).

    Args:
        class_weight: one factor per class on the loss of items with this pseudo-label (SS-MFAR), or None.
        over: ``batch``, or ``weight``: divide by the sum of the weights instead (OTX), see `mean_over`.

    >>> import torch
    >>> logits, weight = torch.zeros(2, 4), torch.tensor([1.0, 0.0])
    >>> ConsistencyCrossEntropy()(logits, torch.tensor([2, 1]), weight)
    tensor(0.6931)
    >>> ConsistencyCrossEntropy(over="weight")(logits, torch.tensor([2, 1]), weight)
    tensor(1.3863)
    """

    class_weight: Tensor | None

    def __init__(self, class_weight: Sequence[float] | None = None, over: str = "batch"):
        super().__init__()
        check_choice(self, OVER, over=over)
        self.over = over
        self.register_buffer("class_weight", class_factors(self, class_weight), persistent=False)

    @override
    def bind(self, context: RunContext) -> None:
        check_class_factors(self, self.class_weight, context.num_classes)

    @override
    def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        return mean_over(cross_entropy(logits, target, self.class_weight), weight, self.over)


@LOSSES.register_module()
class ConsistencySquaredError(Consistency):
    """``mean_i(w_i * mean_c (p_ic - target_ic)^2)`` over the whole batch (Pi-Model, arXiv 1610.02242, sec. 2.1).

    >>> import torch
    >>> ConsistencySquaredError()(torch.zeros(1, 2), torch.tensor([[0.9, 0.1]]), torch.ones(1))
    tensor(0.1600)
    """

    @override
    def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        return weighted_mean(squared_error(logits, target), weight)


@LOSSES.register_module()
class ConsistencyKL(Consistency):
    """``mean_i(w_i * KL(target_i || p_i))`` over the whole batch; the gradient is that of the cross-entropy (VAT).

    >>> import torch
    >>> ConsistencyKL()(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), torch.ones(1))
    tensor(0.6931)
    """

    @override
    def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        return weighted_mean(kl_divergence(logits, target), weight)
