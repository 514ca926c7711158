"""Mixtures of images and of their targets."""

from __future__ import annotations

import torch
from torch import Tensor


def mix(rows: Tensor, partners: Tensor, share: Tensor) -> Tensor:
    """``(1 - share_i) * row_i + share_i * partner_i`` (MixUp, Zhang et al. 2018, arXiv 1710.09412).

    Args:
        rows, partners: [B, ...] images, or label distributions.
        share: [B] in [0, 1], how much of the mixture is the partner.

    Returns:
        [B, ...].

    >>> mix(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), share=torch.tensor([0.25]))
    tensor([[0.7500, 0.2500]])
    """
    return torch.lerp(rows, partners, share.view(-1, *(1,) * (rows.ndim - 1)))
