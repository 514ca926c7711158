"""How a training ends early: a signal reaches one process, all processes agree where to stop, and nothing is lost.

A training passes *gates*, in the same order on every process: before each iteration, and around each pass over a data set
and each evaluation. Between two gates there is either one update of the weights, in which the processes wait for each
other, or a loop over batches in which they do not, and which may be broken off.

A single process that receives a signal stops at the next gate or batch. Several processes receive signals at different
moments, and none may stop where another still waits for it. Each has a thread that talks to the others through the store of
their process group. A process that has received a signal announces it. Each process then announces how many gates it has
passed, and passes no further one before it knows the numbers of all; all stop at the largest of them. Without a signal
the threads only look at the store twice a second; no training step waits for that.

The same threads notice a process that hangs (`ferbench.core.hangs`).
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from itertools import count
from types import FrameType
from typing import TypeVar

from ferbench.core import process
from ferbench.core.hangs import ANSWER, POLL, HangDetector, Store
from ferbench.distributed import rank, world_size
from ferbench.distributed import store as store_of_group
from ferbench.errors import ExitStatus, Stopped, UserError

#: Seconds within which another signal counts as a copy of the first one: `timeout` and batch systems send it to a process and
#: to its group, and torchrun forwards what its processes may have received already.
ECHO, ECHO_OF_A_LAUNCHER = 0.1, 1.0
NEVER = 1 << 60

T = TypeVar("T")
_watches = count()
current: Watch | None = None


class Watch:
    """Handles the signals of a training; a context manager.

    Before `holding`, a signal raises `KeyboardInterrupt`: there is nothing to save yet. Within `holding`, it stops the training
    at a gate. A second signal ends a program of the command line at once, whatever it is doing; in another program it
    raises `KeyboardInterrupt`.

    Args:
        patience: seconds without any progress after which a group of processes is given up.
        on_hang: called with one sentence about the process that hangs, before the program ends.

    Attributes:
        asked: name of the signal that stops the training, whichever process received it; empty without one.
        passed: how many gates this process has passed.
    """

    def __init__(self, patience: float = 600.0, on_hang: Callable[[str], None] = lambda what: None):
        self.patience, self.on_hang = patience, on_hang
        self.name = f"ferbench/watch/{next(_watches)}"  # prefix of its keys in the store
        self.pid = os.getpid()
        self.asked = ""
        self.heard: float | None = None  # when this process received its first signal
        self.held = self.waits_for_data = False  # within `holding`, `waiting`
        self.store: Store | None = None  # None: a single process
        self.rank, self.world = 0, 1
        self.passed, self.moved = 0, time.monotonic()
        # It has announced the signal (`told`) and the gates that it has passed (`posted`), and knows those of all (`known`).
        self.told = self.posted = False
        self.lock, self.known = threading.Lock(), threading.Event()
        self.target = NEVER  # stop at this number of gates
        self.failure: Exception | None = None  # of the store
        self.hangs: HangDetector | None = None

    def __enter__(self) -> Watch:
        global current
        current = self
        self._cleanup = ExitStack()
        self._reader, self._writer = os.pipe()
        for end in (self._reader, self._writer):
            os.set_blocking(end, False)
        if threading.current_thread() is threading.main_thread():
            self._cleanup.enter_context(process.handled(process.ending_signals(), self._hear))
            # Python runs a handler between two bytecodes of the main thread, which may be in a long call of a library. The file
            # descriptor tells the other thread at once.
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
        if not self._thread.is_alive():  # else it still waits for the store
            os.close(self._reader)
            os.close(self._writer)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """While the training runs: a signal stops it at a gate."""
        if world_size() > 1:
            self.rank, self.world, self.store = rank(), world_size(), store_of_group()
            self.hangs = HangDetector(
                self.store, self.name, self.rank, self.world, self.patience, self.on_hang
            )
        self.moved, self.held = time.monotonic(), True
        self._wake()
        try:
            yield
        finally:
            self.held = False
            if (store := self.store) is not None:
                # In limited time, as the group may be what has failed.
                _within(ANSWER, lambda: store.set(self._key("left"), "1"))
                _within(ANSWER, lambda: store.set(self._key("at", self.rank), str(NEVER)))

    def gate(self) -> None:
        """Pass a gate.

        Raises:
            Stopped: all processes stop before this gate.
            UserError: the connection to the other processes is lost.
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
        while not self.known.wait(POLL):  # ends: the thread gives up a process that does not answer
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
        """Mark a place between two batches of a loop that may be broken off.

        Raises:
            Stopped: all processes stop in this loop, or before its end.
        """
        self.moved = time.monotonic()
        if self.held and (self.asked if self.store is None else self.passed >= self.target):
            raise self._stopped()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Mark the wait for a batch, which a signal to a single process breaks off."""
        self.waits_for_data = True
        try:
            yield
        finally:
            self.waits_for_data = False

    def missing(self) -> list[int]:
        """Ranks that do not report a broken group within some seconds; every process that notices it calls this."""
        if self.store is None:
            return []
        self.held = True  # the launcher stops this process when another has failed: its signal must not end this early
        missing, store = list(range(self.world)), self.store

        def ask() -> None:
            store.set(self._key("broken", self.rank), "1")
            deadline = time.monotonic() + ANSWER
            while missing and time.monotonic() < deadline:
                missing[:] = [r for r in missing if not store.check([self._key("broken", r)])]
                time.sleep(POLL / 10)

        if not _within(2 * ANSWER, ask):
            return [0]  # the store belongs to process 0
        return missing

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.pid:  # a child that was forked a moment ago
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
        elif (
            threading.current_thread() is threading.main_thread()
        ):  # somebody else's program, which may handle it
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
                    if self.hangs is not None:
                        self.hangs.look(self.passed, time.monotonic() - self.moved, self.waits_for_data)
                except Exception as error:  # process 0, which holds the store, is gone
                    self.failure = error
                    self.known.set()

    def _signals(self) -> list[int]:
        """Signals that have come; waits for one, or until it is time to look at the store."""
        pause = None if self.store is None or not self.held else POLL
        if pause is not None and self.posted and not self.known.is_set():
            pause /= 10
        select.select([self._reader], [], [], pause)
        with suppress(BlockingIOError):
            numbers = process.ending_signals()
            return [n for n in os.read(self._reader, 4096) if n in numbers]
        return []

    def _converse(self, store: Store) -> None:
        """Take part in the agreement on where to stop; see the module."""
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

    def _key(self, what: str, of: int | None = None) -> str:
        return f"{self.name}/{what}" + ("" if of is None else f"/{of}")


def _within(seconds: float, act: Callable[[], None]) -> bool:
    """Call a function in a thread; whether it ended in time and without an error. A store whose process hangs never answers."""
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
    """`Watch.gate` of the training that runs; nothing outside a training."""
    if current is not None:
        current.gate()


def breakable(batches: Iterable[T]) -> Iterator[T]:
    """Yield the batches of a loop that may be broken off, between two gates."""
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
    """`Watch.waiting` of the training that runs; nothing outside a training."""
    with current.waiting() if current is not None else nullcontext():
        yield
