"""The tables of scores: what the runs of a section show, class by class, seed by seed and over all sections."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ferbench import records
from ferbench.benchmark.report.gather import METRICS, Row, Section, title_of, unit_of, words_of
from ferbench.benchmark.report.table import (
    ALGORITHM,
    NAN,
    NONE,
    PERCENT,
    Cell,
    Column,
    Table,
    Unit,
    View,
    interval_text,
    minus,
    p_text,
    score_cell,
    signed,
    table_of,
)
from ferbench.benchmark.statistics import (
    ALPHA,
    MIN_SEEDS,
    Comparison,
    Interval,
    Summary,
    compare,
    group_interval,
    highest,
    summarize,
)
from ferbench.viz.runlog import WEIGHT_NAMES

LABELED_ONLY = "Supervised"  # type of the algorithm that uses no unlabeled images
MOST_SEEDS = 10  # that have a column each
VERDICTS = {
    "better": "▲ better",
    "worse": "▼ worse",
    "within noise": "≈ within noise",
    "too few seeds": "too few seeds",
    "no number": "no number",
}
#: Of a metric that is not ours nobody knows whether more is better.
DIRECTIONS = {**VERDICTS, "better": "▲ higher", "worse": "▼ lower"}
BOLD = f"bold: the highest mean {{of}}, of algorithms with {MIN_SEEDS} seeds or more; where some tie, none is bold"


@dataclass(frozen=True)
class Comparisons:
    """What a section's runs show.

    Attributes:
        row, metric: the scores that are compared.
        reference: the algorithm to compare with; None if it has no finished run here.
        summaries: algorithm -> over its seeds; highest mean first, and last what has none because a score is no number.
        top: the algorithms with the highest mean, see `ferbench.benchmark.statistics.highest`.
        against: algorithm -> against the reference.
        videos: algorithm -> intervals over test videos of its score and of the difference to the reference; empty where the
            records do not have them, or the metric is not macro-F1.
    """

    row: Row
    metric: str
    reference: str | None
    summaries: dict[str, Summary]
    top: list[str]
    against: dict[str, Comparison]
    videos: dict[str, tuple[Interval | None, Interval | None]]


def comparisons(section: Section, row: Row, metric: str, reference: str | None) -> Comparisons:
    """Compare the finished runs of a section.

    Args:
        section: runs of one protocol with paired splits.
        row, metric: the scores to compare.
        reference: label, or None.
    """
    scores = section.scores(row, metric)
    summaries = {label: summarize(list(seeds.values())) for label, seeds in scores.items()}
    order = sorted(summaries, key=lambda label: -np.nan_to_num(summaries[label].mean, nan=-np.inf))
    known = reference if reference in scores else None
    against = compare(scores, known) if known is not None else {}
    videos = _by_video(section, row, list(scores), known) if metric == "macro_f1" else {}
    ordered = {label: summaries[label] for label in order}
    return Comparisons(row, metric, known, ordered, highest(scores), against, videos)


def main_table(section: Section, found: Comparisons) -> Table:
    """Scores of every row, and the comparison by the chosen one."""
    metric, unit = words_of(found.metric), unit_of(found.metric)
    by_row = {row: section.scores(row, found.metric) for row in section.results}
    by_row = {row: scores for row, scores in by_row.items() if scores}
    finished, begun = Counter(section.finished.label), Counter(section.runs.label)

    def seeds(label: str) -> Cell:
        done, of = finished[label], begun[label]
        return Cell(f"{done}" if done == of else f"{done} of {of}", sort=done)

    def of_row(row: Row) -> View:
        scores, best = by_row[row], highest(by_row[row])
        return _row_column(row, metric, found.row), lambda label: score_cell(
            scores.get(label), mark="best" if best == [label] else "", unit=unit
        )

    note = "finished runs, each with another seed; of those begun, where they are more"
    views: list[View] = [ALGORITHM, (Column("seeds", note), seeds), of_row(found.row)]
    if found.reference is not None:
        views += _comparison_views(found)
    if found.videos:
        views.append((_VIDEO_COLUMN, lambda label: _video_cell(*found.videos.get(label, (None, None)))))
    views += [of_row(row) for row in by_row if row != found.row]
    reference = f" Differences are to {found.reference}." if found.reference is not None else ""
    caption = f"Test {metric}; {BOLD.format(of='of its column')}.{reference}"
    others = [label for label in section.labels if label not in found.summaries]
    return table_of("scores", caption, [*found.summaries, *others], views)


def per_class_table(section: Section, row: Row, labels: Sequence[str]) -> Table:
    """F1 of each class, mean over seeds."""
    test = section.finished.data.iat[0].get("test")
    images = test.class_counts if test else {}
    own = section.results[row]
    f1 = {label: np.array(own.f1[own.label == label].tolist()) for label in labels if label in set(own.label)}
    means = {label: values.mean(axis=0) for label, values in f1.items()}

    def of_class(c: int, name: str) -> View:
        scores = {label: dict(enumerate(values[:, c])) for label, values in f1.items()}
        best = highest(scores)

        def cell(label: str) -> Cell:
            worst = means[label][c] == means[label].min() < means[label].max()
            mark = "best" if best == [label] else "worst" if worst else ""
            found = score_cell(scores[label], mark=mark, interval=False)
            return replace(found, text=f"▽ {found.text}") if worst else found

        note = f"test F1 in percent of the class{_images(images.get(name))}: mean ± sd over seeds"
        return Column(name, note), cell

    caption = f"F1 of each class in percent ({row.title}). ▽: the algorithm's worst class; {BOLD.format(of='of the class')}."
    views = [ALGORITHM, *(of_class(c, name) for c, name in enumerate(section.classes))]
    return table_of("per_class", caption, f1, views)


def by_seed_table(section: Section, found: Comparisons, paired: bool = True) -> Table:
    """Each seed's score, the difference to labeled-only, and the means of the other metrics.

    Args:
        section: its records.
        found: what is compared; the rows have its order.
        paired: whether the runs of a seed have the same images; if not, there are no differences.
    """
    title, unit = found.row.title, unit_of(found.metric)
    scores = section.scores(found.row, found.metric)
    seeds = sorted({seed for own in scores.values() for seed in own})
    shown = seeds if len(seeds) <= MOST_SEEDS else []

    def of_seed(seed: int) -> View:
        column = Column(f"seed {seed}", f"test {words_of(found.metric)}, {title}")
        return column, lambda label: score_cell(
            {seed: scores[label][seed]} if seed in scores[label] else None, unit=unit
        )

    views = [ALGORITHM, *map(of_seed, shown)]
    base = section.of_type(LABELED_ONLY)
    if not paired or base not in scores or base == found.reference:  # the main table has it already
        base = None
    if base is not None:
        gains = compare(scores, base)
        views.append((difference_column(base), lambda label: difference_cell(gains.get(label), unit)))
    views += [_mean_view(section, found.row, m) for m in METRICS if m != found.metric]
    parts = [f"{title_of(found.metric)} of each seed"] if shown else []
    parts += [f"what the unlabeled images bring (difference to {base})"] if base is not None else []
    text = ", ".join([*parts, "the other metrics"])
    of = "percent" if found.metric in METRICS else f"percent, but {found.metric} as its evaluator gives it"
    return table_of("by_seed", f"{text[0].upper()}{text[1:]}; {title}, {of}.", found.summaries, views)


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
    caption = f"Further metrics of the runs' evaluators, as these give them ({row.title}); --metric compares by one of them."
    known = [label for label in labels if any(label in own for own in scores.values())]
    return table_of("metrics", caption, known, [ALGORITHM, *(_mean_view(section, row, m) for m in scores)])


def _mean_view(section: Section, row: Row, metric: str) -> View:
    """Mean and standard deviation of a metric."""
    own = section.scores(row, metric)
    column = Column(
        title_of(metric), f"test {words_of(metric)}, {row.title}: mean ± standard deviation over seeds"
    )
    return column, lambda label: score_cell(own.get(label), interval=False, unit=unit_of(metric))


def _row_column(row: Row, metric: str, chosen: Row) -> Column:
    checkpoint = "last checkpoint" if row.checkpoint == "last" else "checkpoint that was best on validation"
    smoothed = ", predictions smoothed over the frames of a video" if row.smoothed else ""
    note = (
        f"test {metric} of the {checkpoint}, {WEIGHT_NAMES[row.weights]} weights{smoothed}: mean ± standard "
        "deviation over seeds; below: 95 % percentile bootstrap interval of the mean over seeds"
    )
    if row == chosen:
        return Column(f"{row.title} ★", f"{note}; ★: what the comparison is made by")
    # A paper's table has room for one smoothed score beside the others: that of the chosen checkpoint and weights.
    paper = not row.smoothed or row == chosen._replace(smoothed=True)
    return Column(row.title, note, paper="yes" if paper else "no")


_VIDEO_COLUMN = Column(
    "by video",
    "95 % bootstrap interval of ★ over the test videos (whole videos drawn with replacement, mean over seeds); below: of the "
    "difference to the reference, on the same videos",
    paper="no",
)


def _video_cell(own: Interval | None, difference: Interval | None) -> Cell:
    return Cell(interval_text(own) or NONE, interval_text(difference, signed=True), own.low if own else None)


def _images(count: int | None) -> str:
    return f" ({count:,} test images)" if count is not None else ""


def _by_video(
    section: Section, row: Row, labels: Sequence[str], reference: str | None
) -> dict[str, tuple[Interval | None, Interval | None]]:
    if not labels:
        return {}
    own = section.results[row]
    groups = {label: own.groups[own.label == label].tolist() for label in labels}
    # Of an algorithm every run must have the same videos.
    groups = {
        a: runs for a, runs in groups.items() if all(g and g.keys() == (runs[0] or {}).keys() for g in runs)
    }
    if not groups:
        return {}
    common, size = sorted(set.intersection(*(set(runs[0]) for runs in groups.values()))), len(section.classes)
    stacks = {
        label: np.array([[records.dense(run[name], size) for name in common] for run in runs])
        for label, runs in groups.items()
    }
    base = stacks.get(reference or "")
    return {
        label: (
            group_interval(s),
            group_interval(s, base) if base is not None and label != reference else None,
        )
        for label, s in stacks.items()
    }


def difference_column(base: str) -> Column:
    """Differences to an algorithm, see `difference_cell`."""
    note = "difference in points, mean over the seeds that both have; below: its 95 % interval by Student's t, not corrected"
    return Column(f"to {base}", note, paper="full")


def difference_cell(found: Comparison | None, unit: Unit = PERCENT) -> Cell:
    """A difference and its interval."""
    if found is None or not found.n:
        return Cell(NONE)
    if not math.isfinite(found.difference):
        return Cell(NAN)
    return Cell(
        signed(found.difference, unit),
        interval_text(found.interval, signed=True, unit=unit),
        found.difference,
    )


def _comparison_views(found: Comparisons) -> list[View]:
    """Difference to the reference, p, effect and verdict."""
    assert found.reference is not None
    ours = found.metric in METRICS
    unit, words = unit_of(found.metric), VERDICTS if ours else DIRECTIONS

    def own(label: str) -> Comparison | None:
        return found.against.get(label)

    def p(label: str) -> Cell:
        c = own(label)
        if c is None or c.p_holm is None or c.p_sign_flip is None:
            return Cell(NONE)
        return Cell(p_text(c.p_holm), f"flip {p_text(c.p_sign_flip)}", c.p_holm)

    def effect(label: str) -> Cell:
        c = own(label)
        if c is None or c.effect is None:
            return Cell(NONE)
        return Cell(minus(f"{c.effect:.1f}") if math.isfinite(c.effect) else "∞", "", c.effect)

    def verdict(label: str) -> Cell:
        if label == found.reference:
            return Cell("reference", mark="reference")
        c = own(label)
        if c is None or not c.n:
            return Cell("no finished pair")
        few = f"({c.n} seed{'s' if c.n > 1 else ''}: few)" if c.few_seeds else ""
        return Cell(
            words[c.verdict], few, c.verdict, c.verdict if ours and c.verdict in ("better", "worse") else ""
        )

    return [
        (difference_column(found.reference), lambda label: difference_cell(own(label), unit)),
        (Column(
            "p",
            "paired t-test over seeds, two-sided, after Holm's correction over the algorithms of this table; below: exact "
            "sign-flip test, uncorrected",
        ), p),
        (Column("g_z", "effect size: Hedges' g_z, the mean difference in standard deviations of the differences", paper="no"),
         effect),
        (Column(
            "verdict",
            f"better or worse: p below {ALPHA:g}; within noise: no difference is shown, which is not to say that there is none",
            numeric=False, paper="no",
        ), verdict),
    ]  # fmt: skip
