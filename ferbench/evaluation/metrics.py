"""Metrics that gather over batches and processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from ferbench.data.datasets.base import FaceDataset
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
        counts = sum_on_cpu(torch.cat([self._confusion.flatten(), self._invalid[None]]))
        if counts[-1]:
            raise UserError(
                f"the network's output is NaN for {int(counts[-1])} of {int(counts[:-1].sum())} images",
                expected="finite outputs",
                fix="training has diverged: lower the learning rate, clip gradients, or use precision='fp32'",
            )
        return scores_from_confusion(counts[:-1].view_as(self._confusion))


class GroupConfusion:
    """One confusion matrix per group (video) of a dataset, over all images of all processes.

    Args:
        dataset: with groups, see `has_videos`.
    """

    def __init__(self, dataset: FaceDataset):
        assert dataset.groups is not None
        self.names, self.size = dataset.group_names, len(dataset.classes)
        self.groups = torch.from_numpy(np.asarray(dataset.groups, np.int64))
        self._counts = torch.zeros(len(self.names) * self.size, self.size, dtype=torch.int64)

    @torch.no_grad()
    def update(self, logits: Tensor, labels: Tensor, index: Tensor) -> None:
        """Count one batch; no device sync.

        Args:
            logits: [B, C] logits or probabilities.
            labels: [B] class indices; below 0: not annotated, not counted.
            index: [B] place of each image in the dataset, on the CPU.
        """
        self._counts = self._counts.to(logits.device)
        group = self.groups[index].to(logits.device)
        cell = (group * self.size + labels.clamp(min=0)) * self.size + logits.argmax(dim=1)
        self._counts.view(-1).scatter_add_(0, cell, (labels >= 0).long())

    def compute(self) -> dict[str, list[list[int]]]:
        """Group -> its cells that are not 0, as [truth, prediction, count]; groups without a labeled image are left out.

        Must be called by all processes; every process gets the same.
        """
        counts = sum_on_cpu(self._counts).view(len(self.names), self.size, self.size)
        found: dict[str, list[list[int]]] = {}
        for group, truth, predicted in counts.nonzero().tolist():
            cells = found.setdefault(str(self.names[group]), [])
            cells.append([truth, predicted, int(counts[group, truth, predicted])])
        return found


def has_videos(dataset: FaceDataset) -> bool:
    """Whether images of a dataset belong together, so that intervals of a score must be drawn over groups of them."""
    return (
        dataset.groups is not None
        and not dataset.groups_are_copies
        and len(np.unique(dataset.groups)) < len(dataset)
    )


def sum_on_cpu(counts: Tensor) -> Tensor:
    """Sum over processes; one without any image still has its counts on the CPU, which NCCL cannot sum."""
    if world_size() > 1 and dist.get_backend() == "nccl":
        counts = counts.cuda()
    return sum_over_ranks(counts).cpu()
