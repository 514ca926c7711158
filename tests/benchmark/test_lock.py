"""Locks: one holder at a time, none that is dead."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ferbench.benchmark import lock


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".lock"


def write_owner(path, **changes):
    own = {"host": lock.socket.gethostname(), "pid": 1, "since": "2026-01-01T00:00:00+00:00", **changes}
    path.write_text(json.dumps(own))


class TestOneProcess:
    def test_taken_once_given_up_taken_again(self, path):
        held = lock.take(path)
        assert lock.is_held(path)
        assert lock.take(path) is None
        owner = lock.owner_of(path)
        assert (owner.host, owner.pid) == (lock.socket.gethostname(), os.getpid())
        held.release()
        assert not path.exists()
        assert not lock.is_held(path)
        lock.take(path).release()

    def test_looking_does_not_take(self, path):
        held = lock.take(path)
        assert lock.is_held(path)
        held.release()
        assert not lock.is_held(path)
        assert lock.owner_of(path) is None

    def test_giving_up_a_lock_whose_file_is_gone(self, path):
        held = lock.take(path)
        path.unlink()
        held.release()

    def test_a_lock_that_was_given_up_between_opening_and_locking(self, path, monkeypatch):
        """Whoever then gets the lock of the removed file has nothing: the next one would make a new file."""
        first, flock, calls = lock.take(path), lock._flock, []

        def slow(descriptor, created):
            if not calls:
                calls.append(descriptor)
                first.release()
            return flock(descriptor, created)

        monkeypatch.setattr(lock, "_flock", slow)
        second = lock.take(path)
        assert os.path.samestat(os.fstat(second.descriptor), os.stat(path))
        assert lock.take(path) is None
        second.release()


class TestLeftOver:
    def test_of_a_dead_process_of_this_machine(self, path):
        write_owner(path, pid=2**22 + 1)
        assert not lock.is_held(path)
        held = lock.take(path)
        assert lock.owner_of(path).pid == os.getpid()
        held.release()

    def test_of_another_machine(self, path):
        write_owner(path, host="node7", pid=5)
        before = path.read_bytes()
        assert lock.is_held(path)
        assert lock.take(path) is None
        assert path.read_bytes() == before
        assert str(lock.owner_of(path)) == "process 5 on node7 since 2026-01-01T00:00:00+00:00"

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"host": 1}'])
    def test_without_an_owner(self, content, path):
        """Young: its maker is about to write its name; old: its maker has died before it could."""
        path.write_text(content)
        assert lock.is_held(path)
        assert lock.take(path) is None
        old = path.stat().st_mtime - 2 * lock.YOUNG
        os.utime(path, (old, old))
        assert not lock.is_held(path)
        lock.take(path).release()

    def test_a_child_holds_the_lock_when_its_parent_is_gone(self, path):
        held = lock.take(path)
        code = "import sys; sys.stdin.read()"
        child = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, pass_fds=(held.descriptor,)
        )
        os.close(held.descriptor)  # as the kernel does for a runner that is killed
        assert lock.is_held(path)
        assert lock.take(path) is None
        child.communicate(b"")
        assert not lock.is_held(path)
        lock.take(path).release()


class TestFileSystemWithoutLocks:
    @pytest.fixture(autouse=True)
    def _no_flock(self, monkeypatch):
        def flock(descriptor, how):
            raise OSError(lock.errno.EOPNOTSUPP, "not supported")

        monkeypatch.setattr(lock.fcntl, "flock", flock)

    def test_the_file_decides(self, path):
        held = lock.take(path)
        assert lock.is_held(path)
        assert lock.take(path) is None
        held.release()
        lock.take(path).release()

    def test_nothing_is_taken_over(self, path):
        write_owner(path, pid=2**22 + 1)
        assert lock.take(path) is None

    def test_another_error_is_one(self, path, monkeypatch):
        def flock(descriptor, how):
            raise OSError(lock.errno.EIO, "broken disk")

        monkeypatch.setattr(lock.fcntl, "flock", flock)
        with pytest.raises(OSError, match="broken disk"):
            lock.take(path)


def _grab(folder: str, barrier, ledger) -> None:
    for number in range(20):
        barrier.wait()
        held = lock.take(Path(folder) / f"{number}.lock")
        if held is not None:
            ledger.put(number)
        barrier.wait()  # nobody gives it up before all have tried
        if held is not None:
            held.release()


def test_of_many_processes_one_gets_each_lock(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, ledger = context.Barrier(4), context.Queue()
    workers = [context.Process(target=_grab, args=(str(tmp_path), barrier, ledger)) for _ in range(4)]
    for worker in workers:
        worker.start()
    won = sorted(ledger.get() for _ in range(20))
    for worker in workers:
        worker.join()
    assert won == list(range(20))
    assert ledger.empty()
    assert os.listdir(tmp_path) == []
