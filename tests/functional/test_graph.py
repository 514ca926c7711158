"""Similarities, neighbours and graphs, by hand and against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ferbench.functional import graph


def unit(*rows: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=rows)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def tensor(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x.astype(np.float32))


def test_shares_against_numpy() -> None:
    queries, keys = unit(4, 6), unit(5, 6, seed=1)
    filled = np.array([True, True, False, True, False])
    e = np.exp(queries @ keys.T / 0.3) * filled
    shares = graph.neighbour_shares(tensor(queries), tensor(keys), torch.from_numpy(filled), 0.3)
    np.testing.assert_allclose(shares, e / e.sum(1, keepdims=True), atol=1e-6)


def test_shares_of_an_empty_memory_are_zero() -> None:
    shares = graph.neighbour_shares(torch.ones(2, 3), torch.ones(4, 3), torch.zeros(4, dtype=torch.bool), 0.1)
    assert not shares.any()


def test_similarity_is_exact_under_autocast() -> None:
    first, second = tensor(unit(4, 32)), tensor(unit(5, 32, seed=1))
    with torch.autocast("cpu", torch.bfloat16):
        out = graph.similarity(first, second, 0.1)
        totals = graph.class_totals(first.softmax(dim=1), torch.arange(32) % 3, 3)
    assert torch.equal(out, first @ second.t() / 0.1)
    torch.testing.assert_close(totals.sum(dim=1), torch.ones(4))


def test_smoothing_by_hand() -> None:
    """Without neighbours an item keeps all of its own; 3/4 (.8, .2) + 1/4 (.4, .6) = (.7, .3)."""
    probs = torch.tensor([[0.8, 0.2], [0.9, 0.1]])
    out = graph.smooth(probs, torch.tensor([[0.4, 0.6], [0.0, 0.0]]), 0.75)
    torch.testing.assert_close(out, torch.tensor([[0.7, 0.3], [0.9, 0.1]]))


def test_pseudo_label_graph_by_hand() -> None:
    """Items 0 and 1 agree by .9 * .9 + .1 * .1 = .82, 0 and 2 by .18; an item is 1 to itself, whatever p . p is."""
    probs = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9]])
    expected = torch.tensor([[1 / 1.82, 0.82 / 1.82, 0], [0.82 / 1.82, 1 / 1.82, 0], [0, 0, 1]])
    torch.testing.assert_close(graph.pseudo_label_graph(probs, 0.8), expected)
    assert torch.equal(graph.pseudo_label_graph(probs, 0.9), torch.eye(3))


def test_graph_contrast_against_numpy() -> None:
    first, second, weights = unit(5, 4), unit(5, 4, seed=1), np.random.default_rng(2).uniform(size=(5, 5))
    weights /= weights.sum(1, keepdims=True)
    e = np.exp(first @ second.T / 0.2)
    expected = -(weights * np.log(e / e.sum(1, keepdims=True) + 1e-7)).sum(1).mean()
    value = graph.graph_contrast(tensor(first), tensor(second), tensor(weights), 0.2)
    assert value.item() == pytest.approx(expected, abs=1e-6)


def test_class_totals_by_hand() -> None:
    shares = torch.tensor([[0.5, 0.3, 0.2, 0.0], [0.1, 0.2, 0.3, 0.4]])
    totals = graph.class_totals(shares, torch.tensor([2, 0, 2, -1]), 3)
    torch.testing.assert_close(totals, torch.tensor([[0.3, 0.0, 0.7], [0.2, 0.0, 0.4]]))


def test_class_scaled_by_hand() -> None:
    """(.5 * .8, .25 * .2, .25 * .8) / .65; an item whose neighbours are of impossible classes gets zeros, not NaN."""
    shares = torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.0, 0.5]])
    probs = torch.tensor([[0.8, 0.2], [0.0, 1.0]])
    out = graph.class_scaled(shares, probs, torch.tensor([0, 1, 0]))
    torch.testing.assert_close(out, torch.tensor([[0.4 / 0.65, 0.05 / 0.65, 0.2 / 0.65], [0, 0, 0]]))
