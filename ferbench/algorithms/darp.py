"""DARP."""

from __future__ import annotations

from typing import Any

from ferbench.algorithms.rebalancing import Rebalancing
from ferbench.core.parts import build
from ferbench.registry import ALGORITHMS, TARGETS


@ALGORITHMS.register_module()
class DARP(Rebalancing):
    """Distribution aligning refinery of pseudo-labels (Kim et al. 2020, arXiv 2007.08844).

    The base's pseudo-labels are made of refined probabilities (`RefinedTarget`): the nearest ones to the latest predictions
    of all unlabeled items whose classes have the shares of the labeled set. The weights stay those of the base.

    Args:
        base: an algorithm of the matching family.
        warmup: iterations before the first refinement; None: two fifths of the run.
        interval: iterations between two refinements.
        alpha: candidates per item that a class is to have.
        refinery: any other argument of `RefinedTarget` (``rounds``, ``shares``, ``half``).
    """

    def __init__(
        self,
        base: Any,
        warmup: int | None = None,
        interval: int = 10,
        alpha: float = 2.0,
        refinery: dict | None = None,
    ):
        super().__init__(base)
        matching = self.matching
        config = dict(
            type="RefinedTarget", target=matching.target, warmup=warmup, interval=interval, alpha=alpha
        )
        matching.target = build(TARGETS, {**config, **(refinery or {})}, "model.algorithm.refinery")
