"""The folder of a grid: which grid it is, where each run lies, and how far it has come.

grid.json             what the grid is: every run with its config; another grid is refused
tuning.json           the trials of each algorithm and which was chosen (with --tune)
configs/<run>.py      the config of each run, as it is trained
runs/<run>/           what a run leaves behind; record.json says how far it has come, console.log what it printed
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pprint import pformat
from typing import Any

from ferbench import records
from ferbench.benchmark.check import Checked
from ferbench.benchmark.grid import Grid, Run
from ferbench.core.files import atomic_write
from ferbench.engine import lock
from ferbench.errors import UserError
from ferbench.records.protocol import difference, hash_of

FORMAT = 1
NAME, TUNING = "grid.json", "tuning.json"
SHOWN = 6  # runs or keys that a message lists

TODO, UNFINISHED, DONE, FAILED, TAKEN, LOCKED = "to do", "unfinished", "finished", "failed", "taken", "locked"
WORDS = (DONE, FAILED, TAKEN, LOCKED, UNFINISHED, TODO)


@dataclass(frozen=True)
class State:
    """How far a run has come.

    Attributes:
        word: ``to do``; ``unfinished``: begun, and can go on; ``finished``; ``failed``; ``taken``: somebody does it now;
            ``locked``: by somebody elsewhere of whom nothing can be known.
        reason: why it failed, who does it, or what is wrong with its record.
        record: if it has a whole one.
    """

    word: str
    reason: str | None = None
    record: records.Record | None = None


class Store:
    """See the module.

    Args:
        folder: of the grid.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def run_folder(self, run: Run) -> Path:
        """Folder of a run."""
        return self.folder / "runs" / run.id

    def config_file(self, run: Run) -> Path:
        """Config that a run is trained with."""
        return self.folder / "configs" / f"{run.id}.py"

    def state(self, run: Run) -> State:
        """How far a run has come. A damaged record is named, and its run counts as unfinished."""
        folder = self.run_folder(run)
        state, owner = lock.look(folder / lock.NAME)
        found, damage = self._record(folder)
        if state is lock.State.HELD:
            return State(TAKEN, str(owner))
        if state is lock.State.UNKNOWN and not (found and found.status == records.FINISHED):
            return State(LOCKED, str(owner))
        if found is None:
            begun = damage or (folder / "last.pth").is_file()
            return State(UNFINISHED if begun else TODO, damage)
        word = {records.FINISHED: DONE, records.FAILED: FAILED, records.RUNNING: UNFINISHED}[found.status]
        return State(word, found.failure, found)

    @staticmethod
    def _record(folder: Path) -> tuple[records.Record | None, str | None]:
        """The record of a run, and what is wrong with it."""
        path = folder / records.NAME
        try:
            return (records.read(path) if path.is_file() else None), None
        except UserError as error:
            return None, f"{error.what} ({path})"

    def open(self, grid: Grid, checked: Sequence[Checked], resume: bool) -> None:
        """Make the folder this grid's, or find that it is; nothing but ``grid.json`` is written.

        A grid may have grown: more algorithms, budgets, seeds or data sets. The runs that the folder knows must be in it
        unchanged.

        Args:
            grid: the grid.
            checked: its runs.
            resume: whether the folder may hold it already.

        Raises:
            UserError: the folder holds another grid, or this one and ``resume`` is not asked for.
        """
        runs = {c.run.id: c.identity for c in checked}
        known = self._known()
        if known is not None:
            self._require_same(grid, known, runs)
            if not resume:
                raise UserError(
                    "the folder already holds this grid",
                    where=self.folder,
                    fix="--resume goes on with it, --out names another folder",
                )
        elif self.folder.is_dir() and any(self.folder.iterdir()):
            raise UserError(
                "the folder of the grid holds something else",
                where=self.folder,
                expected="a new or empty folder, or one that a grid was run in",
                fix="--out names another folder",
            )
        if known is None or known["runs"] != runs:
            self._write(NAME, {"format": FORMAT, "name": grid.name, "runs": runs})

    def require_this(self, grid: Grid, checked: Sequence[Checked]) -> None:
        """Raise a UserError if the folder holds another grid (for a look at the plan, which writes nothing)."""
        known = self._known()
        if known is not None:
            self._require_same(grid, known, {c.run.id: c.identity for c in checked})

    def write_config(self, checked: Checked) -> Path:
        """Write the config of a run; the file."""
        path = self.config_file(checked.run)
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [f'"""{checked.run}. Written by ferbench benchmark."""\n']
        lines += [
            f"{key} = {pformat(_in_python(value), width=110, sort_dicts=False)}"
            for key, value in checked.config.items()
        ]
        with atomic_write(path) as stream:
            stream.write(("\n".join(lines) + "\n").encode())
        return path

    def read_tuning(self) -> dict[str, Any]:
        """What was chosen so far: see `ferbench.benchmark.tuning`."""
        return self._read(TUNING) or {}

    def write_tuning(self, content: Mapping[str, Any]) -> None:
        """See `read_tuning`."""
        self._write(TUNING, content)

    def _known(self) -> dict[str, Any] | None:
        content = self._read(NAME)
        if content is not None and (
            content.get("format") != FORMAT
            or not isinstance(content.get("runs"), dict)
            or "name" not in content
        ):
            raise UserError(
                f"the grid's file has format {content.get('format')!r}",
                where=self.folder / NAME,
                expected=f"format {FORMAT}",
                fix="use the version of ferbench that wrote it, or another folder (--out)",
            )
        return content

    def _require_same(self, grid: Grid, known: Mapping[str, Any], runs: Mapping[str, Any]) -> None:
        gone = [name for name in known["runs"] if name not in runs]
        found = [f"it lacks {name}" for name in gone[:SHOWN]]
        for name, config in known["runs"].items():
            if name in runs and hash_of(config) != hash_of(runs[name]):
                found += [f"{name}: {d}" for d in difference(config, runs[name])]
        if known["name"] != grid.name:
            found.insert(0, f"its name is {grid.name!r} instead of {known['name']!r}")
        if found:
            lines = found[:SHOWN] + ([f"... and {len(found) - SHOWN} more"] if len(found) > SHOWN else [])
            raise UserError(
                "the folder holds another grid than the one asked for:\n"
                + "\n".join(f"    {f}" for f in lines),
                where=self.folder,
                expected="the same runs, or these and more",
                fix="--out names another folder; grids are not mixed",
            )

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self.folder / name
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(
                f"{name} cannot be read: {error}", where=path, fix="restore it from a copy"
            ) from error
        if not isinstance(content, dict):
            raise UserError(f"{name} is not a JSON object", where=path, fix="restore it from a copy")
        return content

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.folder / name) as stream:
            stream.write(json.dumps(content, separators=(",", ":")).encode() + b"\n")


class _Unwritable(float):
    """A number that Python has no literal for."""

    def __repr__(self) -> str:
        return f"float('{float(self)}')"


def _in_python(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _in_python(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_in_python(v) for v in value]
    return _Unwritable(value) if isinstance(value, float) and not math.isfinite(value) else value
