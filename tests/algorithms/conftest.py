"""The numbers that public code computed on recorded logits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Vectors = Callable[[str], dict[str, np.ndarray]]


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
