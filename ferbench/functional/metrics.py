"""Classification scores from a confusion matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def confusion_matrix(predictions: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """How often each class was taken for which.

    Counts without reading a value back to the host, so that a GPU need not be waited for.

    Args:
        predictions: [N] class indices in [0, C).
        labels: [N] true class indices in [0, C); below 0: not annotated, not counted.
        num_classes: C.

    Returns:
        int64 [C, C]; rows are the truth, columns the predictions.

    Raises:
        ValueError: an index is out of range (checked on the CPU only, where looking is free).

    >>> confusion_matrix(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, -1]), num_classes=2)
    tensor([[1, 1],
            [0, 1]])
    """
    predictions, labels = predictions.long(), labels.long()
    if labels.device.type == "cpu" and labels.numel():
        highest = int(torch.maximum(predictions, labels).max())
        if highest >= num_classes or int(predictions.min()) < 0:
            raise ValueError(
                f"an index of {num_classes} classes is out of range: {highest} or a negative prediction"
            )
    cells = num_classes * num_classes
    cell = torch.where(
        labels < 0, cells, labels * num_classes + predictions
    )  # unlabeled items: one cell too many
    # Not bincount, which on a GPU waits for the largest index.
    counts = torch.zeros(cells + 1, dtype=torch.int64, device=labels.device)
    counts.scatter_add_(0, cell, torch.ones_like(cell))
    return counts[:cells].view(num_classes, num_classes)


def scores_from_confusion(confusion: Tensor) -> dict[str, Any]:
    """Every score that ferbench reports.

    A quotient with divisor 0 is 0: a class that never occurs and is never predicted has F1 0 and still counts
        in the macro
    mean, as in scikit-learn with ``labels=range(C), zero_division=0`` and in the ABAW challenge. Balanced
    accuracy is the mean recall of the classes that occur.

    Args:
        confusion: int64 [C, C], rows are the truth.

    Returns:
        ``macro_f1``, ``accuracy``, ``balanced_accuracy`` (floats in [0, 1]); ``f1``, ``recall``,
        ``precision`` ([C] floats); ``confusion`` ([C][C] ints); ``count`` (labeled items).

    >>> scores = scores_from_confusion(torch.tensor([[3, 1], [0, 4]]))
    >>> scores["accuracy"], scores["recall"], round(scores["macro_f1"], 4)
    (0.875, [0.75, 1.0], 0.873)
    """
    matrix = confusion.to("cpu", torch.float64)
    right, truth, predicted = matrix.diagonal(), matrix.sum(dim=1), matrix.sum(dim=0)
    recall, precision = _quotient(right, truth), _quotient(right, predicted)
    f1 = _quotient(2 * right, truth + predicted)
    occurs = truth > 0
    return {
        "macro_f1": float(f1.mean()),
        "accuracy": float(_quotient(right.sum(), truth.sum())),
        "balanced_accuracy": float(recall[occurs].mean()) if bool(occurs.any()) else 0.0,
        "f1": f1.tolist(),
        "recall": recall.tolist(),
        "precision": precision.tolist(),
        "confusion": confusion.tolist(),
        "count": int(confusion.sum()),
    }


def _quotient(numerator: Tensor, divisor: Tensor) -> Tensor:
    return torch.where(divisor > 0, numerator / divisor.clamp(min=1), 0.0)
