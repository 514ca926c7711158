"""Dash's threshold on the loss, on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ferbench.errors import UserError


def test_warm_up_then_drops_by_hand(make_rule, evidence, with_confidence) -> None:
    """Warm-up of two iterations, rho lowered every two, by two: 0.51, 0.255, then its floor 0.2.

    Hard loss of confidence q is -log q: 0.7 has 0.357 and 0.9 has 0.105. With T = 1 the soft target of (q, (1-q)/2 twice)
    is p itself, so that its loss is the entropy: 0.9 has 0.394, 0.7 has 0.819.
    """
    rule = make_rule(
        "DashThreshold", gamma=2.0, factor=1.02, rho_min=0.2, temperature=1.0, warmup=2, interval=2
    )
    request = rule.labeled_pass
    assert (request.weights, request.view) == ("ema", "weak")
    assert [i for i in range(1, 9) if request.due(i)] == [2]

    probs = with_confidence([0, 1, 2], [0.9, 0.7, 0.99])

    def weights(iteration: int) -> list[float]:
        return rule(evidence(probs, iteration=iteration)).tolist()

    assert weights(0) == weights(1) == [0, 0, 0]
    rule.see_labeled(
        torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.75, 0.0]]), torch.tensor([0, 1]), torch.tensor([0, 1])
    )
    rule.see_labeled(torch.tensor([[0.2, 0.2, 0.6]]), torch.tensor([2]), torch.tensor([2]))
    rule.finish_labeled_pass()
    rho = (math.log(2) - math.log(0.75) - math.log(0.6)) / 3
    assert rule.initial.item() == pytest.approx(rho, abs=1e-6) == pytest.approx(0.4972, abs=1e-4)

    assert weights(2) == weights(3) == [1, 0, 1]
    assert rule.rho.item() == pytest.approx(1.02 * rho, abs=1e-6)
    torch.testing.assert_close(rule.target(evidence(probs, iteration=3)), probs)
    assert weights(4) == [0, 0, 1]  # the entropy of 0.99 is 0.063
    assert rule.rho.item() == pytest.approx(0.51 * rho, abs=1e-6)
    assert weights(6) == weights(60) == [1, 0, 1]  # at the floor targets are hard: 0.105 <= 0.2
    assert rule.rho.item() == pytest.approx(0.2)
    assert rule.target(evidence(probs, iteration=6)).tolist() == torch.eye(3).tolist()
    torch.testing.assert_close(rule.thresholds(), torch.full((3,), math.exp(-0.2)))


def test_soft_targets_are_sharpened(make_rule, evidence) -> None:
    """T = 0.5 squares the probabilities."""
    rule = make_rule("DashThreshold", rho_init=10.0, temperature=0.5)
    p = np.array([0.6, 0.3, 0.1])
    target = rule.target(evidence([p.tolist()]))
    np.testing.assert_allclose(target[0], p**2 / (p**2).sum(), atol=1e-6)
    loss = -(p**2 / (p**2).sum() * np.log(p)).sum()
    for rho, weight in ((loss * 1.001, 1), (loss * 0.999, 0)):
        rule = make_rule("DashThreshold", rho_init=float(rho), factor=1.0)
        assert rule(evidence([p.tolist()])).item() == weight


def test_what_passes_is_at_least_as_confident_as_the_reported_threshold(make_rule, evidence) -> None:
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.full(4, 0.5), 500).astype(np.float32)
    rule = make_rule("DashThreshold", classes=4, rho_init=0.5)
    weight = rule(evidence(probs)).numpy()
    assert 0 < weight.mean() < 1
    assert probs[weight == 1].max(axis=1).min() >= rule.thresholds()[0].item()


def test_rho_given_needs_neither_warm_up_nor_pass(make_rule) -> None:
    rule = make_rule("DashThreshold", rho_init=1.1, max_iters=1000)
    assert rule.labeled_pass is None
    assert (rule.warmup, rule.interval) == (0, 10)
    assert make_rule("DashThreshold", rho_init=1.1, warmup=7, max_iters=1000).warmup == 7


def test_defaults_follow_the_length_of_the_run(make_rule) -> None:
    rule = make_rule("DashThreshold", max_iters=20_000, weights="student", view="eval", max_items=9)
    request = rule.labeled_pass
    assert (rule.warmup, rule.interval) == (1000, 200)
    assert (request.interval, request.last, request.weights, request.view, request.max_items) == (
        1000,
        1000,
        "student",
        "eval",
        9,
    )
    assert make_rule("DashThreshold", max_iters=3).warmup == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(warmup=0), "at the end of a warm-up of 0 iterations"),
        (dict(warmup=100), "warms up for 100 of 100 iterations"),
    ],
)
def test_a_warm_up_that_cannot_be(options, message, make_rule) -> None:
    with pytest.raises(UserError, match=message):
        make_rule("DashThreshold", max_iters=100, **options)
