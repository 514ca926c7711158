"""Tables as plain data, which every kind of page renders, and how their numbers are written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ferbench.benchmark.statistics import Interval, summarize

NONE = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: what it says.
        small: a second, smaller line.
        sort: what the column is sorted by; None: nothing to sort by, such cells stay last.
        mark: ``best``, ``worst``, ``better``, ``worse``, ``reference`` or empty.
    """

    text: str
    small: str = ""
    sort: float | str | None = None
    mark: str = ""


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        title: its head.
        note: what its numbers are.
        numeric: whether they stand to the right.
        paper: in a table for a paper: ``yes``, ``full`` (with the cells' second lines) or ``no``.
    """

    title: str
    note: str = ""
    numeric: bool = True
    paper: str = "yes"


@dataclass(frozen=True)
class Table:
    """A table; the first column heads the rows.

    Attributes:
        name: short and unique in its section.
        caption: what it shows.
        columns: [K].
        rows: each [K].
    """

    name: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


def for_paper(table: Table, name: str, caption: str) -> Table:
    """What of a table a paper prints."""
    kept = [i for i, column in enumerate(table.columns) if column.paper != "no"]
    rows = [
        [line[i] if table.columns[i].paper == "full" else replace(line[i], small="") for i in kept]
        for line in table.rows
    ]
    return Table(name, caption, [table.columns[i] for i in kept], rows)


def score_cell(seeds: Mapping[int, float] | None, mark: str = "", interval: bool = True) -> Cell:
    """Mean ± sd in percent of a score over seeds, with the interval below.

    Args:
        seeds: seed -> share; None or empty: no cell.
        mark: see `Cell`.
        interval: whether to give it.
    """
    if not seeds:
        return Cell(NONE)
    summary = summarize(list(seeds.values()))
    text = f"{100 * summary.mean:.2f}" + (f" ± {100 * summary.sd:.2f}" if summary.n > 1 else "")
    return Cell(text, interval_text(summary.interval) if interval else "", summary.mean, mark)


def mean_cell(values: Iterable[float | None], pattern: str) -> Cell:
    """The mean of what is known."""
    known = [v for v in values if v is not None]
    return Cell(pattern.format(np.mean(known)), sort=float(np.mean(known))) if known else Cell(NONE)


def interval_text(interval: Interval | None, signed: bool = False) -> str:
    """An interval of shares, in percent."""
    if interval is None:
        return ""
    sign = "+" if signed else ""
    return minus(f"[{100 * interval.low:{sign}.2f}, {100 * interval.high:{sign}.2f}]")


def join_labels(labels: Iterable[str]) -> str:
    """Labels one after the other, so that it is seen where one ends, even if there are commas in them."""
    names = list(labels)
    return (" · " if any("," in name for name in names) else ", ").join(names)


def time_unit(hours: Iterable[float]) -> tuple[str, float]:
    """The unit that suits durations, and how many of it an hour has: minutes where all are below two hours.

    Args:
        hours: the durations.
    """
    return ("minutes", 60.0) if max(hours, default=0.0) < 2 else ("hours", 1.0)


def signed(share: float) -> str:
    """A difference of shares in points, with its sign."""
    return minus(f"{100 * share:+.2f}")


def p_text(p: float) -> str:
    """A p-value for readers."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def minus(text: str) -> str:
    """A number with a real minus."""
    return text.replace("-", MINUS)


def moment(written: str) -> str:
    """A record's time for readers."""
    return written.replace("T", " ").replace("+00:00", " UTC")


def value_text(value: Any) -> str:
    """A value of a config or protocol."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
