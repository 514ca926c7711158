"""Weights as the world has them: file formats, precisions, heads of other tasks, channels, and images of another size."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ferbench.errors import UserError
from ferbench.models import TimmBackbone, load_weights


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


def same(first: nn.Module, second: nn.Module) -> bool:
    others = second.state_dict()
    return all(torch.equal(t, others[n]) for n, t in first.state_dict().items())


def test_npz(tmp_path: Path) -> None:
    source, target = network(), network()
    np.savez(tmp_path / "w.npz", **{n.replace(".", "/"): t.numpy() for n, t in source.state_dict().items()})
    load_weights(target, tmp_path / "w.npz")
    assert same(source, target)
    np.savez(tmp_path / "objects.npz", x=np.array([{}]))
    with pytest.raises(UserError, match="cannot be read"):
        load_weights(target, tmp_path / "objects.npz")


def test_onnx(tmp_path: Path) -> None:
    file = tmp_path / "w.onnx"
    if importlib.util.find_spec("onnx") is None:
        file.write_bytes(b"")
        with pytest.raises(UserError, match="needs the package onnx"):
            load_weights(network(), file)
        return
    import onnx

    source, target = network(), network()
    tensors = [onnx.numpy_helper.from_array(t.numpy(), n) for n, t in source.state_dict().items()]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], tensors)), str(file))
    load_weights(target, file)
    assert same(source, target)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_the_networks(tmp_path: Path, dtype: torch.dtype) -> None:
    source, target = network(), network()
    torch.save(
        {n: t.to(dtype) if t.is_floating_point() else t for n, t in source.state_dict().items()},
        tmp_path / "w.pt",
    )
    load_weights(target, tmp_path / "w.pt")
    assert target[0].weight.dtype == torch.float32
    assert torch.equal(target[0].weight, source[0].weight.to(dtype).float())


def test_bgr_weights_see_rgb_images(tmp_path: Path) -> None:
    source, target = network().eval(), network().eval()
    torch.save(source.state_dict(), tmp_path / "caffe.pth")
    loaded = load_weights(target, tmp_path / "caffe.pth", channel_order="BGR")
    images = torch.rand(2, 3, 5, 5)
    with torch.no_grad():
        assert torch.allclose(target(images), source(images.flip(1)), atol=1e-6)
    assert loaded.as_dict()["channel_order"] == "BGR"
    with pytest.raises(UserError, match="channel_order='GBR'"):
        load_weights(target, tmp_path / "caffe.pth", channel_order="GBR")
    linear = nn.Linear(3, 2)
    torch.save(linear.state_dict(), tmp_path / "linear.pth")
    with pytest.raises(UserError, match="no convolution of three channels"):
        load_weights(linear, tmp_path / "linear.pth", channel_order="BGR")


@pytest.mark.parametrize("head", ["fc", "head", "classifier"])
def test_a_head_of_another_task_is_left_out_and_stated(tmp_path: Path, head: str) -> None:
    source, target = network(), network()
    state = {f"module.{n}": t for n, t in source.state_dict().items()}
    torch.save({"state_dict": state | {f"module.{head}.weight": torch.zeros(1000, 2)}}, tmp_path / "w.pth")
    loaded = load_weights(target, tmp_path / "w.pth")
    assert same(source, target)
    assert loaded.left_out == (f"module.{head}.weight",)


VIT = dict(name="vit_tiny_patch16_224", depth=1, embed_dim=12, num_heads=2)


def test_position_embeddings_are_resized(tmp_path: Path) -> None:
    """From 64 px (4 x 4 places) to 96 (6 x 6); a plane stays one, away from the borders, and the class token as it is."""
    source = TimmBackbone(**VIT, img_size=64).network
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    plane = (rows + 10 * columns).flatten()[:, None].expand(16, 12)
    with torch.no_grad():
        source.pos_embed[0, 1:] = plane
    torch.save(source.state_dict(), tmp_path / "vit.pth")
    target = TimmBackbone(**VIT, img_size=96, weights=str(tmp_path / "vit.pth"))
    assert target.loaded.resized == ("pos_embed",)
    assert target.loaded.as_dict()["resized"] == ["pos_embed"]
    assert "resized to the network's number of places: pos_embed" in str(target.loaded)
    found = target.network.pos_embed.detach()
    assert torch.equal(found[:, 0], source.pos_embed[:, 0])
    centres = (torch.arange(6.0) + 0.5) * 4 / 6 - 0.5
    expected = centres[2:4, None] + 10 * centres[None, 2:4]
    assert torch.allclose(found[0, 1:, 0].view(6, 6)[2:4, 2:4], expected, atol=0.2)
    same_size = TimmBackbone(**VIT, img_size=64, weights=str(tmp_path / "vit.pth"))
    assert same_size.loaded.resized == ()
    assert "resized" not in same_size.loaded.as_dict()


def test_position_embeddings_of_no_square_are_a_misfit(tmp_path: Path) -> None:
    source = TimmBackbone(**VIT, img_size=(64, 112)).network
    torch.save(source.state_dict(), tmp_path / "vit.pth")
    with pytest.raises(UserError, match="of another shape: pos_embed"):
        TimmBackbone(**VIT, img_size=64, weights=str(tmp_path / "vit.pth"))
