"""The tables of scores: what the runs of a section show, class by class and over all sections."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ferbench import records
from ferbench.benchmark.report.gather import METRICS, Row, Section, title_of, unit_of, words_of
from ferbench.benchmark.report.table import (
    NAN,
    NONE,
    PERCENT,
    Cell,
    Column,
    Table,
    Unit,
    interval_text,
    join_labels,
    minus,
    p_text,
    score_cell,
    signed,
)
from ferbench.benchmark.statistics import (
    ALPHA,
    DIGITS,
    MIN_SEEDS,
    Comparison,
    Interval,
    RankSummary,
    Summary,
    compare,
    group_interval,
    highest,
    rank_summary,
    summarize,
)
from ferbench.viz.runlog import WEIGHT_NAMES

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
    by_row = {r: section.scores(r, found.metric) for r in section.rows()}
    by_row = {r: scores for r, scores in by_row.items() if scores}
    best = {r: highest(scores) for r, scores in by_row.items()}
    others = [r for r in by_row if r != found.row]
    columns = [
        Column("algorithm", numeric=False),
        Column("seeds", "finished runs, each with another seed; of those begun, where they are more"),
        _row_column(found.row, metric, chosen=True),
        *(_comparison_columns(found.reference) if found.reference is not None else []),
        *([_VIDEO_COLUMN] if found.videos else []),
        *(_row_column(r, metric, chosen=False, paper=_for_paper(r, found.row)) for r in others),
    ]
    lines = []
    for label in [*found.summaries, *(a for a in section.labels if a not in found.summaries)]:
        finished, begun = len(section.finished(label)), len(section.of(label))
        own, *rest = (
            score_cell(by_row[r].get(label), mark="best" if best[r] == [label] else "", unit=unit)
            for r in (found.row, *others)
        )
        lines.append(
            [
                Cell(label, sort=label),
                Cell(f"{finished}" if finished == begun else f"{finished} of {begun}", sort=finished),
                own,
                *(_comparison_cells(label, found) if found.reference is not None else []),
                *([_video_cell(*found.videos.get(label, (None, None)))] if found.videos else []),
                *rest,
            ]
        )
    reference = f" Differences are to {found.reference}." if found.reference is not None else ""
    caption = f"Test {metric}; {BOLD.format(of='of its column')}.{reference}"
    return Table("scores", caption, columns, lines)


def per_class_table(section: Section, row: Row, labels: Sequence[str]) -> Table:
    """F1 of each class, mean over seeds."""
    counts = section.finished()[0].data.get("test")
    labeled = counts.class_counts if counts else {}
    columns = [Column("algorithm", numeric=False)]
    columns += [
        Column(name, f"test F1 in percent of the class{_images(labeled.get(name))}: mean ± sd over seeds")
        for name in section.classes
    ]
    f1 = {
        label: np.array([r.f1 for r in section.results(label, row).values()])
        for label in labels
        if section.results(label, row)
    }
    means = {label: values.mean(axis=0) for label, values in f1.items()}
    by_class = [
        {label: dict(enumerate(values[:, c])) for label, values in f1.items()}
        for c in range(len(section.classes))
    ]
    best = [highest(scores) for scores in by_class]
    lines = []
    for label in f1:
        line = [Cell(label, sort=label)]
        for c, mean in enumerate(means[label]):
            worst = mean == means[label].min() < means[label].max()
            mark = "best" if best[c] == [label] else ("worst" if worst else "")
            cell = score_cell(by_class[c][label], mark=mark, interval=False)
            line.append(replace(cell, text=f"▽ {cell.text}") if worst else cell)
        lines.append(line)
    caption = f"F1 of each class in percent ({row.title}). ▽: the algorithm's worst class; {BOLD.format(of='of the class')}."
    return Table("per_class", caption, columns, lines)


def summary_table(sections: Sequence[Section], row: Row, metric: str) -> tuple[Table, list[str]] | None:
    """The chosen score in all sections and the mean rank over them of the algorithms that all have, with what may be said.

    Returns:
        None unless two sections have two algorithms in common.
    """
    scores = [section.scores(row, metric) for section in sections]
    # A score that is no number has no rank; the section's own table names it.
    numbers = [
        {a: own for a, own in found.items() if np.isfinite(list(own.values())).all()} for found in scores
    ]
    lost = sorted(
        {a for found, known in zip(scores, numbers, strict=True) for a in found.keys() - known.keys()}
    )
    scores = numbers
    many = [(s, found) for s, found in zip(sections, scores, strict=True) if len(found) >= 2]
    common = [a for a in (many[0][1] if many else {}) if all(a in found for _, found in many)]
    # An algorithm with more seeds than another has more luck or less: only seeds that all have are ranked.
    kept = [(s, shared) for s, found in many if (shared := _shared(found, common))]
    if len(kept) < 2 or len(common) < 2:
        return None
    means = np.array([[_means(found)[label] for label in common] for _, found in kept])
    ranks = rank_summary(means)
    own = {s.title: found for s, found in many}
    everyone = {label: None for found in own.values() for label in found}
    order = [common[i] for i in np.argsort(ranks.mean_ranks, kind="stable")]
    order += [label for label in everyone if label not in common]
    shown = [
        {a: f for a in order if (f := _of_ranked_seeds(own[s.title].get(a, {}), found))} for s, found in kept
    ]
    best, unit = [highest(found) for found in shown], unit_of(metric)
    columns = [
        Column("algorithm", numeric=False),
        *(
            Column(s.title, f"test {words_of(metric)}, {row.title}: mean ± sd over seeds; below: rank")
            for s, _ in kept
        ),
        Column("mean rank", "over the columns, of the algorithms that all have; 1 is best, ties share their rank"),
    ]  # fmt: skip
    places = {a: [_place(line, i) for line in means.round(DIGITS)] for i, a in enumerate(common)}
    lines = []
    for label in order:
        cells = []
        for k, found in enumerate(shown):
            mark = "best" if best[k] == [label] else ""
            cell = score_cell(found.get(label), mark=mark, interval=False, unit=unit)
            place = places[label][k] if label in places else ""
            cells.append(Cell(cell.text, place, cell.sort, cell.mark))
        rank = ranks.mean_ranks[common.index(label)] if label in places else None
        last = Cell(NONE) if rank is None else Cell(f"{rank:.2f}", sort=rank)
        lines.append([Cell(label, sort=label), *cells, last])
    tests = {json.dumps(s.runs[0].protocol.get("data", {}).get("test"), sort_keys=True) for s, _ in kept}
    notes = _rank_notes(ranks, len(common), len(tests), row, metric)
    if any(len(section.finished()) < len(section.runs) for section, _ in kept):
        notes.append("Not all runs have finished: ranks may change.")
    if any(found[a].keys() < own[s.title][a].keys() for s, found in kept for a in common):
        notes.append(
            "Where some have more seeds than others, only the seeds that all of them have count here."
        )
    if lost:
        notes.append(f"Not ranked, since a score of theirs is no number: {join_labels(lost)}.")
    if len(everyone) > len(common):
        notes.append(f"Ranked are the {len(common)} algorithms that all sections have.")
    caption = f"All sections at a glance; {BOLD.format(of='of its column')}."
    return Table("summary", caption, columns, lines), notes


def _place(scores: np.ndarray, i: int) -> str:
    """The rank of one of the scores, and whether others share it."""
    tied = ", tied" if (scores == scores[i]).sum() > 1 else ""
    return f"rank {1 + int((scores > scores[i]).sum())}{tied}"


def _of_ranked_seeds(
    scores: Mapping[int, float], shared: Mapping[str, Mapping[int, float]]
) -> dict[int, float]:
    """An algorithm's scores for the seeds that all ranked ones have."""
    return {seed: scores[seed] for seed in next(iter(shared.values())) if seed in scores}


