"""The endless stream is a function of the step, and processes only share it out."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferbench.data.samplers import EndlessSampler

SIZES = st.tuples(st.integers(1, 30), st.integers(1, 12))


def stream(sampler: EndlessSampler, steps: int) -> np.ndarray:
    """The first rows, [steps * share, 2]."""
    return np.concatenate(list(islice(sampler, steps)))


def make(size: int, batch: int, seed: int = 0, name: str = "labeled", **options: int) -> EndlessSampler:
    return EndlessSampler(size, batch, seed, name, **options)


@given(sizes=SIZES, seed=st.integers(0, 2**31))
def test_every_epoch_is_a_permutation(sizes, seed) -> None:
    """Batches larger than the set included: they span several epochs."""
    size, batch = sizes
    rows = stream(make(size, batch, seed), -(-3 * size // batch))[: 3 * size]
    assert rows.dtype == np.int64
    for epoch, part in enumerate(rows.reshape(3, size, 2)):
        assert (part[:, 0] == epoch).all()
        np.testing.assert_array_equal(np.sort(part[:, 1]), np.arange(size))


@given(sizes=SIZES, steps=st.lists(st.integers(0, 200), min_size=1, max_size=6))
def test_a_step_depends_on_its_number_alone(sizes, steps) -> None:
    """Whatever was asked for before, and forwards or backwards."""
    used = make(*sizes)
    for step in steps:
        np.testing.assert_array_equal(used.keys(step), make(*sizes).keys(step))


@given(sizes=SIZES, start=st.integers(0, 50))
def test_starting_at_k_is_skipping_k(sizes, start) -> None:
    skipped = islice(make(*sizes), start, start + 5)
    np.testing.assert_array_equal(stream(make(*sizes, start=start), 5), np.concatenate(list(skipped)))


def test_starting_late_replays_nothing() -> None:
    sampler = make(10, 4, start=10**12)
    first = next(iter(sampler))
    assert (first[:, 0] == 4 * 10**11).all()
    assert len(sampler._permutations) == 1


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize(("size", "batch"), [(10, 8), (3, 8), (64, 16), (1, 4)])
def test_ranks_share_the_batch_of_one_process(world, size, batch) -> None:
    alone = make(size, batch)
    ranks = [make(size, batch, rank=rank, world=world) for rank in range(world)]
    for step in range(12):
        shares = [sampler.keys(step) for sampler in ranks]
        assert {share.shape for share in shares} == {(batch // world, 2)}
        np.testing.assert_array_equal(np.concatenate(shares), alone.keys(step))


def test_iterating_again_starts_again() -> None:
    sampler = make(7, 3)
    np.testing.assert_array_equal(stream(sampler, 9), stream(sampler, 9))


@pytest.mark.parametrize("other", [dict(seed=1), dict(name="unlabeled")])
def test_seeds_and_streams_are_independent(other) -> None:
    size = 1000
    mine, others = (make(size, size, **options).keys(0)[:, 1] for options in ({}, other))
    assert (mine == others).mean() < 0.02  # about one fixed point is expected of two random permutations
    assert abs(np.corrcoef(mine, others)[0, 1]) < 0.15


def test_epochs_differ_and_every_place_is_reached() -> None:
    """Item 0 stands at each of 5 places about equally often in 2000 epochs."""
    rows = make(5, 5 * 2000).keys(0).reshape(2000, 5, 2)
    places = np.bincount(np.argmax(rows[:, :, 1] == 0, axis=1), minlength=5)
    assert (abs(places - 400) < 5 * np.sqrt(400 * 0.8)).all()


def test_memory_stays_that_of_two_epochs() -> None:
    sampler = make(4, 3)
    stream(sampler, 100)
    assert len(sampler._permutations) <= 2
