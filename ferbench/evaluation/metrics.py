"""Metrics that gather over batches and processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from ferbench.core.plain import listed, spelled_out
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


#: What every evaluation gives (`ferbench.functional.metrics.scores_from_confusion`), and what else stands in a row of scores.
SCORES = ("macro_f1", "accuracy", "balanced_accuracy", "f1", "confusion", "count")
RESERVED = (
    "checkpoint",
    "weights",
    "iter",
    "val_macro_f1",
    "smoothed",
    "groups",
    "window",
    "metrics",
    "raw",
    "ema",
)


def is_number(value: Any) -> bool:
    """Whether a score is one number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def further_scores(scores: Mapping[str, Any]) -> list[str]:
    """Names of the numbers among scores that are not ours: those of custom metrics."""
    return [k for k, v in scores.items() if k not in (*SCORES, *RESERVED) and (v is None or is_number(v))]


def scores_of(metrics: Sequence[Any]) -> dict[str, Any]:
    """What metrics have computed, as plain types. Must be called by all processes.

    Raises:
        UserError: a metric gave something that is no dict of scores, or the name of another one's score.
    """
    found: dict[str, Any] = {}
    for metric in metrics:
        name, own = _name(metric), metric.compute()
        if not isinstance(own, Mapping):
            raise UserError(f"{name}.compute() gave {own!r}", expected="a dict: name -> score")
        for key, value in own.items():
            taken = (
                found.keys()
                | set(RESERVED)
                | (set() if isinstance(metric, ExpressionMetrics) else set(SCORES))
            )
            if not isinstance(key, str) or "/" in key or key in taken:
                raise UserError(
                    f"{name} calls a score {key!r}",
                    expected="a text without '/' that no other score is called",
                )
            found[key] = _plain(value, f"{name}: {key}")
    return found


def _name(metric: Any) -> str:
    return type(getattr(metric, "wrapped", metric)).__name__


def _plain(value: Any, what: str) -> Any:
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(v, what) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _plain(v, what) for k, v in value.items()}
    if value is not None and not isinstance(value, (bool, int, float, str)):
        raise UserError(f"{what} is a {type(value).__name__}", expected="a number, or a list of numbers")
    return value


@torch.no_grad()
def try_out(metrics: Sequence[Any], num_classes: int, device: torch.device, where: str) -> list[str]:
    """Score one made-up image of each class, so that what an evaluator lacks shows before a training and not after it.

    Args:
        metrics: are as after `reset` in the end.
        num_classes: C.
        device: of the probabilities.
        where: section of the config.

    Returns:
        Names of the scores that are single numbers.

    Raises:
        UserError: a metric fails, or the scores that every run reports are missing.
    """
    probs = torch.eye(num_classes, device=device) * 0.5 + 0.5 / num_classes
    labels = torch.arange(num_classes, device=device)
    for metric in metrics:
        try:
            metric.reset()
            metric.update(probs, labels)
            metric.compute()
        except UserError:
            raise
        except Exception as error:  # a metric is a program
            raise UserError(
                f"{_name(metric)} fails with one image of each class: {type(error).__name__}: {error}",
                where=where,
                expected="reset(), update(probs [B, C], labels [B]) and compute() -> dict, as ExpressionMetrics has them; or a "
                "BaseMetric of mmengine that reads pred_score, pred_label and gt_label",
            ) from error
    try:
        scores = scores_of(metrics)
    except UserError as error:
        raise UserError(error.what, where=where, expected=error.expected) from error
    for metric in metrics:
        metric.reset()
    if missing := [name for name in SCORES if name not in scores]:
        raise UserError(
            f"the evaluator gives no {', '.join(missing)}, which every run reports",
            where=where,
            expected="ExpressionMetrics, alone or beside metrics of your own",
            fix=f"{where} = [dict(type='ExpressionMetrics'), ...]",
        )
    return [name for name, value in scores.items() if is_number(value)]


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


def described(configs: Any) -> list[dict[str, Any]]:
    """Metrics as the protocol of a run names them.

    Args:
        configs: ``val_evaluator`` or ``test_evaluator`` of the config.
    """
    return [spelled_out(METRICS, config) for config in listed(configs)]
