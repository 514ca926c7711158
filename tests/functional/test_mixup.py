"""Mixtures, and the helpers of the losses on them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy as scipy_entropy

from ferbench.functional.losses import entropy, kl_divergence
from ferbench.functional.mixup import mix
from ferbench.functional.probabilities import as_probabilities


def test_a_mixture_by_hand() -> None:
    rows, partners = torch.tensor([[[8.0, 0.0]], [[4.0, 4.0]]]), torch.tensor([[[0.0, 8.0]], [[0.0, 0.0]]])
    expected = torch.tensor([[[6.0, 2.0]], [[0.0, 0.0]]])
    torch.testing.assert_close(mix(rows, partners, torch.tensor([0.25, 1.0])), expected)


def test_classes_become_certain_distributions() -> None:
    assert as_probabilities(torch.tensor([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    soft = torch.tensor([[0.25, 0.75]], dtype=torch.float64)
    assert as_probabilities(soft, 2).dtype == torch.float32
    assert as_probabilities(soft, 2).tolist() == soft.tolist()


def test_kl_divergence_by_hand() -> None:
    """(1/2, 1/2) against (1/4, 3/4), a certain distribution (0 log 0 = 0), and the prediction itself."""
    logits = torch.tensor([[0.0, math.log(3)]]).expand(3, 2)
    target = torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.25, 0.75]])
    expected = torch.tensor([0.5 * math.log(4 / 3), math.log(4), 0.0])
    torch.testing.assert_close(kl_divergence(logits, target), expected)
    torch.testing.assert_close(
        kl_divergence(logits[:2], torch.tensor([0, 1])), torch.tensor([math.log(4), math.log(4 / 3)])
    )


@pytest.mark.parametrize("scale", [0.1, 3.0, 100.0])
def test_entropy_and_kl_against_scipy(scale) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=scale, size=(6, 5)).astype(np.float32)
    target = rng.dirichlet(np.ones(5), 6)
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    probs = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(entropy(torch.from_numpy(logits)), scipy_entropy(probs, axis=1), atol=1e-5)
    if scale < 100:  # beyond, SciPy divides by probabilities that have become 0
        ours = kl_divergence(torch.from_numpy(logits), torch.from_numpy(target))
        np.testing.assert_allclose(ours, scipy_entropy(target, probs, axis=1), rtol=1e-4)


def test_entropy_of_certain_predictions_has_a_finite_gradient() -> None:
    logits = torch.tensor([[1e4, 0.0, -1e4]], requires_grad=True)
    value = entropy(logits)
    assert value.item() == 0.0
    value.sum().backward()
    assert logits.grad.isfinite().all()
