"""Pi-Model and Mean Teacher. The Pi-Model's recorded run is in tests/parity/test_replay.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ferbench.algorithms import Batch
from ferbench.lifecycle import RunContext, bind
from ferbench.registry import ALGORITHMS
from ferbench.testing import RecordedNetwork

ITEMS, CLASSES = 5, 4


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x.astype(np.float64))
    return e / e.sum(axis=1, keepdims=True)


def run(name: str, iteration: int, **options):
    """The result of a step, the network, and the logits of student and teacher."""
    algorithm = ALGORITHMS.build(dict(type=name, **options))
    bind(
        algorithm,
        RunContext(CLASSES, num_labeled=4, num_unlabeled=9, max_iters=100, class_counts=(1,) * CLASSES),
    )
    rng = np.random.default_rng(3)
    sizes = {"labeled": 2, "weak": ITEMS, "weak2": ITEMS}
    student, teacher = (
        {n: rng.normal(size=(s, CLASSES)).astype(np.float32) for n, s in sizes.items()} for _ in "12"
    )
    network = RecordedNetwork(*({n: torch.from_numpy(x) for n, x in student.items()},), teacher={
        n: torch.from_numpy(x) for n, x in teacher.items()
    })  # fmt: skip
    batch = Batch(
        labeled={"weak": torch.zeros(2, 1)},
        target=torch.tensor([1, 3]),
        labels=torch.tensor([1, 3]),
        unlabeled={view: torch.zeros(ITEMS, 1) for view in algorithm.views.unlabeled},
        index=torch.arange(ITEMS),
        labeled_index=torch.arange(2),
        iteration=iteration,
    )
    result = algorithm.step(network, batch)
    result.loss.backward()
    return result, network, student, teacher


@pytest.mark.parametrize(("name", "weight"), [("PiModel", 10.0), ("MeanTeacher", 50.0)])
def test_a_step_against_numpy(name, weight) -> None:
    """Halfway up the ramp (iteration 20 of 0.4 * 100)."""
    result, network, student, teacher = run(name, iteration=20)
    judge = teacher if name == "MeanTeacher" else student
    target, p = softmax(judge["weak"]), softmax(student["weak2"])
    unsupervised = ((p - target) ** 2).mean(axis=1).mean()
    supervised = -np.log(softmax(student["labeled"]))[np.arange(2), [1, 3]].mean()
    assert unsupervised > 0.01  # a common implementation compares the teacher with itself: 0
    assert result.parts["unsupervised"].item() == pytest.approx(unsupervised, abs=1e-6)
    assert result.loss.item() == pytest.approx(supervised + 0.5 * weight * unsupervised, abs=1e-5)
    np.testing.assert_allclose(result.pseudo_labels.target, target, atol=1e-6)
    assert result.pseudo_labels.weight.tolist() == [1.0] * ITEMS

    # d/dz of mean_i mean_c (p - t)^2, through the softmax: 2/(BC) * p * (g - <p, g>) with g = p - t
    g = p - target
    gradient = 0.5 * weight * 2 / (ITEMS * CLASSES) * p * (g - (p * g).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(network.gradient("weak2"), gradient, atol=1e-6)
    assert not network.gradient("weak").any()


@pytest.mark.parametrize("name", ["PiModel", "MeanTeacher"])
def test_the_first_step_is_supervised(name) -> None:
    result, network, *_ = run(name, iteration=0)
    torch.testing.assert_close(result.loss.detach(), result.parts["supervised"])
    assert result.parts["unsupervised"] > 0
    assert not network.gradient("weak2").any()


def test_who_sees_what() -> None:
    """The student of the Mean Teacher is not shown the view that the teacher judges; labeled images pass apart."""
    _, pi, *_ = run("PiModel", 20)
    _, mean_teacher, *_ = run("MeanTeacher", 20)
    learning = {"labeled", "weak2"}
    assert pi.asked == [({"labeled"}, learning), ({"weak", "weak2"}, learning)]
    assert mean_teacher.asked == [({"labeled"}, learning), ({"weak2"}, learning)]
    assert mean_teacher.asked_teacher == [({"labeled"}, True), ({"weak"}, True)]
    _, pseudo_label, *_ = run("PseudoLabel", 20)
    learning = {"labeled", "weak"}
    assert pseudo_label.asked == [({"labeled"}, learning), ({"weak"}, learning)]


def test_one_pass_for_all_on_request() -> None:
    learning = {"labeled", "weak2"}
    _, together, *_ = run("PiModel", 20, unlabeled_statistics=True)
    assert together.asked == [({"labeled", "weak", "weak2"}, learning)]


def test_parts_can_be_changed() -> None:
    """A Mean Teacher that only learns confident targets."""
    threshold = dict(type="FixedThreshold", threshold=0.5)
    result, _, student, teacher = run("MeanTeacher", 50, threshold=threshold, lambda_u=1.0)
    target, p = softmax(teacher["weak"]), softmax(student["weak2"])
    mask = target.max(axis=1) >= 0.5
    assert 0 < mask.sum() < ITEMS
    expected = (((p - target) ** 2).mean(axis=1) * mask).mean()
    assert result.parts["unsupervised"].item() == pytest.approx(expected, abs=1e-6)
