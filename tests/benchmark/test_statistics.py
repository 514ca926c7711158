"""Statistics against hand-computed numbers, textbook examples and NumPy enumerations that use no SciPy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ferbench.benchmark.statistics import (
    Comparison,
    Interval,
    compare,
    coverage_limit,
    critical_difference,
    group_interval,
    hedges_gz,
    holm,
    macro_f1,
    rank_summary,
    seeds_for_sign_flip,
    sign_flip_p,
    smallest_sign_flip_p,
    summarize,
)
from ferbench.functional.metrics import scores_from_confusion

shares = st.integers(0, 1000).map(lambda i: i / 1000)

#: Demšar (2006), table 6: AUC of four variants of C4.5 on 14 data sets. The two 0.975 of "voting" are printed with ranks 2 and
#: 3, so they differed before they were rounded.
DEMSAR = np.array([
    [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
    [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
    [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
    [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
    [0.972, 0.981, 0.975, 0.9749], [0.957, 0.978, 0.946, 0.970],
])  # fmt: skip


def test_a_summary_by_hand():
    found = summarize([0.50, 0.53, 0.56])
    assert (found.n, found.few_seeds) == (3, True)
    assert found.mean == pytest.approx(0.53)
    assert found.sd == pytest.approx(0.03)  # sqrt((9e-4 + 0 + 9e-4) / 2)
    # Of the 27 equally likely samples one is 3 x 0.50 and one is 3 x 0.56: 3.7 % in each tail, above 2.5 %.
    assert found.interval == Interval(pytest.approx(0.50), pytest.approx(0.56))


def test_the_bootstrap_of_six_seeds_is_that_of_all_their_samples():
    values = np.array([0.61, 0.64, 0.60, 0.66, 0.63, 0.65])
    means = values[np.array(list(itertools.product(range(6), repeat=6)))].mean(axis=1)  # 46,656
    low, high = np.quantile(means, [0.025, 0.975])
    found = summarize(values).interval
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_seeds_have_no_interval(n):
    found = summarize([0.5, 0.6][:n])
    assert found.interval is None
    assert math.isnan(found.mean) == (n == 0)
    assert math.isnan(found.sd) == (n < 2)


@given(st.lists(shares, min_size=3, max_size=8))
def test_an_interval_of_seeds_lies_in_their_range(values):
    found = summarize(values)
    assert found.interval is not None
    assert min(values) - 1e-12 <= found.interval.low <= found.interval.high + 1e-12 <= max(values) + 2e-12


def test_how_often_the_range_of_seeds_can_hold_the_truth():
    assert coverage_limit(3) == 0.75
    sides = list(itertools.product([-1, 1], repeat=5))  # of the centre, equally likely
    assert coverage_limit(5) == sum(len(set(s)) == 2 for s in sides) / len(sides)


SCORES = {
    "FixMatch": {0: 0.60, 1: 0.62, 2: 0.61, 3: 0.64},
    "DTM": {0: 0.63, 1: 0.64, 2: 0.65, 3: 0.66},
    "Noise": {0: 0.59, 1: 0.64, 2: 0.60, 3: 0.65},
    "Bad": {1: 0.42, 2: 0.43, 3: 0.43, 7: 0.99},
    "New": {0: 0.90, 3: 0.90},
    "Lost": {8: 0.5},
}


def test_a_comparison_by_hand():
    found = compare(SCORES, "FixMatch")
    assert set(found) == {"DTM", "Noise", "Bad", "New", "Lost"}
    # DTM: differences 3, 2, 4, 2 points: mean 2.75, sd sqrt(2.75/3) = 0.9574, t = 2.75 / 0.4787 = 5.745.
    dtm = found["DTM"]
    assert (dtm.n, dtm.difference) == (4, pytest.approx(0.0275))
    # Student's t with 3 degrees of freedom has a distribution function in closed form:
    t = 2.75 / (math.sqrt(2.75 / 3) / 2)
    upper = 0.5 - (t / math.sqrt(3) / (1 + t * t / 3) + math.atan(t / math.sqrt(3))) / math.pi
    assert dtm.p == pytest.approx(2 * upper)
    assert dtm.p == pytest.approx(0.0105, abs=1e-4)
    # t_0.975(3) = 3.1824: 0.0275 -+ 3.1824 * 0.004787
    assert dtm.interval == Interval(pytest.approx(0.01227, abs=1e-5), pytest.approx(0.04273, abs=1e-5))
    assert dtm.p_sign_flip == 0.125  # 2 of 16
    assert dtm.verdict == "better"
    assert dtm.few_seeds


def test_holms_correction_counts_what_was_tested():
    found = compare(SCORES, "FixMatch")
    p = {name: c.p for name, c in found.items()}
    assert p["Bad"] < p["DTM"] < p["Noise"]
    assert found["Bad"].p_holm == pytest.approx(3 * p["Bad"])
    assert found["DTM"].p_holm == pytest.approx(2 * p["DTM"])
    assert found["Noise"].p_holm == pytest.approx(p["Noise"])
    assert [found[n].verdict for n in ("Bad", "DTM", "Noise")] == ["worse", "better", "within noise"]


def test_seeds_are_paired_and_too_few_pairs_are_not_tested():
    found = compare(SCORES, "FixMatch")
    assert found["Bad"].n == 3  # seed 7 has no partner
    assert found["Bad"].difference == pytest.approx((-0.20 - 0.18 - 0.21) / 3)
    assert found["New"] == Comparison(2, pytest.approx(0.28))
    assert found["New"].verdict == "too few seeds"
    assert found["Lost"].n == 0
    assert math.isnan(found["Lost"].difference)


def test_a_reference_without_scores_is_refused():
    with pytest.raises(KeyError):
        compare(SCORES, "UDA")


@pytest.mark.parametrize(("step", "p", "verdict"), [(0.0, 1.0, "within noise"), (0.25, 0.0, "better")])
def test_differences_that_are_all_the_same(step, p, verdict):
    base = {s: 0.1 * s for s in range(4)}  # equal but for rounding once a step is added
    found = compare({"a": base, "b": {s: v + step for s, v in base.items()}}, "a")["b"]
    assert (found.p, found.verdict) == (p, verdict)
    assert found.effect == (math.inf if step else 0.0)


@given(st.lists(st.floats(-1, 1, allow_nan=False), min_size=3, max_size=8))
def test_the_sign_flip_test_is_the_enumeration_of_all_signs(values):
    d = np.round(np.array(values), 3)
    signs = np.array(list(itertools.product([-1, 1], repeat=len(d))))
    means = (signs * d).mean(axis=1)
    one_sided = min((means >= d.mean() - 1e-9).mean(), (means <= d.mean() + 1e-9).mean())
    assert sign_flip_p(d) == pytest.approx(min(1.0, 2 * one_sided))


@pytest.mark.parametrize("n", [3, 5, 6, 10])
def test_the_smallest_sign_flip_p(n):
    assert smallest_sign_flip_p(n) == pytest.approx(sign_flip_p(np.linspace(1, 2, n)))


def test_seeds_that_a_sign_flip_test_needs():
    assert seeds_for_sign_flip() == 6
    for comparisons in (1, 2, 7, 11):
        n = seeds_for_sign_flip(comparisons)
        assert comparisons * smallest_sign_flip_p(n) <= 0.05 < comparisons * smallest_sign_flip_p(n - 1)


def test_hedges_factor_against_its_table():
    # J(m) of Hedges (1981): 0.5642 for 2 degrees of freedom, 0.7236 for 3, 0.9228 for 10.
    for n, factor in ((3, 0.5642), (4, 0.7236), (11, 0.9228)):
        d = np.arange(n, dtype=float)
        assert hedges_gz(d) == pytest.approx(factor * d.mean() / d.std(ddof=1), rel=1e-3)


def test_holm_by_hand():
    # Sorted: .005, .01, .03, .04 times 4, 3, 2, 1: .02, .03, .06, .04 -> not below the one before: .06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.7, 0.6]) == [1.0, 1.0]


@given(st.lists(st.lists(st.integers(0, 30), min_size=9, max_size=9), min_size=1, max_size=5))
def test_macro_f1_is_the_projects_own(counts):
    stack = np.array(counts).reshape(-1, 3, 3)
    expected = [scores_from_confusion(torch.tensor(m))["macro_f1"] for m in stack]
    np.testing.assert_allclose(macro_f1(stack), expected, atol=1e-12)


def videos(rng: np.random.Generator, runs: int, groups: int) -> np.ndarray:
    return rng.integers(0, 20, (runs, groups, 3, 3)) + 15 * np.eye(3, dtype=int)


def test_the_bootstrap_by_video_is_that_of_all_samples_of_videos():
    stack = videos(np.random.default_rng(3), runs=2, groups=5)
    scores = []
    for drawn in itertools.product(range(5), repeat=5):  # 3,125
        scores.append(np.mean([macro_f1(run[list(drawn)].sum(axis=0)) for run in stack]))
    low, high = np.quantile(scores, [0.025, 0.975])
    found = group_interval(stack)
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(low, abs=2e-3), pytest.approx(high, abs=2e-3))


def test_the_difference_by_video_is_taken_on_the_same_videos():
    stack = videos(np.random.default_rng(4), runs=3, groups=6)
    assert group_interval(stack, stack) == Interval(0.0, 0.0)
    better = stack + 5 * np.eye(3, dtype=int)
    scores = []
    for drawn in itertools.combinations_with_replacement(range(6), 6):
        times = np.bincount(drawn, minlength=6)
        weight = math.factorial(6) / math.prod(math.factorial(t) for t in times)
        mean = [macro_f1((times[:, None, None] * runs).sum(axis=1)).mean() for runs in (better, stack)]
        scores.append((mean[0] - mean[1], weight))
    values, weights = np.array(sorted(scores)).T
    share = np.cumsum(weights) / weights.sum()
    found = group_interval(better, stack)
    assert found is not None
    assert found.low == pytest.approx(values[np.searchsorted(share, 0.025)], abs=2e-3)
    assert found.high == pytest.approx(values[np.searchsorted(share, 0.975)], abs=2e-3)


def test_one_video_has_no_interval():
    assert group_interval(videos(np.random.default_rng(5), 2, 1)) is None


def test_ranks_of_the_textbook_example():
    found = rank_summary(DEMSAR)
    assert found.mean_ranks == pytest.approx((3.143, 2.000, 2.893, 1.964), abs=5e-4)
    assert found.blocks == 14
    # Demšar's 9.28 is without the correction for ties: 1 - sum(t^3 - t) / (N K (K^2 - 1)).
    ties = 6 + 6 + 60 + 6  # pairs on three data sets, and all four equal on one
    assert found.friedman == pytest.approx(9.28 / (1 - ties / (14 * 4 * 15)), abs=0.01)
    assert found.p == pytest.approx(chi2_tail_3(found.friedman))
    assert found.critical_difference == pytest.approx(1.25, abs=0.005)


def chi2_tail_3(x: float) -> float:
    """Upper tail of chi-square with 3 degrees of freedom, in closed form."""
    return math.erfc(math.sqrt(x / 2)) + math.sqrt(2 * x / math.pi) * math.exp(-x / 2)


def test_critical_values_of_demsars_table_5():
    table = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}
    for algorithms, q in table.items():
        factor = math.sqrt(algorithms * (algorithms + 1) / 6)
        assert critical_difference(algorithms, 1) == pytest.approx(q * factor, rel=5e-4)


def test_ranks_that_allow_no_test():
    assert rank_summary([[0.3, 0.2, 0.1]]) == rank_summary([[3, 2, 1]])
    one = rank_summary([[0.3, 0.2, 0.1]])
    assert (one.mean_ranks, one.friedman, one.critical_difference) == ((1, 2, 3), None, None)
    two = rank_summary([[0.3, 0.2], [0.4, 0.1]])
    assert (two.mean_ranks, two.friedman) == ((1, 2), None)
    assert two.critical_difference == pytest.approx(1.960 * math.sqrt(6 / 12), abs=1e-3)
    assert rank_summary([[1, 1, 1], [1, 1, 1]]).friedman is None
