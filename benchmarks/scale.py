"""Whether a step, a start and an epoch stay affordable when there are millions of unlabeled images.

    OMP_NUM_THREADS=1 python benchmarks/scale.py [--images 5800000] [--rounds 200] [--quick]

Rules: CPU time of one update with a batch of 448, for unlabeled sets of 50 k (a small benchmark), 585 k
(Aff-Wild2's training frames), 5.8 M (MS1M-size face recognition) and 10 M. "list + Counter" is what the
usual code does for FlexMatch at every step: the whole table to the host, counted in Python.

Opening: a RecordIO set (a written index, and a sparse file in which only the records that are probed
exist), a tree of image folders, and the order in which an epoch visits the images. Each opening runs in a
process of its own. MB is what opening adds to the memory (RSS) of a process that has imported the module;
"private" leaves out pages of mapped files, which all processes share and the kernel may take back; "peak" is
the most that was held meanwhile.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and PyTorch start their threads

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from _common import machine
from rich.console import Console
from rich.table import Column, Table

from ferbench.data.datasets.folder import ImageFolder, scan_tree
from ferbench.data.datasets.recordio import RecordIO
from ferbench.data.paths import PathArray
from ferbench.data.recordio_file import MAGIC
from ferbench.data.samplers import EndlessSampler
from ferbench.testing import make_evidence
from ferbench.thresholds import (
    DynamicThreshold,
    FixedThreshold,
    FlexThreshold,
    RunContext,
    ThresholdRule,
)

SIZES = (50_000, 585_000, 5_800_000, 10_000_000)
BATCH, CLASSES = 448, 8
RECORD = 4_096  # bytes from one record to the next, the usual size of a 112-pixel JPEG
PER_FOLDER = 68  # images per identity in MS1M (5.8 M of 85,742)
TARGET_MS, TARGET_SECONDS, TARGET_MB = 1.0, 5.0, 300.0


def rule_table(rounds: int, sizes: tuple[int, ...]) -> tuple[Table, float]:
    """Update cost by rule and set size; also the largest of ours."""
    rules: dict[str, Callable[[], ThresholdRule]] = {
        "FixedThreshold": FixedThreshold,
        "DynamicThreshold (epoch)": DynamicThreshold,
        "DynamicThreshold (iteration)": partial(DynamicThreshold, scope="iteration"),
        "FlexThreshold": FlexThreshold,
    }
    table = Table(Column("ms per update, batch 448", no_wrap=True), *(f"{size:,}" for size in sizes))
    worst = 0.0
    for name, make in rules.items():
        costs = [update_cost(make(), size, rounds) for size in sizes]
        worst = max(worst, *costs)
        table.add_row(name, *(f"{cost:.3f}" for cost in costs))
    table.add_row("list + Counter", *(f"{counter_cost(size):.1f}" for size in sizes))
    return table, worst


def update_cost(rule: ThresholdRule, size: int, rounds: int) -> float:
    """Median milliseconds of one update."""
    rule.bind(RunContext(CLASSES, 4_000, size, 20_000, (500,) * CLASSES))
    generator = torch.Generator().manual_seed(0)
    times = []
    for step in range(rounds + 10):
        logits = 4 * torch.randn(BATCH, CLASSES, generator=generator)
        labeled = torch.randn(64, CLASSES, generator=generator).softmax(1)
        labels = torch.randint(0, CLASSES, (64,), generator=generator)
        index = torch.randint(0, size, (BATCH,), generator=generator)
        evidence = make_evidence(logits.softmax(1), index, labeled, labels, step)
        start = time.process_time()
        rule(evidence)
        times.append(time.process_time() - start)
    return 1e3 * statistics.median(times[10:])


def counter_cost(size: int) -> float:
    """Milliseconds to count a table the usual way."""
    table = torch.randint(-1, CLASSES, (size,))
    times = []
    for _ in range(2):
        start = time.process_time()
        Counter(table.tolist())
        times.append(time.process_time() - start)
    return 1e3 * min(times)


class Opened(NamedTuple):
    """What an opening cost: seconds, wall and CPU; MB added to the process, the private ones of them, and their peak."""

    wall: float
    cpu: float
    added: float
    private: float
    peak: float


def measured(work: Callable[[], object]) -> Opened:
    """Run `work` in a fresh process."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_measure, args=(there, work))
    process.start()
    there.close()  # so that the end of the process is the end of the pipe
    try:
        return here.recv()
    except EOFError:
        raise SystemExit("the process that was to be measured has failed, see above") from None
    finally:
        process.join()


def _measure(connection: Connection, work: Callable[[], object]) -> None:
    before = memory()
    wall, cpu = time.perf_counter(), time.process_time()
    kept = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    after = memory()
    connection.send(
        Opened(
            wall,
            cpu,
            after["VmRSS"] - before["VmRSS"],
            after["RssAnon"] - before["RssAnon"],
            after["VmHWM"] - before["VmRSS"],
        )
    )
    del kept


