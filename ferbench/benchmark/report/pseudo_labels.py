"""What became of the pseudo-labels at the end of a run: how many were used, how many were right, which classes they had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ferbench.benchmark.report.gather import Section
from ferbench.benchmark.report.table import ALGORITHM, NONE, Cell, Column, Table, View, table_of
from ferbench.records import ClassCurves
from ferbench.viz.runlog import FEWEST

TAIL = 0.1  # share of the run, at its end, over which pseudo-labels are counted
TRUTH = "hidden labels"


def runs_with_pseudo_labels(section: Section, finished: bool = True) -> dict[str, list[Any]]:
    """Algorithm -> runs of which it is known what became of the pseudo-labels.

    Args:
        section: its runs.
        finished: whether only finished ones count.
    """
    found: dict[str, list[Any]] = {}
    for run in (section.finished if finished else section.runs).itertuples():
        if run.curves.classes and run.curves.classes.iter:
            found.setdefault(run.label, []).append(run)
    return found


def pseudo_label_table(section: Section, labels: Sequence[str]) -> Table | None:
    """Utilization, purity, thresholds and classes of the pseudo-labels at the end, mean over the finished runs.

    Args:
        section: its records.
        labels: algorithms, in the order of the rows; those without pseudo-labels have none.
    """
    runs = runs_with_pseudo_labels(section)
    curves = {label: [run.curves.classes for run in runs[label]] for label in labels if label in runs}
    if not curves:
        return None
    truth = hidden_shares(section)
    ends = {label: [tail_mean(c, c.pseudo_label_share) for c in found] for label, found in curves.items()}
    shares = {label: np.mean(own, axis=0) for label, own in ends.items()}

    def purity(label: str) -> Cell:
        cell = _over_runs([tail_mean(c, c.purity_mean) for c in curves[label]])
        return replace(cell, small=", ".join(filter(None, [cell.small, _behind(runs[label])])))

    views: list[View] = [
        ALGORITHM,
        (Column("utilization", "mean weight of the unlabeled images, percent"),
         lambda label: _utilization([tail_mean(c, c.utilization_mean) for c in curves[label]])),
        (Column(
            "purity",
            "share of the selected weight whose hidden label agrees, percent; below: of how many selected pseudo-labels, in "
            f"the entries of the log that the records keep; few: fewer than {FEWEST}",
        ), purity),
        (Column("thresholds", "lowest to highest of a class, percent; none: the rule has no thresholds"),
         lambda label: _thresholds(curves[label])),
        *((Column(name), lambda label, c=c: _percent(shares[label][c])) for c, name in enumerate(section.classes)),
    ]  # fmt: skip
    caption = (
        f"Pseudo-labels in the last {100 * TAIL:g} % of the run, mean over the finished runs. Classes: their percentage among "
        "all predictions on unlabeled images, selected or not."
    )
    if truth is None:
        return table_of("pseudo_labels", caption, curves, views)
    note = (
        "percent of the predictions that would have to change class to have the shares of the hidden labels"
    )
    views.append(
        (Column("wrong shares", note), lambda label: _percent(np.abs(shares[label] - truth).sum() / 2))
    )
    table = table_of(
        "pseudo_labels",
        f"{caption} The last row has the hidden labels, which no algorithm sees.",
        curves,
        views,
    )
    last = [Cell(TRUTH), *3 * [Cell(NONE)], *map(_percent, truth), Cell(NONE)]
    return replace(table, rows=[*table.rows, last])


def hidden_shares(section: Section) -> np.ndarray | None:
    """[C] shares of the classes among the unlabeled images, by their hidden labels, mean over the runs; None: not known."""
    counts = [data["unlabeled"].class_counts for data in section.runs.data if "unlabeled" in data]
    known = [[own.get(c, 0) for c in section.classes] for own in counts if sum(own.values())]
    if not known:
        return None
    table = np.array(known, dtype=np.float64)
    return (table / table.sum(axis=1, keepdims=True)).mean(axis=0)


def purity_counts(run: Any) -> np.ndarray | None:
    """[T, C] how many selected pseudo-labels with a known hidden label each purity of a run is a share of; None: not known.

    An older record does not have them; they follow from its batch size, the interval of its log, utilization and shares.
    """
    curves = run.curves.classes
    assert curves is not None
    if curves.purity_count is not None:
        return np.array(curves.purity_count, dtype=np.float64)
    unlabeled, config = run.data.get("unlabeled"), run.config
    try:
        seen = config["train_dataloader"]["batch_size"] * config["unlabeled_dataloader"]["mu"]
        seen *= config["default_hooks"]["monitor"]["interval"]
        known = sum(unlabeled.class_counts.values()) / unlabeled.images if unlabeled else 0.0
        return np.nan_to_num(_table(curves.utilization) * _table(curves.pseudo_label_share) * (seen * known))
    except (KeyError, TypeError, ZeroDivisionError):
        return None


def _table(values: Any) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def _behind(runs: Sequence[Any]) -> str:
    """Of how many pseudo-labels the purity at the end of runs is a share."""
    total = 0.0
    for run in runs:
        counts, at = purity_counts(run), np.array(run.curves.classes.iter)
        if counts is None:
            return ""
        total += float(counts[at > (1 - TAIL) * at[-1]].sum())
    return f"of {total:,.0f}" + (": few" if total < FEWEST else "")


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
    if not np.isfinite(value):
        return Cell(NONE)
    return Cell(f"{100 * value:.1f}", sort=value)


def _utilization(shares: Sequence[Any]) -> Cell:
    """With two digits where it is below 1 %."""
    cell = _over_runs(shares)
    if isinstance(cell.sort, float) and 0 < cell.sort < 0.01:
        return replace(cell, text=f"{100 * cell.sort:.2g}")
    return cell


def _over_runs(shares: Sequence[Any]) -> Cell:
    """The mean of those that are known, and how many they are where it is not all."""
    known = [float(share) for share in shares if np.isfinite(share)]
    cell = _percent(np.mean(known)) if known else Cell(NONE)
    return (
        replace(cell, small=f"{len(known)} of {len(shares)} runs") if 0 < len(known) < len(shares) else cell
    )
