"""Processes that are to stop agree on where, whoever heard the signal and whenever; and name the one that hangs."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from ferbench.core import hangs, stopping
from ferbench.core.hangs import HangDetector, State, hanging
from ferbench.core.stopping import Watch
from ferbench.errors import ExitStatus, Stopped


class Words(dict):
    """A store of words that answers at once."""

    def set(self, key: str, value: str) -> None:
        self[key] = value.encode()

    def get(self, key: str) -> bytes:
        return self[key]

    def check(self, keys: list[str]) -> bool:
        return all(key in self for key in keys)


#: What a training does: an update, for which the processes need each other, or a loop over so many batches of each process.
PROGRAM: list[str | tuple[int, ...]] = [
    "update",
    (2, 3, 2),
    "update",
    "update",
    (1, 0, 5),
    (4, 4, 4),
    "update",
    "update",
]
WORLD = 3


class Process:
    """One that runs `PROGRAM`, a bit at a time."""

    def __init__(self, rank: int, store: Words):
        self.watch = Watch()
        self.watch.name, self.watch.store, self.watch.rank, self.watch.world = "run", store, rank, WORLD
        self.watch.held = True
        self.rank, self.entered, self.done, self.stopped_at = rank, -1, False, None
        self.steps = self._steps()

    def _steps(self) -> Iterator[int | None]:
        """Yields the number of an update that it is in, until all others are in it, too; None where it waits for nobody."""
        for number, what in enumerate(PROGRAM):
            self.watch.gate()
            self.entered = number
            if what == "update":
                yield number
            else:
                for _ in range(what[self.rank]):
                    yield None
                    self.watch.between_batches()

    def advance(self, others: list[Process]) -> bool:
        """Go on for a bit; whether it could."""
        if self.done or (self.watch.posted and not self.watch.known.is_set()):
            return False  # it would wait at the next gate
        if isinstance(self.waits_for, int) and any(o.entered < self.waits_for for o in others):
            return False
        try:
            self.waits_for = next(self.steps)
        except StopIteration:
            self.done = True
        except Stopped:
            self.done, self.stopped_at = True, self.entered
        return True

    waits_for: int | None = None


@pytest.mark.parametrize("seed", range(200))
def test_all_stop_at_the_same_gate_and_none_waits_for_ever(seed):
    """Any order of what the processes and their threads do; one, two or all of them hear a signal, at any moment."""
    dice, store = random.Random(seed), Words()
    processes = [Process(rank, store) for rank in range(WORLD)]
    hearing = dice.sample(processes, dice.randint(1, WORLD))
    moments = {id(p): dice.randrange(60) for p in hearing}
    for moment in range(2000):
        for p in hearing:
            if moments[id(p)] == moment and not p.done:
                p.watch.asked = "SIGTERM"
        p = dice.choice(processes)
        if dice.random() < 0.3:
            p.watch._converse(store)
        else:
            p.advance(processes)
        if all(p.done for p in processes):
            break
        if p.done:  # it has left, as `Watch.holding` says
            store.setdefault(f"run/at/{p.rank}", str(stopping.NEVER).encode())
    assert all(p.done for p in processes), "they wait for each other"
    assert len({p.stopped_at for p in processes}) == 1


def test_they_do_stop():
    """One hears a signal in the first update; the others are told before the second one ends."""
    store = Words()
    processes = [Process(rank, store) for rank in range(WORLD)]
    for p in processes:
        p.advance(processes)
    processes[1].watch.asked = "SIGUSR1"
    for rank in (1, 0, 2, 1, 0, 2):
        processes[rank].watch._converse(store)
    for p in processes:
        p.advance(processes)
    assert [p.stopped_at for p in processes] == [0, 0, 0]
    assert {p.watch.asked for p in processes} == {"SIGUSR1"}


@pytest.mark.parametrize(("states", "silent", "who"), [
    ([(9, 5, 700, 0), (9, 5, 700, 0)], [1], [1]),
    ([(9, 5, 700, 0), (9, 4, 650, 0), (9, 5, 700, 0)], [], [1]),
    ([(9, 5, 700, 0), (9, 5, 700, 1), (9, 5, 700, 0)], [], [1]),
    ([(9, 5, 700, 0), (9, 5, 700, 0)], [], None),  # a long step, or nobody can tell
    ([(9, 5, 700, 0), (9, 6, 3, 0)], [], None),  # one goes on
])  # fmt: skip
def test_who_hangs(states, silent, who):
    found = hanging([State(*state) for state in states], silent, patience=600)
    assert (found and found[0]) == who


class TestHangDetector:
    """Two processes of which one hangs, with a clock that the test moves."""

    @pytest.fixture
    def ended(self, monkeypatch):
        """What is said at the end of the program; one look each by processes that are ``idle`` for so many seconds."""
        said, now = [], [0.0]

        def end(status, words=""):
            said.append(words)
            raise SystemExit(status)

        monkeypatch.setattr(hangs.process, "end", end)
        monkeypatch.setattr(hangs.time, "monotonic", lambda: now[0])
        monkeypatch.setattr(hangs.time, "sleep", lambda seconds: None)
        store = Words()
        detectors = [HangDetector(store, "run", rank, 2, 600, said.append) for rank in range(2)]

        def look(*idle, passed=(5, 5), seconds=1.0):
            now[0] += seconds
            for detector, gates, waited in zip(detectors, passed, idle, strict=True):
                if waited is not None:  # else it has no thread that could look any more
                    detector.look(gates, waited, False)

        return SimpleNamespace(said=said, look=look, store=store)

    def test_a_process_that_is_gone(self, ended):
        ended.look(1, 1)
        ended.look(600, None)
        ended.look(604, None, seconds=4)  # it may still answer
        with pytest.raises(SystemExit) as caught:
            ended.look(606, None, seconds=2)
        assert caught.value.code == ExitStatus.USER_ERROR
        assert ended.said[0].startswith("process 1 of 2 gives no sign of life")
        assert ended.said[1].startswith(f"error: {ended.said[0]}")

    def test_a_process_that_never_came(self, ended):
        ended.look(600, None)
        with pytest.raises(SystemExit):
            ended.look(606, None, seconds=6)
        assert ended.said[0].startswith("process 1 of 2 gives no sign of life")

    def test_a_process_that_is_behind(self, ended):
        """Both notice it; one speaks."""
        ended.look(600, 600, passed=(6, 5))
        with pytest.raises(SystemExit):
            ended.look(606, 606, passed=(6, 5), seconds=6)
        assert ended.said[0].startswith("process 1 of 2 has not come as far as the others")
        with pytest.raises(SystemExit):
            ended.look(None, 607, passed=(6, 5))
        assert ended.said[2:] == [""]

    def test_one_that_goes_on_in_time_ends_nothing(self, ended):
        ended.look(600, 600, passed=(6, 5))
        ended.look(603, 0, passed=(6, 6), seconds=3)
        ended.look(0, 3, passed=(7, 6), seconds=3)
        ended.look(600, 600, passed=(7, 7), seconds=600)  # a new suspicion, not the old one
        assert ended.said == []

    def test_one_that_has_left_is_not_waited_for(self, ended):
        ended.look(1, 1)
        ended.store.set("run/left", "1")
        for _ in range(3):
            ended.look(700, None, seconds=10)
        assert ended.said == []


class TestSignals:
    @pytest.fixture(autouse=True)
    def as_at_the_start(self):
        """Ignored where the tests themselves are run by nohup."""
        before = {n: signal.signal(n, signal.SIG_DFL) for n in (signal.SIGHUP, signal.SIGTERM)}
        yield
        for number, handler in before.items():
            signal.signal(number, handler)

    def test_before_there_is_anything_to_save(self):
        with pytest.raises(KeyboardInterrupt) as caught, Watch():
            signal.raise_signal(signal.SIGTERM)
        assert not isinstance(caught.value, Stopped)

    def test_later_they_wait_for_a_gate(self):
        with Watch() as watch, watch.holding():
            watch.gate()
            signal.raise_signal(signal.SIGHUP)
            with pytest.raises(Stopped, match="stopped by SIGHUP"):
                watch.gate()
            assert watch.passed == 1

    def test_a_second_one_interrupts_a_program_that_is_not_ours(self, monkeypatch):
        monkeypatch.setattr(stopping, "ECHO", -1.0)
        with Watch() as watch, watch.holding():
            signal.raise_signal(signal.SIGTERM)
            with pytest.raises(KeyboardInterrupt) as caught:
                signal.raise_signal(signal.SIGHUP)
        assert not isinstance(caught.value, Stopped)

    def test_an_echo_is_no_second_one(self, monkeypatch):
        """`timeout` sends a signal to a process and then to its group."""
        monkeypatch.setattr(stopping, "ECHO", 1000.0)
        with Watch() as watch, watch.holding():
            for _ in range(3):
                signal.raise_signal(signal.SIGTERM)
            with pytest.raises(Stopped):
                watch.gate()

    def test_what_is_ignored_stays_ignored(self):
        """``nohup``."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with Watch() as watch, watch.holding():
            signal.raise_signal(signal.SIGHUP)
            watch.gate()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

    def test_all_is_as_before_afterwards(self):
        before = signal.getsignal(signal.SIGTERM), signal.set_wakeup_fd(-1)
        with Watch():
            pass
        assert (signal.getsignal(signal.SIGTERM), signal.set_wakeup_fd(-1)) == before
