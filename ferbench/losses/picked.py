"""Pseudo-labeled items that have joined the labeled set (CReST)."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from typing_extensions import override

from ferbench.arguments import COUNT, NONNEGATIVE, POSITIVE, check_choice, check_numbers
from ferbench.contracts import MatchingStep
from ferbench.core.pass_table import PassTable
from ferbench.functional.frequency import RATES, frequency_order, most_confident, sampling_rates
from ferbench.functional.losses import cross_entropy, weighted_mean
from ferbench.lifecycle import DatasetPass, RunContext
from ferbench.losses.base import ExtraTerm, SupervisedLoss
from ferbench.registry import LOSSES


@LOSSES.register_module()
class PickedItems(ExtraTerm):
    """``N / (n_l + n_p) * mean_i([i picked] * CE(p_i, y_i))``: the picked items' part in the mean over the labeled set.

    Once per generation the model labels the whole unlabeled set (clean images); of those that it takes for class c, the most
    confident share joins the labeled set, see `ferbench.functional.frequency.sampling_rates`. There is no floor on the
    confidence. The picks replace those of the generation before (CReST, arXiv 2102.09559, sec. 3.3).

    Args:
        weight: factor in the total loss; that of the supervised loss.
        generations: G; the picks are made at the end of each ``ceil(max_iters / G)`` iterations but the last.
        alpha, rates: of the sampling rates.
        weights: ``ema`` or ``student`` model that labels.
        view: the view of a picked item that learns: ``weak``, as a labeled one's (a graph through the weak view), or ``strong``
            (no further pass).

    Buffers:
        label: int8 [N] (int32 above 127 classes); class of a picked item, -1 else. share: float32 [], ``n_l / (n_l + n_p)``.
        While a pass lasts: 8 bytes per unlabeled item.
    """

    name = "picked"
    lasting = True
    label: Tensor
    share: Tensor

    def __init__(
        self,
        weight: float = 1.0,
        generations: int = 6,
        alpha: float = 3.0,
        rates: str = "mirrored",
        weights: str = "ema",
        view: str = "weak",
    ):
        super().__init__()
        check_choice(self, RATES, rates=rates)
        check_numbers(self, NONNEGATIVE, weight=weight)
        check_numbers(self, COUNT, generations=generations)
        check_numbers(self, POSITIVE, alpha=alpha)
        self.weight, self.generations, self.alpha, self.rates = weight, generations, alpha, rates
        self.weights, self.view = weights, view
        self.views = self.needs_gradient = (view,)

    @override
    def bind(self, context: RunContext) -> None:
        length = context.generation_length(self.generations)
        self.unlabeled_pass = DatasetPass(length, self.weights, "eval", last=context.max_iters - 1)
        self.class_counts, self.labeled = torch.tensor(context.class_counts), context.num_labeled
        dtype = torch.int8 if context.num_classes <= 127 else torch.int32
        self.register_buffer("label", torch.full((context.num_unlabeled,), -1, dtype=dtype))
        self.register_buffer("share", torch.ones(()))
        self.seen = PassTable(context.num_unlabeled, 2)

    def forward(self, step: MatchingStep) -> Tensor:
        """Unweighted term, []."""
        label = self.label[step.batch.index].long()
        per_item = cross_entropy(step.outputs[self.view].logits, label.clamp(min=0))
        factor = self.share * (len(self.label) / self.labeled)
        return factor * weighted_mean(per_item, (label >= 0).float())

    @override
    def see_unlabeled(self, probs: Tensor, index: Tensor) -> None:
        self.seen.put_predictions(index, probs)

    @override
    def finish_unlabeled_pass(self) -> None:
        # On the CPU, so that the device does not decide which of two equally confident items is taken.
        confidence, label = (x.cpu() for x in self.seen.take_predictions(self.label.device))
        rates = sampling_rates(self.class_counts, self.alpha, self.rates)
        picked = most_confident(confidence, label, rates, frequency_order(self.class_counts))
        new = torch.full_like(label, -1).index_copy_(0, picked, label[picked])
        self.label.copy_(new)
        self.share.fill_(self.labeled / (self.labeled + len(picked)))


class ScaledSupervised(SupervisedLoss):
    """Another supervised loss times a factor.

    Args:
        loss: the supervised loss.
        factor: gives the factor, [], at each step.
    """

    def __init__(self, loss: SupervisedLoss, factor: Callable[[], Tensor]):
        super().__init__()
        self.loss, self.factor = loss, factor

    @property
    def class_weight(self) -> Tensor | None:
        """The factors of the wrapped loss on its classes, [C] or None."""
        return cast(Tensor | None, self.loss.class_weight)

    @class_weight.setter
    def class_weight(self, value: Tensor) -> None:
        self.loss.class_weight = value

    @override
    def forward(self, logits: Tensor, target: Tensor, iteration: int) -> Tensor:
        return self.factor() * self.loss(logits, target, iteration)
