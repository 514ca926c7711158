"""Debiased-PL's alignment and margin."""

from __future__ import annotations

import numpy as np
import torch

from ferbench.testing import make_evidence


def test_two_steps_against_numpy(make_alignment) -> None:
    """Pseudo-labels use q from before the step, the margin that from after it; q follows the biased predictions."""
    rng = np.random.default_rng(8)
    probs = rng.dirichlet(np.ones(3), (2, 5)).astype(np.float32)
    rule = make_alignment("DebiasedAlignment", tau=0.7, momentum=0.6)
    q = np.full(3, 1 / 3)
    for step in range(2):
        out = rule(make_evidence(probs[step], iteration=step))
        expected = probs[step] / q**0.7  # softmax(log p - tau log q)
        np.testing.assert_allclose(out, expected / expected.sum(1, keepdims=True), atol=1e-6)
        q = 0.6 * q + 0.4 * probs[step].astype(np.float64).mean(0)
        np.testing.assert_allclose(rule.p_model, q, atol=1e-6)
        np.testing.assert_allclose(rule.margin(), 0.7 * np.log(q), atol=1e-5)


def test_nothing_to_debias_at_first(make_alignment) -> None:
    probs = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    torch.testing.assert_close(make_alignment("DebiasedAlignment")(make_evidence(probs)), probs)
