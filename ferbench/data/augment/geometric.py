"""Transforms that move pixels: resize, crops, flip, cutout, and the affine operations of RandAugment.

The affine operations follow Pillow's ``Image.transform`` and ``Image.rotate`` with nearest-neighbour sampling
(what FixMatch and USB use), except that uncovered areas are grey (127), not black: black borders would be a
cue that no face has.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from ferbench.data.augment.base import CHANNELS, GREY, pick, require_share
from ferbench.errors import UserError
from ferbench.registry import TRANSFORMS

_GREY_FILL = (GREY,) * CHANNELS


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Scale to uint8 [size, size, 3] (the sides independently); the same array if it has that size already.

    Shrinking averages over the covered pixels, so that fine texture does not alias; enlarging interpolates
    bilinearly.
    """
    height, width = image.shape[:2]
    if height == width == size:
        return image
    shrinks = size * size < height * width
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


@TRANSFORMS.register_module()
class Resize:
    """Scale to a square.

    Args:
        size: side of the result in pixels.
    """

    draws = 0

    def __init__(self, size: int):
        if size < 1:
            raise UserError(
                f"Resize: size={size!r} is out of range", expected="a number of pixels, at least 1"
            )
        self.size = int(size)

    def __call__(self, image: np.ndarray, u: np.ndarray) -> np.ndarray:
        """See `resize`."""
        return resize(image, self.size)


@TRANSFORMS.register_module()
class PadCrop:
    """Shift at random by up to a share of the side, borders mirrored: reflect-pad, then crop the old size.

    The weak crop of FixMatch and, with ``padding = 1 - crop_ratio``, of USB on CIFAR. The scale stays as it
    was.

    Args:
        padding: largest shift, as a share of the side, in [0, 0.45].
    """

    draws = 2

    def __init__(self, padding: float = 0.125):
        # below one half, so that what is left after the shift is always large enough to be mirrored
        self.padding = require_share(padding, "padding", "PadCrop", 0, 0.45)

    def __call__(self, image: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Shift rows by ``u[0]`` and columns by ``u[1]``; the shape stays."""
        rows = _shift(u[0], int(self.padding * image.shape[0]))
        columns = _shift(u[1], int(self.padding * image.shape[1]))
        return _move(image, rows, columns, cv2.BORDER_REFLECT_101)


@TRANSFORMS.register_module()
class RandomCrop:
    """Cut out a window at random, all positions alike.

    USB's weak crop of larger images: scale to ``size / crop_ratio``, then crop ``size``. In `Views` that is
    ``working_size = round(size / ratio)``.

    Args:
        ratio: side of the window as a share of the image's side, in [0.05, 1].
    """

    draws = 2

    def __init__(self, ratio: float = 0.875):
        self.ratio = require_share(ratio, "ratio", "RandomCrop", 0.05, 1)

    def __call__(self, image: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Top by ``u[0]``, left by ``u[1]``: a slice [round(ratio H), round(ratio W), 3] of the input."""
        height, width = image.shape[:2]
        rows, columns = max(1, round(self.ratio * height)), max(1, round(self.ratio * width))
        top, left = pick(u[0], height - rows + 1), pick(u[1], width - columns + 1)
        return image[top : top + rows, left : left + columns]


@TRANSFORMS.register_module()
class HorizontalFlip:
    """Mirror left and right.

    Args:
        probability: how often.
    """

    draws = 1

    def __init__(self, probability: float = 0.5):
        self.probability = require_share(probability, "probability", "HorizontalFlip", 0, 1)

    def __call__(self, image: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Mirrored where ``u[0] < probability``."""
        return cv2.flip(image, 1) if u[0] < self.probability else image


@TRANSFORMS.register_module()
class Cutout:
    """Fill a random square with grey (DeVries & Taylor, arXiv 1708.04552; side drawn as in FixMatch).

    The square's centre is uniform over the image and its side uniform in [0, max_side] of the width; what
    lies outside the image is lost, so the visible part can be smaller.

    Args:
        max_side: largest side as a share of the width, in [0, 1].
    """

    draws = 3

    def __init__(self, max_side: float = 0.5):
        self.max_side = require_share(max_side, "max_side", "Cutout", 0, 1)

    def __call__(self, image: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Side by ``u[0]``, row of the centre by ``u[1]``, column by ``u[2]``."""
        height, width = image.shape[:2]
        side = round(u[0] * self.max_side * width)
        top, left = round(u[1] * height - side / 2), round(u[2] * width - side / 2)
        result = image.copy()
        result[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)] = GREY
        return result


def rotate(image: np.ndarray, degrees: float) -> np.ndarray:
    """Rotate counter-clockwise about the image's centre (``PIL.Image.rotate``)."""
    height, width = image.shape[:2]
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = width / 2, height / 2
    return _affine(
        image, (cosine, -sine, x - cosine * x + sine * y), (sine, cosine, y - sine * x - cosine * y)
    )


def shear_x(image: np.ndarray, share: float) -> np.ndarray:
    """Row y moves left by ``share * y`` (``PIL.Image.transform`` with AFFINE ``(1, share, 0, 0, 1, 0)``)."""
    return _affine(image, (1, share, 0), (0, 1, 0))


def shear_y(image: np.ndarray, share: float) -> np.ndarray:
    """Column x moves up by ``share * x``."""
    return _affine(image, (1, 0, 0), (share, 1, 0))


def translate_x(image: np.ndarray, share: float) -> np.ndarray:
    """Move left by ``share`` of the width, to whole pixels (nearest-neighbour sampling does the same)."""
    return _move(image, 0, math.floor(share * image.shape[1] + 0.5), cv2.BORDER_CONSTANT)


def translate_y(image: np.ndarray, share: float) -> np.ndarray:
    """Move up by ``share`` of the height, to whole pixels."""
    return _move(image, math.floor(share * image.shape[0] + 0.5), 0, cv2.BORDER_CONSTANT)


def _affine(
    image: np.ndarray, row_x: tuple[float, float, float], row_y: tuple[float, float, float]
) -> np.ndarray:
    """Output pixel (x, y) is input pixel (row_x . (x, y, 1), row_y . (x, y, 1)) in Pillow's coordinates.

    Pillow puts pixel centres at halves and rounds down; OpenCV puts them at integers and rounds to the
    nearest.
    """
    matrix = np.array([row_x, row_y], np.float64)
    matrix[:, 2] += (matrix[:, 0] + matrix[:, 1]) / 2 - 0.5
    return cv2.warpAffine(
        image, matrix, (image.shape[1], image.shape[0]), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT, borderValue=_GREY_FILL,
    )  # fmt: skip


def _shift(u: float, limit: int) -> int:
    return pick(u, 2 * limit + 1) - limit


def _move(image: np.ndarray, up: int, left: int, border: int) -> np.ndarray:
    """Move the content up and left by whole pixels (negative: down, right); ``border`` fills the rest.

    Pads only the uncovered sides of what stays visible: one small copy instead of padding all around and
    cropping. Mirrored borders come out the same because a mirror image depends on the nearest pixels only.
    """
    height, width = image.shape[:2]
    kept = image[max(0, up) : height + min(0, up), max(0, left) : width + min(0, left)]
    return cv2.copyMakeBorder(
        kept,
        max(0, -up),
        max(0, up),
        max(0, -left),
        max(0, left),
        border | cv2.BORDER_ISOLATED,
        value=_GREY_FILL,
    )
