"""The base of threshold rules: from one step's evidence, a rule computes how much each pseudo-label counts."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from ferbench.contracts import Evidence
from ferbench.lifecycle import Rule


class ThresholdRule(Rule):
    """Turns confidences into weights in [0, 1] (a 0/1 mask for most rules).

    To write one: implement `forward`, register buffers in `bind`, and test it with two steps on paper.
    """

    @abstractmethod
    def forward(self, evidence: Evidence) -> Tensor:
        """Weight of every unlabeled item of the global batch, [B] in [0, 1]; may update the state."""

    def thresholds(self) -> Tensor | None:
        """The threshold per class, [C], as it stands now (for the log), or None if the rule has no such thing."""
        return None
