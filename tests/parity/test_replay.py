"""The registered algorithms against numbers that public implementations computed (tests/data/vectors/README.md)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from parity.recipes import EPOCH_RECIPES, recipes_of
from parity.replay import Folder, read_arrays, replay, replay_epochs, replay_selection

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


def differs(ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> bool:
    """By more than rounding, and in its values alone."""
    assert ours.shape == theirs.shape
    return not np.allclose(ours, theirs, atol=10 * tolerance, rtol=10 * tolerance, equal_nan=True)


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
    np.savez(tmp_path / "adacm_7class.npz", allow_pickle=False, **inputs)
    ours = replay_epochs(Folder(tmp_path, {}, {}), "adacm_7class", EPOCH_RECIPES["adacm_7class"])
    np.testing.assert_array_equal(ours["mask"], recorded["mask"])


def test_selection() -> None:
    """Of confidences that float32 cannot tell apart (29 round to 1), the order is a matter of the processor."""
    recorded = read_arrays(VECTORS / "usb_crest_selection.npz")
    ours = replay_selection(FOLDER)
    assert recorded.keys() == ours.keys()
    logits = FOLDER.inputs["full_ulb_logits"][-1].astype(np.float64)
    confidence = 1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)
    for given in (ours, recorded):
        picked, label = given["picked_index"], given["picked_label"]
        drop = np.diff(confidence[picked])[np.diff(label) == 0]
        assert (drop < 1e-6).all()
        given["picked_index"] = picked[np.lexsort((picked, label))]
    for name in recorded:
        agree(name, ours[name], recorded[name], 1e-9)


@pytest.mark.parametrize("run", RECIPES)
def test_run(run: str) -> None:
    recorded = read_arrays(VECTORS / f"{run}.npz")
    ours = replay(FOLDER, run, RECIPES[run])
    for name in {n for n in recorded if not n.startswith("in_")} - GIVEN:
        assert name in ours, f"{run} does not give {name}"
        tolerance = TOLERANCE.get((run, name), 1e-5)
        if (run, name) in CORRECTED:
            assert differs(ours[name], recorded[name], tolerance), (
                f"{run}: {name} is as recorded: not corrected"
            )
        else:
            agree(f"{run}: {name}", ours[name], recorded[name], tolerance)


def test_what_is_corrected_was_recorded() -> None:
    """An entry for an array, or a run, that nobody recorded would excuse nothing."""
    for run, name in CORRECTED:
        assert run in RECIPES
        assert name in read_arrays(VECTORS / f"{run}.npz")


@pytest.mark.parametrize("ours", [np.array([1, 2]), np.array([1.0, 2.0 + 1e-6])])
def test_the_same_numbers_do_not_differ(ours: np.ndarray) -> None:
    assert not differs(ours, np.array([1, 2]).astype(ours.dtype), 1e-5)
    assert differs(ours, np.array([1, 3]).astype(ours.dtype), 1e-5)
    with pytest.raises(AssertionError):  # another shape is a mistake, no correction
        differs(ours, np.array([1.0]), 1e-5)
