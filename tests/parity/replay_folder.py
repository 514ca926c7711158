"""Every recorded run of a folder of reference vectors, replayed and written down."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ferbench.core.files import atomic_write
from ferbench.errors import UserError
from parity.recipes import EPOCH_RECIPES, recipes_of
from parity.replay import Arrays, Folder, replay, replay_epochs, replay_selection
from parity.replay_processes import replay_on_two_processes


def replayed(folder: Folder) -> Iterator[tuple[str, Arrays]]:
    """Name and arrays of every run that a registered algorithm reproduces from the inputs in the folder.

    Raises:
        UserError: the folder lists a run of an algorithm that there is no recipe for.
    """
    recipes = recipes_of(folder)
    if unknown := folder.meta["runs"].keys() - recipes.keys():
        raise UserError(
            f"there is no recipe for {', '.join(sorted(unknown))}",
            where=folder.path / "meta.json",
            fix="add one to tests/parity/recipes.py",
        )
    for run, recipe in recipes.items():
        yield run, replay(folder, run, recipe)
    for run, config in EPOCH_RECIPES.items():
        if folder.of_run(run):  # its inputs are its own
            yield run, replay_epochs(folder, run, config)
    yield "usb_crest_selection", replay_selection(folder)
    for rank, arrays in enumerate(replay_on_two_processes(folder)):
        yield f"ddp2_rank{rank}", arrays


def main(argv: Sequence[str] | None = None) -> int:
    """``tools/replay_vectors.py FOLDER -o OUT``."""
    parser = argparse.ArgumentParser(
        description="Drive the registered algorithms with recorded inputs; write <run>.npz with what they compute."
    )
    parser.add_argument(
        "folder", metavar="FOLDER", help="holds inputs.npz, meta.json and the inputs of the runs"
    )
    parser.add_argument("-o", "--out", metavar="OUT", required=True, help="folder to write into")
    arguments = parser.parse_args(argv)
    out = Path(arguments.out).expanduser()
    try:
        folder = Folder.open(arguments.folder)
        if out.exists() and out.resolve() == folder.path.resolve():
            raise UserError("OUT is the folder of the vectors", where=out, fix="name another folder")
        out.mkdir(parents=True, exist_ok=True)
        for run, arrays in replayed(folder):
            with atomic_write(out / f"{run}.npz") as stream:
                np.savez_compressed(stream, allow_pickle=False, **arrays)
            print(f"{run}: {len(arrays)} arrays", flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
