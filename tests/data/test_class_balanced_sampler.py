"""The class-balanced stream: equal shares, no item again before its class is through, a function of the step."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferbench.data.loader import check_sampler
from ferbench.data.samplers import ClassBalancedSampler
from ferbench.errors import UserError
from ferbench.lifecycle import RunContext

LABELS = st.lists(st.sampled_from([0, 1, 3, 4]), min_size=1, max_size=25).map(
    np.array
)  # class 2 never occurs
BATCHES = st.integers(1, 12)


def make(labels: np.ndarray, batch: int, seed: int = 0, name: str = "labeled", **options: int):
    return ClassBalancedSampler(labels, batch, seed, name, **options)


def stream(sampler: ClassBalancedSampler, rows: int) -> np.ndarray:
    """The first rows, [rows, 2]."""
    steps = -(-rows // sampler.batch_size)
    return np.concatenate(list(islice(sampler, steps)))[:rows]


@given(labels=LABELS, batch=BATCHES, seed=st.integers(0, 2**31))
def test_every_round_holds_every_class_once(labels, batch, seed) -> None:
    present = np.unique(labels)
    rows = stream(make(labels, batch, seed), 7 * len(present))
    assert rows.dtype == np.int64
    rounds = labels[rows[:, 1]].reshape(7, len(present))
    np.testing.assert_array_equal(np.sort(rounds, axis=1), np.tile(present, (7, 1)))


@given(labels=LABELS, batch=BATCHES)
def test_no_item_comes_again_before_its_class_is_through(labels, batch) -> None:
    """Each class by itself is one permutation after the other; the first column counts them."""
    size = np.bincount(labels).max()
    rows = stream(make(labels, batch), 2 * size * len(np.unique(labels)))
    for c in np.unique(labels):
        own, items = rows[labels[rows[:, 1]] == c], np.flatnonzero(labels == c)
        for epoch in range(len(own) // len(items)):
            part = own[epoch * len(items) : (epoch + 1) * len(items)]
            assert (part[:, 0] == epoch).all()
            np.testing.assert_array_equal(np.sort(part[:, 1]), items)


@given(labels=LABELS, batch=BATCHES, steps=st.lists(st.integers(0, 200), min_size=1, max_size=6))
def test_a_step_depends_on_its_number_alone(labels, batch, steps) -> None:
    used = make(labels, batch)
    for step in steps:
        np.testing.assert_array_equal(used.keys(step), make(labels, batch).keys(step))


@given(labels=LABELS, batch=BATCHES, start=st.integers(0, 50))
def test_starting_at_k_is_skipping_k(labels, batch, start) -> None:
    skipped = islice(make(labels, batch), start, start + 5)
    begun = islice(make(labels, batch, start=start), 5)
    np.testing.assert_array_equal(np.concatenate(list(begun)), np.concatenate(list(skipped)))


@given(labels=LABELS, share=st.integers(1, 5), world=st.sampled_from([1, 2, 4]))
def test_ranks_share_the_batch_of_one_process(labels, share, world) -> None:
    batch = share * world
    ranks = [make(labels, batch, rank=rank, world=world) for rank in range(world)]
    for step in range(6):
        shares = [sampler.keys(step) for sampler in ranks]
        assert {part.shape for part in shares} == {(share, 2)}
        np.testing.assert_array_equal(np.concatenate(shares), make(labels, batch).keys(step))


def test_shares_of_a_skewed_set() -> None:
    """1,000, 100 and 10 items: each class is a third of 900 draws, the rare one seen 30 times over."""
    labels = np.repeat([0, 1, 2], [1000, 100, 10])
    rows = stream(make(labels, 7), 900)
    assert np.bincount(labels[rows[:, 1]]).tolist() == [300, 300, 300]
    seen = np.bincount(rows[:, 1], minlength=1110)
    assert seen[:1000].max() == 1
    assert set(seen[1000:1100]) == {3}
    assert set(seen[1100:]) == {30}


def test_orders_differ_between_rounds_classes_seeds_and_streams() -> None:
    labels = np.repeat([0, 1], 500)
    first = make(labels, 1000).keys(0)[:, 1]
    in_front = labels[first].reshape(500, 2)[:, 0]
    assert abs(in_front.mean() - 0.5) < 5 * np.sqrt(0.25 / 500)
    zeros, ones = first[labels[first] == 0], first[labels[first] == 1] - 500
    assert (zeros == ones).mean() < 0.03  # about one fixed point is expected of two random permutations
    for other in (dict(seed=1), dict(name="unlabeled")):
        assert (make(labels, 1000, **other).keys(0)[:, 1] == first).mean() < 0.03


def test_starting_late_replays_nothing() -> None:
    """Rounds 2e12 and 2e12 + 1: the only item of class 0 has come once per round, those of class 1 every other round."""
    sampler = make(np.array([0, 1, 1]), 4, start=10**12)
    rows = next(iter(sampler))
    assert rows[rows[:, 1] == 0, 0].tolist() == [2 * 10**12, 2 * 10**12 + 1]
    assert rows[rows[:, 1] != 0, 0].tolist() == [10**12] * 2
    assert all(len(permutations) <= 2 for permutations in sampler._within)


def test_an_unknown_order_is_named() -> None:
    assert check_sampler("class_balanced") == "class_balanced"
    with pytest.raises(UserError, match=r"train_dataloader\.sampler is 'balanced'") as caught:
        check_sampler("balanced")
    assert caught.value.expected == "shuffled or class_balanced"


def test_shares_of_the_stream_are_what_methods_correct_by() -> None:
    shuffled = RunContext(4, num_labeled=10, num_unlabeled=0, max_iters=1, class_counts=(6, 0, 3, 1))
    assert shuffled.class_shares == pytest.approx((0.6, 0, 0.3, 0.1))
    balanced = replace(shuffled, sampler="class_balanced")
    assert balanced.class_shares == pytest.approx((1 / 3, 0, 1 / 3, 1 / 3))
