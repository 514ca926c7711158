"""What an algorithm is: it names the views it needs and turns one step's batch into a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from ferbench.lifecycle import Part
from ferbench.models.classifier import Output


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
        number: of this batch in the run: the iteration, unless steps are cut into micro-batches, which have one iteration.
            Random numbers are drawn as functions of it, so that no two batches draw the same.
    """

    labeled: Mapping[str, Tensor]
    target: Tensor
    labels: Tensor
    unlabeled: Mapping[str, Tensor]
    index: Tensor | None
    labeled_index: Tensor
    iteration: int
    number: int = -1

    def __post_init__(self) -> None:
        if self.number < 0:
            self.number = self.iteration


class Network(Protocol):
    """How an algorithm runs the classifier: several named view batches at once (`ferbench.models.passes`)."""

    def __call__(
        self, views: Mapping[str, Tensor], needs_gradient: Collection[str], update_statistics: bool = True
    ) -> dict[str, Output]:
        """Output of every view; views not in ``needs_gradient`` come without a graph.

        ``update_statistics=False`` keeps the pass out of batch-norm's running statistics.
        """
        ...

    def teacher(self, views: Mapping[str, Tensor], training: bool = False) -> dict[str, Output]:
        """Output of every view from the EMA weights, without a graph; in evaluation mode unless ``training``.

        In training mode it has dropout, and batch-norm normalises by the batch, which its running statistics do not see.
        """
        ...

    def head(self, name: str, features: Tensor) -> Tensor:
        """What a further head (see `Part.heads`) makes of features [B, D], e.g. of detached ones that it alone learns from."""
        ...


@dataclass
class PseudoLabels:
    """What a step decided about this process' unlabeled items, for diagnostics only.

    Attributes:
        probs: [b, C] weak-view probabilities that the rules saw.
        target: [b] or [b, C] pseudo-labels.
        weight: [b] in [0, 1].
        thresholds: [C] or None.
    """

    probs: Tensor
    target: Tensor
    weight: Tensor
    thresholds: Tensor | None = None

    @property
    def confidence(self) -> Tensor:
        """[b] largest weak-view probability."""
        return self.probs.max(dim=1).values

    @property
    def label(self) -> Tensor:
        """[b] class of the pseudo-label."""
        return self.target.argmax(dim=1) if self.target.is_floating_point() else self.target


@dataclass
class StepResult:
    """A step's loss and what to log about it; all tensors stay on the device."""

    loss: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)
    pseudo_labels: PseudoLabels | None = None


class Algorithm(Part, ABC):
    """Base of all algorithms. It owns rules and losses (parts), never the classifier or the data.

    Attributes:
        all_labels: whether it trains on the labels of the whole training part (the oracle) instead of the budget.
    """

    all_labels: bool = False

    @property
    def views(self) -> Views:
        """The views it needs."""
        return Views()

    @property
    def prediction_head(self) -> str | None:
        """The head (see `Part.heads`) whose output is the prediction at evaluation; None: the classifier's own."""
        return None

    def prediction(self, output: Output) -> Tensor:
        """Logits [B, C] of the prediction at evaluation; an algorithm of several heads may average them."""
        return output.of(self.prediction_head)

    @property
    def evidence_head(self) -> str | None:
        """The head whose output makes the pseudo-labels; passes over data sets show its predictions to the rules."""
        return None

    @property
    def generation(self) -> int | None:
        """Iterations after which the classifier starts anew from its initial weights, over and over (known after `bind`).

        What was learnt survives in the buffers of the parts that are `lasting`; the others start anew too. The learning
        rate's schedule goes on. None: a single generation.
        """
        return None

    @abstractmethod
    def step(self, network: Network, batch: Batch) -> StepResult:
        """The loss of one step."""
