"""Pseudo-margins, quantiles and agreement, by hand and against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ferbench.functional.agreement import agreed_label, masked_quantile, pseudo_margins


def test_pseudo_margins_by_hand() -> None:
    margins = pseudo_margins(torch.tensor([[[3.0, 1.0, -1.0]], [[0.0, 0.0, 5.0]]]))
    assert margins.tolist() == [[[2.0, -2.0, -4.0]], [[-5.0, -5.0, 5.0]]]


def test_pseudo_margins_of_log_probabilities_are_those_of_logits() -> None:
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(pseudo_margins(logits.log_softmax(dim=1)), pseudo_margins(logits))


@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 30), q=st.floats(0, 1), share=st.floats(0, 1))
def test_masked_quantile_against_numpy(seed, size, q, share) -> None:
    rng = np.random.default_rng(seed)
    values, keep = rng.normal(size=size).astype(np.float32), rng.uniform(size=size) < share
    found = masked_quantile(torch.from_numpy(values), torch.from_numpy(keep), q)
    expected = np.quantile(values[keep].astype(np.float64), q) if keep.any() else 0.0
    assert found.item() == pytest.approx(expected, abs=1e-5)


def test_agreed_label_truth_table() -> None:
    """Heads that agree (1, 1) and that do not (1, 2), by who is sure: both, the first, the second, none."""
    first, second = torch.tensor([1] * 8), torch.tensor([1] * 4 + [2] * 4)
    sure, too = (torch.tensor(x * 2, dtype=torch.bool) for x in ([1, 1, 0, 0], [1, 0, 1, 0]))
    label, easy, hard = agreed_label(first, second, sure, too)
    assert easy.tolist() == [True] + [False] * 7
    assert hard.tolist() == [False, True, True, False] * 2
    assert label[:3].tolist() == [1, 1, 1]
    assert label[5:7].tolist() == [1, 2]  # that of the one that is sure
