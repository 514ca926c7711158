"""The examples in the docstrings of the formulas, the parts and the engine run and print what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1] / "ferbench"
FOLDERS = ("functional", "thresholds", "targets", "alignments", "losses", "engine")
MODULES = [
    f"ferbench.{folder}.{path.stem}"
    for folder in FOLDERS
    for path in sorted((ROOT / folder).glob("*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of(name):
    with torch.random.fork_rng():
        found = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted
    assert not found.failed


def test_every_formula_has_an_example():
    lacking = [
        f"{path.name}: {name}"
        for path in sorted((ROOT / "functional").glob("*.py"))
        for name, function in vars(importlib.import_module(f"ferbench.functional.{path.stem}")).items()
        if callable(function) and not name.startswith("_")
        if getattr(function, "__module__", "") == f"ferbench.functional.{path.stem}"
        if ">>>" not in (function.__doc__ or "")
    ]
    assert not lacking
