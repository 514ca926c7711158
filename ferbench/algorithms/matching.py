"""The shared weak -> strong step: algorithm = views + threshold rule + target rule + consistency loss (+ extra terms)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from ferbench.algorithms.base import Algorithm, Batch, Network, PseudoLabels, StepResult, Views
from ferbench.distributed import gather_rows, local_rows
from ferbench.functional.losses import rampup
from ferbench.losses.base import ExtraTerm
from ferbench.models.classifier import Output
from ferbench.parts import build
from ferbench.registry import ALGORITHMS, LOSSES, TARGETS, THRESHOLDS
from ferbench.thresholds.base import Evidence, LabeledPass, RunContext


@dataclass(frozen=True)
class MatchingStep:
    """What extra terms may use; one process' share, rows in batch order.

    Attributes:
        outputs: ``labeled`` and every unlabeled view -> logits and features.
        batch: the step's batch.
        probs: [b, C] weak-view probabilities (mean over the weak views), no gradient.
        target: pseudo-labels.
        weight: [b] from the threshold rule, no gradient.
    """

    outputs: dict[str, Output]
    batch: Batch
    probs: Tensor
    target: Tensor
    weight: Tensor


@ALGORITHMS.register_module()
class Matching(Algorithm):
    """``L = lambda_x * L_x + lambda_u * ramp * consistency(prediction view, target, weight) + sum(weight_k * term_k)``.

    Args:
        threshold: config of the rule that weights the pseudo-labels.
        target: config of the rule that makes the pseudo-labels.
        consistency: config of the loss between pseudo-label and prediction.
        supervised_loss: config of the loss on labeled items.
        terms: configs of extra terms; each names the views and the gradients it needs, and its weight.
        weak_views: views whose mean probability is the evidence (Ada-CM and DTM average two).
        prediction_view: the view that learns the pseudo-label; a weak view for Pseudo-Label.
        lambda_x, lambda_u: loss weights.
        ramp: fraction of the run over which lambda_u grows linearly from 0; 0: constant.
    """

    def __init__(
        self,
        threshold: dict,
        target: dict | None = None,
        consistency: dict | None = None,
        supervised_loss: dict | None = None,
        terms: Sequence[dict] = (),
        weak_views: Sequence[str] = ("weak",),
        prediction_view: str = "strong",
        lambda_x: float = 1.0,
        lambda_u: float = 1.0,
        ramp: float = 0.0,
    ):
        super().__init__()
        at = "model.algorithm"
        self.threshold = build(THRESHOLDS, threshold, f"{at}.threshold")
        self.target = build(TARGETS, target or dict(type="HardTarget"), f"{at}.target")
        self.consistency = build(
            LOSSES, consistency or dict(type="ConsistencyCrossEntropy"), f"{at}.consistency"
        )
        self.supervised_loss = build(
            LOSSES, supervised_loss or dict(type="SupervisedCrossEntropy"), f"{at}.supervised_loss"
        )
        extra: list[ExtraTerm] = [build(LOSSES, term, f"{at}.terms[{i}]") for i, term in enumerate(terms)]
        self.terms = nn.ModuleList(extra)
        self.weak_views, self.prediction_view = tuple(weak_views), prediction_view
        self.lambda_x, self.lambda_u, self.ramp = lambda_x, lambda_u, ramp
        wanted = [*self.weak_views, prediction_view, *(view for term in extra for view in term.views)]
        self.views = Views(labeled=("weak",), unlabeled=tuple(dict.fromkeys(wanted)))
        self.needs_gradient = {
            "labeled",
            prediction_view,
            *(v for term in extra for v in term.needs_gradient),
        }

    def bind(self, context: RunContext) -> None:
        """See `Algorithm.bind`."""
        self.max_iters = context.max_iters
        self.threshold.bind(context)

    @property
    def labeled_pass(self) -> LabeledPass | None:
        """See `Algorithm.labeled_pass`."""
        return self.threshold.labeled_pass

    def see_labeled(self, probs: Tensor, labels: Tensor) -> None:
        """See `Algorithm.see_labeled`."""
        self.threshold.see_labeled(probs, labels)

    def finish_labeled_pass(self) -> None:
        """See `Algorithm.finish_labeled_pass`."""
        self.threshold.finish_labeled_pass()

    def step(self, network: Network, batch: Batch) -> StepResult:
        """See `Algorithm.step`."""
        outputs = network({"labeled": batch.labeled["weak"], **batch.unlabeled}, self.needs_gradient)
        step = self._judge(outputs, batch)

        supervised = self.supervised_loss(outputs["labeled"].logits, batch.target)
        consistency = self.consistency(outputs[self.prediction_view].logits, step.target, step.weight)
        scale = self.lambda_u * rampup(batch.iteration, self.max_iters, self.ramp)
        loss = self.lambda_x * supervised + scale * consistency
        parts = {"supervised": supervised.detach(), "unsupervised": consistency.detach()}
        for term in cast(Iterable[ExtraTerm], self.terms):
            value = term(step)
            loss = loss + term.weight * value
            parts[term.name] = value.detach()

        confidence, label = step.probs.max(dim=1)
        pseudo_labels = PseudoLabels(confidence, label, step.weight, self.threshold.thresholds())
        return StepResult(loss, parts, pseudo_labels)

    @torch.no_grad()
    def _judge(self, outputs: dict[str, Output], batch: Batch) -> MatchingStep:
        """Pseudo-label and weight of every unlabeled item, from the evidence of the global batch."""
        assert batch.index is not None
        probs = torch.stack([outputs[v].logits.float().softmax(dim=1) for v in self.weak_views]).mean(dim=0)
        evidence = Evidence(
            probs=gather_rows(probs),
            index=gather_rows(batch.index),
            labeled_probs=gather_rows(outputs["labeled"].logits.float().softmax(dim=1)),
            labels=gather_rows(batch.labels),
            iteration=batch.iteration,
        )
        weight = local_rows(self.threshold(evidence))
        return MatchingStep(outputs, batch, probs, self.target(probs), weight)
