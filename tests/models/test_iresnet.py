"""The face network: sizes by own arithmetic, and InsightFace's names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ferbench.errors import UserError
from ferbench.models import IResNet

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}


def parameters_by_hand(depth: int, embedding: int, places: int) -> int:
    total = 3 * 64 * 9 + 2 * 64 + 64  # stem: convolution, batch-norm, PReLU
    before = 64
    for width, count in zip((64, 128, 256, 512), BLOCKS[depth], strict=True):
        for block in range(count):
            inputs = before if block == 0 else width
            total += 2 * inputs + 9 * inputs * width + 2 * width + width + 9 * width * width + 2 * width
            if block == 0:
                total += inputs * width + 2 * width  # downsample
        before = width
    return total + 2 * 512 + (512 * places + 1) * embedding + 2 * embedding


# iresnet18, 50 and 100 are known as networks of 24.0, 43.6 and 65.2 million parameters
@pytest.mark.parametrize(("depth", "known"), [(18, 24.0), (34, 34.1), (50, 43.6), (100, 65.2)])
def test_number_of_parameters(depth: int, known: float) -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in IResNet(depth).parameters())
    assert count == parameters_by_hand(depth, 512, 49)
    assert round(count / 1e6, 1) == known


def insightface_names(depth: int) -> set[str]:
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = {"conv1.weight", "prelu.weight", "fc.weight", "fc.bias"}
    names |= {f"{part}.{n}" for part in ("bn1", "bn2", "features") for n in norm}
    for layer, count in enumerate(BLOCKS[depth], start=1):
        for block in range(count):
            at = f"layer{layer}.{block}"
            names |= {f"{at}.{n}.weight" for n in ("conv1", "conv2", "prelu")}
            names |= {f"{at}.{part}.{n}" for part in ("bn1", "bn2", "bn3") for n in norm}
            if block == 0:
                names |= {f"{at}.downsample.0.weight"} | {f"{at}.downsample.1.{n}" for n in norm}
    return names


def test_names_are_insightfaces() -> None:
    with torch.device("meta"):
        assert set(IResNet(50).state_dict()) == insightface_names(50)


@pytest.mark.parametrize(("size", "places"), [(112, 49), (64, 16), (96, 36), (100, 49)])
def test_each_size_has_its_own_embedding_layer(size: int, places: int) -> None:
    network = IResNet(18, embedding=8, size=size).eval()
    assert network.fc.in_features == 512 * places
    assert network(torch.rand(1, 3, size, size)).shape == (1, 8)


def test_memory_format_does_not_change_the_result() -> None:
    network = IResNet(18, embedding=16, size=32).double().eval()
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        expected = network(images)
        network = network.to(memory_format=torch.channels_last)
        result = network(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(result, expected)


def test_round_trip_through_a_file(tmp_path: Path) -> None:
    first = IResNet(18, embedding=16, size=32)
    first(torch.rand(4, 3, 32, 32))  # moves the running statistics away from their start
    torch.save(first.state_dict(), tmp_path / "face.pth")
    second = IResNet(18, embedding=16, size=32, weights=str(tmp_path / "face.pth"))
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(first.eval()(images), second.eval()(images))
    assert second.loaded is not None
    assert not second.loaded.kept


def test_file_for_another_size_says_so_and_loads_on_request(tmp_path: Path) -> None:
    path = tmp_path / "face.pth"
    source = IResNet(18, embedding=16, size=32)
    torch.save(source.state_dict(), path)
    with pytest.raises(UserError, match=r"fc.weight \[16, 2048\] instead of \[16, 4608\]"):
        IResNet(18, embedding=16, size=48, weights=str(path))
    network = IResNet(18, embedding=16, size=48, weights=str(path), allow_missing=["fc."])
    assert network.loaded is not None
    assert network.loaded.kept == ("fc.weight",)
    assert torch.equal(network.layer4[1].conv2.weight, source.layer4[1].conv2.weight)


def test_fresh_network_is_sane_before_its_statistics_have_settled() -> None:
    with torch.no_grad():
        assert IResNet(100, embedding=16, size=32).eval()(torch.randn(4, 3, 32, 32)).abs().max() < 100


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="no IResNet of depth 20"):
        IResNet(20)
    with pytest.raises(UserError, match="built for 32 px and got images of 48 x 48 px"):
        IResNet(18, embedding=8, size=32)(torch.rand(2, 3, 48, 48))


def test_training_moves_the_weights_but_not_the_embedding_scale() -> None:
    network = IResNet(18, embedding=8, size=32)
    network(torch.rand(2, 3, 32, 32)).square().sum().backward()
    assert network.features.weight.grad is None
    assert network.conv1.weight.grad is not None
    assert bool(network.conv1.weight.grad.abs().sum() > 0)
    last = network.layer4[1].bn3.weight.grad
    assert last is not None
    assert bool(last.abs().sum() > 0)  # blocks that start as shortcuts do learn
