"""Terms on one unlabeled view: its entropy, and a further view that learns the pseudo-labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ferbench.contracts import Output
from ferbench.errors import UserError
from ferbench.lifecycle import RunContext
from ferbench.registry import LOSSES
from ferbench.testing import make_step

CONTEXT = RunContext(3, num_labeled=4, num_unlabeled=9, max_iters=40, class_counts=(2, 1, 1))


def outputs(*names: str) -> dict[str, Output]:
    generator = torch.Generator().manual_seed(0)
    return {
        n: Output(torch.randn(5, 3, generator=generator).requires_grad_(), torch.zeros(5, 1)) for n in names
    }


def softmax(x: torch.Tensor) -> np.ndarray:
    e = np.exp(x.detach().numpy().astype(np.float64))
    return e / e.sum(axis=1, keepdims=True)


def test_entropy_of_a_view() -> None:
    term = LOSSES.build(dict(type="EntropyTerm", view="strong"))
    assert (term.name, term.weight, term.views, term.needs_gradient) == (
        "entropy", 0.06, ("strong",), ("strong",),
    )  # fmt: skip
    views = outputs("weak", "strong")
    value = term(make_step(views, [0.0] * 5))  # the weights do not matter
    p = softmax(views["strong"].logits)
    assert value.item() == pytest.approx(-(p * np.log(p)).sum(axis=1).mean(), abs=1e-6)
    value.backward()
    assert views["strong"].logits.grad.abs().sum() > 0


@pytest.mark.parametrize(("iteration", "ramp"), [(5, 0.25), (20, 1.0)])
def test_a_further_view_learns_the_pseudo_labels_with_their_weights(iteration, ramp) -> None:
    """The ramp lasts half of 40 iterations."""
    term = LOSSES.build(dict(type="ViewConsistency", view="strong2", weight=2.0, ramp=0.5))
    term.bind(CONTEXT)
    assert (term.name, term.weight, term.views) == ("consistency_strong2", 2.0, ("strong2",))
    views = outputs("weak", "strong2")
    weight, target = np.array([1.0, 0.0, 0.5, 1.0, 0.0]), np.array([0, 1, 2, 2, 1])
    value = term(make_step(views, weight.astype(np.float32), target, iteration=iteration))
    per_item = -np.log(softmax(views["strong2"].logits)[np.arange(5), target])
    assert value.item() == pytest.approx(ramp * (weight * per_item).mean(), abs=1e-6)
    value.backward()
    assert (views["strong2"].logits.grad.abs().sum(dim=1) > 0).tolist() == [True, False, True, True, False]


def test_the_loss_of_a_further_view_is_a_part() -> None:
    squared = dict(type="ConsistencySquaredError")
    term = LOSSES.build(dict(type="ViewConsistency", view="weak", consistency=squared))
    term.bind(CONTEXT)
    views = outputs("weak")
    value = term(make_step(views, [1.0] * 5, torch.full((5, 3), 1 / 3)))
    assert value.item() == pytest.approx(((softmax(views["weak"].logits) - 1 / 3) ** 2).mean(), abs=1e-6)
    with pytest.raises(UserError, match="'ConsistencySquare'"):
        LOSSES.build(dict(type="ViewConsistency", consistency=dict(type="ConsistencySquare")))
