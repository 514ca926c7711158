"""Noisy Student."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from typing_extensions import override

from ferbench.algorithms.matching import Matching
from ferbench.contracts import Batch, MatchingStep, Network, StepResult, Views
from ferbench.errors import UserError
from ferbench.losses.base import scalar
from ferbench.registry import ALGORITHMS
from ferbench.targets.offline import OfflineLabels


@ALGORITHMS.register_module()
class NoisyStudent(Matching):
    """Iterative pseudo-labeling by a frozen teacher (Noisy Student, Xie et al. 2020, arXiv 1911.04252).

    Generation 0 learns the labeled set alone. At the end of each generation the EMA model labels the whole unlabeled set
    (`OfflineLabels`), and the next one learns labels and pseudo-labels from strong views, with what noise the network has
    (dropout): ``L = L_x + lambda_u * mean(w_i * H(target_i, p_strong,i))``. No weak view is passed in a step. The learning
    rate's schedule runs once, over all generations.

    The paper's student may be larger than its teacher, and sees every class equally often; ours is the same network, on the
    streams as they are.

    Args:
        generations: G, the labeled-only one among them.
        restart: each generation starts from the initial weights; False: it goes on from the last one's.
        soft: pseudo-labels are distributions (4 bytes per item and class; see `OfflineLabels`) instead of classes.
        threshold: confidence that a pseudo-label must have; of the fixed rule.
        rule: config of any other threshold rule, in its place.
        labeled_view: ``strong``, as in the paper, or ``weak``.
        teacher: other arguments of `OfflineLabels` (``weights``, ``view``, ``half``).
        parts: any argument of `Matching` that does not ask for a weak view's prediction.

    Raises:
        UserError: a part asks for one.
    """

    def __init__(
        self,
        generations: int = 4,
        restart: bool = True,
        soft: bool = True,
        threshold: float = 0.3,
        rule: dict | None = None,
        labeled_view: str = "strong",
        teacher: dict | None = None,
        **parts: Any,
    ):
        for name in ("weak_views", "judge", "judge_head", "embedding"):
            if name in parts:
                raise UserError(
                    f"NoisyStudent has no {name}: its pseudo-labels come from a frozen teacher, not from the step's weak views",
                    where=f"model.algorithm.{name}",
                    fix="leave it out",
                )
        target = dict(type="SoftTarget", temperature=1.0) if soft else dict(type="HardTarget")
        rule = rule or dict(type="FixedThreshold", threshold=threshold)
        super().__init__(threshold=rule, weak_views=(), **{"target": target, **parts})
        self.restart, self.labeled_view = restart, labeled_view
        # Last, so that a rule's own passes over the data are done when it makes the labels.
        self.labels = OfflineLabels(
            self.label, lambda: self.threshold.thresholds(), generations, soft, **(teacher or {})
        )

    @property
    @override
    def generation(self) -> int | None:
        return self.labels.length if self.restart else None

    @property
    @override
    def views(self) -> Views:
        views = super().views
        return replace(views, labeled=tuple(dict.fromkeys([self.labeled_view, *views.labeled[1:]])))

    @override
    def step(self, network: Network, batch: Batch) -> StepResult:
        for_terms = {view: batch.labeled[view] for view in super().views.labeled[1:]}
        batch = replace(batch, labeled={"weak": batch.labeled[self.labeled_view], **for_terms})
        if batch.iteration < self.labels.length:
            output = network({"labeled": batch.labeled["weak"]}, ("labeled",))["labeled"]
            loss = self.supervised_loss(output.logits, batch.target, batch.iteration)
            loss = scalar(self.supervised_loss, loss, "model.algorithm.supervised_loss")
            return StepResult(self.lambda_x * loss, {"supervised": loss.detach()})
        assert batch.index is not None
        outputs, _ = self._run(network, batch)
        probs, weight, target = self.labels(batch.index)
        evidence = self._evidence(probs, outputs, batch)
        step = MatchingStep(outputs, batch, evidence, probs, target, weight, network)
        return self._learn(step, self.labels.thresholds())
