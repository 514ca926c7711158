"""When a training is to end before its time: heard as a signal by one process, agreed on by all, done where nothing is lost.

A training passes *gates*, in the same order on every process: before each iteration, and around each pass over a data set
and each evaluation. Between two gates there is either one update of the weights, in which the processes need each other, or
a loop over batches in which they do not, and which may be broken off.

In a single process a signal ends the training at the next gate or batch. With several, the signals come at different
moments, and none may stop where another still needs it. Each process has a thread that talks to the others through the
store of their process group: who has heard a signal says so; each then says which gate it has passed, and passes no other
before it knows the answers of all; they end at the largest gate that was named. Nothing is exchanged while no signal has
come, but for two looks at the store per second, which no step waits for.

The same thread notices a process that hangs: each says twice a second where it is, and where this one has not moved for a
stated time, it ends the program with the names of those that are silent or behind.
"""

from __future__ import annotations

import json
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from itertools import count
from types import FrameType
from typing import NamedTuple, Protocol, TypeVar

from ferbench.core import process
from ferbench.distributed import rank, world_size
from ferbench.distributed import store as store_of_group
from ferbench.errors import ExitStatus, Stopped, UserError

POLL = 0.5  # seconds between two looks at what the other processes say
ANSWER = 5.0  # seconds that a process has to say something
#: Seconds in which a signal is an echo of the first one: `timeout` and batch systems send it to a process and to its group, and
#: torchrun hands on what its processes may have been sent already.
ECHO, ECHO_OF_A_LAUNCHER = 0.1, 1.0
NEVER = 1 << 60

T = TypeVar("T")
_watches = count()
current: Watch | None = None


class Store(Protocol):
    """What is used of `torch.distributed.Store`."""

    def set(self, key: str, value: str) -> None:
        """Write a value."""

    def get(self, key: str) -> bytes:
        """A value that is there."""

    def check(self, keys: list[str]) -> bool:
        """Whether all are there."""


