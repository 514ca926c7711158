"""FlexMatch's curriculum of per-class thresholds."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from ferbench.arguments import SHARE, check_numbers
from ferbench.contracts import Evidence
from ferbench.functional.duplicates import last_occurrence
from ferbench.functional.thresholds import flex_learning_status, flex_thresholds, pass_mask
from ferbench.lifecycle import RunContext
from ferbench.registry import THRESHOLDS
from ferbench.thresholds.base import ThresholdRule


@THRESHOLDS.register_module()
class FlexThreshold(ThresholdRule):
    """``mask = [max p >= P * a_y / (2 - a_y)]``, a_c = how often class c has passed P (arXiv 2110.08263, eq. 5-11).

    Each unlabeled item has one record: the class it was last predicted as with confidence >= P (the *fixed* threshold,
    as in the authors' code), or none. Records are overwritten, never removed. Counts per class are kept as the records
    change, so a step costs O(batch log batch) and not O(unlabeled set). The mask uses the status from before the step.
    At the start every threshold is 0 and everything passes: that is the method.

    Args:
        threshold: P.
        warmup: normalise by the unrecorded items too while they are the largest group (``thresh_warmup``).

    Buffers:
        record: int8 [N + 1]; class of each item or -1; the last entry is scratch space.
        counts: int64 [C + 1]; ``counts[0]`` unrecorded items, ``counts[1 + c]`` items recorded as c.
        status: float32 [C]; a_c.

    >>> from ferbench.testing import make_evidence
    >>> rule = FlexThreshold(0.9, warmup=False)
    >>> rule.bind(RunContext(num_classes=2, num_labeled=4, num_unlabeled=8, max_iters=100, class_counts=(2, 2)))
    >>> rule(make_evidence([[0.95, 0.05], [0.92, 0.08], [0.06, 0.94]]))
    tensor([1., 1., 1.])
    >>> rule.thresholds()
    tensor([0.9000, 0.3000])
    """

    record: Tensor
    counts: Tensor
    status: Tensor

    def __init__(self, threshold: float = 0.95, warmup: bool = True):
        super().__init__()
        check_numbers(self, SHARE, threshold=threshold)
        self.threshold, self.warmup = threshold, warmup

    @override
    def bind(self, context: RunContext) -> None:
        self.register_buffer("record", torch.full((context.num_unlabeled + 1,), -1, dtype=torch.int8))
        counts = torch.zeros(context.num_classes + 1, dtype=torch.int64)
        counts[0] = context.num_unlabeled
        self.register_buffer("counts", counts)
        self.register_buffer("status", torch.zeros(context.num_classes))

    @override
    def forward(self, evidence: Evidence) -> Tensor:
        mask = pass_mask(evidence.probs, self.thresholds())
        confidence, label = evidence.probs.max(dim=1)
        self._record(evidence.index, label, confidence >= self.threshold)
        self.status.copy_(flex_learning_status(self.counts, self.status, self.warmup))
        return mask

    @override
    def thresholds(self) -> Tensor:
        return flex_thresholds(self.status, self.threshold)

    def _record(self, index: Tensor, label: Tensor, confident: Tensor) -> None:
        # An item's last confident row wins and it is counted once; all other rows are written to the scratch entry.
        scratch = torch.full_like(index, len(self.record) - 1)
        place = torch.where(confident, index, scratch)
        wins = confident & last_occurrence(place)
        place = torch.where(wins, place, scratch)
        old, one = self.record[place].long(), wins.long()
        self.record[place] = torch.where(wins, label, torch.full_like(label, -1)).to(self.record.dtype)
        self.counts.index_add_(0, old + 1, -one).index_add_(0, label + 1, one)
