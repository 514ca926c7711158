"""Distribution alignment, on paper and against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ferbench.errors import UserError
from ferbench.functional.probabilities import align
from ferbench.testing import make_evidence


def normalised(x: np.ndarray) -> np.ndarray:
    return x / x.sum(axis=1, keepdims=True)


def test_formula_by_hand() -> None:
    """Ratios 2 and 2/3: (.5, .5) becomes (1, 1/3) / (4/3)."""
    probs = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    out = align(probs, torch.tensor([0.25, 0.75]), torch.tensor([0.5, 0.5]), eps=0.0)
    torch.testing.assert_close(out, torch.tensor([[0.75, 0.25], [1.0, 0.0]]))


def test_aligned_to_its_own_mean_nothing_changes() -> None:
    probs = torch.tensor([[0.2, 0.8], [0.6, 0.4]])
    mean = torch.tensor([0.3, 0.7])
    torch.testing.assert_close(align(probs, mean, mean), probs)


@pytest.mark.parametrize("target", ["uniform", "labeled", "model"])
def test_two_steps(target, make_alignment) -> None:
    """The first step is aligned with its own mean; each mean is updated before it is used."""
    rng = np.random.default_rng(5)
    unlabeled, labeled = (rng.dirichlet(np.ones(3), (2, n)).astype(np.float32) for n in (6, 4))
    rule = make_alignment("EMAAlignment", counts=(6, 3, 1), target=target, momentum=0.8)
    assert rule.p_model.isnan().all()

    means, labeled_means = unlabeled.astype(np.float64).mean(1), labeled.astype(np.float64).mean(1)
    p_models = [means[0], 0.8 * means[0] + 0.2 * means[1]]
    p_target = {
        "uniform": np.full(3, 1 / 3),
        "labeled": np.array([0.6, 0.3, 0.1]),
        "model": np.full(3, 1 / 3),
    }[target]
    for step in range(2):
        if target == "model":
            p_target = 0.8 * p_target + 0.2 * labeled_means[step]
        out = rule(
            make_evidence(unlabeled[step], labeled_probs=labeled[step], labels=[0, 1, 2, 0], iteration=step)
        )
        expected = normalised(unlabeled[step] * (p_target + 1e-6) / (p_models[step] + 1e-6))
        np.testing.assert_allclose(out.numpy(), expected, atol=1e-6)
        np.testing.assert_allclose(rule.p_model.numpy(), p_models[step], atol=1e-6)
        np.testing.assert_allclose(rule.p_target.numpy(), p_target, atol=1e-6)
    assert rule.margin() is None


def test_queue_remembers_the_last_batches(make_alignment) -> None:
    rng = np.random.default_rng(6)
    batches = rng.dirichlet(np.ones(3), (5, 4)).astype(np.float32)
    rule = make_alignment("QueueAlignment", length=3)
    for step, probs in enumerate(batches):
        out = rule(make_evidence(probs, iteration=step))
        seen = batches[max(0, step - 2) : step + 1].astype(np.float64).mean(axis=1)
        p_model = seen.sum(axis=0) / 3  # of three rows, those not yet written are zero
        np.testing.assert_allclose(rule.p_model.numpy(), p_model, atol=1e-6)
        expected = normalised(probs * (1 / 3 + 1e-6) / (p_model + 1e-6))
        np.testing.assert_allclose(out.numpy(), expected, atol=1e-6)


def test_it_sees_what_the_alignment_before_it_made(make_alignment) -> None:
    rule = make_alignment("EMAAlignment")
    rule(make_evidence([[0.7, 0.2, 0.1]], raw_probs=[[0.1, 0.1, 0.8]]))
    torch.testing.assert_close(rule.p_model, torch.tensor([0.7, 0.2, 0.1]))


def test_unknown_target_is_named(make_alignment) -> None:
    with pytest.raises(UserError, match="EMAAlignment got target='labelled'") as caught:
        make_alignment("EMAAlignment", target="labelled")
    assert "labeled" in caught.value.fix


def test_an_empty_queue_is_refused(make_alignment) -> None:
    with pytest.raises(UserError, match="length=0"):
        make_alignment("QueueAlignment", length=0)
