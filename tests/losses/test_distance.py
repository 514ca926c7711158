"""CRMatch's distance between features."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ferbench import testing
from ferbench.contracts import Output
from ferbench.registry import LOSSES


def step_of(weak: torch.Tensor, strong: torch.Tensor, weight: list[float]):
    logits = torch.zeros(len(weak), 3, requires_grad=True)
    outputs = {
        "weak": Output(logits, weak, {"distance": weak}),
        "strong": Output(logits, strong, {"distance": strong}),
    }
    return testing.make_step(outputs, weight), logits


def test_by_hand() -> None:
    """Cosines 1, -1 (which is not pulled back), 0.6 and, of a zero vector, 0; weights 1, 1, .5 and 1."""
    weak = torch.tensor([[2.0, 0.0], [1.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    strong = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    step, _ = step_of(weak, strong, [1.0, 1.0, 0.5, 1.0])
    term = LOSSES.build(dict(type="FeatureDistance"))
    assert term(step).item() == pytest.approx((1 + 0 + 0.5 * 0.6 + 0) / 4)


@pytest.mark.parametrize("weak_gradient", [True, False])
def test_gradient(weak_gradient) -> None:
    """Of the features of the selected items, of the weak view only where asked for, and never of the logits."""
    rng = np.random.default_rng(0)
    weak, strong = (torch.from_numpy(np.abs(rng.normal(size=(3, 4)))).float().requires_grad_() for _ in "12")
    step, logits = step_of(weak, strong, [1.0, 0.0, 1.0])
    term = LOSSES.build(dict(type="FeatureDistance", weak_gradient=weak_gradient))
    assert set(term.needs_gradient) == ({"weak", "strong"} if weak_gradient else {"strong"})
    term(step).backward()
    assert (strong.grad.abs().sum(dim=1) > 0).tolist() == [True, False, True]
    assert (weak.grad is not None) == weak_gradient
    assert logits.grad is None


def test_the_head_is_as_wide_as_the_features() -> None:
    heads = LOSSES.build(dict(type="FeatureDistance")).heads(7, 3)
    assert heads["distance"].weight.shape == (7, 7)
