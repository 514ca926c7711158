"""Pseudo-labels without the prior of the labels."""

from __future__ import annotations

import numpy as np
import pytest

from ferbench.testing import make_evidence


@pytest.mark.parametrize("tau", [0.0, 1.0, 0.5])
def test_against_numpy(tau, make_alignment) -> None:
    probs = np.random.default_rng(0).dirichlet(np.ones(3), 5).astype(np.float32)
    aligned = make_alignment("PriorRemoval", counts=(6, 3, 1), tau=tau)(make_evidence(probs))
    expected = probs / np.array([0.6, 0.3, 0.1]) ** tau
    np.testing.assert_allclose(aligned, expected / expected.sum(1, keepdims=True), rtol=1e-5)


def test_the_prior_itself_becomes_even(make_alignment) -> None:
    aligned = make_alignment("PriorRemoval", counts=(6, 3, 1))(make_evidence([[0.6, 0.3, 0.1]]))
    np.testing.assert_allclose(aligned, np.full((1, 3), 1 / 3), rtol=1e-5)
