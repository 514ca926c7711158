"""Threshold formulas."""

from __future__ import annotations

import torch
from torch import Tensor


def pass_mask(probs: Tensor, thresholds: Tensor | float) -> Tensor:
    """1 where the confidence reaches the threshold of the predicted class, else 0.

    Args:
        probs: [B, C] class probabilities.
        thresholds: one number, or [C] one per class.

    Returns:
        [B] of probs' dtype; comparison is ``>=``.

    >>> probs = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]])
    >>> pass_mask(probs, 0.65)
    tensor([1., 0., 1.])
    >>> pass_mask(probs, torch.tensor([0.95, 0.5]))
    tensor([0., 0., 1.])
    """
    confidence, label = probs.max(dim=1)
    limit = thresholds[label] if isinstance(thresholds, Tensor) else thresholds
    return (confidence >= limit).to(probs.dtype)


def flex_thresholds(learning_status: Tensor, threshold: float) -> Tensor:
    """FlexMatch's convex map: ``T_c = P * a_c / (2 - a_c)`` (Zhang et al. 2021, arXiv 2110.08263, eq. 7 and 11).

    Args:
        learning_status: [C] in [0, 1]; how often class c has been learnt, relative to the best class.
        threshold: P, the fixed threshold that a class of status 1 gets.

    Returns:
        [C].

    >>> flex_thresholds(torch.tensor([1.0, 0.5, 0.0]), threshold=0.9)
    tensor([0.9000, 0.3000, 0.0000])
    """
    return threshold * learning_status / (2.0 - learning_status)


def flex_learning_status(counts: Tensor, previous: Tensor, warmup: bool) -> Tensor:
    """FlexMatch's learning status from the number of recorded pseudo-labels.

    Args:
        counts: [1 + C] integers; ``counts[0]`` items without a record, ``counts[1 + c]`` items recorded as class c.
        previous: [C] status before; kept while one bucket still holds every item.
        warmup: divide by the largest bucket including the unrecorded items, not by the largest class (eq. 11).

    Returns:
        [C] of ``previous``'s dtype, in [0, 1].

    >>> flex_learning_status(torch.tensor([2, 4, 1]), previous=torch.zeros(2), warmup=False)
    tensor([1.0000, 0.2500])
    """
    per_class = counts[1:].to(previous.dtype)
    largest = counts.max() if warmup else counts[1:].max()
    status = per_class / largest.clamp(min=1).to(previous.dtype)
    return torch.where(counts.max() < counts.sum(), status, previous)


def class_confidence(
    probs: Tensor, labels: Tensor, source: str = "correct_only", counted: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Sum and number, per class, of the confidences that feed a class-wise margin.

    Args:
        probs: [N, C] class probabilities.
        labels: [N] true classes.
        source: which items count for class c, and the confidence taken from them:
            ``correct_only`` those of class c that are predicted as c (Ada-CM);
            ``all_of_true_class`` all of class c; ``all_of_predicted_class`` all that are predicted as c.
            The confidence is always the largest probability of the item.
        counted: [N] how much each item counts in sum and number; None: 1.

    Returns:
        (sum [C] float64, count [C] float64); sums of batches, and of ranks, may simply be added.

    >>> probs = torch.tensor([[0.75, 0.25], [0.5, 0.5], [0.75, 0.25]])
    >>> class_confidence(probs, labels=torch.tensor([0, 0, 1]))
    (tensor([1.2500, 0.0000], dtype=torch.float64), tensor([2., 0.], dtype=torch.float64))
    """
    confidence, predicted = probs.max(dim=1)
    if source == "correct_only":
        group, weight = labels, (predicted == labels)
    elif source == "all_of_true_class":
        group, weight = labels, torch.ones_like(labels, dtype=torch.bool)
    elif source == "all_of_predicted_class":
        group, weight = predicted, torch.ones_like(labels, dtype=torch.bool)
    else:
        raise ValueError(f"unknown source {source!r}")
    weights = weight.double() if counted is None else weight * counted.double()
    zeros = torch.zeros(probs.shape[1], dtype=torch.float64, device=probs.device)
    return zeros.index_add(0, group, confidence.double() * weights), zeros.index_add(0, group, weights)


def dynamic_thresholds(
    margin: Tensor,
    epoch: Tensor | int,
    *,
    beta: float,
    gamma: float,
    floor: float,
    cap: float | None = None,
) -> Tensor:
    """``T_c(e) = max(floor, beta * mu_c / (1 + gamma^-e))``: Ada-CM's (arXiv 2203.12341, eq. 3), and our DTM's.

    Args:
        margin: [C] mu_c, mean confidence of class c.
        epoch: e, counted from 1.
        beta: share of the margin that is asked for.
        gamma: base of the ramp; e in Ada-CM.
        floor: lower bound (0: none).
        cap: upper bound, or None.

    Returns:
        [C].

    >>> dynamic_thresholds(torch.tensor([0.9, 0.5]), epoch=1, beta=1.0, gamma=1.0, floor=0.3)
    tensor([0.4500, 0.3000])
    """
    epoch = epoch.to(margin.dtype) if isinstance(epoch, Tensor) else epoch
    ramp = 1.0 / (1.0 + gamma**-epoch)
    return (beta * margin * ramp).clamp(min=floor, max=cap)
