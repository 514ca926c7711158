"""What a threshold rule is: it looks at one step's evidence and says how much each pseudo-label counts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ferbench.errors import UserError
from ferbench.lifecycle import Part


@dataclass(frozen=True)
class Evidence:
    """What a rule may look at in one step: the *global* batch (gathered over ranks), float32, without gradient.

    Attributes:
        probs: [B, C] probabilities of the unlabeled items, from their weak views, after the alignments so far.
        raw_probs: [B, C] the same before any alignment.
        index: [B] place of each item in the unlabeled set; the same item keeps its index for the whole run.
        labeled_probs: [L, C] probabilities of the labeled items of this step.
        labels: [L] their classes.
        labeled_index: [L] their places in the labeled set.
        iteration: 0 at the first step.
        embedding, labeled_embedding: [B, D], [L, D] what the head named by `Matching`'s ``embedding`` makes of the weak
            views; None where no head is named.
    """

    probs: Tensor
    raw_probs: Tensor
    index: Tensor
    labeled_probs: Tensor
    labels: Tensor
    labeled_index: Tensor
    iteration: int
    embedding: Tensor | None = None
    labeled_embedding: Tensor | None = None


def embeddings(evidence: Evidence, part: str) -> tuple[Tensor, Tensor]:
    """What a head makes of the unlabeled and of the labeled items, for a part that cannot do without.

    Raises:
        UserError: `Matching`'s ``embedding`` names no head.
    """
    if evidence.embedding is None or evidence.labeled_embedding is None:
        raise UserError(
            f"{part} looks at the output of a head, but the algorithm shows none to its rules",
            where="model.algorithm.embedding",
            expected="the name of a head",
            fix=f"set embedding to the head that {part} asks for, e.g. 'projection'",
        )
    return evidence.embedding, evidence.labeled_embedding


class Rule(Part, ABC):
    """What alignment, threshold and target rules share: evidence in, one row per unlabeled item of the global batch out.

    Every process sees the same evidence and therefore holds the same state; a step costs O(batch), whatever the size of
    the unlabeled set. No gradient passes.
    """

    @abstractmethod
    def forward(self, evidence: Evidence) -> Tensor:
        """One row per item, [B, ...]; may update the state."""

    @torch.no_grad()
    def __call__(self, *args: Evidence) -> Tensor:
        """A rule never carries gradient."""
        return super().__call__(*args)


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
