"""Hard and soft pseudo-labels."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from ferbench.registry import TARGETS


class TargetRule(nn.Module, ABC):
    """Turns the weak view's probabilities into the target of the strong view; no gradient passes."""

    @abstractmethod
    def forward(self, probs: Tensor) -> Tensor:
        """[B, C] probabilities -> [B] classes, or [B, C] probabilities."""


@TARGETS.register_module()
class HardTarget(TargetRule):
    """The most probable class (FixMatch, arXiv 2001.07685, eq. 4)."""

    def forward(self, probs: Tensor) -> Tensor:
        """See `TargetRule.forward`."""
        return probs.argmax(dim=1)


@TARGETS.register_module()
class SoftTarget(TargetRule):
    """Probabilities sharpened by a temperature: ``p^(1/T) / sum p^(1/T)``, which is ``softmax(logits / T)``.

    Args:
        temperature: T > 0; 1 leaves the probabilities as they are.
    """

    def __init__(self, temperature: float = 0.5):
        super().__init__()
        self.temperature = temperature

    def forward(self, probs: Tensor) -> Tensor:
        """See `TargetRule.forward`."""
        if self.temperature == 1.0:
            return probs
        # In logarithms: p^(1/T) underflows for small p and T.
        return (probs.clamp_min(1e-30).log() / self.temperature).softmax(dim=1)
