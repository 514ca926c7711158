"""Adsh."""

from __future__ import annotations

from typing import Any

from ferbench.algorithms.rebalancing import Rebalancing
from ferbench.core.parts import build
from ferbench.registry import ALGORITHMS, THRESHOLDS


@ALGORITHMS.register_module()
class Adsh(Rebalancing):
    """The base with thresholds that pass the same share of every class (Guo & Li 2022, ICML, PMLR 162).

    ``mask = [max p >= exp(-s_y)]``; the base's own threshold rule is replaced. See `AdshThreshold`.

    Args:
        base: an algorithm of the matching family.
        threshold: of the class with most labeled items.
        rule: any other argument of `AdshThreshold` (``epoch_length``, ``max_items``, ...).
    """

    def __init__(self, base: Any, threshold: float = 0.95, rule: dict | None = None):
        super().__init__(base)
        config = dict(type="AdshThreshold", threshold=threshold, **(rule or {}))
        self.matching.threshold = build(THRESHOLDS, config, "model.algorithm.rule")
