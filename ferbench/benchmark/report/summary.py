"""All sections at a glance: the chosen score in each, and the ranks of the algorithms over them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ferbench.benchmark.report.gather import Row, Section, title_of, unit_of, words_of
from ferbench.benchmark.report.scores import BOLD
from ferbench.benchmark.report.table import (
    ALGORITHM,
    NONE,
    Cell,
    Column,
    Table,
    View,
    join_labels,
    p_text,
    score_cell,
    table_of,
)
from ferbench.benchmark.statistics import ALPHA, DIGITS, RankSummary, Scores, highest, rank_summary
from ferbench.records.protocol import hash_of


def summary_table(sections: Sequence[Section], row: Row, metric: str) -> tuple[Table, list[str]] | None:
    """The chosen score in all sections and the mean rank over them of the algorithms that all have, with what may be said.

    Returns:
        None unless two sections have two algorithms in common.
    """
    every = [(section, section.scores(row, metric)) for section in sections]
    # A score that is no number has no rank; the section's own table names it.
    known = [(s, {a: own for a, own in f.items() if np.isfinite(list(own.values())).all()}) for s, f in every]
    lost = sorted({a for (_, f), (_, k) in zip(every, known, strict=True) for a in f.keys() - k.keys()})
    many = [(s, found) for s, found in known if len(found) >= 2]
    common = [a for a in (many[0][1] if many else {}) if all(a in found for _, found in many)]
    # An algorithm with more seeds than another has more luck or less: only seeds that all have are ranked.
    kept = [(s, found, seeds) for s, found in many if common and (seeds := _shared_seeds(found, common))]
    if len(kept) < 2 or len(common) < 2:
        return None
    means = np.array([[np.mean([found[a][s] for s in seeds]) for a in common] for _, found, seeds in kept])
    ranks = rank_summary(means)
    mean_ranks = dict(zip(common, ranks.mean_ranks, strict=True))
    everyone = dict.fromkeys(label for _, found in many for label in found)
    order = sorted(everyone, key=lambda label: mean_ranks.get(label, math.inf))
    unit = unit_of(metric)

    def of_section(section: Section, found: Scores, seeds: Sequence[int], scores: np.ndarray) -> View:
        ranked = {a: {s: found[a][s] for s in seeds if s in found[a]} for a in found}
        best = highest({a: own for a in order if (own := ranked.get(a))})
        places = {a: _place(scores, i) for i, a in enumerate(common)}
        note = f"test {words_of(metric)}, {row.title}: mean ± sd over seeds; below: rank"
        return Column(section.title, note), lambda label: replace(
            score_cell(ranked.get(label), "best" if best == [label] else "", interval=False, unit=unit),
            small=places.get(label, ""),
        )

    note = "over the columns, of the algorithms that all have; 1 is best, ties share their rank"
    views = [
        ALGORITHM,
        *(of_section(*own, line) for own, line in zip(kept, means.round(DIGITS), strict=True)),
        (Column("mean rank", note), lambda label: Cell(f"{mean_ranks[label]:.2f}", sort=mean_ranks[label])
         if label in mean_ranks else Cell(NONE)),
    ]  # fmt: skip
    tests = {hash_of({"test": s.first.protocol.get("data", {}).get("test")}) for s, *_ in kept}
    notes = _rank_notes(ranks, len(common), len(tests), row, metric)
    if not all(section.runs.done.all() for section, *_ in kept):
        notes.append("Not all runs have finished: ranks may change.")
    if any(len(found[a]) > len(seeds) for _, found, seeds in kept for a in common):
        notes.append(
            "Where some have more seeds than others, only the seeds that all of them have count here."
        )
    if lost:
        notes.append(f"Not ranked, since a score of theirs is no number: {join_labels(lost)}.")
    if len(everyone) > len(common):
        notes.append(f"Ranked are the {len(common)} algorithms that all sections have.")
    caption = f"All sections at a glance; {BOLD.format(of='of its column')}."
    return table_of("summary", caption, order, views), notes


def _place(scores: np.ndarray, i: int) -> str:
    """The rank of one of the scores, and whether others share it."""
    tied = ", tied" if (scores == scores[i]).sum() > 1 else ""
    return f"rank {1 + int((scores > scores[i]).sum())}{tied}"


def _shared_seeds(scores: Scores, labels: Sequence[str]) -> list[int]:
    """The seeds that all of the algorithms have."""
    return sorted(set.intersection(*(set(scores[label]) for label in labels)))


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
