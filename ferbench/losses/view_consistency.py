"""An extra term by which a further view learns the pseudo-label."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from typing_extensions import override

from ferbench.arguments import NONNEGATIVE, SHARE, check_numbers
from ferbench.contracts import MatchingStep
from ferbench.core.parts import build
from ferbench.functional.losses import rampup
from ferbench.lifecycle import RunContext
from ferbench.losses.base import ExtraTerm
from ferbench.registry import LOSSES


@LOSSES.register_module()
class ViewConsistency(ExtraTerm):
    """``ramp * consistency(view, target, weight)``: a further view learns the step's pseudo-labels, with their weights.

    E.g. ReMixMatch's strong view that is not mixed (arXiv 1911.09785, eq. 4), or a second strong view.

    Args:
        weight: factor in the total loss.
        view: the view that learns.
        consistency: config of the loss; None: cross-entropy.
        ramp: fraction of the run over which the term grows linearly from 0; 0: constant.

    >>> import torch
    >>> from ferbench.contracts import Output
    >>> from ferbench.testing import make_step
    >>> term = ViewConsistency(view="strong2")
    >>> term.bind(RunContext(num_classes=2, num_labeled=4, num_unlabeled=8, max_iters=100, class_counts=(2, 2)))
    >>> output = Output(torch.zeros(2, 2), torch.zeros(2, 1))
    >>> term(make_step({"weak": output, "strong2": output}, weight=[1.0, 0.0]))
    tensor(0.3466)
    """

    def __init__(
        self, weight: float = 1.0, view: str = "strong2", consistency: Any = None, ramp: float = 0.0
    ):
        super().__init__()
        check_numbers(self, NONNEGATIVE, weight=weight)
        check_numbers(self, SHARE, ramp=ramp)
        self.name, self.weight, self.ramp = f"consistency_{view}", weight, ramp
        self.views = self.needs_gradient = (view,)
        config = consistency or dict(type="ConsistencyCrossEntropy")
        self.consistency = build(LOSSES, config, "the consistency of ViewConsistency")

    @override
    def bind(self, context: RunContext) -> None:
        self.max_iters = context.max_iters

    def forward(self, step: MatchingStep) -> Tensor:
        """Unweighted term, []."""
        loss = self.consistency(step.outputs[self.views[0]].logits, step.target, step.weight)
        return loss * rampup(step.batch.iteration, self.max_iters, self.ramp)
