"""The face recognition network of ArcFace, whose published weights are a good start for expressions.

"Improved residual" blocks as in ArcFace (Deng et al., CVPR 2019, arXiv 1801.07698, section 2.2.2 and
appendix): batch-norm first, PReLU instead of ReLU, the stride in the second convolution, and an embedding
made of the unpooled 7x7 map. Parameter names are those of InsightFace's PyTorch networks, so that their state
dicts load as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ferbench.errors import UserError
from ferbench.models.weights import LoadedWeights, load_weights
from ferbench.registry import MODELS

_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}
_WIDTHS = (64, 128, 256, 512)
_STRIDE = 16


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


class _Block(nn.Module):
    """BN - conv - BN - PReLU - conv (strided) - BN, plus the input."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = _convolution(inputs, outputs, 3)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = _convolution(outputs, outputs, 3, stride)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(_convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        out = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        out = self.bn3(self.conv2(out))
        return out + (x if self.downsample is None else self.downsample(x))


@MODELS.register_module()
class IResNet(nn.Module):
    """Face network of InsightFace (``iresnet18/34/50/100``).

    Its published weights expect aligned RGB faces of 112 px scaled to [-1, 1]: ``preprocess=dict(size=112,
    mean=[127.5] * 3, std=[127.5] * 3)``.

    Args:
        depth: 18, 34, 50 or 100.
        embedding: D, length of the embedding.
        dropout: before the embedding layer.
        size: side of the images in pixels. The embedding layer sees the unpooled map of ``ceil(size / 16)``
            squared places, so it fits one size only.
        weights: local file of weights, or None for random ones. Files are made for 112 px; for another size
            add ``allow_missing=['fc.', 'features.']``, and the embedding layer starts from random weights.
        sha256, strip_prefix, allow_missing, ignore, channel_order: see `load_weights`.

    Attributes:
        num_features: D.
        loaded: what came from `weights`, or None.

    Raises:
        UserError: another depth, weights that do not fit, or images of another size.
    """

    def __init__(
        self,
        depth: int,
        embedding: int = 512,
        dropout: float = 0.0,
        size: int = 112,
        weights: str | None = None,
        sha256: str | None = None,
        allow_missing: Sequence[str] = (),
        strip_prefix: str = "",
        ignore: Sequence[str] = (),
        channel_order: str | None = None,
    ):
        super().__init__()
        if depth not in _BLOCKS:
            raise UserError(
                f"there is no IResNet of depth {depth}",
                where="model.backbone.depth",
                expected=f"one of {list(_BLOCKS)}",
            )
        self.num_features = embedding
        self.size = size
        self.conv1 = _convolution(3, _WIDTHS[0], 3)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.prelu = nn.PReLU(_WIDTHS[0])
        inputs = (_WIDTHS[0], *_WIDTHS[:-1])
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(_Block(i, w, stride=2), *(_Block(w, w, stride=1) for _ in range(count - 1)))
            for i, w, count in zip(inputs, _WIDTHS, _BLOCKS[depth], strict=True)
        )
        self.bn2 = nn.BatchNorm2d(_WIDTHS[-1])
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(_WIDTHS[-1] * _side(size) ** 2, embedding)
        self.features = nn.BatchNorm1d(embedding)
        self.features.weight.requires_grad_(False)  # ArcFace fixes the embedding's scale
        self._initialise()
        self.loaded: LoadedWeights | None = None
        if weights is not None:
            self.loaded = load_weights(
                self, weights, sha256, strip_prefix, allow_missing, ignore, channel_order
            )

    def _initialise(self) -> None:
        """Start each block as its shortcut (Goyal et al., arXiv 1706.02677, section 5.1).

        InsightFace draws convolutions with std 0.1, whose scale batch-norm hides in training; but evaluation,
        and with it the averaged model, would see outputs of 1e5 and more until the running statistics have
        settled.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=0.25, mode="fan_out", nonlinearity="leaky_relu")
            elif isinstance(module, _Block):
                nn.init.zeros_(module.bn3.weight)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, size, size] -> [B, embedding]."""
        height, width = images.shape[-2:]
        if (height, width) != (self.size, self.size):
            raise UserError(
                f"IResNet was built for {self.size} px and got images of {height} x {width} px",
                where="model.backbone.size",
                expected="the size of model.preprocess",
            )
        x = self.prelu(self.bn1(self.conv1(images)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = self.dropout(torch.flatten(self.bn2(x), 1))
        return self.features(self.fc(x))


def _side(size: int) -> int:
    """Side of the last feature map: four convolutions halve the side, rounding up."""
    return -(-size // _STRIDE)
