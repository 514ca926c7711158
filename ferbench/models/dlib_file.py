"""Reads the face network of dlib from its own file, without dlib.

The file is a stream. An integer is a control byte (number of bytes; its highest bit is the sign) and so many bytes, the
lowest first; a floating-point number is a mantissa and an exponent of 2, both integers; a name is its length and its letters;
a truth value is ``0`` or ``1`` as a letter; a tensor is the integer 2, four dimensions, and float32 values. After a head, the
layers follow in the order of the network: name, what the kind of layer keeps, three truth values, three empty tensors.

Batch-norm is folded into an affine layer after each convolution, so that ``y = g (conv + b) + h``. Such a network does not
train: its loss stays above ln C. Here it becomes a batch-norm layer again, whose function is the same in evaluation mode: the
filters are scaled by s to the size that Kaiming initialisation gives them, and ``weight = g / s``, ``bias = g b + h`` with
statistics of mean 0 and variance 1. `ferbench.models.batch_norm.recalibrate` then takes the statistics from images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ferbench.errors import UserError, shortened

EPS = 1e-5  # of PyTorch's batch-norm
EMBEDDING = "embedding"  # name of the matrix that turns the pooled features into the 128 numbers of a face
_HEAD = b"\x01\x01\x01\x0dloss_metric_2"
_INPUT = b"\x01\x15input_rgb_image_sized"
#: Layers that hold a tensor, and integers after it; others hold integers only. A number counts as two.
_INTEGERS_AFTER = {"con_4": 25, "affine_": 11}
_INTEGERS = {"relu_": 0, "add_prev_": 0, "max_pool_2": 6, "avg_pool_2": 6}
_LARGEST = 1 << 26  # values of a tensor


class _Malformed(Exception):
    """The stream says something else than expected here."""


class _Stream:
    """Reads the elements of a stream one after the other."""

    def __init__(self, content: bytes):
        self.content, self.position = content, 0

    def take(self, count: int) -> bytes:
        found = self.content[self.position : self.position + count]
        if len(found) < count:
            raise _Malformed(f"it ends after {len(self.content):,} bytes, inside a value")
        self.position += count
        return found

    def integer(self) -> int:
        control = self.take(1)[0]
        size = control & 0x7F
        if not 1 <= size <= 8:
            raise _Malformed(f"byte {self.position:,} begins no integer")
        value = int.from_bytes(self.take(size), "little")
        return -value if control & 0x80 else value

    def integers(self, count: int) -> list[int]:
        return [self.integer() for _ in range(count)]

    def name(self) -> str:
        letters = self.take(min(abs(self.integer()), 100))
        if not letters.isascii():
            raise _Malformed(f"byte {self.position:,} ends no name")
        return letters.decode("ascii")

    def tensor(self) -> Tensor:
        version, *shape = self.integers(5)
        length = math.prod(shape)
        if version != 2 or min(shape) < 0 or length > _LARGEST:
            raise _Malformed(f"byte {self.position:,} begins no tensor")
        values = np.frombuffer(self.take(4 * length), "<f4").astype(np.float32)
        return torch.from_numpy(values).reshape(shape)

    def end_of_layer(self) -> None:
        if self.take(3).strip(b"01") or any(self.tensor().numel() for _ in range(3)):
            raise _Malformed(f"byte {self.position:,} does not end a layer")


def read_dlib(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of dlib's face network, as `ferbench.models.dlib_resnet.DlibResNet` names them.

    Args:
        path: ``dlib_face_recognition_resnet_model_v1.dat``, or another file of this kind of network.

    Returns:
        The state dict of a `DlibResNet`, with batch-norm that holds no statistics yet, and ``embedding`` [128, 256].

    Raises:
        UserError: it is something else.
    """
    state: dict[str, Tensor] = {}
    try:
        layers = list(_layers(_Stream(path.read_bytes())))
        if not layers or [kind for kind, *_ in layers] != ["con_4", "affine_"] * (len(layers) // 2) + [
            "fc_2"
        ]:
            raise _Malformed("its layers with weights are " + shortened([kind for kind, *_ in layers], 200))
        for i, (convolution, affine) in enumerate(zip(layers[:-1:2], layers[1::2], strict=True)):
            state |= _with_batch_norm(i, convolution, affine)
        state[EMBEDDING] = layers[-1][1].flatten(1).T.contiguous()
    except (_Malformed, RuntimeError) as error:
        raise UserError(
            f"the file is not dlib's face network: {error}",
            where=path,
            expected="dlib_face_recognition_resnet_model_v1.dat, unpacked",
        ) from error
    return state


def _layers(stream: _Stream) -> Iterator[tuple[str, Tensor, list[int]]]:
    """Kind, tensor and integers of each layer that holds a tensor."""
    begin = stream.content.find(_INPUT)
    if not stream.content.startswith(_HEAD) or begin < 0:
        raise _Malformed("it begins otherwise")
    stream.position = begin + len(
        _INPUT
    )  # between head and input stand the versions of all layers, outer ones first
    stream.integers(8)  # mean colour, height, width: what `ferbench.models.known` says of the weights
    for number in count():
        kind = stream.name()
        if kind == "fc_2":
            stream.integers(2)
            yield kind, stream.tensor(), stream.integers(19)
            stream.end_of_layer()
            if stream.position != len(stream.content):
                raise _Malformed(f"it goes on after {stream.position:,} bytes")
            return
        if kind in _INTEGERS_AFTER:
            yield kind, stream.tensor(), stream.integers(_INTEGERS_AFTER[kind])
        elif kind in _INTEGERS:
            stream.integers(_INTEGERS[kind])
        else:
            raise _Malformed(f"it has a layer {shortened(kind)}")
        stream.end_of_layer()
        if number == 0:
            stream.integer()  # copies of an image, which the layer on the input keeps


def _with_batch_norm(
    i: int, convolution: tuple[str, Tensor, list[int]], affine: tuple[str, Tensor, list[int]]
) -> dict[str, Tensor]:
    """Filters and batch-norm of the i-th convolution."""
    _, values, numbers = convolution
    shape = numbers[8:12]  # after filters, height, width, strides, paddings and a version
    filters, biases = values.flatten().split([math.prod(shape), shape[0]])
    filters = filters.view(shape)
    gain, shift = affine[1].flatten().chunk(2)
    fan_out = shape[0] * shape[2] * shape[3]
    scale = math.sqrt(2 / fan_out) / filters.std()
    place, number = ("", "1") if i == 0 else (f"blocks.{(i - 1) // 2}.", str((i - 1) % 2 + 1))
    return {
        f"{place}conv{number}.weight": filters * scale,
        f"{place}bn{number}.weight": gain / scale,
        f"{place}bn{number}.bias": gain * biases + shift,
        f"{place}bn{number}.running_mean": torch.zeros_like(gain),
        f"{place}bn{number}.running_var": torch.full_like(gain, 1 - EPS),
        f"{place}bn{number}.num_batches_tracked": torch.tensor(0),
    }
