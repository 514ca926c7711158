"""MultiMatch over several epochs, item by item in NumPy; one prediction from three heads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ferbench.algorithms import Algorithm, Batch
from ferbench.algorithms.rebalancing import Rebalancing
from ferbench.contracts import Output
from ferbench.errors import UserError
from ferbench.lifecycle import RunContext, bind
from ferbench.registry import ALGORITHMS
from ferbench.testing import RecordedNetwork

CLASSES, ITEMS, BATCH, LABELED, EPOCH = 3, 10, 6, 4, 2


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def build(**options) -> Algorithm:
    algorithm = ALGORITHMS.build(dict(type="MultiMatch", **options))
    bind(
        algorithm,
        RunContext(CLASSES, num_labeled=4, num_unlabeled=ITEMS, max_iters=100, class_counts=(2, 1, 1)),
    )
    return algorithm


def draw(rng: np.random.Generator, index: np.ndarray, pattern: np.ndarray) -> dict[str, np.ndarray]:
    """Logits [rows, head, class]; the heads partly agree."""
    weak = pattern[index][:, None] + 1.2 * rng.normal(size=(BATCH, 3, CLASSES))
    return {
        "labeled": rng.normal(size=(LABELED, 3, CLASSES)),
        "weak": weak,
        "strong": rng.normal(size=(BATCH, 3, CLASSES)),
    }


def run_step(
    algorithm: Algorithm, logits: dict[str, np.ndarray], index: np.ndarray, labels: np.ndarray, step: int
):
    of = {view: torch.from_numpy(x.astype(np.float32)) for view, x in logits.items()}
    network = RecordedNetwork(
        {view: x[:, 0] for view, x in of.items()}, heads={"peers": {view: x[:, 1:] for view, x in of.items()}}
    )
    batch = Batch(
        labeled={"weak": torch.empty(LABELED, 0)},
        target=torch.from_numpy(labels),
        labels=torch.from_numpy(labels),
        unlabeled={view: torch.empty(BATCH, 0) for view in ("weak", "strong")},
        index=torch.from_numpy(index),
        labeled_index=torch.arange(LABELED),
        iteration=step,
    )
    result = algorithm.step(network, batch)
    result.loss.backward()
    return result, network


class Reference:
    """The rule, one item and one head at a time."""

    def __init__(self, quantile: float, nonnegative: bool, combine: str):
        self.quantile, self.nonnegative, self.combine = quantile, nonnegative, combine
        self.margins, self.predicted = np.zeros((ITEMS, 3, CLASSES)), np.full((ITEMS, 3), -1)
        self.cutoffs = np.zeros((3, CLASSES))
        self.level, self.mean = np.full(3, 1 / CLASSES), np.full((3, CLASSES), 1 / CLASSES)

    def recalibrate(self) -> None:
        for h in range(3):
            i, j = (k for k in range(3) if k != h)
            for c in range(CLASSES):
                both = (self.predicted[:, i] == c) & (self.predicted[:, j] == c)
                values = np.concatenate([self.margins[both, i, c], self.margins[both, j, c]])
                cut = np.quantile(values, self.quantile) if len(values) else 0.0
                self.cutoffs[h, c] = max(cut, 0.0) if self.nonnegative else cut

    def step(self, weak: np.ndarray, index: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
        epoch = step // EPOCH
        if epoch and step % EPOCH == 0:
            self.recalibrate()
        probs, passed = softmax(weak), np.zeros((BATCH, 3), bool)
        for h in range(3):
            self.level[h] = 0.9 * self.level[h] + 0.1 * probs[:, h].max(1).mean()
            self.mean[h] = 0.9 * self.mean[h] + 0.1 * probs[:, h].mean(0)
            limits = self.level[h] * self.mean[h] / self.mean[h].max()
            passed[:, h] = probs[:, h].max(1) >= limits[probs[:, h].argmax(1)]
        labels, weights = np.zeros((BATCH, 3), int), np.zeros((BATCH, 3))
        for row, item in enumerate(index):
            for h in range(3):
                z = weak[row, h]
                margin = np.array(
                    [z[c] - max(z[k] for k in range(CLASSES) if k != c) for c in range(CLASSES)]
                )
                share = 0.8 / (1 + epoch)
                self.margins[item, h] = share * margin + (1 - share) * self.margins[item, h]
                self.predicted[item, h] = z.argmax()
            for h in range(3):
                i, j = (k for k in range(3) if k != h)
                a, b = self.predicted[item, i], self.predicted[item, j]
                sure = (
                    self.margins[item, i, a] >= self.cutoffs[h, a],
                    self.margins[item, j, b] >= self.cutoffs[h, b],
                )
                labels[row, h] = a if a == b or sure[0] else b
                if a == b and all(sure):
                    weights[row, h] = 1
                elif sum(sure) == 1:
                    weights[row, h] = 2
                combined = (any if self.combine == "any" else all)(passed[row, k] for k in (i, j))
                weights[row, h] *= combined * (epoch > 0)
        return labels, weights


@pytest.mark.parametrize(
    ("nonnegative", "combine"), [(False, "any"), (True, "all")], ids=["authors", "other options"]
)
def test_four_epochs(nonnegative, combine) -> None:
    options = dict(smoothing=0.8, quantile=0.3, nonnegative=nonnegative, combine=combine, epoch_length=EPOCH)
    rule = dict(type="SelfAdaptiveThreshold", momentum=0.9)
    algorithm = build(disagreement=2.0, agreement=dict(rule=rule, **options), lambda_u=0.5, lambda_x=1.5)
    reference, rng = Reference(0.3, nonnegative, combine), np.random.default_rng(4)
    pattern, labels = 2 * np.eye(CLASSES)[rng.integers(0, CLASSES, ITEMS)], np.array([0, 1, 2, 2])
    kinds = set()
    for step in range(4 * EPOCH):
        index = rng.permutation(ITEMS)[:BATCH]
        logits = draw(rng, index, pattern)
        result, network = run_step(algorithm, logits, index, labels, step)
        expected_labels, weights = reference.step(logits["weak"], index, step)
        kinds |= set(weights.ravel())

        rule = algorithm.threshold
        np.testing.assert_allclose(rule.weights, weights / 2, atol=1e-6)
        np.testing.assert_array_equal(rule.labels[weights > 0], expected_labels[weights > 0])
        np.testing.assert_allclose(rule.margins[:-1], reference.margins, atol=1e-4)
        np.testing.assert_allclose(rule.cutoffs, reference.cutoffs, atol=1e-4)
        found = result.pseudo_labels
        assert torch.equal(found.weight, rule.weights[:, 0])
        assert torch.equal(found.target, rule.labels[:, 0])

        logs = np.log(softmax(logits["strong"]))
        entropy = -np.take_along_axis(logs, expected_labels[:, :, None], 2)[:, :, 0]
        known = -np.log(softmax(logits["labeled"]))[np.arange(LABELED), :, labels]
        expected = 1.5 * known.mean() + 0.5 * (weights * entropy).mean()
        assert result.loss.item() == pytest.approx(expected, abs=1e-5)
        assert not network.gradient("weak").any()
    assert kinds == {0.0, 1.0, 2.0}


def test_an_item_that_is_twice_in_a_batch_is_written_once() -> None:
    algorithm = build(agreement=dict(smoothing=1.0))
    rng = np.random.default_rng(0)
    index = np.array([3, 1, 3, 0, 1, 9])
    logits = draw(rng, index, np.zeros((ITEMS, CLASSES)))
    run_step(algorithm, logits, index, np.array([0, 1, 2, 0]), 0)
    for row, item in ((2, 3), (4, 1), (3, 0), (5, 9)):
        assert algorithm.threshold.predicted[item].tolist() == logits["weak"][row].argmax(1).tolist()
        top = np.sort(logits["weak"][row], axis=1)
        np.testing.assert_allclose(
            algorithm.threshold.margins[item].amax(dim=1), top[:, -1] - top[:, -2], atol=1e-5
        )
    unseen = [i for i in range(ITEMS) if i not in (0, 1, 3, 9)]
    assert (algorithm.threshold.predicted[unseen] == -1).all()


def test_the_prediction_is_the_mean_of_the_heads() -> None:
    algorithm = build()
    output = Output(
        torch.tensor([[3.0, 0.0, 0.0]]),
        torch.zeros(1, 1),
        {"peers": torch.tensor([[[0.0, 3, 0], [0, 3, 6]]])},
    )
    assert algorithm.prediction(output).tolist() == [[1.0, 2.0, 2.0]]

    class Around(Rebalancing):
        """A method that leaves the prediction to its base."""

    class Own(Around):
        prediction_head = "own"

    assert Around(algorithm).prediction(output).tolist() == [[1.0, 2.0, 2.0]]
    more = output._replace(heads={**output.heads, "own": torch.ones(1, 3)})
    assert Own(algorithm).prediction(more).tolist() == [[1.0, 1.0, 1.0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [(dict(combine="or"), "combine='or'"), (dict(disagreement=0.5), "disagreement=0.5")],
)
def test_bad_arguments(options, message) -> None:
    with pytest.raises(UserError, match=message):
        build(agreement=options) if "combine" in options else build(**options)


def test_default_epochs_are_a_twentieth_of_the_run() -> None:
    assert build().threshold.epoch_length == 5
