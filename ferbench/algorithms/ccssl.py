"""CCSSL."""

from __future__ import annotations

from typing import Any

from ferbench.algorithms.fixmatch import FixMatch
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class CCSSL(FixMatch):
    """FixMatch with class-aware contrast (Yang et al., CVPR 2022, arXiv 2203.02261).

    ``L = L_x + lambda_u * L_u + L_c``, see `ClassAwareContrast`, which any other method may take as a term. The authors'
    second strong view has random crops and colour jitter, ours is drawn like the first; their projection has a leaky
    ReLU.

    Args:
        threshold: fixed confidence threshold of the pseudo-labels.
        contrast_threshold, contrast_weight, own_view: ``threshold``, ``weight`` and ``own_view`` of the class-aware contrast.
        parts: any argument of `FixMatch` and `Matching`.
    """

    def __init__(
        self,
        threshold: float = 0.95,
        contrast_threshold: float = 0.9,
        contrast_weight: float = 1.0,
        own_view: str = "one",
        **parts: Any,
    ):
        term = dict(
            type="ClassAwareContrast",
            weight=contrast_weight,
            threshold=contrast_threshold,
            own_view=own_view,
        )
        super().__init__(threshold, **{"terms": [term], **parts})
