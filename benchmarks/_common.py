"""What the benchmarks share: clocks, alternation, and the line that says where the figures come from."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def seconds(work: Callable[[], object]) -> float:
    """CPU time of all threads of this process, in the kernel too (page faults count)."""
    start = time.process_time()
    work()
    return time.process_time() - start


def alternate(
    programs: Mapping[str, Callable[[], Any]],
    rounds: int,
    clock: Callable[[Callable[[], Any]], float] = seconds,
) -> dict[str, list[float]]:
    """Seconds of each program in each round.

    The programs take turns, in an order that turns round every time, so that whatever else the machine does
    strikes all of them. One round before the first is not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(rounds + 1):
        for name in list(programs)[:: 1 if turn % 2 else -1]:
            passed = clock(programs[name])
            if turn:
                times[name].append(passed)
    return times


def ratio(above: list[float], below: list[float]) -> float:
    """Median over the rounds of the ratio of two programs that took turns."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def machine() -> str:
    """Processor, cores, load and versions, for the line above a table."""
    import torch

    from ferbench.core.process import available_cores

    info = Path("/proc/cpuinfo")
    names = [x for x in info.read_text().splitlines() if x.startswith("model name")] if info.exists() else []
    name = names[0].split(":", 1)[1].strip() if names else platform.processor()
    load = os.getloadavg()[0]
    python, threads = platform.python_version(), torch.get_num_threads()
    return (
        f"{name}, {available_cores()} cores, load {load:.1f}; Python {python}, torch {torch.__version__}, "
        f"{threads} thread{'s' if threads > 1 else ''}"
    )


def resident() -> float:
    """Memory of this process in MB (RSS)."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
