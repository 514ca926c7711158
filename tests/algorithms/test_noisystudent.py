"""Noisy Student: labels made offline by any rules, the losses of a generation, files, and starting anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ferbench.algorithms import Batch
from ferbench.errors import UserError
from ferbench.lifecycle import RunContext, bind
from ferbench.registry import ALGORITHMS
from ferbench.testing import RecordedNetwork

ITEMS = 30
CONTEXT = RunContext(
    3,
    num_labeled=6,
    num_unlabeled=ITEMS,
    max_iters=20,
    class_counts=(2, 2, 2),
    labeled_batch=4,
    unlabeled_batch=8,
)


def build(context: RunContext = CONTEXT, **options):
    algorithm = ALGORITHMS.build(dict(type="NoisyStudent", **{"generations": 3, "threshold": 0.6, **options}))
    bind(algorithm, context)
    return algorithm


@pytest.fixture
def predictions() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities of all unlabeled and of all labeled items, and the labels."""
    rng = np.random.default_rng(0)
    unlabeled, labeled = (rng.dirichlet(np.full(3, 0.5), n).astype(np.float32) for n in (ITEMS, 6))
    return unlabeled, labeled, np.array([0, 0, 1, 1, 2, 2])


def teach(algorithm, predictions, order=None) -> None:
    """The passes at the end of a generation, in batches."""
    unlabeled, labeled, labels = map(torch.from_numpy, predictions)
    for rows in torch.arange(6).split(4):
        algorithm.labels.see_labeled(labeled[rows], labels[rows], rows)
    algorithm.labels.finish_labeled_pass()
    for rows in (torch.arange(ITEMS) if order is None else torch.from_numpy(order)).split(7):
        algorithm.labels.see_unlabeled(unlabeled[rows], rows)
    algorithm.labels.finish_unlabeled_pass()


def run_step(algorithm, iteration: int, index: np.ndarray, seed: int = 0):
    rng = np.random.default_rng(seed)
    logits = {"labeled": rng.normal(size=(2, 3)), "strong": rng.normal(size=(len(index), 3))}
    network = RecordedNetwork({name: torch.tensor(x, dtype=torch.float32) for name, x in logits.items()})
    labels, images = torch.tensor([2, 0]), torch.empty(len(index), 0)
    batch = Batch(
        {algorithm.labeled_view: images},
        labels,
        labels,
        {"strong": images},
        torch.from_numpy(index),
        labels,
        iteration,
    )
    return algorithm.step(network, batch), network, logits


def log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def test_views_and_passes() -> None:
    algorithm = build()
    assert (algorithm.views.labeled, algorithm.views.unlabeled) == (("strong",), ("strong",))
    assert build(labeled_view="weak").views.labeled == ("weak",)
    request = algorithm.labels.unlabeled_pass
    assert (request.weights, request.view, request.max_items) == ("ema", "eval", None)
    assert [i for i in range(1, 21) if request.due(i)] == [7, 14]
    assert algorithm.labels.labeled_pass == request
    assert algorithm.generation == 7
    assert build(restart=False).generation is None
    other = build(teacher=dict(weights="student", view="weak")).labels.unlabeled_pass
    assert (other.weights, other.view) == ("student", "weak")


def test_first_generation_learns_the_labels_alone() -> None:
    algorithm = build(lambda_x=2.0)
    result, network, logits = run_step(algorithm, 6, np.arange(5))
    expected = -log_softmax(logits["labeled"])[[0, 1], [2, 0]].mean()
    assert result.loss.item() == pytest.approx(2 * expected, abs=1e-5)
    assert result.parts.keys() == {"supervised"}
    assert result.pseudo_labels is None
    assert network.asked == [({"labeled"}, {"labeled"})]  # the strong view is not even passed


