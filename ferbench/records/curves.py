"""From the log of a run (``metrics.jsonl``) to the curves and the cost in its record."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ferbench.records.schema import ClassCurves, Curves, ToTarget, ValidationCurve
from ferbench.viz.runlog import RunLog

MAX_POINTS = 200  # of a class curve
DIGITS = 5  # significant ones of a number in a curve


class Spent(NamedTuple):
    """What a run has cost until its last entry in the log.

    Attributes:
        seconds: training time, without validation.
        images: source images, labeled and unlabeled.
        images_per_s: median over the intervals.
        data_wait: share of the time spent waiting for data.
    """

    seconds: float
    images: int
    images_per_s: float
    data_wait: float


class Timeline:
    """Training time by iteration, from the speed of every interval of the log; resumed runs included.

    Args:
        entries: of ``metrics.jsonl``.
        images_per_step: source images of one iteration, over all processes.
    """

    def __init__(self, entries: list[dict[str, Any]], images_per_step: int):
        self.log = RunLog(entries, "train")
        self.images_per_step = images_per_step
        iterations = np.array([0, *(e["iter"] for e in self.log.entries)], np.int64)
        self.speeds = np.array([e["images_per_s"] for e in self.log.entries], np.float64)
        durations = np.diff(iterations) * images_per_step / self.speeds
        self.iterations, self.seconds = iterations, np.concatenate([[0.0], np.cumsum(durations)])
        self.durations = durations

    def __bool__(self) -> bool:
        return len(self.speeds) > 0

    def at(self, iterations: np.ndarray) -> np.ndarray:
        """Seconds [N] until iterations [N]; after the last entry at its speed."""
        beyond = np.maximum(iterations - self.iterations[-1], 0) * self.images_per_step / self.speeds[-1]
        return np.interp(iterations, self.iterations, self.seconds) + beyond

    def spent(self) -> Spent:
        """See `Spent`."""
        waits = np.array([e["data_wait"] for e in self.log.entries])
        total = float(self.seconds[-1])
        return Spent(
            _rounded(total),
            int(self.iterations[-1]) * self.images_per_step,
            _rounded(float(np.median(self.speeds))),
            _rounded(float(waits @ self.durations) / total),
        )


def curves_of(entries: list[dict[str, Any]], images_per_step: int) -> Curves:
    """The curves of a run.

    Args:
        entries: of ``metrics.jsonl``.
        images_per_step: see `Timeline`.
    """
    timeline = Timeline(entries, images_per_step)
    val = RunLog(entries, "val")
    raw, ema = val.series("raw", "macro_f1"), val.series("ema", "macro_f1")
    curve = None
    if timeline and raw is not None and ema is not None:
        iterations = raw[0]
        curve = ValidationCurve(
            iterations.tolist(),
            (iterations * images_per_step).tolist(),
            [_rounded(s / 3600) for s in timeline.at(iterations).tolist()],
            [_share(v) for v in raw[1].tolist()],
            [_share(v) for v in ema[1].tolist()],
        )
    return Curves(curve, _class_curves(timeline.log))


def to_targets(val: ValidationCurve | None, targets: Sequence[float]) -> list[ToTarget]:
    """When the EMA weights first reached each target.

    Args:
        val: the validation curve.
        targets: macro-F1 in [0, 1].
    """
    found = []
    for target in targets:
        reached = [i for i, v in enumerate(val.macro_f1_ema) if v is not None and v >= target] if val else []
        if val is None or not reached:
            found.append(ToTarget(target, None, None, None))
            continue
        first = reached[0]
        found.append(ToTarget(target, val.iter[first], val.images[first], _rounded(3600 * val.hours[first])))
    return found


def val_macro_f1(entries: list[dict[str, Any]], iteration: int, weights: str) -> float | None:
    """Validation macro-F1 of ``raw`` or ``ema`` weights after an iteration, or None if there was no validation then."""
    for entry in RunLog(entries, "val").entries:
        if entry["iter"] == iteration:
            return finite(entry[weights]["macro_f1"])
    return None


def _class_curves(log: RunLog) -> ClassCurves | None:
    kept = [e for e in log.entries if e.get("pseudo_label_share") is not None]
    if not kept:
        return None
    chosen = np.unique(np.linspace(0, len(kept) - 1, min(len(kept), MAX_POINTS)).round().astype(int))
    kept = [kept[i] for i in chosen.tolist()]

    def lists(key: str, number: Callable[[float | None], float | None] = _number) -> list[list[float | None]]:
        return [[number(v) for v in e[key]] for e in kept]

    has_threshold = all(e.get("threshold") is not None for e in kept)
    return ClassCurves(
        [e["iter"] for e in kept],
        lists("threshold") if has_threshold else None,
        lists("utilization", _share),
        lists("purity", _share),
        lists("pseudo_label_share", _share),
        [_share(e.get("utilization_mean")) for e in kept],
        [_share(e.get("purity_mean")) for e in kept],
        lists("purity_count") if all(e.get("purity_count") is not None for e in kept) else None,
    )


def _number(value: float | None) -> float | None:
    value = finite(value)
    return None if value is None else _rounded(value)


def _share(value: float | None) -> float | None:
    """A number in [0, 1], out of which rounding may have brought it by a little."""
    value = _number(value)
    return None if value is None else min(max(value, 0.0), 1.0)


def finite(value: float | None) -> float | None:
    """None for what is no number: a record holds no NaN."""
    return value if value is not None and math.isfinite(value) else None


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
