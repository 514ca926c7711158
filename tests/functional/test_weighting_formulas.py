"""How much an item counts: formulas by hand and against NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ferbench.functional.weighting import (
    annealed_ceiling,
    group_statistics,
    loss_ceiling,
    quantile,
    self_adaptive_thresholds,
    truncated_gaussian,
)


@given(values=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40), q=st.floats(0, 1))
def test_quantile_is_that_of_numpy(values, q) -> None:
    assert quantile(torch.tensor(values), q).item() == pytest.approx(np.quantile(values, q), abs=1e-6)


def test_self_adaptive_thresholds_by_hand() -> None:
    """The class predicted most gets tau, one half as frequent half of it."""
    thresholds = self_adaptive_thresholds(torch.tensor(0.8), torch.tensor([0.5, 0.25, 0.25]))
    torch.testing.assert_close(thresholds, torch.tensor([0.8, 0.4, 0.4]))


def test_group_statistics_against_numpy() -> None:
    rng = np.random.default_rng(2)
    values, group = rng.uniform(0.3, 1, 20).astype(np.float32), rng.integers(0, 2, 20)
    group[7] = 3  # alone in its group; group 2 is empty
    mean, variance, count = group_statistics(torch.from_numpy(values), torch.from_numpy(group), 4)
    assert count.tolist() == [(group == g).sum() for g in range(4)]
    for g in (0, 1):
        assert mean[g].item() == pytest.approx(values[group == g].mean(), abs=1e-6)
        assert variance[g].item() == pytest.approx(values[group == g].var(ddof=1), abs=1e-6)
    assert mean[2:].tolist() == pytest.approx([0.0, values[7]])
    assert variance[2:].tolist() == [0, 0]


def test_truncated_gaussian_by_hand() -> None:
    """Mean 0.8, standard deviation 0.1, two sigmas: 0.7 is two sigmas of the weight's own Gaussian below."""
    confidence = torch.tensor([0.9, 0.8, 0.7, 0.6])
    weight = truncated_gaussian(confidence, torch.tensor(0.8), torch.tensor(0.01), n_sigma=2)
    assert weight.tolist() == pytest.approx([1, 1, math.exp(-2), math.exp(-8)], abs=1e-6)


def test_truncated_gaussian_without_variance_is_a_threshold() -> None:
    weight = truncated_gaussian(torch.tensor([0.81, 0.8, 0.79]), torch.tensor(0.8), torch.tensor(0.0), 2)
    assert weight.tolist() == [1, 1, 0]


def test_loss_ceiling_by_hand() -> None:
    options = dict(factor=1.01, gamma=2.0, floor=0.3)
    ceilings = [loss_ceiling(torch.tensor(1.6), k, **options).item() for k in range(4)]
    assert ceilings == pytest.approx([1.616, 0.808, 0.404, 0.3])
    assert loss_ceiling(torch.tensor(math.nan), 0, **options).isnan()


@pytest.mark.parametrize(
    ("schedule", "start", "middle", "end"),
    [
        ("none", 1.0, 1.0, 1.0),
        ("linear", 0.25, 0.625, 1.0),
        ("log", 0.25, 0.25 + 0.75 * (1 - math.exp(-2.5)), 0.25 + 0.75 * (1 - math.exp(-5))),
        ("exp", 0.25 + 0.75 * math.exp(-5), 0.25 + 0.75 * math.exp(-2.5), 1.0),
    ],
)
def test_annealing_of_four_classes(schedule, start, middle, end) -> None:
    found = [annealed_ceiling(progress, schedule, 4) for progress in (0.0, 0.5, 1.0)]
    assert found == pytest.approx([start, middle, end])
