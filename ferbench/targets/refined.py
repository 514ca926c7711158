"""DARP's pseudo-labels: refined so that the classes get the shares of the labeled set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from ferbench.arguments import COUNT, COUNT_OR_0, POSITIVE, check_numbers
from ferbench.contracts import Evidence
from ferbench.core.parts import build
from ferbench.distributed import rank, sum_over_ranks
from ferbench.errors import UserError
from ferbench.functional.duplicates import last_occurrence
from ferbench.functional.refinery import refine
from ferbench.lifecycle import RunContext
from ferbench.registry import TARGETS
from ferbench.targets.rules import TargetRule


@TARGETS.register_module()
class RefinedTarget(TargetRule):
    """Another target rule, fed with refined probabilities (DARP, Kim et al. 2020, arXiv 2007.08844).

    The latest prediction of every unlabeled item is kept; after ``warmup`` iterations, and every ``interval`` iterations from
    then on, all of them are refined together (`ferbench.functional.refinery.refine`, in float64 on the first process' CPU:
    some 7 seconds per million items of 8 classes) while the training waits. An item's pseudo-label comes from its row of the
    last refinement; its weight comes, as before, from its prediction. Items not seen yet count as uniform.

    The unlabeled set is taken to have the class shares of the labeled one, unless ``shares`` says otherwise.

    Args:
        target: the target rule, or its config; None: the most probable class.
        warmup: iterations before the first refinement; None: two fifths of the run, as in the paper.
        interval: iterations between two refinements.
        alpha, rounds: of the refinement.
        shares: of the classes in the unlabeled set, C numbers that sum to 1; None: those of the labeled set.
        half: keep the tables in float16.

    Buffers:
        predicted, refined: float32 or float16 [N + 1, C] and [N, C]: together 8 (4) * N * C bytes, also in the checkpoint.
            The last row of ``predicted`` is scratch space.

    Raises:
        UserError: ``shares`` are not shares of C classes.

    >>> from ferbench.testing import make_evidence
    >>> rule = RefinedTarget(warmup=0)
    >>> rule.bind(RunContext(num_classes=2, num_labeled=4, num_unlabeled=4, max_iters=100, class_counts=(2, 2)))
    >>> probs = [[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.7, 0.3]]
    >>> rule(make_evidence(probs))
    tensor([0, 0, 1, 1])
    """

    predicted: Tensor
    refined: Tensor

    def __init__(
        self,
        target: Any = None,
        warmup: int | None = None,
        interval: int = 10,
        alpha: float = 2.0,
        rounds: int = 10,
        shares: Sequence[float] | None = None,
        half: bool = False,
    ):
        super().__init__()
        check_numbers(self, COUNT_OR_0, or_none=True, warmup=warmup)
        check_numbers(self, COUNT, interval=interval, rounds=rounds)
        check_numbers(self, POSITIVE, alpha=alpha)
        target = target or dict(type="HardTarget")
        self.target = target if isinstance(target, nn.Module) else build(TARGETS, target, "target.target")
        self.warmup, self.interval, self.alpha, self.rounds = warmup, interval, alpha, rounds
        self.shares, self.dtype = shares, torch.float16 if half else torch.float32

    @override
    def bind(self, context: RunContext) -> None:
        items, classes = context.num_unlabeled, context.num_classes
        shares = np.array(self.shares or np.divide(context.class_counts, context.num_labeled))
        if shares.shape != (classes,) or not np.isclose(shares.sum(), 1) or (shares < 0).any():
            raise UserError(
                f"RefinedTarget got shares={self.shares}",
                expected=f"{classes} numbers from 0 that sum to 1",
            )
        self.totals = shares * items
        self.start = context.max_iters * 2 // 5 if self.warmup is None else self.warmup
        uniform = torch.full((items + 1, classes), 1 / classes, dtype=self.dtype)
        self.register_buffer("predicted", uniform)
        self.register_buffer("refined", uniform[:-1].clone())

    @override
    def forward(self, evidence: Evidence) -> Tensor:
        place = torch.where(last_occurrence(evidence.index), evidence.index, len(self.refined))
        self.predicted[place] = evidence.probs.to(self.dtype)
        since = evidence.iteration - self.start
        if since < 0:
            return self.target(evidence)
        if since % self.interval == 0:
            self._refine()
        return self.target(replace(evidence, probs=self.refined[evidence.index].float()))

    def _refine(self) -> None:
        if rank() == 0:
            found = refine(self.predicted[:-1].float().cpu().numpy(), self.totals, self.alpha, self.rounds)
            self.refined.copy_(torch.from_numpy(found))
        else:
            self.refined.zero_()
        sum_over_ranks(self.refined)
