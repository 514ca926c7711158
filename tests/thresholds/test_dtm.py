"""The dynamic threshold and each of its switches, on cases small enough for paper."""

from __future__ import annotations

import math

import pytest
import torch

from ferbench.errors import UserError

RAMP = {epoch: 1 / (1 + math.exp(-epoch)) for epoch in range(6)}


def labeled_pass(rule, probs, labels) -> list[float]:
    """One pass in a single batch; the new thresholds."""
    rule.see_labeled(torch.as_tensor(probs), torch.as_tensor(labels), torch.arange(len(labels)))
    rule.finish_labeled_pass()
    return rule.thresholds().tolist()


def test_two_epochs_by_hand(make_rule, evidence) -> None:
    """Class 0: right at 0.9 and 0.7, wrong once; class 1: right at 0.8; class 2 never right, so at the floor."""
    rule = make_rule("DynamicThreshold", beta=0.9, floor=0.5)
    probs = [[0.9, 0.1, 0.0], [0.7, 0.2, 0.1], [0.0, 0.05, 0.95], [0.1, 0.8, 0.1], [0.6, 0.2, 0.2]]
    labels = [0, 0, 0, 1, 2]
    assert rule.thresholds().tolist() == pytest.approx([0.8] * 3)  # of epoch 1: the start value
    first = labeled_pass(rule, probs, labels)
    assert first == pytest.approx([0.9 * 0.8 * RAMP[1], 0.9 * 0.8 * RAMP[1], 0.5], abs=1e-6)
    second = labeled_pass(rule, probs, labels)
    assert second == pytest.approx([0.9 * 0.8 * RAMP[2], 0.9 * 0.8 * RAMP[2], 0.5], abs=1e-6)
    assert rule(evidence([[0.64, 0.3, 0.06], [0.3, 0.62, 0.08], [0.2, 0.25, 0.55]])).tolist() == [1, 0, 1]
    # Replaced, not smoothed: now class 2 alone is right.
    third = labeled_pass(rule, [[0.0, 0.0, 1.0]], [2])
    assert third == pytest.approx([0.5, 0.5, 0.9 * RAMP[3]], abs=1e-6)


def test_equal_confidence_passes(make_rule, evidence) -> None:
    rule = make_rule("DynamicThreshold", init=0.75)
    assert rule(evidence([[0.75, 0.25, 0.0], [0.74, 0.26, 0.0]])).tolist() == [1, 0]


def test_steps_do_not_move_an_epoch_wise_threshold(make_rule, evidence) -> None:
    rule = make_rule("DynamicThreshold")
    before = {name: state.clone() for name, state in rule.state_dict().items()}
    for step in range(30):
        rule(evidence([[1.0, 0, 0]], labeled_probs=[[1.0, 0, 0]], labels=[0], iteration=step))
    for name, state in rule.state_dict().items():
        torch.testing.assert_close(state, before[name], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("source", "margins"),
    [
        ("correct_only", [0.9, 0.8, None]),
        ("all_of_true_class", [(0.9 + 0.6) / 2, 0.8, 0.7]),
        ("all_of_predicted_class", [(0.9 + 0.7) / 2, (0.6 + 0.8) / 2, None]),
    ],
)
def test_source(source, margins, make_rule) -> None:
    rule = make_rule("DynamicThreshold", beta=1.0, floor=0.1, source=source)
    probs = [[0.9, 0.1, 0.0], [0.2, 0.6, 0.2], [0.1, 0.8, 0.1], [0.7, 0.2, 0.1]]
    expected = [0.1 if margin is None else margin * RAMP[1] for margin in margins]
    assert labeled_pass(rule, probs, [0, 0, 1, 2]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("no_sample", "first", "second"),
    [
        ("floor", 0.2, 0.2),
        ("keep", 0.8, 0.8),
        ("global_mean", 0.7 * RAMP[1], 0.7 * RAMP[2]),
    ],
)
def test_class_without_a_sample(no_sample, first, second, make_rule) -> None:
    """Classes 0 and 1 have 0.9 and 0.5 (mean 0.7, each class once however many items it has); class 2 has nothing."""
    rule = make_rule("DynamicThreshold", beta=1.0, floor=0.2, no_sample=no_sample)
    probs = [[0.9, 0.1, 0.0], [0.9, 0.1, 0.0], [0.25, 0.5, 0.25]]
    assert labeled_pass(rule, probs, [0, 0, 1])[2] == pytest.approx(first, abs=1e-6)
    assert labeled_pass(rule, probs, [0, 0, 1])[2] == pytest.approx(second, abs=1e-6)


@pytest.mark.parametrize("scope", ["epoch", "iteration"])
def test_one_threshold_for_all_classes(scope, make_rule, evidence) -> None:
    """Classes 0 and 1 have 0.9 and 0.5, each counts once; class 2, without any, gets the same threshold."""
    rule = make_rule("DynamicThreshold", beta=1.0, floor=0.2, per_class=False, scope=scope, epoch_length=100)
    probs, labels = [[0.9, 0.1, 0.0], [0.9, 0.1, 0.0], [0.25, 0.5, 0.25]], [0, 0, 1]
    if scope == "epoch":
        labeled_pass(rule, probs, labels)
    else:
        rule(evidence(probs, labeled_probs=probs, labels=labels))
    assert rule.thresholds().tolist() == pytest.approx([0.7 * RAMP[1]] * 3, abs=1e-6)


def test_one_threshold_without_any_counted_item(make_rule) -> None:
    rule = make_rule("DynamicThreshold", floor=0.6, per_class=False)
    assert labeled_pass(rule, [[0.1, 0.9, 0.0]], [0]) == pytest.approx([0.6] * 3)


