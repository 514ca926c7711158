"""The shared weak -> strong step: algorithm = views + alignment + threshold + target + consistency loss (+ extra terms)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from mmengine.registry import Registry
from torch import Tensor, nn
from typing_extensions import override

from ferbench.algorithms.base import Algorithm
from ferbench.alignments.base import AlignRule
from ferbench.arguments import NONNEGATIVE, SHARE, check_choice, check_numbers
from ferbench.contracts import Batch, Evidence, MatchingStep, Network, Output, PseudoLabels, StepResult, Views
from ferbench.core.parts import build, kind_of
from ferbench.distributed import gather_rows, local_rows
from ferbench.errors import UserError, described
from ferbench.functional.losses import rampup
from ferbench.lifecycle import RunContext
from ferbench.losses.base import Consistency, ExtraTerm, SupervisedLoss, scalar
from ferbench.registry import ALGORITHMS, ALIGNMENTS, LOSSES, TARGETS, THRESHOLDS
from ferbench.targets.rules import TargetRule
from ferbench.thresholds.base import ThresholdRule

AT = "model.algorithm"
TEACHERS = ("student", "ema", "ema_training")


@ALGORITHMS.register_module()
class Matching(Algorithm):
    """``L = lambda_x * L_x + lambda_u * ramp * consistency(prediction view, target, weight) + sum(weight_k * term_k)``.

    Every part is a config, or a part that is already built (for algorithms whose parts share state).

    Args:
        threshold: the rule that weights the pseudo-labels.
        alignment: what is done to the weak view's probabilities first: one rule, or several in their order.
        target: the rule that makes the pseudo-labels.
        consistency: the loss between pseudo-label and prediction.
        supervised_loss: the loss on labeled items.
        terms: extra terms; each names the views, heads and gradients it needs, and its weight.
        weak_views: views whose mean probability is the evidence (Ada-CM and DTM average two).
        prediction_view: the view that learns the pseudo-label; a weak view for Pseudo-Label.
        judge: the teacher, whose weak-view predictions are the evidence: the ``student`` itself, the ``ema`` model in
            evaluation mode, or the same in training mode (``ema_training``: batch-norm by the batch, and dropout; Mean
            Teacher).
        judge_head: the further head that makes these predictions; None: the classifier's own.
        embedding: head whose output on the weak views the rules see too, or None.
        lambda_x, lambda_u: loss weights.
        ramp: fraction of the run over which lambda_u grows linearly from 0; 0: constant.
        unlabeled_statistics: whether unlabeled images count in batch-norm's running statistics. False: they pass apart from
            the labeled ones, normalised by themselves, and leave the statistics alone (Pseudo-Label, Pi-Model, Mean Teacher,
            VAT and MixMatch of common code bases).
    """

    def __init__(
        self,
        threshold: Any,
        alignment: Any = None,
        target: Any = None,
        consistency: Any = None,
        supervised_loss: Any = None,
        terms: Sequence[Any] = (),
        weak_views: Sequence[str] = ("weak",),
        prediction_view: str = "strong",
        judge: str = "student",
        judge_head: str | None = None,
        embedding: str | None = None,
        lambda_x: float = 1.0,
        lambda_u: float = 1.0,
        ramp: float = 0.0,
        unlabeled_statistics: bool = True,
    ):
        super().__init__()
        check_choice(self, TEACHERS, judge=judge)
        check_numbers(self, NONNEGATIVE, lambda_x=lambda_x, lambda_u=lambda_u)
        check_numbers(self, SHARE, ramp=ramp)
        aligns = alignment if isinstance(alignment, (list, tuple)) else [alignment] if alignment else []
        self.alignments = nn.ModuleList(
            _part(ALIGNMENTS, a, f"{AT}.alignment[{i}]", AlignRule) for i, a in enumerate(aligns)
        )
        self.threshold = _part(THRESHOLDS, threshold, f"{AT}.threshold", ThresholdRule)
        self.target = _part(TARGETS, target or dict(type="HardTarget"), f"{AT}.target", TargetRule)
        self.consistency = _part(
            LOSSES, consistency or dict(type="ConsistencyCrossEntropy"), f"{AT}.consistency", Consistency
        )
        self.supervised_loss = _part(
            LOSSES,
            supervised_loss or dict(type="SupervisedCrossEntropy"),
            f"{AT}.supervised_loss",
            SupervisedLoss,
        )
        self.terms = nn.ModuleList(
            _part(LOSSES, t, f"{AT}.terms[{i}]", ExtraTerm) for i, t in enumerate(terms)
        )
        self.weak_views, self.prediction_view = tuple(weak_views), prediction_view
        self.judge, self.judge_head, self.embedding = judge, judge_head, embedding
        self.lambda_x, self.lambda_u, self.ramp = lambda_x, lambda_u, ramp
        self.unlabeled_statistics = unlabeled_statistics

    @property
    @override
    def views(self) -> Views:
        terms = list(self._terms())
        labeled = ["weak", *(view for term in terms for view in term.labeled_views)]
        unlabeled = [*self.weak_views, self.prediction_view, *(view for term in terms for view in term.views)]
        return Views(tuple(dict.fromkeys(labeled)), tuple(dict.fromkeys(unlabeled)))

    @property
    @override
    def evidence_head(self) -> str | None:
        return self.judge_head

    @override
    def bind(self, context: RunContext) -> None:
        self.max_iters = context.max_iters

    @override
    def step(self, network: Network, batch: Batch) -> StepResult:
        outputs, teacher = self._run(network, batch)
        evidence, weight, target = self.label(self._evidence(self._weak_probs(teacher), teacher, batch))
        probs, target, weight = local_rows(evidence.probs), local_rows(target), local_rows(weight)
        step = MatchingStep(outputs, batch, evidence, probs, target, weight, network, teacher)
        thresholds = self.threshold.thresholds()
        if thresholds is not None:
            _checked(self.threshold, thresholds, "threshold", evidence.probs.shape[1:], "thresholds()")
        return self._learn(step, thresholds)

    def label(self, evidence: Evidence) -> tuple[Evidence, Tensor, Tensor]:
        """What the rules make of raw evidence: the aligned evidence, the weights [B] and the pseudo-labels [B] or [B, C].

        Raises:
            UserError: a rule returned another shape or dtype; names it.
        """
        items, shape = evidence.probs.shape[:1], evidence.probs.shape
        for i, rule in enumerate(self.alignments):
            evidence = replace(evidence, probs=_checked(rule, rule(evidence), f"alignment[{i}]", shape))
        weight = _checked(self.threshold, self.threshold(evidence), "threshold", items)
        target = _checked(self.target, self.target(evidence), "target", shape, classes=items)
        return evidence, weight, target

    def _learn(self, step: MatchingStep, thresholds: Tensor | None) -> StepResult:
        """The losses of a step whose pseudo-labels are known."""
        batch = step.batch
        labeled, unlabeled = self._compared(step)
        supervised = self.supervised_loss(*labeled, batch.iteration)
        supervised = scalar(self.supervised_loss, supervised, f"{AT}.supervised_loss")
        consistency = scalar(self.consistency, self.consistency(*unlabeled), f"{AT}.consistency")
        scale = self.lambda_u * rampup(batch.iteration, self.max_iters, self.ramp)
        loss = self.lambda_x * supervised + scale * consistency
        parts = {"supervised": supervised.detach(), "unsupervised": consistency.detach()}
        for term in self._terms():
            value = scalar(term, term(step), f"{AT}.terms")
            loss = loss + term.weight * value
            parts[term.name] = value.detach()

        return StepResult(loss, parts, PseudoLabels(step.probs, step.target, step.weight, thresholds))

    @property
    def _learning(self) -> tuple[str, ...]:
        """Outputs of the step's first pass that `_compared` needs a gradient of."""
        return ("labeled", self.prediction_view)

    def _compared(self, step: MatchingStep) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
        """Logits and targets of the labeled items; logits, targets and weights of the unlabeled ones.

        A method that learns something else than the views as they came (mixtures, perturbed images) passes it through
        ``step.network`` here.
        """
        outputs = step.outputs
        prediction = self._with_margins(outputs[self.prediction_view].logits)
        return (outputs["labeled"].logits, step.batch.target), (prediction, step.target, step.weight)

    def _terms(self) -> Iterable[ExtraTerm]:
        return cast(Iterable[ExtraTerm], self.terms)

    def _run(self, network: Network, batch: Batch) -> tuple[dict[str, Output], dict[str, Output]]:
        """Outputs of the student, and those of the teacher for the labeled and the weak views."""
        labeled = {"labeled" if v == "weak" else f"labeled_{v}": x for v, x in batch.labeled.items()}
        learning = {*self._learning, *(n for t in self._terms() for n in t.needs_gradient)}
        read = {*learning, *(view for term in self._terms() for view in term.views)}
        if self.judge == "student":
            read.update(self.weak_views)
        unlabeled = {v: x for v, x in batch.unlabeled.items() if v in read}
        derived = {n: x for term in self._terms() for n, x in term.derived_views(batch).items()}
        outputs = self._pass(network, labeled, {**unlabeled, **derived}, learning)
        if self.judge == "student":
            return outputs, outputs
        weak = {view: batch.unlabeled[view] for view in self.weak_views}
        seen = {"labeled": batch.labeled["weak"]}
        if self.judge == "ema":
            return outputs, network.teacher({**seen, **weak})
        # As the views that learn: labeled and unlabeled images are normalised apart.
        return outputs, network.teacher(seen, training=True) | network.teacher(weak, training=True)

    def _pass(
        self,
        network: Network,
        labeled: Mapping[str, Tensor],
        unlabeled: Mapping[str, Tensor],
        learning: Collection[str],
    ) -> dict[str, Output]:
        """Outputs of some views; those of ``learning`` with a graph."""
        if self.unlabeled_statistics:
            return network({**labeled, **unlabeled}, learning)
        return network(labeled, learning) | network(unlabeled, learning, update_statistics=False)

    @torch.no_grad()
    def _weak_probs(self, teacher: dict[str, Output]) -> Tensor:
        """[b, C] mean over the weak views."""
        weak = [teacher[view].of(self.judge_head).float() for view in self.weak_views]
        return torch.stack([x.softmax(dim=1) for x in weak]).mean(dim=0)

    @torch.no_grad()
    def _evidence(self, probs: Tensor, teacher: dict[str, Output], batch: Batch) -> Evidence:
        """What the rules may look at, of the global batch, before any alignment."""
        assert batch.index is not None
        probs = gather_rows(probs)
        evidence = Evidence(
            probs=probs,
            raw_probs=probs,
            index=gather_rows(batch.index),
            labeled_probs=gather_rows(teacher["labeled"].of(self.judge_head).float().softmax(dim=1)),
            labels=gather_rows(batch.labels),
            labeled_index=gather_rows(batch.labeled_index),
            iteration=batch.iteration,
        )
        if self.embedding is not None:
            evidence = replace(
                evidence,
                embedding=gather_rows(teacher[self.weak_views[0]].heads[self.embedding].float()),
                labeled_embedding=gather_rows(teacher["labeled"].heads[self.embedding].float()),
            )
        return evidence

    def _with_margins(self, logits: Tensor) -> Tensor:
        """Logits that learn the pseudo-label, with the alignments' margins."""
        for rule in cast(Iterable[AlignRule], self.alignments):
            margin = rule.margin()
            logits = logits if margin is None else logits + margin
        return logits


