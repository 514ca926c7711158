"""SimMatch's bank of labeled embeddings: pseudo-labels are smoothed by the labels of similar labeled items."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from ferbench.alignments.base import AlignRule
from ferbench.arguments import COUNT, COUNT_OR_0, POSITIVE, SHARE, check_numbers
from ferbench.contracts import Evidence
from ferbench.core.heads import ProjectionHead
from ferbench.functional.duplicates import last_occurrence
from ferbench.functional.graph import class_totals, neighbour_shares, smooth
from ferbench.functional.randomness import derive_seed
from ferbench.lifecycle import Part, RunContext, embeddings
from ferbench.registry import ALIGNMENTS


@dataclass(frozen=True)
class Neighbours:
    """A step's unlabeled items and the labeled ones as the bank held them before the step.

    Attributes:
        keys: [K, D] embeddings of the labeled items.
        labels: [K] their classes, -1 where none is written yet.
        shares: [B, K] share of each in the similarities of an unlabeled item of the global batch.
        probs: [B, C] what was believed of the unlabeled items when the bank was first asked.
    """

    keys: Tensor
    labels: Tensor
    shares: Tensor
    probs: Tensor


class LabeledBank(Part):
    """Embeddings (head ``projection``) and classes of labeled items, updated with every labeled batch.

    One row per labeled item, moved by ``normalise(momentum * old + (1 - momentum) * new)``; rows start as random unit
    vectors, and take part in nothing until they were written once. Where the labeled set is too large for that, ``size``
    keeps the last embeddings of the labeled stream instead. Several parts may hold one bank.

    Args:
        temperature: of the similarity.
        momentum: see above; 0: the new embedding replaces the old one (for embeddings of the EMA model).
        size: rows; None, or no fewer than labeled items: one per item.
        start: iterations before the bank is used; None: as many as fill it, which is one pass over the labeled set.
        dim: dimensions of the embedding.

    Buffers:
        keys: float32 [K + 1, dim], unit rows. labels: int64 [K + 1], -1 where none is written. The last row of both is
        scratch space. pointer: int64 [], where the next row is written, if K is below the number of labeled items.

    >>> from ferbench.testing import make_evidence
    >>> bank = LabeledBank(dim=2)
    >>> bank.bind(RunContext(num_classes=2, num_labeled=1, num_unlabeled=8, max_iters=100, class_counts=(0, 1)))
    >>> faces = dict(embedding=torch.tensor([[1.0, 0.0]]), labeled_embedding=torch.tensor([[1.0, 0.0]]), labels=[1])
    >>> bank.neighbours(make_evidence([[0.6, 0.4]], **faces)).labels
    tensor([-1])
    >>> bank.neighbours(make_evidence([[0.6, 0.4]], **faces)).labels
    tensor([1])
    """

    keys: Tensor
    labels: Tensor
    pointer: Tensor

    def __init__(
        self,
        temperature: float = 0.1,
        momentum: float = 0.7,
        size: int | None = None,
        start: int | None = None,
        dim: int = 128,
    ):
        super().__init__()
        check_numbers(self, POSITIVE, temperature=temperature)
        check_numbers(self, SHARE, momentum=momentum)
        check_numbers(self, COUNT, or_none=True, size=size)
        check_numbers(self, COUNT_OR_0, or_none=True, start=start)
        check_numbers(self, COUNT, dim=dim)
        self.temperature, self.momentum, self.size, self.dim = temperature, momentum, size, dim
        self.asked_start, self.start = start, 0  # the latter until `bind` knows the run
        self._step: tuple[Tensor, Neighbours] | None = None

    @override
    def bind(self, context: RunContext) -> None:
        self.ring = self.size is not None and self.size < context.num_labeled
        rows = self.size if self.size is not None and self.ring else context.num_labeled
        filling = math.ceil(rows / max(context.labeled_batch, 1))
        self.start = filling if self.asked_start is None else self.asked_start
        generator = torch.Generator().manual_seed(derive_seed(context.seed, "labeled bank"))
        self.register_buffer("keys", F.normalize(torch.randn(rows + 1, self.dim, generator=generator), dim=1))
        self.register_buffer("labels", torch.full((rows + 1,), -1, dtype=torch.int64))
        if self.ring:
            self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    @override
    def heads(self, num_features: int, num_classes: int) -> dict[str, nn.Module]:
        return {"projection": ProjectionHead(num_features, self.dim)}

    @torch.no_grad()
    def neighbours(self, evidence: Evidence) -> Neighbours:
        """What the bank knows of a step's unlabeled items. The first call of a step updates the bank, after reading it.

        Args:
            evidence: of the step, with embeddings.
        """
        if self._step is None or self._step[0] is not evidence.raw_probs:
            unlabeled, labeled = embeddings(evidence, type(self).__name__)
            # Copies: the loss looks back at the rows that the update writes.
            keys, labels = self.keys[:-1].clone(), self.labels[:-1].clone()
            shares = neighbour_shares(unlabeled, keys, labels >= 0, self.temperature)
            self._step = evidence.raw_probs, Neighbours(keys, labels, shares, evidence.probs)
            self._update(labeled, evidence.labels, evidence.labeled_index)
        return self._step[1]

    def _update(self, embedding: Tensor, labels: Tensor, index: Tensor) -> None:
        scratch = len(self.keys) - 1
        if self.ring:
            index = (self.pointer + torch.arange(len(labels), device=labels.device)) % scratch
            self.pointer.copy_((self.pointer + len(labels)) % scratch)
        else:
            embedding = F.normalize(torch.lerp(embedding, self.keys[index], self.momentum), dim=1)
        last = last_occurrence(index)
        place = torch.where(last, index, torch.full_like(index, scratch))
        self.keys[place] = torch.where(last[:, None], embedding, torch.zeros_like(embedding))
        self.labels[place] = torch.where(last, labels, torch.full_like(labels, -1))


def as_bank(bank: Any, **defaults: Any) -> LabeledBank:
    """A bank that exists, or one made of its arguments (a dict, or None)."""
    return bank if isinstance(bank, LabeledBank) else LabeledBank(**{**defaults, **(bank or {})})


@ALIGNMENTS.register_module()
class BankSmoothing(AlignRule):
    """``alpha * p + (1 - alpha) * q``, q_c the shares of the labeled items of class c in the item's similarities.

    SimMatch (Zheng et al. 2022, arXiv 2203.06915, sec. 3). Nothing is smoothed before the bank's ``start``.

    Args:
        alpha: how much of its own pseudo-label an item keeps.
        bank: arguments of `LabeledBank`, or a bank that other parts hold too.

    Buffers: those of the bank.

    >>> from ferbench.testing import make_evidence
    >>> rule = BankSmoothing(alpha=0.5, bank=dict(dim=2, start=1))
    >>> rule.bank.bind(RunContext(num_classes=2, num_labeled=1, num_unlabeled=8, max_iters=100, class_counts=(1, 0)))
    >>> faces = dict(embedding=torch.tensor([[1.0, 0.0]]), labeled_embedding=torch.tensor([[1.0, 0.0]]))
    >>> rule(make_evidence([[0.6, 0.4]], **faces))
    tensor([[0.6000, 0.4000]])
    >>> rule(make_evidence([[0.6, 0.4]], iteration=1, **faces))
    tensor([[0.8000, 0.2000]])
    """

    def __init__(self, alpha: float = 0.9, bank: Any = None):
        super().__init__()
        check_numbers(self, SHARE, alpha=alpha)
        self.alpha, self.bank = alpha, as_bank(bank)

    @override
    def forward(self, evidence: Evidence) -> Tensor:
        found = self.bank.neighbours(evidence)
        if evidence.iteration < self.bank.start:
            return evidence.probs
        totals = class_totals(found.shares, found.labels, evidence.probs.shape[1])
        return smooth(evidence.probs, totals, self.alpha)
