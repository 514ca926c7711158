"""CoMatch's memory: pseudo-labels are smoothed by those of similar items seen lately."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from ferbench.alignments.base import AlignRule
from ferbench.arguments import COUNT, COUNT_OR_0, POSITIVE, SHARE, check_numbers
from ferbench.contracts import Evidence
from ferbench.core.heads import ProjectionHead
from ferbench.functional.graph import neighbour_shares, smooth
from ferbench.functional.probabilities import as_probabilities
from ferbench.lifecycle import RunContext, embeddings
from ferbench.registry import ALIGNMENTS


@ALIGNMENTS.register_module()
class MemorySmoothing(AlignRule):
    """``alpha * p + (1 - alpha) * sum_j a_j p_j``, a_j the share of item j of a memory in the item's similarities.

    CoMatch (Li et al. 2021, arXiv 2011.11183, sec. 3). The memory holds embeddings (head ``projection``, named as
    `Matching`'s ``embedding``) and pseudo-labels of the last batches: before smoothing for unlabeled items, the label for
    labeled ones. It is written after it is read.

    Args:
        alpha: how much of its own pseudo-label an item keeps.
        temperature: of the similarity.
        batches: steps that the memory holds (5 in the authors' code for CIFAR).
        start: iterations before smoothing starts; None: ``batches``, when the memory is full.
        dim: dimensions of the embedding.

    Buffers:
        keys: float32 [K, dim], K = batches * (labeled + unlabeled images of a step). values: float32 [K, C]; zero rows
        are not filled. pointer: int64 [], where the next batch is written.

    >>> from ferbench.testing import make_evidence
    >>> rule = MemorySmoothing(alpha=0.5, batches=1, start=1, dim=2)
    >>> context = RunContext(2, 1, 8, max_iters=100, class_counts=(1, 0), labeled_batch=1, unlabeled_batch=1)
    >>> rule.bind(context)
    >>> faces = dict(embedding=torch.tensor([[1.0, 0.0]]), labeled_embedding=torch.tensor([[1.0, 0.0]]))
    >>> rule(make_evidence([[0.6, 0.4]], **faces))
    tensor([[0.6000, 0.4000]])
    >>> rule(make_evidence([[0.6, 0.4]], iteration=1, **faces))
    tensor([[0.7000, 0.3000]])
    """

    keys: Tensor
    values: Tensor
    pointer: Tensor

    def __init__(
        self,
        alpha: float = 0.9,
        temperature: float = 0.2,
        batches: int = 5,
        start: int | None = None,
        dim: int = 128,
    ):
        super().__init__()
        check_numbers(self, SHARE, alpha=alpha)
        check_numbers(self, POSITIVE, temperature=temperature)
        check_numbers(self, COUNT, batches=batches, dim=dim)
        check_numbers(self, COUNT_OR_0, or_none=True, start=start)
        self.alpha, self.temperature, self.batches, self.dim = alpha, temperature, batches, dim
        self.start = batches if start is None else start

    @override
    def bind(self, context: RunContext) -> None:
        size = self.batches * (context.labeled_batch + context.unlabeled_batch)
        self.register_buffer("keys", torch.zeros(size, self.dim))
        self.register_buffer("values", torch.zeros(size, context.num_classes))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    @override
    def heads(self, num_features: int, num_classes: int) -> dict[str, nn.Module]:
        return {"projection": ProjectionHead(num_features, self.dim)}

    @override
    def forward(self, evidence: Evidence) -> Tensor:
        unlabeled, labeled = embeddings(evidence, "MemorySmoothing")
        probs = evidence.probs
        smoothed = self._smoothed(probs, unlabeled) if evidence.iteration >= self.start else probs
        known = as_probabilities(evidence.labels, probs.shape[1])
        self._remember(torch.cat([unlabeled, labeled]), torch.cat([probs.to(self.values.dtype), known]))
        return smoothed

    def _smoothed(self, probs: Tensor, embedding: Tensor) -> Tensor:
        shares = neighbour_shares(embedding, self.keys, self.values.sum(dim=1) > 0, self.temperature)
        with torch.autocast(probs.device.type, enabled=False):
            remembered = shares @ self.values
        return smooth(probs, remembered, self.alpha)

    def _remember(self, keys: Tensor, values: Tensor) -> None:
        rows = (self.pointer + torch.arange(len(keys), device=keys.device)) % len(self.keys)
        self.keys[rows], self.values[rows] = keys, values
        self.pointer.copy_((self.pointer + len(keys)) % len(self.keys))
