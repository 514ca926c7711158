"""The recorded runs of two processes: rank r takes the rows r::2 of each batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ferbench.testing.processes import RANKS, on_two_processes
from parity.recipes import RECIPES
from parity.replay import Arrays, Folder, read_arrays, replay

RUNS = ("freematch_clip_m90", "adamatch_m90", "flexmatch_warmup")


def replay_on_two_processes(folder: Folder, runs: Sequence[str] = RUNS) -> list[Arrays]:
    """Some runs on two processes.

    Args:
        folder: the vectors.
        runs: names of runs of ``meta.json``.

    Returns:
        For each rank the arrays ``<run>__<array>``, without gradients.
    """
    with on_two_processes(_replay, folder.path, tuple(runs)) as written:
        return [read_arrays(written / f"{rank}.npz") for rank in range(RANKS)]


def _replay(rank: int, out: Path, path: Path, runs: Sequence[str]) -> None:
    folder = Folder.open(path)
    found: Arrays = {}
    for run in runs:
        told = folder.meta["runs"][run]
        arrays = replay(folder, run, RECIPES[told["algorithm"], told["imb"]], slice(rank, None, RANKS))
        found |= {f"{run}__{name}": a for name, a in arrays.items() if not name.startswith("grad_")}
    np.savez(out / f"{rank}.npz", allow_pickle=False, **found)