def test_keep_keeps_the_last_value_and_not_the_first(make_rule) -> None:
    rule = make_rule("DynamicThreshold", beta=1.0, floor=0.2, no_sample="keep")
    seen = labeled_pass(rule, [[0.9, 0.1, 0.0]], [0])[0]
    assert labeled_pass(rule, [[0.1, 0.9, 0.0]], [1])[0] == seen == pytest.approx(0.9 * RAMP[1])


@pytest.mark.parametrize(("no_sample", "expected"), [("floor", 0.6), ("keep", 0.8), ("global_mean", 0.6)])
def test_no_sample_in_any_class(no_sample, expected, make_rule) -> None:
    rule = make_rule("DynamicThreshold", floor=0.6, no_sample=no_sample)
    assert labeled_pass(rule, [[0.1, 0.9, 0.0]], [0]) == pytest.approx([expected] * 3)
    rule.finish_labeled_pass()  # a pass over nothing at all
    assert rule.thresholds().tolist() == pytest.approx([expected] * 3)


def test_floor_and_cap(make_rule) -> None:
    rule = make_rule("DynamicThreshold", classes=2, beta=1.0, floor=0.5, cap=0.6)
    probs, labels = [[0.99, 0.01], [0.4, 0.6]], [0, 1]
    assert labeled_pass(rule, probs, labels) == pytest.approx([0.6, 0.5])


@pytest.mark.parametrize("bound", ["init", "floor", "cap"])
def test_whole_numbers_are_thresholds_too(bound, make_rule) -> None:
    options = {"init": dict(init=1), "floor": dict(floor=0), "cap": dict(cap=1)}[bound]
    rule = make_rule("DynamicThreshold", **{"floor": 0.1, "beta": 1.0, **options})
    assert labeled_pass(rule, [[0.9, 0.1, 0.0]], [0])[0] == pytest.approx(0.9 * RAMP[1])


@pytest.mark.parametrize("origin", [0, 1, 3])
def test_epoch_origin_and_gamma(origin, make_rule) -> None:
    rule = make_rule("DynamicThreshold", classes=2, beta=1.0, floor=0.0, gamma=2.0, epoch_origin=origin)
    for epoch in range(origin, origin + 3):
        got = labeled_pass(rule, [[1.0, 0.0]], [0])[0]
        assert got == pytest.approx(1 / (1 + 2.0**-epoch))


def test_batches_of_a_pass_add_up_and_the_next_pass_starts_afresh(make_rule) -> None:
    rule = make_rule("DynamicThreshold", beta=1.0, floor=0.0)
    for confidence in (0.9, 0.8, 0.4):
        rule.see_labeled(torch.tensor([[confidence, 0.1, 0.1]]), torch.tensor([0]), torch.tensor([0]))
    rule.finish_labeled_pass()
    assert rule.thresholds()[0].item() == pytest.approx(0.7 * RAMP[1])
    assert not rule.sums.any()
    assert not rule.counts.any()
    assert rule.updates == 1


def test_what_it_asks_of_the_loop(make_rule) -> None:
    options = dict(weights="student", view="eval", max_items=7)
    wanted = make_rule("DynamicThreshold", max_iters=1000, **options).labeled_pass
    assert (wanted.interval, wanted.weights, wanted.view, wanted.max_items) == (50, "student", "eval", 7)
    assert make_rule("DynamicThreshold", max_iters=1000, epoch_length=30).labeled_pass.interval == 30
    assert make_rule("DynamicThreshold", max_iters=10).labeled_pass.interval == 1
    assert make_rule("DynamicThreshold", scope="iteration").labeled_pass is None


def test_per_iteration_running_mean(make_rule, evidence) -> None:
    """Two iterations an epoch, momentum 0.75; the mask is taken before the update, an absent class keeps its mean."""
    rule = make_rule(
        "DynamicThreshold",
        classes=2,
        beta=1.0,
        floor=0.1,
        init=0.7,
        scope="iteration",
        momentum=0.75,
        epoch_length=2,
    )
    unlabeled = [[0.65, 0.35]]

    def step(iteration: int, labeled: list, labels: list) -> tuple[float, list[float]]:
        weight = rule(evidence(unlabeled, labeled_probs=labeled, labels=labels, iteration=iteration))
        return weight.item(), rule.thresholds().tolist()

    weight, thresholds = step(0, [[0.8, 0.2], [0.6, 0.4]], [0, 0])
    assert weight == 0  # 0.65 < 0.7
    assert thresholds == pytest.approx([0.7 * RAMP[1], 0.1], abs=1e-6)
    weight, thresholds = step(1, [[0.9, 0.1], [0.0, 1.0]], [0, 1])
    assert weight == 1  # 0.7 * 0.731 = 0.512
    assert thresholds == pytest.approx([(0.75 * 0.7 + 0.25 * 0.9) * RAMP[1], RAMP[1]], abs=1e-6)
    weight, thresholds = step(2, [[1.0, 0.0]], [1])  # wrong: not counted, but the second epoch has begun
    assert thresholds == pytest.approx([0.75 * RAMP[2], RAMP[2]], abs=1e-6)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("source", "correct"),
        ("weights", "teacher"),
        ("view", "strong"),
        ("scope", "step"),
        ("no_sample", "mean"),
    ],
)
@pytest.mark.parametrize("scope", ["epoch", "iteration"])
def test_unknown_choice_is_named(name, value, scope, make_rule) -> None:
    """Where no pass is made, too, and so nobody else looks at it."""
    with pytest.raises(UserError, match=f"DynamicThreshold got {name}='{value}'"):
        make_rule("DynamicThreshold", **{"scope": scope, name: value})