def _shared(scores: Mapping[str, Mapping[int, float]], labels: Sequence[str]) -> dict[str, dict[int, float]]:
    """The scores of these algorithms for the seeds that all of them have; empty if there is none."""
    seeds = set.intersection(*(set(scores[label]) for label in labels)) if labels else set()
    return {label: {s: scores[label][s] for s in sorted(seeds)} for label in labels} if seeds else {}


def _means(scores: Mapping[str, Mapping[int, float]]) -> dict[str, float]:
    return {label: float(np.mean(list(seeds.values()))) for label, seeds in scores.items()}


def _for_paper(row: Row, chosen: Row) -> bool:
    """A paper's table has room for one smoothed score beside the others: that of the chosen checkpoint and weights."""
    return not row.smoothed or row == chosen._replace(smoothed=True)


def _row_column(row: Row, metric: str, chosen: bool, paper: bool = True) -> Column:
    checkpoint = "last checkpoint" if row.checkpoint == "last" else "checkpoint that was best on validation"
    smoothed = ", predictions smoothed over the frames of a video" if row.smoothed else ""
    note = (
        f"test {metric} of the {checkpoint}, {WEIGHT_NAMES[row.weights]} weights{smoothed}: mean ± standard "
    )
    note += "deviation over seeds; below: 95 % percentile bootstrap interval of the mean over seeds"
    if chosen:
        return Column(f"{row.title} ★", f"{note}; ★: what the comparison is made by")
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
    tables = {label: _video_tables(section, label, row) for label in labels}
    names = {label: set(t[0]) for label, t in tables.items() if t}
    if not names:
        return {}
    common = sorted(set.intersection(*names.values()))
    stacks = {label: np.array([[run[name] for name in common] for run in tables[label]]) for label in names}
    base = stacks.get(reference or "")
    return {
        label: (
            group_interval(s),
            group_interval(s, base) if base is not None and label != reference else None,
        )
        for label, s in stacks.items()
    }


