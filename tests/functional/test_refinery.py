"""DARP's refinery against the convex problem that it solves, and at its edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from ferbench.functional.refinery import refine


def candidates(probs: np.ndarray, totals: np.ndarray, alpha: float) -> np.ndarray:
    """The first step, item by item."""
    kept = np.full(probs.shape, 1e-6)
    for c, total in enumerate(totals):
        best = sorted(range(len(probs)), key=lambda i: -probs[i, c])[: int(alpha * total)]
        mass = sum(probs[i, c] for i in best)
        for i in best:
            kept[i, c] += probs[i, c] * (total + 1e-6) / (mass + 1e-6)
    return kept / kept.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(4))
def test_nearest_pseudo_labels_of_the_given_totals(seed) -> None:
    """``min sum_i w_i KL(x_i || a_i)`` with row sums 1 and column sums M, by a general solver."""
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.ones(3), 6)
    totals = np.array([3.0, 2.0, 1.0])
    kept = candidates(probs, totals, alpha=2.5)
    weight = -1 / (kept * np.log(kept + 1e-6)).sum(axis=1)

    def distance(x: np.ndarray) -> float:
        rows = np.maximum(x.reshape(6, 3), 1e-12)
        return float((weight[:, None] * rows * np.log(rows / kept)).sum())

    bounds = [(1e-9, 1)] * 18
    sums = [
        {"type": "eq", "fun": lambda x: x.reshape(6, 3).sum(axis=1) - 1},
        {"type": "eq", "fun": lambda x: x.reshape(6, 3).sum(axis=0)[:2] - totals[:2]},
    ]
    solved = minimize(
        distance, kept.ravel(), bounds=bounds, constraints=sums, options=dict(maxiter=500, ftol=1e-13)
    )
    assert solved.success
    found = refine(probs, totals, alpha=2.5, rounds=300)
    np.testing.assert_allclose(found, solved.x.reshape(6, 3), atol=0.02)
    assert distance(found.ravel()) == pytest.approx(solved.fun, abs=0.02)


@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(2, 8), sharpness=st.floats(0.05, 5.0))
@settings(max_examples=40)
def test_rows_are_distributions_and_classes_come_near_their_totals(seed, classes, sharpness) -> None:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(classes, sharpness), 200)
    totals = 200 * rng.dirichlet(np.full(classes, 5.0))
    found = refine(probs, totals)
    assert found.shape == probs.shape
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)
    before, after = (np.abs(x.sum(axis=0) - totals).sum() for x in (probs, found))
    if sharpness > 0.3:  # with nearly certain predictions ten rounds are too few
        assert after <= 0.1 * before + 0.02
    assert after <= before


def test_sure_items_move_least() -> None:
    """Too many items of class 0: those that become class 1 are the unsure ones."""
    probs = np.array([[0.99, 0.01], [0.98, 0.02], [0.97, 0.03], [0.6, 0.4], [0.55, 0.45], [0.52, 0.48]])
    found = refine(probs, np.array([3.0, 3.0]))
    assert found.argmax(axis=1).tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("probs", "totals"),
    [
        (np.eye(3)[[0, 0, 1, 1]], [2.0, 1.0, 1.0]),  # certain
        (np.full((4, 3), 1 / 3), [2.0, 1.0, 1.0]),  # uniform
        (np.full((1, 3), 1 / 3), [0.6, 0.3, 0.1]),  # a single item, no whole candidate
        (np.eye(3)[[0, 0, 0, 0]], [0.0, 2.0, 2.0]),  # a class that is not to be, and all items are of it
    ],
)
def test_edges(probs, totals) -> None:
    found = refine(probs.astype(np.float32), np.array(totals))
    assert found.dtype == np.float64
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert not found[:, np.array(totals) == 0].any()
