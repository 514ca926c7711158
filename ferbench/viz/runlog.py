"""Reading ``metrics.jsonl``, the log of numbers that a run leaves behind."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ferbench.errors import UserError
from ferbench.viz.logline import entry_of

#: How the kinds of weights are written for readers.
WEIGHT_NAMES = {"raw": "raw", "ema": "EMA"}
#: More points than this make a line a smear; longer series are averaged in bins.
POINTS = 150
#: Purity of fewer selected pseudo-labels with a known hidden label than this is drawn faint: 3 of 4 is no 75 %.
FEWEST = 20

_log = logging.getLogger(__name__)


def read_metrics(work_dir: str | Path, classes: int | None = None) -> list[dict[str, Any]]:
    """All whole lines of ``work_dir/metrics.jsonl``, in the order of the file.

    A line that a kill cut short, or that was edited and is no entry any more (`ferbench.viz.logline.entry_of`), is skipped and
    named in the log; nothing else of the run is lost by it.

    Args:
        work_dir: folder of the run.
        classes: number of classes; None: lists of any length are taken.

    Raises:
        UserError: there is no such file.
    """
    path = Path(work_dir) / "metrics.jsonl"
    if not path.is_file():
        raise UserError(
            "there is no log of the run", where=path, expected="a work_dir that tools/train.py made"
        )
    lines = path.read_bytes().splitlines()
    entries = [entry_of(line, classes) for line in lines]
    if skipped := [str(i) for i, entry in enumerate(entries, start=1) if entry is None]:
        shown = ", ".join(skipped[:10]) + (", ..." if len(skipped) > 10 else "")
        _log.warning(
            "%s: %d of %d lines are damaged and were skipped: line %s", path, len(skipped), len(lines), shown
        )
    return [entry for entry in entries if entry is not None]


class RunLog:
    """The lines of one kind (``train``, ``val`` or ``test``) by iteration.

    A resumed run writes some iterations again; the last line of an iteration counts.
    """

    def __init__(self, entries: list[dict[str, Any]], kind: str):
        by_iteration = {int(e["iter"]): e for e in entries if e.get("kind") == kind and "iter" in e}
        self.entries = [by_iteration[i] for i in sorted(by_iteration)]

    def series(self, *path: str) -> tuple[np.ndarray, np.ndarray] | None:
        """A value over time, e.g. ``series('losses', 'supervised')``.

        Returns:
            Iterations [T] and values [T] or [T, C] (null becomes NaN), of the lines that have the key; None
            if none has.
        """
        found = [(e["iter"], v) for e in self.entries if (v := _look_up(e, path)) is not None]
        if not found:
            return None
        iterations, values = zip(*found, strict=True)
        return np.array(iterations), np.array(values, dtype=np.float64)

    def keys(self, name: str) -> list[str]:
        """The keys of a mapping such as ``losses``, in order of appearance."""
        seen: dict[str, None] = {}
        for entry in self.entries:
            seen.update(dict.fromkeys(entry.get(name) or ()))
        return list(seen)


def thin(iterations: np.ndarray, values: np.ndarray, points: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Average a long series in equal bins of lines; NaN is left out of a mean (a bin of NaN stays NaN).

    Args:
        iterations: [T].
        values: [T] or [T, C].
        points: the largest length of the result.
    """
    bins = np.array_split(np.arange(len(iterations)), min(points, len(iterations)))
    known = np.isfinite(values)
    total = np.array([np.where(known, values, 0)[b].sum(axis=0) for b in bins])
    count = np.array([known[b].sum(axis=0) for b in bins])
    with np.errstate(invalid="ignore"):
        return np.array([iterations[b].mean() for b in bins]), total / count


def _look_up(entry: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = entry
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
