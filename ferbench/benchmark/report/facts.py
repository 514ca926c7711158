"""The tables of facts: cost, protocol, data, runs, versions, and what did not finish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ferbench import records
from ferbench.benchmark.report.gather import Gathered, Section, differing_keys, place_of
from ferbench.benchmark.report.table import (
    NONE,
    TIMES,
    Cell,
    Column,
    Table,
    mean_cell,
    moment,
    time_unit,
    value_text,
)
from ferbench.benchmark.statistics import summarize
from ferbench.records import Record
from ferbench.records.protocol import flat


def cost_table(section: Section, labels: Sequence[str]) -> Table | None:
    """What the finished runs took."""
    costs = {a: [r.cost for r in section.finished(a) if r.cost is not None] for a in labels}
    costs = {label: found for label, found in costs.items() if found}
    if not costs:
        return None
    unit, per_hour = time_unit(c.train_seconds / 3600 for found in costs.values() for c in found)
    bases = [b for b in (section.of_type("Supervised"), section.of_type("FixMatch")) if b in costs]
    has_load = any(c.load is not None for found in costs.values() for c in found)
    has_cuda = any(c.peak_cuda_mb is not None for found in costs.values() for c in found)
    columns = [
        Column("algorithm", numeric=False),
        Column(unit, "training time, without validation and test: mean ± sd over seeds"),
        *(Column(f"{TIMES} {base}", f"{unit}, relative to {base}") for base in bases),
        Column("images", "source images seen in training, labeled and unlabeled (not views)"),
        Column(
            "images/s",
            "source images per second of training time: mean over seeds of the median over the run",
        ),
        Column("waits for data", "share of the training time"),
        Column("peak memory", "largest resident memory of the training process, MB (10⁶ bytes)"),
    ]
    if has_cuda:
        columns.append(Column("peak GPU memory", "largest memory allocated on the GPU, MB"))
    if has_load:
        columns.append(
            Column(
                "load",
                "the machine's load average per core, the highest at a validation; above 1, processes waited for cores",
            )
        )
    lines = []
    for label, found in costs.items():
        times = summarize([per_hour * c.train_seconds / 3600 for c in found])
        spread = f" ± {times.sd:.2f}" if times.n > 1 else ""
        seconds = np.mean([c.train_seconds for c in found])
        ratios = [seconds / np.mean([c.train_seconds for c in costs[b]]) for b in bases]
        line = [
            Cell(label, sort=label),
            Cell(f"{times.mean:.2f}{spread}", sort=times.mean),
            *(Cell(f"{ratio:.2f}", sort=float(ratio)) for ratio in ratios),
            mean_cell([c.images for c in found], "{:,.0f}"),
            mean_cell([c.images_per_s for c in found], "{:,.0f}"),
            mean_cell([c.data_wait and 100 * c.data_wait for c in found], "{:.1f} %"),
            mean_cell([c.peak_rss_mb for c in found], "{:,.0f}"),
        ]
        if has_cuda:
            line.append(mean_cell([c.peak_cuda_mb for c in found], "{:,.0f}"))
        if has_load:
            line.append(mean_cell([c.load for c in found], "{:.2f}"))
        lines.append(line)
    unknown = "" if has_load else " How busy the machine was besides is not known."
    return Table("cost", f"What a run took, mean over seeds.{unknown}", columns, lines)


def target_table(section: Section, labels: Sequence[str]) -> Table | None:
    """Images and time until validation macro-F1 reached each target that any run reached."""
    reached: dict[float, dict[str, list[records.ToTarget]]] = {}
    for run in section.finished():
        for entry in run.cost.to_target if run.cost else ():
            reached.setdefault(entry.macro_f1, {}).setdefault(run.label, []).append(entry)
    reached = {
        t: by_label
        for t, by_label in reached.items()
        if any(e.images is not None for entries in by_label.values() for e in entries)
    }
    if not reached:
        return None
    columns = [Column("algorithm", numeric=False)]
    columns += [
        Column(
            f"{100 * target:g} %",
            f"source images until the EMA weights first reached {100 * target:g} % validation macro-F1, below: the time; means "
            "over the seeds that reached it, with their number where it is not all",
        )
        for target in sorted(reached)
    ]
    lines = [
        [Cell(label, sort=label), *(_target_cell(reached[t].get(label, [])) for t in sorted(reached))]
        for label in labels
        if section.finished(label)
    ]
    caption = "What it took to reach a validation macro-F1. Validations are some way apart, and so is what they can tell."
    return Table("targets", caption, columns, lines)


def difference_table(sections: Sequence[Section], most: int = 40) -> Table:
    """The protocol keys in which sections differ."""
    keys = differing_keys(sections)
    columns = [Column("key", numeric=False), *(Column(s.title, numeric=False) for s in sections)]
    lines = [
        [Cell(key, sort=key), *(Cell(_brief(v)) for v in values)] for key, values in list(keys.items())[:most]
    ]
    more = f" The first {most} of {len(keys)}." if len(keys) > most else ""
    caption = (
        f"Keys in which the protocols of the sections differ; their runs are never ranked together.{more}"
    )
    return Table("differences", caption, columns, lines)


def unfinished_table(gathered: Gathered) -> Table | None:
    """Runs that failed or go on, and files that are no records."""
    columns = [Column(title, numeric=False) for title in ("what", "state", "where", "why, or how far")]
    lines = []
    groups = [(s.title, s.runs) for s in gathered.sections] + [(place_of(r), (r,)) for r in gathered.unplaced]
    for where, runs in groups:
        for run in runs:
            if run.status != records.FINISHED:
                why = run.failure or _progress(run)
                mark = "worse" if run.status == records.FAILED else ""
                lines.append(
                    [
                        Cell(f"{run.label}, seed {run.seed}"),
                        Cell(run.status, mark=mark),
                        Cell(where),
                        Cell(why),
                    ]
                )
    for section in gathered.sections:
        for run in section.repeated:
            why = "there is more than one; the finished one counts, and of two finished ones the later"
            lines.append(
                [Cell(f"{run.label}, seed {run.seed}"), Cell("repeated"), Cell(section.title), Cell(why)]
            )
    for path, reason in gathered.skipped:
        where = "/".join(path.parts[1:-1][-4:])  # enough to find it, and no path of the machine
        lines.append([Cell(path.name), Cell("skipped", mark="worse"), Cell(where), Cell(reason)])
    caption = "What is not, or not simply, in the tables of scores."
    return Table("unfinished", caption, columns, lines) if lines else None


def protocol_table(section: Section) -> Table:
    """Everything that the runs of a section have in common."""
    run = section.runs[0]
    lines = [[Cell(key, sort=key), Cell(value_text(value))] for key, value in flat(run.protocol).items()]
    caption = f"The protocol, sha256 {run.protocol_hash}."
    return Table("protocol", caption, [Column("key", numeric=False), Column("value", numeric=False)], lines)


def data_table(section: Section) -> Table:
    """Images of each part and class, of the first seed."""
    run = next((r for r in section.runs if r.data), section.runs[0])
    columns = [
        Column("part", "", False),
        Column("data", "", False),
        Column("images"),
        *map(Column, run.classes),
    ]
    lines = [
        [
            Cell(part), Cell(own.name), Cell(f"{own.images:,}"),
            *(Cell(f"{own.class_counts[c]:,}" if c in own.class_counts else NONE) for c in run.classes),
        ]
        for part, own in run.data.items()
    ]  # fmt: skip
    caption = (
        f"Images as drawn for seed {run.seed}; of unlabeled ones the hidden labels, which no algorithm sees."
    )
    return Table("data", caption, columns, lines)


def algorithm_table(section: Section) -> Table:
    """Type and parameters of each algorithm."""
    firsts = [section.of(label)[0] for label in section.labels]
    columns = [Column(title, numeric=False) for title in ("algorithm", "config")]
    lines = [[Cell(r.label, sort=r.label), Cell(value_text(r.algorithm))] for r in firsts]
    return Table(
        "algorithms", "What was compared: all that differs between the runs of a seed.", columns, lines
    )


def run_table(section: Section) -> Table:
    """Every run: split, code, where it ran, command."""
    titles = ("run", "state", "split (sha256)", "code", "ran on", "command")
    lines = [
        [
            Cell(f"{r.label}, seed {r.seed}", sort=r.label), Cell(r.status), Cell(str(r.split_hash or NONE)[:12]),
            Cell(code_of(r)), Cell(hardware_of(r)), Cell(r.command or NONE),
        ]
        for r in section.runs
    ]  # fmt: skip
    columns = [Column(title, numeric=False) for title in titles]
    return Table("runs", "Every run. Runs of one seed have the same split.", columns, lines)


def library_table(section: Section) -> Table:
    """Versions of the libraries, and how many runs had them."""
    seen = Counter((name, version) for r in section.runs for name, version in r.libraries.items())
    lines = [[Cell(name), Cell(version), Cell(str(count))] for (name, version), count in sorted(seen.items())]
    columns = [Column("library", numeric=False), Column("version", numeric=False), Column("runs")]
    return Table("libraries", "Libraries that the runs were made with.", columns, lines)


def _brief(value: Any) -> str:
    """A value of a protocol; parts by their type and size."""
    if isinstance(value, list) and value:
        return ", ".join(map(_brief, value))
    if isinstance(value, dict) and "type" in value:
        return f"{value['type']}, {value['images']:,} images" if "images" in value else str(value["type"])
    return value_text(value)


def code_of(run: Record) -> str:
    """Version and commit of the code: ``0.1.0 (c0ffee12, changed)``."""
    code = run.code
    commit = f" ({code.commit[:8]}{', changed' if code.dirty else ''})" if code.commit else ""
    return f"{code.version}{commit}"


def hardware_of(run: Record) -> str:
    """Processes and device: ``2 times GPU name`` or ``CPU name, 4 cores``."""
    own = run.hardware
    if own is None:
        return NONE
    device = own.gpu or f"{own.cpu}, {own.cores} cores"
    return f"{own.processes} {TIMES} {device}" if own.processes > 1 else device


def _target_cell(entries: Sequence[records.ToTarget]) -> Cell:
    images = [e.images for e in entries if e.images is not None]
    hours = [e.seconds / 3600 for e in entries if e.seconds is not None]
    if not images or not hours:
        return Cell("never" if entries else NONE)
    part = f" ({len(images)} of {len(entries)})" if len(images) < len(entries) else ""
    unit, per_hour = time_unit(hours)
    time = f"{per_hour * np.mean(hours):.2f} {unit}"
    return Cell(f"{np.mean(images):,.0f}{part}", time, float(np.mean(images)))


def _progress(run: Record) -> str:
    curves = run.curves
    done = max([0, *(c.iter[-1] for c in (curves.val, curves.classes) if c is not None and c.iter)])
    total = (run.config.get("train_cfg") or {}).get("max_iters")
    of = f" of {total:,}" if isinstance(total, int) else ""
    return (
        f"iteration {done:,}{of} at {moment(run.written)}; it goes on, or was interrupted and can be resumed"
    )
