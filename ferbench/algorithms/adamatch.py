"""AdaMatch."""

from __future__ import annotations

from typing import Any

from ferbench.algorithms.matching import Matching
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class AdaMatch(Matching):
    """A threshold relative to the confidence on labeled images, after alignment (Berthelot et al. 2022, arXiv 2106.04732).

    ``mask = [max p >= threshold * mean confidence of the step's labeled images]``; p is aligned to the running mean of the
    predictions on labeled images. Without the paper's random interpolation of logits, which is for domain adaptation.

    Args:
        threshold: share of the labeled confidence that is asked for.
        momentum: of the alignment's running means.
        parts: any other argument of `Matching`.
    """

    def __init__(self, threshold: float = 0.95, momentum: float = 0.999, **parts: Any):
        alignment = dict(type="EMAAlignment", target="model", momentum=momentum)
        super().__init__(
            threshold=dict(type="RelativeThreshold", threshold=threshold), **{"alignment": alignment, **parts}
        )
