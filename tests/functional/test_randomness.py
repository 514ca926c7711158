from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ferbench.functional.randomness import derive_seed, uniforms

MASK = 2**64 - 1


def mix(x: int) -> int:
    """SplitMix64's finaliser in Python integers."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def by_hand(seed: int, epoch: int, index: int, stream: str | int, draw: int) -> float:
    golden = 0x9E3779B97F4A7C15
    state = mix((derive_seed(seed, stream) + epoch * golden) & MASK)
    state = mix((state + index * golden) & MASK)
    return (mix((state + (draw + 1) * golden) & MASK) >> 11) / 2**53


def grid(count: int = 4096, **changed) -> np.ndarray:
    arguments = {
        "seed": 0,
        "epochs": np.zeros(count, np.int64),
        "indices": np.arange(count),
        "stream": "weak",
        "draws": 4,
    }
    return uniforms(**(arguments | changed))


def test_reference_implementation_is_splitmix64():
    # the first outputs of Vigna's splitmix64.c for the seed 1234567
    golden = 0x9E3779B97F4A7C15
    outputs = [mix((1234567 + k * golden) & MASK) for k in (1, 2, 3)]
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(
    st.integers(-(2**70), 2**70),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**63 - 1),
    st.text(max_size=8) | st.integers(),
)
def test_equals_computation_with_python_integers(seed, epoch, index, stream):
    found = uniforms(seed, np.array([epoch]), np.array([index]), stream, 3)
    assert found.tolist() == [[by_hand(seed, epoch, index, stream, draw) for draw in range(3)]]
    assert found.dtype == np.float64
    assert found.min() >= 0
    assert found.max() < 1


def test_pinned_values():
    # a change of these numbers changes every run's augmentation: results would no longer be reproducible
    found = uniforms(7, np.array([0, 3]), np.array([0, 5_800_000]), "view weak", 2)
    np.testing.assert_array_equal(
        found, [[0.7412678093652795, 0.6122171435196285], [0.06389378228799636, 0.9745992416734586]]
    )
    assert derive_seed() == 14368017890445460849
    assert derive_seed(7, "sampler", "labeled") == 8790749715092396048


def test_rows_depend_on_their_own_arguments_only():
    epochs, indices = np.array([0, 1, 2, 1]), np.array([9, 8, 7, 6])
    whole = uniforms(3, epochs, indices, "strong", 5)
    order = np.array([2, 0, 3, 1])
    np.testing.assert_array_equal(uniforms(3, epochs[order], indices[order], "strong", 5), whole[order])
    np.testing.assert_array_equal(uniforms(3, epochs[1:2], indices[1:2], "strong", 2), whole[1:2, :2])


def test_empty_shapes():
    none = np.zeros(0, np.int64)
    assert uniforms(0, none, none, "weak", 3).shape == (0, 3)
    assert uniforms(0, np.zeros(2, np.int64), np.arange(2), "weak", 0).shape == (2, 0)


@pytest.mark.parametrize(
    "varied",
    [
        grid(),
        grid(epochs=np.arange(4096), indices=np.zeros(4096, np.int64)),
        np.concatenate([grid(1, seed=s) for s in range(4096)]),
        np.concatenate([grid(1, stream=s) for s in range(4096)]),
    ],
    ids=["indices", "epochs", "seeds", "streams"],
)
def test_uniform_and_uncorrelated_along_each_argument(varied):
    for draw in varied.T:
        assert stats.kstest(draw, "uniform").pvalue > 1e-4
        assert abs(np.corrcoef(draw[:-1], draw[1:])[0, 1]) < 5 / np.sqrt(len(draw))  # neighbours; 5 sigma
    # cells of the unit square: pairs of draws of one item fill it evenly
    for a, b in itertools.combinations(range(varied.shape[1]), 2):
        counts = np.histogram2d(varied[:, a], varied[:, b], bins=8, range=[[0, 1], [0, 1]])[0]
        assert stats.chisquare(counts.ravel()).pvalue > 1e-4


@pytest.mark.parametrize(
    "changed",
    [{"seed": 1}, {"seed": -1}, {"stream": "weak2"}, {"stream": 0}, {"epochs": np.ones(4096, np.int64)},
     {"indices": np.arange(1, 4097)}],
    ids=str,
)  # fmt: skip
def test_a_changed_argument_gives_independent_numbers(changed):
    old, new = grid().ravel(), grid(**changed).ravel()
    assert (old == new).sum() == 0
    assert abs(np.corrcoef(old, new)[0, 1]) < 5 / np.sqrt(len(old))


def test_every_bit_is_fair():
    bits = (grid(8192).ravel() * 2**53).astype(np.uint64)
    for bit in range(53):
        ones = int(((bits >> np.uint64(bit)) & np.uint64(1)).sum())
        assert stats.binomtest(ones, len(bits)).pvalue > 1e-5, bit


def test_derived_seeds_tell_parts_apart():
    parts = [
        (),
        (1,),
        ("1",),
        ("a", "bc"),
        ("ab", "c"),
        ("abc",),
        (12,),
        (1, 2),
        ("1", 2),
        (-1,),
        (2**64,),
        (0,),
        ("",),
    ]
    seeds = [derive_seed(*p) for p in parts]
    assert len(set(seeds)) == len(parts)
    assert all(0 <= seed < 2**64 for seed in seeds)
    assert derive_seed(np.int64(5), "ü") == derive_seed(5, "ü")


def test_float_seed_is_refused():
    with pytest.raises(TypeError):
        derive_seed(1.0)  # type: ignore[arg-type]
