"""DARP: when labels are refined, from what, and what stays the base's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ferbench.errors import UserError
from ferbench.functional.refinery import refine
from ferbench.lifecycle import RunContext, bind
from ferbench.registry import ALGORITHMS, TARGETS
from ferbench.testing import make_evidence

CONTEXT = RunContext(3, num_labeled=8, num_unlabeled=4, max_iters=20, class_counts=(2, 2, 4))
TOTALS = np.array([1.0, 1.0, 2.0])
FIRST = [[0.7, 0.2, 0.1], [0.6, 0.3, 0.1]]
SECOND = [[0.5, 0.4, 0.1], [0.6, 0.1, 0.3]]


def build(**options):
    rule = TARGETS.build(dict(type="RefinedTarget", **{"warmup": 2, "interval": 2, **options}))
    bind(rule, CONTEXT)
    return rule


def show(rule, iteration: int, probs, index) -> list:
    return rule(make_evidence(torch.tensor(probs), torch.tensor(index), iteration=iteration)).tolist()


def test_steps_on_paper() -> None:
    """Steps 0 and 1: plain. Step 2: refined from everything seen, unseen items uniform. Step 3: the same table again."""
    rule = build()
    assert show(rule, 0, FIRST, [0, 1]) == [0, 0]
    assert show(rule, 1, SECOND, [1, 2]) == [0, 0]
    seen = np.array([FIRST[0], SECOND[0], SECOND[1], [1 / 3] * 3])
    np.testing.assert_allclose(rule.predicted[:-1], seen, atol=1e-6)

    seen[3] = [0.1, 0.1, 0.8]
    table = refine(seen, TOTALS)
    label = table.argmax(axis=1)
    assert label.tolist() != seen.argmax(axis=1).tolist()
    assert show(rule, 2, [seen[3].tolist(), FIRST[0]], [3, 0]) == label[[3, 0]].tolist()
    np.testing.assert_allclose(rule.refined, table, atol=1e-5)
    assert (
        show(rule, 3, [[0.0, 1.0, 0.0]] * 3, [0, 1, 2]) == label[:3].tolist()
    )  # not what the model says now
    np.testing.assert_allclose(rule.refined, table, atol=1e-5)

    seen[:3] = [0.0, 1.0, 0.0]
    show(rule, 4, [[0.0, 1.0, 0.0]], [0])
    np.testing.assert_allclose(rule.refined, refine(seen, TOTALS), atol=1e-5)


def test_an_item_twice_in_a_batch() -> None:
    rule = build()
    show(rule, 0, [*FIRST, [0.1, 0.2, 0.7]], [2, 0, 2])
    np.testing.assert_allclose(rule.predicted[2], [0.1, 0.2, 0.7])
    np.testing.assert_allclose(rule.predicted[0], FIRST[1])


def test_target_of_the_base_sees_refined_probabilities() -> None:
    rule = build(target=dict(type="SoftTarget", temperature=0.5), warmup=0)
    soft = np.array(show(rule, 0, FIRST, [0, 1]))
    table = refine(np.array([*FIRST, *[[1 / 3] * 3] * 2]), TOTALS)[:2] ** 2
    np.testing.assert_allclose(soft, table / table.sum(axis=1, keepdims=True), atol=1e-5)


def test_half_precision_and_other_shares() -> None:
    rule = build(half=True, warmup=0, shares=[0.25, 0.25, 0.5])
    plain = build(warmup=0)
    assert rule.predicted.dtype == rule.refined.dtype == torch.float16
    assert show(rule, 0, FIRST, [0, 1]) == show(plain, 0, FIRST, [0, 1])
    np.testing.assert_allclose(rule.refined, plain.refined, atol=2e-3)
    other = build(warmup=0, shares=[1.0, 0.0, 0.0])
    assert show(other, 0, [[0.1, 0.5, 0.4]] * 2, [0, 1]) == [0, 0]


def test_state_survives_a_file(tmp_path) -> None:
    rule, fresh = build(), build()
    for step in range(3):
        show(rule, step, FIRST, [step, 3])
    torch.save(rule.state_dict(), tmp_path / "rule.pth")
    fresh.load_state_dict(torch.load(tmp_path / "rule.pth", weights_only=True))
    for step in (3, 4):
        assert show(rule, step, SECOND, [0, 1]) == show(fresh, step, SECOND, [0, 1])


def test_the_base_keeps_all_but_its_target() -> None:
    base = dict(type="FixMatch", threshold=0.7, temperature=0.5, lambda_u=2.0)
    darp = ALGORITHMS.build(dict(type="DARP", base=base, interval=7, refinery=dict(rounds=3)))
    inner = darp.matching
    assert (inner.threshold.threshold, inner.lambda_u) == (0.7, 2.0)
    assert (inner.target.interval, inner.target.rounds, inner.target.target.temperature) == (7, 3, 0.5)
    bind(darp, CONTEXT)
    assert inner.target.start == 8  # two fifths of the run
    assert darp.generation is None


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.5, 0.5, 0.5], [1.5, -0.5, 0.0]])
def test_shares_that_are_none(shares) -> None:
    with pytest.raises(UserError, match="RefinedTarget got shares"):
        build(shares=shares)


def test_a_base_without_pseudo_labels() -> None:
    with pytest.raises(UserError, match="DARP works on pseudo-labels, but Supervised makes none"):
        ALGORITHMS.build(dict(type="DARP", base=dict(type="Supervised")))
