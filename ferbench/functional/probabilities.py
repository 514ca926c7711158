"""Maps of probability vectors."""

from __future__ import annotations

import torch
from torch import Tensor


def sharpen(probs: Tensor, temperature: float) -> Tensor:
    """``p^(1/T) / sum p^(1/T)``, which is ``softmax(logits / T)``.

    Args:
        probs: [B, C], rows sum to 1.
        temperature: T > 0; 1 leaves the probabilities as they are.

    Returns:
        [B, C].

    >>> sharpen(torch.tensor([[0.8, 0.2]]), temperature=0.5)
    tensor([[0.9412, 0.0588]])
    """
    if temperature == 1.0:
        return probs
    # In logarithms: p^(1/T) underflows for small p and T.
    return (probs.clamp_min(1e-30).log() / temperature).softmax(dim=1)


def align(probs: Tensor, mean: Tensor, target: Tensor, eps: float = 1e-6) -> Tensor:
    """``p * (target + eps) / (mean + eps)``, rows normalised: distribution alignment (arXiv 1911.09785, sec. 3.1).

    Args:
        probs: [B, C], rows sum to 1.
        mean: [C] what the model predicts on average.
        target: [C] what it should predict on average.
        eps: keeps a class that is never predicted finite.

    Returns:
        [B, C] of probs' dtype.

    >>> align(torch.tensor([[0.6, 0.4]]), mean=torch.tensor([0.75, 0.25]), target=torch.tensor([0.5, 0.5]))
    tensor([[0.3333, 0.6667]])
    """
    scaled = probs * ((target + eps) / (mean + eps))
    return (scaled / scaled.sum(dim=1, keepdim=True)).to(probs.dtype)


def as_probabilities(target: Tensor, num_classes: int) -> Tensor:
    """Classes [B] as one-hot rows, probabilities [B, C] as they are; [B, C] float32.

    >>> as_probabilities(torch.tensor([1, 0]), num_classes=3)
    tensor([[0., 1., 0.],
            [1., 0., 0.]])
    """
    if target.is_floating_point():
        return target.float()
    # Not F.one_hot, which looks at the values first.
    return (target[:, None] == torch.arange(num_classes, device=target.device)).float()
