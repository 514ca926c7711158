"""Starting data-loading processes: one that hangs in the fork, as gloo's threads make it now and then, is forked again."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from ferbench.data.forking import CheckedForkContext, CheckedForkProcess, CheckedPopen

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


class ImpatientPopen(CheckedPopen):
    patience = 0.5


class ImpatientProcess(CheckedForkProcess):
    @staticmethod
    def _Popen(process_obj):
        return ImpatientPopen(process_obj)


@pytest.fixture
def hang_in_fork(monkeypatch):
    """Makes the first so many children of this process hang where CPython's would: in the fork."""
    left = [0]
    fork, forked = os.fork, []

    def hanging_fork() -> int:
        hangs = left[0] > 0
        left[0] -= 1
        pid = fork()
        if pid == 0 and hangs:
            signal.pause()
            os._exit(1)
        forked.append(pid)
        return pid

    monkeypatch.setattr(os, "fork", hanging_fork)

    def first(number: int) -> list[int]:
        left[0] = number
        return forked

    return first


def write(path: Path) -> None:
    path.write_text("done", encoding="utf-8")


def test_a_process_does_its_work(tmp_path):
    process = CheckedForkContext().Process(target=write, args=(tmp_path / "out",))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert (tmp_path / "out").read_text(encoding="utf-8") == "done"


def test_one_that_hangs_is_killed_and_started_again(tmp_path, hang_in_fork):
    forked = hang_in_fork(1)
    process = ImpatientProcess(target=write, args=(tmp_path / "out",))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert (tmp_path / "out").read_text(encoding="utf-8") == "done"
    assert process.pid == forked[-1] != forked[0]
    with pytest.raises(ProcessLookupError):  # killed, and waited for
        os.kill(forked[0], 0)


def test_not_for_ever(tmp_path, hang_in_fork, monkeypatch):
    monkeypatch.setattr(ImpatientPopen, "patience", 0.01)
    forked = hang_in_fork(99)
    with pytest.raises(RuntimeError, match="did not start: 4 forks hung"):
        ImpatientProcess(target=write, args=(tmp_path / "out",)).start()
    assert len(forked) == 4
    assert not (tmp_path / "out").exists()


def test_the_parent_sees_a_process_die(tmp_path):
    process = CheckedForkContext().Process(target=os._exit, args=(3,))
    process.start()
    process.join()
    assert process.exitcode == 3


def test_no_file_stays_open(tmp_path):
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = opened()
    process = CheckedForkContext().Process(target=write, args=(tmp_path / "out",))
    process.start()
    process.join()
    process.close()
    assert opened() == before
