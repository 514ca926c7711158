"""Loss formulas against numbers by hand, NumPy and slow loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ferbench.functional.losses import cross_entropy, masked_contrast, rampup, weighted_mean


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def test_cross_entropy_of_a_label_by_hand() -> None:
    """Logits log 1, log 3: probabilities 1/4, 3/4."""
    logits = torch.tensor([[0.0, math.log(3)]]).expand(2, 2)
    torch.testing.assert_close(
        cross_entropy(logits, torch.tensor([0, 1])), torch.tensor([math.log(4), math.log(4 / 3)])
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_against_numpy(weighted) -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(9, 4)).astype(np.float32), rng.integers(0, 4, 9)
    soft = rng.dirichlet(np.ones(4), 9).astype(np.float32)
    factor = np.array([0.5, 1.0, 2.0, 4.0], np.float32) if weighted else np.ones(4, np.float32)
    weight = torch.from_numpy(factor) if weighted else None
    hard = cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels), weight)
    np.testing.assert_allclose(hard, -(factor * log_softmax(logits))[np.arange(9), labels], rtol=1e-5)
    got = cross_entropy(torch.from_numpy(logits), torch.from_numpy(soft), weight)
    np.testing.assert_allclose(got, -(factor * soft * log_softmax(logits)).sum(1), rtol=1e-5)


def test_one_hot_target_is_the_label() -> None:
    logits, labels = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    one_hot = torch.nn.functional.one_hot(labels, 3).float()
    torch.testing.assert_close(cross_entropy(logits, one_hot), cross_entropy(logits, labels))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_cross_entropy_is_computed_in_float32(dtype) -> None:
    logits, soft = torch.randn(4, 3).to(dtype), torch.full((4, 3), 1 / 3).to(dtype)
    for target in (torch.tensor([0, 1, 2, 0]), soft):
        with torch.autocast("cpu", torch.bfloat16):
            got = cross_entropy(logits, target)
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, cross_entropy(logits.float(), target), rtol=0, atol=0)


def test_weighted_mean_divides_by_the_batch_and_not_by_the_weight() -> None:
    assert (
        weighted_mean(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1.0, 0.0, 0.5, 0.0])).item()
        == 2.5 / 4
    )
    assert weighted_mean(torch.tensor([1.0, 2.0]), torch.zeros(2)).item() == 0.0


def test_rampup() -> None:
    assert [rampup(i, 100, 0.4) for i in (0, 10, 40, 41, 99)] == [0.0, 0.25, 1.0, 1.0, 1.0]
    assert rampup(0, 100, 0.0) == 1.0


def slow_contrast(first: np.ndarray, second: np.ndarray, keep: np.ndarray, temperature: float) -> float:
    """The same by loops over the kept rows alone."""
    rows = np.concatenate([first[keep], second[keep]]).astype(np.float64)
    count, losses = int(keep.sum()), []
    for i in range(2 * count):
        partner = (i + count) % (2 * count)
        others = [math.exp(rows[i] @ rows[k] / temperature) for k in range(2 * count) if k != i]
        losses.append(-math.log(math.exp(rows[i] @ rows[partner] / temperature) / sum(others)))
    return sum(losses) / len(losses) if losses else 0.0


def unit_rows(rng: np.random.Generator, size: int) -> np.ndarray:
    rows = rng.normal(size=(size, 5)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 9), temperature=st.sampled_from([0.07, 0.5, 1.0]))
def test_masked_contrast_against_a_loop(seed, size, temperature) -> None:
    rng = np.random.default_rng(seed)
    first, second, keep = unit_rows(rng, size), unit_rows(rng, size), rng.random(size) < 0.6
    weight = torch.from_numpy(keep.astype(np.float32))
    got = masked_contrast(torch.from_numpy(first), torch.from_numpy(second), weight, temperature)
    assert got.item() == pytest.approx(slow_contrast(first, second, keep, temperature), abs=2e-5)


@pytest.mark.parametrize(("kept", "size"), [(0, 4), (1, 4), (1, 1), (0, 1)])
def test_masked_contrast_of_no_pair_is_zero_with_finite_gradient(kept, size) -> None:
    first, second = (
        torch.nn.functional.normalize(torch.randn(size, 3), dim=1).requires_grad_() for _ in "12"
    )
    weight = torch.zeros(size)
    weight[:kept] = 1
    loss = masked_contrast(first, second, weight, 0.07)
    assert loss.item() == 0.0
    loss.backward()
    assert not first.grad.any()
    assert not second.grad.any()


def test_masked_contrast_leaves_other_rows_without_gradient() -> None:
    rng = np.random.default_rng(1)
    first, second = (torch.from_numpy(unit_rows(rng, 6)).requires_grad_() for _ in "12")
    masked_contrast(first, second, torch.tensor([1.0, 0, 1, 0, 0, 1]), 0.2).backward()
    for grad in (first.grad, second.grad):
        assert (grad.abs().sum(dim=1) > 0).tolist() == [True, False, True, False, False, True]
        assert grad.isfinite().all()


def test_masked_contrast_is_computed_in_float32_under_autocast() -> None:
    """Similarities are divided by 0.07: those of bfloat16 would be wrong by several percent."""
    rng = np.random.default_rng(2)
    first, second = (torch.from_numpy(unit_rows(rng, 8)) for _ in "12")
    with torch.autocast("cpu", torch.bfloat16):
        got = masked_contrast(first, second, torch.ones(8), 0.07)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, masked_contrast(first, second, torch.ones(8), 0.07), rtol=1e-6, atol=0)
