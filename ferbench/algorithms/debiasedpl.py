"""Debiased pseudo-labels."""

from __future__ import annotations

from typing import Any

from ferbench.algorithms.matching import Matching
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class DebiasedPL(Matching):
    """FixMatch on logits from which the model's own class bias is taken out (Wang et al. 2022, arXiv 2201.01490).

    Pseudo-label and mask from ``softmax(z - tau log q)``, loss ``H(y, softmax(z_strong + tau log q))``, q the running mean
    of the predictions: see `DebiasedAlignment`. Defaults are those of the authors' training scripts.

    Args:
        threshold: confidence that a debiased pseudo-label must reach.
        tau: strength.
        momentum: of q.
        parts: any other argument of `Matching`.
    """

    def __init__(self, threshold: float = 0.8, tau: float = 0.4, momentum: float = 0.999, **parts: Any):
        alignment = dict(type="DebiasedAlignment", tau=tau, momentum=momentum)
        super().__init__(
            threshold=dict(type="FixedThreshold", threshold=threshold), **{"alignment": alignment, **parts}
        )
