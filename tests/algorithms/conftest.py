"""Recorded logits in place of a network, and the numbers that public code computed on them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ferbench.models.classifier import Output

Vectors = Callable[[str], dict[str, np.ndarray]]


class RecordedNetwork:
    """Answers with recorded outputs, as leaves whose gradient can be read; refuses views it was not told of.

    The images are ignored, so that only the algorithm is under test. Unlike the real one, it gives a graph to every
    view: a zero gradient then proves that the algorithm itself lets none pass.
    """

    def __init__(self, outputs: Mapping[str, tuple[np.ndarray, np.ndarray | None]]):
        self.logits = {
            name: torch.from_numpy(logits).requires_grad_() for name, (logits, _) in outputs.items()
        }
        self.features = {
            name: torch.zeros(len(logits), 1)
            if features is None
            else torch.from_numpy(features).requires_grad_()
            for name, (logits, features) in outputs.items()
        }
        self.asked: list[tuple[set[str], set[str]]] = []

    def __call__(self, views: Mapping[str, Tensor], needs_gradient: Collection[str]) -> dict[str, Output]:
        self.asked.append((set(views), set(needs_gradient)))
        return {name: Output(self.logits[name], self.features[name]) for name in views}

    def gradient(self, view: str) -> np.ndarray:
        """Of the loss at a view's logits; zeros where no graph led there."""
        grad = self.logits[view].grad
        return np.zeros_like(self.logits[view].detach().numpy()) if grad is None else grad.numpy()


@pytest.fixture(scope="session")
def vectors(repo: Path) -> Vectors:
    """Arrays of one file of tests/data/vectors, by name."""
    loaded: dict[str, dict[str, np.ndarray]] = {}

    def load(name: str) -> dict[str, np.ndarray]:
        if name not in loaded:
            with np.load(repo / "tests/data/vectors" / f"{name}.npz") as file:
                loaded[name] = dict(file)
        return loaded[name]

    return load


@pytest.fixture(scope="session")
def recorded() -> type[RecordedNetwork]:
    """The stand-in for a network."""
    return RecordedNetwork
