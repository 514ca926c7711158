"""MutexMatch."""

from __future__ import annotations

from typing import Any

from ferbench.algorithms.fixmatch import FixMatch
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class MutexMatch(FixMatch):
    """FixMatch, whose unselected items learn what they are not, by a head of its own (arXiv 2203.14316).

    ``L = L_x + L_u + L_sep + L_n``, see `TrueNegativeConsistency` for the last two. With DTM's threshold (MutexMatch-T of
    ABAW 2023): ``dict(type="DTM", threshold_only=True, terms=[dict(type="TrueNegativeConsistency")])``.

    Args:
        threshold: fixed confidence threshold.
        degree: number of classes that are compared between the views; None: all.
        parts: any argument of `FixMatch` and `Matching`.
    """

    def __init__(self, threshold: float = 0.95, degree: int | None = None, **parts: Any):
        term = dict(type="TrueNegativeConsistency", degree=degree)
        super().__init__(threshold, **{"terms": [term], **parts})
