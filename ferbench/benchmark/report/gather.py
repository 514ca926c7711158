"""From records to one table: a row per run, in sections of one protocol each, which alone may be compared."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ferbench import records
from ferbench.benchmark.grid import name_of
from ferbench.benchmark.report.table import PERCENT, PLAIN, Unit
from ferbench.errors import UserError, nearest
from ferbench.records import FINISHED, Record, Result, Skipped
from ferbench.records.protocol import difference, flat
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


def title_of(metric: str) -> str:
    """A metric in words."""
    return METRICS.get(metric, metric)


def unit_of(metric: str) -> Unit:
    """How its scores are written: ours in percent, others as they are."""
    return PERCENT if metric in METRICS else PLAIN


def words_of(metric: str) -> str:
    """A metric in words, with its unit."""
    return f"{METRICS[metric]} in percent" if metric in METRICS else metric


@dataclass(frozen=True, eq=False)
class Section:
    """The runs of one protocol.

    Attributes:
        title: data set and budget.
        runs: a row per run, by label and seed, each seed once; without tuning trials. Its columns are the keys of
            `ferbench.records.Record`, whether it is ``done``, and whether others have its label and seed (``repeated``).
        trials: label -> tuning trials, which are no results.
    """

    title: str
    runs: pd.DataFrame
    trials: dict[str, int]

    @cached_property
    def labels(self) -> list[str]:
        """The algorithms, in the order of the alphabet."""
        return list(dict.fromkeys(self.runs.label))

    @cached_property
    def first(self) -> Any:
        """The first run, for what all have in common."""
        return next(self.runs.itertuples())

    @property
    def classes(self) -> list[str]:
        """The classes' names."""
        return self.first.classes

    @cached_property
    def finished(self) -> pd.DataFrame:
        """The finished runs, by label and seed."""
        return self.runs[self.runs.done]

    @cached_property
    def results(self) -> dict[Row, pd.DataFrame]:
        """Row -> the finished runs that have it: label, seed and the keys of `ferbench.records.Result`. Last before best, raw
        before EMA, smoothed after the others."""
        found = [
            {"label": run.label, "seed": run.seed, **vars(result)}
            for run in self.finished.itertuples()
            for result in run.results
        ]
        keys = list(Row._fields)
        table = pd.DataFrame(
            found, columns=["label", "seed", *(f.name for f in fields(Result))], dtype=object
        )
        rows = {Row(*key): own for key, own in table.groupby(keys, sort=False)}
        order = sorted(rows, key=lambda r: (r.smoothed, r.checkpoint != "last", r.weights != "raw"))
        return {row: rows[row] for row in order}

    def scores(self, row: Row, metric: str) -> dict[str, dict[int, float]]:
        """Algorithm -> seed -> score, NaN where it is no number; algorithms without any are left out."""
        if row not in self.results:
            return {}
        own = self.results[row]
        if metric not in METRICS:
            own = own[[metric in further for further in own.metrics]]
            own = own.assign(**{metric: [further[metric] for further in own.metrics]})
        return {
            label: dict(zip(group.seed, group[metric].astype(float), strict=True))
            for label, group in own.groupby("label", sort=False)
        }

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics that finished runs have besides `METRICS`."""
        return sorted({name for own in self.results.values() for further in own.metrics for name in further})

    def reference(self, wanted: str | None) -> str | None:
        """The label to compare with: ``wanted``, or else by `REFERENCES`; None if it has no run here."""
        if wanted is not None:
            return wanted if wanted in self.labels else None
        return next(filter(None, map(self.of_type, REFERENCES)), None)

    def of_type(self, kind: str) -> str | None:
        """The label that stands for a type of algorithm: that of its name, or else the first; None if it has no run here."""
        labels = [run.label for run in self.runs.itertuples() if run.algorithm.get("type") == kind]
        return kind if kind in labels else next(iter(labels), None)


@dataclass(frozen=True)
class Gathered:
    """Everything that was found.

    Attributes:
        records: of all runs, tuning trials among them.
        skipped: files that are no usable record.
    """

    records: tuple[Record, ...]
    skipped: tuple[Skipped, ...] = ()

    @cached_property
    def _table(self) -> pd.DataFrame:
        """A row per record, with its keys."""
        found = pd.DataFrame(map(vars, self.records), columns=[f.name for f in fields(Record)], dtype=object)
        return found.assign(trial=[run.is_trial for run in self.records], done=found.status == FINISHED)

    @cached_property
    def sections(self) -> list[Section]:
        """One per protocol and schema, by data set and budget."""
        groups = self._table.groupby(["schema", "protocol_hash"], sort=False)
        sections = [_section(group) for _, group in groups if not group.trial.all()]
        titles = Counter(s.title for s in sections)
        named = [
            replace(s, title=f"{s.title} (protocol {str(s.first.protocol_hash)[:8]})") if titles[s.title] > 1 else s
            for s in sections
        ]  # fmt: skip
        return sorted(named, key=lambda s: _natural(s.title))

    @cached_property
    def unplaced(self) -> pd.DataFrame:
        """Runs that failed before their protocol was known."""
        return self._table[self._table.protocol_hash.isna() & ~self._table.trial]

    @cached_property
    def runs(self) -> pd.DataFrame:
        """All runs that count, without tuning trials."""
        return pd.concat([*(section.runs for section in self.sections), self.unplaced])

    @cached_property
    def labels(self) -> list[str]:
        """All algorithms that have a section, in the order of the alphabet."""
        return sorted({label for section in self.sections for label in section.labels}, key=_natural)

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics that finished runs have besides `METRICS`."""
        return sorted({name for section in self.sections for name in section.metrics})


