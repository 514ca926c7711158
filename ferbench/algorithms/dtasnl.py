"""DTA + SNL."""

from __future__ import annotations

from typing import Any

from ferbench.algorithms.dtm import DTM
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class DTASNL(DTM):
    """Dynamic threshold with selective negative learning (Cai et al. 2026, arXiv 2601.05556): our reading.

    A student and its average (EMA); the average is the teacher, DTM's threshold selects, the student learns the selected
    items' pseudo-labels and what the others are not: ``L = L_x + L_u + L_neg``, see
    `SelectiveNegativeLearning`. The paper's formulas could not be checked: threshold (its authors share two with DTM's),
    negative labels and loss weights are ours. Its network (local attention, dropped feature maps) is not part of this;
    the balanced sampling of labeled images it names is ``train_dataloader.sampler="class_balanced"``.

    Args:
        level: probability below which a class is a complementary label.
        negative_weight: of L_neg.
        recipe: any argument of `DTM`.
    """

    def __init__(self, level: float = 0.05, negative_weight: float = 1.0, **recipe: Any):
        negative = dict(type="SelectiveNegativeLearning", level=level, weight=negative_weight)
        own: dict[str, Any] = dict(threshold_only=True, judge="ema", terms=[negative])
        super().__init__(**own | recipe)
