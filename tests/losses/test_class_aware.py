"""Class-aware contrast against loops, and its edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ferbench.contracts import Output
from ferbench.errors import UserError
from ferbench.functional.losses import class_aware_contrast, masked_contrast
from ferbench.registry import LOSSES
from ferbench.testing import make_step


def unit_rows(rng: np.random.Generator, size: int) -> np.ndarray:
    x = rng.normal(size=(size, 5))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def slow(views: list[np.ndarray], weight_of_pair, temperature: float) -> float:
    """Over pairs of (view, item), with ``weight_of_pair(i, j)`` between items."""
    size = len(views[0])
    keys = [(view, item) for view in (0, 1) for item in range(size)]
    losses = []
    for v, i in keys:
        others = [key for key in keys if key != (v, i)]
        similarity = {(u, j): math.exp(views[v][i] @ views[u][j] / temperature) for u, j in others}
        total = sum(similarity.values())
        pairs = {(u, j): weight_of_pair(i, j) for u, j in others}
        losses.append(
            -sum(w * math.log(similarity[key] / total) for key, w in pairs.items()) / sum(pairs.values())
        )
    return sum(losses) / len(losses)


@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 6), temperature=st.sampled_from([0.07, 0.5]))
@settings(max_examples=40)
def test_pairs_of_any_weight(seed, size, temperature) -> None:
    rng = np.random.default_rng(seed)
    views, positives = [unit_rows(rng, size) for _ in "12"], rng.random((size, size)) + 0.01
    got = class_aware_contrast(*map(torch.from_numpy, views), torch.from_numpy(positives), temperature)
    assert got.item() == pytest.approx(
        slow(views, lambda i, j: positives[i, j], temperature), rel=1e-4, abs=1e-5
    )


def test_without_classes_it_is_the_contrast_of_views() -> None:
    rng = np.random.default_rng(0)
    first, second = (torch.from_numpy(unit_rows(rng, 7)).float() for _ in "12")
    torch.testing.assert_close(
        class_aware_contrast(first, second, torch.eye(7), 0.2),
        masked_contrast(first, second, torch.ones(7), 0.2),
    )


def slope(views: list[np.ndarray], loss) -> list[np.ndarray]:
    """Central differences of ``loss(views)`` in every number of the views."""
    slopes = [np.zeros_like(x) for x in views]
    for x, found in zip(views, slopes, strict=True):
        for place in np.ndindex(x.shape):
            kept, values = x[place], []
            for offset in (1e-6, -1e-6):
                x[place] = kept + offset
                values.append(loss(views))
            x[place], found[place] = kept, (values[0] - values[1]) / 2e-6
    return slopes


@pytest.mark.parametrize(("own_view", "own"), [("one", lambda q: 1.0), ("confidence", lambda q: q * q)])
def test_who_is_compared_with_whom(own_view, own) -> None:
    """Items 0 and 1 are surely class 0, item 2 is surely class 1, item 3 is less sure of class 0: loss and gradient."""
    probs = np.array([[0.95, 0.03, 0.02], [0.92, 0.05, 0.03], [0.04, 0.93, 0.03], [0.89, 0.06, 0.05]])
    rng = np.random.default_rng(5)
    views = [unit_rows(rng, 4) for _ in "12"]
    embeddings = [torch.from_numpy(x).float().requires_grad_() for x in views]
    weak = Output(torch.from_numpy(np.log(probs)).float().requires_grad_(), torch.zeros(4, 1))
    outputs = {
        "weak": weak,
        **{
            name: Output(torch.zeros(4, 3), torch.zeros(4, 1), {"projection": x})
            for name, x in zip(("strong", "strong2"), embeddings, strict=True)
        },
    }
    term = LOSSES.build(dict(type="ClassAwareContrast", temperature=0.5, threshold=0.9, own_view=own_view))
    assert (term.views, term.needs_gradient) == (("strong", "strong2"),) * 2
    value = term(make_step(outputs, [0.0] * 4))

    top = probs.max(axis=1)
    pair = {(0, 1), (1, 0)}

    def loss(views: list[np.ndarray]) -> float:
        return slow(views, lambda i, j: own(top[i]) if i == j else top[i] * top[j] * ((i, j) in pair), 0.5)

    assert value.item() == pytest.approx(loss(views), abs=1e-5)
    value.backward()
    assert weak.logits.grad is None
    for x, expected in zip(embeddings, slope(views, loss), strict=True):
        np.testing.assert_allclose(x.grad, expected, atol=1e-5)
        assert np.abs(expected).max() > 0.01


def test_an_own_view_that_is_neither_is_refused() -> None:
    assert LOSSES.build(dict(type="ClassAwareContrast")).own_view == "one"
    with pytest.raises(UserError, match="own_view='two'"):
        LOSSES.build(dict(type="ClassAwareContrast", own_view="two"))


def test_bfloat16_is_compared_in_float32() -> None:
    rng = np.random.default_rng(2)
    first, second = (torch.from_numpy(unit_rows(rng, 6)).float() for _ in "12")
    with torch.autocast("cpu", torch.bfloat16):
        got = class_aware_contrast(first, second, torch.ones(6, 6), 0.07)
    torch.testing.assert_close(
        got, class_aware_contrast(first, second, torch.ones(6, 6), 0.07), rtol=1e-6, atol=0
    )


def test_one_item_alone_has_nothing_to_learn() -> None:
    first, second = (torch.nn.functional.normalize(torch.randn(1, 3), dim=1).requires_grad_() for _ in "12")
    value = class_aware_contrast(first, second, torch.ones(1, 1), 0.07)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert first.grad.isfinite().all()


def test_the_projection() -> None:
    head = LOSSES.build(dict(type="ClassAwareContrast", dim=6)).heads(num_features=9, num_classes=3)[
        "projection"
    ]
    lengths = head(torch.randn(4, 9)).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(4))
    assert head(torch.randn(4, 9)).shape == (4, 6)
