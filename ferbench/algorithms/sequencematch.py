"""SequenceMatch."""

from __future__ import annotations

from typing import Any

from ferbench.algorithms.matching import Matching
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class SequenceMatch(Matching):
    """Weak, medium and strong view agree pairwise (Nguyen 2023, arXiv 2310.15787).

    ``L = L_x + lambda_u * (mean(f * H(argmax p_w, p_s)) + D(w, m) + D(m, s) + D(w, s))``: f is FlexMatch's mask of the weak
    view, ``D(t, v) = mean([max p_t >= threshold] * KL(sharpened p_t || p_v))``, see `ViewDivergence`.

    Of the paper the abstract could be read; the terms are those of the public code that it names. The author's later port
    to a library counts the items of f in the KL terms instead (``items='selected'``), and the abstract speaks of another
    constraint for low confidences (``'unselected'``, ``'all'``).

    Args:
        threshold: of `FlexThreshold` and of the KL terms.
        warmup: of `FlexThreshold`.
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
        items: str = "confident",
        lambda_u: float = 1.0,
        **parts: Any,
    ):
        counted = dict(items=items, threshold=threshold)
        shared = dict(type="ViewDivergence", weight=lambda_u, temperature=temperature, **counted)
        pairs = (("medium", "weak"), ("strong", "medium"), ("strong", "weak"))
        terms = [dict(view=view, target=target, **shared) for view, target in pairs]
        rule = dict(type="FlexThreshold", threshold=threshold, warmup=warmup)
        super().__init__(threshold=rule, lambda_u=lambda_u, **{"terms": terms, **parts})
