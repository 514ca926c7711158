"""The tables of facts: cost, protocol, data, runs, versions, and what did not finish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from ferbench.benchmark.report.gather import Gathered, Section, differing_keys, place_of
from ferbench.benchmark.report.table import (
    ALGORITHM,
    NONE,
    TIMES,
    Cell,
    Column,
    Table,
    View,
    mean_cell,
    moment,
    table_of,
    text_table,
    time_unit,
    value_text,
)
from ferbench.benchmark.statistics import summarize
from ferbench.records import FAILED, Cost, ToTarget
from ferbench.records.protocol import flat

#: Key of `Cost`, how its mean is written, title and note of its column. One that no run knows has no column.
COSTS = (
    ("images", "{:,.0f}", "images", "source images seen in training, labeled and unlabeled (not views)"),
    ("images_per_s", "{:,.0f}", "images/s",
     "source images per second of training time: mean over seeds of the median over the run"),
    ("data_wait", "{:.1f} %", "waits for data", "share of the training time"),
    ("peak_rss_mb", "{:,.0f}", "peak memory", "largest resident memory of the training process, MB (10⁶ bytes)"),
    ("peak_cuda_mb", "{:,.0f}", "peak GPU memory", "largest memory allocated on the GPU, MB"),
    ("load", "{:.2f}", "load",
     "the machine's load average per core, the highest at a validation; above 1, processes waited for cores"),
)  # fmt: skip
ALWAYS = 4  # of them have a column in any case


def cost_table(section: Section, labels: Sequence[str]) -> Table | None:
    """What the finished runs took."""
    costs: dict[str, list[Cost]] = {label: [] for label in labels}
    for run in section.finished.itertuples():
        if run.cost is not None and run.label in costs:
            costs[run.label].append(run.cost)
    costs = {label: found for label, found in costs.items() if found}
    if not costs:
        return None
    seconds = {label: [c.train_seconds for c in found] for label, found in costs.items()}
    unit, per_hour = time_unit(s / 3600 for found in seconds.values() for s in found)

    def values(label: str, key: str) -> list[float | None]:
        factor = 100 if key == "data_wait" else 1
        return [v and factor * v for v in (getattr(c, key) for c in costs[label])]

    def mean(label: str, key: str, pattern: str) -> Cell:
        return mean_cell(values(label, key), pattern)

    def times(label: str) -> Cell:
        found = summarize([per_hour * s / 3600 for s in seconds[label]])
        return Cell(f"{found.mean:.2f}" + (f" ± {found.sd:.2f}" if found.n > 1 else ""), sort=found.mean)

    def ratio(label: str, base: str) -> Cell:
        found = float(np.mean(seconds[label]) / np.mean(seconds[base]))
        return Cell(f"{found:.2f}", sort=found)

    views: list[View] = [
        ALGORITHM,
        (Column(unit, "training time, without validation and test: mean ± sd over seeds"), times),
    ]
    for base in (section.of_type("Supervised"), section.of_type("FixMatch")):
        if base in costs:
            column = Column(f"{TIMES} {base}", f"{unit}, relative to {base}")
            views.append((column, partial(ratio, base=base)))
    for i, (key, pattern, title, note) in enumerate(COSTS):
        if i < ALWAYS or any(v is not None for label in costs for v in values(label, key)):
            views.append((Column(title, note), partial(mean, key=key, pattern=pattern)))
    has_load = views[-1][0].title == "load"
    unknown = "" if has_load else " How busy the machine was besides is not known."
    return table_of("cost", f"What a run took, mean over seeds.{unknown}", costs, views)


def target_table(section: Section, labels: Sequence[str]) -> Table | None:
    """Images and time until validation macro-F1 reached each target that any run reached."""
    reached: dict[float, dict[str, list[ToTarget]]] = {}
    for run in section.finished.itertuples():
        for entry in run.cost.to_target if run.cost else ():
            reached.setdefault(entry.macro_f1, {}).setdefault(run.label, []).append(entry)
    targets = [
        target
        for target in sorted(reached)
        if any(e.images is not None for entries in reached[target].values() for e in entries)
    ]
    if not targets:
        return None
    note = (
        "source images until the EMA weights first reached {} validation macro-F1, below: the time; means over the seeds "
        "that reached it, with their number where it is not all"
    )

    def cell(label: str, target: float) -> Cell:
        return _target_cell(reached[target].get(label, []))

    titles = [f"{100 * target:g} %" for target in targets]
    views: list[View] = [ALGORITHM]
    views += [
        (Column(title, note.format(title)), partial(cell, target=target))
        for title, target in zip(titles, targets, strict=True)
    ]
    caption = "What it took to reach a validation macro-F1. Validations are some way apart, and so is what they can tell."
    finished = set(section.finished.label)
    return table_of("targets", caption, [label for label in labels if label in finished], views)


def difference_table(sections: Sequence[Section], most: int = 40) -> Table:
    """The protocol keys in which sections differ."""
    keys = differing_keys(sections)
    more = f" The first {most} of {len(keys)}." if len(keys) > most else ""
    caption = (
        f"Keys in which the protocols of the sections differ; their runs are never ranked together.{more}"
    )
    rows = [[key, *map(_brief, values)] for key, values in list(keys.items())[:most]]
    return text_table("differences", caption, ["key", *(s.title for s in sections)], rows)


def unfinished_table(gathered: Gathered) -> Table | None:
    """Runs that failed or go on, and files that are no records."""
    rows = list(_unfinished(gathered))
    caption = "What is not, or not simply, in the tables of scores."
    titles = ("what", "state", "where", "why, or how far")
    return text_table("unfinished", caption, titles, rows, sort=False) if rows else None


def _unfinished(gathered: Gathered) -> Iterator[Sequence[str | Cell]]:
    placed = [(section.title, run) for section in gathered.sections for run in section.runs.itertuples()]
    for where, run in [*placed, *((place_of(run), run) for run in gathered.unplaced.itertuples())]:
        if not run.done:
            state = Cell(run.status, mark="worse" if run.status == FAILED else "")
            yield f"{run.label}, seed {run.seed}", state, where, run.failure or _progress(run)
    for where, run in placed:
        if run.repeated:
            why = "there is more than one; the finished one counts, and of two finished ones the later"
            yield f"{run.label}, seed {run.seed}", "repeated", where, why
    for path, reason in gathered.skipped:
        where = "/".join(path.parts[1:-1][-4:])  # enough to find it, and no path of the machine
        yield path.name, Cell("skipped", mark="worse"), where, reason


def folded_tables(section: Section) -> list[Table]:
    """What is shown on demand: algorithms, protocol, data, runs and libraries."""
    own = section.first
    algorithms = section.runs.drop_duplicates("label").itertuples()
    runs = [
        [
            Cell(f"{r.label}, seed {r.seed}", sort=r.label), r.status, str(r.split_hash or NONE)[:12], code_of(r),
            hardware_of(r), r.command or NONE,
        ]
        for r in section.runs.itertuples()
    ]  # fmt: skip
    return [
        text_table(
            "algorithms", "What was compared: all that differs between the runs of a seed.", ("algorithm", "config"),
            [(run.label, value_text(run.algorithm)) for run in algorithms],
        ),
        text_table(
            "protocol", f"The protocol, sha256 {own.protocol_hash}.", ("key", "value"),
            [(key, value_text(value)) for key, value in flat(own.protocol).items()],
        ),
        _data_table(section),
        text_table(
            "runs", "Every run. Runs of one seed have the same split.",
            ("run", "state", "split (sha256)", "code", "ran on", "command"), runs,
        ),
        _library_table(section),
    ]  # fmt: skip


def _data_table(section: Section) -> Table:
    """Images of each part and class, of the first seed."""
    run = next((r for r in section.runs.itertuples() if r.data), section.first)
    columns = [Column("part", numeric=False), Column("data", numeric=False), Column("images")]
    rows = [
        [
            Cell(part), Cell(own.name), Cell(f"{own.images:,}"),
            *(Cell(f"{own.class_counts[c]:,}" if c in own.class_counts else NONE) for c in run.classes),
        ]
        for part, own in run.data.items()
    ]  # fmt: skip
    caption = (
        f"Images as drawn for seed {run.seed}; of unlabeled ones the hidden labels, which no algorithm sees."
    )
    return Table("data", caption, [*columns, *map(Column, run.classes)], rows)


def _library_table(section: Section) -> Table:
    """Versions of the libraries, and how many runs had them."""
    seen = Counter((name, version) for used in section.runs.libraries for name, version in used.items())
    columns = [Column("library", numeric=False), Column("version", numeric=False), Column("runs")]
    rows = [[Cell(name), Cell(version), Cell(str(count))] for (name, version), count in sorted(seen.items())]
    return Table("libraries", "Libraries that the runs were made with.", columns, rows)


def _brief(value: Any) -> str:
    """A value of a protocol; parts by their type and size."""
    if isinstance(value, list) and value:
        return ", ".join(map(_brief, value))
    if isinstance(value, dict) and "type" in value:
        return f"{value['type']}, {value['images']:,} images" if "images" in value else str(value["type"])
    return value_text(value)


def code_of(run: Any) -> str:
    """Version and commit of a run's code: ``0.1.0 (c0ffee12, changed)``."""
    code = run.code
    commit = f" ({code.commit[:8]}{', changed' if code.dirty else ''})" if code.commit else ""
    return f"{code.version}{commit}"


