"""What a threshold rule is: it looks at one step's evidence and says how much each pseudo-label counts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class RunContext:
    """What a part may know of the run it serves, given once before the first step.

    Attributes:
        num_classes: C.
        num_labeled: items in the labeled stream.
        num_unlabeled: items in the unlabeled stream; `Evidence.index` is below it.
        max_iters: training iterations of the whole run.
        class_counts: labeled items per class, C integers.
    """

    num_classes: int
    num_labeled: int
    num_unlabeled: int
    max_iters: int
    class_counts: tuple[int, ...]


@dataclass(frozen=True)
class Evidence:
    """What a rule may look at in one step: the *global* batch (gathered over ranks), without gradient.

    Attributes:
        probs: [B, C] probabilities of the unlabeled items, from their weak views.
        index: [B] place of each item in the unlabeled set; the same item keeps its index for the whole run.
        labeled_probs: [L, C] probabilities of the labeled items of this step.
        labels: [L] their classes.
        iteration: 0 at the first step.
    """

    probs: Tensor
    index: Tensor
    labeled_probs: Tensor
    labels: Tensor
    iteration: int


@dataclass(frozen=True)
class LabeledPass:
    """A rule's wish to see the labeled training set in evaluation mode from time to time.

    Attributes:
        interval: iterations between two passes; the first comes after ``interval`` iterations.
        weights: ``ema`` or ``student``.
        view: ``weak`` (as in training) or ``eval`` (no augmentation).
        max_items: at most so many items, evenly spread over the set; None for all.
    """

    interval: int
    weights: str = "ema"
    view: str = "weak"
    max_items: int | None = None


class ThresholdRule(nn.Module, ABC):
    """Turns confidences into weights in [0, 1] (a 0/1 mask for most rules).

    Its state lives in buffers, so that it is checkpointed and moved with the model. Every process sees the same
    evidence and therefore holds the same state; a step costs O(batch), whatever the size of the unlabeled set.
    To write one: implement `forward`, register buffers in `bind`, and test it with two steps on paper.
    """

    labeled_pass: LabeledPass | None = None

    def bind(self, context: RunContext) -> None:
        """Allocate state that depends on the run. Called once, before any checkpoint is loaded."""

    @abstractmethod
    def forward(self, evidence: Evidence) -> Tensor:
        """Weight of every unlabeled item of the global batch, [B] in [0, 1]; may update the state."""

    def thresholds(self) -> Tensor | None:
        """The threshold per class, [C], as it stands now (for the log), or None if the rule has no such thing."""
        return None

    def see_labeled(self, probs: Tensor, labels: Tensor) -> None:
        """One local batch of the pass that `labeled_pass` asked for: probs [N, C], labels [N]."""
        raise NotImplementedError(
            f"{type(self).__name__} asks for a labeled pass but does not implement see_labeled"
        )

    def finish_labeled_pass(self) -> None:
        """The pass is over on this rank; sum over ranks what was collected and update the state."""

    @torch.no_grad()
    def __call__(self, *args: Evidence) -> Tensor:
        """A rule never carries gradient."""
        return super().__call__(*args)
