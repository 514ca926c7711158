"""How far heads agree, and how sure each of them has been: the formulas of MarginMatch and MultiMatch."""

from __future__ import annotations

import torch
from torch import Tensor


def pseudo_margins(logits: Tensor) -> Tensor:
    """By how much a class beats the best of the others: ``z_c - max_{c' != c} z_c'`` (MarginMatch, arXiv 2308.09037).

    Args:
        logits: [..., C], or logarithms of probabilities, which have the same differences; C >= 2.

    Returns:
        [..., C]; positive for the predicted class only.

    >>> pseudo_margins(torch.tensor([[3.0, 1.0, 0.0]]))
    tensor([[ 2., -2., -3.]])
    """
    top, at = logits.topk(2, dim=-1)
    margins = logits - top[..., :1]
    return margins.scatter(-1, at[..., :1], top[..., :1] - top[..., 1:])


def masked_quantile(values: Tensor, keep: Tensor, q: float) -> Tensor:
    """Quantile, linearly interpolated, of the kept values; no shape depends on how many they are.

    Args:
        values: [N], finite.
        keep: [N] bool.
        q: in [0, 1].

    Returns:
        []; 0 where nothing is kept.

    >>> masked_quantile(torch.tensor([4.0, 9.0, 0.0]), keep=torch.tensor([True, False, True]), q=0.5)
    tensor(2.)
    """
    ordered = values.masked_fill(~keep, torch.inf).sort().values
    last = (keep.sum() - 1).clamp(min=0)
    place = q * last
    below = place.floor().long()
    pair = ordered[torch.stack([below, torch.minimum(below + 1, last)])]
    return torch.where(keep.any(), pair[0].lerp(pair[1], place - below), torch.zeros_like(place))


def agreed_label(first: Tensor, second: Tensor, sure: Tensor, too: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The pseudo-label that two heads make for a third one (MultiMatch, Sirbu et al. 2025, arXiv 2506.07801).

    Args:
        first, second: [B] their classes.
        sure, too: [B] bool, whether the first, the second has been sure of its class.

    Returns:
        (label [B]: their common class, or that of the one that is sure; easy [B] bool: they agree and both are sure; hard
        [B] bool: exactly one of them is sure, whether they agree or not). What is neither easy nor hard has no use.

    >>> yes, no = torch.tensor([True, True]), torch.tensor([True, False])
    >>> agreed_label(torch.tensor([2, 0]), torch.tensor([2, 1]), sure=yes, too=no)
    (tensor([2, 0]), tensor([ True, False]), tensor([False,  True]))
    """
    same = first == second
    label = torch.where(same | sure, first, second)
    return label, same & sure & too, sure ^ too
