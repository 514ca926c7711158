"""A head of its own that predicts: through training, checkpoint and test."""

from __future__ import annotations

import pytest
import torch

from ferbench.engine import api

BASE = {"type": "FixMatch", "threshold": 0.3}


@pytest.mark.parametrize(
    "algorithm", [dict(type="ABC", threshold=0.3), dict(type="CoSSL", warmup=0.5)], ids=["ABC", "CoSSL"]
)
def test_scores_are_those_of_the_head_and_survive_the_checkpoint(algorithm, make, read, tmp_path):
    options = {f"model.algorithm.{k}": v for k, v in {**algorithm, "base": BASE}.items()}
    cfg = make({"model.algorithm._delete_": True, **options, "model.head.dropout": 0.0})
    runner = api.train(cfg, tmp_path / "run")
    (head,) = runner.bare_model.network.heads
    assert runner.bare_model.algorithm.prediction_head == head

    last = tmp_path / "run" / "last.pth"
    logged = {
        r["weights"]: r for r in read(tmp_path / "run").metrics[-1]["rows"] if r["checkpoint"] == "last"
    }
    scores = api.test(cfg, last)
    for weights in ("raw", "ema"):
        assert scores[weights].items() <= logged[weights].items()

    content = torch.load(last, weights_only=True)
    for name in ("network", "ema_network"):  # a head that always answers "blank"
        content["model"][f"{name}.heads.{head}.weight"].zero_()
        content["model"][f"{name}.heads.{head}.bias"].copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
    torch.save(content, tmp_path / "broken.pth")
    scores = api.test(cfg, tmp_path / "broken.pth")
    for weights in ("raw", "ema"):
        assert [row[0] for row in scores[weights]["confusion"]] == [10, 9, 9, 9]
