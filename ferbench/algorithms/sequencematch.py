"""SequenceMatch."""

from __future__ import annotations

from typing import Any

from ferbench.algorithms.matching import Matching
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class SequenceMatch(Matching):
    """Weak, medium and strong view agree pairwise (Nguyen 2023, arXiv 2310.15787).

    ``L = L_x + lambda_u * mean(f * (H(argmax p_w, p_s) + KL(w || p_m) + KL(m || p_s) + KL(w || p_s)))``: f is FlexMatch's
    mask of the weak view; w and m are the weak and the medium prediction, sharpened by T.

    Of the paper the abstract could be read; the terms are those of the author's public code. The abstract tells high from
    low confidences apart; the author's two versions count different items in the KL terms, here the selected ones are
    (``items='all'`` or ``'unselected'`` for other readings).

    Args:
        threshold, warmup: of `FlexThreshold`.
        temperature: T.
        items: which items the KL terms count, see `ViewDivergence`.
        lambda_u: weight of all four terms.
        parts: any other argument of `Matching`.
    """

    def __init__(
        self,
        threshold: float = 0.95,
        warmup: bool = True,
        temperature: float = 0.5,
        items: str = "selected",
        lambda_u: float = 1.0,
        **parts: Any,
    ):
        shared = dict(type="ViewDivergence", weight=lambda_u, temperature=temperature, items=items)
        pairs = (("medium", "weak"), ("strong", "medium"), ("strong", "weak"))
        terms = [dict(view=view, target=target, **shared) for view, target in pairs]
        rule = dict(type="FlexThreshold", threshold=threshold, warmup=warmup)
        super().__init__(threshold=rule, lambda_u=lambda_u, **{"terms": terms, **parts})
