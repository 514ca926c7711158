"""The formulas against class imbalance, by hand and against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ferbench.functional import imbalance

COUNTS = st.lists(st.integers(0, 500), min_size=2, max_size=9).filter(any)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def test_effective_numbers_by_hand() -> None:
    """beta 1/2 and 1, 2, 3 items: effective numbers 1, 3/2, 7/4; their inverses 1, 2/3, 4/7 sum to 47/21."""
    weights = imbalance.class_weights((1, 2, 3), "effective_number", beta=0.5)
    assert weights.tolist() == pytest.approx([3 * 21 / 47, 3 * 14 / 47, 3 * 12 / 47])


def test_inverse_frequencies_by_hand() -> None:
    """1/10, 1/5, 1/2 sum to 8/10; the class without items has no weight and does not count in the mean."""
    weights = imbalance.class_weights((10, 0, 5, 2), "inverse_frequency")
    assert weights.tolist() == pytest.approx([3 / 8, 0, 6 / 8, 15 / 8])


@given(counts=COUNTS, beta=st.floats(0, 0.9999))
def test_weights_have_mean_1_and_fall_with_the_count(counts, beta) -> None:
    weights = imbalance.class_weights(counts, "effective_number", beta).double().numpy()
    present = np.array(counts) > 0
    assert weights[present].mean() == pytest.approx(1, rel=1e-5)
    assert (weights[~present] == 0).all()
    order = np.argsort(np.array(counts)[present], kind="stable")
    assert (np.diff(weights[present][order]) <= 1e-5).all()
    if beta == 0:
        assert weights[present] == pytest.approx(1)


def test_effective_numbers_tend_to_inverse_frequencies() -> None:
    near = imbalance.class_weights((100, 10, 1), "effective_number", beta=1 - 1e-9)
    torch.testing.assert_close(near, imbalance.class_weights((100, 10, 1), "inverse_frequency"))


def test_prior_by_hand() -> None:
    assert imbalance.log_prior((6, 3, 1)).tolist() == pytest.approx(np.log([0.6, 0.3, 0.1]))
    assert imbalance.log_prior((6, 0, 4)).tolist() == pytest.approx(
        np.log([0.6, 0.1, 0.4])
    )  # as if it had one


def test_rates_by_hand() -> None:
    assert imbalance.balancing_rates((50, 10, 0, 25)).tolist() == pytest.approx([0.2, 1, 1, 0.4])
    assert imbalance.balancing_rates((0.5, 0.1, 0.0, 0.4)).tolist() == pytest.approx([0.2, 1, 1, 0.25])


def test_similarity_to_prototypes() -> None:
    rng = np.random.default_rng(0)
    features, prototypes = rng.normal(size=(5, 6)), rng.normal(size=(3, 6))
    known = torch.tensor([True, True, False])
    logits = imbalance.cosine_logits(torch.from_numpy(features), torch.from_numpy(prototypes), known, 0.05)
    cosine = (
        features
        @ prototypes.T
        / np.linalg.norm(features, axis=1)[:, None]
        / np.linalg.norm(prototypes, axis=1)
    )
    np.testing.assert_allclose(logits[:, :2], cosine[:, :2] / 0.05, rtol=1e-5, atol=1e-5)
    probs = logits.softmax(dim=1)
    assert (probs[:, 2] == 0).all()
    assert torch.nn.functional.cross_entropy(logits, probs).isfinite()


def test_similarity_is_exact_under_autocast() -> None:
    generator = torch.Generator().manual_seed(0)
    features, prototypes = (torch.randn(4, 8, generator=generator) for _ in "12")
    known = torch.ones(4, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        half = imbalance.cosine_logits(features, prototypes, known, 0.05)
    assert torch.equal(half, imbalance.cosine_logits(features, prototypes, known, 0.05))


def test_strength_by_hand() -> None:
    """Counts 8, 1, 0 and T 3/2: (1/8)^(2/3) = 1/4. The sum of the counts does not matter."""
    for scale in (1.0, 0.01):
        shares = scale * torch.tensor([8.0, 1.0, 0.0])
        assert imbalance.blending_strength(shares, 1.5).tolist() == pytest.approx([1, 0.25, 0])
    assert imbalance.blending_strength(torch.zeros(3), 1.5).tolist() == [0, 0, 0]


def test_blend_by_hand() -> None:
    """Strength by the class that p takes the item for, whatever q says."""
    probs, semantic = torch.tensor([[0.6, 0.4], [0.3, 0.7]]), torch.tensor([[0.1, 0.9], [1.0, 0.0]])
    blended = imbalance.blend(probs, semantic, torch.tensor([0.5, 0.1]))
    np.testing.assert_allclose(blended, [[0.35, 0.65], [0.37, 0.63]], atol=1e-6)


def test_enhancement_by_hand() -> None:
    features, others = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[5.0, -2.0], [9.0, 9.0]])
    mixed = imbalance.enhance(features, others, torch.tensor([0.75, 0.6]), torch.tensor([True, False]))
    assert mixed.tolist() == [[2.0, 1.0], [3.0, 4.0]]


def test_transferred_targets_against_numpy() -> None:
    """The rarer the class that an item is taken for, the more of the prior leaves its target."""
    rng = np.random.default_rng(1)
    logits, label, prior = rng.normal(size=(4, 3)), np.array([0, 1, 2, 0]), np.log([0.7, 0.2, 0.1])
    targets = imbalance.transferred_targets(
        *map(torch.from_numpy, (logits, label, prior)), scale=2.0, offset=2.0
    )
    inverse = 1 / np.array([0.7, 0.2, 0.1])
    strength = 2 * inverse / inverse.sum() + 2  # softmax(-log pi) is proportional to 1 / pi
    np.testing.assert_allclose(targets, softmax((logits - strength[label][:, None] * prior) / 2), rtol=1e-6)
    assert strength[2] > strength[1] > strength[0]
    plain = softmax(logits / 2)
    assert (targets[:, 2].numpy() > plain[:, 2]).all()  # rare classes gain
    assert (targets[:, 0].numpy() < plain[:, 0]).all()
