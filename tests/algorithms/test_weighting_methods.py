"""Where the thresholding methods differ from recorded runs on purpose: the right values, by NumPy in float64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ferbench.testing import check_algorithm
from parity.recipes import recipes_of
from parity.replay import Arrays, Folder, Recipe, read_arrays, replay

VECTORS = Path(__file__).resolve().parents[1] / "data" / "vectors"
FOLDER = Folder.open(VECTORS)
RECIPES = recipes_of(FOLDER)
STEPS = range(60)
GRADIENTS = FOLDER.meta["grad_steps"]


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x.astype(np.float64) - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def logits(name: str) -> np.ndarray:
    """[60, B, 8] float64."""
    return FOLDER.inputs[f"logits_{name}"].astype(np.float64)


def ours(run: str, **changes) -> Arrays:
    """A recorded run with other arguments of the algorithm; None leaves one to its default."""
    recipe = RECIPES[run]

    def config(hp: dict) -> dict:
        changed = {k: v for k, v in recipe.config(hp).items() if changes.get(k, v) is not None}
        return {**changed, **{k: v for k, v in changes.items() if v is not None}}

    return replay(FOLDER, run, replace(recipe, config=config))


def cross_entropy(z: np.ndarray, label: np.ndarray) -> np.ndarray:
    return -np.take_along_axis(np.log(softmax(z)), label[..., None], axis=-1)[..., 0]


def test_debiased_pseudo_labels_where_the_plugin_does_nothing() -> None:
    """tau 0.4, momentum 0.9, threshold 0.95; recorded: masks, labels and losses of FixMatch."""
    run = "usb_debiaspl_on_fixmatch"
    found, recorded, fixmatch = (
        ours(run),
        *(read_arrays(VECTORS / f"{r}.npz") for r in (run, "fixmatch_hard")),
    )
    np.testing.assert_array_equal(recorded["mask"], fixmatch["mask"])
    weak, strong = logits("ulb_w"), logits("ulb_s")
    q = np.full(8, 1 / 8)
    for step in STEPS:
        debiased = softmax(weak[step] - 0.4 * np.log(q))
        label, mask = debiased.argmax(1), debiased.max(1) >= 0.95
        q = 0.9 * q + 0.1 * softmax(weak[step]).mean(0)
        learnt = strong[step] + 0.4 * np.log(q)
        loss = (cross_entropy(learnt, label) * mask).mean()
        np.testing.assert_array_equal(found["mask"][step], mask)
        np.testing.assert_array_equal(found["pseudo_label"][step], label)
        np.testing.assert_allclose(found["p_hat"][step], q, atol=1e-6)
        assert found["unsup_loss"][step] == pytest.approx(loss, abs=1e-5)
        assert found["total_loss"][step] == pytest.approx(recorded["sup_loss"][step] + loss, abs=1e-5)
        assert found["util_ratio"][step] == pytest.approx(mask.mean())
        if step in GRADIENTS:
            gradient = (softmax(learnt) - np.eye(8)[label]) * mask[:, None] / 64
            np.testing.assert_allclose(found["grad_x_ulb_s"][GRADIENTS.index(step)], gradient, atol=1e-6)
    assert (found["mask"] != recorded["mask"]).any()
    assert np.abs(found["p_hat"] - 1 / 8).max() > 0.05


@pytest.mark.parametrize("schedule", ["none", "linear", "log", "exp"])
def test_uda_with_its_temperature_and_its_annealing(schedule) -> None:
    """T = 0.4, labeled items judged by the probability of their label, mean over the kept ones."""
    found = ours(f"uda_tsa_{schedule}", temperature=None, supervised_loss=None, schedule=schedule)
    weak, strong, labeled = logits("ulb_w"), logits("ulb_s"), logits("lb")
    dropped = 0
    for step in STEPS:
        target, mask = softmax(weak[step] / 0.4), softmax(weak[step]).max(1) >= 0.8
        loss = (-(target * np.log(softmax(strong[step]))).sum(1) * mask).mean()
        np.testing.assert_allclose(found["pseudo_label"][step], target, atol=1e-5)
        np.testing.assert_array_equal(found["mask"][step], mask)
        assert found["unsup_loss"][step] == pytest.approx(loss, abs=1e-5)

        label = FOLDER.inputs["y_lb"][step]
        kept = softmax(labeled[step])[range(16), label] <= found["tsa"][step]
        supervised = (cross_entropy(labeled[step], label) * kept).sum() / max(1, kept.sum())
        assert found["sup_loss"][step] == pytest.approx(supervised, abs=1e-5)
        dropped += (~kept).sum()
        if step in GRADIENTS:
            gradient = (softmax(strong[step]) - target) * mask[:, None] / 64
            np.testing.assert_allclose(found["grad_x_ulb_s"][GRADIENTS.index(step)], gradient, atol=1e-6)
    assert (dropped > 0) == (schedule != "none")


@pytest.mark.parametrize("per_class", [False, True])
def test_softmatch_by_the_paper(per_class) -> None:
    """Mean and variance from the confidences before alignment; a class of fewer than two items keeps its own."""
    found = ours("softmatch_uniform_m90", statistics="raw", per_class=per_class)
    groups = 8 if per_class else 1
    mean, variance, p_model = np.full(groups, 1 / 8), np.ones(groups), None
    weak, strong = softmax(logits("ulb_w")), logits("ulb_s")
    kept_apart = 0
    for step in STEPS:
        p = weak[step]
        p_model = p.mean(0) if p_model is None else 0.9 * p_model + 0.1 * p.mean(0)
        aligned = p * (1 / 8 + 1e-6) / (p_model + 1e-6)
        aligned /= aligned.sum(1, keepdims=True)
        group = p.argmax(1) * per_class
        for g in range(groups):
            seen = p.max(1)[group == g]
            if len(seen) >= 2:
                mean[g] = 0.9 * mean[g] + 0.1 * seen.mean()
                variance[g] = 0.9 * variance[g] + 0.1 * seen.var(ddof=1)
            kept_apart += len(seen) < 2
        at = aligned.argmax(1) * per_class
        below = np.minimum(aligned.max(1) - mean[at], 0)
        weight = np.exp(-(below**2) / (2 * variance[at] / 4))
        np.testing.assert_allclose(found["mask"][step], weight, atol=1e-5)
        np.testing.assert_array_equal(found["pseudo_label"][step], p.argmax(1))
        loss = (cross_entropy(strong[step], p.argmax(1)) * weight).mean()
        assert found["unsup_loss"][step] == pytest.approx(loss, abs=1e-5)
    assert (kept_apart > 0) == per_class
    assert 0 < found["mask"].min() < 0.9


def test_softmatch_without_alignment() -> None:
    """Recorded code aligns all the same."""
    found = replay(FOLDER, "softmatch_uniform_m90", Recipe(lambda hp: dict(type="SoftMatch", align_to=None)))
    np.testing.assert_allclose(found["probs_aligned"], softmax(logits("ulb_w")), atol=1e-6)


def test_refixmatch_of_logits() -> None:
    """KL of two softmaxes of logits over T = 0.5, on the items below the threshold."""
    found = ours("refixmatch", terms=None)
    weak, strong = logits("ulb_w"), logits("ulb_s")
    target = softmax(weak / 0.5)
    per_item = (target * (np.log(target) - np.log(softmax(strong / 0.5)))).sum(-1)
    mask = softmax(weak).max(-1) >= 0.95
    low = (per_item * ~mask).mean(1)
    np.testing.assert_allclose(found["total_loss"] - found["sup_loss"] - found["unsup_loss"], low, atol=1e-5)


def test_parts_recombine() -> None:
    """One method's threshold with the alignments, target, terms and labeled loss of others, from config alone."""
    check_algorithm(
        dict(
            type="FlexMatch",
            threshold=0.5,
            alignment=[
                dict(type="EMAAlignment", target="model"),
                dict(type="DebiasedAlignment", momentum=0.9),
            ],
            target=dict(type="SoftTarget", temperature=0.4),
            terms=[
                dict(type="Fairness", weight=0.1),
                dict(type="LowConfidenceDivergence", weight=0.5),
                dict(type="LabeledConsistency", threshold=0.5),
            ],
            supervised_loss=dict(type="AnnealedCrossEntropy", schedule="exp"),
        ),
        dict(type="SoftMatch", per_class=True, terms=[dict(type="LowConfidenceContrast")]),
        dict(
            type="DTM",
            weak_views=["weak"],
            terms=[dict(type="Fairness")],
            alignment=dict(type="QueueAlignment"),
        ),
        processes=False,
    )


@pytest.mark.parametrize(
    ("run", "arrays"),
    [
        ("freematch_clip_m90", ("mask", "pseudo_label", "time_p", "p_model", "label_hist")),
        ("adamatch_m90", ("pseudo_label", "probs_aligned", "p_model", "p_target")),
    ],
)
def test_one_process_has_the_states_and_masks_that_two_had(run, arrays) -> None:
    """Recorded on two processes, rank r with the rows r::2. (AdaMatch's masks differ there: its cutoff is per process.)"""
    found = replay(FOLDER, run, RECIPES[run])
    for rank in range(2):
        recorded = read_arrays(VECTORS / f"ddp2_rank{rank}.npz")
        for name in arrays:
            theirs = recorded[f"{run}__{name}"]
            rows = found[name][:, rank::2] if theirs.shape[1:2] == (32,) else found[name]
            np.testing.assert_allclose(rows, theirs, atol=0 if theirs.dtype.kind == "i" else 1e-5)
