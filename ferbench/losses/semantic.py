"""DASO's loss between the views' similarities to the classes' prototypes."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from typing_extensions import override

from ferbench.arguments import NONNEGATIVE, SHARE, check_numbers
from ferbench.contracts import MatchingStep
from ferbench.functional.losses import cross_entropy
from ferbench.lifecycle import RunContext
from ferbench.losses.base import ExtraTerm


class SemanticAlignment(ExtraTerm):
    """``mean_u H(q_weak, q_strong)`` over all unlabeled items; q: by similarity to prototypes (DASO, arXiv 2106.05682).

    `ferbench.algorithms.DASO` makes one.

    Args:
        semantic: features [B, D] -> similarities over a temperature, [B, C].
        weight: factor in the total loss.
        warmup: share of the run without this loss.
        weak_view, prediction_view: the unlabeled views; no gradient reaches the first.

    >>> import torch
    >>> from ferbench.contracts import Output
    >>> from ferbench.testing import make_step
    >>> term = SemanticAlignment(lambda features: features, warmup=0.0)
    >>> term.bind(RunContext(num_classes=2, num_labeled=4, num_unlabeled=8, max_iters=100, class_counts=(2, 2)))
    >>> output = Output(torch.zeros(1, 2), torch.zeros(1, 2))
    >>> term(make_step({"weak": output, "strong": output}, weight=[1.0]))
    tensor(0.6931)
    """

    name = "semantic"

    def __init__(
        self,
        semantic: Callable[[Tensor], Tensor],
        weight: float = 1.0,
        warmup: float = 0.02,
        weak_view: str = "weak",
        prediction_view: str = "strong",
    ):
        super().__init__()
        check_numbers(self, NONNEGATIVE, weight=weight)
        check_numbers(self, SHARE, warmup=warmup)
        self.semantic, self.weight, self.warmup = semantic, weight, warmup
        self.weak_view, self.prediction_view = weak_view, prediction_view
        self.views, self.needs_gradient = (weak_view, prediction_view), (prediction_view,)

    @override
    def bind(self, context: RunContext) -> None:
        self.start = self.warmup * context.max_iters

    def forward(self, step: MatchingStep) -> Tensor:
        """Unweighted term, []."""
        strong = step.outputs[self.prediction_view].features
        if step.batch.iteration < self.start:
            return strong.new_zeros(())
        target = self.semantic(step.outputs[self.weak_view].features.detach()).softmax(dim=1)
        return cross_entropy(self.semantic(strong), target).mean()
