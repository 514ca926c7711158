"""The base of methods against class imbalance: they wrap another algorithm and change some of its parts."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from typing_extensions import override

from ferbench.algorithms.base import Algorithm
from ferbench.algorithms.matching import Matching
from ferbench.alignments.base import AlignRule
from ferbench.contracts import Batch, Network, Output, StepResult, Views
from ferbench.core.parts import build
from ferbench.errors import UserError
from ferbench.registry import ALGORITHMS


class Rebalancing(Algorithm):
    """``algorithm=dict(type='ABC', base=dict(type='FixMatch'))``: a base algorithm with some of its parts changed.

    Optimizer, schedule, views and data stay those of the base, so that "base" and "base with the method" differ by the
    method alone. Wrappers nest. A subclass changes parts in its constructor (adds a term, replaces a rule, ...).

    Args:
        base: the algorithm underneath.
    """

    def __init__(self, base: Any):
        super().__init__()
        self.base: Algorithm = (
            base if isinstance(base, Algorithm) else build(ALGORITHMS, base, "model.algorithm.base")
        )
        self.all_labels = self.base.all_labels

    @property
    def innermost(self) -> Algorithm:
        """The algorithm at the bottom."""
        inner = self.base
        while isinstance(inner, Rebalancing):
            inner = inner.base
        return inner

    @property
    def matching(self) -> Matching:
        """The algorithm at the bottom, whose pseudo-labels the method works on.

        Raises:
            UserError: it has none.
        """
        inner = self.innermost
        if not isinstance(inner, Matching):
            raise UserError(
                f"{type(self).__name__} works on pseudo-labels, but {type(inner).__name__} makes none",
                where="model.algorithm.base",
                expected="an algorithm of the matching family, e.g. FixMatch",
            )
        return inner

    @property
    def weak_views(self) -> tuple[str, ...]:
        """The unlabeled views of which the base makes pseudo-labels at each step.

        Raises:
            UserError: it has none (its pseudo-labels were made before).
        """
        if not self.matching.weak_views:
            raise UserError(
                f"{type(self).__name__} works on the weak views of each step, but {type(self.innermost).__name__} has none",
                where="model.algorithm.base",
                expected="an algorithm that makes its pseudo-labels as it trains, e.g. FixMatch",
            )
        return self.matching.weak_views

    def align(self, rule: AlignRule) -> None:
        """Let a rule change the probabilities that pseudo-labels are made of, after the base's own alignments.

        Raises:
            UserError: the base's targets are made of the probabilities before any alignment.
        """
        target = self.matching.target
        if any(getattr(part, "raw", False) for part in target.modules()):
            raise UserError(
                f"{type(self).__name__} changes pseudo-labels by an alignment, but those of {type(self.innermost).__name__} "
                "are made of the probabilities before any alignment",
                where="model.algorithm.base.target",
                expected="a target of aligned probabilities",
                fix="set target=dict(type='HardTarget') in the base",
            )
        self.matching.alignments.append(rule)

    @property
    @override
    def views(self) -> Views:
        return self.base.views

    @property
    @override
    def prediction_head(self) -> str | None:
        return self.base.prediction_head

    def prediction(self, output: Output) -> Tensor:
        """See `Algorithm.prediction`: the base's, unless this method predicts with a head of its own."""
        head = self.prediction_head
        return self.base.prediction(output) if head == self.base.prediction_head else output.of(head)

    @property
    @override
    def evidence_head(self) -> str | None:
        return self.base.evidence_head

    @property
    @override
    def generation(self) -> int | None:
        return self.base.generation

    @override
    def step(self, network: Network, batch: Batch) -> StepResult:
        return self.base.step(network, batch)
