"""Threshold formulas against numbers by hand and against NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ferbench.functional.thresholds import (
    class_confidence,
    dynamic_thresholds,
    flex_learning_status,
    flex_thresholds,
    pass_mask,
)

PROBS = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.05, 0.9, 0.05]])


def test_one_threshold_for_all_and_equality_passes() -> None:
    assert pass_mask(PROBS, 0.8).tolist() == [0, 1, 0, 1]


def test_threshold_of_the_predicted_class() -> None:
    assert pass_mask(PROBS, torch.tensor([0.7, 0.85, 0.4])).tolist() == [1, 0, 1, 1]


def test_mask_has_the_type_of_the_probabilities_and_may_be_empty() -> None:
    assert pass_mask(PROBS.bfloat16(), 0.5).dtype == torch.bfloat16
    assert pass_mask(PROBS[:0], torch.ones(3)).shape == (0,)
    assert pass_mask(PROBS[:1], torch.zeros(3)).tolist() == [1]


def test_flex_map() -> None:
    """0.9 * a / (2 - a) at a = 0, 1/2, 1: 0, 0.9 / 3, 0.9."""
    torch.testing.assert_close(
        flex_thresholds(torch.tensor([0.0, 0.5, 1.0]), 0.9), torch.tensor([0.0, 0.3, 0.9])
    )


@pytest.mark.parametrize(
    ("counts", "warmup", "expected"),
    [
        ([6, 3, 1], True, [0.5, 1 / 6]),
        ([6, 3, 1], False, [1.0, 1 / 3]),
        ([2, 3, 5], True, [0.6, 1.0]),
        ([2, 3, 5], False, [0.6, 1.0]),
        ([10, 0, 0], True, [0.4, 0.7]),  # nothing recorded: as before
        ([10, 0, 0], False, [0.4, 0.7]),
        ([0, 10, 0], True, [0.4, 0.7]),  # all in one class: the reference leaves it as it was, too
    ],
)
def test_flex_status(counts, warmup, expected) -> None:
    status = flex_learning_status(torch.tensor(counts), torch.tensor([0.4, 0.7]), warmup)
    torch.testing.assert_close(status, torch.tensor(expected))


def test_class_confidence_by_source() -> None:
    """Predictions 0, 1, 2, 1 of true classes 0, 1, 0, 0: class 2 is never true."""
    labels = torch.tensor([0, 1, 0, 0])
    expected = {
        "correct_only": ([0.7, 0.8, 0.0], [1, 1, 0]),
        "all_of_true_class": ([0.7 + 0.4 + 0.9, 0.8, 0.0], [3, 1, 0]),
        "all_of_predicted_class": ([0.7, 0.8 + 0.9, 0.4], [1, 2, 1]),
    }
    for source, (sums, counts) in expected.items():
        got_sums, got_counts = class_confidence(PROBS, labels, source)
        assert got_sums.dtype == got_counts.dtype == torch.float64
        np.testing.assert_allclose(got_sums, sums, atol=1e-7)
        assert got_counts.tolist() == counts
    with pytest.raises(ValueError, match="unknown source 'typo'"):
        class_confidence(PROBS, labels, "typo")


def test_class_confidence_of_the_items_that_count() -> None:
    """As above by predicted class, without item 3 and with half of item 1."""
    sums, counts = class_confidence(
        PROBS, torch.zeros(4, dtype=torch.int64), "all_of_predicted_class", torch.tensor([1.0, 0.5, 1.0, 0.0])
    )
    np.testing.assert_allclose(sums, [0.7, 0.4, 0.4], atol=1e-7)
    assert counts.tolist() == [1, 0.5, 1]


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(1, 40),
    cut=st.integers(0, 40),
    source=st.sampled_from(["correct_only", "all_of_true_class", "all_of_predicted_class"]),
)
def test_class_confidence_of_batches_adds_up(seed, size, cut, source) -> None:
    rng = np.random.default_rng(seed)
    probs = torch.from_numpy(rng.dirichlet(np.ones(4), size).astype(np.float32))
    labels = torch.from_numpy(rng.integers(0, 4, size))
    sums, counts = class_confidence(probs, labels, source)
    confidence, predicted = probs.numpy().max(1), probs.numpy().argmax(1)
    for c in range(4):
        of_class = {
            "correct_only": (labels.numpy() == c) & (predicted == c),
            "all_of_true_class": labels.numpy() == c,
            "all_of_predicted_class": predicted == c,
        }[source]
        assert counts[c] == of_class.sum()
        assert float(sums[c]) == pytest.approx(confidence[of_class].astype(np.float64).sum())
    first, second = (class_confidence(probs[s], labels[s], source) for s in (slice(cut), slice(cut, None)))
    torch.testing.assert_close(first[0] + second[0], sums)
    assert torch.equal(first[1] + second[1], counts)


def test_dynamic_thresholds_by_hand() -> None:
    margin = torch.tensor([0.9, 0.5, math.nan], dtype=torch.float64)
    for epoch in (1, 2, torch.tensor(2)):
        ramp = 1 / (1 + math.exp(-int(epoch)))
        new = dynamic_thresholds(margin, epoch, beta=0.97, gamma=math.e, floor=0.6)
        np.testing.assert_allclose(new[:2], [max(0.6, 0.97 * 0.9 * ramp), 0.6], rtol=1e-14)
        assert new[2].isnan()
    # gamma 3, epoch 2: 1 / (1 + 1/9) = 0.9; no floor; the cap holds the first class.
    new = dynamic_thresholds(margin, 2, beta=1.0, gamma=3.0, floor=0.0, cap=0.8)
    np.testing.assert_allclose(new[:2], [0.8, 0.45], rtol=1e-14)


def test_dynamic_thresholds_before_the_first_epoch() -> None:
    """Epoch 0: half of the margin, whatever gamma is."""
    new = dynamic_thresholds(torch.tensor([0.8]), 0, beta=1.0, gamma=7.0, floor=0.0)
    assert new.item() == pytest.approx(0.4)


def test_the_published_ramp() -> None:
    """A class with margin 1 stays at Ada-CM's floor for one epoch, then rises towards 0.97."""
    ones = torch.ones(1, dtype=torch.float64)
    got = [dynamic_thresholds(ones, e, beta=0.97, gamma=math.e, floor=0.8).item() for e in (1, 2, 3, 4, 20)]
    assert got == pytest.approx([0.8, 0.8544, 0.9240, 0.9526, 0.9700], abs=5e-5)
