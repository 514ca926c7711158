"""The registered losses against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ferbench.registry import LOSSES


def log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


@pytest.fixture
def batch() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits [6, 3], labels, label distributions."""
    rng = np.random.default_rng(7)
    logits = rng.normal(size=(6, 3)).astype(np.float32)
    return logits, rng.integers(0, 3, 6), rng.dirichlet(np.ones(3), 6).astype(np.float32)


def test_supervised(batch) -> None:
    logits, labels, votes = batch
    loss = LOSSES.build(dict(type="SupervisedCrossEntropy"))
    expected = -log_softmax(logits)[np.arange(6), labels].mean()
    assert loss(torch.from_numpy(logits), torch.from_numpy(labels), 0).item() == pytest.approx(
        expected, abs=1e-6
    )
    expected = -(votes * log_softmax(logits)).sum(1).mean()
    assert loss(torch.from_numpy(logits), torch.from_numpy(votes), 0).item() == pytest.approx(
        expected, abs=1e-6
    )


def test_class_weights_divide_by_the_batch_size(batch) -> None:
    """PyTorch's own weighted mean divides by the summed weights instead, which makes weights relative to the batch."""
    logits, labels, _ = batch
    loss = LOSSES.build(dict(type="SupervisedCrossEntropy", class_weight=[1, 2, 5]))
    factor = np.array([1, 2, 5])[labels]
    expected = -(factor * log_softmax(logits)[np.arange(6), labels]).sum() / 6
    assert loss(torch.from_numpy(logits), torch.from_numpy(labels), 0).item() == pytest.approx(
        expected, abs=1e-5
    )
    assert loss.state_dict() == {}
    assert loss.to(torch.float64).class_weight.dtype == torch.float64  # it moves with the model


def test_consistency_divides_by_the_batch_size(batch) -> None:
    logits, labels, soft = batch
    loss = LOSSES.build(dict(type="ConsistencyCrossEntropy"))
    weight = np.array([1, 0, 0.5, 0, 1, 0], np.float32)
    args = torch.from_numpy(logits), torch.from_numpy(labels), torch.from_numpy(weight)
    expected = -(weight * log_softmax(logits)[np.arange(6), labels]).sum() / 6
    assert loss(*args).item() == pytest.approx(expected, abs=1e-6)
    expected = -(weight * (soft * log_softmax(logits)).sum(1)).sum() / 6
    assert loss(args[0], torch.from_numpy(soft), args[2]).item() == pytest.approx(expected, abs=1e-6)


def test_consistency_of_nothing_selected_is_zero_and_so_is_its_gradient(batch) -> None:
    logits = torch.from_numpy(batch[0]).requires_grad_()
    loss = LOSSES.build(dict(type="ConsistencyCrossEntropy"))(
        logits, torch.from_numpy(batch[1]), torch.zeros(6)
    )
    assert loss.item() == 0
    loss.backward()
    assert not logits.grad.any()
