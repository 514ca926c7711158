"""FlexMatch's records, counts and thresholds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st


def test_three_steps_by_hand(make_rule, evidence, with_confidence) -> None:
    """Six items, P = 0.8."""
    rule = make_rule("FlexThreshold", items=6, threshold=0.8)

    # Nothing learnt: every threshold is 0 and all pass, but only items 0 and 3 reach P and are recorded.
    weight = rule(evidence(with_confidence([0, 1, 0], [0.9, 0.7, 0.8]), index=[0, 1, 3]))
    assert weight.tolist() == [1, 1, 1]
    assert rule.record.tolist() == [0, -1, -1, 0, -1, -1, -1]
    assert rule.counts.tolist() == [4, 2, 0, 0]
    torch.testing.assert_close(rule.status, torch.tensor([0.5, 0.0, 0.0]))

    # Class 0 now asks for 0.8 * 0.5 / 1.5 = 0.267, class 1 still for nothing. Item 3 changes its class.
    torch.testing.assert_close(rule.thresholds(), torch.tensor([0.8 / 3, 0, 0]))
    assert rule(evidence(with_confidence([1, 1], [0.9, 0.95]), index=[3, 4])).tolist() == [1, 1]
    assert rule.counts.tolist() == [3, 1, 2, 0]
    torch.testing.assert_close(rule.status, torch.tensor([1 / 3, 2 / 3, 0.0]))

    # A recorded item that is now unsure keeps its record; class 1 asks for 0.8 * (2/3) / (4/3) = 0.4.
    probs = [[0.34, 0.33, 0.33], [0.31, 0.38, 0.31]]
    assert rule(evidence(probs, index=[0, 3])).tolist() == [1, 0]
    assert rule.record.tolist() == [0, -1, -1, 1, 1, -1, -1]
    assert rule.counts.tolist() == [3, 1, 2, 0]


def test_without_warmup_the_largest_class_counts_alone(make_rule, evidence, with_confidence) -> None:
    rule = make_rule("FlexThreshold", items=100, threshold=0.8, warmup=False)
    rule(evidence(with_confidence([0, 0, 1], [0.9, 0.9, 0.9])))
    torch.testing.assert_close(rule.status, torch.tensor([1.0, 0.5, 0.0]))
    torch.testing.assert_close(rule.thresholds(), torch.tensor([0.8, 0.8 / 3, 0.0]))


def test_status_stays_when_one_class_holds_every_item(make_rule, evidence, with_confidence) -> None:
    rule = make_rule("FlexThreshold", items=2, threshold=0.8)
    rule(evidence(with_confidence([0], [0.9]), index=[0]))
    before = rule.status.clone()
    torch.testing.assert_close(before, torch.tensor([1.0, 0, 0]))
    rule(evidence(with_confidence([0], [0.9]), index=[1]))
    assert rule.counts.tolist() == [0, 2, 0, 0]
    assert torch.equal(rule.status, before)


def test_the_mask_uses_the_status_from_before_the_step(make_rule, evidence, with_confidence) -> None:
    rule = make_rule("FlexThreshold", items=3, threshold=0.9, warmup=False)
    seen = evidence(with_confidence([0, 0], [0.95, 0.6]), index=[0, 1])
    assert rule(seen).tolist() == [1, 1]
    assert rule(seen).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("labels", "confidences", "recorded"),
    [
        ([0, 1], [0.9, 0.9], 1),  # the later row wins
        ([0, 1], [0.9, 0.6], 0),  # ... of those that are confident
        ([0, 1, 2, 0], [0.6, 0.9, 0.85, 0.6], 2),
        ([0, 1], [0.6, 0.7], -1),
    ],
)
def test_an_item_twice_in_a_batch_is_counted_once(
    labels, confidences, recorded, make_rule, evidence, with_confidence
) -> None:
    rule = make_rule("FlexThreshold", items=4, threshold=0.8)
    rule(evidence(with_confidence(labels, confidences), index=[2] * len(labels)))
    assert rule.record[:4].tolist() == [-1, -1, recorded, -1]
    expected = [3, 0, 0, 0] if recorded >= 0 else [4, 0, 0, 0]
    expected[1 + recorded] += recorded >= 0
    assert rule.counts.tolist() == expected


@given(
    seed=st.integers(0, 2**32 - 1),
    items=st.integers(1, 12),
    size=st.integers(1, 20),
    classes=st.integers(2, 5),
    warmup=st.booleans(),
)
@settings(max_examples=60)
def test_running_counts_are_those_of_the_table(
    seed, items, size, classes, warmup, make_rule, evidence
) -> None:
    """Random streams with items repeated in a batch, against a table that is filled row by row and recounted."""
    rng = np.random.default_rng(seed)
    rule = make_rule("FlexThreshold", classes=classes, items=items, threshold=0.6, warmup=warmup)
    table, status = np.full(items, -1), np.zeros(classes)
    for step in range(6):
        probs = rng.dirichlet(np.full(classes, 0.4), size).astype(np.float32)
        index = rng.integers(0, items, size)
        weight = rule(evidence(probs, index=index, iteration=step))

        label, confidence = probs.argmax(1), probs.max(1)
        limit = 0.6 * status / (2 - status)
        clear = np.abs(confidence - limit[label]) > 1e-6
        np.testing.assert_array_equal(weight.numpy()[clear], (confidence >= limit[label])[clear])
        for row in range(size):
            if confidence[row] >= np.float32(0.6):
                table[index[row]] = label[row]
        counts = np.bincount(table + 1, minlength=classes + 1)
        if counts.max() < items:
            status = counts[1:] / max(1, counts.max() if warmup else counts[1:].max())
        np.testing.assert_array_equal(rule.record[:items].numpy(), table)
        np.testing.assert_array_equal(rule.counts.numpy(), counts)
        np.testing.assert_allclose(rule.status.numpy(), status, atol=1e-6)
        assert rule.record[items] == -1


def test_large_sets_do_not_overflow(make_rule, evidence, with_confidence) -> None:
    """Item numbers above 2^24, where a float would round."""
    items = 2**24 + 10
    rule = make_rule("FlexThreshold", items=items, threshold=0.8)
    index = [items - 1, items - 2, items - 1]
    rule(evidence(with_confidence([0, 1, 2], [0.9, 0.9, 0.9]), index=index))
    assert rule.record[-4:].tolist() == [-1, 1, 2, -1]
    assert rule.counts.tolist() == [items - 2, 0, 1, 1]
