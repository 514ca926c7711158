"""Two gloo processes on this machine, for what must not depend on the number of processes."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ferbench.distributed import leave

RANKS = 2
PATIENCE = timedelta(minutes=5)  # torch's 30 would make a process that waits in vain cost a coffee break


@contextmanager
def on_two_processes(work: Callable[..., None], *arguments: Any) -> Iterator[Path]:
    """Run ``work(rank, folder, *arguments)`` on both ranks at once; yields the folder into which they wrote.

    The new processes have this one's `sys.path` and environment, but do not run its program again: a script need not be
    guarded by ``if __name__ == "__main__"``. Where the system can, they are forked from a server that has imported torch
    and ferbench once.

    Args:
        work: a module's function (it is imported by the new processes).
        arguments: what can be pickled.
    """
    import torch.multiprocessing as mp

    with tempfile.TemporaryDirectory() as folder:
        program = sys.modules["__main__"]
        # A new process would run the file of the module that is found here, and start processes of its own.
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            context = (folder, dict(os.environ), work, arguments)
            mp.start_processes(_start, context, nprocs=RANKS, start_method=start_method())
        finally:
            sys.modules["__main__"] = program
        yield Path(folder)


def start_method() -> str:
    """Return how processes are started: ``forkserver``, which has imported torch and ferbench once, or ``spawn``."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return "spawn"
    # Heard only before the server starts. "__main__", the default, would be this process' program.
    multiprocessing.set_forkserver_preload(["ferbench.testing", "ferbench.engine.api"])
    return "forkserver"


def _start(
    rank: int, folder: str, environment: dict[str, str], work: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=RANKS, timeout=PATIENCE
    )
    work(rank, Path(folder), *arguments)
    leave()
