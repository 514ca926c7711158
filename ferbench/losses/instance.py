"""SimMatch's consistency of similarities to labeled items."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ferbench.alignments.bank import as_bank
from ferbench.arguments import NONNEGATIVE, check_numbers
from ferbench.contracts import MatchingStep
from ferbench.distributed import local_rows
from ferbench.functional.graph import class_scaled, similarity
from ferbench.losses.base import ExtraTerm
from ferbench.registry import LOSSES


@LOSSES.register_module()
class InstanceSimilarity(ExtraTerm):
    """Weak and strong view are to be similar to the same labeled items (SimMatch, arXiv 2203.06915, sec. 3).

    ``mean_i(- sum_j t_ij log s_ij)`` over the labeled items j of a bank: s_ij the share of j in the similarities of the
    strong view; t_ij that of the weak view times its probability of j's class (aligned, before smoothing), normalised, no
    gradient. 0 before the bank's ``start``.

    Args:
        weight: factor in the total loss.
        bank: arguments of `LabeledBank`, or a bank that other parts hold too.
        view: the unlabeled view that learns.
    """

    name = "instance"

    def __init__(self, weight: float = 1.0, bank: Any = None, view: str = "strong"):
        super().__init__()
        check_numbers(self, NONNEGATIVE, weight=weight)
        self.weight, self.bank = weight, as_bank(bank)
        self.views = self.needs_gradient = (view,)

    def forward(self, step: MatchingStep) -> Tensor:
        """Unweighted term, []."""
        embedding = step.outputs[self.views[0]].heads["projection"]
        found = self.bank.neighbours(step.evidence)
        if step.batch.iteration < self.bank.start:
            return embedding.new_zeros(())
        target = class_scaled(local_rows(found.shares), local_rows(found.probs), found.labels)
        logits = similarity(embedding, found.keys, self.bank.temperature)
        shares = logits.masked_fill(found.labels < 0, -1e9).log_softmax(dim=1)
        return -(target * shares).sum(dim=1).mean()
