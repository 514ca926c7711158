"""What the numbers of a section can show, in sentences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from ferbench.benchmark.report.facts import code_of, hardware_of
from ferbench.benchmark.report.gather import METRICS, REFERENCES, Section, title_of, unit_of
from ferbench.benchmark.report.scores import Comparisons
from ferbench.benchmark.report.table import join_labels, p_text
from ferbench.benchmark.statistics import (
    ALPHA,
    FEW_SEEDS,
    MIN_SEEDS,
    coverage_limit,
    seeds_for_sign_flip,
    smallest_sign_flip_p,
)
from ferbench.errors import UserError
from ferbench.records.protocol import require_paired_splits

SHOWN_DOUBTS = 6


class Note(NamedTuple):
    """A sentence or two; a warning is about what makes the section's numbers doubtful."""

    text: str
    warning: bool = False


def unpaired(section: Section) -> Note | None:
    """Why the section's runs cannot be compared by seed, if so."""
    try:
        require_paired_splits(section.finished.itertuples())
    except UserError as error:
        return Note(f"Nothing is compared: {error.what}. {error.where}. Expected: {error.expected}.", True)
    return None


def verdict_note(found: Comparisons) -> Note:
    """The outcome in words."""
    if not found.summaries:
        return Note("There are no scores to compare yet.")
    text = _headline(found)
    if found.reference is None:
        return Note(text)
    by_verdict: dict[str, list[str]] = {}
    for label in found.summaries:
        if label in found.against:
            by_verdict.setdefault(found.against[label].verdict, []).append(label)
    words = {} if found.metric in METRICS else {"better": "higher", "worse": "lower"}
    parts = [
        f"{words.get(verdict, verdict)}: {join_labels(by_verdict[verdict])}"
        for verdict in ("better", "worse", "within noise", "too few seeds", "no number")
        if verdict in by_verdict
    ]
    return Note(f"{text} Against {found.reference}: {'; '.join(parts)}." if parts else text)


def _headline(found: Comparisons) -> str:
    """Who has the highest mean, if that can be said."""
    what = f"mean {title_of(found.metric)} ({found.row.title})"
    without = [label for label, own in found.summaries.items() if not math.isfinite(own.mean)]
    lost = f" No number: {join_labels(without)}." if without else ""
    if not found.top:
        most = max(own.n for own in found.summaries.values())
        return (
            f"No algorithm has the {MIN_SEEDS} seeds that a claim takes (the most is {most}): which {what} is the highest "
            f"cannot be told.{lost}"
            if most < MIN_SEEDS
            else f"No algorithm has a {what} over {MIN_SEEDS} seeds or more.{lost}"
        )
    unit, own = unit_of(found.metric), found.summaries[found.top[0]]
    percent = " %" if found.metric in METRICS else ""
    few = any(s.n < MIN_SEEDS for s in found.summaries.values())
    of = f" of the algorithms with {MIN_SEEDS} seeds or more" if few else ""
    if len(found.top) > 1:
        names = join_labels(found.top)
        return f"Highest {what}{of}: a tie of {names}, {unit.text(own.mean)}{percent}.{lost}"
    return f"Highest {what}{of}: {found.top[0]}, {unit.text(own.mean)} ± {unit.text(own.sd)}{percent}.{lost}"


def reading_notes(found: Comparisons) -> list[Note]:
    """How the table of scores is to be read: seeds, test, intervals."""
    notes: list[Note] = []
    if not found.summaries:
        return notes
    if found.metric not in METRICS:
        notes.append(
            Note(
                f"Whether more {found.metric} is better, its evaluator does not say: read it by what it measures."
            )
        )
    tested = sum(c.p is not None for c in found.against.values())
    if tested:
        notes.append(
            Note(
                f"Reported test: paired t-test over seeds against {found.reference}, with Holm's correction over the {tested} "
                f"algorithm{'s' * (tested != 1)} tested; level {ALPHA:g}. It assumes about normal differences. The exact "
                "sign-flip test does not, but cannot become small with few seeds, so it is given beside it, uncorrected."
            )
        )
        notes += _few_pairs(found, tested)
    counts: dict[int, list[str]] = {}
    for label, summary in found.summaries.items():
        counts.setdefault(summary.n, []).append(label)
    everyone = len(counts) == 1
    notes += [
        Note(
            _few_seeds(
                n, "Every algorithm" if everyone else join_labels(labels), everyone or len(labels) == 1
            ),
            True,
        )
        for n, labels in sorted(counts.items())
        if n < FEW_SEEDS
    ]
    text = "Intervals and tests over seeds are about the noise of training; they say nothing about other test images."
    videos = " The intervals by video do: they draw test videos anew, whole, because their frames are not independent."
    return [*notes, Note(text + videos if found.videos else text)]


