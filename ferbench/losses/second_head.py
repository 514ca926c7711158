"""Losses of a second classifier on the same features, against class imbalance: ABC, TRAS and CoSSL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from ferbench.arguments import FINITE, NONNEGATIVE, SHARE, check_numbers
from ferbench.contracts import MatchingStep, Output
from ferbench.distributed import rank
from ferbench.functional.imbalance import balancing_rates, enhance, log_prior, transferred_targets
from ferbench.functional.losses import cross_entropy, weighted_mean
from ferbench.functional.randomness import uniforms
from ferbench.functional.thresholds import pass_mask
from ferbench.lifecycle import RunContext, require_shuffled
from ferbench.losses.base import ExtraTerm
from ferbench.registry import LOSSES


class SecondHead(ExtraTerm):
    """A linear classifier beside the classifier's own, on the same features.

    Args:
        head: its name, under which it is saved and asked for predictions; also that of the term in the log.
        weight: factor in the total loss.
        weak_views: unlabeled views of the student whose mean prediction is the head's own pseudo-label.
        prediction_views: unlabeled views that learn it.
    """

    learns_labels = True

    def __init__(
        self, head: str, weight: float, weak_views: Sequence[str] = (), prediction_views: Sequence[str] = ()
    ):
        super().__init__()
        check_numbers(self, NONNEGATIVE, weight=weight)
        self.name = self.head = head
        self.weight, self.weak_views = weight, tuple(weak_views)
        self.views = (*weak_views, *prediction_views)
        self.needs_gradient = tuple(prediction_views)

    @override
    def bind(self, context: RunContext) -> None:
        self.seed, self.max_iters = context.seed, context.max_iters

    @override
    def heads(self, num_features: int, num_classes: int) -> dict[str, nn.Module]:
        return {self.head: nn.Linear(num_features, num_classes)}

    def own_probs(self, outputs: Mapping[str, Output]) -> Tensor:
        """[b, C] what the head says of the weak views, without gradient."""
        weak = [outputs[view].heads[self.head].detach().float().softmax(dim=1) for view in self.weak_views]
        return torch.stack(weak).mean(dim=0)

    def draws(self, what: str, number: int, like: Tensor, count: int = 1) -> list[Tensor]:
        """``count`` uniform numbers per row of ``like`` [b, ...], each [b]; those that a single process would draw."""
        rows = len(like)
        index = np.arange(rank() * rows, (rank() + 1) * rows)
        drawn = uniforms(self.seed, np.full(rows, number), index, f"{self.head} {what}", count)
        return list(torch.from_numpy(drawn).to(like.device, torch.float32, non_blocking=True).unbind(dim=1))


@LOSSES.register_module()
class AuxiliaryBalancedLoss(SecondHead):
    """``mean_x(M_x H(y, a)) + mean_u(M_u [max q >= threshold] H(q, a_strong))``: ABC's auxiliary head (arXiv 2110.10368).

    a is the head's prediction, q its prediction on the weak view, kept soft. ``M_x ~ Bernoulli(n_min / n_y)`` makes
    the labeled items balanced; ``M_u ~ Bernoulli(1 - r (1 - n_min / n_c))``, c = argmax q, does so gradually as r, the share
    of the run that is done, grows from 0 to 1. (The authors let r grow in 500 steps, here it grows at each iteration.) All
    of it reaches the features. M is drawn for the global batch as a function of seed and the batch's number.

    Args:
        weight: factor in the total loss.
        threshold: confidence that q must reach.
        head, weak_views, prediction_views: see `SecondHead`; the losses of several prediction views are added.

    Buffers:
        labeled_rate: float32 [C], n_min / n_c in the labeled stream. rate: the same in the labeled set.
    """

    labeled_rate: Tensor
    rate: Tensor

    def __init__(
        self,
        weight: float = 1.0,
        threshold: float = 0.95,
        head: str = "abc",
        weak_views: Sequence[str] = ("weak",),
        prediction_views: Sequence[str] = ("strong",),
    ):
        super().__init__(head, weight, weak_views, prediction_views)
        check_numbers(self, SHARE, threshold=threshold)
        self.threshold = threshold

    @override
    def bind(self, context: RunContext) -> None:
        super().bind(context)
        self.register_buffer("labeled_rate", balancing_rates(context.class_shares), persistent=False)
        self.register_buffer("rate", balancing_rates(context.class_counts), persistent=False)

    def forward(self, step: MatchingStep) -> Tensor:
        """Unweighted term, []."""
        batch = step.batch
        labeled = step.outputs["labeled"].heads[self.head]
        (draw,) = self.draws("labeled", batch.number, labeled)
        kept = (draw < self.labeled_rate[batch.labels]).float()
        supervised = weighted_mean(cross_entropy(labeled, batch.target), kept)

        q = self.own_probs(step.outputs)
        (draw,) = self.draws("unlabeled", batch.number, q)
        rate = 1 - batch.iteration / self.max_iters * (1 - self.rate)
        kept = (draw < rate[q.argmax(dim=1)]) * pass_mask(q, self.threshold)
        predictions = [step.outputs[view].heads[self.head] for view in self.needs_gradient]
        return supervised + sum(weighted_mean(cross_entropy(p, q), kept) for p in predictions)


@LOSSES.register_module()
class TransferLoss(SecondHead):
    """``mean_x H(y, a + tau log pi) + mean_u([max q >= threshold] H(t, a_strong))``: TRAS' second head (arXiv 2205.13358).

    a: the head's logits, q its probabilities on the weak view, pi the class shares of the labeled items, t what the
    classifier's own head says of the same strong view once the prior is taken out of it, more so for rare classes
    (`ferbench.functional.imbalance.transferred_targets`, with ``tau log pi`` for the prior). As in the authors' code; 0
    during the warm-up, until the end of which the head is untrained.

    Args:
        weight: factor in the total loss.
        tau: strength of the adjustment.
        scale, offset: A and B.
        threshold: confidence that q must reach.
        warmup: share of the run without this loss.
        head, weak_views, prediction_views: see `SecondHead`; the losses of several prediction views are averaged.

    Buffers:
        prior: float32 [C], tau log pi.
    """

    prior: Tensor

    def __init__(
        self,
        weight: float = 1.0,
        tau: float = 1.0,
        scale: float = 2.0,
        offset: float = 2.0,
        threshold: float = 0.95,
        warmup: float = 0.02,
        head: str = "tras",
        weak_views: Sequence[str] = ("weak",),
        prediction_views: Sequence[str] = ("strong",),
    ):
        super().__init__(head, weight, weak_views, prediction_views)
        check_numbers(self, NONNEGATIVE, tau=tau)
        check_numbers(self, FINITE, scale=scale, offset=offset)
        check_numbers(self, SHARE, threshold=threshold, warmup=warmup)
        self.tau, self.scale, self.offset, self.threshold = tau, scale, offset, threshold
        self.warmup = warmup

    @override
    def bind(self, context: RunContext) -> None:
        super().bind(context)
        require_shuffled(self, context)
        self.register_buffer("prior", self.tau * log_prior(context.class_counts), persistent=False)

    def forward(self, step: MatchingStep) -> Tensor:
        """Unweighted term, []."""
        labeled = step.outputs["labeled"].heads[self.head].float()
        if step.batch.iteration < self.warmup * self.max_iters:
            return (
                0.0 * labeled.sum()
            )  # torch's fused SGD wants a gradient of every weight from the first step on
        supervised = cross_entropy(labeled + self.prior, step.batch.target).mean()

        q = self.own_probs(step.outputs)
        label, mask = q.argmax(dim=1), pass_mask(q, self.threshold)
        losses = []
        for view in self.needs_gradient:
            output = step.outputs[view]
            logits = output.logits.detach().float()
            target = transferred_targets(logits, label, self.prior, self.scale, self.offset)
            losses.append(weighted_mean(cross_entropy(output.heads[self.head], target), mask))
        return supervised + torch.stack(losses).mean()


@LOSSES.register_module()
class TailEnhancedLoss(SecondHead):
    """``mean_x(w_y H(y, a(lambda f_x + (1 - lambda) f_u)))``: CoSSL's teacher head, by enhanced features (arXiv 2112.04564).

    f: features of weak views from the EMA model, without gradient, so that only the head learns. A labeled item of class c
    is mixed with an unlabeled one with probability ``(n_max - n_c) / n_max``, lambda ~ U(``low``, 1). ``w_c`` makes the
    labeled stream balanced, in expectation as the class-balanced draws of the paper, which would be a third stream. Draws
    are made for the global batch as functions of seed and the batch's number.

    Args:
        low: smallest lambda.
        weight: factor in the total loss.
        head: its name.
        view: the unlabeled view.

    Buffers:
        class_weight: float32 [C], 1 / (C * share of the class in the labeled stream).
        rate: float32 [C], probability of being mixed.
    """

    class_weight: Tensor
    rate: Tensor

    def __init__(self, low: float = 0.6, weight: float = 1.0, head: str = "cossl", view: str = "weak"):
        super().__init__(head, weight)
        check_numbers(self, SHARE, low=low)
        self.low, self.view = low, view

    @override
    def bind(self, context: RunContext) -> None:
        super().bind(context)
        shares = torch.tensor(context.class_shares)
        weight = torch.where(shares > 0, 1 / (shares * (shares > 0).sum()), 0.0)
        counts = torch.tensor(context.class_counts, dtype=torch.float32)
        self.register_buffer("class_weight", weight, persistent=False)
        self.register_buffer("rate", 1 - counts / counts.max(), persistent=False)

    def forward(self, step: MatchingStep) -> Tensor:
        """Unweighted term, []."""
        batch = step.batch
        labeled, unlabeled = self._features(step)
        # Row i of the global labeled batch meets row i * mu of the unlabeled one, on whatever process both are.
        partner = torch.arange(len(labeled), device=labeled.device) * len(unlabeled) // len(labeled)
        choice, position = self.draws("mixing", batch.number, labeled, count=2)
        mixed = choice < self.rate[batch.labels]
        ratio = self.low + (1 - self.low) * position
        logits = step.network.head(self.head, enhance(labeled, unlabeled[partner], ratio, mixed))
        return cross_entropy(logits, batch.target, self.class_weight).mean()

    def _features(self, step: MatchingStep) -> tuple[Tensor, Tensor]:
        """Of the labeled and the unlabeled items, by the EMA model."""
        seen, batch = step.teacher, step.batch
        if seen is step.outputs:  # the student is the teacher: nobody has asked the EMA model yet
            views = {"labeled": batch.labeled["weak"], self.view: batch.unlabeled[self.view]}
            seen = step.network.teacher(views)
        return seen["labeled"].features.float(), seen[self.view].features.float()
