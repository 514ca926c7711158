"""From an image to the network's input: one object for training, evaluation, inference and export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ferbench.data.augment.geometric import resize
from ferbench.errors import UserError

#: ImageNet's colour statistics on the 0..255 scale, RGB.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class Preprocess(nn.Module):
    """Scales an image to a square and normalises its colours; stored in the checkpoint (`as_dict`).

    Images stay uint8 until they are on the device: `prepare` runs where the image is decoded, `normalize` on
        the device.

    Args:
        size: S, side of the network's input in pixels.
        mean: per channel (RGB), on the 0..255 scale.
        std: per channel (RGB), on the 0..255 scale.

    Raises:
        UserError: a size below 1, not three numbers, or a std that is not positive.
    """

    _row_mean: Tensor
    _row_std: Tensor

    def __init__(self, size: int, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD):
        super().__init__()
        if size < 1 or len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise UserError(
                f"the preprocessing is size={size!r}, mean={list(mean)}, std={list(std)}",
                where="model.preprocess",
                expected="a size in pixels; three means and three positive stds (RGB, on the 0..255 scale)",
            )
        self.size = int(size)
        self.mean = tuple(float(m) for m in mean)
        self.std = tuple(float(s) for s in std)
        # One row of interleaved channels: the inner loop of `normalize` is then 3 S long instead of 3.
        self.register_buffer("_row_mean", torch.tensor(self.mean).repeat(self.size), persistent=False)
        self.register_buffer("_row_std", torch.tensor(self.std).repeat(self.size), persistent=False)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocess:
        """The inverse of `as_dict`."""
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """The arguments that make this object again, as plain types."""
        return {"size": self.size, "mean": list(self.mean), "std": list(self.std)}

    def contradictions(self, expected: Mapping[str, Any]) -> list[str]:
        """Where colours are not normalised as initial weights expect, in sentences.

        Another size is no contradiction but a choice.

        Args:
            expected: what `as_dict` would say, or a part of it.
        """
        return [
            f"model.preprocess.{key} is {own}, and the initial weights expect {list(expected[key])}"
            for key, own in (("mean", list(self.mean)), ("std", list(self.std)))
            if key in expected and not np.allclose(own, expected[key])
        ]

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """Scale uint8 RGB [H, W, 3] of any size to uint8 [S, S, 3] (the sides independently).

        Returns the same array if it has that size already.
        """
        return resize(image, self.size)

    def normalize(self, images: Tensor) -> Tensor:
        """``(x - mean) / std``: uint8 [B, S, S, 3] -> float32 [B, 3, S, S] in channels_last memory."""
        batch, size = images.shape[0], self.size
        rows = images.reshape(batch, size, 3 * size).float()
        rows.sub_(self._row_mean).div_(self._row_std)
        return rows.view(batch, size, size, 3).permute(0, 3, 1, 2)

    def extra_repr(self) -> str:
        """The arguments, for printing."""
        return f"size={self.size}, mean={self.mean}, std={self.std}"
