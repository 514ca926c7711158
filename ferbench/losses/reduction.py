"""The mean of a weighted loss: over the batch, or over the sum of the weights."""

from __future__ import annotations

import torch
from torch import Tensor

from ferbench.distributed import sum_over_ranks, world_size
from ferbench.functional.losses import weighted_mean

OVER = ("batch", "weight")


def mean_over(per_item: Tensor, weight: Tensor, over: str) -> Tensor:
    """``sum_i(w_i * loss_i)``, divided by the number of items or by the sum of their weights.

    Args:
        per_item, weight: [b], this process' share of the batch.
        over: ``batch``: divide by the number of items, so that the loss grows with the share of selected items
            (FixMatch and most others); ``weight``: by the sum of the weights, over all processes; 0 if all are 0.

    Returns:
        []; its mean over the processes is the value of the global batch.

    >>> loss, weight = torch.tensor([2.0, 4.0]), torch.tensor([1.0, 0.0])
    >>> mean_over(loss, weight, over="batch"), mean_over(loss, weight, over="weight")
    (tensor(1.), tensor(2.))
    """
    if over == "batch":
        return weighted_mean(per_item, weight)
    total = sum_over_ranks(weight.detach().float().sum())
    # Not by a tiny number where nothing counts: its inverse times the loss scale of fp16 is infinite, the gradient NaN.
    return (per_item * weight).sum() * world_size() / torch.where(total > 0, total, 1.0)
