"""How much an item counts: the formulas of FreeMatch, SoftMatch, Dash and UDA."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ferbench.functional.probabilities import as_probabilities


def quantile(values: Tensor, q: float) -> Tensor:
    """Quantile with linear interpolation, as ``numpy.quantile``; unlike ``torch.quantile`` it never waits for the device.

    Args:
        values: [B].
        q: in [0, 1].

    Returns:
        [].

    >>> quantile(torch.tensor([0.0, 3.0, 1.0]), q=0.75)
    tensor(2.)
    """
    place = q * (len(values) - 1)
    below = int(place)
    ordered = values.sort().values
    return ordered[below].lerp(ordered[min(below + 1, len(values) - 1)], place - below)


def self_adaptive_thresholds(level: Tensor, p_model: Tensor) -> Tensor:
    """FreeMatch's ``tau * p_c / max p`` (Wang et al. 2023, arXiv 2205.07246).

    Args:
        level: tau, [], running confidence over all classes.
        p_model: [C] running mean of the predictions.

    Returns:
        [C].

    >>> self_adaptive_thresholds(torch.tensor(0.8), torch.tensor([0.6, 0.3]))
    tensor([0.8000, 0.4000])
    """
    return level * p_model / p_model.max()


def group_statistics(values: Tensor, group: Tensor, groups: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and unbiased variance of each group.

    Args:
        values: [B].
        group: [B] in [0, G).
        groups: G.

    Returns:
        (mean [G], variance [G], count [G]); a group without items has mean 0, one of fewer than two variance 0.

    >>> group_statistics(torch.tensor([1.0, 3.0, 5.0]), group=torch.tensor([0, 0, 1]), groups=2)
    (tensor([2., 5.]), tensor([2., 0.]), tensor([2., 1.]))
    """
    member = as_probabilities(group, groups).to(values.dtype)
    count = member.sum(dim=0)
    # Sums of products, no matrix product: autocast would round that to bfloat16.
    mean = (values[:, None] * member).sum(dim=0) / count.clamp(min=1)
    deviation = (values - mean[group]).square()
    return mean, (deviation[:, None] * member).sum(dim=0) / (count - 1).clamp(min=1), count


def truncated_gaussian(confidence: Tensor, mean: Tensor, variance: Tensor, n_sigma: float) -> Tensor:
    """SoftMatch's weight ``exp(-min(q - mu, 0)^2 / (2 var / n_sigma^2))`` (Chen et al. 2023, arXiv 2301.10921).

    Args:
        confidence: q, [B].
        mean, variance: [B] or [], of the Gaussian.
        n_sigma: the larger, the fewer items below the mean count.

    Returns:
        [B] in [0, 1]; 1 from the mean on.

    >>> truncated_gaussian(torch.tensor([0.9, 0.6]), mean=torch.tensor(0.7), variance=torch.tensor(0.01), n_sigma=1)
    tensor([1.0000, 0.6065])
    """
    below = (confidence - mean).clamp(max=0)
    return torch.exp(-below.square() * n_sigma**2 / (2 * variance.clamp(min=1e-12)))


def loss_ceiling(initial: Tensor, drops: int, *, factor: float, gamma: float, floor: float) -> Tensor:
    """Dash's ``rho = max(C * gamma^-k * rho_0, rho_min)`` (Xu et al. 2021, arXiv 2109.00650).

    Args:
        initial: rho_0, [], mean loss of the labeled items at the end of the warm-up.
        drops: k, how often rho has been lowered.
        factor: C > 1.
        gamma: > 1.
        floor: rho_min.

    Returns:
        [], the loss up to which an item counts.

    >>> loss_ceiling(torch.tensor(2.0), drops=1, factor=1.1, gamma=1.25, floor=0.05)
    tensor(1.7600)
    """
    return (initial * (factor * gamma**-drops)).clamp(min=floor)


def annealed_ceiling(progress: float, schedule: str, num_classes: int) -> float:
    """UDA's training signal annealing: ``a * (1 - 1/C) + 1/C`` (Xie et al. 2020, arXiv 1904.12848, app. A.1).

    Args:
        progress: r, share of the run that is done.
        schedule: a = ``linear``: r; ``log``: 1 - exp(-5 r); ``exp``: exp(5 (r - 1)); ``none``: 1.
        num_classes: C.

    Returns:
        The confidence up to which a labeled item counts.

    >>> annealed_ceiling(0.5, schedule="linear", num_classes=4)
    0.625
    """
    share = {
        "linear": progress,
        "log": 1 - math.exp(-5 * progress),
        "exp": math.exp(5 * (progress - 1)),
        "none": 1.0,
    }[schedule]
    return share * (1 - 1 / num_classes) + 1 / num_classes
