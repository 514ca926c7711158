"""The very small experiment, and how two of its runs are compared."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tiny_experiment import command, config_file, images, make, process_state  # noqa: F401 - fixtures

SPEED = ("images_per_s", "data_wait")


def read_run(folder: Path) -> SimpleNamespace:
    """A run's ``last.pth`` and ``metrics.jsonl``, speed left out."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    metrics = [{k: v for k, v in line.items() if k not in SPEED} for line in lines]
    return SimpleNamespace(checkpoint=torch.load(folder / "last.pth", weights_only=True), metrics=metrics)


@pytest.fixture
def read():
    return read_run


def differences(a, b, path="") -> list[str]:
    """Where two nested contents differ, bit for bit (NaN equals NaN)."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted({*a, *b}, key=str)
        return [d for k in keys for d in differences(a.get(k), b.get(k), f"{path}/{k}")]
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        return [
            d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in differences(x, y, f"{path}/{i}")
        ]
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        same = (
            a.dtype == b.dtype
            and torch.equal(a.nan_to_num(7e7), b.nan_to_num(7e7))
            and a.isnan().equal(b.isnan())
        )
        return [] if same else [path]
    return [] if a == b else [f"{path}: {a!r} and {b!r}"]


@pytest.fixture
def differ():
    return differences
