"""Locks: one holder at a time, none that is dead."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ferbench.engine import lock, slurm
from ferbench.engine.lock import State
from ferbench.errors import ExitStatus, FolderTaken


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".lock"


def write_owner(path, **changes):
    own = {"host": lock.socket.gethostname(), "pid": 1, "since": "2026-01-01T00:00:00+00:00", **changes}
    path.write_text(json.dumps(own))


class TestOneProcess:
    def test_taken_once_given_up_taken_again(self, path):
        held = lock.take(path)
        assert lock.look(path)[0] is State.HELD
        assert lock.take(path) is None
        owner = lock.owner_of(path)
        assert (owner.host, owner.pid) == (lock.socket.gethostname(), os.getpid())
        held.release()
        assert not path.exists()
        assert lock.look(path)[0] is State.FREE
        lock.take(path).release()

    def test_looking_does_not_take(self, path):
        held = lock.take(path)
        assert lock.look(path)[0] is State.HELD
        held.release()
        assert lock.look(path)[0] is State.FREE
        assert lock.owner_of(path) is None

    def test_giving_up_a_lock_whose_file_is_gone(self, path):
        held = lock.take(path)
        path.unlink()
        held.release()

    def test_a_lock_that_was_given_up_between_opening_and_locking(self, path, monkeypatch):
        """Whoever then gets the lock of the removed file has nothing: the next one would make a new file."""
        first, flock, calls = lock.take(path), lock._flock, []

        def slow(descriptor, wait=False):
            if not calls:
                calls.append(descriptor)
                first.release()
            return flock(descriptor, wait)

        monkeypatch.setattr(lock, "_flock", slow)
        second = lock.take(path)
        assert os.path.samestat(os.fstat(second.descriptor), os.stat(path))
        assert lock.take(path) is None
        second.release()


class TestLeftOver:
    def test_of_a_dead_process_of_this_machine(self, path):
        write_owner(path, pid=2**22 + 1)
        assert lock.look(path)[0] is State.FREE
        held = lock.take(path)
        assert lock.owner_of(path).pid == os.getpid()
        held.release()

    def test_of_another_machine(self, path):
        write_owner(path, host="node7", pid=5)
        before = path.read_bytes()
        assert lock.look(path)[0] is State.UNKNOWN
        assert lock.take(path) is None
        assert path.read_bytes() == before
        assert str(lock.owner_of(path)) == "process 5 on node7 since 2026-01-01T00:00:00+00:00"

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"host": 1}'])
    def test_without_an_owner(self, content, path):
        """Young: its maker is about to write its name; old: its maker has died before it could."""
        path.write_text(content)
        assert lock.look(path)[0] is State.HELD
        assert lock.take(path) is None
        old = path.stat().st_mtime - 2 * lock.YOUNG
        os.utime(path, (old, old))
        assert lock.look(path)[0] is State.FREE
        lock.take(path).release()

    def test_a_child_holds_the_lock_when_its_parent_is_gone(self, path):
        held = lock.take(path)
        code = "import sys; sys.stdin.read()"
        child = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, pass_fds=(held.descriptor,)
        )
        os.close(held.descriptor)  # as the kernel does for a runner that is killed
        assert lock.look(path)[0] is State.HELD
        assert lock.take(path) is None
        child.communicate(b"")
        assert lock.look(path)[0] is State.FREE
        lock.take(path).release()


class TestSlurmJobs:
    """The lock of a process on another machine goes when Slurm says that its job is over, and only then."""

    @pytest.mark.parametrize(("answer", "state"), [
        ("JobId=12 JobState=RUNNING Restarts=0", State.HELD),
        ("JobId=12 JobState=COMPLETING Restarts=0", State.HELD),
        ("JobId=12 JobState=PENDING Restarts=1", State.FREE),  # requeued since
        ("JobId=12 JobState=RUNNING Restarts=1", State.FREE),
        ("JobId=12 JobState=NODE_FAIL Restarts=0", State.FREE),
        ("JobId=12 JobState=CANCELLED Restarts=0", State.FREE),
        ("slurm_load_jobs error: Invalid job id specified", State.FREE),
        ("JobId=13 ArrayJobId=12 JobState=FAILED\nJobId=12 ArrayJobId=12 JobState=RUNNING Restarts=0", State.HELD),
        ("slurm_load_jobs error: Unable to contact slurm controller (connect failure)", State.UNKNOWN),
        (None, State.UNKNOWN),
    ])  # fmt: skip
    def test_what_the_controller_says(self, answer, state, path, monkeypatch):
        told = {"config": "ClusterName             = blue\n", "job": answer}
        monkeypatch.setattr(slurm, "_ask", lambda verb, what, *_: told[what])
        write_owner(path, host="node7", pid=5, job=["12", 0, "blue"])
        assert lock.look(path)[0] is state
        assert (lock.take(path) is not None) == (state is State.FREE)

    def test_a_number_of_another_cluster_proves_nothing(self, path, monkeypatch):
        monkeypatch.setattr(slurm, "_ask", lambda verb, what, *_: {"config": "ClusterName = red\n"}[what])
        write_owner(path, host="node7", pid=5, job=["12", 0, "blue"])
        assert lock.look(path)[0] is State.UNKNOWN

    def test_the_job_is_in_the_lock(self, path, monkeypatch):
        for name, value in (("JOB_ID", "12"), ("RESTART_COUNT", "2"), ("CLUSTER_NAME", "blue")):
            monkeypatch.setenv(f"SLURM_{name}", value)
        held = lock.take(path)
        assert lock.owner_of(path).job == slurm.Job("12", 2, "blue")
        assert "(Slurm job 12) on" not in str(lock.owner_of(path))
        monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "11")
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
        assert slurm.own_job() == slurm.Job("11_1", 2, "blue")  # what squeue shows, and scancel takes
        assert f"on {lock.socket.gethostname()} (Slurm job 12) since" in str(lock.owner_of(path))
        held.release()


class TestHolding:
    def test_a_second_start_in_the_same_folder(self, tmp_path):
        folder = tmp_path / "a" / "b"
        with lock.holding(folder):
            owner = lock.owner_of(folder / lock.NAME)
            with pytest.raises(FolderTaken) as caught, lock.holding(folder):
                pass
        assert caught.value.status == ExitStatus.TAKEN
        for word in (f"process {os.getpid()}", lock.socket.gethostname(), owner.since, "--work-dir"):
            assert word in str(caught.value)
        assert list(tmp_path.iterdir()) == []  # nothing was written in the folder, so that it goes again

    def test_what_a_refused_start_proposes_works(self, tmp_path):
        """Removing the file, and --take-over, where nothing can be known of the owner."""
        for advice in ("remove", "take over"):
            write_owner(tmp_path / lock.NAME, host="node7", pid=5)
            with (
                pytest.raises(FolderTaken, match="process 5 on node7 since 2026") as caught,
                lock.holding(tmp_path),
            ):
                pass
            assert "--take-over (or removing this file)" in caught.value.fix
            if advice == "remove":
                caught.value.where.unlink()
            with lock.holding(tmp_path, take_over=advice == "take over"):
                assert lock.owner_of(tmp_path / lock.NAME).pid == os.getpid()

    def test_the_lock_of_a_runner_is_recognised(self, tmp_path, monkeypatch):
        """It comes as standard input; the training does not hand it on, and the runner gives it up."""
        held = lock.take(tmp_path / lock.NAME)
        monkeypatch.setattr(lock, "STDIN", os.dup(held.descriptor))
        before = lock.owner_of(tmp_path / lock.NAME)
        monkeypatch.setattr(lock.os, "getpid", lambda: before.pid + 1)
        with lock.holding(tmp_path):
            assert lock.owner_of(tmp_path / lock.NAME).pid == before.pid + 1
            assert os.read(lock.STDIN, 1) == b""
            assert not os.path.samestat(os.fstat(lock.STDIN), os.fstat(held.descriptor))
        assert lock.look(tmp_path / lock.NAME)[0] is State.HELD
        held.release()
        assert list(tmp_path.iterdir()) == []
        os.close(lock.STDIN)

    def test_having_the_file_open_is_not_holding_the_lock(self, tmp_path, monkeypatch):
        with lock.holding(tmp_path), open(tmp_path / lock.NAME, "rb") as file:
            monkeypatch.setattr(lock, "STDIN", file.fileno())
            with pytest.raises(FolderTaken, match="another training is at work"), lock.holding(tmp_path):
                pass

    def test_processes_that_load_data_do_not_hold_it(self, path):
        """They outlive a training that is killed by some seconds."""
        held = lock.take(path)
        context = multiprocessing.get_context("fork")
        ready, end = context.Event(), context.Event()
        worker = context.Process(target=_wait, args=(ready, end))
        worker.start()
        ready.wait()
        os.close(held.descriptor)  # as the kernel does for a training that is killed
        assert lock.look(path)[0] is State.FREE
        end.set()
        worker.join()
        lock.Lock._open.discard(held.descriptor)


def _wait(ready, end) -> None:
    ready.set()
    end.wait()


class TestFileSystemWithoutLocks:
    @pytest.fixture(autouse=True)
    def _no_flock(self, monkeypatch):
        def flock(descriptor, how):
            raise OSError(lock.errno.EOPNOTSUPP, "not supported")

        monkeypatch.setattr(lock.fcntl, "flock", flock)

    def test_the_file_decides(self, path):
        held = lock.take(path)
        assert lock.look(path)[0] is State.HELD
        assert lock.take(path) is None
        held.release()
        lock.take(path).release()

    @pytest.mark.skipif(not lock._namespace(), reason="needs /proc")
    @pytest.mark.parametrize(("changes", "state"), [
        ({}, State.HELD),
        ({"pid": 2**22 + 1}, State.FREE),
        ({"started": "1"}, State.FREE),  # the number is another process's by now
        ({"boot": "before"}, State.FREE),
        ({"namespace": "pid:[1]"}, State.UNKNOWN),  # a container of this machine
        ({"host": "node7"}, State.UNKNOWN),
    ])  # fmt: skip
    def test_what_is_known_of_the_process_decides(self, changes, state, path):
        own = {"boot": lock._boot(), "namespace": lock._namespace(), "started": lock._started(os.getpid())}
        write_owner(path, **{"pid": os.getpid(), **own, **changes})
        assert lock.look(path)[0] is state
        held = lock.take(path)
        assert (held is not None) == (state is State.FREE)
        if state is State.UNKNOWN:
            held = lock.take(path, take_over=True)
        assert state is State.HELD or lock.owner_of(path).pid == os.getpid()
        assert [file.name for file in path.parent.iterdir()] == [path.name]
        if held:
            held.release()

    def test_two_do_not_remove_a_dead_lock_at_a_time(self, path):
        write_owner(path, pid=2**22 + 1, namespace=lock._namespace())
        guard = path.with_name(".lock.removing")
        guard.touch()
        assert lock.take(path) is None
        old = guard.stat().st_mtime - 2 * lock.YOUNG
        os.utime(guard, (old, old))  # whose maker has died
        lock.take(path).release()
        assert list(path.parent.iterdir()) == []

    def test_another_error_is_one(self, path, monkeypatch):
        def flock(descriptor, how):
            raise OSError(lock.errno.EIO, "broken disk")

        monkeypatch.setattr(lock.fcntl, "flock", flock)
        with pytest.raises(OSError, match="broken disk"):
            lock.take(path)


@pytest.mark.parametrize("left_over", [False, True])
def test_a_lock_that_cannot_be_written_is_not_held(left_over, tmp_path, monkeypatch):
    """A full disk: nothing stays open, and a process that is forked later closes no file of another purpose."""
    path = tmp_path / lock.NAME
    if left_over:
        write_owner(path, pid=2**22 + 1)

    def full(*_):
        raise OSError(lock.errno.ENOSPC, "no space left on the disk")

    before, kept = set(os.listdir("/proc/self/fd")), set(lock.Lock._open)
    monkeypatch.setattr(lock.os, "pwrite", full)
    with pytest.raises(OSError, match="no space left"):
        lock.take(path)
    assert set(os.listdir("/proc/self/fd")) == before
    assert lock.Lock._open == kept
    assert path.exists() is left_over


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
