"""The registered algorithms against numbers that public implementations computed (tests/data/vectors/README.md)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ferbench.testing.recipes import RECIPES
from ferbench.testing.replay import Folder, Recipe, read_arrays, replay

VECTORS = Path(__file__).resolve().parents[1] / "data" / "vectors"
FOLDER = Folder.open(VECTORS)

#: Arrays where we differ on purpose -> why; what is right is tested where the reason says.
CORRECTED: dict[tuple[str, str], str] = {}
#: Arrays whose recorded float32 sums are less exact than 1e-5.
TOLERANCE: dict[tuple[str, str], float] = {}


def recipe_of(run: str) -> Recipe:
    told = FOLDER.meta["runs"][run]
    return RECIPES[told["algorithm"], told["imb"]]


def agree(name: str, ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> None:
    assert ours.shape == theirs.shape, name
    if theirs.dtype.kind == "f":
        np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=tolerance, err_msg=name)
    else:
        np.testing.assert_array_equal(ours, theirs, err_msg=name)


RUNS = [run for run, told in FOLDER.meta["runs"].items() if (told["algorithm"], told["imb"]) in RECIPES]


@pytest.mark.parametrize("run", RUNS)
def test_run(run: str) -> None:
    recorded = read_arrays(VECTORS / f"{run}.npz")
    ours = replay(FOLDER, run, recipe_of(run))
    inputs = {name for name in recorded if name.startswith("in_")} | {"beta_draw", "perm", "mem_bank_init"}
    for name in recorded.keys() - inputs:
        if (run, name) not in CORRECTED:
            assert name in ours, f"{run} does not give {name}"
            agree(f"{run}: {name}", ours[name], recorded[name], TOLERANCE.get((run, name), 1e-5))
