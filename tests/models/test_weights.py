"""Weight files: verified, loaded whole or not at all, and stated."""

from __future__ import annotations

import argparse
import ast
import hashlib
import logging
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from ferbench.engine import checkpoint
from ferbench.errors import UserError
from ferbench.models import Classifier, IResNet, MMPretrainBackbone, TimmBackbone, load_weights
from ferbench.models.ssl import SSLModel
from ferbench.models.weights import start_from


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
    assert loaded.as_dict() == {"file": "source.pth", "sha256": sha256, "prefix": "", "loaded": 9, "kept": []}
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


def test_forgotten_prefix_is_found_and_stated(source: nn.Sequential, tmp_path: Path) -> None:
    torch.save({f"module.backbone.{n}": t for n, t in source.state_dict().items()}, tmp_path / "c.pth")
    target = network()
    assert load_weights(target, tmp_path / "c.pth").as_dict()["prefix"] == "module.backbone."
    assert same(source, target)


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


BACKBONES = {
    "timm": lambda **options: TimmBackbone("resnet10t", channels=(8, 8, 8, 8), **options),
    "iresnet": lambda **options: IResNet(18, embedding=8, size=16, **options),
    "mmpretrain": lambda **options: MMPretrainBackbone(dict(type="mmpretrain.ResNet", depth=18), **options),
}


def bare(backbone: nn.Module) -> nn.Module:
    return getattr(backbone, "network", backbone)


def advised(error: UserError) -> dict[str, object]:
    """The options that the message says to set."""
    assert error.fix is not None
    found = re.findall(r"(strip_prefix|allow_missing|ignore)=('[^']*'|\[[^\]]*\])", error.fix)
    return {name: ast.literal_eval(value) for name, value in found}


@pytest.mark.parametrize(("kind", "misfit"), [
    *(("timm", misfit) for misfit in ("a tensor less", "a tensor more", "a shape", "all at once")),
    ("iresnet", "all at once"), ("mmpretrain", "a prefix"), ("mmpretrain", "all at once"),
])  # fmt: skip
def test_what_the_message_advises_works_for_every_backbone(kind: str, misfit: str, tmp_path: Path) -> None:
    """Files of any names, tensors and shapes near to the network's: the options named are taken, and the file loads."""
    source = bare(BACKBONES[kind]()).state_dict()
    names = [n for n in source if not n.endswith("num_batches_tracked")]
    state, given = dict(source), {"strip_prefix": ""} if kind == "mmpretrain" else {}
    if misfit in ("a tensor less", "all at once"):
        del state[names[0]]
    if misfit in ("a tensor more", "all at once"):
        state["extra.bias"] = torch.zeros(2)
    if misfit in ("a shape", "all at once"):
        state[names[-1]] = torch.zeros(3, 3)
    if misfit == "a prefix":
        state = {f"module.{n}": t for n, t in state.items()}
        given = {"strip_prefix": "backbone."}
    torch.save(state, tmp_path / "w.pth")
    file = str(tmp_path / "w.pth")
    with pytest.raises(UserError) as error:
        BACKBONES[kind](weights=file, **given)
    given |= advised(error.value)
    backbone = BACKBONES[kind](weights=file, **given)
    reshaped = {names[-1]} if misfit in ("a shape", "all at once") else set()
    absent = {n for n in source if f"{given.get('strip_prefix', '')}{n}" not in state}
    kept = set(backbone.loaded.kept)
    assert kept == absent | reshaped
    loaded = bare(backbone).state_dict()
    assert all(torch.equal(loaded[n], source[n]) for n in source if n not in kept)


