"""``ferbench benchmark``: check a grid, show its plan, and do its runs."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from rich.console import Console

from ferbench import records
from ferbench.benchmark import store
from ferbench.benchmark.board import Board, failures, plan_notes, plan_table, say
from ferbench.benchmark.check import Checked, check_runs
from ferbench.benchmark.execute import DISK_FULL, Outcome, Task, train_command
from ferbench.benchmark.grid import Grid, Run, read_grid, runs_of
from ferbench.benchmark.launchers import Handle, Launcher, make_launcher, require_processes
from ferbench.benchmark.store import State, Store
from ferbench.benchmark.tuning import report_of, tuned_runs, with_choice
from ferbench.core.process import available_cores, interrupted_by, noted
from ferbench.engine import lock
from ferbench.errors import DiskFull, UserError
from ferbench.records.environment import code
from ferbench.records.portable import portable_config
from ferbench.records.protocol import require_one_protocol

LOOK = 0.5  # seconds between two looks at what has ended

OK, SOME_FAILED = 0, 1
LOCKED_HOW = (
    "if they are gone for certain, --resume --take-over does these runs (or remove the files, and --resume)"
)


@dataclass(frozen=True)
class Options:
    """What the command line says.

    Attributes:
        grid: the grid file.
        out: folder of the grid; None: ``work_dirs/benchmark/<name>``.
        data: folder of the data sets.
        jobs: runs at a time; None: one on this machine, else as many as there may be.
        launcher: ``local``, ``slurm`` or ``ray``.
        resume: go on with a grid that the folder holds.
        retry_failed: do failed runs again.
        take_over: do runs, too, that are locked by a machine of which nothing can be known.
        only: patterns (as of files) of the folders of the runs that are to be done; empty: all.
        dry_run: only show the plan.
        trials: K of ``--tune``; None: no tuning.
        plugins: what followed ``--plugin``.
        command: the command line, for the records.
    """

    grid: str
    out: str | None = None
    data: str | None = None
    jobs: int | None = None
    launcher: str = "local"
    resume: bool = False
    retry_failed: bool = False
    take_over: bool = False
    only: tuple[str, ...] = ()
    dry_run: bool = False
    trials: int | None = None
    plugins: tuple[str, ...] = ()
    command: str = ""


def benchmark(options: Options, console: Console | None = None) -> int:
    """Run a grid.

    Returns:
        0: every run that was to be done is finished, or done by another runner; 1: some have failed or are left.

    Raises:
        UserError: a mistake in the grid or in one of its runs (nothing has run), another grid in the folder.
        DiskFull: no space is left; the runs were asked to end and can go on.
        KeyboardInterrupt: interrupted, or told to terminate; the runs were asked to end and can go on.
    """
    for name, value in (("--jobs", options.jobs), ("--tune", options.trials)):
        if value is not None and value < 1:
            raise UserError(f"{name} is {value}", expected="a whole number, at least 1")
    return Runner(options, console or Console()).run()


class Runner:
    """See `benchmark`."""

    def __init__(self, options: Options, console: Console):
        self.options, self.console = options, console
        grid = read_grid(options.grid)
        self.grid: Grid = replace(grid, plugins=(*grid.plugins, *options.plugins))
        self.store = Store(Path(options.out or f"work_dirs/benchmark/{self.grid.name}"))
        self.under_way: list[tuple[Task, Handle]] = []

    def run(self) -> int:
        """See `benchmark`."""
        options = self.options
        require_processes(options.launcher, self.grid.processes)
        runs = runs_of(self.grid)
        if options.trials is not None:
            runs = tuned_runs(self.grid, runs, options.trials)
        self._require_matches(runs)
        checked = check_runs(self.grid, runs, options.data, options.command)
        if options.dry_run:
            self.store.require_this(self.grid, checked)
        else:
            self.store.open(self.grid, checked, options.resume or options.retry_failed or options.take_over)
        self._show_plan(checked)
        if options.dry_run:
            return OK
        launcher = make_launcher(
            options.launcher,
            options.jobs,
            self.store.folder,
            self.grid.slurm,
            self.grid.ray,
            self.grid.processes,
        )
        with interrupted_by(signal.SIGTERM, signal.SIGHUP):
            self._do_all(checked, launcher)
        return self._summary(checked)

    def _show_plan(self, checked: Sequence[Checked]) -> None:
        pairs = [(c, self.store.state(c.run)) for c in checked]
        self.console.print(
            f"grid {self.grid.name}: {len(self.grid.algorithms)} algorithms, into {self.store.folder}",
            style="bold",
        )
        wanted = [pair for pair in pairs if self._wanted(pair[0].run)]
        self.console.print(plan_table(wanted, pairs))
        if others := len(pairs) - len(wanted):
            say(self.console, f"{others} of {len(pairs)} runs are left out by --only")
        for line in plan_notes(self.grid, wanted, self.options.trials, self._how()):
            say(self.console, line)
        failed = [(str(c.run), s.reason) for c, s in pairs if s.word == store.FAILED]
        retry = "they are done again" if self.options.retry_failed else "--retry-failed does them again"
        for line in failures(failed, retry):
            say(self.console, line, "red")

    def _require_matches(self, runs: Sequence[Run]) -> None:
        for pattern in self.options.only:
            if not any(run.fits(pattern) for run in runs):
                raise UserError(
                    f"--only {pattern!r} fits none of the {len(runs)} runs of the grid",
                    where=self.grid.file,
                    expected=f"a pattern of their folders or names, e.g. {runs[0].id!r}, or '*/{runs[0].id.split('/')[-2]}/*'",
                )

    def _wanted(self, run: Run) -> bool:
        """Whether ``--only`` lets a run be done."""
        return not self.options.only or any(map(run.fits, self.options.only))

    def _how(self) -> str:
        if self.options.launcher != "local":
            return f"by {self.options.launcher}, " + (
                f"{self.options.jobs} at a time" if self.options.jobs else "all at once"
            )
        jobs = self.options.jobs or 1
        cores = f"{max(1, available_cores() // jobs)} of {available_cores()} cores each"
        together = f", {self.grid.processes} processes each" if self.grid.processes > 1 else ""
        return f"on this machine, {jobs} at a time, {cores}{together}"

    def _do_all(self, checked: Sequence[Checked], launcher: Launcher) -> None:
        """First the trials and what needs none of them, then the runs whose parameters they have chosen."""
        first = [c for c in checked if not c.run.tuned]
        later = [c for c in checked if c.run.tuned]
        try:
            tasks = self._tasks(first)
            with Board(self.console, tasks) as board:
                self._do(tasks, launcher, board)
                if later:
                    more = self._tasks(self._with_chosen_parameters(first, later))
                    board.add(more)
                    self._do(more, launcher, board)
        except BaseException:
            # A further signal must not end this before the trainings, which would then go on by themselves.
            with noted(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as hurry:
                self._stop(launcher, hurry)
            raise
        launcher.close()

    def _do(self, tasks: Sequence[Task], launcher: Launcher, board: Board) -> None:
        waiting, under_way = list(tasks), self.under_way
        while waiting or under_way:
            free = len(waiting) if launcher.width is None else launcher.width - len(under_way)
            batch, waiting = waiting[:free], waiting[free:]
            under_way += zip(batch, launcher.launch(batch), strict=True)
            board.show()
            if not _wait_for_one(under_way):
                continue
            for task, handle in [pair for pair in under_way if pair[1].done()]:
                under_way.remove((task, handle))
                self._ended(task, handle.result(), board)

    def _ended(self, task: Task, how: Outcome, board: Board) -> None:
        board.end(task, how)
        if how.word == DISK_FULL:
            raise DiskFull(
                "no space is left on the disk",
                where=task.folder,
                fix="free some; the records are intact, and --resume goes on where the grid was",
            )

    def _stop(self, launcher: Launcher, hurry: Sequence[int]) -> None:
        """Ask the runs to end, and wait for them; after one more signal kill them, after another do not wait for other
        machines."""
        try:
            if not all(handle.done() for _, handle in self.under_way):
                with suppress(OSError):  # the disk that its output goes to is full
                    self.console.print("stopping the runs, which can go on later; once more to kill them")
            launcher.stop()
            self._until_done(hurry, 1)
            if hurry:
                launcher.stop(now=True)
                self._until_done(hurry, 2)
        finally:
            launcher.close()

    def _until_done(self, hurry: Sequence[int], most: int) -> None:
        while len(hurry) < most and not all(handle.done() for _, handle in self.under_way):
            time.sleep(LOOK / 10)

    def _tasks(self, checked: Sequence[Checked]) -> list[Task]:
        """What is to be done, with its config written."""
        wanted = {store.TODO, store.UNFINISHED}
        wanted |= {store.FAILED} if self.options.retry_failed else set()
        wanted |= {store.LOCKED} if self.options.take_over else set()
        return [
            self._task(c) for c in checked if self._wanted(c.run) and self.store.state(c.run).word in wanted
        ]

    def _task(self, checked: Checked) -> Task:
        run, options = checked.run, self.options
        # Absolute, for machines of a cluster that start their processes elsewhere.
        folder, config = self.store.run_folder(run).absolute(), self.store.write_config(checked).absolute()
        data = None if options.data is None else Path(options.data).expanduser().absolute()
        cell = checked.config["default_hooks"]["record"]["cell"]
        blank = records.Record(
            schema=records.SCHEMA, status=records.FAILED, failure="", label=run.label, algorithm=run.algorithm,
            seed=run.seed, split_hash=None, protocol={}, protocol_hash=None, classes=checked.classes, data={},
            results=[], curves=records.Curves(), cost=None, code=code(), libraries={}, hardware=None, command="",
            config=portable_config(checked.config), cell=records.Cell(**cell), written=_now(),
        )  # fmt: skip
        return Task(
            title=str(run), folder=folder, blank=blank, retry_failed=options.retry_failed,
            command=train_command(config, folder, data, self.grid.plugins, self.grid.processes),
            iterations=checked.iterations, images=checked.images, keep=self.grid.keep,
            processes=self.grid.processes, take_over=options.take_over,
        )  # fmt: skip

    def _with_chosen_parameters(self, first: Sequence[Checked], later: Sequence[Checked]) -> list[Checked]:
        assert self.options.trials is not None
        written = self.store.read_tuning()
        chosen: list[Run] = []
        for cell in dict.fromkeys(c.run.cell for c in later):
            trials = [c.run for c in first if c.run.trial is not None and c.run.cell == cell]
            states = [self.store.state(run) for run in trials]
            title, key = " · ".join(filter(None, cell)), "/".join(cell)
            if left := sum(state.word not in (store.DONE, store.FAILED) for state in states):
                say(self.console, f"{title}: {left} trials are not done yet; --resume goes on")
                continue
            if written.get(key, {}).get("chosen") is None:
                pairs = [(run, state.record) for run, state in zip(trials, states, strict=True)]
                written[key] = report_of(cell[-1], self.grid, pairs, self.options.trials)
            report = written[key]
            if report["chosen"] is None:
                say(self.console, f"{title}: no trial has finished: not run", "red")
                continue
            parameters = report["trials"][report["chosen"]]["parameters"]
            say(self.console, f"{title}: trial {report['chosen']}: {parameters}")
            chosen += [with_choice(c.run, self.grid, report) for c in later if c.run.cell == cell]
        self.store.write_tuning(written)
        return check_runs(self.grid, chosen, self.options.data, self.options.command, data_too=False)

    def _summary(self, checked: Sequence[Checked]) -> int:
        states: list[tuple[Checked, State]] = [(c, self.store.state(c.run)) for c in checked]
        words = (store.DONE, store.FAILED, store.TAKEN, store.LOCKED)
        counts = {w: sum(s.word == w for _, s in states) for w in words}
        open_runs = [c.run for c, s in states if s.word not in counts]
        left = sum(map(self._wanted, open_runs))
        others = len(open_runs) - left
        parts = [f"{counts[store.DONE]} of {len(states)} runs are finished"]
        parts += [f"{counts[store.TAKEN]} are done by another runner"] if counts[store.TAKEN] else []
        parts += [f"{counts[store.LOCKED]} are locked"] if counts[store.LOCKED] else []
        parts += [f"{left} are still to be done: --resume"] if left else []
        parts += [f"{others} left out by --only"] if others else []
        say(self.console, "; ".join(parts), "bold")
        failed = [
            (f"{c.run} ({self.store.run_folder(c.run)})", s.reason)
            for c, s in states
            if s.word == store.FAILED
        ]
        for line in failures(failed, "--retry-failed does them again"):
            say(self.console, line, "red")
        locked = [f"  {c.run} ({self.store.run_folder(c.run) / lock.NAME}): by {s.reason}"
                  for c, s in states if s.word == store.LOCKED and self._wanted(c.run)]  # fmt: skip
        if locked:
            lines = [
                f"{len(locked)} locked by machines that cannot be asked from here, and not done:",
                *locked,
                LOCKED_HOW,
            ]
            for line in lines:
                say(self.console, line, "red")
        return SOME_FAILED if failed or left or locked or self._mixed(states) else OK

    def _mixed(self, states: Sequence[tuple[Checked, State]]) -> bool:
        """Whether runs that belong together cannot be compared; says why."""
        groups: dict[tuple[str, str], list[records.Record]] = {}
        for checked, state in states:
            if (
                state.record is not None
                and state.record.protocol_hash is not None
                and checked.run.trial is None
            ):
                groups.setdefault(checked.run.cell[:2], []).append(state.record)
        mixed = False
        for own in groups.values():
            try:
                require_one_protocol(own)
            except UserError as error:
                mixed = True
                say(self.console, str(error), "red")
        return mixed


def _wait_for_one(under_way: Sequence[tuple[Task, Handle]]) -> bool:
    """Whether a run has ended, after at most `LOOK` seconds."""
    until = time.monotonic() + LOOK
    while not any(handle.done() for _, handle in under_way):
        if time.monotonic() >= until:
            return False
        time.sleep(LOOK / 25)
    return True


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
