"""What became of the pseudo-labels at the end of a run: how many were used, how many were right, which classes they had."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ferbench.benchmark.record import ClassCurves
from ferbench.benchmark.report.gather import Section
from ferbench.benchmark.report.table import NONE, Cell, Column, Table

TAIL = 0.1  # share of the run, at its end, over which pseudo-labels are counted
TRUTH = "hidden labels"


def pseudo_label_table(section: Section, labels: Sequence[str]) -> Table | None:
    """Utilization, purity, thresholds and classes of the pseudo-labels at the end, mean over the finished runs.

    Args:
        section: its records.
        labels: algorithms, in the order of the rows; those without pseudo-labels have none.
    """
    every = {label: [run.curves.classes for run in section.finished(label)] for label in labels}
    curves = {label: own for label, runs in every.items() if (own := [c for c in runs if c and c.iter])}
    if not curves:
        return None
    truth = hidden_shares(section)
    columns = [
        Column("algorithm", numeric=False),
        Column("utilization", "mean weight of the unlabeled images, percent"),
        Column("purity", "share of the selected weight whose hidden label agrees, percent"),
        Column("thresholds", "lowest to highest of a class, percent; none: the rule has no thresholds"),
        *map(Column, section.classes),
    ]
    if truth is not None:
        note = "percent of the predictions that would have to change class to have the shares of the hidden labels"
        columns.append(Column("wrong shares", note))
    rows = []
    for label, found in curves.items():
        shares = np.mean([tail_mean(c, c.pseudo_label_share) for c in found], axis=0)
        row = [
            Cell(label, sort=label),
            _percent(np.mean([tail_mean(c, c.utilization_mean) for c in found])),
            _percent(np.mean([tail_mean(c, c.purity_mean) for c in found])),
            _thresholds(found),
            *map(_percent, shares),
        ]
        if truth is not None:
            row.append(_percent(np.abs(shares - truth).sum() / 2))
        rows.append(row)
    caption = (
        f"Pseudo-labels in the last {100 * TAIL:g} % of the run, mean over the finished runs. Classes: their percentage among "
        "all predictions on unlabeled images, selected or not."
    )
    if truth is not None:
        caption += " The last row has the hidden labels, which no algorithm sees."
        rows.append([Cell(TRUTH), *3 * [Cell(NONE)], *map(_percent, truth), Cell(NONE)])
    return Table("pseudo_labels", caption, columns, rows)


def hidden_shares(section: Section) -> np.ndarray | None:
    """[C] shares of the classes among the unlabeled images, by their hidden labels, mean over the runs; None: not known."""
    counts = [run.data["unlabeled"].class_counts for run in section.runs if "unlabeled" in run.data]
    known = [[own.get(c, 0) for c in section.classes] for own in counts if sum(own.values())]
    if not known:
        return None
    table = np.array(known, dtype=np.float64)
    return (table / table.sum(axis=1, keepdims=True)).mean(axis=0)


def tail_mean(curves: ClassCurves, values: Any) -> np.ndarray:
    """Mean over the end of a run of [T] or [T, C], of what is known; NaN where nothing is.

    Args:
        curves: whose times they are.
        values: with None or NaN where there is no value.
    """
    at, table = np.array(curves.iter), np.array(values, dtype=np.float64)
    late = table[at > (1 - TAIL) * at[-1]]
    known = np.isfinite(late)
    with np.errstate(invalid="ignore"):
        return np.where(known, late, 0.0).sum(axis=0) / known.sum(axis=0)


def _thresholds(found: Sequence[ClassCurves]) -> Cell:
    own = [tail_mean(c, c.threshold) for c in found if c.threshold is not None]
    if not own:
        return Cell(NONE)
    mean = np.mean(own, axis=0)
    if not np.isfinite(mean).any():
        return Cell(NONE)
    low, high = 100 * np.nanmin(mean), 100 * np.nanmax(mean)
    return Cell(f"{low:.1f}" if high - low < 0.05 else f"{low:.1f} to {high:.1f}", sort=float(low))


def _percent(share: Any) -> Cell:
    value = float(share)
    return Cell(f"{100 * value:.1f}", sort=value) if np.isfinite(value) else Cell(NONE)
