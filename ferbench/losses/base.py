"""The bases of losses: on labeled images, between pseudo-label and prediction, and extra terms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ferbench.arguments import NONNEGATIVE, check_numbers
from ferbench.contracts import Batch, MatchingStep
from ferbench.errors import UserError, described
from ferbench.lifecycle import Part


def class_factors(part: object, class_weight: Any) -> Tensor | None:
    """``class_weight``, one number per class, as float32 [C]; None stays None.

    Raises:
        UserError: it is no sequence of numbers of at least 0.
    """
    if class_weight is None:
        return None
    if isinstance(class_weight, str) or not isinstance(class_weight, Sequence):
        raise UserError(
            f"{type(part).__name__} got class_weight={class_weight!r}",
            expected="one number per class, at least 0",
        )
    factors: dict[str, Any] = {f"class_weight[{i}]": factor for i, factor in enumerate(class_weight)}
    check_numbers(part, NONNEGATIVE, **factors)
    return torch.tensor(class_weight, dtype=torch.float32)


def check_class_factors(part: object, factors: Tensor | None, num_classes: int) -> None:
    """Refuse factors [C] of another number of classes than the run has.

    Raises:
        UserError: there are more or fewer.
    """
    if factors is not None and len(factors) != num_classes:
        raise UserError(
            f"{type(part).__name__} got a class_weight of {len(factors)} numbers",
            expected=f"{num_classes}, one per class",
        )


def scalar(part: nn.Module, made: Any, where: str) -> Tensor:
    """The loss [] that a part made; a look at its value would make a GPU wait.

    Args:
        part: names itself in the message.
        made: what its `forward` returned.
        where: its place in the config.

    Raises:
        UserError: it is no floating-point tensor of no dimension.
    """
    if isinstance(made, Tensor) and made.ndim == 0 and made.is_floating_point():
        return made
    raise UserError(
        f"{type(part).__name__} returned {described(made)}", where=where,
        expected="a loss: a floating-point tensor of shape ()",
        fix="average over the batch, and check the term with ferbench.testing, see docs/howto/plugin.md",
    )  # fmt: skip


class SupervisedLoss(Part, ABC):
    """Loss on the labeled items."""

    @abstractmethod
    def forward(self, logits: Tensor, target: Tensor, iteration: int) -> Tensor:
        """[B, C] logits, [B] labels or [B, C] probabilities, and the step (from 0) -> []."""


class Consistency(Part, ABC):
    """Loss between the pseudo-label and the prediction on another view."""

    @abstractmethod
    def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """[B, C] logits, [B] classes or [B, C] probabilities, [B] weights -> []: a mean over the whole batch."""


class ExtraTerm(Part, ABC):
    """A summand of the loss beside the supervised and the consistency loss.

    Attributes:
        name: in the log.
        weight: factor in the total loss.
        views: unlabeled views that it reads, of those that the data offers.
        labeled_views: labeled views beside ``weak``; their outputs are named ``labeled_<view>``.
        needs_gradient: names of outputs that must carry a gradient.
        learns_labels: whether it learns the batch's labels, beside the supervised loss.
    """

    name: str
    weight: float
    views: tuple[str, ...] = ()
    labeled_views: tuple[str, ...] = ()
    needs_gradient: tuple[str, ...] = ()
    learns_labels: bool = False

    def derived_views(self, batch: Batch) -> Mapping[str, Tensor]:
        """Further images [*, 3, S, S] that it makes of the batch on the device; their outputs bear the names given here."""
        return {}

    @abstractmethod
    def forward(self, step: MatchingStep) -> Tensor:
        """The term before its weight, []."""