def hardware_of(run: Any) -> str:
    """Processes and device of a run: ``2 times GPU name`` or ``CPU name, 4 cores``."""
    own = run.hardware
    if own is None:
        return NONE
    device = own.gpu or f"{own.cpu}, {own.cores} cores"
    return f"{own.processes} {TIMES} {device}" if own.processes > 1 else device


def _target_cell(entries: Sequence[ToTarget]) -> Cell:
    images = [e.images for e in entries if e.images is not None]
    hours = [e.seconds / 3600 for e in entries if e.seconds is not None]
    if not images or not hours:
        return Cell("never" if entries else NONE)
    part = f" ({len(images)} of {len(entries)})" if len(images) < len(entries) else ""
    unit, per_hour = time_unit(hours)
    time = f"{per_hour * np.mean(hours):.2f} {unit}"
    return Cell(f"{np.mean(images):,.0f}{part}", time, float(np.mean(images)))


def _progress(run: Any) -> str:
    curves = run.curves
    done = max([0, *(c.iter[-1] for c in (curves.val, curves.classes) if c is not None and c.iter)])
    total = (run.config.get("train_cfg") or {}).get("max_iters")
    of = f" of {total:,}" if isinstance(total, int) else ""
    return (
        f"iteration {done:,}{of} at {moment(run.written)}; it goes on, or was interrupted and can be resumed"
    )
