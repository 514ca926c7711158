"""A trained classifier that takes pictures: built from a checkpoint alone."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ferbench.config import load_config
from ferbench.core.parts import build
from ferbench.engine import checkpoint
from ferbench.errors import UserError
from ferbench.models.ssl import SSLModel
from ferbench.registry import MODELS

WEIGHTS = {"ema": "ema_network", "student": "network"}


class Predictor:
    """The classifier of a checkpoint, with its class names and its preprocessing.

    No data set is opened, and no file of initial weights: the checkpoint holds the config, and all weights. Plug-ins that the
    config names must be there.

    Args:
        path: ``last.pth``, ``best_ema.pth``, ... of a run.
        weights: ``ema`` (averaged) or ``student`` (as trained).
        device: where the network runs.

    Attributes:
        classes: names, in the order of the probabilities.
        model: the whole model; its algorithm has no state.

    Raises:
        UserError: no checkpoint, a damaged one, one of another version, or a plug-in that cannot be imported.

    Example (``faces`` are uint8 RGB arrays [H, W, 3] of any size)::

        predictor = Predictor("work_dirs/demo/best_ema.pth")
        probabilities = predictor(faces)                       # float32 [B, C]
        names = [predictor.classes[i] for i in probabilities.argmax(axis=1)]
    """

    def __init__(self, path: str | Path, weights: str = "ema", device: str | torch.device = "cpu"):
        if weights not in WEIGHTS:
            raise UserError(f"weights is {weights!r}", expected=" or ".join(WEIGHTS))
        content = checkpoint.load(path)
        self.classes: tuple[str, ...] = tuple(content["meta"]["classes"])
        self.weights = weights
        self.model = _model_of(content["meta"])
        checkpoint.load_networks(self.model, content["model"], path)
        self.model.eval().to(device)

    def __call__(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Class probabilities.

        Args:
            images: B images, uint8 RGB [H, W, 3], each of any size: they are scaled as in training.

        Returns:
            float32 [B, C]; rows sum to 1.

        Raises:
            UserError: an image of another kind.
        """
        for number, image in enumerate(images):
            if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (3,):
                raise UserError(
                    f"image {number} is {getattr(image, 'dtype', type(image).__name__)} {getattr(image, 'shape', '')}",
                    expected="a uint8 array [H, W, 3], RGB (OpenCV reads BGR: image[..., ::-1])",
                )
        if not len(images):
            return np.empty((0, len(self.classes)), np.float32)
        prepared = np.stack([self.model.preprocess.prepare(image) for image in images])
        device = next(self.model.parameters()).device
        return self.model.predict(torch.from_numpy(prepared).to(device), self.weights).cpu().numpy()


def _model_of(meta: dict[str, Any]) -> SSLModel:
    """The model of a checkpoint's config, with random weights."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "config.py")
        file.write_text(meta["config"], encoding="utf-8")
        config = load_config(file).model
    config.setdefault("type", "SSLModel")
    config.num_classes = len(meta["classes"])
    config.preprocess = meta["preprocess"]
    if config.backbone.get("weights") is not None:
        config.backbone.weights = None
    return build(MODELS, config, "model")
