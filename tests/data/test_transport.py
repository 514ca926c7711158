"""Batches reach the training whatever room /dev/shm has; a loader that delivers nothing ends the run with a message."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch

from ferbench.data import loader, transport
from ferbench.errors import UserError

MB = 1_000_000


@pytest.fixture
def room(monkeypatch):
    """So many bytes are free, nothing is reserved, and nothing was said."""
    gc.collect()
    monkeypatch.setattr(transport, "_reserved", {})
    monkeypatch.setattr(transport, "_told", set())
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    said: list[str] = []
    monkeypatch.setattr(transport, "print_log", lambda text, **_: said.append(text))

    def free(size: int | None) -> list[str]:
        monkeypatch.setattr(transport, "free_shared_memory", lambda: size)
        return said

    return free


@pytest.mark.parametrize(("free", "prefetch", "shared"), [
    (None, 4, True),  # no such folder
    (64 * MB, 4, True),  # 2 workers * 4 + 2 batches of 5 MB are 50.7 MB
    (55 * MB, 2, True),  # 30.4 MB
    (33 * MB, 1, True),  # 20.3 MB
    (20 * MB, 2, False),
    (0, 2, False),
])  # fmt: skip
def test_what_fits(free, prefetch, shared, room):
    said = room(free)
    assert transport.choose(5 * MB, workers=2) == (prefetch, shared)
    assert len(said) == (0 if prefetch == 4 else 1)
    assert all("--shm-size" in line for line in said)


def test_streams_and_processes_share_the_room(room, monkeypatch):
    room(64 * MB)
    other = type("Loader", (), {})()
    assert transport.choose(2 * MB, workers=2).prefetch == 4
    transport.reserve(other, transport.need(2 * MB, 2, 4))  # 20.7 of 57.6 MB
    assert transport.choose(4 * MB, workers=2) == (2, True)
    del other  # its loader has ended
    gc.collect()
    assert transport.choose(4 * MB, workers=2) == (4, True)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert transport.choose(4 * MB, workers=2) == (2, False)


def test_without_workers_nothing_is_counted(room):
    assert room(0) == []
    assert transport.choose(500 * MB, workers=0) == (4, True)


class Batches:
    """Four batches of every kind of content that a loader hands on."""

    def size_of(self, rows: int) -> int:
        return rows * 300

    def __getitem__(self, key):
        rng = np.random.default_rng(int(key[0]))
        return {
            "images": {"weak": torch.from_numpy(rng.integers(0, 255, (2, 3, 4, 4)).astype(np.uint8))},
            "index": torch.from_numpy(key),
            "targets": torch.from_numpy(rng.random((2, 3)).astype(np.float32)),
            "unreadable": [(1, "why")],
        }


KEYS = [np.array([i, i + 1]) for i in range(4)]


def same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return a.dtype == b.dtype and torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("way", ["shared", "pipe", "full while it runs"])
def test_what_arrives_is_the_same(way, room, monkeypatch):
    """Bit for bit; also where the room that was there is gone when a worker wants it."""
    room(0 if way == "pipe" else 1 << 40)
    if way == "full while it runs":

        def full(tensor):
            raise RuntimeError(
                "unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)"
            )

        monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    came = list(loader.batch_loader(Batches(), KEYS, workers=1))
    assert all(same(a, Batches()[key]) for a, key in zip(came, KEYS, strict=True))


def test_a_loader_that_delivers_nothing(room, monkeypatch):
    """Its worker waits for ever, as for a network drive that is gone; no time passes in the test."""
    room(64 * MB)
    batches = loader._Loader(Batches(), KEYS, 0, 2)

    class Silent:
        def __next__(self):
            raise RuntimeError("DataLoader timed out after 540 seconds")  # torch's words

    batches.batches = Silent()
    with pytest.raises(UserError, match=r"delivered nothing for 540 s; /dev/shm has 64 MB free") as caught:
        next(batches)
    assert "--shm-size" in caught.value.fix


@pytest.mark.heavy  # the worker is given five seconds to end
def test_torch_still_says_it_in_these_words(monkeypatch, room):
    """A worker that is stopped, and a patience that is over at once."""
    room(None)
    monkeypatch.setattr(loader, "PATIENCE", 0.01)

    class Never(Batches):
        def __getitem__(self, key):
            import signal

            signal.pause()

    with pytest.raises(UserError, match=r"delivered nothing for 0\.01 s"):
        next(loader._Loader(Never(), KEYS, 1, 2))
