"""What a grid shows: its plan, how far it is while it runs, and how it ended."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from ferbench import records
from ferbench.benchmark import store
from ferbench.benchmark.check import Checked
from ferbench.benchmark.execute import FAILED, FINISHED, Outcome, Task
from ferbench.benchmark.grid import Grid
from ferbench.benchmark.store import State
from ferbench.benchmark.tuning import size_of
from ferbench.core.text import plain, visible
from ferbench.engine import lock
from ferbench.errors import UserError
from ferbench.viz.logline import entry_of

TAIL = 20_000  # bytes of a log that hold its last entries
Pair = tuple[Checked, State]


def plan_table(pairs: Sequence[Pair], known: Sequence[Pair]) -> Table:
    """How many runs of each data set and budget there are, how far they have come, and what the others cost.

    Args:
        pairs: the runs that are shown.
        known: all of the grid, whose finished ones tell the hours.
    """
    groups: dict[str, list[Pair]] = {}
    for own in pairs:
        groups.setdefault(" · ".join(filter(None, own[0].run.cell[:2])), []).append(own)
    if len(groups) > 1:
        groups["all"] = list(pairs)
    hours = hours_of(known)
    table = Table("", "runs", "of which", "left")
    for name, group in groups.items():
        counts = Counter(state.word for _, state in group)
        left = [checked for checked, state in group if is_left(state)]
        steps, images = sum(c.iterations for c in left), sum(c.images for c in left)
        cost = (
            f"{steps:,} steps, {images:,} images, {_hours([hours[c.run.id] for c in left])}" if left else "-"
        )
        words = ", ".join(f"{counts[word]} {word}" for word in store.WORDS if counts[word])
        table.add_row(plain(name), str(len(group)), words, cost)
    return table


def hours_of(pairs: Sequence[Pair]) -> dict[str, float | None]:
    """Training hours of each run by those that have finished: of the same algorithm and data set, else of the same data
    set; per image. None where there is nothing to go by."""
    speeds: dict[tuple[str, ...], list[float]] = {}
    for checked, state in pairs:
        if state.word == store.DONE and state.record is not None and state.record.cost is not None:
            cost = state.record.cost
            for key in ((checked.run.dataset, checked.run.label), (checked.run.dataset,)):
                speeds.setdefault(key, []).append(cost.train_seconds / cost.images)
    found: dict[str, float | None] = {}
    for checked, _ in pairs:
        run = checked.run
        known = speeds.get((run.dataset, run.label)) or speeds.get((run.dataset,))
        found[run.id] = checked.images * statistics.median(known) / 3600 if known else None
    return found


def is_left(state: State) -> bool:
    """Whether a run is still to be done, by somebody."""
    return state.word in (store.TODO, store.UNFINISHED, store.TAKEN, store.LOCKED)


def plan_notes(grid: Grid, pairs: Sequence[Pair], trials: int | None, how: str) -> list[str]:
    """What the table does not say, a line each."""
    splits = (
        "each seed is a new draw of the split, shared by all algorithms"
        if grid.split_seed is None
        else f"all seeds share one draw of the split (seed {grid.split_seed})"
    )
    lines = [f"seeds {', '.join(map(str, grid.seeds))}: {splits}", how]
    if trials is not None:
        lines.append(
            f"tuning: {trials} trials for each algorithm, at seed {grid.tuning_seed}, chosen on validation"
        )
        for label, entry in grid.algorithms.items():
            size = size_of(entry.search)
            if size == 1:
                lines.append(f"  {label}: nothing to tune, run as it is")
            elif size < trials:
                lines.append(f"  {label}: only {size} trials, which is its whole search space")
    for checked, state in pairs:
        if state.word == store.UNFINISHED and state.reason:
            lines.append(f"{checked.run}: {state.reason}; the run is looked at again")
        elif state.word == store.TAKEN:
            lines.append(f"{checked.run}: done by {state.reason}")
        elif state.word == store.LOCKED:
            lines.append(
                f"{checked.run}: locked by {state.reason}; whether that lives cannot be told from here"
            )
    return lines


def failures(named: Iterable[tuple[str, str | None]], retry: str) -> list[str]:
    """Failed runs with their reasons, a line each; nothing if there are none."""
    lines = [f"  {title}: {reason}" for title, reason in named]
    return [f"{len(lines)} failed:", *lines, retry] if lines else []


def say(console: Console, line: str, style: str | None = None) -> None:
    """Print a line as it is, however long."""
    shown = "\n".join(map(visible, line.split("\n")))
    console.print(shown, style=style, markup=False, highlight=False, soft_wrap=True)


class Board:
    """Live progress: one line per run under way, and one for all. On anything but a terminal, a line per run that ends.

    Args:
        console: where to.
        tasks: all that are to be done.
    """

    def __init__(self, console: Console, tasks: Sequence[Task]):
        self.console, self.tasks = console, list(tasks)
        self.ended: dict[Path, Outcome] = {}
        self.started = time.monotonic()
        self.before = {task.folder: self._iteration(task) for task in tasks}
        self.live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Board:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.live:
            self.live.stop()

    def add(self, tasks: Sequence[Task]) -> None:
        """More runs to be done."""
        self.tasks += tasks
        self.before |= {task.folder: self._iteration(task) for task in tasks}

    def end(self, task: Task, outcome: Outcome) -> None:
        """A run has ended."""
        self.ended[task.folder] = outcome
        line = f"[{len(self.ended)}/{len(self.tasks)}] {outcome.word}: {task.title}"
        if outcome.word == FINISHED:
            line += _scores(task)
        elif outcome.reason:
            line += f": {outcome.reason}"
        left = self.seconds_left()
        line += f"; left {_clock(left)}" if left else ""
        say(self.console, line, "red" if outcome.word == FAILED else None)

    def show(self) -> None:
        """Draw anew what is under way."""
        if self.live:
            self.live.update(self._view(), refresh=True)

    def seconds_left(self) -> float | None:
        """By the speed since the start; None before there is one."""
        done = left = 0.0
        for task in self.tasks:
            first = self.before[task.folder]
            if task.folder in self.ended:
                finished = self.ended[task.folder].word == FINISHED
                done += task.images * (1 - first / task.iterations) if finished else 0
                continue
            now = self._iteration(task)
            done += task.images * max(0, now - first) / task.iterations
            left += task.images * (1 - now / task.iterations)
        return left * (time.monotonic() - self.started) / done if done else None

    def _view(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for task in self.tasks:
            if task.folder not in self.ended and (task.folder / lock.NAME).exists():
                last = last_entries(task.folder)
                now = self._iteration(task)
                val = last.get("val")
                score = f"val macro-F1 {100 * val['ema']['macro_f1']:.1f}" if val else ""
                table.add_row(
                    plain(task.title),
                    ProgressBar(task.iterations, now, width=24),
                    f"{now:,}/{task.iterations:,}",
                    score,
                )
        left = self.seconds_left()
        total = f"{len(self.ended)} of {len(self.tasks)} runs ended" + (
            f", left {_clock(left)}" if left else ""
        )
        return Group(table, total)

    @staticmethod
    def _iteration(task: Task) -> int:
        return min(task.iterations, max((e["iter"] for e in last_entries(task.folder).values()), default=0))


def last_entries(folder: Path) -> dict[str, dict[str, Any]]:
    """The last ``train`` and ``val`` entry of a run's log, as far as its end holds them."""
    found: dict[str, dict[str, Any]] = {}
    try:
        with open(folder / "metrics.jsonl", "rb") as log:
            log.seek(max(0, log.seek(0, 2) - TAIL))
            lines = log.read().splitlines()
    except OSError:
        return found
    for line in lines:
        entry = entry_of(line)  # None: cut by the tail, being written, or damaged
        if entry is not None and entry["kind"] in ("train", "val"):
            found[entry["kind"]] = entry
    return found


def _scores(task: Task) -> str:
    try:
        own = records.read(task.folder / records.NAME)
    except UserError:
        return ""
    took = f", {_clock(own.cost.train_seconds)} of training" if own.cost else ""
    return f": macro-F1 {100 * own.result('best', 'ema').macro_f1:.2f} (best EMA){took}"


def _hours(known: Sequence[float | None]) -> str:
    numbers = [hours for hours in known if hours is not None]
    if not numbers:
        return "? h"
    total = sum(numbers)
    text = f"{total:.1f} h" if total >= 1 else f"{60 * total:.1f} min"
    return f"{'> ' if len(numbers) < len(known) else ''}{text} of training"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
