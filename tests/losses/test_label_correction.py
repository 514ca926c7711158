"""Supervised losses that correct for the class frequencies of the labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ferbench.errors import UserError
from ferbench.lifecycle import RunContext, bind
from ferbench.registry import LOSSES

COUNTS = (70, 20, 10)
CONTEXT = RunContext(3, num_labeled=100, num_unlabeled=0, max_iters=10, class_counts=COUNTS)


def log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def build(name: str, **options):
    loss = LOSSES.build(dict(type=name, **options))
    bind(loss, CONTEXT)
    return loss


@pytest.fixture
def batch() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits [6, 3], labels, label distributions."""
    rng = np.random.default_rng(7)
    return (
        rng.normal(size=(6, 3)).astype(np.float32),
        rng.integers(0, 3, 6),
        rng.dirichlet(np.ones(3), 6).astype(np.float32),
    )


@pytest.mark.parametrize("tau", [0.0, 1.0, 2.5])
def test_logit_adjustment(tau, batch) -> None:
    logits, labels, votes = batch
    loss = build("LogitAdjusted", tau=tau)
    adjusted = log_softmax(logits + tau * np.log(np.array(COUNTS) / 100))
    value = loss(torch.from_numpy(logits), torch.from_numpy(labels), 0)
    assert value.item() == pytest.approx(-adjusted[np.arange(6), labels].mean(), abs=1e-6)
    value = loss(torch.from_numpy(logits), torch.from_numpy(votes), 0)
    assert value.item() == pytest.approx(-(votes * adjusted).sum(1).mean(), abs=1e-6)
    assert loss.state_dict() == {}


def test_adjusted_logits_of_the_frequencies_fit_best_without_any_evidence() -> None:
    """On labels that say nothing of the image, plain cross-entropy learns the prior; the adjusted one learns to be even."""
    labels = torch.from_numpy(np.repeat([0, 1, 2], COUNTS))
    logits = torch.zeros(3, requires_grad=True)
    build("LogitAdjusted")(logits.expand(100, 3), labels, 0).backward()
    torch.testing.assert_close(logits.grad, torch.zeros(3), rtol=0, atol=1e-6)


@pytest.mark.parametrize("scheme", ["effective_number", "inverse_frequency"])
def test_reweighting(scheme, batch) -> None:
    logits, labels, votes = batch
    loss = build("Reweighted", scheme=scheme, beta=0.9)
    n = np.array(COUNTS, np.float64)
    weight = 1 / n if scheme == "inverse_frequency" else (1 - 0.9) / (1 - 0.9**n)
    weight *= 3 / weight.sum()
    value = loss(torch.from_numpy(logits), torch.from_numpy(labels), 0)
    expected = -(weight[labels] * log_softmax(logits)[np.arange(6), labels]).sum() / 6
    assert value.item() == pytest.approx(expected, abs=1e-5)
    value = loss(torch.from_numpy(logits), torch.from_numpy(votes), 0)
    assert value.item() == pytest.approx(-(weight * votes * log_softmax(logits)).sum() / 6, abs=1e-5)


def test_they_wrap_each_other_and_any_other(batch) -> None:
    """Re-weighting of an adjusted loss that weights classes already."""
    logits, labels, _ = batch
    inner = dict(type="SupervisedCrossEntropy", class_weight=[1.0, 2.0, 3.0])
    loss = build(
        "Reweighted", scheme="inverse_frequency", loss=dict(type="LogitAdjusted", tau=0.5, loss=inner)
    )
    weight = np.array([1.0, 2.0, 3.0]) / COUNTS
    weight *= 3 / (1 / np.array(COUNTS)).sum()
    adjusted = log_softmax(logits + 0.5 * np.log(np.array(COUNTS) / 100))
    value = loss(torch.from_numpy(logits), torch.from_numpy(labels), 0)
    expected = -(weight[labels] * adjusted[np.arange(6), labels]).sum() / 6
    assert value.item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["LogitAdjusted", "Reweighted"])
def test_a_balanced_stream_is_not_corrected_again(name) -> None:
    loss = LOSSES.build(dict(type=name))
    with pytest.raises(UserError, match=f"{name} corrects for .* balanced already"):
        bind(loss, replace(CONTEXT, sampler="class_balanced"))


@pytest.mark.parametrize(
    ("options", "what"), [(dict(scheme="inverse"), "scheme='inverse'"), (dict(beta=1.0), r"beta=1\.0")]
)
def test_bad_arguments_are_named(options, what) -> None:
    with pytest.raises(UserError, match=what):
        LOSSES.build(dict(type="Reweighted", **options))
