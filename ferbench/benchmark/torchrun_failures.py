"""A run of several processes, which torchrun starts: why it failed, and that none of its processes outlives it."""

from __future__ import annotations

import os
import re
import signal
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

MARK = "FERBENCH_RUN"  # variable by which the processes of a run are known; each start has its own value
#: torchrun's own words begin here: its log (``E1124 18:43:53.988000 8767 torch/distributed/elastic/...``) or its traceback.
_WRAPPER = re.compile(
    r"^[IWE]\d{4} .*torch/distributed/.*$|^Traceback .*\n\s+File \"<frozen runpy>\"", re.MULTILINE
)
_FAILURE = re.compile(r"^\s*rank\s+: (\d+) .*\n\s*exitcode\s+: (-?\d+) ", re.MULTILINE)
_ROOT = "Root Cause (first observed failure):"
#: What a process says because another one has ended.
_CONSEQUENCES = ("connection closed", "connection reset", "broken pipe", "interrupted")


class Failure(NamedTuple):
    """The process that ended a run: its rank, what it said (empty: nothing), and its exit code."""

    rank: int
    said: str
    code: int


def failure_of(output: str) -> Failure | None:
    """The first process that failed by itself, by what a run under torchrun has printed.

    Args:
        output: the end of its console output.

    Returns:
        None if torchrun does not say which processes have failed.
    """
    listed, _, root = output.rpartition(_ROOT)
    codes = {int(rank): int(code) for rank, code in _FAILURE.findall(listed)}
    found = _FAILURE.search(root)
    if not listed or found is None:
        return None
    first = int(found[1])
    codes = {first: int(found[2]), **codes}
    own = [Failure(rank, said_by(rank, output), code) for rank, code in codes.items()]
    # Two that end within one look of torchrun's may be told in the wrong order.
    causes = [f for f in own if f.said and not any(word in f.said.casefold() for word in _CONSEQUENCES)]
    killed = (
        own[0].code < 0 and own[0].code != -signal.SIGABRT
    )  # it could not say why; gloo aborts when others are gone
    if causes and not killed:
        return causes[0]
    return own[0] if own[0].said or killed else own[0]._replace(said=_last_line(output))


def said_by(rank: int, output: str) -> str:
    """The last error message of a process: ours, or the end of its traceback; empty if there is none."""
    who = f"error (process {rank}): " if rank else "error: "
    ours = [line.removeprefix(who) for line in output.splitlines() if line.startswith(who)]
    if ours:
        return ours[-1]
    prefix = f"[rank{rank}]: "
    lines = [line.removeprefix(prefix) for line in output.splitlines() if line.startswith(prefix)]
    frames = [i for i, line in enumerate(lines) if line.startswith((" ", "Traceback "))]
    return " ".join(lines[frames[-1] + 1 :] if frames else lines[-1:])


def kill_marked(value: str) -> None:
    """Kill the processes of a start that are left: torchrun gives each one a session of its own, and one that is killed itself
    leaves them behind. Without ``/proc`` (not Linux) nothing is done.

    Args:
        value: of `MARK`.
    """
    wanted = f"{MARK}={value}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is somebody else's
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)


def _last_line(output: str) -> str:
    """The last line before torchrun's own words: processes that fail before they know each other say nothing of their rank."""
    wrapper = _WRAPPER.search(output)
    lines = [
        line.strip() for line in output[: wrapper.start() if wrapper else None].splitlines() if line.strip()
    ]
    return lines[-1] if lines else ""