@pytest.mark.parametrize("soft", [True, False])
def test_later_generations_learn_what_the_teacher_said(soft, predictions) -> None:
    algorithm = build(soft=soft, lambda_u=0.5)
    teach(algorithm, predictions, np.random.default_rng(1).permutation(ITEMS))
    index = np.array([3, 29, 0, 17, 8])
    result, network, logits = run_step(algorithm, 7, index)
    probs = predictions[0][index].astype(np.float64)
    mask = probs.max(axis=1) >= 0.6
    assert 0 < mask.sum() < len(mask)
    target = probs if soft else np.eye(3)[probs.argmax(axis=1)]
    strong = log_softmax(logits["strong"])
    unsupervised = -((target * strong).sum(axis=1) * mask).mean()
    supervised = -log_softmax(logits["labeled"])[[0, 1], [2, 0]].mean()
    assert result.loss.item() == pytest.approx(supervised + 0.5 * unsupervised, abs=1e-5)
    np.testing.assert_array_equal(result.pseudo_labels.weight, mask)
    np.testing.assert_array_equal(result.pseudo_labels.label, probs.argmax(axis=1))
    np.testing.assert_allclose(result.pseudo_labels.confidence, probs.max(axis=1), atol=1e-6)
    assert result.pseudo_labels.thresholds.tolist() == pytest.approx([0.6] * 3)
    result.loss.backward()
    gradient = 0.5 * (np.exp(strong) - target) * mask[:, None] / len(index)
    np.testing.assert_allclose(network.gradient("strong"), gradient, atol=1e-6)


@pytest.mark.parametrize(("half", "bytes_each"), [(False, 4), (True, 2)])
def test_memory(half, bytes_each, predictions) -> None:
    labels = build(teacher=dict(half=half)).labels
    sizes = {name: buffer.nbytes / ITEMS for name, buffer in labels.named_buffers(recurse=False)}
    assert sizes["label"] == 1
    assert sizes["weight"] == sizes["confidence"] == bytes_each
    assert sizes["target"] == 3 * bytes_each
    assert "target" not in dict(build(soft=False).labels.named_buffers())


def test_half_precision(predictions) -> None:
    algorithm = build(teacher=dict(half=True))
    teach(algorithm, predictions)
    np.testing.assert_allclose(algorithm.labels.target, predictions[0], atol=5e-4)
    result, _, _ = run_step(algorithm, 7, np.arange(5))
    assert result.loss.dtype == result.pseudo_labels.weight.dtype == torch.float32


def test_rules_settle_before_their_labels_are_kept(predictions) -> None:
    """FlexMatch starts with thresholds of 0; its labels are those of the thresholds after a whole round."""
    algorithm = build(soft=False, rule=dict(type="FlexThreshold", threshold=0.7, warmup=False))
    teach(algorithm, predictions)
    probs = predictions[0]
    label, confidence = probs.argmax(axis=1), probs.max(axis=1)
    counts = np.bincount(label[confidence >= 0.7], minlength=3)
    status = counts / counts.max()
    thresholds = 0.7 * status / (2 - status)
    assert (confidence < thresholds[label]).sum() > 0
    np.testing.assert_array_equal(algorithm.labels.weight, confidence >= thresholds[label])
    np.testing.assert_allclose(algorithm.labels.threshold, thresholds, atol=1e-6)


def test_rules_that_look_at_labeled_items(predictions) -> None:
    """AdaMatch's threshold is a share of the labeled batch's mean confidence; a batch of 6 is the whole set."""
    context = replace(CONTEXT, labeled_batch=6)
    algorithm = build(context, soft=False, rule=dict(type="RelativeThreshold", threshold=0.9))
    teach(algorithm, predictions)
    limit = 0.9 * predictions[1].max(axis=1).mean()
    np.testing.assert_array_equal(algorithm.labels.weight, predictions[0].max(axis=1) >= limit)


