"""UDA's annealed loss on labeled items."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ferbench.errors import UserError
from ferbench.lifecycle import RunContext
from ferbench.registry import LOSSES

#: Three classes; probabilities of the label 0.7, 0.5, 0.1 (sure and wrong), 0.4.
PROBS = np.array([[0.7, 0.2, 0.1], [0.3, 0.5, 0.2], [0.1, 0.8, 0.1], [0.25, 0.35, 0.4]])
LABELS = [0, 1, 0, 2]
LOSSES_OF = -np.log([0.7, 0.5, 0.1, 0.4])


def bound(**options):
    loss = LOSSES.build(dict(type="AnnealedCrossEntropy", **options))
    loss.bind(RunContext(3, 8, 20, 100, (2, 2, 2)))
    return loss


def value_of(loss, iteration: int, target=LABELS) -> float:
    logits = torch.from_numpy(np.log(PROBS).astype(np.float32)).requires_grad_()
    value = loss(logits, torch.as_tensor(target), iteration)
    value.backward()
    assert logits.grad.isfinite().all()
    return value.item()


@pytest.mark.parametrize(
    ("confidence", "kept"), [("label", [False, True, True, True]), ("top", [False, True, False, True])]
)
@pytest.mark.parametrize("divide_by", ["kept", "batch"])
def test_items_above_the_ceiling_are_left_out(confidence, divide_by, kept) -> None:
    """Linear, a third of the way to 1 from 1/3 after 33 of 100 iterations: 0.5533."""
    loss = bound(confidence=confidence, divide_by=divide_by)
    expected = LOSSES_OF[kept].sum() / (sum(kept) if divide_by == "kept" else 4)
    assert value_of(loss, 33) == pytest.approx(expected, abs=1e-6)
    assert loss.ceiling == pytest.approx(1 / 3 + 2 / 3 * 0.33)


def test_nothing_left_is_zero() -> None:
    loss = bound(confidence="top")
    assert value_of(loss, 0) == 0  # every top probability is above 1/3


def test_two_processes_average_to_the_global_mean(monkeypatch) -> None:
    """Of the kept items (1, 2, 3) the first process has one and the second two."""
    loss = bound()
    kept = torch.tensor([0.0, 1.0, 1.0, 1.0])
    monkeypatch.setattr("ferbench.losses.annealed.gather_rows", lambda local: kept)
    logits, labels = torch.from_numpy(np.log(PROBS).astype(np.float32)), torch.as_tensor(LABELS)
    shares = [loss(logits[rows], labels[rows], 33).item() for rows in (slice(0, 2), slice(2, 4))]
    assert np.mean(shares) == pytest.approx(LOSSES_OF[1:].mean(), abs=1e-6)


def test_without_a_schedule_it_is_cross_entropy() -> None:
    assert value_of(bound(schedule="none"), 0) == pytest.approx(LOSSES_OF.mean(), abs=1e-6)


def test_vote_distributions_are_judged_by_their_top_class() -> None:
    votes = np.array([[0.9, 0.1, 0], [0, 1, 0], [0.6, 0.4, 0], [0, 0.2, 0.8]], np.float32)
    expected = -(votes * np.log(PROBS)).sum(1)[1:].sum() / 3
    assert value_of(bound(), 33, votes) == pytest.approx(expected, abs=1e-6)


def test_class_weights_multiply() -> None:
    loss = bound(schedule="none", class_weight=[2.0, 1.0, 0.0])
    assert value_of(loss, 0) == pytest.approx((LOSSES_OF * [2, 1, 2, 0]).mean(), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "value"), [("schedule", "linaer"), ("confidence", "labels"), ("divide_by", "kep")]
)
def test_unknown_choice_is_named(name, value) -> None:
    with pytest.raises(UserError, match=f"AnnealedCrossEntropy got {name}='{value}'"):
        bound(**{name: value})
