"""The base of all parts of an algorithm (rules, losses, terms, the algorithm itself), and what a run tells them, and when."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from ferbench.arguments import COUNT, check_choice, check_numbers
from ferbench.contracts import Evidence
from ferbench.errors import UserError

WEIGHTS = ("ema", "student")  # with which a pass may be made
PASS_VIEWS = ("weak", "eval")


@dataclass(frozen=True)
class RunContext:
    """Facts about the run, given to every part once before the first step.

    Attributes:
        num_classes: C.
        num_labeled: items in the labeled stream.
        num_unlabeled: items in the unlabeled stream; `Evidence.index` is below it.
        max_iters: training iterations of the whole run.
        class_counts: labeled items per class, C integers.
        labeled_batch, unlabeled_batch: images of a step, over all processes.
        seed: of the run; for draws that all processes must share.
        sampler: order of the labeled stream, ``shuffled`` or ``class_balanced``.
        labeled_videos: [num_labeled] integers, the video of each labeled item; None: they are no frames.
        folder: of the run, for what a part writes for the user; None: nothing is to be written.
    """

    num_classes: int
    num_labeled: int
    num_unlabeled: int
    max_iters: int
    class_counts: tuple[int, ...]
    labeled_batch: int = 0
    unlabeled_batch: int = 0
    seed: int = 0
    sampler: str = "shuffled"
    labeled_videos: Tensor | None = field(default=None, compare=False)
    folder: Path | None = None

    def generation_length(self, generations: int) -> int:
        """Iterations of a generation, if the run is cut into so many; the last one may be shorter."""
        return -(-self.max_iters // generations)

    @property
    def class_shares(self) -> tuple[float, ...]:
        """Share of each class in the labeled *stream*, C numbers that sum to 1; 0 for a class without labeled items.

        What corrects for the imbalance of the labels corrects by these, so that it leaves a balanced stream alone.
        """
        present = self.class_counts if self.sampler == "shuffled" else [int(n > 0) for n in self.class_counts]
        return tuple(n / sum(present) for n in present)


@dataclass(frozen=True)
class DatasetPass:
    """A part's request to see a whole data set in evaluation mode from time to time.

    Attributes:
        interval: iterations between two passes; the first comes after ``interval`` iterations.
        weights: ``ema`` or ``student``.
        view: ``weak`` (as in training) or ``eval`` (no augmentation).
        max_items: at most so many items, evenly spread over the set; None for all.
        last: iteration after which no pass is made any more; None: to the end.
    """

    interval: int
    weights: str = "ema"
    view: str = "weak"
    max_items: int | None = None
    last: int | None = None

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise UserError(
                f"a pass over a data set every {self.interval} iterations was asked for",
                expected="an interval of at least 1, e.g. max(1, max_iters // 20): runs may be short",
            )
        check_choice(self, WEIGHTS, weights=self.weights)
        check_choice(self, PASS_VIEWS, view=self.view)
        check_numbers(self, COUNT, or_none=True, max_items=self.max_items)

    def due(self, iteration: int) -> bool:
        """Whether a pass is to be made after ``iteration`` iterations."""
        return iteration % self.interval == 0 and (self.last is None or iteration <= self.last)


class Part(nn.Module):
    """Base of everything an algorithm is made of.

    State lives in buffers, so that it is saved in checkpoints and moves with the model. A part requests a pass over a
    data set by the attributes below; a method that it does not override costs nothing.

    Attributes:
        labeled_pass: the pass over the labeled set that it asks for (set it in `bind`), or None.
        unlabeled_pass: the same over the unlabeled set; it costs one forward pass of every image.
        lasting: whether its buffers are kept when the classifier starts anew (`Algorithm.generation`); those of the other
            parts are set back to what they were at the start of the run.
    """

    labeled_pass: DatasetPass | None = None
    unlabeled_pass: DatasetPass | None = None
    lasting: bool = False

    def accept(self, parts: Sequence[Part]) -> None:
        """Raise `UserError` if it does not go with the other parts of the run (``parts`` are all, outer ones first)."""

    def bind(self, context: RunContext) -> None:
        """Allocate state that depends on the run. Called once, before any checkpoint is loaded."""

    def heads(self, num_features: int, num_classes: int) -> dict[str, nn.Module]:
        """Further heads on the features [B, D] that it needs, by name; trained, averaged and saved with the classifier."""
        return {}

    def see_labeled(self, probs: Tensor, labels: Tensor, index: Tensor) -> None:
        """One local batch of the pass that `labeled_pass` asked for: probs [N, C], labels and places in the set [N]."""
        raise NotImplementedError(
            f"{type(self).__name__} asks for a labeled pass but does not implement see_labeled"
        )

    def finish_labeled_pass(self) -> None:
        """The pass is over on this rank; sum over ranks what was collected and update the state."""

    def see_unlabeled(self, probs: Tensor, index: Tensor) -> None:
        """One local batch of the pass that `unlabeled_pass` asked for: probs [N, C], places in the unlabeled set [N]."""
        raise NotImplementedError(
            f"{type(self).__name__} asks for an unlabeled pass but does not implement see_unlabeled"
        )

    def finish_unlabeled_pass(self) -> None:
        """See `finish_labeled_pass`."""


class Rule(Part, ABC):
    """The base of alignment, threshold and target rules: evidence in, one row per unlabeled item of the global batch out.

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


def parts_of(module: nn.Module) -> list[Part]:
    """The module itself and all in it that are parts, outer ones first, each once."""
    return [part for part in module.modules() if isinstance(part, Part)]


def bind(module: nn.Module, context: RunContext) -> None:
    """Let every part in a module allocate what depends on the run."""
    parts = parts_of(module)
    for part in parts:
        part.accept(parts)
    for part in parts:
        part.bind(context)


def require_shuffled(part: Part, context: RunContext) -> None:
    """Refuse to correct for an imbalance that the labeled stream does not have.

    Raises:
        UserError: the stream is class-balanced.
    """
    if context.sampler != "shuffled":
        raise UserError(
            f"{type(part).__name__} corrects for the class frequencies of a labeled stream that is balanced already",
            where="train_dataloader.sampler",
            expected="'shuffled'",
            fix="choose one of the two corrections",
        )


def embeddings(evidence: Evidence, part: str) -> tuple[Tensor, Tensor]:
    """The embeddings [B, D] of the unlabeled and [L, D] of the labeled items, for a part that needs them.

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