class Watch:
    """Hears signals for the program while it is entered.

    Before `holding`, a signal raises `KeyboardInterrupt`: there is nothing to save yet. A second signal ends a program of the
    command line at once, whatever it is doing; elsewhere it raises `KeyboardInterrupt`.

    Args:
        patience: seconds without any progress after which a group of processes is given up.
        on_hang: told what was found, before the program ends.
    """

    def __init__(self, patience: float = 600.0, on_hang: Callable[[str], None] = lambda what: None):
        self.patience, self.on_hang = patience, on_hang
        self.name = f"ferbench/watch/{next(_watches)}"
        self.pid = os.getpid()
        self.asked = ""  # by which signal, whichever process heard it
        self.heard: float | None = None  # when this process heard its first one
        self.held = self.waits_for_data = False
        self.store: Store | None = None
        self.rank, self.world = 0, 1
        self.passed, self.moved = 0, time.monotonic()
        self.lock, self.known = threading.Lock(), threading.Event()
        self.posted = self.told = False
        self.target = NEVER
        self.failure: Exception | None = None
        self.beats = 0
        self.late: tuple[float, list[State | None]] | None = None

    def __enter__(self) -> Watch:
        global current
        current = self
        self._cleanup = ExitStack()
        self._reader, self._writer = os.pipe()
        for end in (self._reader, self._writer):
            os.set_blocking(end, False)
        if threading.current_thread() is threading.main_thread():
            self._cleanup.enter_context(process.handled(process.ending_signals(), self._hear))
            # The thread hears a second signal also while this one is in the depths of a library.
            before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
            self._cleanup.callback(signal.set_wakeup_fd, before)
        self._open = True
        self._thread = threading.Thread(target=self._listen, name="ferbench-watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        global current
        current = None
        self._cleanup.close()
        self._open = False
        self._wake()
        self._thread.join(ANSWER)
        if not self._thread.is_alive():  # else it waits for a store that does not answer
            os.close(self._reader)
            os.close(self._writer)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """While the training goes on: a signal ends it at a gate."""
        if world_size() > 1:
            self.rank, self.world, self.store = rank(), world_size(), store_of_group()
        self.moved, self.held = time.monotonic(), True
        self._wake()
        try:
            yield
        finally:
            self.held = False
            if (store := self.store) is not None:
                # The group may be what has failed.
                _within(ANSWER, lambda: store.set(self._key("left"), "1"))
                _within(ANSWER, lambda: store.set(self._key("at", self.rank), str(NEVER)))

    def gate(self) -> None:
        """Pass a gate.

        Raises:
            Stopped: the training ends before it, on all processes.
            UserError: the other processes cannot be asked.
        """
        self.moved = time.monotonic()
        if self.store is None:
            if self.asked and self.held:
                raise self._stopped()
            self.passed += 1
            return
        with self.lock:
            if not self.posted:
                self.passed += 1
                return
        while not self.known.wait(POLL):  # not for ever: the thread gives up a process that does not answer
            pass
        if self.failure is not None:
            raise UserError(
                f"the connection to the other processes is lost: {self.failure}",
                fix="look at what they said; go on with --resume",
            ) from self.failure
        if self.passed >= self.target:
            raise self._stopped()
        self.passed += 1

    def between_batches(self) -> None:
        """A place in a loop that may be broken off.

        Raises:
            Stopped: no process goes beyond the loop.
        """
        self.moved = time.monotonic()
        if self.held and (self.asked if self.store is None else self.passed >= self.target):
            raise self._stopped()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the wait for a batch, which a single process may break off."""
        self.waits_for_data = True
        try:
            yield
        finally:
            self.waits_for_data = False

    def missing(self) -> list[int]:
        """The processes that do not notice, as this one did, that the group is broken; to be called by all that do."""
        if self.store is None:
            return []
        self.held = True  # a launcher's signal is noted: it has heard of the failure from another process
        missing, store = list(range(self.world)), self.store

        def ask() -> None:
            store.set(self._key("broken", self.rank), "1")
            deadline = time.monotonic() + ANSWER
            while missing and time.monotonic() < deadline:
                missing[:] = [r for r in missing if not store.check([self._key("broken", r)])]
                time.sleep(POLL / 10)

        if not _within(2 * ANSWER, ask):
            return [0]  # which keeps the store
        return missing

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.pid:  # a copy of the process that is just being made
            return
        if self.heard is not None:
            if self._is_second(self.heard):
                self._end_at_once()
            return
        self.heard, self.asked = time.monotonic(), self.asked or signal.Signals(number).name
        if not self.held:
            raise KeyboardInterrupt
        if self.waits_for_data and self.store is None:
            raise self._stopped()

    def _stopped(self) -> Stopped:
        return Stopped(f"stopped by {self.asked}")

    def _is_second(self, first: float) -> bool:
        return time.monotonic() - first > (ECHO if world_size() == 1 else ECHO_OF_A_LAUNCHER)

    def _end_at_once(self) -> None:
        if process.command_line:
            words = "interrupted by a second signal; --resume goes on from the checkpoint before"
            process.end(ExitStatus.INTERRUPTED, words if rank() == 0 else "")
        elif threading.current_thread() is threading.main_thread():  # the program is somebody else's
            raise KeyboardInterrupt

    def _wake(self) -> None:
        os.write(self._writer, b"\0")

    def _listen(self) -> None:
        heard: float | None = None
        while self._open:
            for _ in self._signals():
                if heard is None:
                    heard = time.monotonic()
                elif self._is_second(heard):
                    self._end_at_once()
            if self.held and self.store is not None and self.failure is None:
                try:
                    self._converse(self.store)
                    self._look_for_hang(self.store)
                except Exception as error:  # the store is gone, and the group with it
                    self.failure = error
                    self.known.set()

    def _signals(self) -> list[int]:
        """Those that have come; waits for one, or until it is time to look at what the others say."""
        pause = None if self.store is None or not self.held else POLL
        if pause is not None and self.posted and not self.known.is_set():
            pause /= 10
        select.select([self._reader], [], [], pause)
        with suppress(BlockingIOError):
            numbers = process.ending_signals()
            return [n for n in os.read(self._reader, 4096) if n in numbers]
        return []

    def _converse(self, store: Store) -> None:
        """Say what has to be said, and take in what the others have said."""
        if self.asked and not self.told:
            store.set(self._key("asked"), self.asked)
            self.told = True
        if self.known.is_set() or not (self.told or store.check([self._key("asked")])):
            return
        if not self.posted:
            self.asked = self.asked or store.get(self._key("asked")).decode()
            with self.lock:
                self.posted = True
            store.set(self._key("at", self.rank), str(self.passed))
        keys = [self._key("at", other) for other in range(self.world)]
        if store.check(keys):
            self.target = max(int(store.get(key)) for key in keys)
            self.known.set()

    def _look_for_hang(self, store: Store) -> None:
        now = time.monotonic()
        self.beats += 1
        own = State(self.beats, self.passed, now - self.moved, self.waits_for_data)
        store.set(self._key("state", self.rank), json.dumps(own))
        if own.idle < self.patience or store.check([self._key("left")]):
            self.late = None
            return
        if self.late is None:
            self.late = now, self._states(store)
        elif now - self.late[0] > ANSWER:
            before, after = self.late[1], self._states(store)
            self.late = None
            silent = [r for r in range(self.world) if before[r] is not None and before[r] == after[r]]
            silent += [r for r in range(self.world) if after[r] is None]
            if found := hanging(after, silent, self.patience):
                self._give_up(*found, speaks=self.rank == min(set(range(self.world)) - set(silent)))

    def _states(self, store: Store) -> list[State | None]:
        keys = [self._key("state", other) for other in range(self.world)]
        return [State(*json.loads(store.get(key))) if store.check([key]) else None for key in keys]

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
        time.sleep(POLL)  # one message is enough
        process.end(ExitStatus.USER_ERROR)

    def _key(self, what: str, of: int | None = None) -> str:
        return f"{self.name}/{what}" + ("" if of is None else f"/{of}")


class State(NamedTuple):
    """Where a process is: a number that grows while it lives, gates passed, seconds since it moved, whether it wants data."""

    beat: int
    passed: int
    idle: float
    waits_for_data: bool


def hanging(
    states: Sequence[State | None], silent: Sequence[int], patience: float
) -> tuple[list[int], str] | None:
    """Which processes keep the others waiting, and what is known of them; None: nobody can be named, or all go on.

    Args:
        states: of each process; None: it has never said anything.
        silent: those that say nothing any more.
        patience: seconds.
    """
    if silent:
        return sorted(
            set(silent)
        ), "gives no sign of life (it was stopped, or its machine or network is gone)"
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


def _within(seconds: float, act: Callable[[], None]) -> bool:
    """Whether something was done in time, without an error; a store whose process hangs gives no answer at all."""
    done: list[bool] = []

    def run() -> None:
        with suppress(Exception):
            act()
            done.append(True)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(done)


def gate() -> None:
    """See `Watch.gate`; nothing where nobody watches."""
    if current is not None:
        current.gate()


def breakable(batches: Iterable[T]) -> Iterator[T]:
    """Hand on the batches of a loop that may be broken off, between two gates."""
    gate()
    source = iter(batches)
    while True:
        with waiting():
            batch = next(source, None)
        if batch is None:
            break
        yield batch
        if current is not None:
            current.between_batches()
    gate()


@contextmanager
def waiting() -> Iterator[None]:
    """See `Watch.waiting`; nothing where nobody watches."""
    with current.waiting() if current is not None else nullcontext():
        yield
