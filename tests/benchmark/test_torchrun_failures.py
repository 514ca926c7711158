"""Runs of several processes: the reason of a failure among what torchrun prints, and that no process is left."""

from __future__ import annotations

import os
import sys

import pytest

from ferbench.benchmark import execute, torchrun_failures
from ferbench.benchmark.execute import Task

BUG = """[rank1]: Traceback (most recent call last):
[rank1]:   File "w.py", line 5, in <module>
[rank1]:     raise ZeroDivisionError("a bug")
[rank1]: ZeroDivisionError: a bug
[rank1]: of two lines
"""
LOST = """[rank0]: Traceback (most recent call last):
[rank0]:   File "w.py", line 8, in <module>
[rank0]:     work.wait()
[rank0]: RuntimeError: [gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:17302.
"""
NO_GROUP = """Traceback (most recent call last):
  File "w.py", line 1, in <module>
    import nothing
ModuleNotFoundError: No module named 'nothing'
"""


def torchrun(said: str, first: tuple[int, int], *others: tuple[int, int]) -> str:
    """What torchrun 2.13 prints after its processes: ranks and exit codes."""

    def entry(i: int, rank: int, code: int) -> str:
        return (
            f"[{i}]:\n  time      : 2026-01-01_18:43:53\n  host      : localhost\n  rank      : {rank} (local_rank: {rank})\n"
            f"  exitcode  : {code} (pid: {8777 + rank})\n  error_file: <N/A>\n  traceback : To enable traceback see: https://...\n"
        )

    listed = "".join(entry(i, *other) for i, other in enumerate(others, start=1)) or "  <NO_OTHER_FAILURES>\n"
    return (
        f"{said}W1124 18:43:53.954000 8767 torch/distributed/elastic/multiprocessing/api.py:1028] Sending process 8777 closing "
        f"signal SIGTERM\nE1124 18:43:53.988000 8767 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: "
        f'{first[1]}) local_rank: {first[0]} (pid: 8) of binary: python\nTraceback (most recent call last):\n  File "<frozen '
        f'runpy>", line 198, in _run_module_as_main\ntorch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n'
        f"{'=' * 60}\nw.py FAILED\n{'-' * 60}\nFailures:\n{listed}{'-' * 60}\nRoot Cause (first observed failure):\n"
        f"{entry(0, *first)}{'=' * 60}\n"
    )


@pytest.mark.parametrize(("output", "failure"), [
    (torchrun(BUG, (1, 1)), (1, "ZeroDivisionError: a bug of two lines", 1)),
    (torchrun(BUG + LOST, (1, 1), (0, -15)), (1, "ZeroDivisionError: a bug of two lines", 1)),
    (torchrun(BUG + LOST, (0, 1), (1, 1)), (1, "ZeroDivisionError: a bug of two lines", 1)),
    (torchrun(LOST, (1, -9), (0, 1)), (1, "", -9)),
    (torchrun("error: the folder does not exist\n", (0, 2), (1, -15)), (0, "the folder does not exist", 2)),
    (
        torchrun("error (process 1): bad data\nerror: interrupted; --resume goes on\n", (1, 2), (0, 130)),
        (1, "bad data", 2),
    ),
    (torchrun(NO_GROUP, (0, 1), (1, 1)), (0, "ModuleNotFoundError: No module named 'nothing'", 1)),
    (LOST, None),
    ("", None),
])  # fmt: skip
def test_the_first_failure(output, failure):
    assert torchrun_failures.failure_of(output) == failure


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
def test_no_process_is_left(tmp_path, failed_record):
    """A child in a session of its own, as torchrun's are, whose parent is gone: the pipe ends when it does."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    program = (
        "import os, subprocess, sys\n"
        f"out = os.open({str(pipe)!r}, os.O_WRONLY)\n"
        "subprocess.Popen(['sleep', '60'], stdout=out, start_new_session=True)\n"
        "print('[rank0]: it broke')\n"
        "sys.exit(3)\n"
    )
    task = Task("a run", tmp_path / "run", (sys.executable, "-c", program), failed_record, processes=2)
    outcome = execute.execute(task)
    assert outcome == execute.Outcome(execute.FAILED, "[rank0]: it broke (exit code 3)")
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b""
    os.close(reader)
