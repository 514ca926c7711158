"""Formulas over how often each class is, in the labeled set or among all pseudo-labels: SAW, Adsh, CReST."""

from __future__ import annotations

import torch
from torch import Tensor

#: How `sampling_rates` mirrors the class frequencies.
RATES = ("mirrored", "geometric")


def effective_number_weights(counts: Tensor) -> Tensor:
    """``w_c ~ (1 - b) / (1 - b^n_c)``, ``b = (m - 1) / m``, m the mean count: SAW (Lai et al. 2022, ICML, PMLR 162).

    Args:
        counts: n, [C]; a class counts as one with at least one item.

    Returns:
        float64 [C] with mean 1.

    >>> effective_number_weights(torch.tensor([1, 3]))
    tensor([1.2727, 0.7273], dtype=torch.float64)
    """
    n = counts.double().clamp(min=1)
    weights = 1 / -torch.expm1(
        n * torch.log1p(-1 / n.mean())
    )  # 1 - b^n without cancellation; 1 - b drops out
    return weights * len(n) / weights.sum()


def quantile_thresholds(
    confidence: Tensor, label: Tensor, thresholds: Tensor, head: int, floor: float
) -> Tensor:
    """Thresholds that pass the same share of every class as ``floor`` passes of the head class (Adsh, ICML 2022, PMLR 162).

    With k of the head's n items at least ``floor`` confident, the share is ``rho = (k - 1) / n``, and class c's threshold
    the confidence of its ``floor(rho * n_c)``-th most confident item, at least of its first. The paper counts k / n; one
    item less is what public code does, and the recorded numbers.

    Args:
        confidence: [N] largest probability of every item; 0 for one that was not looked at.
        label: [N] its class.
        thresholds: [C] until now; kept for a class without items.
        head: the most frequent class.
        floor: confidence asked of the head class.

    Returns:
        [C] of ``thresholds``'s dtype. Waits for the device.

    >>> confidence, label = torch.tensor([0.99, 0.98, 0.6, 0.5, 0.8, 0.7]), torch.tensor([0, 0, 0, 0, 1, 1])
    >>> quantile_thresholds(confidence, label, torch.tensor([0.95, 0.95]), head=0, floor=0.95)
    tensor([0.9900, 0.8000])
    """
    new = thresholds.clone()
    groups = [confidence[(label == c) & (confidence > 0)] for c in range(len(thresholds))]
    confident = int((groups[head] >= floor).sum())
    share = max(confident - 1, 0) / max(len(groups[head]), 1)
    for c, group in enumerate(groups):
        if len(group) and len(groups[head]):
            new[c] = group.sort(descending=True).values[max(int(share * len(group)) - 1, 0)]
    return new


def frequency_order(counts: Tensor) -> Tensor:
    """Classes from the most to the least frequent, [C]; of equally frequent ones the first class first.

    >>> frequency_order(torch.tensor([5, 9, 5]))
    tensor([1, 0, 2])
    """
    return counts.argsort(descending=True, stable=True)


def sampling_rates(counts: Tensor, alpha: float, rates: str = "mirrored") -> Tensor:
    """Share of the items predicted as class c that join the labeled set (CReST, arXiv 2102.09559, sec. 3.3).

    Of the class of frequency rank r (0: most frequent):
    ``mirrored``: ``(n of rank C-1-r / n of rank 0)^(1/alpha)``, the paper and its authors' code;
    ``geometric``: ``mu^((C-1-r)/alpha)`` with ``mu = (n_min / n_max)^(1/(C-1))``, the same where the counts fall by equal
    factors. Either way all of the least frequent class, and all of every class where the labels are balanced.

    Args:
        counts: labeled items per class, [C]; a class counts as one with at least one item.
        alpha: the larger, the more alike the classes.
        rates: see above.

    Returns:
        float64 [C] in (0, 1], by class.

    >>> sampling_rates(torch.tensor([100, 25]), alpha=2.0)
    tensor([0.5000, 1.0000], dtype=torch.float64)
    """
    order, n = frequency_order(counts), counts.double().clamp(min=1)
    if rates == "mirrored":
        by_rank = (n[order].flip(0) / n.max()) ** (1 / alpha)
    else:
        steps = torch.arange(len(n) - 1, -1, -1, dtype=torch.float64, device=n.device)
        by_rank = (n.min() / n.max()) ** (steps / (alpha * max(len(n) - 1, 1)))
    return torch.empty_like(n).scatter_(0, order, by_rank)


def most_confident(confidence: Tensor, label: Tensor, rates: Tensor, order: Tensor) -> Tensor:
    """The ``floor(rate_c * n_c)`` most confident of the n_c items of each class.

    Args:
        confidence: [N].
        label: [N].
        rates: [C] in [0, 1].
        order: [C] classes, in the order of the result.

    Returns:
        int64 [P], places of the items: class after class, in each the most confident first, of equals the first. Waits for
        the device.

    >>> confidence, label = torch.tensor([0.7, 0.9, 0.8, 0.6]), torch.tensor([0, 0, 1, 1])
    >>> most_confident(confidence, label, rates=torch.tensor([0.5, 1.0]), order=torch.tensor([1, 0]))
    tensor([2, 3, 1])
    """
    picked = []
    for c in order.tolist():
        members = (label == c).nonzero().squeeze(1)
        best = confidence[members].argsort(descending=True, stable=True)
        picked.append(members[best[: int(len(members) * float(rates[c]))]])
    return torch.cat(picked)
