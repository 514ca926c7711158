"""The scores once more, seed by seed: what the unlabeled images bring in each draw, and the other metrics."""

from __future__ import annotations

from collections.abc import Sequence

from ferbench.benchmark.report.gather import METRICS, Row, Section, title_of, unit_of, words_of
from ferbench.benchmark.report.scores import Comparisons, difference_cell, difference_column
from ferbench.benchmark.report.table import PLAIN, Cell, Column, Table, score_cell
from ferbench.benchmark.statistics import compare

LABELED_ONLY = "Supervised"  # type of the algorithm that uses no unlabeled images
MOST_SEEDS = 10  # that have a column each


def by_seed_table(section: Section, found: Comparisons, paired: bool = True) -> Table:
    """Each seed's score, the difference to labeled-only, and the means of the other metrics.

    Args:
        section: its records.
        found: what is compared; the rows have its order.
        paired: whether the runs of a seed have the same images; if not, there are no differences.
    """
    scores = section.scores(found.row, found.metric)
    seeds = sorted({seed for own in scores.values() for seed in own})
    shown = seeds if len(seeds) <= MOST_SEEDS else []
    others = {m: section.scores(found.row, m) for m in METRICS if m != found.metric}
    base = section.of_type(LABELED_ONLY)
    if not paired or base not in scores or base == found.reference:  # the main table has it already
        base = None
    gains = compare(scores, base) if base is not None else {}
    unit = unit_of(found.metric)
    columns = [
        Column("algorithm", numeric=False),
        *(Column(f"seed {seed}", f"test {words_of(found.metric)}, {found.row.title}") for seed in shown),
    ]
    if base is not None:
        columns.append(difference_column(base))
    columns += [
        Column(
            METRICS[m],
            f"test {METRICS[m]} in percent, {found.row.title}: mean ± standard deviation over seeds",
        )
        for m in others
    ]
    rows = []
    for label in found.summaries:
        own = scores[label]
        row = [Cell(label, sort=label)]
        row += [score_cell({seed: own[seed]} if seed in own else None, unit=unit) for seed in shown]
        if base is not None:
            row.append(difference_cell(gains.get(label), unit))
        row += [score_cell(other.get(label), interval=False) for other in others.values()]
        rows.append(row)
    return Table("by_seed", _caption(found.metric, found.row.title, base, bool(shown)), columns, rows)


def metrics_table(section: Section, row: Row, labels: Sequence[str]) -> Table | None:
    """The metrics that the runs' own evaluators add to ours.

    Args:
        section: its records.
        row: whose scores.
        labels: algorithms, in the order of the rows.
    """
    scores = {name: section.scores(row, name) for name in section.metrics}
    scores = {name: own for name, own in scores.items() if own}
    if not scores:
        return None
    columns = [Column("algorithm", numeric=False)]
    columns += [
        Column(name, f"test {name}, {row.title}: mean ± standard deviation over seeds") for name in scores
    ]
    rows = [
        [
            Cell(label, sort=label),
            *(score_cell(own.get(label), interval=False, unit=PLAIN) for own in scores.values()),
        ]
        for label in labels
        if any(label in own for own in scores.values())
    ]
    caption = f"Further metrics of the runs' evaluators, as these give them ({row.title}); --metric compares by one of them."
    return Table("metrics", caption, columns, rows)


def _caption(metric: str, row: str, base: str | None, seeds: bool) -> str:
    parts = [f"{title_of(metric)} of each seed"] if seeds else []
    parts += [f"what the unlabeled images bring (difference to {base})"] if base is not None else []
    parts += ["the other metrics"]
    text = ", ".join(parts)
    unit = "percent" if metric in METRICS else f"percent, but {metric} as its evaluator gives it"
    return f"{text[0].upper()}{text[1:]}; {row}, {unit}."
