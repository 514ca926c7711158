"""The tool that replays a whole folder, and the recorded runs of two processes."""

from __future__ import annotations

import json
import runpy
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import numpy as np
import pytest

from parity import replay_folder
from parity.recipes import recipes_of
from parity.replay import Arrays, Folder, read_arrays, replay
from parity.replay_processes import RUNS, replay_on_two_processes

TESTS = Path(__file__).resolve().parents[1]
VECTORS = TESTS / "data" / "vectors"
INPUTS = ("beta_draw", "perm", "mem_bank_init")


@pytest.fixture(scope="module")
def two() -> list[Arrays]:
    return replay_on_two_processes(Folder.open(VECTORS))


def test_two_processes_give_the_recorded_state(two: list[Arrays]) -> None:
    """FreeMatch: all that is not a loss of its fairness term, which the recorded code takes over each rank's rows alone.

    AdaMatch: the alignment; its cut-off is per rank there, and of the gathered batch here. FlexMatch's records are per rank
    there, so that nothing agrees: see the next test.
    """
    same = {
        "freematch_clip_m90": (
            "mask",
            "pseudo_label",
            "sup_loss",
            "unsup_loss",
            "time_p",
            "p_model",
            "label_hist",
        ),
        "adamatch_m90": ("pseudo_label", "probs_aligned", "sup_loss", "p_model", "p_target"),
        "flexmatch_warmup": ("pseudo_label", "sup_loss"),
    }
    for rank, ours in enumerate(two):
        recorded = read_arrays(VECTORS / f"ddp2_rank{rank}.npz")
        for run, names in same.items():
            for name in names:
                key = f"{run}__{name}"
                np.testing.assert_allclose(ours[key], recorded[key], atol=1e-5, rtol=1e-5, err_msg=key)


@pytest.mark.parametrize("run", RUNS)
def test_two_processes_give_what_one_gives(run: str, two: list[Arrays]) -> None:
    """Rank r has the rows r::2; the recorded single-process runs agree with ours, so these do with them."""
    folder = Folder.open(VECTORS)
    one = replay(folder, run, recipes_of(folder)[run])
    for name in ("mask", "pseudo_label", "probs_aligned"):
        both = np.empty_like(one[name])
        for rank in range(2):
            both[:, rank::2] = two[rank][f"{run}__{name}"]
        np.testing.assert_allclose(both, one[name], atol=1e-5, err_msg=name)
    per_row = ("sup_loss", "unsup_loss", "util_ratio")
    for name in per_row:
        mean = (two[0][f"{run}__{name}"] + two[1][f"{run}__{name}"]) / 2
        np.testing.assert_allclose(mean, one[name], atol=1e-5, err_msg=name)


@pytest.fixture
def inputs_only(tmp_path: Path) -> Path:
    """A folder from which all outputs are gone, with three runs."""
    folder = tmp_path / "given"
    folder.mkdir()
    meta = json.loads((VECTORS / "meta.json").read_text())
    meta["runs"] = {run: meta["runs"][run] for run in ("fixmatch_hard", "mixmatch", "simmatch")}
    (folder / "meta.json").write_text(json.dumps(meta))
    (folder / "inputs.npz").write_bytes((VECTORS / "inputs.npz").read_bytes())
    for run in ("mixmatch", "simmatch", "ssmfar_8class"):
        arrays = read_arrays(VECTORS / f"{run}.npz")
        kept = {n: a for n, a in arrays.items() if n.startswith("in_") or n in INPUTS}
        np.savez(folder / f"{run}.npz", allow_pickle=False, **kept)
    return folder


def test_a_folder_without_outputs(inputs_only: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_folder, "replay_on_two_processes", lambda _folder: [])
    assert replay_folder.main([str(inputs_only), "-o", str(tmp_path / "out")]) == 0
    written = {p.stem: read_arrays(p) for p in (tmp_path / "out").iterdir()}
    unlisted = {"debiaspl_official_tau04_m999", "debiaspl_official_tau1_m90", "usb_crest_selection"}
    assert written.keys() == {"fixmatch_hard", "mixmatch", "simmatch", "ssmfar_8class"} | unlisted
    for run in ("fixmatch_hard", "mixmatch", "ssmfar_8class"):
        recorded = read_arrays(VECTORS / f"{run}.npz")
        outputs = {n for n in recorded if not n.startswith("in_") and n not in INPUTS}
        for name in outputs & written[run].keys():
            np.testing.assert_allclose(
                written[run][name], recorded[name], atol=1e-5, rtol=1e-5, equal_nan=True
            )
        assert {"mask", "total_loss"} & written[run].keys()


def test_what_it_cannot_do_is_said(
    inputs_only: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["-o", str(tmp_path / "out")]
    assert replay_folder.main([str(tmp_path / "nothing"), *out]) == 2
    assert "holds no reference vectors" in capsys.readouterr().err
    assert replay_folder.main([str(inputs_only), "-o", str(inputs_only)]) == 2
    assert "OUT is the folder of the vectors" in capsys.readouterr().err
    meta = json.loads((inputs_only / "meta.json").read_text())
    meta["runs"]["new"] = {"algorithm": "newmatch", "imb": None, "epochs": 4, "logit_scale": 1.0, "hp": {}}
    (inputs_only / "meta.json").write_text(json.dumps(meta))
    assert replay_folder.main([str(inputs_only), *out]) == 2
    assert "there is no recipe for new" in capsys.readouterr().err


def test_the_script_needs_only_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Started from anywhere, with neither the checkout nor tests/ on the path."""
    script = TESTS.parent / "tools" / "replay_vectors.py"
    elsewhere = [p for p in sys.path if Path(p).resolve() not in (TESTS, TESTS.parent)]
    monkeypatch.setattr(sys, "path", [str(script.parent), *elsewhere])
    assert runpy.run_path(str(script))["main"] is replay_folder.main
    for name in ("parity", "ferbench"):  # imported already, but a new process would find them, too
        found = PathFinder.find_spec(name)
        assert found is not None
        assert found.origin == sys.modules[name].__file__
    assert str(script.parent) not in sys.path