def test_alignments_change_the_labels(predictions) -> None:
    """Probabilities aligned to equal shares: the class that is predicted too often loses items."""
    align = dict(type="EMAAlignment", momentum=0.0)  # of one batch
    algorithm = build(replace(CONTEXT, unlabeled_batch=ITEMS), alignment=align)
    teach(algorithm, predictions)
    probs = predictions[0] / (3 * (predictions[0].mean(axis=0) + 1e-6))
    probs /= probs.sum(axis=1, keepdims=True)
    np.testing.assert_array_equal(algorithm.labels.label, probs.argmax(axis=1))
    assert (probs.argmax(axis=1) != predictions[0].argmax(axis=1)).any()
    np.testing.assert_allclose(algorithm.labels.target, probs, atol=1e-5)


def test_a_rule_with_a_pass_of_its_own_is_up_to_date() -> None:
    """DTM measures its margins before it judges: its part comes before the one that makes the labels."""
    algorithm = build(rule=dict(type="DynamicThreshold", epoch_length=7))
    parts = [
        type(part).__name__ for part in algorithm.modules() if getattr(part, "labeled_pass", None) is not None
    ]
    assert parts == ["DynamicThreshold", "OfflineLabels"]


@pytest.mark.parametrize("soft", [True, False])
def test_files(soft, predictions, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    algorithm = build(replace(CONTEXT, folder=folder), soft=soft)
    teach(algorithm, predictions)
    teach(algorithm, tuple(x[::-1].copy() for x in predictions))
    assert sorted(f.name for f in folder.iterdir()) == ["pseudo_labels_0.npz", "pseudo_labels_1.npz"]
    for name, probs in (
        ("pseudo_labels_0.npz", predictions[0]),
        ("pseudo_labels_1.npz", predictions[0][::-1]),
    ):
        with np.load(folder / name) as file:
            assert set(file) == {"label", "weight", "confidence"} | ({"target"} if soft else set())
            np.testing.assert_array_equal(file["label"], probs.argmax(axis=1))
            np.testing.assert_array_equal(file["weight"], probs.max(axis=1) >= 0.6)
            np.testing.assert_allclose(file["confidence"], probs.max(axis=1), atol=1e-6)
            if soft:
                np.testing.assert_allclose(file["target"], probs, atol=1e-6)


def test_state_survives_a_file(predictions, tmp_path: Path) -> None:
    algorithm, fresh = build(), build()
    teach(algorithm, predictions)
    torch.save(algorithm.state_dict(), tmp_path / "state.pth")
    fresh.load_state_dict(torch.load(tmp_path / "state.pth", weights_only=True))
    index = np.array([5, 6, 7])
    assert torch.equal(run_step(algorithm, 8, index)[0].loss, run_step(fresh, 8, index)[0].loss)
    teach(algorithm, predictions)
    teach(fresh, predictions)  # the same order of batches, too
    assert all(torch.equal(a, b) for a, b in zip(algorithm.buffers(), fresh.buffers(), strict=True))


def test_extra_terms_work_on_stored_labels(predictions) -> None:
    """A term of the strong and the weak view, weighted by the labels made offline."""
    algorithm = build(terms=[dict(type="LowConfidenceKL", weight=1.0)])
    teach(algorithm, predictions)
    assert set(algorithm.views.unlabeled) == {"weak", "strong"}
    rng = np.random.default_rng(0)
    logits = {
        n: torch.tensor(rng.normal(size=(s, 3)), dtype=torch.float32)
        for n, s in (("labeled", 2), ("weak", 4), ("strong", 4))
    }
    labels, images = torch.tensor([2, 0]), torch.empty(4, 0)
    unlabeled = dict.fromkeys(("weak", "strong"), images)
    batch = Batch({"strong": images}, labels, labels, unlabeled, torch.arange(4), labels, 7)
    result = algorithm.step(RecordedNetwork(logits), batch)
    assert result.parts["low_confidence"] > 0
    result.loss.backward()


@pytest.mark.parametrize("name", ["weak_views", "judge", "embedding"])
def test_parts_that_ask_for_a_weak_view(name) -> None:
    with pytest.raises(UserError, match=f"NoisyStudent has no {name}") as caught:
        build(**{name: "weak"})
    assert caught.value.where == f"model.algorithm.{name}"
