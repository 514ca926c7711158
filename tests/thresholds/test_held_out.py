"""Thresholds from labeled images that are not learned, on cases small enough for paper."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ferbench.algorithms import Batch
from ferbench.errors import UserError
from ferbench.functional.randomness import derive_seed
from ferbench.lifecycle import RunContext, bind
from ferbench.registry import ALGORITHMS, THRESHOLDS
from ferbench.testing import RecordedNetwork, make_evidence

LABELED = 10
CONTEXT = RunContext(3, LABELED, num_unlabeled=20, max_iters=40, class_counts=(4, 3, 3))
RAMP = 1 / (1 + math.exp(-1))


def rule_of(context: RunContext = CONTEXT, **options):
    rule = THRESHOLDS.build(dict(type="HeldOutThreshold", **{"beta": 1.0, "floor": 0.1, **options}))
    rule.bind(context)
    return rule


def test_only_held_out_images_are_measured() -> None:
    """Two of ten: one of class 0 at 0.6 and one of class 1 at 0.9; all others are sure and do not count."""
    rule = rule_of()
    first, second = rule.held_out.nonzero().flatten().tolist()
    labels = torch.full((LABELED,), 2)
    labels[[first, second]] = torch.tensor([0, 1])
    probs = torch.tensor([[0.0, 0.0, 1.0]]).repeat(LABELED, 1)
    probs[first], probs[second] = torch.tensor([0.6, 0.4, 0.0]), torch.tensor([0.0, 0.9, 0.1])
    order = torch.from_numpy(np.random.default_rng(0).permutation(LABELED))  # the places count, not the order
    for rows in order.split(3):
        rule.see_labeled(probs[rows], labels[rows], rows)
    rule.finish_labeled_pass()
    assert rule.thresholds().tolist() == pytest.approx([0.6 * RAMP, 0.9 * RAMP, 0.1], abs=1e-6)


def test_the_running_statistic_has_them_alone_too() -> None:
    rule = rule_of(scope="iteration", epoch_length=100)
    held = rule.held_out.nonzero()[0].item()
    learned = (~rule.held_out).nonzero()[0].item()
    probs = [[0.6, 0.4, 0.0], [1.0, 0.0, 0.0]]
    rule(
        make_evidence(probs, labeled_probs=probs, labels=[0, 0], labeled_index=torch.tensor([held, learned]))
    )
    assert rule.thresholds().tolist() == pytest.approx([0.6 * RAMP, 0.1, 0.1], abs=1e-6)


@pytest.mark.parametrize(("share", "count"), [(0.2, 2), (0.25, 2), (0.5, 5), (0.9, 9)])
def test_how_many_and_which(share, count) -> None:
    first, second = rule_of(share=share), rule_of(share=share)
    assert first.held_out.sum() == count
    assert torch.equal(first.held_out, second.held_out)
    others = [rule_of(RunContext(3, LABELED, 20, 40, (4, 3, 3), seed=s), share=share) for s in range(5)]
    assert len({tuple(o.held_out.tolist()) for o in others}) > 1


def test_single_images_are_the_first_of_the_permutation() -> None:
    """What the published runs held out."""
    generator = torch.Generator().manual_seed(derive_seed(0, "held out"))
    expected = torch.randperm(LABELED, generator=generator)[:2]
    assert rule_of().held_out.nonzero().flatten().tolist() == sorted(expected.tolist())


@given(
    videos=st.lists(st.integers(0, 5), min_size=LABELED, max_size=LABELED).filter(lambda v: len(set(v)) > 1),
    share=st.sampled_from([0.2, 0.5, 0.7]),
    seed=st.integers(0, 99),
)
def test_frames_are_held_out_by_whole_videos(videos, share, seed) -> None:
    context = replace(CONTEXT, seed=seed, labeled_videos=torch.tensor(videos))
    try:
        held = rule_of(context, share=share).held_out.numpy()
    except UserError:  # the last video to be drawn would have been needed, too
        assert LABELED - max(np.bincount(videos)) < share * LABELED
        return
    kept = np.array(videos)[~held]
    assert not set(np.array(videos)[held]) & set(kept)
    assert held.sum() >= share * LABELED


def test_their_labels_are_not_learned() -> None:
    """Against NumPy, and: another label of a held-out image changes nothing."""
    algorithm = ALGORITHMS.build(dict(type="HeldOutDTM", share=0.4, threshold_only=True))
    bind(algorithm, CONTEXT)
    held = algorithm.threshold.held_out.numpy()
    rng = np.random.default_rng(1)
    logits = {
        v: rng.normal(size=(n, 3)).astype(np.float32)
        for v, n in {"labeled": LABELED, "weak": 4, "strong": 4}.items()
    }
    labels = rng.integers(0, 3, LABELED)

    def step(labels: np.ndarray):
        network = RecordedNetwork({view: torch.from_numpy(x) for view, x in logits.items()})
        images = {view: torch.empty(4, 0) for view in ("weak", "strong")}
        target = torch.from_numpy(labels)
        batch = Batch(
            {"weak": torch.empty(LABELED, 0)}, target, target, images, torch.arange(4), torch.arange(LABELED), 0
        )  # fmt: skip
        result = algorithm.step(network, batch)
        result.loss.backward()
        return result, network.gradient("labeled").numpy()

    result, gradient = step(labels)
    exps = np.exp(logits["labeled"])
    losses = -np.log(exps[range(LABELED), labels] / exps.sum(axis=1))
    # 6 of the 10 in the batch
    assert result.parts["supervised"].item() == pytest.approx(losses[~held].mean(), rel=1e-5)
    assert not gradient[held].any()
    assert gradient[~held].any(axis=1).all()
    other, _ = step(np.where(held, (labels + 1) % 3, labels))
    assert torch.equal(other.loss, result.loss)


def test_everything_else_is_dtm() -> None:
    algorithm = ALGORITHMS.build(
        dict(type="HeldOutDTM", threshold_only=True, floor=0.7, rule=dict(weights="student"))
    )
    bind(algorithm, CONTEXT)
    rule = algorithm.threshold
    assert (type(rule).__name__, rule.share, rule.floor, rule.beta, rule.weights) == (
        "HeldOutThreshold", 0.2, 0.7, 0.97, "student"
    )  # fmt: skip
    assert list(algorithm.views.unlabeled) == ["weak", "strong"]


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, 0.01, 0.99])
def test_a_share_that_leaves_nothing_on_a_side(share) -> None:
    with pytest.raises(UserError, match=r"share|hold out"):
        rule_of(share=share)


DTM_ALONE = dict(type="HeldOutDTM", threshold_only=True)


@pytest.mark.parametrize(
    "config",
    [
        dict(type="Matching", threshold=dict(type="HeldOutThreshold")),
        dict(type="NoisyStudent", rule=dict(type="HeldOutThreshold")),
        dict(type="HeldOutDTM", terms=[dict(type="LabeledStrongLoss")]),
        *(dict(type=name, base=DTM_ALONE) for name in ("ABC", "TRAS", "CoSSL", "DASO")),
    ],
    ids=lambda config: config["type"],
)
def test_nothing_else_may_learn_their_labels(config) -> None:
    with pytest.raises(UserError, match="labels that HeldOutThreshold holds out"):
        bind(ALGORITHMS.build(config), CONTEXT)


@pytest.mark.parametrize("name", ["LabelShift", "DARP", "SAW", "CReST", "LogitAdjustment", "Reweighting"])
def test_wrappers_that_it_goes_with(name) -> None:
    bind(ALGORITHMS.build(dict(type=name, base=DTM_ALONE)), CONTEXT)
