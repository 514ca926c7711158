"""From records to sections: the runs of one protocol each, which alone may be compared."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ferbench import records
from ferbench.benchmark.grid import name_of
from ferbench.benchmark.report.table import PERCENT, PLAIN, Unit
from ferbench.errors import UserError, nearest
from ferbench.records import Record, Skipped
from ferbench.records.protocol import difference, flat, group_by_protocol
from ferbench.viz.runlog import WEIGHT_NAMES

METRICS = {"macro_f1": "macro-F1", "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"}
#: What a comparison is made with unless a reference is named: the first of these that is there, by type of algorithm.
REFERENCES = ("FixMatch", "Supervised")


class Row(NamedTuple):
    """Which of a run's test scores: a checkpoint, the kind of weights, and whether smoothed over frames."""

    checkpoint: str
    weights: str
    smoothed: bool = False

    @classmethod
    def parse(cls, text: str) -> Row:
        """From ``best_ema`` or ``last_raw_smoothed``.

        Raises:
            UserError: there is no such row.
        """
        known = {f"{c}_{w}": cls(c, w) for c in records.CHECKPOINTS for w in records.WEIGHTS}
        known |= {f"{name}_smoothed": row._replace(smoothed=True) for name, row in known.items()}
        if text not in known:
            raise UserError(f"there is no row {text!r}", where="--row", fix=nearest(text, known))
        return known[text]

    @property
    def title(self) -> str:
        """As a column is headed."""
        return f"{self.checkpoint} {WEIGHT_NAMES[self.weights]}" + (", smoothed" if self.smoothed else "")

    def of(self, run: Record) -> records.Result | None:
        """These scores of a run, if it has them."""
        try:
            return run.result(*self)
        except KeyError:
            return None


def title_of(metric: str) -> str:
    """A metric in words."""
    return METRICS.get(metric, metric)


def unit_of(metric: str) -> Unit:
    """How its scores are written: ours in percent, others as they are."""
    return PERCENT if metric in METRICS else PLAIN


def words_of(metric: str) -> str:
    """A metric in words, with its unit."""
    return f"{METRICS[metric]} in percent" if metric in METRICS else metric


def has(result: records.Result, metric: str) -> bool:
    """Whether there is such a score, be it a number or not."""
    return metric in METRICS or metric in result.metrics


def score_of(result: records.Result, metric: str) -> float:
    """A score; NaN where it is no number."""
    value = getattr(result, metric) if metric in METRICS else result.metrics[metric]
    return math.nan if value is None else float(value)


@dataclass(frozen=True)
class Section:
    """The runs of one protocol.

    Attributes:
        title: data set and budget.
        runs: by label and seed, each seed once; without tuning trials.
        trials: label -> tuning trials, which are no results.
        repeated: runs of a label and seed that are there more than once; the others of them are not in `runs`.
    """

    title: str
    runs: tuple[Record, ...]
    trials: dict[str, int]
    repeated: tuple[Record, ...] = ()

    @property
    def labels(self) -> list[str]:
        """The algorithms, in the order of the alphabet."""
        return list(dict.fromkeys(run.label for run in self.runs))

    @property
    def classes(self) -> list[str]:
        """The classes' names."""
        return self.runs[0].classes

    def of(self, label: str) -> list[Record]:
        """The runs of an algorithm, finished or not, by seed."""
        return [run for run in self.runs if run.label == label]

    def finished(self, label: str | None = None) -> list[Record]:
        """The finished runs (of one algorithm), by label and seed."""
        return [r for r in self.runs if r.status == records.FINISHED and (label is None or r.label == label)]

    def rows(self) -> list[Row]:
        """Every row that a finished run has: last before best, raw before EMA, smoothed after the others."""
        seen = {Row(r.checkpoint, r.weights, r.smoothed) for run in self.finished() for r in run.results}
        return sorted(seen, key=lambda r: (r.smoothed, r.checkpoint != "last", r.weights != "raw"))

    def results(self, label: str, row: Row) -> dict[int, records.Result]:
        """Seed -> scores of an algorithm's finished runs that have the row."""
        found = {run.seed: row.of(run) for run in self.finished(label)}
        return {seed: result for seed, result in found.items() if result is not None}

    def scores(self, row: Row, metric: str) -> dict[str, dict[int, float]]:
        """Algorithm -> seed -> score, NaN where it is no number; algorithms without any are left out."""
        found = {
            label: {s: score_of(r, metric) for s, r in self.results(label, row).items() if has(r, metric)}
            for label in self.labels
        }
        return {label: seeds for label, seeds in found.items() if seeds}

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics that finished runs have besides `METRICS`."""
        return sorted({name for run in self.finished() for r in run.results for name in r.metrics})

    def reference(self, wanted: str | None) -> str | None:
        """The label to compare with: ``wanted``, or else by `REFERENCES`; None if it has no run here."""
        if wanted is not None:
            return wanted if wanted in self.labels else None
        return next(filter(None, map(self.of_type, REFERENCES)), None)

    def of_type(self, kind: str) -> str | None:
        """The label that stands for a type of algorithm: that of its name, or else the first; None if it has no run here."""
        labels = [run.label for run in self.runs if run.algorithm.get("type") == kind]
        return kind if kind in labels else next(iter(labels), None)


@dataclass(frozen=True)
class Gathered:
    """Everything that was found.

    Attributes:
        sections: one per protocol, by data set and budget.
        unplaced: runs that failed before their protocol was known.
        skipped: files that are no usable record.
    """

    sections: tuple[Section, ...]
    unplaced: tuple[Record, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    @property
    def runs(self) -> list[Record]:
        """All runs, without tuning trials."""
        return [*(run for section in self.sections for run in section.runs), *self.unplaced]

    @property
    def labels(self) -> list[str]:
        """All algorithms, in the order of the alphabet."""
        return sorted({label for section in self.sections for label in section.labels}, key=_natural)

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics that finished runs have besides `METRICS`."""
        return sorted({name for section in self.sections for name in section.metrics})


