"""DeFixMatch's terms on labeled images, ReFixMatch's on unselected ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ferbench.contracts import Output
from ferbench.registry import LOSSES
from ferbench.testing import make_step

LABELED = np.array([[0.9, 0.1, 0.0], [0.2, 0.6, 0.2], [0.05, 0.05, 0.9]], np.float32)  # weak view


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.fixture
def logits() -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(11)
    sizes = {"weak": 5, "strong": 5, "labeled_strong": 3}
    return {
        v: torch.from_numpy(rng.normal(size=(n, 3)).astype(np.float32)).requires_grad_()
        for v, n in sizes.items()
    }


@pytest.fixture
def step(logits):
    outputs = {v: Output(x, torch.zeros(len(x), 1)) for v, x in logits.items()}
    return make_step(outputs, [1.0, 0.0, 0.5, 0.0, 1.0], labels=[1, 1, 2], labeled_probs=LABELED)


def test_labeled_strong_loss(step, logits) -> None:
    term = LOSSES.build(dict(type="LabeledStrongLoss"))
    assert (term.name, term.weight, term.views, term.labeled_views) == (
        "labeled_strong",
        0.5,
        (),
        ("strong",),
    )
    log_probs = np.log(softmax(logits["labeled_strong"].detach().double().numpy()))
    assert term(step).item() == pytest.approx(-log_probs[range(3), [1, 1, 2]].mean(), abs=1e-6)
    weighted = dict(type="SupervisedCrossEntropy", class_weight=[1.0, 1.0, 4.0])
    value = LOSSES.build(dict(type="LabeledStrongLoss", loss=weighted))(step)
    assert value.item() == pytest.approx(-(log_probs[range(3), [1, 1, 2]] * [1, 1, 4]).mean(), abs=1e-6)
    votes = torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.25, 0.75]])
    value = term(replace(step, batch=replace(step.batch, target=votes)))
    assert value.item() == pytest.approx(-(votes.numpy() * log_probs).sum(1).mean(), abs=1e-6)


def test_labeled_consistency_knows_no_labels(step, logits) -> None:
    """Items 0 and 2 are sure of classes 0 (wrong) and 2; item 1 is not."""
    term = LOSSES.build(dict(type="LabeledConsistency", threshold=0.9))
    assert (term.name, term.weight) == ("labeled_consistency", -0.5)
    assert term.needs_gradient == ("labeled_strong",)
    log_probs = np.log(softmax(logits["labeled_strong"].detach().double().numpy()))
    value = term(step)
    assert value.item() == pytest.approx(-(log_probs[0, 0] + log_probs[2, 2]) / 3, abs=1e-6)
    value.backward()
    assert (logits["labeled_strong"].grad.abs().sum(1) > 0).tolist() == [True, False, True]
    assert LOSSES.build(dict(type="LabeledConsistency", threshold=0.91))(step).item() == 0


@pytest.mark.parametrize("of_probs", [False, True])
def test_low_confidence_divergence(of_probs, step, logits) -> None:
    term = LOSSES.build(dict(type="LowConfidenceDivergence", temperature=0.4, of_probs=of_probs))
    assert (term.name, term.weight, term.needs_gradient) == ("low_confidence", 1.0, ("strong",))
    weak, strong = (logits[v].detach().double().numpy() for v in ("weak", "strong"))
    target = softmax((softmax(weak) if of_probs else weak) / 0.4)
    per_item = (target * np.log(target / softmax(strong / 0.4))).sum(1)
    value = term(step)
    assert value.item() == pytest.approx((per_item * [0, 1, 0.5, 1, 0]).mean(), abs=1e-6)
    value.backward()
    assert (logits["strong"].grad.abs().sum(1) > 0).tolist() == [False, True, True, True, False]
    assert logits["weak"].grad is None


def test_divergence_of_equal_predictions_is_zero(logits) -> None:
    outputs = {v: Output(logits["weak"].detach(), torch.zeros(5, 1)) for v in ("weak", "strong")}
    value = LOSSES.build(dict(type="LowConfidenceDivergence"))(make_step(outputs, [0.0] * 5))
    assert value.item() == pytest.approx(0, abs=1e-6)
