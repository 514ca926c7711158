"""Hard and soft pseudo-labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ferbench.registry import TARGETS
from ferbench.testing import make_evidence


def test_hard_target_is_the_top_class() -> None:
    rule = TARGETS.build(dict(type="HardTarget"))
    target = rule(make_evidence([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]]))
    assert target.tolist() == [1, 0]
    assert target.dtype == torch.int64


def test_raw_hard_target_looks_at_the_probabilities_before_alignment() -> None:
    rule = TARGETS.build(dict(type="HardTarget", raw=True))
    assert rule(make_evidence([[0.2, 0.8]], raw_probs=torch.tensor([[0.9, 0.1]]))).tolist() == [0]


def test_sharpening_by_hand() -> None:
    """T = 1/2 squares: 0.6^2 : 0.3^2 : 0.1^2 = 36 : 9 : 1."""
    rule = TARGETS.build(dict(type="SoftTarget", temperature=0.5))
    torch.testing.assert_close(rule(make_evidence([[0.6, 0.3, 0.1]])), torch.tensor([[36.0, 9.0, 1.0]]) / 46)


def test_temperature_one_changes_nothing() -> None:
    probs = torch.tensor([[0.6, 0.3, 0.1]])
    assert torch.equal(TARGETS.build(dict(type="SoftTarget", temperature=1))(make_evidence(probs)), probs)


@given(seed=st.integers(0, 2**32 - 1), temperature=st.floats(0.05, 4.0))
def test_soft_target_is_the_softmax_of_scaled_logits(seed, temperature) -> None:
    logits = np.random.default_rng(seed).normal(scale=3.0, size=(5, 4))
    shifted = logits / temperature
    expected = np.exp(shifted - shifted.max(1, keepdims=True))
    expected /= expected.sum(1, keepdims=True)
    rule = TARGETS.build(dict(type="SoftTarget", temperature=temperature))
    target = rule(make_evidence(torch.from_numpy(logits.astype(np.float32)).softmax(dim=1)))
    np.testing.assert_allclose(target, expected, atol=5e-5)


@pytest.mark.parametrize("temperature", [0.01, 0.5, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_certain_and_vanishing_probabilities_stay_finite(temperature, dtype) -> None:
    probs = torch.tensor([[1.0, 0.0, 0.0], [1.0 - 1e-38, 1e-38, 0.0]], dtype=dtype)
    target = TARGETS.build(dict(type="SoftTarget", temperature=temperature))(make_evidence(probs))
    assert target.dtype == dtype
    torch.testing.assert_close(target, torch.tensor([[1.0, 0, 0]] * 2, dtype=dtype), rtol=0, atol=1e-6)
