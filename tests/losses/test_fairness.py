"""FreeMatch's fairness term against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ferbench.contracts import Output
from ferbench.lifecycle import RunContext
from ferbench.registry import LOSSES
from ferbench.testing import make_step

CLASSES = 4


def bound(**options):
    term = LOSSES.build(dict(type="Fairness", **options))
    term.bind(RunContext(CLASSES, 8, 20, 100, (2, 2, 2, 2)))
    return term


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    r = np.divide(a, b, out=np.zeros_like(a), where=b > 0)
    return r / r.sum()


def views(seed: int, size: int = 9, scale: float = 2.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {v: (scale * rng.normal(size=(size, CLASSES))).astype(np.float32) for v in ("weak", "strong")}


def step_of(logits: dict[str, np.ndarray], weight: np.ndarray):
    outputs = {
        v: Output(torch.from_numpy(x).requires_grad_(), torch.zeros(len(x), 1)) for v, x in logits.items()
    }
    return make_step(outputs, torch.from_numpy(weight.astype(np.float32))), outputs


@pytest.mark.parametrize("soft", [False, True])
def test_two_steps(soft) -> None:
    term = bound(momentum=0.8)
    assert (term.name, term.weight, term.views, term.needs_gradient) == (
        "fairness",
        0.01,
        ("strong",),
        ("strong",),
    )
    p = h = np.full(CLASSES, 1 / CLASSES)
    rng = np.random.default_rng(4)
    for seed in range(2):
        logits = views(seed)
        weight = rng.uniform(size=9) if soft else (rng.uniform(size=9) > 0.4).astype(float)
        step, outputs = step_of(logits, weight)
        value = term(step)
        weak, strong = (
            softmax(logits["weak"].astype(np.float64)),
            softmax(logits["strong"].astype(np.float64)),
        )
        p = 0.8 * p + 0.2 * weak.mean(0)
        h = 0.8 * h + 0.2 * np.bincount(weak.argmax(1), minlength=CLASSES) / 9
        share = weight / weight.sum()
        q, g = share @ strong, np.bincount(strong.argmax(1), weights=share, minlength=CLASSES)
        expected = (ratio(p, h) * np.log(ratio(q, g) + 1e-12)).sum()
        assert value.item() == pytest.approx(expected, abs=1e-5)
        np.testing.assert_allclose(term.p_model, p, atol=1e-6)
        np.testing.assert_allclose(term.label_hist, h, atol=1e-6)
        value.backward()
        pulled = outputs["strong"].logits.grad.abs().sum(1).numpy() > 0
        np.testing.assert_array_equal(pulled, weight > 0)
        assert outputs["weak"].logits.grad is None


def test_gradient_is_that_of_finite_differences() -> None:
    logits, weight = views(3), np.array([1, 0, 1, 1, 0, 1, 1, 1, 0.0])
    term = bound(momentum=0.8)
    state = {k: v.clone() for k, v in term.state_dict().items()}
    step, outputs = step_of(logits, weight)
    term(step).backward()
    gradient = outputs["strong"].logits.grad.numpy()
    for row, column in ((0, 1), (1, 2), (5, 3)):
        values = []
        for change in (1e-2, -1e-2):
            moved = {v: x.copy() for v, x in logits.items()}
            moved["strong"][row, column] += change
            term.load_state_dict(state)
            values.append(term(step_of(moved, weight)[0]).item())
        assert gradient[row, column] == pytest.approx((values[0] - values[1]) / 2e-2, abs=1e-3)


@pytest.mark.parametrize("size", [1, 6])
def test_nothing_selected_is_zero_with_zero_gradient(size) -> None:
    step, outputs = step_of(views(1, size, scale=30.0), np.zeros(size))
    value = bound()(step)
    assert value.item() == 0
    value.backward()
    assert not outputs["strong"].logits.grad.any()


def test_a_single_certain_item() -> None:
    logits = {v: np.array([[100.0, 0, 0, 0]], np.float32) for v in ("weak", "strong")}
    step, outputs = step_of(logits, np.ones(1))
    value = bound()(step)
    assert value.isfinite()
    value.backward()
    assert outputs["strong"].logits.grad.isfinite().all()
