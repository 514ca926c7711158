"""What losses are divided by, and factors per class."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ferbench.errors import UserError
from ferbench.registry import LOSSES

LOGITS = np.random.default_rng(3).normal(size=(6, 3)).astype(np.float32)
LABELS = np.array([0, 2, 1, 1, 0, 2])
WEIGHT = np.array([1, 0, 0.5, 0, 1, 0], np.float32)
PER_ITEM = np.log(np.exp(LOGITS.astype(float)).sum(axis=1)) - LOGITS[np.arange(6), LABELS]


def loss(weight: np.ndarray = WEIGHT, **options) -> torch.Tensor:
    part = LOSSES.build(dict(type="ConsistencyCrossEntropy", **options))
    return part(torch.from_numpy(LOGITS), torch.from_numpy(LABELS), torch.from_numpy(weight))


@pytest.mark.parametrize(("over", "divisor"), [("batch", 6), ("weight", 2.5)])
def test_divisor(over, divisor) -> None:
    assert loss(over=over).item() == pytest.approx((WEIGHT * PER_ITEM).sum() / divisor, abs=1e-6)


def test_factors_per_class() -> None:
    factors = np.array([1.0, 4.0, 9.0])
    expected = (WEIGHT * factors[LABELS] * PER_ITEM).sum() / 6
    assert loss(class_weight=factors.tolist()).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("over", ["batch", "weight"])
@pytest.mark.parametrize("scale", [1.0, 65536.0])
def test_nothing_selected_is_zero_whatever_the_divisor(over, scale) -> None:
    """Also the gradient, and that of a loss that is scaled for fp16."""
    logits = torch.from_numpy(LOGITS).requires_grad_()
    part = LOSSES.build(dict(type="ConsistencyCrossEntropy", over=over))
    value = part(logits, torch.from_numpy(LABELS), torch.zeros(6))
    (scale * value).backward()
    assert value.item() == 0
    assert logits.grad.unique().tolist() == [0.0]


def test_a_tiny_weight_is_a_weight() -> None:
    """The mean does not depend on the scale of the weights."""
    assert loss(WEIGHT * 1e-9, over="weight").item() == pytest.approx(loss(over="weight").item(), rel=1e-5)


@pytest.mark.parametrize("name", ["ConsistencyCrossEntropy", "LowConfidenceKL"])
def test_unknown_divisor(name) -> None:
    with pytest.raises(UserError, match=f"{name} got over='mean'"):
        LOSSES.build(dict(type=name, over="mean"))
