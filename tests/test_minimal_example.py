"""The example for people who have their own trainer: short, plain torch, and it learns."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="module")
def example(repo: Path) -> Path:
    return repo / "examples" / "minimal.py"


def test_it_is_short_and_needs_neither_configs_nor_a_runner(example):
    text = example.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {getattr(node, "module", None) or node.names[0].name for node in imports}
    assert {name.split(".")[0] for name in modules} == {
        "__future__",
        "collections",
        "copy",
        "torch",
        "ferbench",
    }
    assert {name for name in modules if name.startswith("ferbench")} == {
        "ferbench.algorithms", "ferbench.contracts", "ferbench.lifecycle", "ferbench.thresholds",
    }  # fmt: skip


def test_the_loss_falls_and_the_thresholds_move(example):
    with torch.random.fork_rng():
        losses, before, after, accuracy = runpy.run_path(str(example))["train"](seed=1)
    assert losses[-10:].mean() < 0.5 * losses[:10].mean()
    assert before.tolist() == [0.25] * 4  # 1 / C
    assert (after > before).all()
    assert accuracy > 0.8
