"""Hard and soft pseudo-labels."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor
from typing_extensions import override

from ferbench.arguments import POSITIVE, check_numbers
from ferbench.contracts import Evidence
from ferbench.functional.probabilities import sharpen
from ferbench.lifecycle import Rule
from ferbench.registry import TARGETS


class TargetRule(Rule):
    """A rule that makes the pseudo-label, which another view learns to predict."""

    @abstractmethod
    def forward(self, evidence: Evidence) -> Tensor:
        """[B] classes, or [B, C] probabilities."""


@TARGETS.register_module()
class HardTarget(TargetRule):
    """The most probable class (FixMatch, arXiv 2001.07685, eq. 4).

    Args:
        raw: of the probabilities before alignment (SoftMatch) instead of after it.

    >>> from ferbench.testing import make_evidence
    >>> HardTarget()(make_evidence([[0.7, 0.3], [0.2, 0.8]]))
    tensor([0, 1])
    """

    def __init__(self, raw: bool = False):
        super().__init__()
        self.raw = raw

    @override
    def forward(self, evidence: Evidence) -> Tensor:
        return (evidence.raw_probs if self.raw else evidence.probs).argmax(dim=1)


@TARGETS.register_module()
class SoftTarget(TargetRule):
    """Probabilities sharpened by a temperature: ``p^(1/T) / sum p^(1/T)``, which is ``softmax(logits / T)``.

    Args:
        temperature: T > 0; 1 leaves the probabilities as they are.

    >>> from ferbench.testing import make_evidence
    >>> SoftTarget(temperature=0.5)(make_evidence([[0.8, 0.2]]))
    tensor([[0.9412, 0.0588]])
    """

    def __init__(self, temperature: float = 0.5):
        super().__init__()
        check_numbers(self, POSITIVE, temperature=temperature)
        self.temperature = temperature

    @override
    def forward(self, evidence: Evidence) -> Tensor:
        return sharpen(evidence.probs, self.temperature)
