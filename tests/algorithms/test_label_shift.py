"""Where the shares of the unlabeled images count in a step, and where they do not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ferbench.algorithms import Algorithm, Batch
from ferbench.contracts import Output
from ferbench.errors import UserError
from ferbench.lifecycle import RunContext, bind
from ferbench.registry import ALGORITHMS
from ferbench.testing import RecordedNetwork

CONTEXT = RunContext(3, num_labeled=10, num_unlabeled=20, max_iters=40, class_counts=(5, 3, 2))
LABELED_SHARES, SHARES = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.8, 0.1])


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.fixture
def logits() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    views = {"labeled": 4, "weak": 8, "strong": 8}
    return {view: 2 * rng.normal(size=(n, 3)).astype(np.float32) for view, n in views.items()}


def build(**options) -> Algorithm:
    algorithm = ALGORITHMS.build(
        dict(type="LabelShift", base=dict(type="FixMatch", threshold=0.6), **options)
    )
    bind(algorithm, CONTEXT)
    algorithm.matching.alignments[0].shares.copy_(torch.from_numpy(SHARES))
    return algorithm


def test_a_step_against_numpy(logits) -> None:
    labels = np.array([0, 0, 1, 2])
    network = RecordedNetwork({view: torch.from_numpy(x) for view, x in logits.items()})
    images = {view: torch.empty(8, 0) for view in ("weak", "strong")}
    batch = Batch(
        {"weak": torch.empty(4, 0)}, torch.from_numpy(labels), torch.from_numpy(labels), images,
        torch.arange(8), torch.arange(4), 0,
    )  # fmt: skip
    step = build().step(network, batch)

    shift = np.log(SHARES / LABELED_SHARES)
    weak, strong = softmax(logits["weak"] + shift), softmax(logits["strong"] + shift)
    target, mask = weak.argmax(1), weak.max(1) >= 0.6
    assert (target != logits["weak"].argmax(1)).any()
    np.testing.assert_allclose(step.pseudo_labels.probs, weak, atol=1e-5)
    np.testing.assert_array_equal(step.pseudo_labels.weight, mask)
    supervised = -np.log(softmax(logits["labeled"])[range(4), labels]).mean()
    unsupervised = -(np.log(strong[range(8), target]) * mask).mean()
    assert step.loss.item() == pytest.approx(supervised + unsupervised, rel=1e-5)


@pytest.mark.parametrize("shifts", [True, False])
def test_the_prediction(shifts) -> None:
    output = Output(torch.tensor([[1.0, 0.0, 2.0]]), torch.empty(1, 0))
    expected = np.array([[1.0, 0.0, 2.0]]) + shifts * np.log(SHARES / LABELED_SHARES)
    np.testing.assert_allclose(build(prediction=shifts).prediction(output), expected, rtol=1e-5)


def test_the_prediction_alone(logits) -> None:
    """The base's step to the bit; the estimate moves, and counts in the prediction."""
    labels = torch.tensor([0, 0, 1, 2])
    images = {view: torch.empty(8, 0) for view in ("weak", "strong")}
    batch = Batch({"weak": torch.empty(4, 0)}, labels, labels, images, torch.arange(8), torch.arange(4), 10)
    shifted = build(learning=False, momentum=0.5)
    plain = ALGORITHMS.build(dict(type="FixMatch", threshold=0.6))
    bind(plain, CONTEXT)
    results = [
        algorithm.step(RecordedNetwork({v: torch.from_numpy(x) for v, x in logits.items()}), batch)
        for algorithm in (shifted, plain)
    ]
    assert torch.equal(results[0].loss, results[1].loss)
    assert torch.equal(results[0].pseudo_labels.probs, results[1].pseudo_labels.probs)
    weighted = softmax(logits["weak"]) * SHARES / LABELED_SHARES
    shares = 0.5 * SHARES + 0.5 * (weighted / weighted.sum(axis=1, keepdims=True)).mean(axis=0)
    output = Output(torch.zeros(1, 3), torch.empty(1, 0))
    np.testing.assert_allclose(shifted.prediction(output)[0], np.log(shares / LABELED_SHARES), rtol=1e-4)


@pytest.mark.parametrize("base", ["MixMatch", "ReMixMatch"])
def test_a_base_that_mixes_labeled_images_is_refused(base) -> None:
    with pytest.raises(UserError, match=f"{base} mixes them"):
        ALGORITHMS.build(dict(type="LabelShift", base=dict(type=base)))
    ALGORITHMS.build(dict(type="LabelShift", base=dict(type=base, mix_labeled=False)))  # the way out it names
