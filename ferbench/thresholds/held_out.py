"""The Dynamic Threshold Module, measured on labeled images that the classifier does not learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from ferbench.arguments import INNER_SHARE, check_numbers
from ferbench.errors import UserError
from ferbench.functional.randomness import derive_seed
from ferbench.lifecycle import Part, RunContext
from ferbench.registry import THRESHOLDS
from ferbench.thresholds.dtm import DynamicThreshold


@THRESHOLDS.register_module()
class HeldOutThreshold(DynamicThreshold):
    """`DynamicThreshold` whose mu_c comes from held-out labeled images alone. Ours.

    Of images that it has learned by heart a classifier is equally sure in every class, so that DTM's thresholds become one
    (``docs/results/fer2013.md``); the labels of held-out images are new to it. The algorithm has to leave them out of its
    labeled loss, see `ferbench.algorithms.held_out_dtm.HeldOutDTM`.

    Args:
        share: of the labeled images that is held out, above 0 and below 1; which ones is drawn from the run's seed,
            whatever their class. Frames are held out by whole videos, until the share is reached; copies of an image (some of
            FER2013's) are not kept together. A class without any has the threshold that ``no_sample`` says.
        rule: arguments of `DynamicThreshold`.

    Buffers:
        held_out: bool [num_labeled], and those of `DynamicThreshold`.

    Raises:
        UserError: ``share`` is no share, or leaves no labeled image on one of the two sides; the algorithm, or another part of
            it (its attribute ``learns_labels``), would learn the held-out labels.

    >>> rule = HeldOutThreshold(share=0.25)
    >>> rule.bind(RunContext(num_classes=2, num_labeled=8, num_unlabeled=8, max_iters=100, class_counts=(4, 4)))
    >>> int(rule.held_out.sum()), rule.learned_share
    (2, 0.75)
    """

    held_out: Tensor

    def __init__(self, share: float = 0.2, **rule: Any):
        super().__init__(**rule)
        check_numbers(self, INNER_SHARE, share=share)
        self.share = share

    @override
    def accept(self, parts: Sequence[Part]) -> None:
        if parts[0] is self:  # by itself, in a test
            return
        # Attributes of `Algorithm` and `ExtraTerm`, which lie above the rules.
        skipped = any(getattr(part, "skips_held_out", False) for part in parts)
        learning = [type(part).__name__ for part in parts if getattr(part, "learns_labels", False)]
        if not skipped or learning:
            who = learning[0] if learning else type(parts[0]).__name__
            raise UserError(
                f"{who} would learn the labels that HeldOutThreshold holds out",
                where="model.algorithm",
                expected="HeldOutDTM, without parts that learn labels by themselves",
                fix="use DynamicThreshold (DTM) there",
            )

    @override
    def bind(self, context: RunContext) -> None:
        super().bind(context)
        items = (
            torch.arange(context.num_labeled) if context.labeled_videos is None else context.labeled_videos
        )
        unit, size = torch.unique(items, return_inverse=True, return_counts=True)[1:]
        generator = torch.Generator().manual_seed(derive_seed(context.seed, "held out"))
        order = torch.randperm(len(size), generator=generator)
        wanted = round(self.share * context.num_labeled)
        taken = order[size[order].cumsum(0) - size[order] < wanted]  # until there are enough
        self.register_buffer("held_out", torch.isin(unit, taken))
        count = int(self.held_out.sum())
        if not 0 < count < context.num_labeled:
            raise UserError(
                f"HeldOutThreshold would hold out {count} of {context.num_labeled} labeled images",
                where="share",
                expected="at least one image (or video) held out and one to learn from",
            )
        self.learned_share = 1 - count / context.num_labeled

    def _counted(self, index: Tensor) -> Tensor:
        return self.held_out[index]
