"""The hybrids of docs/howto/compose.md, as they stand there, on the very small experiment."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from ferbench.config import load_config
from ferbench.engine import api
from ferbench.models.ssl import SSLModel

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "compose.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)
# What the terms of each hybrid are called in the log.
PARTS = [
    {"supervised", "unsupervised", "low_confidence"},
    {"supervised", "unsupervised", "negative", "fairness"},
    {"supervised", "unsupervised", "low_confidence", "abc"},
]
# Thresholds that a network of 12 steps can pass, and a split that the few images allow.
LENIENT = [
    {"model.algorithm.threshold": 0.6, "model.algorithm.warmup": False},
    {"model.algorithm.floor": 0.3, "model.algorithm.rule": dict(init=0.3, epoch_length=2)},
    {"model.algorithm.base.base.threshold": dict(floor=0.3, init=0.3, epoch_length=2), "split.total": 24},
]
NAMES = ("flex-soft-dtm", "dtm-negative-fairness", "abc-over-hybrid")


def test_there_are_three() -> None:
    assert len(BLOCKS) == len(NAMES)


@pytest.mark.parametrize("block", BLOCKS, ids=NAMES)
def test_they_build_on_shipped_configs(block, tmp_path) -> None:
    file = tmp_path / "hybrid.py"
    file.write_text(block)
    assert load_config(file).model.algorithm.type in ("FlexMatch", "DTM", "ABC")


@pytest.fixture
def start_state(monkeypatch) -> dict[str, torch.Tensor]:
    """The state of the next run's algorithm before its first step."""
    state: dict[str, torch.Tensor] = {}
    bind = SSLModel.bind

    def watched(model, context) -> None:
        bind(model, context)
        state.update({key: value.clone() for key, value in model.algorithm.state_dict().items()})

    monkeypatch.setattr(SSLModel, "bind", watched)
    return state


@pytest.mark.parametrize("number", range(len(NAMES)), ids=NAMES)
def test_they_train(number, start_state, images, config_file, read, tmp_path) -> None:
    """Every part takes part: its loss is in the log and counts, its state leaves its start, the scores come out."""
    parts = PARTS[number]
    file = tmp_path / "hybrid.py"
    file.write_text(re.sub(r'_base_ = \["(.*?)"\]', f"_base_ = [{str(config_file)!r}]", BLOCKS[number]))
    cfg = load_config(file, LENIENT[number], (), images)
    runner = api.train(cfg, tmp_path / "run")
    lines = read(tmp_path / "run").metrics
    train = [line for line in lines if line["kind"] == "train"]
    assert all(set(line["losses"]) == {*parts, "loss"} for line in train)
    for part in parts:
        values = [line["losses"][part] for line in train]
        assert np.isfinite(values).all()
        assert any(values), f"{part} never counted"
    assert any(line["utilization_mean"] > 0 for line in train)
    assert len(lines[-1]["rows"]) == 4

    state, moved = runner.bare_model.algorithm.state_dict(), {}
    for key, value in state.items():
        owner = key.rpartition(".")[0]
        same = torch.allclose(value.float(), start_state[key].float(), equal_nan=True)
        moved[owner] = moved.get(owner, False) or not same
    assert moved
    assert all(moved.values()), moved
