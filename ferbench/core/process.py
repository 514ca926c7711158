"""Settings of this process that must be made before anything heavy is imported: threads, memory, signals."""

from __future__ import annotations

import ctypes
import math
import multiprocessing
import os
import shlex
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from ferbench.config import DATA_VARIABLE

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # glibc's malloc.h
MALLOC_OPTIONS = {
    "MALLOC_MMAP_THRESHOLD_": (M_MMAP_THRESHOLD, 1 << 30),
    "MALLOC_TRIM_THRESHOLD_": (M_TRIM_THRESHOLD, 1 << 30),
    "MALLOC_TOP_PAD_": (M_TOP_PAD, 1 << 26),
}

#: Signals that tell a program to end.
ENDING = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP")

#: The words after ``ferbench`` of the command that this process is running (set by `ferbench.cli.main`); for the record.
command_line: tuple[str, ...] = ()


def tune_process() -> None:
    """Settings that make training on a CPU faster; each one only where the user has not set it."""
    local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // local_processes)))
    # Threads that spin while they wait take the cores from the data-loading workers.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_large_blocks()


def keep_large_blocks() -> bool:
    """Let glibc's malloc keep large freed blocks for the next step instead of giving them back to the kernel.

    By default large blocks are mapped afresh at each step and zeroed by the kernel page by page, which can
    cost half of a training step on a CPU. The price is that the process keeps its peak memory. Environment
    variables ``MALLOC_*_`` of the user win.

    Returns:
        Whether glibc took the settings; False without glibc, where nothing is done.
    """
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018 - other C libraries have no such symbol, and no such options
        mallopt = libc.mallopt
    except (AttributeError, OSError, TypeError):
        return False
    wanted = [option for variable, option in MALLOC_OPTIONS.items() if variable not in os.environ]
    return all(mallopt(ctypes.c_int(name), ctypes.c_int(value)) == 1 for name, value in wanted)


def available_cores() -> int:
    """Cores this process may use: its affinity, cut to the container's quota (`os.cpu_count` ignores it)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _cgroup_quota(Path("/sys/fs/cgroup")) or cores))


def _cgroup_quota(root: Path) -> int | None:
    """The container's limit in whole cores (rounded up), from cgroup v2 or v1; None if there is none."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (root / "cpu" / "cpu.cfs_quota_us").read_text()
            period = (root / "cpu" / "cpu.cfs_period_us").read_text()
        except OSError:
            return None
    try:
        return math.ceil(int(quota) / int(period)) if int(quota) > 0 else None
    except (ValueError, ZeroDivisionError):  # "max": no limit
        return None


@contextmanager
def interrupted_by(*signals: int) -> Iterator[None]:
    """Let signals (SIGTERM: a batch system's notice, `kill`) end a program as Ctrl-C does: by a KeyboardInterrupt.

    Signals that the program was told to ignore (``nohup``) stay ignored. Outside the main thread, whose affair signals
    are, nothing is done.
    """

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    with handled(signals, interrupt):
        yield


@contextmanager
def noted(*signals: int) -> Iterator[list[int]]:
    """Collect signals instead of acting on them, for what must not be broken off; otherwise as `interrupted_by`.

    Yields:
        The numbers of those that have come, to which the later ones are added.
    """
    came: list[int] = []
    with handled(signals, lambda number, frame: came.append(number)):
        yield came


@contextmanager
def handled(signals: Sequence[int], handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Let a function hear signals; otherwise as `interrupted_by`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def ending_signals() -> list[int]:
    """The numbers of `ENDING` that this system has."""
    return [int(getattr(signal, name)) for name in ENDING if hasattr(signal, name)]


def ignore_ending_signals() -> None:
    """Let this process end with the status that it has: for one that has nothing left to do.

    Python gives a signal's default action back while it takes the interpreter down, which takes up to a second after torch
    was imported; one that is ignored stays ignored.
    """
    if threading.current_thread() is threading.main_thread():
        for number in ending_signals():
            signal.signal(number, signal.SIG_IGN)


_ending = threading.RLock()


def end(status: int, words: str = "") -> NoReturn:
    """End this process and its children here and now, from any thread, without taking anything down.

    Args:
        status: exit status.
        words: for stderr.
    """
    _ending.acquire()  # another thread that ends the process, too, waits here until it is gone
    if words:
        with suppress(OSError):
            os.write(2, f"{words}\n".encode())
    for child in multiprocessing.active_children():
        child.kill()
    # At once: the main thread must not notice that its children are gone.
    os._exit(status)


def portable_command(words: Sequence[str]) -> str:
    """A command line as a reader may type it: paths relative to where it was started, the data folder by its variable."""
    shown: list[str] = []
    for word in words:
        if shown and shown[-1] == "--data":
            shown.append(f"${DATA_VARIABLE}")
            continue
        path = Path(word)
        if path.is_absolute():
            word = str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name
        shown.append(word)
    return (
        shlex.join(["ferbench", *shown]).replace(f"'${DATA_VARIABLE}'", f"${DATA_VARIABLE}") if shown else ""
    )


def command() -> str:
    """The command of this process, portable; empty when it was not started by the command line."""
    return portable_command(command_line)