def _video_tables(section: Section, label: str, row: Row) -> list[dict[str, list[list[int]]]]:
    """Per seed: video -> confusion matrix; empty unless every run has the same videos."""
    size = len(section.classes)
    groups = [r.groups for r in section.results(label, row).values()]
    if not groups or any(g is None or set(g) != set(groups[0] or ()) for g in groups):
        return []
    return [{name: records.dense(cells, size) for name, cells in (g or {}).items()} for g in groups]


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


def _comparison_columns(reference: str) -> list[Column]:
    return [
        difference_column(reference),
        Column(
            "p",
            "paired t-test over seeds, two-sided, after Holm's correction over the algorithms of this table; below: exact "
            "sign-flip test, uncorrected",
        ),
        Column("g_z", "effect size: Hedges' g_z, the mean difference in standard deviations of the differences", paper="no"),
        Column(
            "verdict",
            f"better or worse: p below {ALPHA:g}; within noise: no difference is shown, which is not to say that there is none",
            numeric=False, paper="no",
        ),
    ]  # fmt: skip


def _comparison_cells(label: str, found: Comparisons) -> list[Cell]:
    if label == found.reference:
        return [Cell(NONE), Cell(NONE), Cell(NONE), Cell("reference", mark="reference")]
    own = found.against.get(label)
    if own is None or not own.n:
        return [Cell(NONE), Cell(NONE), Cell(NONE), Cell("no finished pair")]
    few = f"({own.n} seed{'s' if own.n > 1 else ''}: few)" if own.few_seeds else ""
    ours = found.metric in METRICS
    mark = own.verdict if ours and own.verdict in ("better", "worse") else ""
    verdict = Cell((VERDICTS if ours else DIRECTIONS)[own.verdict], few, own.verdict, mark)
    difference = difference_cell(own, unit_of(found.metric))
    if own.p_holm is None or own.p_sign_flip is None or own.effect is None:
        return [difference, Cell(NONE), Cell(NONE), verdict]
    return [
        difference,
        Cell(p_text(own.p_holm), f"flip {p_text(own.p_sign_flip)}", own.p_holm),
        Cell(minus(f"{own.effect:.1f}") if math.isfinite(own.effect) else "∞", "", own.effect),
        verdict,
    ]


def _rank_notes(ranks: RankSummary, algorithms: int, tests: int, row: Row, metric: str) -> list[str]:
    notes = [f"Ranks by mean {title_of(metric)} ({row.title}) over {ranks.blocks} sections."]
    if tests < ranks.blocks:
        few = "one test set" if tests == 1 else f"{tests} test sets"
        notes.append(
            f"They are of {few}, so not independent, and their ranks are not tested (Friedman's and Nemenyi's tests would take "
            "them for independent)."
        )
        return notes
    if ranks.friedman is not None and ranks.p is not None:
        notes.append(
            f"Friedman's test that all {algorithms} rank alike: χ² = {ranks.friedman:.2f}, p = {p_text(ranks.p)}."
        )
    if ranks.critical_difference is not None:
        spread = max(ranks.mean_ranks) - min(ranks.mean_ranks)
        told = "some are told apart" if spread >= ranks.critical_difference else "none are told apart"
        notes.append(
            f"Mean ranks closer than the critical difference {ranks.critical_difference:.2f} (Nemenyi, {ALPHA:g}) are not told "
            f"apart: {told}."
        )
    return notes
