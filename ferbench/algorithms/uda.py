"""UDA."""

from __future__ import annotations

from typing import Any

from ferbench.algorithms.matching import Matching
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class UDA(Matching):
    """Unsupervised data augmentation: sharpened soft targets, annealed supervision (Xie et al. 2020, arXiv 1904.12848).

    ``L = L_x(it) + lambda_u * mean([max p >= threshold] * H(softmax(z / T), p_strong))``, see `AnnealedCrossEntropy`.

    Args:
        threshold: confidence that a pseudo-label must reach.
        temperature: T.
        schedule: of the training signal annealing: ``none``, ``linear``, ``log`` or ``exp``.
        parts: any other argument of `Matching`.
    """

    def __init__(
        self, threshold: float = 0.8, temperature: float = 0.4, schedule: str = "none", **parts: Any
    ):
        own = dict(
            target=dict(type="SoftTarget", temperature=temperature),
            supervised_loss=dict(type="AnnealedCrossEntropy", schedule=schedule),
        )
        super().__init__(threshold=dict(type="FixedThreshold", threshold=threshold), **{**own, **parts})
