"""Writes a file as dlib writes its face network: for tests of the reader, which must not depend on the real file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

#: Channels in, channels out, side of the filters, of each convolution.
SHAPES = [
    (3, 32, 7),
    *[(32, 32, 3)] * 6,
    (32, 64, 3), *[(64, 64, 3)] * 7,
    (64, 128, 3), *[(128, 128, 3)] * 5,
    (128, 256, 3), *[(256, 256, 3)] * 7,
]  # fmt: skip


class Layer(NamedTuple):
    """A convolution and the affine layer after it: ``y = gain * (conv + biases) + shift``."""

    filters: np.ndarray
    biases: np.ndarray
    gain: np.ndarray
    shift: np.ndarray


def random_layers(seed: int = 0, shapes: Sequence[tuple[int, int, int]] = SHAPES) -> list[Layer]:
    rng = np.random.default_rng(seed)
    return [
        Layer(
            rng.standard_normal((o, i, k, k), np.float32) * np.float32((2 / (i * k * k)) ** 0.5),
            rng.standard_normal(o, np.float32) * np.float32(0.1),
            rng.uniform(0.5, 1.0, o).astype(np.float32),
            rng.standard_normal(o, np.float32) * np.float32(0.1),
        )
        for i, o, k in shapes
    ]


def integer(value: int) -> bytes:
    size = max(1, (abs(value).bit_length() + 7) // 8)
    return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")


def integers(*values: int) -> bytes:
    return b"".join(map(integer, values))


def name(text: str) -> bytes:
    return integer(len(text)) + text.encode()


def tensor(values: np.ndarray, *shape: int) -> bytes:
    return integers(2, *shape) + values.astype("<f4").tobytes()


END = b"110" + integers(2, 0, 0, 0, 0) * 3
ONE = integers(16, -4)  # a floating-point number


def whole(layers: Sequence[Layer], embedding: np.ndarray) -> bytes:
    """The file: ``embedding`` is [256, 128]."""
    text = integer(1) + name("loss_metric_2") + ONE * 2 + integers(1, 2, 1, 2, 1, 3)
    text += name("input_rgb_image_sized") + ONE * 3 + integers(150, 150)
    for i, (filters, biases, gain, shift) in enumerate(layers):
        o, _, k, _ = filters.shape
        stride = 2 if i == 0 else 1
        values = np.concatenate([filters.ravel(), biases])
        text += name("con_4") + tensor(values, values.size, 1, 1, 1)
        text += integers(o, k, k, stride, stride, 0, 0, 1, *filters.shape, 1, 1, o, 1, 1) + ONE * 4 + END
        text += integer(1) if i == 0 else b""
        text += name("affine_") + tensor(np.concatenate([gain, shift]), 2 * o, 1, 1, 1)
        text += integers(1, 1, o, 1, 1, 1, 1, o, 1, 1, 0) + END + name("relu_") + END
        if i == 0:
            text += name("max_pool_2") + integers(3, 3, 2, 2, 0, 0) + END
        elif i % 2 == 0:
            text += name("add_prev_") + END
    text += name("avg_pool_2") + integers(0, 0, 1, 1, 0, 0) + END
    text += name("fc_2") + integers(128, 256) + tensor(embedding, 256, 128, 1, 1)
    return text + integers(1, 256, 128, 1, 1, 1, 0, 0, 0, 0, 1) + ONE * 4 + END
