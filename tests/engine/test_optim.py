"""The optimizer wrapper against plain PyTorch."""

from __future__ import annotations

from copy import deepcopy

import pytest
import timm.optim
import torch
from torch import Tensor, nn

from ferbench.engine.optim import build_optimizer
from ferbench.errors import UserError
from ferbench.models.mmpretrain_backbone import MMPretrainBackbone
from ferbench.models.timm_backbone import TimmBackbone


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


class Tokens(nn.Module):
    """A plug-in's transformer without a hook."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token, self.pos_embed = (nn.Parameter(torch.zeros(1, n, 4)) for n in (1, 9))
        self.layer = nn.Linear(4, 4)


class Named(Tokens):
    """One that names a matrix, by a pattern."""

    def no_weight_decay(self) -> set[str]:
        return {"layer.w*"}


def undecayed(network: nn.Module) -> set[str]:
    wrapper = build_optimizer(network, dict(type="SSLOptimWrapper", optimizer=SGD))
    decayed, spared = wrapper.optimizer.param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.01, 0.0)
    assert len(decayed["params"]) + len(spared["params"]) == len(list(network.parameters()))
    ids = {id(p) for p in spared["params"]}
    return {name for name, p in network.named_parameters() if id(p) in ids}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit_tiny_patch16_224", dict(img_size=32, embed_dim=24, depth=1, num_heads=2, reg_tokens=2)),
        ("swin_tiny_patch4_window7_224", dict(img_size=56, embed_dim=12, depths=(1, 1), num_heads=(2, 2))),
        ("resnet18", {}),
    ],
)
def test_what_timm_does_not_decay_is_not_decayed(name, options) -> None:
    """Of a transformer: tokens, position embeddings and tables. The groups are those of timm's own optimizers."""
    backbone = TimmBackbone(name, **options)
    theirs = timm.optim.param_groups_weight_decay(
        backbone.network, 0.01, no_weight_decay_list=backbone.network.no_weight_decay() if options else ()
    )
    ids = {id(p) for p in theirs[0]["params"]}
    assert theirs[0]["weight_decay"] == 0
    expected = {name for name, p in backbone.named_parameters() if id(p) in ids}
    assert undecayed(backbone) == expected
    matrices = {n.rpartition(".")[2] for n, p in backbone.named_parameters() if n in expected and p.ndim > 1}
    assert (
        matrices
        == {
            "vit_tiny_patch16_224": {"cls_token", "reg_token", "pos_embed"},
            "swin_tiny_patch4_window7_224": {"relative_position_bias_table"},
            "resnet18": set(),
        }[name]
    )


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            dict(
                type="mmpretrain.VisionTransformer",
                arch=dict(embed_dims=24, num_layers=1, num_heads=2, feedforward_channels=24),
                img_size=32,
                patch_size=16,
            ),
            {"cls_token", "pos_embed"},
        ),
        (
            dict(
                type="mmpretrain.SwinTransformer",
                arch=dict(embed_dims=12, depths=[1, 1], num_heads=[2, 2]),
                img_size=56,
                window_size=7,
                use_abs_pos_embed=True,
                out_indices=(1,),
            ),
            {"absolute_pos_embed", "relative_position_bias_table"},
        ),
    ],
)
def test_tokens_and_embeddings_of_mmpretrain_are_not_decayed(config, expected) -> None:
    """Which has no such hook; its recipes name them."""
    backbone = MMPretrainBackbone(config)
    found = undecayed(backbone)
    assert {
        n.rpartition(".")[2] for n, p in backbone.named_parameters() if n in found and p.ndim > 1
    } == expected
    assert found >= {n for n, p in backbone.named_parameters() if p.ndim == 1}


def test_tokens_of_any_network_are_not_decayed_and_it_may_name_more() -> None:
    assert undecayed(nn.Sequential(Tokens())) == {"0.cls_token", "0.pos_embed", "0.layer.bias"}
    assert undecayed(nn.Sequential(Named())) == {
        "0.cls_token",
        "0.pos_embed",
        "0.layer.bias",
        "0.layer.weight",
    }


def test_a_state_of_other_groups_is_refused(net) -> None:
    """As that of a transformer from before its tokens were spared."""
    wrapper, other = (
        build_optimizer(n, dict(type="SSLOptimWrapper", optimizer=SGD)) for n in (net, nn.Linear(3, 2))
    )
    with pytest.raises(UserError, match=r"of groups of \[1, 1\] parameters, the network's are of \[2, 4\]"):
        wrapper.load_state_dict(other.state_dict())


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
