"""Maps of probability vectors."""

from __future__ import annotations

from torch import Tensor


def sharpen(probs: Tensor, temperature: float) -> Tensor:
    """``p^(1/T) / sum p^(1/T)``, which is ``softmax(logits / T)``.

    Args:
        probs: [B, C], rows sum to 1.
        temperature: T > 0; 1 leaves the probabilities as they are.

    Returns:
        [B, C].
    """
    if temperature == 1.0:
        return probs
    # In logarithms: p^(1/T) underflows for small p and T.
    return (probs.clamp_min(1e-30).log() / temperature).softmax(dim=1)