def fairness_notes(section: Section, found: Comparisons, asked: str | None) -> list[Note]:
    """What makes a comparison within one protocol doubtful all the same.

    Args:
        section, found: what was compared.
        asked: the reference that was asked for.
    """
    notes = []
    if found.summaries and found.reference is None:
        who = asked or " or ".join(REFERENCES)
        notes.append(Note(f"There is no finished run of {who} here: nothing is compared with it.", True))
    notes += _unequal_seeds(section, found)
    differing: list[tuple[str, Callable[[Any], str]]] = [
        ("versions of the code", code_of),
        ("sets of libraries", lambda r: ", ".join(f"{k} {v}" for k, v in sorted(r.libraries.items()))),
        ("kinds of hardware, so that hours and images/s cannot be compared", hardware_of),
    ]
    for what, describe in differing:
        seen = Counter(map(describe, section.finished.itertuples()))
        if len(seen) > 1:
            listed = "; ".join(f"{name} ({count} runs)" for name, count in seen.most_common())
            notes.append(Note(f"The runs were made with {len(seen)} {what}: {listed}.", True))
    if any(code.dirty for code in section.finished.code):
        notes.append(Note("Some runs were made with code that differed from its commit.", True))
    return notes + _doubtful(section) + _load(section) + _plugins(section) + _tuning(section)


def _doubtful(section: Section) -> list[Note]:
    """What the runs' own records say against them."""
    seen: dict[str, list[str]] = {}
    for run in section.finished.itertuples():
        for text in run.warnings:
            seen.setdefault(text, []).append(f"{run.label} (seed {run.seed})")
    shown = [Note(f"Doubtful: {text}. Runs: {join_labels(runs)}.", True) for text, runs in seen.items()]
    more = len(shown) - SHOWN_DOUBTS
    return (
        shown
        if more <= 0
        else [*shown[:SHOWN_DOUBTS], Note(f"{more} more doubts stand in the records.", True)]
    )


def _load(section: Section) -> list[Note]:
    """Runs whose hours are not their own, because they had to wait for cores."""
    loads: dict[str, list[float]] = {}
    for run in section.finished.itertuples():
        if run.cost is not None and run.cost.load is not None and run.cost.load > 1:
            loads.setdefault(run.label, []).append(run.cost.load)
    listed = join_labels(f"{label} {max(own):.1f} ({len(own)} runs)" for label, own in loads.items())
    text = f"During some runs the machine had more to do than cores, by its load average per core: {listed}."
    return [Note(f"{text} Their hours and images/s depend on what else ran.", True)] if loads else []


def _plugins(section: Section) -> list[Note]:
    """Algorithms whose mean is over runs of more than one version of a plug-in."""
    seen: dict[str, Counter[str]] = {}
    for run in section.finished.itertuples():
        own = ", ".join(f"{name} {version}" for name, version in sorted(run.code.plugins.items()))
        seen.setdefault(run.label, Counter())[own or "an unknown version"] += 1
    return [
        Note(
            f"The runs of {label} were made with {len(versions)} versions of a plug-in: "
            + "; ".join(f"{version} ({count} runs)" for version, count in versions.most_common())
            + ". Their mean is of no one method.",
            True,
        )
        for label, versions in seen.items()
        if len(versions) > 1
    ]


def _unequal_seeds(section: Section, found: Comparisons) -> list[Note]:
    groups: dict[tuple[int, ...], list[str]] = {}
    for label, seeds in section.scores(found.row, found.metric).items():
        groups.setdefault(tuple(sorted(seeds)), []).append(label)
    if len(groups) < 2:
        return []
    listed = "; ".join(
        f"{', '.join(map(str, seeds))} ({join_labels(labels)})" for seeds, labels in sorted(groups.items())
    )
    text = f"The means are over different seeds: {listed}. Differences are over the seeds that both have."
    return [Note(text, True)]


def _tuning(section: Section) -> list[Note]:
    trials = {
        run.label: (run.cell.trials if run.cell else None) or 0 for run in section.finished.itertuples()
    }
    numbers = set(trials.values())
    if numbers <= {0}:
        return []
    if len(numbers) == 1:
        return [Note(f"Parameters were tuned on validation, {numbers.pop()} trials for each algorithm.")]
    listed = join_labels(f"{label} {count}" for label, count in trials.items())
    return [Note(f"Parameters were tuned with unequal numbers of trials: {listed}.", True)]


def _few_pairs(found: Comparisons, tested: int) -> list[Note]:
    pairs = sorted({c.n for c in found.against.values() if c.p is not None})
    if not pairs or smallest_sign_flip_p(pairs[0]) < ALPHA:
        return []
    least = smallest_sign_flip_p(pairs[0])
    needed = seeds_for_sign_flip(tested)
    return [
        Note(
            f"With {pairs[0]} seeds the sign-flip test cannot fall below p = {p_text(least)}, whatever the scores: it cannot "
            f"reach {ALPHA:g}. That takes {seeds_for_sign_flip()} seeds, and {needed} after Holm's correction over {tested}.",
            True,
        )
    ]


def _few_seeds(n: int, who: str, singular: bool) -> str:
    text = f"{who} {'has' if singular else 'have'} {n} seed{'s, which are few' if n > 1 else ', which is no result'}"
    if n >= MIN_SEEDS:
        text += (
            f": a bootstrap interval lies within the range of its seeds, and the range of {n} holds the true mean in at most "
            f"{100 * coverage_limit(n):g} % of cases, not in 95 %"
        )
    return f"{text}."
