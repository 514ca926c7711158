"""Metrics that gather over batches and processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ferbench.distributed import sum_over_ranks, world_size
from ferbench.errors import UserError
from ferbench.functional.metrics import confusion_matrix, scores_from_confusion
from ferbench.registry import METRICS


@METRICS.register_module()
class ExpressionMetrics:
    """Macro-F1 (the ABAW metric) and the scores beside it, over all images of all processes.

    Only counts are kept, on the device, and summed over processes at the end: with disjoint shares of the
        data every image
    counts once, and the result is the same for any number of processes.

    Args:
        classes: names, in the order of the network's outputs.
    """

    def __init__(self, classes: Sequence[str]):
        self.classes = tuple(classes)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        size = len(self.classes)
        self._confusion = torch.zeros(size, size, dtype=torch.int64)
        self._invalid = torch.zeros((), dtype=torch.int64)

    @torch.no_grad()
    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Count one batch; no device sync.

        Args:
            logits: [B, C] logits or probabilities.
            labels: [B] class indices; below 0: not annotated, not counted.
        """
        if logits.shape[1] != len(self.classes):
            raise UserError(
                f"the network has {logits.shape[1]} outputs",
                where="model.num_classes",
                expected=f"one for each of the {len(self.classes)} classes: {', '.join(self.classes)}",
            )
        labels = labels.to(logits.device)
        self._confusion = self._confusion.to(logits.device)
        self._invalid = self._invalid.to(logits.device)
        self._confusion += confusion_matrix(logits.argmax(dim=1), labels, len(self.classes))
        self._invalid += (logits.isnan().any(dim=1) & (labels >= 0)).sum()

    def compute(self) -> dict[str, Any]:
        """The scores (`ferbench.functional.metrics.scores_from_confusion`); every process gets the same.

        Must be called by all processes. May be called again.

        Raises:
            UserError: the network gave NaN for some images; a score would mean nothing.
        """
        # a process without any image still has its counts on the CPU, which NCCL cannot sum
        counts = torch.cat([self._confusion.flatten(), self._invalid[None]])
        if world_size() > 1 and dist.get_backend() == "nccl":
            counts = counts.cuda()
        counts = sum_over_ranks(counts).cpu()
        if counts[-1]:
            raise UserError(
                f"the network's output is NaN for {int(counts[-1])} of {int(counts[:-1].sum())} images",
                expected="finite outputs",
                fix="training has diverged: lower the learning rate, clip gradients, or use precision='fp32'",
            )
        return scores_from_confusion(counts[:-1].view_as(self._confusion))
