"""Dash."""

from __future__ import annotations

from typing import Any

from ferbench.algorithms.matching import Matching
from ferbench.core.parts import build
from ferbench.registry import ALGORITHMS, THRESHOLDS
from ferbench.targets.dash import DashTarget


@ALGORITHMS.register_module()
class Dash(Matching):
    """Pseudo-labels whose loss is below a threshold that falls as training goes (Xu et al. 2021, arXiv 2109.00650).

    ``L = L_x + lambda_u * mean([H(t, p) <= rho] * H(t, p_strong))``, see `DashThreshold`; t is soft until rho has reached
    its floor. The warm-up is part of the run: no pseudo-label counts in it, the learning-rate schedule goes on.

    Args:
        gamma: by which rho is divided at each drop.
        rho_min: floor of rho.
        temperature: of the soft targets.
        rule: any other argument of `DashThreshold` (``warmup``, ``interval``, ``rho_init``, ...).
        parts: any other argument of `Matching`.
    """

    def __init__(
        self,
        gamma: float = 1.27,
        rho_min: float = 0.05,
        temperature: float = 0.5,
        rule: dict | None = None,
        **parts: Any,
    ):
        own = dict(type="DashThreshold", gamma=gamma, rho_min=rho_min, temperature=temperature)
        threshold = build(THRESHOLDS, {**own, **(rule or {})}, "model.algorithm.rule")
        super().__init__(threshold=threshold, **{"target": DashTarget(threshold), **parts})
