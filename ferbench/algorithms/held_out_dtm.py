"""DTM whose statistic comes from labeled images that are not learned."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ferbench.algorithms.dtm import DTM
from ferbench.contracts import MatchingStep
from ferbench.functional.probabilities import as_probabilities
from ferbench.registry import ALGORITHMS


@ALGORITHMS.register_module()
class HeldOutDTM(DTM):
    """`DTM` with its thresholds measured on a share of the labeled images, of which the classifier never learns the label.

    See `HeldOutThreshold`. The held-out labels are part of the budget: who compares, compares with methods that learn all of
    it. The held-out images still count in batch-norm's statistics, as unlabeled ones do. Ours.

    Args:
        share: of the labeled images that is held out.
        rule: any other argument of `HeldOutThreshold`.
        parts: any other argument of `DTM`.
    """

    skips_held_out = True

    def __init__(self, share: float = 0.2, rule: dict | None = None, **parts: Any):
        super().__init__(rule=dict(rule or {}, type="HeldOutThreshold", share=share), **parts)

    def _compared(self, step: MatchingStep) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
        """See `Matching._compared`; targets of held-out items are 0, and so is their loss."""
        (logits, target), unlabeled = super()._compared(step)
        learned = ~self.threshold.held_out[step.batch.labeled_index]
        # By the constant share, not by the number in the batch: it is right on average, and the same for any split of a batch.
        factor = learned / self.threshold.learned_share
        return (logits, as_probabilities(target, logits.shape[1]) * factor[:, None]), unlabeled
