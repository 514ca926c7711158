"""SAW by hand: weights on both losses, and when they change."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ferbench.algorithms import Batch
from ferbench.errors import UserError
from ferbench.lifecycle import RunContext, bind
from ferbench.registry import ALGORITHMS
from ferbench.testing import RecordedNetwork

# Counts 6, 2, 1 of 9: mean 3, b = 2/3.
COUNTS = (6, 2, 1)
RAW = np.array([1 / (1 - (2 / 3) ** n) for n in COUNTS])
WEIGHTS = 3 * RAW / RAW.sum()


def build(context: dict | None = None, **options):
    config = dict(
        type="SAW", base=dict(type="FixMatch", threshold=0.8), rule=dict(epoch_length=10), **options
    )
    algorithm = ALGORITHMS.build(config)
    told = dict(num_labeled=9, num_unlabeled=12, max_iters=40, class_counts=COUNTS)
    bind(algorithm, RunContext(3, **{**told, **(context or {})}))
    return algorithm


def log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


@pytest.fixture
def step():
    """Both losses of a step, and what they would be by NumPy with given weights."""
    rng = np.random.default_rng(0)
    logits = {
        name: 3 * rng.normal(size=(size, 3)) for name, size in (("labeled", 3), ("weak", 8), ("strong", 8))
    }
    network = RecordedNetwork({name: torch.tensor(x, dtype=torch.float32) for name, x in logits.items()})
    labels = np.array([0, 1, 2])
    label, top = logits["weak"].argmax(axis=1), np.exp(log_softmax(logits["weak"])).max(axis=1)
    mask = top >= 0.8
    assert 0 < mask.sum() < 8

    def run(algorithm, of_labels, of_pseudo_labels):
        images = torch.empty(8, 0)
        target = torch.from_numpy(labels)
        batch = Batch(
            {"weak": images[:3]}, target, target, dict.fromkeys(("weak", "strong"), images), torch.arange(8),
            torch.arange(3), 0,
        )  # fmt: skip
        result = algorithm.step(network, batch)
        labeled, strong = (log_softmax(logits[name]) for name in ("labeled", "strong"))
        supervised = -(labeled[np.arange(3), labels] * of_labels[labels]).mean()
        unsupervised = -(strong[np.arange(8), label] * of_pseudo_labels[label] * mask).mean()
        assert result.parts["supervised"].item() == pytest.approx(supervised, abs=1e-5)
        assert result.parts["unsupervised"].item() == pytest.approx(unsupervised, abs=1e-5)
        np.testing.assert_array_equal(result.pseudo_labels.weight, mask)

    return run


def count(algorithm, counts) -> None:
    """A pass in which so many unlabeled items are predicted as each class."""
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    for rows in torch.arange(len(labels)).split(5):
        algorithm.matching.consistency.see_unlabeled(torch.eye(3)[labels[rows]], rows)
    algorithm.matching.consistency.finish_unlabeled_pass()


def test_weights_before_and_after_a_pass(step) -> None:
    algorithm = build()
    step(algorithm, WEIGHTS, np.ones(3))
    count(algorithm, [8, 4, 0])  # 0 counts as 1: mean 13/3, b = 10/13
    raw = np.array([1 / (1 - (10 / 13) ** n) for n in (8, 4, 1)])
    step(algorithm, WEIGHTS, 3 * raw / raw.sum())
    count(algorithm, [4, 4, 4])
    step(algorithm, WEIGHTS, np.ones(3))


def test_a_part_of_the_unlabeled_set_is_scaled_up(step) -> None:
    algorithm = build()
    count(algorithm, [2, 1, 0])  # as [8, 4, 0] of 12
    raw = np.array([1 / (1 - (10 / 13) ** n) for n in (8, 4, 1)])
    step(algorithm, WEIGHTS, 3 * raw / raw.sum())


def test_balanced_stream_is_left_alone(step) -> None:
    """Labels of a class-balanced stream are equally frequent."""
    step(build(dict(sampler="class_balanced")), np.ones(3), np.ones(3))


def test_class_weights_of_the_base_stay(step) -> None:
    loss = dict(type="SupervisedCrossEntropy", class_weight=[1.0, 2.0, 3.0])
    algorithm = ALGORITHMS.build(
        dict(type="SAW", base=dict(type="FixMatch", threshold=0.8, supervised_loss=loss))
    )
    bind(algorithm, RunContext(3, num_labeled=9, num_unlabeled=12, max_iters=40, class_counts=COUNTS))
    step(algorithm, WEIGHTS * [1, 2, 3], np.ones(3))
    assert algorithm.matching.consistency.unlabeled_pass.interval == 2  # a twentieth of the run


def test_soft_pseudo_labels_weigh_as_their_top_class() -> None:
    algorithm = build()
    count(algorithm, [8, 4, 0])
    weight = algorithm.matching.consistency.class_weight
    target, logits = torch.tensor([[0.2, 0.5, 0.3]]), torch.zeros(1, 3)
    loss = algorithm.matching.consistency(logits, target, torch.ones(1))
    assert loss.item() == pytest.approx(weight[1].item() * np.log(3), rel=1e-5)


def test_it_nests() -> None:
    base = dict(type="CReST", base=dict(type="Adsh", base=dict(type="FlexMatch")), generations=2)
    algorithm = ALGORITHMS.build(dict(type="SAW", base=base))
    bind(algorithm, RunContext(3, num_labeled=9, num_unlabeled=12, max_iters=40, class_counts=COUNTS))
    assert algorithm.generation == 20
    inner = algorithm.matching
    assert inner.supervised_loss.loss.class_weight.tolist() == pytest.approx(WEIGHTS.tolist())
    assert [type(part).__name__ for part in (inner.threshold, inner.consistency, *inner.terms)] == [
        "AdshThreshold", "RarityWeightedConsistency", "PickedItems",
    ]  # fmt: skip


def test_mistakes() -> None:
    with pytest.raises(UserError, match="Supervised makes none"):
        ALGORITHMS.build(dict(type="SAW", base=dict(type="Supervised")))
    fixmatch = ALGORITHMS.build(dict(type="FixMatch"))
    fixmatch.supervised_loss = torch.nn.CrossEntropyLoss()
    with pytest.raises(UserError, match="CrossEntropyLoss takes no weights"):
        ALGORITHMS.build(dict(type="SAW", base=fixmatch))
