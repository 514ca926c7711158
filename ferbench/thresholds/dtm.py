"""The Dynamic Threshold Module."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from typing_extensions import override

from ferbench.arguments import COUNT, COUNT_OR_0, NONNEGATIVE, POSITIVE, SHARE, check_choice, check_numbers
from ferbench.contracts import Evidence
from ferbench.distributed import sum_over_ranks
from ferbench.functional.thresholds import class_confidence, dynamic_thresholds, pass_mask
from ferbench.lifecycle import PASS_VIEWS, WEIGHTS, DatasetPass, RunContext
from ferbench.registry import THRESHOLDS
from ferbench.thresholds.base import ThresholdRule

SOURCES = ("correct_only", "all_of_true_class", "all_of_predicted_class")
SCOPES = ("epoch", "iteration")
NO_SAMPLE = ("floor", "keep", "global_mean")


@THRESHOLDS.register_module()
class DynamicThreshold(ThresholdRule):
    """``T_c(e) = max(floor, beta * mu_c(e) / (1 + gamma^-e))``, one threshold per class and epoch.

    mu_c(e) is the mean confidence of the *labeled* training images of class c that the model classifies correctly at
    the end of epoch e; T_c(e) then serves epoch e + 1. Form, semantics and constants are those of
    Ada-CM's public code (arXiv 2203.12341), because those of the DTM paper (arXiv 2303.08617) could not be checked.
    With beta 0.97 and floor 0.8 a class leaves the floor only once mu_c >= 0.825 (after epoch 2: 0.936).

    Args:
        beta, gamma, floor, cap: see `ferbench.functional.thresholds.dynamic_thresholds`.
        init: threshold of every class before the first update.
        source: which labeled items feed mu_c: ``correct_only``, ``all_of_true_class`` or ``all_of_predicted_class``.
        weights: ``ema`` or ``student`` model for the statistic.
        view: ``weak`` (training augmentation, as Ada-CM) or ``eval`` (clean image).
        scope: ``epoch``: one pass over the labeled set per epoch; ``iteration``: a running mean over the labeled batches
            of training (no extra pass; updated after the mask is taken).
        momentum: of the running mean, for ``scope='iteration'``.
        epoch_length: iterations per epoch; None: a twentieth of the run (Ada-CM trains 20 epochs).
        epoch_origin: number of the first epoch in the ramp.
        no_sample: threshold of a class without any counted item: ``floor``, ``keep`` the old one, or from the
            ``global_mean`` of the other classes' mu.
        max_items: at most so many labeled items per pass, evenly spread; None: all.
        per_class: False: one threshold for all classes, from the mean of the classes' mu (the control that tells what
            thresholds by class add to a threshold that rises).

    Buffers:
        threshold: float32 [C]. updates: int64 [], epochs done. sums, counts: float64 [C], statistic being collected.
        margin: float64 [C], mu_c (running mean; NaN until first seen).

    >>> rule = DynamicThreshold(beta=1.0, floor=0.5)
    >>> rule.bind(RunContext(num_classes=2, num_labeled=2, num_unlabeled=8, max_iters=100, class_counts=(1, 1)))
    >>> rule.see_labeled(torch.tensor([[0.9, 0.1], [0.4, 0.6]]), torch.tensor([0, 1]), torch.tensor([0, 1]))
    >>> rule.finish_labeled_pass()
    >>> rule.thresholds()
    tensor([0.6580, 0.5000])
    """

    threshold: Tensor
    updates: Tensor
    sums: Tensor
    counts: Tensor
    margin: Tensor

    def __init__(
        self,
        beta: float = 0.97,
        gamma: float = math.e,
        floor: float = 0.8,
        cap: float | None = None,
        init: float = 0.8,
        source: str = "correct_only",
        weights: str = "ema",
        view: str = "weak",
        scope: str = "epoch",
        momentum: float = 0.99,
        epoch_length: int | None = None,
        epoch_origin: int = 1,
        no_sample: str = "floor",
        max_items: int | None = None,
        per_class: bool = True,
    ):
        super().__init__()
        check_choice(self, SOURCES, source=source)
        check_choice(self, WEIGHTS, weights=weights)
        check_choice(self, PASS_VIEWS, view=view)
        check_choice(self, SCOPES, scope=scope)
        check_choice(self, NO_SAMPLE, no_sample=no_sample)
        check_numbers(self, NONNEGATIVE, beta=beta)
        check_numbers(self, POSITIVE, gamma=gamma)
        check_numbers(self, SHARE, floor=floor, init=init, momentum=momentum)
        check_numbers(self, SHARE, or_none=True, cap=cap)
        check_numbers(self, COUNT, or_none=True, epoch_length=epoch_length)
        check_numbers(self, COUNT_OR_0, epoch_origin=epoch_origin)
        self.beta, self.gamma, self.floor, self.cap = beta, gamma, floor, cap
        self.init, self.source, self.no_sample = init, source, no_sample
        self.scope, self.momentum = scope, momentum
        self.epoch_length, self.epoch_origin = epoch_length or 0, epoch_origin  # 0 until `bind` knows the run
        self.weights, self.view, self.max_items, self.per_class = weights, view, max_items, per_class

    @override
    def bind(self, context: RunContext) -> None:
        self.epoch_length = self.epoch_length or max(1, context.max_iters // 20)
        if self.scope == "epoch":
            self.labeled_pass = DatasetPass(self.epoch_length, self.weights, self.view, self.max_items)
        classes = context.num_classes
        self.register_buffer("threshold", torch.full((classes,), float(self.init)))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.register_buffer("sums", torch.zeros(classes, dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(classes, dtype=torch.float64))
        self.register_buffer("margin", torch.full((classes,), math.nan, dtype=torch.float64))

    @override
    def forward(self, evidence: Evidence) -> Tensor:
        mask = pass_mask(evidence.probs, self.threshold)
        if self.scope == "iteration":
            sums, counts = class_confidence(
                evidence.labeled_probs, evidence.labels, self.source, self._counted(evidence.labeled_index)
            )
            fresh = sums / counts  # NaN where the class is absent
            mixed = torch.where(self.margin.isnan(), fresh, self.margin.lerp(fresh, 1 - self.momentum))
            self.margin.copy_(torch.where(counts > 0, mixed, self.margin))
            self._set(self.margin, self.epoch_origin + evidence.iteration // self.epoch_length)
        return mask

    @override
    def see_labeled(self, probs: Tensor, labels: Tensor, index: Tensor) -> None:
        sums, counts = class_confidence(probs, labels, self.source, self._counted(index))
        self.sums += sums
        self.counts += counts

    @override
    def finish_labeled_pass(self) -> None:
        self.margin.copy_(sum_over_ranks(self.sums) / sum_over_ranks(self.counts))
        self._set(self.margin, self.updates + self.epoch_origin)
        self.updates += 1
        self.sums.zero_()
        self.counts.zero_()

    @override
    def thresholds(self) -> Tensor:
        return self.threshold

    def _counted(self, index: Tensor) -> Tensor | None:
        """How much the labeled items at ``index`` [N] count, [N]; None: 1 each."""
        return None

    def _set(self, margin: Tensor, epoch: Tensor | int) -> None:
        if not self.per_class:
            margin = margin.nanmean().expand_as(margin)
        missing = margin.isnan()
        if self.no_sample == "global_mean":
            margin = torch.where(missing, margin.nanmean(), margin)
        new = dynamic_thresholds(
            margin, epoch, beta=self.beta, gamma=self.gamma, floor=self.floor, cap=self.cap
        ).float()
        fallback = self.threshold if self.no_sample == "keep" else torch.full_like(new, self.floor)
        self.threshold.copy_(torch.where(new.isnan(), fallback, new))