def memory() -> dict[str, float]:
    """Fields of ``/proc/self/status`` in MB."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {cells[0].rstrip(":"): int(cells[1]) / 1e3 for cells in lines if cells[-1:] == ["kB"]}


def write_records(folder: Path, count: int) -> Path:
    """An InsightFace set of `count` images: the whole index, and records only where `RecordIO` looks."""
    rec = folder / "train.rec"
    keys = np.arange(count + 1)
    with open(folder / "train.idx", "w", encoding="ascii") as file:
        for part in np.array_split(keys, 1 + count // 1_000_000):
            file.writelines(f"{key}\t{key * RECORD}\n" for key in part.tolist())
    with open(rec, "wb") as file:
        for key in np.unique([0, *np.linspace(1, count, 16).astype(np.int64), count]).tolist():
            labels = np.array([count + 1, count + 1] if key == 0 else [], "<f4").tobytes()
            header = np.array([len(labels) // 4, 0], "<u4").tobytes() + np.array([key, 0], "<u8").tobytes()
            payload = header + labels  # of the header record: no image
            if key:
                payload = (payload + b"image").ljust(RECORD - 8, b"\0")
            file.seek(key * RECORD)
            file.write(MAGIC + len(payload).to_bytes(4, "little") + payload)
    return rec


def open_records(rec: Path) -> RecordIO:
    return RecordIO(rec, cache=rec.parent / "index")


def write_tree(root: Path, count: int) -> None:
    """The folders of a face-recognition set, and an index that names `count` images which are not there."""
    for number in range(-(-count // PER_FOLDER)):
        (root / f"{number:07d}").mkdir(parents=True)
    tree = scan_tree(root)
    counts = np.full(len(tree.folders), PER_FOLDER)
    counts[0], counts[-1] = 0, count - PER_FOLDER * (len(counts) - 2)  # the root itself comes first
    starts = np.concatenate([[0], np.cumsum(counts)])
    tree = tree._replace(starts=starts, names=PathArray.from_strings(f"{i:08d}.jpg" for i in range(count)))
    with patch("ferbench.data.datasets.folder.scan_tree", return_value=tree):
        open_tree(root)


def write_files(root: Path, count: int) -> None:
    """`count` empty files in folders."""
    for number in range(count):
        folder = root / f"{number // PER_FOLDER:07d}"
        if number % PER_FOLDER == 0:
            folder.mkdir(parents=True)
        (folder / f"{number:08d}.jpg").touch()


def open_tree(root: Path) -> ImageFolder:
    return ImageFolder(root, cache=root.parent / f"{root.name}-index")


def new_order(size: int) -> EndlessSampler:
    """A sampler that has made the order of one epoch."""
    sampler = EndlessSampler(size, BATCH, 0, "unlabeled")
    sampler.keys(0)
    return sampler


def opening_table(folder: Path, images: int, scanned: int) -> tuple[Table, list[Opened]]:
    """Openings; also those that have a target."""
    records, tree, files = folder / "records", folder / "tree", folder / "files"
    records.mkdir()
    rec = write_records(records, images)
    write_tree(tree, images)
    write_files(files, scanned)
    folders = f"{-(-images // PER_FOLDER):,}"
    rows = {
        f"RecordIO, {images:,}: first opening": measured(partial(open_records, rec)),
        f"RecordIO, {images:,}: from the kept index": measured(partial(open_records, rec)),
        f"folders, {images:,} in {folders}: from the kept index": measured(partial(open_tree, tree)),
        f"folders, {scanned:,}: first opening (scan)": measured(partial(open_tree, files)),
        f"order of an epoch of {images:,}": measured(partial(new_order, images)),
    }
    table = Table(Column("opening", no_wrap=True), "wall s", "CPU s", "MB", "private", "peak")
    for name, cost in rows.items():
        table.add_row(name, f"{cost.wall:.2f}", f"{cost.cpu:.2f}", *(f"{value:.0f}" for value in cost[2:]))
    return table, [cost for name, cost in rows.items() if "RecordIO" in name]


def sampler_line(size: int) -> str:
    """What a step's share of the order costs once the epoch's order exists."""
    sampler = new_order(size)
    start = time.perf_counter()
    for step in range(1_000):
        sampler.keys(step)
    return f"indices of a step of {BATCH} from {size:,}: {1e3 * (time.perf_counter() - start):.0f} us"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=5_800_000, help="size of the sets that are opened")
    parser.add_argument("--scanned", type=int, default=100_000, help="files of the folder that is scanned")
    parser.add_argument("--rounds", type=int, default=200, help="updates of a rule")
    parser.add_argument("--quick", action="store_true", help="sets of at most 585,000")
    arguments = parser.parse_args()
    images = min(arguments.images, SIZES[1]) if arguments.quick else arguments.images
    sizes = SIZES[:2] if arguments.quick else SIZES

    torch.set_num_threads(1)
    console = Console()
    console.print(machine())
    table, worst = rule_table(arguments.rounds, sizes)
    console.print(table)
    console.print(f"target: below {TARGET_MS:g} ms and flat; the slowest here {worst:.3f} ms")
    with tempfile.TemporaryDirectory() as folder:
        table, opened = opening_table(Path(folder), images, arguments.scanned)
    console.print(table)
    console.print(
        f"target: below {TARGET_SECONDS:g} s and {TARGET_MB:g} MB per process; here at most "
        f"{max(o.wall for o in opened):.1f} s and {max(o.added for o in opened):.0f} MB "
        f"(peak {max(o.peak for o in opened):.0f} MB)"
    )
    console.print(sampler_line(images))


if __name__ == "__main__":
    main()
