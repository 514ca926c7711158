"""A process that hangs: noticed by the others of its group, and named.

Each process announces twice a second, through the store of the group, where it is. A process that has not moved for a stated
time compares what the others announced, twice with some seconds in between, and ends the program with the ranks of those
that are silent, behind, or waiting for data while the others wait for them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from ferbench.core import process
from ferbench.errors import ExitStatus, UserError

POLL = 0.5  # seconds between two looks at the store
ANSWER = 5.0  # seconds that a process has to answer


class Store(Protocol):
    """The part of `torch.distributed.Store` that is used here."""

    def set(self, key: str, value: str) -> None:
        """Write a value."""

    def get(self, key: str) -> bytes:
        """Read a value; waits until it exists."""

    def check(self, keys: list[str]) -> bool:
        """Whether all keys exist."""


class State(NamedTuple):
    """Where a process is.

    Attributes:
        beat: a number that grows while the process lives.
        passed: gates that it has passed.
        idle: seconds since it last passed a gate or a batch.
        waits_for_data: whether it waits for a batch.
    """

    beat: int
    passed: int
    idle: float
    waits_for_data: bool


class HangDetector:
    """Looks for a process that hangs, on behalf of one process of the group.

    Args:
        store: of the group.
        name: prefix of the keys; under ``name/left`` a process says that it has left the training.
        rank: of this process.
        world: number of processes.
        patience: seconds without any progress after which the group is given up.
        on_hang: called with one sentence about the process that hangs, before the program ends.
    """

    def __init__(
        self, store: Store, name: str, rank: int, world: int, patience: float, on_hang: Callable[[str], None]
    ):
        self.store, self.name, self.rank, self.world = store, name, rank, world
        self.patience, self.on_hang = patience, on_hang
        self._beat = 0
        self._suspected: tuple[float, list[State | None]] | None = None  # when, and where all were then

    def look(self, passed: int, idle: float, waits_for_data: bool) -> None:
        """Announce where this process is; if it has waited too long, find out for which one, and end the program.

        Args:
            passed: gates that it has passed.
            idle: seconds since it last passed a gate or a batch.
            waits_for_data: whether it waits for a batch.
        """
        self._beat += 1
        self.store.set(self._key(self.rank), json.dumps(State(self._beat, passed, idle, waits_for_data)))
        if idle < self.patience or self.store.check([f"{self.name}/left"]):
            self._suspected = None
            return
        now = time.monotonic()
        if self._suspected is None:
            self._suspected = now, self._states()
        elif now - self._suspected[0] > ANSWER:
            before, after = self._suspected[1], self._states()
            self._suspected = None
            silent = [r for r in range(self.world) if before[r] is not None and before[r] == after[r]]
            silent += [r for r in range(self.world) if after[r] is None]
            if found := hanging(after, silent, self.patience):
                self._give_up(*found, speaks=self.rank == min(set(range(self.world)) - set(silent)))

    def _states(self) -> list[State | None]:
        keys = [self._key(other) for other in range(self.world)]
        return [State(*json.loads(self.store.get(key))) if self.store.check([key]) else None for key in keys]

    def _key(self, rank: int) -> str:
        return f"{self.name}/state/{rank}"

    def _give_up(self, who: list[int], why: str, speaks: bool) -> None:
        names = ", ".join(map(str, who))
        error = UserError(
            f"process{'es' if len(who) > 1 else ''} {names} of {self.world} {why}, and the others have waited for "
            f"{self.patience:g} s",
            where=f"rank {names}, counted from 0",
            expected="every process to be as far as the others",
            fix="look at what it printed last, at its machine and its disk; go on with --resume. A longer wait: "
            "--cfg-options env_cfg.dist_cfg.timeout=SECONDS",
        )
        if speaks:
            self.on_hang(error.what)
            process.end(
                ExitStatus.USER_ERROR, f"error{f' (process {self.rank})' if self.rank else ''}: {error}"
            )
        time.sleep(POLL)  # the process that speaks prints its message first
        process.end(ExitStatus.USER_ERROR)


def hanging(
    states: Sequence[State | None], silent: Sequence[int], patience: float
) -> tuple[list[int], str] | None:
    """The processes that keep the others waiting, and a phrase on why; None: none can be named, or some process goes on.

    Args:
        states: of each process; None: it has announced nothing yet.
        silent: ranks of the processes that announce nothing any more.
        patience: seconds without progress after which a process counts as waiting.
    """
    if silent:
        why = "gives no sign of life (it was stopped, or its machine or network is gone)"
        return sorted(set(silent)), why
    known = [state for state in states if state is not None]
    if any(state.idle < patience / 2 for state in known):
        return None
    for value, why in (
        (lambda s: s.passed, "has not come as far as the others"),
        (lambda s: not s.waits_for_data, "waits for data"),
    ):
        values = [value(state) for state in known]
        if min(values) < max(values):
            return [r for r, v in enumerate(values) if v == min(values)], why
    return None
