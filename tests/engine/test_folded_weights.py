"""Weights into which batch-norm was folded: a run gives its layers the statistics of its own images."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest
import torch

from ferbench.data.preprocess import IMAGENET_STD
from ferbench.engine import api
from ferbench.engine.batch_norm import restore_batch_norm
from ferbench.engine.build import build_data
from ferbench.errors import Stopped, UserError
from ferbench.functional.randomness import derive_seed
from ferbench.models.ssl import SSLModel

FOLDED = {
    "model.backbone": {"_delete_": True, "type": "TinyFolded"},
    "model.preprocess": {"size": 24, "mean": [1.0] * 3},
}
STOPPED = {**FOLDED, "custom_hooks.0.iteration": 6, "custom_hooks.0.signum": int(signal.SIGTERM)}


def model_of(cfg) -> SSLModel:
    torch.manual_seed(3)
    cfg = api.complete(cfg, "unused")
    return SSLModel(**{k: v for k, v in cfg.model.items() if k != "type"})


@pytest.mark.parametrize("stream", ["unlabeled", "labeled"])
def test_statistics_are_of_the_runs_images(make, stream) -> None:
    cfg = make(FOLDED)
    data = build_data(cfg)
    if stream == "labeled":
        del data.datasets["unlabeled"]
    dataset = data.datasets[stream]
    model, untouched = model_of(cfg), model_of(cfg)
    restore_batch_norm(model, data, seed=5)
    chosen = np.random.default_rng(derive_seed(5, "batch-norm")).permutation(len(dataset))[:256]
    images = np.stack([dataset.read(i) for i in sorted(chosen)])
    assert len(images) == len(dataset) > 30
    with torch.no_grad():
        x = model.preprocess.normalize(torch.from_numpy(images))
        conv, norm = model.network.backbone.layers[:2]
        seen = conv(x).double()
        for network in (model.network, model.ema_network):
            assert torch.allclose(
                network.backbone.layers[1].running_mean.double(), seen.mean((0, 2, 3)), atol=1e-6
            )
        model.eval()
        assert torch.allclose(model.network(x).logits, untouched.eval().network(x).logits, atol=1e-5)
    assert not torch.equal(norm.weight, untouched.network.backbone.layers[1].weight)


def test_other_weights_are_left_alone(make) -> None:
    cfg = make({"model.backbone": {"_delete_": True, "type": "TinyBatchNorm"}})
    model, untouched = model_of(cfg), model_of(cfg)
    restore_batch_norm(model, build_data(cfg), seed=5)
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), untouched.state_dict().values(), strict=True)
    )


def test_images_that_cannot_be_read(make, monkeypatch) -> None:
    cfg = make(FOLDED)
    data = build_data(cfg)
    empty = {"images": torch.empty(0, 24, 24, 3, dtype=torch.uint8)}
    monkeypatch.setattr("ferbench.engine.batch_norm.batch_loader", lambda *_, **__: iter([empty]))
    with pytest.raises(UserError, match=r"none of .* images"):
        restore_batch_norm(model_of(cfg), data, seed=5)


def test_a_run_resumes_bit_for_bit_and_says_what_was_done(make, read, differ, tmp_path) -> None:
    api.train(make(FOLDED), tmp_path / "whole")
    with pytest.raises(Stopped):
        api.train(make(STOPPED), tmp_path / "stopped")
    api.train(make(FOLDED), tmp_path / "stopped", resume=True)
    whole, stopped = read(tmp_path / "whole"), read(tmp_path / "stopped")
    assert differ(whole.checkpoint["model"], stopped.checkpoint["model"]) == []
    assert whole.metrics == stopped.metrics
    record = json.loads((tmp_path / "whole" / "record.json").read_text())
    assert record["protocol"]["model"]["initial_weights"]["batch_norm"] == "statistics of the run's images"
    (mean,) = (w for w in record["warnings"] if "preprocess" in w)
    assert mean.startswith("model.preprocess.mean is [1.0, 1.0, 1.0]")
    assert "[120.0, 120.0, 120.0]" in mean


def test_what_the_weights_expect_is_the_default_of_the_preprocessing(make) -> None:
    cfg = make(FOLDED)
    del cfg.model.preprocess
    model = model_of(cfg)
    assert model.preprocess.as_dict() == {"size": 30, "mean": [120.0] * 3, "std": list(IMAGENET_STD)}
    assert model.warnings == []
