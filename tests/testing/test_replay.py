"""The registered algorithms against numbers that public implementations computed (tests/data/vectors/README.md)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ferbench.testing.recipes import EPOCH_RECIPES, recipes_of
from ferbench.testing.replay import Folder, read_arrays, replay, replay_epochs, replay_selection

VECTORS = Path(__file__).resolve().parents[1] / "data" / "vectors"
FOLDER = Folder.open(VECTORS)

#: Arrays where we differ on purpose -> why; what is right is tested where the reason says.
CORRECTED: dict[tuple[str, str], str] = {
    # Until step 15 all but the bank agree, and afterwards what does not depend on it: tests/algorithms/test_simmatch.py.
    **{
        ("simmatch", array): "the recorded bank is normalised along the batch"
        for array in ("mask", "unsup_loss", "total_loss", "util_ratio", "mem_bank", "grad_x_ulb_s")
    },
    # The first epoch; from the second on all agree: tests/algorithms/test_adsh.py.
    **{
        ("usb_adsh_on_fixmatch", array): "s starts at 0.95 where the threshold should, at -ln(0.95)"
        for array in ("mask", "unsup_loss", "total_loss", "util_ratio", "adsh_s", "grad_x_ulb_s")
    },
    # Its running mean never leaves 1/C, so that the method is FixMatch: tests/algorithms/test_weighting_methods.py.
    **{
        ("usb_debiaspl_on_fixmatch", array): "the recorded plug-in does nothing"
        for array in (
            "mask",
            "pseudo_label",
            "unsup_loss",
            "total_loss",
            "util_ratio",
            "p_hat",
            "grad_x_ulb_s",
        )
    },
}
#: Arrays whose recorded float32 sums are less exact than 1e-5.
TOLERANCE: dict[tuple[str, str], float] = {("usb_darp_on_fixmatch", "pseudo_refine_batch"): 1e-4}
#: What is no output: inputs, draws and hyper-parameters.
GIVEN = {"beta_draw", "perm", "mem_bank_init", "tau", "momentum", "threshold"}
RECIPES = recipes_of(FOLDER)


def agree(name: str, ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> None:
    assert ours.shape == theirs.shape, name
    if theirs.dtype.kind == "f":
        np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=tolerance, err_msg=name)
    else:
        np.testing.assert_array_equal(ours, theirs, err_msg=name)


@pytest.mark.parametrize("run", EPOCH_RECIPES)
def test_run_of_epochs(run: str) -> None:
    """Ten epochs: the threshold of each, all masks, labels and losses, and the statistic."""
    recorded = read_arrays(VECTORS / f"{run}.npz")
    ours = replay_epochs(FOLDER, run, EPOCH_RECIPES[run])
    outputs = {name for name in recorded if not name.startswith("in_")}
    assert outputs == ours.keys()
    for name in outputs:
        agree(f"{run}: {name}", ours[name], recorded[name], 1e-5)


def test_inputs_alone_make_a_run_of_epochs(tmp_path: Path) -> None:
    """What a file holds beside its inputs is not read."""
    recorded = read_arrays(VECTORS / "adacm_7class.npz")
    inputs = {name: array for name, array in recorded.items() if name.startswith("in_")}
    np.savez(tmp_path / "adacm_7class.npz", **inputs)
    ours = replay_epochs(Folder(tmp_path, {}, {}), "adacm_7class", EPOCH_RECIPES["adacm_7class"])
    np.testing.assert_array_equal(ours["mask"], recorded["mask"])


def test_selection() -> None:
    recorded = read_arrays(VECTORS / "usb_crest_selection.npz")
    ours = replay_selection(FOLDER)
    assert recorded.keys() == ours.keys()
    for name in recorded:
        agree(name, ours[name], recorded[name], 1e-9)


@pytest.mark.parametrize("run", RECIPES)
def test_run(run: str) -> None:
    recorded = read_arrays(VECTORS / f"{run}.npz")
    ours = replay(FOLDER, run, RECIPES[run])
    for name in {n for n in recorded if not n.startswith("in_")} - GIVEN:
        if (run, name) not in CORRECTED:
            assert name in ours, f"{run} does not give {name}"
            agree(f"{run}: {name}", ours[name], recorded[name], TOLERANCE.get((run, name), 1e-5))
