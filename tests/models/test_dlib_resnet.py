"""dlib's network: its file is read, batch-norm is put back, and what it computes is what dlib's layers compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dlib_writer import END, integers, name, random_layers, tensor, whole
from torch import Tensor

from ferbench.errors import UserError
from ferbench.models import DlibResNet
from ferbench.models.batch_norm import recalibrate
from ferbench.models.dlib_file import read_dlib
from ferbench.models.dlib_resnet import SMALLEST


@pytest.fixture(scope="module")
def layers():
    return random_layers()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, layers) -> Path:
    path = tmp_path_factory.mktemp("dlib") / "faces.dat"
    embedding = np.arange(256 * 128, dtype=np.float32).reshape(256, 128)
    path.write_bytes(whole(layers, embedding))
    return path


def as_dlib(layers, x: Tensor) -> Tensor:
    """The network as dlib runs it: affine layers, no batch-norm, sums padded with zeros."""

    def convolved(x: Tensor, i: int, stride: int, padding: int) -> Tensor:
        filters, biases, gain, shift = map(torch.from_numpy, layers[i])
        x = F.conv2d(x, filters, biases, stride, padding)
        return x * gain[:, None, None] + shift[:, None, None]

    x = F.max_pool2d(convolved(x, 0, 2, 0).relu(), 3, 2)
    for block in range(14):
        halves = block in (3, 7, 10, 13)
        y = convolved(x, 2 * block + 1, *((2, 0) if halves else (1, 1))).relu()
        y = convolved(y, 2 * block + 2, 1, 1)
        if halves:
            x = F.avg_pool2d(x, 2)
        total = x.new_zeros(len(x), *(max(a, b) for a, b in zip(x.shape[1:], y.shape[1:], strict=True)))
        for part in (x, y):
            total[:, : part.shape[1], : part.shape[2], : part.shape[3]] += part
        x = total.relu()
    return x.mean((2, 3))


@pytest.mark.parametrize("size", [112, 150])
def test_it_computes_what_dlib_computes(file: Path, layers, size: int) -> None:
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)) - 0.5
    network = DlibResNet(weights=str(file)).eval()
    with torch.no_grad():
        expected, found = as_dlib(layers, images), network(images)
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
        recalibrate(network, images.flip(2) * 0.7)
        assert (network(images) - expected).abs().max() < 1e-5 * expected.abs().max()


def test_it_is_the_network_that_is_said(file: Path) -> None:
    network = DlibResNet(weights=str(file))
    assert sum(isinstance(m, torch.nn.Conv2d) for m in network.modules()) == 29
    assert sum(p.numel() for p in network.parameters()) == 5_571_168 + 2 * 3_552  # filters, and batch-norm
    assert network.loaded.folded
    assert network.loaded.loaded == len(network.state_dict())
    embedding = read_dlib(file)["embedding"]
    assert embedding.shape == (128, 256)
    assert embedding[5, 7] == 7 * 128 + 5


def test_filters_have_the_size_of_kaiming_initialisation(file: Path) -> None:
    filters = DlibResNet(weights=str(file)).blocks[4].conv2.weight
    assert filters.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5)


def test_batch_norm_has_the_statistics_of_the_images(file: Path) -> None:
    network = DlibResNet(weights=str(file))
    images = torch.rand(8, 3, 80, 80, generator=torch.Generator().manual_seed(1))
    recalibrate(network, images)
    assert network.training
    seen = F.conv2d(images, network.conv1.weight, stride=2).double()
    assert torch.allclose(network.bn1.running_mean.double(), seen.mean((0, 2, 3)), atol=1e-6)
    assert torch.allclose(network.bn1.running_var.double(), seen.var((0, 2, 3)), rtol=1e-5)
    with torch.no_grad():  # in training mode the batch normalises, by about the same numbers
        evaluated, trained = network.eval()(images), network.train()(images)
    assert F.cosine_similarity(evaluated, trained).min() > 0.999


@pytest.mark.parametrize("size", [SMALLEST, 96, 102, 103])
def test_small_images_work_down_to_a_size(size: int) -> None:
    network = DlibResNet().eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 3, size, size)).shape == (1, 256)
        with pytest.raises(UserError, match="at least 71 px"):
            network(torch.zeros(1, 3, SMALLEST - 1, SMALLEST - 1))


SMALL = [(3, 32, 7), (32, 32, 3), (32, 32, 5)]


def test_what_is_no_such_file(tmp_path: Path) -> None:
    content = whole(random_layers(shapes=SMALL), np.zeros((256, 128), np.float32))
    first = content.index(b"con_4")
    bad = {
        "nothing": b"",
        "another head": b"\x01\x01\x01\x01\x01\x07softmax" + content[20:],
        "no layers": content[: first - 1],
        "cut in a tensor": content[:5000],
        "cut at the end": content[:-7],
        "more at the end": content + b"\x01",
        "another layer": content[: first - 1] + name("bn_con2") + content[first + 5 :],
        "a name without end": content[: first - 1] + integers(-100_000) + content[first:],
        "no integer": content[: first - 1] + b"\x00" * 50,
        "a tensor of the whole memory": content[: first + 5] + integers(2, 1 << 40, 1, 1, 1),
        "other layers": content[: first - 1] + name("relu_") + END + integers(1) + name("fc_2") + integers(128, 256)
        + tensor(np.zeros(2), 1, 2, 1, 1) + integers(*range(19)) + END,
    }  # fmt: skip
    for what, text in bad.items():
        path = tmp_path / "x.dat"
        path.write_bytes(text)
        with pytest.raises(UserError, match="is not dlib's face network"):
            read_dlib(path)
        assert what


def test_shapes_of_another_network(tmp_path: Path) -> None:
    (tmp_path / "x.dat").write_bytes(whole(random_layers(shapes=SMALL), np.zeros((256, 128), np.float32)))
    with pytest.raises(UserError, match="not those of this DlibResNet"):
        DlibResNet(weights=str(tmp_path / "x.dat"))


def test_the_package_is_found_and_not_imported(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "face_recognition_models"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('no pkg_resources')")
    target = package / "models" / "dlib_face_recognition_resnet_model_v1.dat"
    target.write_bytes(file.read_bytes())
    with pytest.raises(UserError, match="the weight file has sha256") as error:
        DlibResNet(weights="dlib-face-v1")
    assert "55533b28a95800a5" in str(error.value)
    target.unlink()
    with pytest.raises(UserError, match="does not exist"):
        DlibResNet(weights="dlib-face-v1")


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'ferbench\[faces\]'"):
        DlibResNet(weights="dlib-face-v1")