def gather(places: Iterable[str | Path]) -> Gathered:
    """Read records.

    Args:
        places: record files, and folders with some.

    Raises:
        UserError: a place does not exist.
    """
    found, skipped = records.read_all(places)
    return Gathered(tuple(found), tuple(skipped))


def differing_keys(sections: Sequence[Section]) -> dict[str, list[Any]]:
    """Dotted protocol key -> its value in each section, for the keys that are not the same in all.

    One key is: what is empty in some sections, and the same in all others (a data set that they have more); a part of
    another type; a list of names or numbers.
    """
    protocols = [section.first.protocol for section in sections]
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


def place_of(run: Any) -> str:
    """Data set and budget of a run: ``fer2013, per_class 25``."""
    if run.cell is not None:
        return ", ".join(filter(None, [run.cell.dataset, name_of(run.cell.budget, " ")]))
    labeled = run.data.get("labeled")
    return f"{labeled.name}, {labeled.images} labeled images" if labeled else "unknown data"


def _section(found: pd.DataFrame) -> Section:
    runs = found[~found.trial]
    runs = runs.assign(label=_telling_labels(runs))
    order = {label: i for i, label in enumerate(sorted(dict.fromkeys(runs.label), key=_natural))}
    key = ["label", "seed"]
    runs = runs.assign(order=runs.label.map(order), repeated=runs.duplicated(key, keep=False))
    # Of a run that is there twice, the finished one counts, and of two finished ones the later.
    runs = runs.sort_values(["done", "written"], kind="stable").drop_duplicates(key, keep="last")
    title = place_of(next(found.itertuples()))
    return Section(title, runs.sort_values(["order", "seed"]), dict(Counter(found.label[found.trial])))


def _telling_labels(runs: pd.DataFrame) -> list[str]:
    """Runs of one label but with different parameters (of two grids) get these into their labels: never averaged."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for run in runs.itertuples():
        if run.algorithm not in (known := kinds.setdefault(run.label, [])):
            known.append(run.algorithm)
    told = []
    for run in runs.itertuples():
        own = flat(run.algorithm)
        keys = sorted({d.key for other in kinds[run.label] for d in difference(run.algorithm, other)})
        named = ", ".join(f"{key}={own[key]}" if key in own else f"no {key}" for key in keys)
        told.append(f"{run.label} ({named})" if keys else run.label)
    return told


def _natural(text: str) -> tuple[Any, ...]:
    """Sort key by which 'per_class 25' stands before 'per_class 100'."""
    parts = re.split(r"(\d+)", text.casefold())
    return tuple((part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts)
