"""Formulas of the methods against class imbalance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

#: How `class_weights` weights.
SCHEMES = ("effective_number", "inverse_frequency")


def class_weights(counts: Sequence[int], scheme: str, beta: float = 0.999) -> Tensor:
    """Factors on the classes' losses, with mean 1 over the classes that have labeled items; the others get 0.

    Args:
        counts: labeled items per class, n_c.
        scheme: ``effective_number``: ``(1 - beta) / (1 - beta^n_c)`` (Cui et al. 2019, arXiv 1901.05555);
            ``inverse_frequency``: ``1 / n_c``, its limit for beta -> 1.
        beta: in [0, 1); 0 weights all classes alike.

    Returns:
        float32 [C].

    >>> class_weights([30, 10], "inverse_frequency")
    tensor([0.5000, 1.5000])
    """
    n = torch.tensor(counts, dtype=torch.float64)
    weights = (1 - beta) / (1 - beta**n) if scheme == "effective_number" else 1 / n
    weights = torch.where(n > 0, weights, 0.0)
    return (weights * (n > 0).sum() / weights.sum()).float()


def log_prior(counts: Sequence[int]) -> Tensor:
    """``log(n_c / N)``, the prior of logit adjustment; a class without labeled items counts as one with a single item.

    Args:
        counts: labeled items per class.

    Returns:
        float32 [C].

    >>> log_prior([30, 10]).exp()
    tensor([0.7500, 0.2500])
    """
    n = torch.tensor(counts, dtype=torch.float64)
    return (n.clamp(min=1) / n.sum()).log().float()


def balancing_rates(shares: Sequence[float]) -> Tensor:
    """``n_min / n_c``: kept at this rate, all classes are equally frequent (ABC, arXiv 2110.10368).

    Args:
        shares: frequency of each class, as numbers or shares; a class of frequency 0 is left alone (rate 1).

    Returns:
        float32 [C] in (0, 1].

    >>> balancing_rates([40, 10, 0])
    tensor([0.2500, 1.0000, 1.0000])
    """
    n = torch.tensor(shares, dtype=torch.float64)
    least = torch.where(n > 0, n, torch.inf).min()
    return torch.where(n > 0, least / n, 1.0).float()


def cosine_logits(features: Tensor, prototypes: Tensor, known: Tensor, temperature: float) -> Tensor:
    """``cos(f, prototype_c) / T``: a classifier by similarity (DASO, arXiv 2106.05682).

    Args:
        features: [B, D].
        prototypes: [C, D].
        known: bool [C]; a class without a prototype is never the answer.
        temperature: T.

    Returns:
        float32 [B, C].

    >>> cosine_logits(torch.tensor([[3.0, 0.0]]), torch.eye(2), known=torch.tensor([True, True]), temperature=0.5)
    tensor([[2., 0.]])
    """
    with torch.autocast(features.device.type, enabled=False):  # 1 / temperature magnifies bfloat16's rounding
        similarity = F.normalize(features.float(), dim=1) @ F.normalize(prototypes.float(), dim=1).t()
    return (similarity / temperature).masked_fill(~known, -1e4)  # finite: 0 * -inf is NaN in a cross-entropy


def blending_strength(shares: Tensor, temperature: float) -> Tensor:
    """``(m_c / max m)^(1/T)``: how much of a class' pseudo-label is the semantic one (DASO, arXiv 2106.05682).

    Args:
        shares: m, [C], how often each class is a pseudo-label; all 0 while nothing is known: then nothing is blended.
        temperature: T; the larger, the more alike the classes.

    Returns:
        [C] in [0, 1].

    >>> blending_strength(torch.tensor([0.5, 0.25]), temperature=1.0)
    tensor([1.0000, 0.5000])
    """
    return (shares / shares.max().clamp(min=1e-12)) ** (1 / temperature)


def blend(probs: Tensor, semantic: Tensor, strength: Tensor) -> Tensor:
    """``(1 - v_y) p + v_y q`` with y = argmax p (DASO, arXiv 2106.05682).

    Args:
        probs: p, [B, C].
        semantic: q, [B, C].
        strength: v, [C].

    Returns:
        [B, C].

    >>> blend(torch.tensor([[0.8, 0.2]]), torch.tensor([[0.2, 0.8]]), strength=torch.tensor([0.5, 0.0]))
    tensor([[0.5000, 0.5000]])
    """
    v = strength[probs.argmax(dim=1)][:, None]
    return (1 - v) * probs + v * semantic


def enhance(features: Tensor, others: Tensor, ratio: Tensor, mixed: Tensor) -> Tensor:
    """``lambda f + (1 - lambda) g`` for the chosen rows: tail-class feature enhancement (CoSSL, arXiv 2112.04564).

    Args:
        features: f, [B, D], of labeled items.
        others: g, [B, D], of unlabeled items.
        ratio: lambda, [B].
        mixed: bool [B].

    Returns:
        [B, D].

    >>> enhance(torch.ones(2, 2), torch.zeros(2, 2), ratio=torch.tensor([0.75, 0.75]), mixed=torch.tensor([True, False]))
    tensor([[0.7500, 0.7500],
            [1.0000, 1.0000]])
    """
    ratio = torch.where(mixed, ratio, 1.0)[:, None]
    return ratio * features + (1 - ratio) * others


def transferred_targets(logits: Tensor, label: Tensor, prior: Tensor, scale: float, offset: float) -> Tensor:
    """``softmax((z - T_y log pi) / 2)``, ``T_c = A softmax(-log pi)_c + B``: what TRAS' second head learns (arXiv 2205.13358).

    The rarer the class that an item is taken for, the more the prior is taken out of its target.

    Args:
        logits: z, [B, C].
        label: y, [B].
        prior: log pi, [C].
        scale, offset: A, B.

    Returns:
        [B, C] probabilities.

    >>> prior = torch.tensor([0.8, 0.2]).log()
    >>> transferred_targets(torch.zeros(1, 2), torch.tensor([1]), prior, scale=0.0, offset=2.0)
    tensor([[0.2000, 0.8000]])
    """
    strength = scale * (-prior).softmax(dim=0) + offset
    return ((logits - strength[label][:, None] * prior) / 2).softmax(dim=1)
