"""Puts a report together and writes it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ferbench import records
from ferbench.benchmark.report import facts, notes, pictures, scores
from ferbench.benchmark.report.gather import METRICS, Gathered, Row, Section, gather, words_of
from ferbench.benchmark.report.pages import HTML, LATEX, MARKDOWN, Block, Pages, Report, SectionPage, slug
from ferbench.benchmark.report.pseudo_labels import pseudo_label_table
from ferbench.benchmark.report.summary import summary_table
from ferbench.benchmark.report.table import Table, for_paper, moment
from ferbench.core import process
from ferbench.core.files import atomic_write
from ferbench.errors import UserError, nearest
from ferbench.version import __version__

_Built = tuple[SectionPage, Table | None]
_PARTS = {"labeled": "labeled", "unlabeled": "unlabeled", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class Options:
    """What a report is made by.

    Attributes:
        reference: label of the algorithm that the others are compared with; None: FixMatch, or else Supervised.
        metric: ``macro_f1``, ``accuracy``, ``balanced_accuracy``, or the name of another metric of the records.
        row: whose scores are compared: ``best_ema``, ``last_raw``, ... (see `ferbench.benchmark.report.gather.Row.parse`).
        latex: whether to write the tables for a paper, too.

    Raises:
        UserError: there is no such row.
    """

    reference: str | None = None
    metric: str = "macro_f1"
    row: str = "best_ema"
    latex: bool = False

    def __post_init__(self) -> None:
        Row.parse(self.row)


def write_report(places: Sequence[str | Path], out: str | Path, options: Options = Options()) -> list[Path]:
    """Read records and write ``report.md`` with ``pictures/``, ``report.html`` and, if wanted, ``table.tex``.

    Args:
        places: record files, and folders with some.
        out: folder, made if it is missing.
        options: see there.

    Returns:
        The pages.

    Raises:
        UserError: there are no records, the reference or the metric is not among them, or the folder cannot be written.
    """
    gathered = gather(places)
    if not gathered.records and not gathered.skipped:
        raise UserError(
            "there are no records",
            where=", ".join(map(str, places)),
            expected=f"{records.NAME} files of runs",
        )
    if options.reference is not None and options.reference not in gathered.labels:
        raise UserError(
            f"no run has the label {options.reference!r}",
            where="--reference",
            fix=nearest(options.reference, gathered.labels),
        )
    known = (*METRICS, *gathered.metrics)
    if options.metric not in known:
        raise UserError(
            f"there is no metric {options.metric!r}", where="--metric", fix=nearest(options.metric, known)
        )
    with _written_to(Path(out)):  # before minutes of drawing, for nothing
        Path(out).mkdir(parents=True, exist_ok=True)
    return _write(Pages(), build(gathered, options), Path(out), options)


def watch(
    places: Sequence[str | Path],
    out: str | Path,
    options: Options,
    seconds: float,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[str]:
    """Write a report whose page loads itself again, and write it anew whenever a record has changed.

    A run writes its record at each validation. Sections that did not change are neither compared nor drawn again. Records
    may still be to come, and a reference, too.

    Args:
        places, out, options: see `write_report`.
        seconds: between two looks.
        wait: sleeps.

    Yields:
        After each report, a line about it; never ends.

    Raises:
        UserError: a place does not exist, the folder cannot be written, or ``seconds`` is not above 0.
    """
    if not seconds > 0:
        raise UserError(f"--watch is {seconds:g}", expected="seconds, above 0")
    pages, known, seen = Pages(), Known(), None
    while True:
        gathered = gather(places)
        if gathered != seen:
            report = replace(build(gathered, options, known), reload=seconds)
            page = next(p for p in _write(pages, report, Path(out), options) if p.name == HTML)
            seen = gathered
            yield f"{page}: {report.state}"
        wait(seconds)


class Known:
    """Sections as they were built for the last report."""

    def __init__(self) -> None:
        self._built: dict[str, tuple[Any, Any]] = {}

    def get(self, title: str, made_of: Any, build: Callable[[], _Built]) -> _Built:
        """The section of this title, built anew if it was not, or was made of something else."""
        if title not in self._built or self._built[title][0] != made_of:
            self._built[title] = made_of, build()
        return self._built[title][1]


def build(gathered: Gathered, options: Options = Options(), known: Known | None = None) -> Report:
    """Everything that a report shows, compared but not yet drawn.

    Args:
        gathered: the records.
        options: see there.
        known: remembers sections from report to report.
    """
    known = Known() if known is None else known
    row, labels = Row.parse(options.row), gathered.labels
    overview, overview_notes = _overview(gathered, row, options.metric)
    found = [
        known.get(
            s.title,
            (s.runs.to_dict("list"), s.trials, labels, options),
            partial(_section_page, s, row, options, labels),
        )
        for s in gathered.sections
    ]
    cells = [cell for cell in gathered.runs.cell if cell is not None]
    grids = dict.fromkeys(cell.grid for cell in cells)
    short = f"Test {words_of(options.metric)}, {row.title}: mean ± sd over seeds."
    summaries = [for_paper(t, t.name, short) for t in overview if t.name == "summary"]
    return Report(
        title=f"Benchmark {', '.join(grids)}" if grids else "Benchmark",
        state=_state(gathered),
        made=moment(max(gathered.runs.written, default="none")),
        version=__version__,
        overview=overview,
        overview_notes=overview_notes,
        sections=_with_own_anchors([page for page, _ in found]),
        commands=list(filter(None, dict.fromkeys([*(cell.command for cell in cells), process.command()]))),
        paper=[*summaries, *(table for _, table in found if table is not None)],
    )


def _overview(gathered: Gathered, row: Row, metric: str) -> tuple[list[Table], list[str]]:
    table, words = summary_table(gathered.sections, row, metric) or (None, [])
    differences = facts.difference_table(gathered.sections) if len(gathered.sections) > 1 else None
    unfinished = facts.unfinished_table(gathered)
    return [t for t in (table, differences, unfinished) if t is not None], words


def _section_page(section: Section, row: Row, options: Options, labels: Sequence[str]) -> _Built:
    doubt = notes.unpaired(section)
    reference = None if doubt else section.reference(options.reference)
    found = scores.comparisons(section, row, options.metric, reference)
    order = [*found.summaries, *(label for label in section.labels if label not in found.summaries)]
    blocks, paper = [], None
    if found.summaries:
        main = scores.main_table(section, found)
        paper = for_paper(main, slug(section.title), _paper_caption(section, main, found))
        per_class = scores.per_class_table(section, row, order)
        tables = [
            main,
            scores.by_seed_table(section, found, paired=not doubt),
            scores.metrics_table(section, row, order),
        ]
        blocks += [
            Block("Scores", [t for t in tables if t is not None]),
            Block("Each class", [per_class], pictures.confusion_pictures(section, row)),
        ]
    elif len(section.finished):
        doubt = notes.Note(f"No finished run has {words_of(options.metric)} of the row {row.title}.", True)
    used = [pseudo_label_table(section, order)]
    costs = [facts.cost_table(section, order), facts.target_table(section, order)]
    blocks += [
        Block("Progress", pictures=pictures.validation_pictures(section, row, labels, reference)),
        Block(
            "Pseudo-labels", [table for table in used if table is not None], pictures.class_pictures(section)
        ),
        Block("Cost", [table for table in costs if table is not None]),
    ]
    said = [
        *([doubt] if doubt else notes.fairness_notes(section, found, options.reference)),
        *notes.reading_notes(found),
    ]
    page = SectionPage(
        anchor=slug(section.title),
        title=section.title,
        facts=_facts(section),
        lead=notes.verdict_note(found),
        notes=said,
        blocks=[block for block in blocks if block.tables or block.pictures],
        folded=facts.folded_tables(section),
    )
    return page, paper


def _paper_caption(section: Section, main: Table, found: scores.Comparisons) -> str:
    text = f"{section.title}: {main.caption}"
    if found.reference is None:
        return text
    how = "difference by ★, with its 95 % interval (Student's t); p: paired t-test over seeds, Holm's correction"
    return f"{text} Mean ± sd over seeds; {how}."


def _facts(section: Section) -> str:
    parts: dict[str, records.DataPart] = next(filter(None, section.runs.data), {})
    images = [f"{parts[p].images:,} {word}" for p, word in _PARTS.items() if p in parts]
    schema = section.first.schema
    older = f" (records of the older schema {schema})" if schema != records.SCHEMA else ""
    return (
        f"{len(section.classes)} classes; {', '.join(images)} images; protocol "
        f"{str(section.first.protocol_hash)[:12]}{older}; {len(section.finished)} of {len(section.runs)} runs finished."
    )


def _state(gathered: Gathered) -> str:
    runs = gathered.runs
    counts = Counter(runs.status)
    listed = ", ".join(f"{counts[s]} {s}" for s in records.STATUSES if counts[s])
    text = f"{_count(len(runs), 'run')} of {_count(len(gathered.labels), 'algorithm')} under "
    text += _count(len(gathered.sections), "protocol")
    text += f": {listed}." if listed else "."
    trials = sum(sum(s.trials.values()) for s in gathered.sections)
    if trials:
        text += f" {_count(trials, 'tuning trial')}, no results."
    if gathered.skipped:
        text += f" {_count(len(gathered.skipped), 'file')} skipped: no usable record."
    return text


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _with_own_anchors(pages: Sequence[SectionPage]) -> list[SectionPage]:
    taken: set[str] = set()
    named = []
    for page in pages:
        others = (f"{page.anchor}-{i}" for i in range(2, len(pages) + 2))
        anchor = page.anchor if page.anchor not in taken else next(o for o in others if o not in taken)
        taken.add(anchor)
        named.append(replace(page, anchor=anchor))
    return named


@contextmanager
def _written_to(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"the report cannot be written: {error.strerror}", where=out) from error


def _write(pages: Pages, report: Report, out: Path, options: Options) -> list[Path]:
    files = pages.render(report, options.latex)
    with _written_to(out):
        for name, text in files.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(out / name) as stream:
                stream.write(text.encode())
    return [out / name for name in (MARKDOWN, HTML, LATEX) if name in files]
