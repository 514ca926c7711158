"""DASO's semantic pseudo-labels: by similarity to class prototypes, and blended into the classifier's."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from typing_extensions import override

from ferbench.alignments.base import AlignRule
from ferbench.arguments import COUNT, POSITIVE, SHARE, check_numbers
from ferbench.contracts import Evidence
from ferbench.functional.imbalance import blend, blending_strength, cosine_logits
from ferbench.lifecycle import Part, RunContext


class Prototypes(Part):
    """Mean features of the last items of each class; a classifier by cosine similarity.

    Each class has as many places as any other, so the prototypes are balanced (DASO, arXiv 2106.05682, sec. 3.2).

    Args:
        length: places per class.
        temperature: of the similarity.

    Buffers:
        features: float32 [C * length + 1, D], the queues one after the other; the last row is scratch space.
        seen: int64 [C], items that have passed through each queue.

    >>> prototypes = Prototypes(length=2, temperature=1.0)
    >>> prototypes.heads(num_features=2, num_classes=2)
    {}
    >>> prototypes.bind(RunContext(num_classes=2, num_labeled=4, num_unlabeled=8, max_iters=100, class_counts=(2, 2)))
    >>> prototypes.add(torch.eye(2), labels=torch.tensor([0, 1]))
    >>> prototypes.logits(torch.tensor([[2.0, 0.0]]))
    tensor([[1., 0.]])
    """

    features: Tensor
    seen: Tensor

    def __init__(self, length: int = 256, temperature: float = 0.05):
        super().__init__()
        check_numbers(self, COUNT, length=length)
        check_numbers(self, POSITIVE, temperature=temperature)
        self.length, self.temperature = length, temperature

    def heads(self, num_features: int, num_classes: int) -> dict[str, nn.Module]:
        """No head; learns how wide features are."""
        self.num_features = num_features
        return {}

    @override
    def bind(self, context: RunContext) -> None:
        rows = context.num_classes * self.length + 1
        self.register_buffer("features", torch.zeros(rows, self.num_features))
        self.register_buffer("seen", torch.zeros(context.num_classes, dtype=torch.int64))

    @torch.no_grad()
    def add(self, features: Tensor, labels: Tensor) -> None:
        """Push features [B, D] of items of known class [B], of the global batch, in their order."""
        member = (labels[:, None] == torch.arange(len(self.seen), device=labels.device)).long()
        total = member.sum(dim=0)
        before = member.cumsum(dim=0).gather(1, labels[:, None]).squeeze(1) - 1  # items of the same class
        place = labels * self.length + (self.seen[labels] + before) % self.length
        stays = before >= total[labels] - self.length  # not overwritten by this very batch
        scratch = torch.full_like(place, len(self.features) - 1)
        self.features[torch.where(stays, place, scratch)] = features.float()
        self.seen += total

    def logits(self, features: Tensor) -> Tensor:
        """Similarity of features [B, D] to each class over the temperature, float32 [B, C]; carries their gradient."""
        filled = self.seen.clamp(max=self.length)
        queues = self.features[:-1].view(len(filled), self.length, -1)
        means = queues.sum(dim=1) / filled.clamp(min=1)[:, None]
        return cosine_logits(features, means, filled > 0, self.temperature)


class SemanticBlend(AlignRule):
    """``(1 - v_y) p + v_y q``, q: by similarity to the prototypes, y = argmax p (DASO, arXiv 2106.05682, sec. 3.3).

    ``v_c = (m_c / max m)^(1/T)``, m: how often each class was the (blended) pseudo-label between the last two refreshes:
    the more of a class' pseudo-labels, the more semantic they become. It comes before the threshold, as in the authors'
    code. `ferbench.algorithms.DASO` makes one; it needs the features as `Evidence.embedding`.

    Args:
        semantic: features [B, D] -> similarities over a temperature, [B, C].
        temperature: T.
        interval: iterations between refreshes of m.
        warmup: share of the run without blending.

    Buffers:
        counts: float32 [C], pseudo-labels since the last refresh. shares: float32 [C], m, not normalised.

    >>> from ferbench.testing import make_evidence
    >>> rule = SemanticBlend(lambda features: features, temperature=1.0, interval=1, warmup=0.0)
    >>> rule.bind(RunContext(num_classes=2, num_labeled=4, num_unlabeled=8, max_iters=100, class_counts=(2, 2)))
    >>> rule(make_evidence([[0.6, 0.4]], embedding=torch.zeros(1, 2)))
    tensor([[0.6000, 0.4000]])
    >>> rule(make_evidence([[0.6, 0.4]], embedding=torch.zeros(1, 2), iteration=1))
    tensor([[0.5000, 0.5000]])
    """

    counts: Tensor
    shares: Tensor

    def __init__(
        self,
        semantic: Callable[[Tensor], Tensor],
        temperature: float = 1.5,
        interval: int = 100,
        warmup: float = 0.02,
    ):
        super().__init__()
        check_numbers(self, POSITIVE, temperature=temperature)
        check_numbers(self, COUNT, interval=interval)
        check_numbers(self, SHARE, warmup=warmup)
        self.semantic, self.temperature, self.interval, self.warmup = semantic, temperature, interval, warmup
        self._refreshed = 0

    @override
    def bind(self, context: RunContext) -> None:
        self.start = self.warmup * context.max_iters
        self.register_buffer("counts", torch.zeros(context.num_classes))
        self.register_buffer("shares", torch.zeros(context.num_classes))

    @override
    def forward(self, evidence: Evidence) -> Tensor:
        if evidence.iteration % self.interval == 0 and evidence.iteration != self._refreshed:
            self._refreshed = evidence.iteration  # once, however many parts the step's batch is cut into
            self.shares.copy_(self.counts)
            self.counts.zero_()
        probs = evidence.probs
        if evidence.iteration >= self.start:
            assert evidence.embedding is not None
            q = self.semantic(evidence.embedding).softmax(dim=1)
            probs = blend(probs, q, blending_strength(self.shares, self.temperature)).to(probs.dtype)
        label = probs.argmax(dim=1)
        self.counts.index_add_(0, label, torch.ones_like(label, dtype=self.counts.dtype))
        return probs
