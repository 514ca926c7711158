"""SequenceMatch against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ferbench.algorithms import Batch
from ferbench.errors import UserError
from ferbench.lifecycle import RunContext, bind
from ferbench.registry import ALGORITHMS
from ferbench.testing import RecordedNetwork

CLASSES, ITEMS = 4, 12
VIEWS = ("weak", "medium", "strong")


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def kl(target: np.ndarray, logits: np.ndarray) -> np.ndarray:
    return (target * (np.log(target) - np.log(softmax(logits)))).sum(1)


@pytest.mark.parametrize("items", ["confident", "selected", "unselected", "all"])
def test_two_steps(items) -> None:
    """The first step's curriculum starts at 0 and selects everything; the second's does not."""
    algorithm = ALGORITHMS.build(
        dict(type="SequenceMatch", threshold=0.6, warmup=False, temperature=0.4, items=items, lambda_u=0.7)
    )
    context = RunContext(CLASSES, num_labeled=4, num_unlabeled=ITEMS, max_iters=9, class_counts=(1,) * 4)
    bind(algorithm, context)
    assert set(algorithm.views.unlabeled) == set(VIEWS)
    rng = np.random.default_rng(1)
    records = np.full(ITEMS, -1)
    for step in range(2):
        logits = {view: 1.5 * rng.normal(size=(ITEMS, CLASSES)) for view in VIEWS}
        labeled, labels = rng.normal(size=(3, CLASSES)), np.array([0, 1, 3])
        network = RecordedNetwork(
            {"labeled": torch.from_numpy(labeled).float()}
            | {view: torch.from_numpy(x).float() for view, x in logits.items()}
        )
        batch = Batch(
            labeled={"weak": torch.empty(3, 0)},
            target=torch.from_numpy(labels),
            labels=torch.from_numpy(labels),
            unlabeled={view: torch.empty(ITEMS, 0) for view in VIEWS},
            index=torch.arange(ITEMS),
            labeled_index=torch.arange(3),
            iteration=step,
        )
        result = algorithm.step(network, batch)
        result.loss.backward()

        p = softmax(logits["weak"])
        confidence, label = p.max(1), p.argmax(1)
        number = np.array([(records == c).sum() for c in range(CLASSES)])
        status = number / max(number.max(), 1)
        mask = (confidence >= (0.6 * status / (2 - status))[label]).astype(float)
        assert mask.all() == (step == 0)
        terms, counts = {}, {}
        for view, target in (("medium", "weak"), ("strong", "medium"), ("strong", "weak")):
            counts[view, target] = counted = {
                "confident": (softmax(logits[target]).max(1) >= 0.6).astype(float),
                "selected": mask,
                "unselected": 1 - mask,
                "all": np.ones(ITEMS),
            }[items]
            name = f"kl_{view}_{target}"
            terms[name] = (counted * kl(softmax(logits[target] / 0.4), logits[view])).mean()
            assert result.parts[name].item() == pytest.approx(terms[name], abs=1e-5)
        unsupervised = -(mask * np.log(softmax(logits["strong"]))[np.arange(ITEMS), label]).mean()
        supervised = -np.log(softmax(labeled))[np.arange(3), labels].mean()
        expected = supervised + 0.7 * (unsupervised + sum(terms.values()))
        assert result.loss.item() == pytest.approx(expected, abs=1e-5)
        assert not network.gradient("weak").any()
        # The medium view learns from the weak one only: as a target it carries no gradient.
        by_medium = (
            0.7
            * counts["medium", "weak"][:, None]
            * (softmax(logits["medium"]) - softmax(logits["weak"] / 0.4))
            / ITEMS
        )
        np.testing.assert_allclose(network.gradient("medium"), by_medium, atol=1e-6)
        records[confidence >= 0.6] = label[confidence >= 0.6]


def test_items_that_do_not_exist() -> None:
    with pytest.raises(UserError, match="items='unselectd'") as caught:
        ALGORITHMS.build(dict(type="SequenceMatch", items="unselectd"))
    assert "unselected" in caught.value.fix
