"""Weight files: verified, loaded whole or not at all, and stated."""

from __future__ import annotations

import argparse
import hashlib
import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from ferbench.errors import UserError
from ferbench.models import Classifier, MMPretrainBackbone, TimmBackbone, load_weights


def network(outputs: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, outputs))


def same(first: nn.Module, second: nn.Module) -> bool:
    others = second.state_dict()
    return all(torch.equal(t, others[n]) for n, t in first.state_dict().items())


@pytest.fixture
def source() -> nn.Sequential:
    return network()


@pytest.fixture
def path(tmp_path: Path, source: nn.Sequential) -> Path:
    torch.save(source.state_dict(), tmp_path / "source.pth")
    return tmp_path / "source.pth"


def test_load_returns_the_hash_and_logs(
    source: nn.Sequential, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = network()
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with caplog.at_level(logging.INFO, logger="ferbench"):
        loaded = load_weights(target, path, sha256=sha256)
    assert same(source, target)
    assert loaded.as_dict() == {"file": "source.pth", "sha256": sha256, "loaded": 9, "kept": []}
    assert "loaded 9 tensors" in caplog.text
    assert load_weights(target, path, sha256=sha256[:12]).sha256 == sha256


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_checkpoints_that_hold_a_state_dict(source: nn.Sequential, tmp_path: Path, key: str) -> None:
    torch.save({key: source.state_dict(), "epoch": 3, "meta": {"x": [1]}}, tmp_path / "c.pt")
    target = network()
    load_weights(target, tmp_path / "c.pt")
    assert same(source, target)


def test_safetensors(source: nn.Sequential, tmp_path: Path) -> None:
    files = pytest.importorskip("safetensors.torch")
    files.save_file(source.state_dict(), tmp_path / "s.safetensors")
    target = network()
    load_weights(target, tmp_path / "s.safetensors")
    assert same(source, target)
    (tmp_path / "s.safetensors").write_bytes(b"no such thing")
    with pytest.raises(UserError, match="cannot be read"):
        load_weights(target, tmp_path / "s.safetensors")


def test_prefix_is_stripped_and_the_rest_stated(source: nn.Sequential, tmp_path: Path) -> None:
    state = {f"backbone.{n}": t for n, t in source.state_dict().items()}
    torch.save({**state, "head.fc.weight": torch.zeros(2, 2)}, tmp_path / "c.pth")
    target = network()
    loaded = load_weights(target, tmp_path / "c.pth", strip_prefix="backbone.")
    assert same(source, target)
    assert loaded.left_out == ("head.fc.weight",)
    assert "in the file, not used: head.fc.weight" in str(loaded)


def test_forgotten_prefix_is_suggested(source: nn.Sequential, tmp_path: Path) -> None:
    torch.save({f"module.{n}": t for n, t in source.state_dict().items()}, tmp_path / "c.pth")
    with pytest.raises(UserError, match=r"set strip_prefix='module\.'"):
        load_weights(network(), tmp_path / "c.pth")


def test_prefix_that_nothing_has(path: Path) -> None:
    with pytest.raises(UserError, match=r"begins with 'backbone\.'"):
        load_weights(network(), path, strip_prefix="backbone.")


def test_missing_file_and_wrong_hash(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_weights(network(), tmp_path / "none.pth")
    with pytest.raises(UserError, match="the weight file has sha256"):
        load_weights(network(), path, sha256="0" * 64)
    with pytest.raises(UserError, match="at least 8 digits"):
        load_weights(network(), path, sha256="")


def test_another_architecture_lists_names_and_changes_nothing(path: Path) -> None:
    target = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3), nn.Linear(3, 3))
    before = {n: t.clone() for n, t in target.state_dict().items()}
    with pytest.raises(UserError) as error:
        load_weights(target, path)
    text = str(error.value)
    assert "0.weight [5, 4] instead of [6, 4]" in text
    assert "2 missing in the file: 3.weight, 3.bias" in text
    assert all(torch.equal(t, before[n]) for n, t in target.state_dict().items())


def test_unknown_tensors_are_listed(source: nn.Sequential, tmp_path: Path) -> None:
    torch.save({**source.state_dict(), "extra.bias": torch.zeros(1)}, tmp_path / "c.pth")
    with pytest.raises(UserError, match=r"1 unknown to the network: extra\.bias"):
        load_weights(network(), tmp_path / "c.pth")
    loaded = load_weights(network(), tmp_path / "c.pth", ignore=["extra."])
    assert loaded.left_out == ("extra.bias",)


def test_head_of_another_number_of_classes_stays_as_initialised_only_on_request(
    source: nn.Sequential, path: Path
) -> None:
    target = network(outputs=8)
    head = target[2].weight.clone()
    with pytest.raises(UserError, match=r"2\.weight \[3, 5\] instead of \[8, 5\]"):
        load_weights(target, path)
    loaded = load_weights(target, path, allow_missing=["2."])
    assert loaded.kept == ("2.weight", "2.bias")
    assert "not in the file in this shape" in str(loaded)
    assert torch.equal(target[2].weight, head)
    assert torch.equal(target[0].weight, source[0].weight)


def test_old_files_lack_the_batch_counter(source: nn.Sequential, tmp_path: Path) -> None:
    state = {n: t for n, t in source.state_dict().items() if not n.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pth")
    assert load_weights(network(), tmp_path / "old.pth").loaded == 8


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"<html>not found</html>"])
def test_files_that_are_no_weights(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(UserError, match="cannot be read"):
        load_weights(network(), tmp_path / "bad.pth")


def test_truncated_file(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match="cannot be read"):
        load_weights(network(), path)


def test_pickled_objects_are_refused_not_run(source: nn.Sequential, tmp_path: Path) -> None:
    torch.save({"state_dict": source.state_dict(), "args": argparse.Namespace(a=1)}, tmp_path / "p.pth")
    with pytest.raises(UserError, match="cannot be read"):
        load_weights(network(), tmp_path / "p.pth")


def test_file_without_tensors(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "l.pth")
    with pytest.raises(UserError, match="no named tensors"):
        load_weights(network(), tmp_path / "l.pth")


def test_timm_file_with_its_classifier(tmp_path: Path) -> None:
    full = TimmBackbone("resnet18").network
    state = {**full.state_dict(), "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    torch.save(state, tmp_path / "r18.pth")
    backbone = TimmBackbone("resnet18", weights=str(tmp_path / "r18.pth"))
    assert same(full, backbone.network)
    assert backbone.loaded is not None
    assert backbone.loaded.left_out == ("fc.weight", "fc.bias")
    model = Classifier(backbone, dict(type="LinearHead"), num_classes=8)
    assert model.initial_weights == backbone.loaded.as_dict()


def test_mmpretrain_checkpoint_with_its_head(tmp_path: Path) -> None:
    config = dict(type="mmpretrain.ResNet", depth=18)
    source = MMPretrainBackbone(config)
    state = {f"backbone.{n}": t for n, t in source.network.state_dict().items()}
    torch.save({"state_dict": {**state, "head.fc.bias": torch.zeros(9)}, "meta": {}}, tmp_path / "mm.pth")
    backbone = MMPretrainBackbone(config, weights=str(tmp_path / "mm.pth"))
    assert same(source, backbone)
