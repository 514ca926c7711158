"""Loss between the pseudo-label and the prediction on another view."""

from __future__ import annotations

from torch import Tensor

from ferbench.functional.losses import cross_entropy, squared_error, weighted_mean
from ferbench.losses.base import Consistency
from ferbench.registry import LOSSES


@LOSSES.register_module()
class ConsistencyCrossEntropy(Consistency):
    """``mean_i(w_i * H(target_i, p_i))`` over the whole batch (FixMatch, arXiv 2001.07685, eq. 4)."""

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """See `Consistency.forward`."""
        return weighted_mean(cross_entropy(logits, target), weight)


@LOSSES.register_module()
class ConsistencySquaredError(Consistency):
    """``mean_i(w_i * mean_c (p_ic - target_ic)^2)`` over the whole batch (Pi-Model, arXiv 1610.02242, sec. 2.1)."""

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """See `Consistency.forward`."""
        return weighted_mean(squared_error(logits, target), weight)