@pytest.mark.parametrize("save", ["zip", "legacy"])
def test_every_cut_of_a_file_is_one_message(source: nn.Sequential, tmp_path: Path, save: str) -> None:
    file = tmp_path / "w.pth"
    torch.save({"state_dict": source.state_dict()}, file, _use_new_zipfile_serialization=save == "zip")
    whole = file.read_bytes()
    for size in range(0, len(whole), max(1, len(whole) // 150)):
        file.write_bytes(whole[:size])
        with pytest.raises(UserError) as error:
            load_weights(network(), file)
        assert "weights_only" not in str(error.value)


@pytest.mark.parametrize(("content", "says"), [
    ({0: torch.zeros(2), 1: torch.zeros(3)}, "0: Tensor, 1: Tensor"),
    ({"net": {"encoder": {"w": torch.zeros(2)}}}, "'net': dict"),
    ({"w": [torch.zeros(2), torch.zeros(3)]}, "'w': list"),
    ({"state_dict": {("a", 0): torch.zeros(2)}}, "no named tensors"),
    ({"state_dict": []}, "no named tensors"), ({}, "but nothing"), (None, "a NoneType"), (torch.zeros(3), "a Tensor"),
    ({"x" * 100_000: 3}, "100,000 characters"),
])  # fmt: skip
def test_what_is_no_state_dict(content: object, says: str, tmp_path: Path) -> None:
    """Integer and other keys, tensors in lists or deeper dicts, nothing: what is there instead is said."""
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match=re.escape(says)) as error:
        load_weights(network(), tmp_path / "w.pth")
    assert len(str(error.value)) < 900
    assert "torch.save(network.state_dict(), path)" in error.value.fix


@pytest.mark.parametrize("tensor", [
    torch.zeros(5, 4, dtype=torch.complex64), torch.zeros(5, 4, dtype=torch.int32), torch.zeros(5, 4).to_sparse(),
])  # fmt: skip
def test_tensors_of_another_kind_do_not_fit(
    tensor: torch.Tensor, source: nn.Sequential, tmp_path: Path
) -> None:
    torch.save({**source.state_dict(), "0.weight": tensor}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="of another shape"):
        load_weights(network(), tmp_path / "w.pth")


def test_half_precision_is_taken(source: nn.Sequential, tmp_path: Path) -> None:
    torch.save(
        {n: t.half() if t.is_floating_point() else t for n, t in source.state_dict().items()},
        tmp_path / "w.pth",
    )
    assert load_weights(network(), tmp_path / "w.pth").loaded == 9


def test_hostile_pickles_are_refused_without_advice_to_load_them(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return Path.mkdir, (tmp_path / "evil",)

    torch.save({"state_dict": {"0.weight": Evil()}}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="could run code when read") as error:
        load_weights(network(), tmp_path / "w.pth")
    assert "weights_only" not in str(error.value)
    assert not (tmp_path / "evil").exists()


def test_one_name_is_no_list_of_letters(path: Path) -> None:
    """``allow_missing='2.'`` means names that begin with ``2.``, not with ``2`` or ``.``."""
    target = network(outputs=8)
    assert load_weights(target, path, allow_missing="2.").kept == ("2.weight", "2.bias")
    with pytest.raises(UserError, match="not those of this"):
        load_weights(target, path, allow_missing="x2.")


def test_a_hash_that_is_no_text(path: Path) -> None:
    with pytest.raises(UserError, match="write it in quotes"):
        load_weights(network(), path, sha256=12345678)  # type: ignore[arg-type] # as --cfg-options may give it


class TestCheckpointOfFerbench:
    """As initial weights: of other classes, of the same, of another backbone, with other parts around it."""

    @staticmethod
    def model(kind: str, classes: int, seed: int, **options: object) -> SSLModel:
        torch.manual_seed(seed)
        return SSLModel(
            BACKBONES[kind](**options), dict(type="FixMatch"), dict(size=16), classes, channels_last=False
        )

    @pytest.fixture
    def made(self, tmp_path: Path):
        def made(kind: str) -> tuple[SSLModel, Path]:
            trained = self.model(kind, 4, seed=1)
            for tensor in trained.ema_network.parameters():
                tensor.add_(0.25)  # unlike the raw weights
            content = {
                "meta": {"classes": list("abcd")},
                "iter": 5,
                "model": trained.state_dict(),
                "hooks": {},
            }
            checkpoint.save(content, tmp_path / "best_ema.pth")
            return trained, tmp_path / "best_ema.pth"

        return made

    @pytest.mark.parametrize("kind", BACKBONES)
    def test_as_weights_of_a_backbone(self, kind: str, made) -> None:
        trained, file = made(kind)
        model = self.model(kind, 3, seed=2, weights=str(file))
        assert same(trained.ema_network.backbone, model.network.backbone)
        assert same(trained.ema_network.backbone, model.ema_network.backbone)
        found = model.network.initial_weights
        assert found["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert found["prefix"].startswith("ema_network.backbone.")
        raw = self.model(kind, 3, seed=2, weights=str(file), strip_prefix="network.backbone.")
        assert same(trained.network.backbone, raw.network.backbone)
        assert raw.network.initial_weights["prefix"].startswith("network.backbone.")

    def test_as_start_of_a_model(self, made, caplog: pytest.LogCaptureFixture) -> None:
        kind = "timm"
        trained, file = made(kind)
        other, alike = self.model(kind, 3, seed=2), self.model(kind, 4, seed=2)
        before = {n: t.clone() for n, t in other.network.head.state_dict().items()}
        with caplog.at_level(logging.INFO, logger="ferbench"):
            loaded = start_from(other, file, ("a", "b", "c"))
        assert same(trained.ema_network.backbone, other.network.backbone)
        assert same(other.network, other.ema_network)
        assert all(torch.equal(t, before[n]) for n, t in other.network.head.state_dict().items())
        assert set(loaded.kept) == {"head.fc.weight", "head.fc.bias"}
        assert "as initialised: head.fc.weight, head.fc.bias" in caplog.text
        assert other.network.initial_weights == loaded.as_dict()
        for classes, head in ((tuple("abcd"), True), (tuple("dcba"), False), ((), False)):
            alike = self.model(kind, 4, seed=2)
            start_from(alike, file, classes)
            assert same(trained.ema_network.head, alike.network.head) is head

    def test_another_backbone_is_named(self, made) -> None:
        _, file = made("timm")
        with pytest.raises(UserError, match="not those of this"):
            self.model("iresnet", 3, seed=2, weights=str(file))

    def test_a_plain_file_as_start(self, made, tmp_path: Path) -> None:
        trained, _ = made("timm")
        state = trained.network.backbone.state_dict()
        for prefix in ("", "backbone.", "module."):
            torch.save({"state_dict": {f"{prefix}{n}": t for n, t in state.items()}}, tmp_path / "w.pth")
            model = self.model("timm", 3, seed=2)
            start_from(model, tmp_path / "w.pth")
            assert same(trained.network.backbone, model.ema_network.backbone)
