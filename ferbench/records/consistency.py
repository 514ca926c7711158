"""Checks a record against itself: what its types do not say, and scores that its own confusion matrix does not give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from ferbench.records.protocol import hash_of
from ferbench.records.schema import (
    CHECKPOINTS,
    FAILED,
    FINISHED,
    STATUSES,
    WEIGHTS,
    Cost,
    Curves,
    DataPart,
    Record,
    Result,
)

#: The scores that every row has; other metrics have other names.
SCORES = ("macro_f1", "accuracy", "balanced_accuracy")
ROUNDING = 1e-6  # scores of a file may have been written with fewer digits
CURVE_ROUNDING = 1e-4  # curves have five digits


def check(record: Record) -> None:
    """Check a record whose types are right.

    Raises:
        ValueError: it names the key, what it holds, and what it contradicts.
    """
    if record.status not in STATUSES:
        raise ValueError(f"status is {record.status!r} instead of one of {', '.join(STATUSES)}")
    if (record.status == FAILED) != (record.failure is not None):
        raise ValueError("a reason of failure belongs to a failed run, and only to one")
    if record.status == FINISHED and not record.results:
        raise ValueError("the run is finished but has no results")
    if record.protocol_hash != (hash_of(record.protocol) if record.protocol else None):
        raise ValueError("protocol_hash is not that of the protocol")
    twice = [name for name, times in Counter(record.classes).items() if times > 1]
    if twice:
        raise ValueError(f"classes has {twice[0]!r} {record.classes.count(twice[0])} times")
    for name, part in record.data.items():
        _check_part(part, f"data.{name}")
    rows = Counter((row.checkpoint, row.weights, row.smoothed) for row in record.results)
    for (checkpoint, weights, smoothed), times in rows.items():
        if times > 1:
            raise ValueError(f"results has {times} rows of {checkpoint} {weights}, smoothed={smoothed}")
    for i, row in enumerate(record.results):
        _check_result(row, len(record.classes), f"results[{i}]")
    _check_curves(record.curves, len(record.classes))
    if record.cost is not None:
        _check_cost(record.cost)


def scores_of(confusion: Sequence[Sequence[int]]) -> dict[str, Any]:
    """The scores of a confusion matrix, without torch (`ferbench.functional.metrics.scores_from_confusion` has the rules).

    Args:
        confusion: [C][C] counts, rows are the truth.

    Returns:
        ``macro_f1``, ``accuracy``, ``balanced_accuracy`` and ``f1`` ([C]); a quotient with divisor 0 is 0.
    """
    right = [row[i] for i, row in enumerate(confusion)]
    truth, predicted = (
        [sum(row) for row in confusion],
        [sum(column) for column in zip(*confusion, strict=True)],
    )
    f1 = [2 * r / (t + p) if t + p else 0.0 for r, t, p in zip(right, truth, predicted, strict=True)]
    recall = [r / t for r, t in zip(right, truth, strict=True) if t]
    return {
        "macro_f1": sum(f1) / len(f1) if f1 else 0.0,
        "accuracy": sum(right) / sum(truth) if sum(truth) else 0.0,
        "balanced_accuracy": sum(recall) / len(recall) if recall else 0.0,
        "f1": f1,
    }


def _check_part(part: DataPart, at: str) -> None:
    _require_counts([part.images], f"{at}.images")
    _require_counts(part.class_counts.values(), f"{at}.class_counts")


def _check_result(row: Result, classes: int, at: str) -> None:
    if row.checkpoint not in CHECKPOINTS or row.weights not in WEIGHTS:
        raise ValueError(f"{at} is of checkpoint {row.checkpoint!r} and weights {row.weights!r}")
    if not classes or len(row.f1) != classes or [len(line) for line in row.confusion] != [classes] * classes:
        raise ValueError(f"{at} is not of {classes} classes")
    _require_counts([row.iter], f"{at}.iter")
    _require_counts((n for line in row.confusion for n in line), f"{at}.confusion")
    if sum(map(sum, row.confusion)) != row.count:
        raise ValueError(f"{at}.confusion does not sum to count")
    if row.groups is not None and _sum_of(row.groups.values(), classes) != row.confusion:
        raise ValueError(f"{at}.groups do not sum to confusion")
    found = scores_of(row.confusion)
    for key in SCORES:
        _require_score(getattr(row, key), found[key], f"{at}.{key}")
    for c, (own, f1) in enumerate(zip(row.f1, found["f1"], strict=True)):
        _require_score(own, f1, f"{at}.f1[{c}]")
    if row.val_macro_f1 is not None:
        _require_shares([row.val_macro_f1], f"{at}.val_macro_f1", ROUNDING)
    for name in row.metrics:
        if not name or name in SCORES:
            raise ValueError(f"{at}.metrics has the name {name!r}, which is no metric of its own")


def _check_curves(curves: Curves, classes: int) -> None:
    for name, curve in (("val", curves.val), ("classes", curves.classes)):
        if curve is None:
            continue
        for key, series in vars(curve).items():
            at = f"curves.{name}.{key}"
            if series is not None and len(series) != len(curve.iter):
                raise ValueError(f"{at} has {len(series)} entries instead of {len(curve.iter)}")
            if series and isinstance(series[0], list) and any(len(row) != classes for row in series):
                raise ValueError(f"{at} is not of {classes} classes")
        if any(later <= earlier for earlier, later in pairwise([-1, *curve.iter])):
            raise ValueError(f"curves.{name}.iter does not ascend from 0 on")
    if curves.val is not None:
        for key in ("macro_f1_raw", "macro_f1_ema"):
            _require_shares(getattr(curves.val, key), f"curves.val.{key}", CURVE_ROUNDING)
    if curves.classes is not None:
        for key in ("utilization", "purity", "pseudo_label_share"):
            values = (v for row in getattr(curves.classes, key) for v in row)
            _require_shares(values, f"curves.classes.{key}", CURVE_ROUNDING)
        for key in ("utilization_mean", "purity_mean"):
            _require_shares(getattr(curves.classes, key), f"curves.classes.{key}", CURVE_ROUNDING)


def _check_cost(cost: Cost) -> None:
    for key in ("train_seconds", "images", "images_per_s", "peak_rss_mb", "peak_cuda_mb", "load"):
        value = getattr(cost, key)
        if value is not None and value < 0:
            raise ValueError(f"cost.{key} is {value}, below 0")


def _require_counts(values: Iterable[int], at: str) -> None:
    for value in values:
        if value < 0:
            raise ValueError(f"{at} has {value}, which is no count")


def _require_shares(values: Iterable[float | None], at: str, rounding: float) -> None:
    for value in values:
        if value is not None and not -rounding <= value <= 1 + rounding:
            raise ValueError(f"{at} has {value:g}, which is no share in [0, 1]")


def _require_score(value: float, right: float, at: str) -> None:
    if not abs(value - right) <= ROUNDING:
        raise ValueError(f"{at} is {value:g}, but the confusion matrix beside it gives {right:g}")


def _sum_of(groups: Iterable[Sequence[Sequence[int]]], count: int) -> list[list[int]]:
    total = [[0] * count for _ in range(count)]
    for cells in groups:
        for cell in cells:
            if len(cell) != 3 or not (0 <= cell[0] < count and 0 <= cell[1] < count):
                raise ValueError(f"{list(cell)} is no [truth, prediction, count] of {count} classes")
            if cell[2] < 0:
                raise ValueError(f"{list(cell)} of a group has {cell[2]}, which is no count")
            total[cell[0]][cell[1]] += cell[2]
    return total


def dense(cells: Sequence[Sequence[int]], count: int) -> list[list[int]]:
    """Confusion matrix [C][C] of one group of `ferbench.records.schema.Result.groups`."""
    return _sum_of([cells], count)