def gather(places: Iterable[str | Path]) -> Gathered:
    """Read records and sort them into sections.

    Args:
        places: record files, and folders with some.

    Raises:
        UserError: a place does not exist.
    """
    found, skipped = records.read_all(places)
    groups = group_by_protocol(found)
    unplaced = tuple(r for r in groups.pop(None, []) if not r.is_trial)
    sections = [_section(group) for group in groups.values()]
    sections = [s for s in sections if s.runs]
    titles = Counter(s.title for s in sections)
    named = [
        replace(s, title=f"{s.title} (protocol {str(s.runs[0].protocol_hash)[:8]})") if titles[s.title] > 1 else s
        for s in sections
    ]  # fmt: skip
    return Gathered(tuple(sorted(named, key=lambda s: _natural(s.title))), unplaced, tuple(skipped))


def differing_keys(sections: Sequence[Section]) -> dict[str, list[Any]]:
    """Dotted protocol key -> its value in each section, for the keys that are not the same in all.

    One key is: what is empty in some sections, and the same in all others (a data set that they have more); a part of
    another type; a list of names or numbers.
    """
    protocols = [section.runs[0].protocol for section in sections]
    keys = {d.key: None for other in protocols[1:] for d in difference(protocols[0], other)}
    values = [flat(p) for p in protocols]
    found = {key: [v.get(key) for v in values] for key in sorted(keys)}
    for key in [k for k, own in found.items() if [] in own or {} in own]:
        whole = [_at(p, key) for p in protocols]
        others = [w for w in whole if w]
        if all(w == others[0] for w in others):
            found = {k: own for k, own in found.items() if not k.startswith(f"{key}.")} | {key: whole}
    together: dict[str, list[Any]] = {}
    for key, own in found.items():
        parts = key.split(".")
        above = [".".join(parts[:n]) for n in range(1, len(parts))]
        top = next((a for a in above if _differ_as_a_whole([_at(p, a) for p in protocols])), None)
        together[top or key] = own if top is None else [_at(p, top) for p in protocols]
    return together


def _differ_as_a_whole(values: Sequence[Any]) -> bool:
    """Whether values of one key are parts of different types, or lists without parts in them."""
    types = {v["type"] for v in values if isinstance(v, dict) and "type" in v}
    lists = all(isinstance(v, list) and not any(isinstance(i, (dict, list)) for i in v) for v in values)
    return len(types) > 1 or lists


def _at(protocol: Any, dotted: str) -> Any:
    """What stands at a key of a nested protocol; None if nothing does."""
    for part in dotted.split("."):
        if isinstance(protocol, list) and part.isdigit() and int(part) < len(protocol):
            protocol = protocol[int(part)]
        elif isinstance(protocol, dict):
            protocol = protocol.get(part)
        else:
            return None
    return protocol


def place_of(run: Record) -> str:
    """Data set and budget of a run: ``fer2013, per_class 25``."""
    if run.cell is not None:
        return ", ".join(filter(None, [run.cell.dataset, name_of(run.cell.budget, " ")]))
    labeled = run.data.get("labeled")
    return f"{labeled.name}, {labeled.images} labeled images" if labeled else "unknown data"


def _section(found: Sequence[Record]) -> Section:
    runs = _with_telling_labels([r for r in found if not r.is_trial])
    # Of a run that is there twice, the finished one counts, and of two finished ones the later.
    runs.sort(key=lambda r: (r.status == records.FINISHED, r.written))
    counted = {(run.label, run.seed): run for run in runs}
    kept = sorted(counted.values(), key=lambda r: (_natural(r.label), r.seed))
    repeats = Counter((run.label, run.seed) for run in runs)
    return Section(
        title=place_of(found[0]),
        runs=tuple(kept),
        trials=dict(Counter(r.label for r in found if r.is_trial)),
        repeated=tuple(run for run in kept if repeats[run.label, run.seed] > 1),
    )


def _with_telling_labels(runs: Sequence[Record]) -> list[Record]:
    """Runs of one label but with different parameters (of two grids) get these into their labels: never averaged."""
    told = []
    for run in runs:
        others = [r.algorithm for r in runs if r.label == run.label and r.algorithm != run.algorithm]
        own = flat(run.algorithm)
        keys = sorted({d.key for other in others for d in difference(run.algorithm, other)})
        named = ", ".join(f"{key}={own[key]}" if key in own else f"no {key}" for key in keys)
        told.append(replace(run, label=f"{run.label} ({named})") if keys else run)
    return told


def _natural(text: str) -> tuple[Any, ...]:
    """Sort key by which 'per_class 25' stands before 'per_class 100'."""
    parts = re.split(r"(\d+)", text.casefold())
    return tuple((part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts)
