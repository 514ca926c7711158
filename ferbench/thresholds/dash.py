"""Dash's threshold on the loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from typing_extensions import override

from ferbench.arguments import COUNT, COUNT_OR_0, FACTOR, NONNEGATIVE, POSITIVE, check_numbers
from ferbench.contracts import Evidence
from ferbench.distributed import sum_over_ranks
from ferbench.errors import UserError
from ferbench.functional.probabilities import as_probabilities, sharpen
from ferbench.functional.weighting import loss_ceiling
from ferbench.lifecycle import DatasetPass, RunContext
from ferbench.registry import THRESHOLDS
from ferbench.thresholds.base import ThresholdRule


@THRESHOLDS.register_module()
class DashThreshold(ThresholdRule):
    """``mask = [H(target, p) <= rho]``, rho = max(C * gamma^-k * rho_0, rho_min), k = 0, 1, 2, ... as training goes.

    Dash (Xu et al. 2021, arXiv 2109.00650). rho_0 is the mean cross-entropy of the *labeled* set at the end of a warm-up,
    in which no pseudo-label counts; the learning-rate schedule goes on through it. The target is soft, ``softmax(z / T)``,
    until rho has reached rho_min, and hard from then on.

    Args:
        gamma, factor, rho_min: gamma, C and rho_min of `ferbench.functional.weighting.loss_ceiling`.
        temperature: T.
        rho_init: rho_0, if it is not to be measured.
        warmup: iterations of warm-up; None: a twentieth of the run, or none with ``rho_init`` (our default; 2,048
            iterations of about a million in public implementations).
        interval: iterations between two drops of rho; None: a hundredth of the run (ten of 1,024 epochs there).
        weights: ``ema`` or ``student`` model for rho_0.
        view: ``weak`` or ``eval``, of the labeled images for rho_0.
        max_items: at most so many labeled items for rho_0, evenly spread; None: all.

    Buffers:
        initial: float32 [], rho_0; NaN until measured. rho: float32 []. loss_sum, count: float64 [], of the pass.

    Attributes:
        drops: k of the last step.

    Raises:
        UserError: the warm-up is longer than the run, or rho_0 is neither given nor measured.

    >>> from ferbench.testing import make_evidence
    >>> rule = DashThreshold(rho_init=0.5)
    >>> rule.bind(RunContext(num_classes=2, num_labeled=4, num_unlabeled=8, max_iters=100, class_counts=(2, 2)))
    >>> rule(make_evidence([[0.9, 0.1], [0.5, 0.5]]))
    tensor([1., 0.])
    >>> rule(make_evidence([[0.9, 0.1], [0.5, 0.5]], iteration=10))
    tensor([0., 0.])
    >>> rule.drops, rule.rho
    (10, tensor(0.0500))
    """

    initial: Tensor
    rho: Tensor
    loss_sum: Tensor
    count: Tensor

    def __init__(
        self,
        gamma: float = 1.27,
        factor: float = 1.0001,
        rho_min: float = 0.05,
        temperature: float = 0.5,
        rho_init: float | None = None,
        warmup: int | None = None,
        interval: int | None = None,
        weights: str = "ema",
        view: str = "weak",
        max_items: int | None = None,
    ):
        super().__init__()
        check_numbers(self, FACTOR, gamma=gamma)
        check_numbers(self, POSITIVE, factor=factor, temperature=temperature)
        check_numbers(self, NONNEGATIVE, rho_min=rho_min)
        check_numbers(self, NONNEGATIVE, or_none=True, rho_init=rho_init)
        check_numbers(self, COUNT_OR_0, or_none=True, warmup=warmup)
        check_numbers(self, COUNT, or_none=True, interval=interval)
        if rho_init is None and warmup == 0:
            raise UserError(
                "DashThreshold is to measure rho at the end of a warm-up of 0 iterations",
                expected="warmup of at least 1 iteration, or rho_init",
            )
        self.gamma, self.factor, self.rho_min = gamma, factor, rho_min
        self.temperature, self.rho_init = temperature, rho_init
        self._warmup, self._interval, self.drops = warmup, interval, 0
        self.weights, self.view, self.max_items = weights, view, max_items

    @override
    def bind(self, context: RunContext) -> None:
        usual = max(1, context.max_iters // 20) if self.rho_init is None else 0
        self.warmup = usual if self._warmup is None else self._warmup
        self.interval = self._interval or max(1, context.max_iters // 100)
        if self._warmup is not None and self._warmup >= context.max_iters:
            raise UserError(
                f"DashThreshold warms up for {self.warmup} of {context.max_iters} iterations",
                where="warmup",
                expected="fewer iterations than the run has",
            )
        if self.rho_init is None:
            request = DatasetPass(self.warmup, self.weights, self.view, self.max_items, last=self.warmup)
            self.labeled_pass = request
        self.num_classes = context.num_classes
        initial = math.nan if self.rho_init is None else float(self.rho_init)
        self.register_buffer("initial", torch.tensor(initial))
        self.register_buffer("rho", self._ceiling(0))
        self.register_buffer("loss_sum", torch.zeros((), dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @override
    def forward(self, evidence: Evidence) -> Tensor:
        probs = evidence.probs
        if evidence.iteration < self.warmup:
            return torch.zeros_like(probs[:, 0])
        self.drops = self._drops(evidence.iteration)
        self.rho.copy_(self._ceiling(self.drops))
        loss = -(self.target(evidence) * probs.clamp_min(1e-30).log()).sum(dim=1)
        return (loss <= self.rho).to(probs.dtype)

    def target(self, evidence: Evidence) -> Tensor:
        """Pseudo-labels of the step, [B, C]: soft, or one-hot once rho is rho_min."""
        probs = evidence.probs
        hard = as_probabilities(probs.argmax(dim=1), probs.shape[1]).to(probs.dtype)
        is_hard = self._ceiling(self._drops(evidence.iteration)) <= self.rho_min
        return torch.where(is_hard, hard, sharpen(probs, self.temperature))

    def thresholds(self) -> Tensor:
        """``exp(-rho)``, [C]: what passes is at least so confident (and, with hard targets, what is so confident passes)."""
        return (-self.rho).exp().expand(self.num_classes)

    @override
    def see_labeled(self, probs: Tensor, labels: Tensor, index: Tensor) -> None:
        of_label = probs.gather(1, labels[:, None]).double()
        self.loss_sum -= of_label.clamp_min(1e-30).log().sum()
        self.count += len(labels)

    @override
    def finish_labeled_pass(self) -> None:
        self.initial.copy_(sum_over_ranks(self.loss_sum) / sum_over_ranks(self.count))
        self.loss_sum.zero_()
        self.count.zero_()

    def _drops(self, iteration: int) -> int:
        return max(0, iteration - self.warmup) // self.interval

    def _ceiling(self, drops: int) -> Tensor:
        """rho after so many drops; NaN before rho_0 is known."""
        return loss_ceiling(self.initial, drops, factor=self.factor, gamma=self.gamma, floor=self.rho_min)
