"""dlib's face-recognition network, whose weights are in the public domain."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ferbench.errors import UserError
from ferbench.models.dlib_file import EMBEDDING
from ferbench.models.weights import LoadedWeights, load_weights
from ferbench.registry import MODELS

SMALLEST = 71  # px; below it, nothing is left of the image before the last block
_STEM = 32
#: Channels, blocks, and whether the first of them halves the map.
_STAGES = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))


class _Block(nn.Module):
    """conv - BN - ReLU - conv - BN, plus the input; then ReLU.

    A block that halves the map has no padding in its first convolution, and averages its input over 2 x 2 places.
    """

    def __init__(self, inputs: int, outputs: int, halves: bool):
        super().__init__()
        self.halves = halves
        stride, padding = (2, 0) if halves else (1, 1)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = F.avg_pool2d(x, 2) if self.halves else x
        if self.halves and x.shape[-1] < 3:  # images of less than 103 px, before the last block
            x = _padded(x, x.shape[1], 3)
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        channels, side = max(x.shape[1], shortcut.shape[1]), max(x.shape[-1], shortcut.shape[-1])
        return F.relu(_padded(x, channels, side) + _padded(shortcut, channels, side))


def _padded(x: Tensor, channels: int, side: int) -> Tensor:
    """``x`` with zeros as further channels, at the bottom and on the right."""
    missing = (0, side - x.shape[3], 0, side - x.shape[2], 0, channels - x.shape[1])
    return F.pad(x, missing) if any(missing) else x


@MODELS.register_module()
class DlibResNet(nn.Module):
    """Face network of dlib: 29 convolutions, 5.6 million parameters; the features are the 256 pooled values.

    A ResNet (He et al., CVPR 2016, arXiv 1512.03385) of 34 layers with fewer of them and half the channels, by Davis King
    (2017). ``dlib-face-v1`` was trained for the identity of about 3 million faces of 7,485 people; those of LFW are not
    among them.

    Args:
        weights: ``dlib-face-v1`` (``pip install 'ferbench[faces]'``), a file (dlib's ``.dat``, or one of `load_weights`), or
            None for random weights. Batch-norm, which is folded into dlib's weights, is put back; a run takes its
            statistics from its images before the first step (`ferbench.engine.batch_norm`).
        sha256, strip_prefix, allow_missing, ignore, channel_order: see `load_weights`.

    Attributes:
        num_features: 256.
        loaded: what came from `weights`, or None.

    Raises:
        UserError: weights that are not there or do not fit, or images of less than 71 px.

    Example:
        >>> import torch
        >>> DlibResNet()(torch.zeros(2, 3, 112, 112)).shape
        torch.Size([2, 256])
    """

    num_features = _STAGES[-1][0]

    def __init__(
        self,
        weights: str | None = None,
        sha256: str | None = None,
        strip_prefix: str = "",
        allow_missing: Sequence[str] = (),
        ignore: Sequence[str] = (),
        channel_order: str | None = None,
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(3, _STEM, 7, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(_STEM)
        blocks, inputs = [], _STEM
        for channels, count, halves in _STAGES:
            for i in range(count):
                blocks.append(_Block(inputs, channels, halves and i == 0))
                inputs = channels
        self.blocks = nn.Sequential(*blocks)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.loaded: LoadedWeights | None = None
        if weights is not None:
            ignore = [EMBEDDING, *ignore]
            self.loaded = load_weights(
                self, weights, sha256, strip_prefix, allow_missing, ignore, channel_order
            )

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, 256]."""
        if min(images.shape[-2:]) < SMALLEST:
            raise UserError(
                f"DlibResNet cannot take images of {images.shape[-2]} x {images.shape[-1]} px",
                where="model.preprocess.size",
                expected=f"at least {SMALLEST} px; it was trained at 150, and 112 costs little",
            )
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(images))), 3, stride=2)
        return self.blocks(x).mean(dim=(2, 3))
