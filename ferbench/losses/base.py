"""What an extra term of a matching loss is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from ferbench.algorithms.matching import MatchingStep


class ExtraTerm(nn.Module, ABC):
    """A summand of the loss beside the supervised and the consistency loss.

    Attributes:
        name: in the log.
        weight: factor in the total loss.
        views: unlabeled views that it reads.
        needs_gradient: those of them that must carry a gradient.
    """

    name: str
    weight: float
    views: tuple[str, ...]
    needs_gradient: tuple[str, ...]

    @abstractmethod
    def forward(self, step: MatchingStep) -> Tensor:
        """The term before its weight, []."""