def _part(registry: Registry, part: Any, where: str, wanted: type) -> Any:
    if isinstance(part, nn.Module):
        return part
    kind_of(registry, part, where, wanted)
    return build(registry, part, where)


def _checked(
    rule: nn.Module,
    made: Any,
    part: str,
    numbers: torch.Size,
    call: str = "",
    classes: torch.Size | None = None,
) -> Tensor:
    """What a rule made, unless the step would trip over it, or broadcast it. A look at the values would make a GPU wait.

    Args:
        rule: names itself in the message.
        made: floating-point numbers of the shape ``numbers``, or int64 of the shape ``classes``.
        part: its place below `AT`.
        numbers, classes: shapes; None: there is no such form.
        call: of the rule, if it is not `forward` that made it.
    """
    if isinstance(made, Tensor):
        if made.is_floating_point() and made.shape == numbers:
            return made
        if made.dtype == torch.int64 and made.shape == classes:
            return made
    forms = [] if classes is None else [f"int64 classes of shape {tuple(classes)}"]
    raise UserError(
        f"{'.'.join(filter(None, (type(rule).__name__, call)))} returned {described(made)}",
        where=f"{AT}.{part}",
        expected=" or ".join([*forms, f"floating-point numbers of shape {tuple(numbers)}"]),
        fix="check the rule with ferbench.testing.check_rule, see docs/howto/plugin.md",
    )
