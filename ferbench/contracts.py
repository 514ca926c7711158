"""The types that a training step passes between the folders: what comes in, what the parts see, what goes out. No logic.

``Batch -> Network -> Output -> Evidence -> (alignments, threshold rule, target rule) -> MatchingStep -> StepResult``
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from torch import Tensor


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


class Output(NamedTuple):
    """The output of the classifier for a batch.

    Attributes:
        logits: [B, C].
        features: [B, D], the vectors that the logits are a linear map of.
        heads: output of each further head on the features, [B, ...].
    """

    logits: Tensor
    features: Tensor
    heads: Mapping[str, Tensor] = {}

    def of(self, head: str | None) -> Tensor:
        """The output of a further head, or the logits (None)."""
        return self.logits if head is None else self.heads[head]

    def detach(self) -> Output:
        """The same without a graph."""
        heads = {name: x.detach() for name, x in self.heads.items()}
        return Output(self.logits.detach(), self.features.detach(), heads)

    def split(self, sizes: Sequence[int]) -> list[Output]:
        """Cut into batches of the given sizes."""
        heads = {name: x.split(list(sizes)) for name, x in self.heads.items()}
        parts = zip(self.logits.split(list(sizes)), self.features.split(list(sizes)), strict=True)
        return [Output(*part, {n: x[i] for n, x in heads.items()}) for i, part in enumerate(parts)]


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
        """The output of a further head (see `Part.heads`) on features [B, D], e.g. on detached ones."""
        ...


@dataclass(frozen=True)
class Evidence:
    """The predictions of one step that rules see: the *global* batch (gathered over ranks), float32, without gradient.

    Attributes:
        probs: [B, C] probabilities of the unlabeled items, from their weak views, after the alignments so far.
        raw_probs: [B, C] the same before any alignment.
        index: [B] place of each item in the unlabeled set; the same item keeps its index for the whole run.
        labeled_probs: [L, C] probabilities of the labeled items of this step.
        labels: [L] their classes.
        labeled_index: [L] their places in the labeled set.
        iteration: 0 at the first step.
        embedding, labeled_embedding: [B, D], [L, D] output of the head named by `Matching`'s ``embedding`` on the weak
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


@dataclass(frozen=True)
class MatchingStep:
    """A step as extra terms see it; one process' share, rows in batch order.

    Attributes:
        outputs: ``labeled``, ``labeled_<view>``, every unlabeled and every derived view -> logits, features, heads.
        batch: the step's batch.
        evidence: the predictions that the rules saw, of the global batch.
        probs: [b, C] aligned weak-view probabilities (mean over the weak views), no gradient.
        target: [b] or [b, C] pseudo-labels.
        weight: [b] from the threshold rule, no gradient.
        network: for further passes.
        teacher: ``labeled`` and every weak view -> output of the model that makes the pseudo-labels (``Matching``'s ``judge``).
    """

    outputs: dict[str, Output]
    batch: Batch
    evidence: Evidence
    probs: Tensor
    target: Tensor
    weight: Tensor
    network: Network
    teacher: Mapping[str, Output] = field(default_factory=dict)


@dataclass
class PseudoLabels:
    """The pseudo-labels and weights of this process' unlabeled items, for diagnostics only.

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
