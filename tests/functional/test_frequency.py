"""Class frequencies: SAW's weights, Adsh's thresholds, CReST's rates and picks, against hand and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ferbench.functional.frequency import (
    effective_number_weights,
    frequency_order,
    most_confident,
    quantile_thresholds,
    sampling_rates,
)


def test_weights_by_hand() -> None:
    """Counts 1 and 3: mean 2, b = 1/2; 1 - b^1 = 1/2, 1 - b^3 = 7/8: 2 : 8/7, which is 14 : 8, with mean 1."""
    weights = effective_number_weights(torch.tensor([1, 3]))
    assert weights.tolist() == pytest.approx([14 / 11, 8 / 11])


@pytest.mark.parametrize("counts", [[1, 1, 1], [500, 500], [0, 1]])
def test_equal_counts_weigh_1(counts) -> None:
    assert effective_number_weights(torch.tensor(counts)).tolist() == pytest.approx([1.0] * len(counts))


@given(counts=st.lists(st.integers(0, 10**7), min_size=2, max_size=9))
def test_the_rarer_the_heavier(counts) -> None:
    weights = effective_number_weights(torch.tensor(counts))
    assert weights.isfinite().all()
    assert weights.mean().item() == pytest.approx(1)
    assert (weights[torch.tensor(counts).argsort()].diff() <= 1e-12).all()


def test_thresholds_by_hand() -> None:
    """Head class 1: 4 items, 3 of them at 0.9 and above, one of which does not count: a share of 2/4."""
    confidence = torch.tensor([0.99, 0.95, 0.90, 0.60, 0.8, 0.7, 0.5, 0.4, 0.85])
    label = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0, 2])
    before = torch.tensor([0.9, 0.9, 0.9, 0.77])
    new = quantile_thresholds(confidence, label, before, head=1, floor=0.9)
    # Class 0: the second of four. Class 2: half of one item is none, and its first is meant. Class 3: not predicted.
    assert new.tolist() == pytest.approx([0.7, 0.95, 0.85, 0.77])


def test_thresholds_where_the_head_is_never_sure_or_never_predicted() -> None:
    confidence, before = torch.tensor([0.6, 0.5, 0.7]), torch.tensor([0.95, 0.95])
    unsure = quantile_thresholds(confidence, torch.tensor([0, 0, 1]), before, head=0, floor=0.95)
    assert unsure.tolist() == pytest.approx([0.6, 0.7])  # the surest item of each class, not all of them
    assert torch.equal(quantile_thresholds(confidence, torch.ones(3).long(), before, 0, 0.95), before)


def test_thresholds_ignore_items_that_were_not_looked_at() -> None:
    confidence, label = torch.tensor([0.99, 0.96, 0.95, 0.0, 0.0]), torch.zeros(5).long()
    new = quantile_thresholds(confidence, label, torch.tensor([0.5]), head=0, floor=0.95)
    assert new.tolist() == pytest.approx([0.96])  # floor(2/3 * 3) = 2: the second, however many zeros follow


def test_rates_by_hand() -> None:
    """Counts 2, 16, 4 by class: ranks 2, 0, 1."""
    counts = torch.tensor([2, 16, 4])
    assert frequency_order(counts).tolist() == [1, 2, 0]
    mirrored = sampling_rates(counts, alpha=3)
    assert mirrored.tolist() == pytest.approx([1.0, (2 / 16) ** (1 / 3), (4 / 16) ** (1 / 3)])
    geometric = sampling_rates(counts, alpha=3, rates="geometric")
    mu = (2 / 16) ** 0.5
    assert geometric.tolist() == pytest.approx([1.0, mu ** (2 / 3), mu ** (1 / 3)])


@given(ratio=st.floats(1.1, 3.0), classes=st.integers(2, 9), alpha=st.floats(0.5, 5.0))
def test_rates_agree_where_the_counts_fall_by_equal_factors(ratio, classes, alpha) -> None:
    counts = torch.tensor([1e6 * ratio**-c for c in range(classes)], dtype=torch.float64)
    rates = [sampling_rates(counts, alpha, name) for name in ("mirrored", "geometric")]
    torch.testing.assert_close(*rates)


@given(
    counts=st.lists(st.integers(0, 500), min_size=1, max_size=9),
    name=st.sampled_from(["mirrored", "geometric"]),
)
def test_the_rarer_the_more_is_taken(counts, name) -> None:
    counts = torch.tensor(counts)
    rates = sampling_rates(counts, 3.0, name)
    assert ((rates > 0) & (rates <= 1)).all()
    by_rank = rates[frequency_order(counts)]
    assert (by_rank.diff() >= -1e-12).all()
    assert by_rank[-1] == 1
    if len(set(counts.clamp(min=1).tolist())) == 1:
        assert (rates == 1).all()


def test_picks_by_hand() -> None:
    confidence = torch.tensor([0.5, 0.9, 0.7, 0.8, 0.6, 0.4])
    label = torch.tensor([0, 0, 0, 1, 1, 2])
    picked = most_confident(
        confidence, label, torch.tensor([0.7, 0.5, 0.99, 1.0]), torch.tensor([2, 1, 0, 3])
    )
    assert picked.tolist() == [3, 1, 2]  # none of one, one of two, two of three


@given(seed=st.integers(0, 2**32 - 1))
def test_picks_are_the_most_confident_of_their_class(seed) -> None:
    rng = np.random.default_rng(seed)
    confidence, label, rates = rng.permutation(40) / 40, rng.integers(0, 4, 40), rng.uniform(0, 1, 4)
    picked = most_confident(*map(torch.from_numpy, (confidence, label, rates)), torch.arange(4)).numpy()
    for c in range(4):
        members = np.flatnonzero(label == c)
        expected = members[np.argsort(-confidence[members])][: int(len(members) * rates[c])]
        assert picked[label[picked] == c].tolist() == expected.tolist()


def test_of_equally_confident_items_the_first_are_picked() -> None:
    """On every processor: confidences that round to 1 are many, and the order of an unstable sort is the machine's."""
    confidence, label = torch.ones(1000), torch.zeros(1000, dtype=torch.int64)
    picked = most_confident(confidence, label, torch.tensor([0.3]), torch.tensor([0]))
    assert picked.tolist() == list(range(300))
