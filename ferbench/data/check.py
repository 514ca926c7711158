"""The dataset checker: reads every image that a config would use; says what is there, missing or wrong."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ferbench.core.listing import PIPED_WIDTH
from ferbench.core.text import plain, printable, visible
from ferbench.data.datasets.base import UNLABELED, Concat, FaceDataset, Subset
from ferbench.data.datasets.opening import problems, read_image
from ferbench.data.io import UnreadableImage
from ferbench.errors import UserError

CHUNK = 256  # images a thread reads before it reports
EVALUATION = ("val", "test")


@dataclass
class PartReport:
    """What was found in one dataset of the config.

    Attributes:
        part: its role: labeled, unlabeled, val, test.
        name: the dataset's name.
        images: how many it lists.
        read: how many of them were read.
        class_counts: class name -> images; empty without classes.
        unlabeled: images without a label.
        groups: number of groups (videos), or None.
        unreadable: one line per image that cannot be read: where, and why.
        smallest: least height and least width of the images read; None if none was.
        largest: greatest height and width.
        problems: what is wrong besides unreadable images.
        digests: uint64, sorted, of the pixels of the images read.
    """

    part: str
    name: str = ""
    images: int = 0
    read: int = 0
    class_counts: dict[str, int] = field(default_factory=dict)
    unlabeled: int = 0
    groups: int | None = None
    unreadable: list[str] = field(default_factory=list)
    smallest: tuple[int, int] | None = None
    largest: tuple[int, int] | None = None
    problems: list[str] = field(default_factory=list)
    digests: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64), repr=False)


@dataclass
class CheckReport:
    """All parts of a config.

    Attributes:
        parts: one report per dataset.
        sources: name of each dataset that lies under the parts -> its own counts of what it found and left
            out.
    """

    parts: list[PartReport] = field(default_factory=list)
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def defects(self) -> list[str]:
        """What must be mended before a training: unreadable images, wrong labels, missing data."""
        found = []
        for part in self.parts:
            found += [f"{part.part}: {problem}" for problem in part.problems]
            if part.unreadable:
                found.append(f"{part.part}: {len(part.unreadable)} of {part.read} images cannot be read")
        return found

    @property
    def warnings(self) -> list[str]:
        """What a user should know: classes without images, test pictures in training, crops left out."""
        found = []
        for part in self.parts:
            empty = [name for name, count in part.class_counts.items() if not count]
            if empty and part.images > part.unlabeled:
                found.append(f"{part.part}: no image of class {', '.join(map(printable, empty))}")
        for one, two in combinations(self.parts, 2):
            shared = len(np.intersect1d(one.digests, two.digests))
            if shared and (one.part in EVALUATION or two.part in EVALUATION):
                found.append(f"{shared} pictures of {two.part} are, pixel for pixel, also in {one.part}")
        for name, counts in self.sources.items():
            for key in ("missing_crops", "skipped_videos", "crops_of_frame_0"):
                value = counts.get(key)
                if value:
                    number = value if isinstance(value, int) else len(value)
                    found.append(f"{name}: {number} {key.replace('_', ' ')}")
            if counts.get("in_several_places"):
                found.append(f"{name}: {counts['in_several_places']} videos have crops in several folders")
            if endings := counts.get("other_endings"):
                found.append(
                    f"{name}: {sum(endings.values())} files are left out for their ending: {_short(endings)}"
                )
        return found

    @property
    def ok(self) -> bool:
        """Whether there is no defect."""
        return not self.defects

    @property
    def exit_code(self) -> int:
        """0 without a defect, else 1."""
        return 0 if self.ok else 1


def run_check(
    datasets: Mapping[str, FaceDataset | Callable[[], FaceDataset]],
    limit: int | None = None,
    sample: int = 1,
    workers: int | None = None,
) -> CheckReport:
    """Read the images of every dataset; show progress on a terminal.

    Args:
        datasets: role (``labeled``, ``unlabeled``, ``val``, ``test``) -> dataset, or a function that builds
            it, whose `UserError` becomes a defect of that part.
        limit: at most so many images of each dataset, evenly spread; None: no limit.
        sample: read every ``sample``-th image.
        workers: threads; None for one per core, at most 8.
    """
    report = CheckReport()
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
        ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool,
    ):
        for part, given in datasets.items():
            try:
                dataset = given if isinstance(given, FaceDataset) else given()
            except UserError as error:
                report.parts.append(PartReport(part, problems=[_once(str(error), report.parts)]))
                continue
            for leaf in _leaves(dataset):
                summary = getattr(leaf, "summary", None)
                if summary is not None:
                    report.sources[leaf.name] = summary()
            found = _describe(part, dataset)
            report.parts.append(found)
            chosen = _chosen(len(dataset), limit, sample)
            task = progress.add_task(f"{part}: {dataset.name}", total=len(chosen))
            chunks = [chosen[i : i + CHUNK] for i in range(0, len(chosen), CHUNK)]
            digests = []
            for chunk in pool.map(lambda indices, source=dataset: _read_chunk(source, indices), chunks):
                _merge(found, chunk)
                digests.append(chunk.digests)
                progress.advance(task, chunk.images)
            found.digests = np.unique(np.concatenate(digests)) if digests else found.digests
    return report


def _once(problem: str, before: Sequence[PartReport]) -> str:
    """The problem, or in which part it was met before: several parts may be cut from one dataset."""
    met = next((part.part for part in before if problem in part.problems), None)
    return problem if met is None else f"the same as of {met}"


class _Chunk(NamedTuple):
    images: int
    sizes: np.ndarray  # int64 [read, 2]
    digests: np.ndarray
    unreadable: list[str]


def _leaves(dataset: FaceDataset) -> Iterator[FaceDataset]:
    if isinstance(dataset, Subset):
        yield from _leaves(dataset.parent)
    elif isinstance(dataset, Concat):
        for part in dataset.parts:
            yield from _leaves(part)
    else:
        yield dataset


def _describe(part: str, dataset: FaceDataset) -> PartReport:
    labels, classes = dataset.labels, dataset.classes
    report = PartReport(part, dataset.name, len(dataset), unlabeled=int((labels == UNLABELED).sum()))
    if dataset.groups is not None and not dataset.groups_are_copies:
        report.groups = len(np.unique(dataset.groups))
    if not len(dataset):
        report.problems.append("there are no images")
        return report
    report.problems = problems(dataset)
    if not any("labels" in problem for problem in report.problems):
        report.class_counts = dict(zip(classes, dataset.class_counts().tolist(), strict=True))
    return report


def _chosen(count: int, limit: int | None, sample: int) -> np.ndarray:
    """int64: the items to read."""
    if sample < 1 or (limit is not None and limit < 1):
        raise UserError(f"sample={sample}, limit={limit}", expected="1 or more")
    chosen = np.arange(0, count, sample)
    if limit is not None and len(chosen) > limit:
        chosen = chosen[np.linspace(0, len(chosen) - 1, limit).round().astype(np.int64)]
    return chosen


def _read_chunk(dataset: FaceDataset, indices: np.ndarray) -> _Chunk:
    sizes, digests, unreadable = [], [], []
    for i in indices.tolist():
        try:
            image = read_image(dataset, i)
        except (UnreadableImage, UserError) as error:
            unreadable.append(str(error))
            continue
        sizes.append(image.shape[:2])
        digest = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=8, key=b"%d" % image.shape[0])
        digests.append(int.from_bytes(digest.digest(), "little"))
    return _Chunk(
        len(indices), np.array(sizes, np.int64).reshape(-1, 2), np.array(digests, np.uint64), unreadable
    )


def _merge(report: PartReport, chunk: _Chunk) -> None:
    report.read += chunk.images
    report.unreadable += chunk.unreadable
    if len(chunk.sizes):
        low, high = chunk.sizes.min(axis=0), chunk.sizes.max(axis=0)
        if report.smallest is not None and report.largest is not None:
            low, high = np.minimum(low, report.smallest), np.maximum(high, report.largest)
        report.smallest, report.largest = (int(low[0]), int(low[1])), (int(high[0]), int(high[1]))


def print_report(report: CheckReport, console: Console | None = None) -> None:
    """Print what was found, then warnings, then defects."""
    console = console or Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)

    def say(text: str, style: str | None = None) -> None:
        shown = "\n".join(map(visible, text.split("\n")))
        console.print(shown, style=style, markup=False, highlight=False, soft_wrap=True)

    console.print(_parts_table(report))
    if any(part.class_counts for part in report.parts):
        console.print(_classes_table(report))
    for part in report.parts:
        say(f"{part.part}: {printable(part.name) or 'not built'}")
    for name, counts in report.sources.items():
        say(
            f"{printable(name)}: "
            + ", ".join(f"{k} {_short(v)}" for k, v in counts.items() if k != "per_class")
        )
    for part in report.parts:
        for line in part.unreadable:
            say(f"unreadable ({part.part}): {line}")
    for warning in report.warnings:
        say(f"note: {warning}", "yellow")
    for defect in report.defects:
        say(f"DEFECT: {defect}", "bold red")
    if any(part.unreadable for part in report.parts):
        say(
            "A training leaves unreadable images out, up to the share train_cfg.max_unreadable of those it meets; "
            "validation and test, up to val_dataloader.max_unreadable and test_dataloader.max_unreadable."
        )
    if report.ok:
        skipped = sum(part.images - part.read for part in report.parts)
        say("no defect found" + (f" ({skipped} images were not read)" if skipped else ""), "bold green")


def _parts_table(report: CheckReport) -> Table:
    table = Table(title="Data", title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("part", no_wrap=True)
    for heading in ("images", "no label", "videos", "read", "unreadable", "height x width"):
        table.add_column(heading, justify="right", no_wrap=True)
    for part in report.parts:
        ends = [size for size in (part.smallest, part.largest) if size is not None]
        sizes = dict.fromkeys(f"{height} x {width}" for height, width in ends)
        groups = "-" if part.groups is None else part.groups
        row = (part.images, part.unlabeled, groups, part.read, len(part.unreadable))
        table.add_row(part.part, *map(str, row), " to ".join(sizes) or "-")
    return table


def _classes_table(report: CheckReport) -> Table:
    table = Table("class", title="Images per class", title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    shown = [part for part in report.parts if part.class_counts]
    for part in shown:
        hidden = " (hidden)" if part.part == "unlabeled" else ""  # from training; the checker may count them
        table.add_column(part.part + hidden, justify="right")
    for name in dict.fromkeys(name for part in shown for name in part.class_counts):
        table.add_row(plain(name), *(str(part.class_counts.get(name, "-")) for part in shown))
    return table


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {v}" for k, v in value.items()) or "none"
    if isinstance(value, list | tuple):
        return f"{len(value)}" + (
            f" ({', '.join(map(str, value[:5]))}{', ...' * (len(value) > 5)})" if value else ""
        )
    return str(value)


__all__ = ["CheckReport", "PartReport", "print_report", "run_check"]
