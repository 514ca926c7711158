"""What an algorithm is: it names the views it needs and turns one step's batch into a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor, nn

from ferbench.models.classifier import Output
from ferbench.thresholds.base import LabeledPass, RunContext


@dataclass(frozen=True)
class Views:
    """The views an algorithm trains on, by stream. No unlabeled view: the unlabeled stream is not read at all."""

    labeled: tuple[str, ...] = ("weak",)
    unlabeled: tuple[str, ...] = ()


@dataclass
class Batch:
    """One process' share of a step, on the device. Hidden labels are not in it: no algorithm can read them.

    Attributes:
        labeled: view name -> images [b, 3, S, S], normalised.
        target: [b] labels, or [b, C] label distributions.
        labels: [b] labels.
        unlabeled: view name -> images [mu * b, 3, S, S].
        index: [mu * b] place of each unlabeled item in the unlabeled set.
        labeled_index: [b] place of each labeled item in the labeled set.
        iteration: 0 at the first step.
    """

    labeled: Mapping[str, Tensor]
    target: Tensor
    labels: Tensor
    unlabeled: Mapping[str, Tensor]
    index: Tensor | None
    labeled_index: Tensor
    iteration: int


class Network(Protocol):
    """How an algorithm runs the classifier: several named view batches at once (`ferbench.models.ssl`)."""

    def __call__(self, views: Mapping[str, Tensor], needs_gradient: Collection[str]) -> dict[str, Output]:
        """Output of every view; views not in ``needs_gradient`` come without a graph."""
        ...


@dataclass
class PseudoLabels:
    """What a step decided about this process' unlabeled items, for diagnostics only.

    Attributes:
        confidence: [b] largest weak-view probability.
        label: [b] pseudo-label.
        weight: [b] in [0, 1].
        thresholds: [C] or None.
    """

    confidence: Tensor
    label: Tensor
    weight: Tensor
    thresholds: Tensor | None


@dataclass
class StepResult:
    """A step's loss and what to log about it; all tensors stay on the device."""

    loss: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)
    pseudo_labels: PseudoLabels | None = None


class Algorithm(nn.Module, ABC):
    """Base of all algorithms. It owns rules and losses (modules), never the classifier or the data.

    Attributes:
        views: the views it needs.
        all_labels: whether it trains on the labels of the whole training part (the oracle) instead of the budget.
    """

    views: Views = Views()
    all_labels: bool = False

    def bind(self, context: RunContext) -> None:
        """Allocate state that depends on the run. Called once, before any checkpoint is loaded."""

    @property
    def labeled_pass(self) -> LabeledPass | None:
        """The pass over the labeled set that one of its rules asks for, or None (valid after `bind`)."""
        return None

    def see_labeled(self, probs: Tensor, labels: Tensor) -> None:
        """See `ThresholdRule.see_labeled`."""

    def finish_labeled_pass(self) -> None:
        """See `ThresholdRule.finish_labeled_pass`."""

    @abstractmethod
    def step(self, network: Network, batch: Batch) -> StepResult:
        """The loss of one step."""
