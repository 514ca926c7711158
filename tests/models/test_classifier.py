"""Classifier, heads and the two libraries' backbones."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from ferbench.errors import UserError
from ferbench.models import Classifier, LinearHead, MMPretrainBackbone, ProjectionHead, TimmBackbone
from ferbench.registry import MODELS

BATCH_NORMS = nn.modules.batchnorm._BatchNorm


class Pooled(nn.Module):
    """The smallest backbone: the mean colour."""

    num_features = 3

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(2, 3))


def test_nested_configs_build_and_run_in_channels_last() -> None:
    model = MODELS.build(
        dict(
            type="Classifier",
            backbone=dict(type="TimmBackbone", name="resnet18"),
            head=dict(type="LinearHead"),
            num_classes=8,
        )
    ).to(memory_format=torch.channels_last)
    output = model(torch.rand(2, 3, 48, 48).to(memory_format=torch.channels_last))
    assert output.logits.shape == (2, 8)
    assert output.features.shape == (2, 512)
    assert model.initial_weights is None


def test_modules_are_taken_as_they_are() -> None:
    backbone, head = Pooled(), LinearHead(3, 5)
    model = Classifier(backbone, head)
    images = torch.rand(4, 3, 6, 6)
    assert model.backbone is backbone
    expected = images.mean(dim=(2, 3)) @ head.fc.weight.t() + head.fc.bias
    torch.testing.assert_close(model(images).logits, expected)


def test_head_for_another_number_of_classes_is_named() -> None:
    with pytest.raises(UserError, match="the head is to have 7 classes, the classifier 8"):
        Classifier(Pooled(), dict(type="LinearHead", num_classes=7), num_classes=8)


@pytest.mark.parametrize(
    ("backbone", "head", "key"),
    [
        (dict(type="IResNet", name="resnet50"), dict(type="LinearHead"), "model.backbone.name"),
        (dict(type="TimmBackbone"), dict(type="LinearHead"), "model.backbone"),
        (Pooled(), dict(type="LinearHead", depth=50), "model.head.depth"),
    ],
)
def test_parameters_of_another_type_are_named(backbone, head, key) -> None:
    """A traceback before: the type was changed and the parameters of the old one were left."""
    with pytest.raises(UserError) as caught:
        Classifier(backbone, head, num_classes=8)
    assert caught.value.where == key


def test_backbone_without_num_features_is_named() -> None:
    with pytest.raises(UserError, match="Identity does not say how many features"):
        Classifier(nn.Identity(), dict(type="LinearHead"), num_classes=8)


def test_unpooled_features_are_named() -> None:
    backbone = nn.Identity()
    backbone.num_features = 3  # type: ignore[assignment]
    with pytest.raises(UserError, match=r"Identity made of 2 images: torch.float32 of shape \(2, 3, 4, 4\)"):
        Classifier(backbone, dict(type="LinearHead"), num_classes=8)(torch.rand(2, 3, 4, 4))


@pytest.mark.parametrize(
    ("features", "says"),
    [
        (None, "NoneType"),
        ((torch.ones(2, 3),), "tuple"),
        (torch.ones(1, 3), r"\(1, 3\)"),
        (torch.ones(2, 3, 1), r"\(2, 3, 1\)"),
    ],
)
def test_features_of_another_kind_are_named(features, says) -> None:
    """Networks of other libraries return tuples; one that forgets the batch, or the return, is met at the first pass."""
    backbone = Pooled()
    backbone.forward = lambda images: features
    with pytest.raises(UserError, match=rf"Pooled made of 2 images: .*{says}") as error:
        Classifier(backbone, dict(type="LinearHead"), num_classes=2)(torch.rand(2, 3, 8, 8))
    assert error.value.where == "model.backbone"


def test_normalized_head_returns_unit_features_that_made_the_logits() -> None:
    head = LinearHead(6, 4, normalize=True).eval()
    features = torch.randn(5, 6)
    logits, normalized, _ = head(features)
    torch.testing.assert_close(normalized, features / features.norm(dim=1, keepdim=True))
    torch.testing.assert_close(logits, normalized @ head.fc.weight.t() + head.fc.bias)


def test_projection_head_by_hand() -> None:
    head = ProjectionHead(2, dim=2, hidden=2)
    first, _, second = head.layers
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
        second.weight.copy_(torch.tensor([[3.0, 0.0], [4.0, 1.0]]))
        for layer in (first, second):
            layer.bias.zero_()
    # (1, 2) -> relu (1, 0) -> (3, 4) -> (.6, .8); (0, -5) -> (0, 5) -> (0, 5) -> (0, 1)
    out = head(torch.tensor([[1.0, 2.0], [0.0, -5.0]]))
    torch.testing.assert_close(out, torch.tensor([[0.6, 0.8], [0.0, 1.0]]))
    assert ProjectionHead(7).layers[0].out_features == 7
    with torch.autocast("cpu", torch.bfloat16):
        assert ProjectionHead(7)(torch.randn(3, 7)).dtype == torch.float32


def test_dropout_acts_in_training_only() -> None:
    head = LinearHead(1000, 2, dropout=0.5)
    features = torch.ones(1, 1000)
    dropped = (head(features).features == 0).float().mean()
    assert 0.3 < dropped < 0.7
    assert torch.equal(head.eval()(features).features, features)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet18", {"norm_layer": "groupnorm"}),
        ("mobilenetv3_small_050", {}),  # its features are wider than its last feature map
        ("vit_tiny_patch16_224", {"img_size": 32}),
    ],
)
def test_timm_backbone_says_how_wide_its_features_are(name: str, arguments: dict) -> None:
    backbone = TimmBackbone(name, **arguments).eval()
    assert backbone(torch.rand(1, 3, 32, 32)).shape == (1, backbone.num_features)


def test_group_norm_leaves_no_batch_norm_so_a_batch_can_be_split() -> None:
    assert any(isinstance(m, BATCH_NORMS) for m in TimmBackbone("resnet18").modules())
    backbone = TimmBackbone("resnet18", norm_layer="groupnorm").train()
    assert not any(isinstance(m, BATCH_NORMS) for m in backbone.modules())
    images = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        halves = torch.cat([backbone(images[:2]), backbone(images[2:])])
        torch.testing.assert_close(backbone(images), halves)


def test_timm_takes_grey_images() -> None:
    backbone = TimmBackbone("resnet18", in_channels=1).eval()
    assert backbone(torch.rand(1, 1, 32, 32)).shape == (1, 512)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet81"}, "no network named 'resnet81'"),
        ({"name": "hf-hub:timm/resnet18.a1_in1k"}, "no network named"),
        ({"name": "resnet18", "pretrained": True}, "nothing is downloaded"),
        ({"name": "resnet18", "depth": 3}, "unexpected keyword argument 'depth'"),
        (
            {"name": "mobilenetv3_small_050", "norm_layer": "groupnorm"},
            "cannot build 'mobilenetv3_small_050'",
        ),
    ],
)
def test_timm_mistakes_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        TimmBackbone(**arguments)


def test_mmpretrain_backbone_pools_the_last_map() -> None:
    backbone = MMPretrainBackbone(dict(type="mmpretrain.ResNet", depth=18)).eval()
    images = torch.rand(2, 3, 48, 48)
    with torch.no_grad():
        expected = backbone.network(images)[-1].mean(dim=(2, 3))
        torch.testing.assert_close(backbone(images), expected)
    assert backbone.num_features == 512
    assert backbone.train().network.training


def test_mmpretrain_backbone_within_a_run() -> None:
    """A run sets the default scope to ferbench, which has no ResNet of its own."""
    from mmengine.registry import DefaultScope

    DefaultScope.get_instance("a run", scope_name="ferbench")
    backbone = MMPretrainBackbone(dict(type="mmpretrain.ResNet", depth=18))
    assert backbone.num_features == 512


def test_mmpretrain_transformer_and_its_size() -> None:
    config = dict(type="mmpretrain.VisionTransformer", arch="deit-tiny", img_size=32)
    backbone = MMPretrainBackbone(config).eval()
    assert backbone(torch.rand(1, 3, 32, 32)).shape == (1, backbone.num_features) == (1, 192)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "mmpretrain.ResNett"}, "no backbone named 'mmpretrain.ResNett'"),
        ({"type": "ResNet", "depth": 19}, "cannot build 'ResNet'"),
        (
            {"type": "ResNet", "depth": 18, "init_cfg": {"type": "Pretrained", "checkpoint": "x"}},
            "may download",
        ),
        (
            {"type": "SwinTransformer", "arch": "tiny", "img_size": 112},
            "cannot take an image of 112 x 112 px",
        ),
    ],
)
def test_mmpretrain_mistakes_are_named(config: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        MMPretrainBackbone(config)


def test_mmpretrain_is_not_imported_before_it_is_used() -> None:
    code = "import sys, ferbench.models; sys.exit('mmpretrain' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
