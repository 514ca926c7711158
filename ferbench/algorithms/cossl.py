"""CoSSL."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from ferbench.algorithms.rebalancing import Rebalancing
from ferbench.arguments import SHARE, check_numbers
from ferbench.contracts import Batch, Network, StepResult
from ferbench.lifecycle import RunContext
from ferbench.losses.second_head import TailEnhancedLoss
from ferbench.registry import ALGORITHMS

HEAD = "cossl"


@ALGORITHMS.register_module()
class CoSSL(Rebalancing):
    """A teacher classifier on the features of the EMA model, balanced and decoupled (Fan et al. 2022, arXiv 2112.04564).

    It learns by `TailEnhancedLoss` and predicts. After the warm-up it makes the base's pseudo-labels, too, on the EMA
    model's features. The paper trains it from the end of the warm-up on, after some epochs of its own; here it learns
    from the start, which nothing else notices before.

    Args:
        base: the algorithm underneath.
        low: smallest share of the labeled feature in a mixture.
        weight: of the teacher classifier's loss.
        warmup: share of the run in which the base makes its own pseudo-labels (the authors': 400 of 500 epochs).
    """

    def __init__(self, base: Any, low: float = 0.6, weight: float = 1.0, warmup: float = 0.8):
        super().__init__(base)
        check_numbers(self, SHARE, warmup=warmup)
        self.warmup = warmup
        self.matching.terms.append(TailEnhancedLoss(low, weight, HEAD, self.weak_views[0]))

    @property
    @override
    def prediction_head(self) -> str:
        return HEAD

    @override
    def bind(self, context: RunContext) -> None:
        self.start = self.warmup * context.max_iters

    @override
    def step(self, network: Network, batch: Batch) -> StepResult:
        if batch.iteration >= self.start:
            self.matching.judge, self.matching.judge_head = "ema", HEAD
        return super().step(network, batch)
