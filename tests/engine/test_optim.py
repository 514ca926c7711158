"""The optimizer wrapper against plain PyTorch."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from ferbench.engine.optim import build_optimizer


@pytest.fixture
def net() -> nn.Module:
    """Two weight matrices, vectors, and a part that is not trained."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4), nn.Linear(4, 2), nn.Linear(2, 2))
    net[3].requires_grad_(False)
    return net


def loss_of(net: nn.Module, step: int) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    return 10 * net(torch.randn(8, 5, generator=generator)).square().mean()


SGD = dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True)


def test_two_groups_of_the_trained_parameters(net) -> None:
    wrapper = build_optimizer(net, dict(type="SSLOptimWrapper", optimizer=SGD))
    matrices, vectors = wrapper.optimizer.param_groups
    assert [id(p) for p in matrices["params"]] == [id(net[0].weight), id(net[2].weight)]
    assert matrices["weight_decay"] == 0.01
    assert {id(p) for p in vectors["params"]} == {
        id(p) for p in (net[0].bias, net[1].weight, net[1].bias, net[2].bias)
    }
    assert vectors["weight_decay"] == 0.0


@pytest.mark.parametrize("clip", [None, dict(max_norm=0.5)])
@pytest.mark.parametrize("scaled", [False, True])
def test_updates_are_those_of_pytorch(net, clip, scaled) -> None:
    """Loss scaling by powers of two changes nothing but rounding, clipping included."""
    plain = deepcopy(net)
    wrapper = build_optimizer(net, dict(type="SSLOptimWrapper", optimizer=SGD, clip_grad=clip))
    if scaled:
        wrapper.enable_loss_scaling("cpu")
    trained = [p for p in plain.parameters() if p.requires_grad]
    reference = torch.optim.SGD(
        [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": 0.01},
            {"params": [p for p in trained if p.ndim <= 1]},
        ],
        lr=0.1,
        momentum=0.9,
        nesterov=True,
    )
    for step in range(3):
        for half in range(2):  # gradients of two parts of a step add up
            wrapper.backward(loss_of(net, 2 * step + half))
            loss_of(plain, 2 * step + half).backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(trained, **clip)
        wrapper.step()
        reference.step()
        reference.zero_grad()
        assert all(p.grad is None for p in net.parameters())
        for ours, theirs in zip(net.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_an_overflow_skips_the_update_and_lowers_the_scale(net) -> None:
    wrapper = build_optimizer(net, dict(type="SSLOptimWrapper", optimizer=SGD))
    wrapper.enable_loss_scaling("cpu")
    before, scale = deepcopy(net.state_dict()), wrapper.scaler.get_scale()
    wrapper.backward(loss_of(net, 0) * float("inf"))
    wrapper.step()
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert wrapper.scaler.get_scale() == scale / 2


def test_state_survives_a_file(net, tmp_path) -> None:
    """Momentum and loss scale: the loaded wrapper goes on as the saved one."""
    other = deepcopy(net)
    first, second = (build_optimizer(n, dict(type="SSLOptimWrapper", optimizer=SGD)) for n in (net, other))
    for wrapper in (first, second):
        wrapper.enable_loss_scaling("cpu")
    first.backward(loss_of(net, 0) * float("inf"))
    first.step()
    first.backward(loss_of(net, 1))
    first.step()
    torch.save({"net": net.state_dict(), "optim": first.state_dict()}, tmp_path / "state.pth")
    state = torch.load(tmp_path / "state.pth", weights_only=True)
    other.load_state_dict(state["net"])
    second.load_state_dict(state["optim"])
    assert second.scaler.get_scale() == first.scaler.get_scale()
    for module, wrapper in ((net, first), (other, second)):
        wrapper.backward(loss_of(module, 2))
        wrapper.step()
    for ours, theirs in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)
