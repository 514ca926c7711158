"""Tables as plain data, which every kind of page renders, and how their numbers are written."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ferbench.benchmark.statistics import Interval, summarize

NONE = "\N{EN DASH}"
NAN = "NaN"
MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"


class Unit(NamedTuple):
    """How a score is written: times a factor, with so many digits after the point."""

    factor: float = 100.0
    digits: int = 2

    def text(self, score: float, sign: str = "") -> str:
        """The score for readers; ``sign``: ``+`` to always have one."""
        return f"{self.factor * score:{sign}.{self.digits}f}" if math.isfinite(score) else NAN


PERCENT, PLAIN = Unit(), Unit(1.0, 4)


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


#: A column, and what stands in it for an item (an algorithm, a run).
View = tuple[Column, Callable[[Any], Cell]]
#: The first column of most tables.
ALGORITHM: View = (Column("algorithm", numeric=False), lambda label: Cell(label, sort=label))


def table_of(name: str, caption: str, items: Iterable[Any], views: Sequence[View]) -> Table:
    """A table with a row per item and a column per view."""
    rows = [[cell(item) for _, cell in views] for item in items]
    return Table(name, caption, [column for column, _ in views], rows)


def text_table(
    name: str, caption: str, titles: Sequence[str], rows: Iterable[Sequence[str | Cell]], sort: bool = True
) -> Table:
    """A table of texts.

    Args:
        name, caption: see `Table`.
        titles: of its columns.
        rows: texts, or cells.
        sort: whether it can be sorted by its first column.
    """
    lines = [[c if isinstance(c, Cell) else Cell(c) for c in row] for row in rows]
    if sort:
        lines = [[replace(first, sort=first.sort or first.text), *rest] for first, *rest in lines]
    return Table(name, caption, [Column(title, numeric=False) for title in titles], lines)


def for_paper(table: Table, name: str, caption: str) -> Table:
    """What of a table a paper prints."""
    kept = [i for i, column in enumerate(table.columns) if column.paper != "no"]
    rows = [
        [line[i] if table.columns[i].paper == "full" else replace(line[i], small="") for i in kept]
        for line in table.rows
    ]
    return Table(name, caption, [table.columns[i] for i in kept], rows)


def score_cell(
    seeds: Mapping[int, float] | None, mark: str = "", interval: bool = True, unit: Unit = PERCENT
) -> Cell:
    """Mean ± sd of a score over seeds, with the interval below; where a seed has no number, which.

    Args:
        seeds: seed -> score; None or empty: no cell.
        mark: see `Cell`.
        interval: whether to give it.
        unit: of the score.
    """
    if not seeds:
        return Cell(NONE)
    summary = summarize(list(seeds.values()))
    if not math.isfinite(summary.mean):
        return Cell(NAN, f"no number: {_seeds(s for s, v in seeds.items() if not math.isfinite(v))}")
    text = unit.text(summary.mean) + (f" ± {unit.text(summary.sd)}" if summary.n > 1 else "")
    return Cell(text, interval_text(summary.interval, unit=unit) if interval else "", summary.mean, mark)


def _seeds(seeds: Iterable[int]) -> str:
    listed = [str(seed) for seed in seeds]
    return f"seed{'s' * (len(listed) > 1)} {', '.join(listed)}"


def mean_cell(values: Sequence[float | None], pattern: str) -> Cell:
    """The mean of what is known, and of how many where it is not all."""
    known = [v for v in values if v is not None]
    if not known:
        return Cell(NONE)
    part = f"{len(known)} of {len(values)} runs" if len(known) < len(values) else ""
    return Cell(pattern.format(np.mean(known)), part, float(np.mean(known)))


def interval_text(interval: Interval | None, signed: bool = False, unit: Unit = PERCENT) -> str:
    """An interval of scores."""
    if interval is None:
        return ""
    sign = "+" if signed else ""
    return minus(f"[{unit.text(interval.low, sign)}, {unit.text(interval.high, sign)}]")


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


def signed(difference: float, unit: Unit = PERCENT) -> str:
    """A difference of scores (of shares: in points), with its sign."""
    return minus(unit.text(difference, "+"))


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
