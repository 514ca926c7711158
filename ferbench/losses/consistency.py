"""Loss between the pseudo-label and the prediction on another view."""

from __future__ import annotations

from torch import Tensor, nn

from ferbench.functional.losses import cross_entropy, weighted_mean
from ferbench.registry import LOSSES


@LOSSES.register_module()
class ConsistencyCrossEntropy(nn.Module):
    """``mean_i(w_i * H(target_i, p_i))`` over the whole batch (FixMatch, arXiv 2001.07685, eq. 4)."""

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """[B, C] logits, [B] or [B, C] target, [B] weight -> []."""
        return weighted_mean(cross_entropy(logits, target), weight)
