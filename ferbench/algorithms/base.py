"""The base of all algorithms: an algorithm names the views it needs and turns one step's batch into a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from ferbench.contracts import Batch, Network, Output, StepResult, Views
from ferbench.lifecycle import Part


class Algorithm(Part, ABC):
    """Base of all algorithms. It owns rules and losses (parts), never the classifier or the data.

    Attributes:
        all_labels: whether it trains on the labels of the whole training part (the oracle) instead of the budget.
        learns_labels: whether it learns the batch's labels beside the supervised loss.
        skips_held_out: whether its supervised loss leaves out the images that `HeldOutThreshold` holds out.
    """

    all_labels: bool = False
    learns_labels: bool = False
    skips_held_out: bool = False

    @property
    def views(self) -> Views:
        """The views that the algorithm trains on."""
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

        What was learned survives in the buffers of the parts that are `lasting`; the others start anew too. The learning
        rate's schedule goes on. None: a single generation.
        """
        return None

    @abstractmethod
    def step(self, network: Network, batch: Batch) -> StepResult:
        """The loss of one step."""
