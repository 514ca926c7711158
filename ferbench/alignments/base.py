"""The base of alignments, which change the weak view's probabilities before the threshold rule and the target rule see them."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from ferbench.contracts import Evidence
from ferbench.lifecycle import Rule


class AlignRule(Rule):
    """From probabilities to probabilities; several may follow each other."""

    @abstractmethod
    def forward(self, evidence: Evidence) -> Tensor:
        """New ``evidence.probs``: [B, C], rows sum to 1; may update the state."""

    def margin(self) -> Tensor | None:
        """[C] to be added to the logits that learn the pseudo-label, without gradient, or None. Asked after `forward`."""
        return None
