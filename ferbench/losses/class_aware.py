"""Supervised contrast between embeddings, with pseudo-labels as classes (CCSSL)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from ferbench.arguments import COUNT, NONNEGATIVE, POSITIVE, SHARE, check_choice, check_numbers
from ferbench.contracts import MatchingStep
from ferbench.core.heads import ProjectionHead
from ferbench.distributed import gather_rows_with_grad
from ferbench.functional.losses import class_aware_contrast
from ferbench.losses.base import ExtraTerm
from ferbench.registry import LOSSES

OWN_VIEW = ("one", "confidence")


@LOSSES.register_module()
class ClassAwareContrast(ExtraTerm):
    """Draws confident items of one pseudo-label together and every other item to its own second view (CCSSL).

    Supervised contrast between the embeddings of two strong views (head ``projection``: two linear layers and L2
    normalisation), in which j is a positive of i by ``P_ij = q_i q_j`` (Yang et al. 2022, arXiv 2203.02261, eq. 8):
    q is the confidence of the weak view, i and j have one pseudo-label, and both reach ``threshold``. An item's own second
    view is a positive by ``P_ii = 1``. All rows of the global batch are each other's negatives, so the result does not
    depend on the number of processes.

    Args:
        weight: factor in the total loss; the authors use 1 (CIFAR) and 2 (Semi-iNat).
        threshold: confidence from which items are compared by class (T_push); the authors use 0.9 for data with items of
            unknown classes (Semi-iNat) and 0 for clean data (CIFAR).
        temperature: of the similarity.
        own_view: how much an item's own second view is a positive: ``one``, or ``confidence``, q_i^2. The latter is what the
            authors' published numbers were made with; their code was corrected afterwards.
        dim: dimensions of the embedding.

    >>> from ferbench.contracts import Output
    >>> from ferbench.testing import make_step
    >>> output = Output(torch.tensor([[9.0, 0.0], [0.0, 9.0]]), torch.zeros(2, 1), {"projection": torch.eye(2)})
    >>> step = make_step({"weak": output, "strong": output, "strong2": output}, weight=[1.0, 1.0])
    >>> ClassAwareContrast(temperature=1.0)(step)
    tensor(0.5514)
    """

    name = "contrastive"
    views = ("strong", "strong2")
    needs_gradient = ("strong", "strong2")

    def __init__(
        self,
        weight: float = 1.0,
        threshold: float = 0.9,
        temperature: float = 0.07,
        dim: int = 64,
        own_view: str = "one",
    ):
        super().__init__()
        check_numbers(self, NONNEGATIVE, weight=weight)
        check_numbers(self, SHARE, threshold=threshold)
        check_numbers(self, POSITIVE, temperature=temperature)
        check_numbers(self, COUNT, dim=dim)
        check_choice(self, OWN_VIEW, own_view=own_view)
        self.weight, self.threshold, self.temperature, self.dim = weight, threshold, temperature, dim
        self.own_view = own_view

    @override
    def heads(self, num_features: int, num_classes: int) -> dict[str, nn.Module]:
        return {"projection": ProjectionHead(num_features, self.dim)}

    def forward(self, step: MatchingStep) -> Tensor:
        """Unweighted term, []."""
        embeddings = (step.outputs[view].heads["projection"].float() for view in self.views)
        first, second = map(gather_rows_with_grad, embeddings)
        confidence, label = step.evidence.probs.max(dim=1)
        trusted = confidence >= self.threshold
        alike = (label[:, None] == label) & trusted[:, None] & trusted
        itself = torch.eye(len(label), dtype=torch.bool, device=label.device)
        positives = confidence[:, None] * confidence * (alike | itself)
        if self.own_view == "one":
            positives = positives.masked_fill(itself, 1.0)
        return class_aware_contrast(first, second, positives, self.temperature)
