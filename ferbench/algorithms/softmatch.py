"""SoftMatch."""

from __future__ import annotations

from typing import Any

from ferbench.algorithms.matching import Matching
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class SoftMatch(Matching):
    """Weights from a truncated Gaussian over the confidence, in place of a threshold (Chen et al. 2023, arXiv 2301.10921).

    The weight is that of the aligned confidence, see `TruncatedGaussian` and `EMAAlignment`; the pseudo-label is the class
    on top before alignment.

    Args:
        n_sigma: the larger, the fewer items below the mean confidence count.
        momentum: of all running means.
        per_class: mean and variance of each class.
        statistics: of which confidences: ``raw`` (before alignment, the paper) or ``aligned``.
        align_to: ``uniform``, ``model`` or ``labeled`` class shares; None: no alignment.
        parts: any other argument of `Matching`.
    """

    def __init__(
        self,
        n_sigma: float = 2.0,
        momentum: float = 0.999,
        per_class: bool = False,
        statistics: str = "raw",
        align_to: str | None = "uniform",
        **parts: Any,
    ):
        rule = dict(
            type="TruncatedGaussian",
            n_sigma=n_sigma,
            momentum=momentum,
            per_class=per_class,
            statistics=statistics,
        )
        alignment = (
            None if align_to is None else dict(type="EMAAlignment", target=align_to, momentum=momentum)
        )
        target = dict(type="HardTarget", raw=True)
        super().__init__(threshold=rule, **{"alignment": alignment, "target": target, **parts})
