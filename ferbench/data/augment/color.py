"""Operations on pixel values, with the semantics of Pillow's ``ImageOps`` and ``ImageEnhance``.

Most of them map each value of a channel to another (a *tone table* of 256 entries). Tables of consecutive
operations are multiplied out before the image is touched: see `Tones`.
"""

from __future__ import annotations

import cv2
import numpy as np

from ferbench.data.augment.base import CHANNELS, require_share
from ferbench.registry import TRANSFORMS

_VALUES = np.arange(256)
_EACH_CHANNEL = np.arange(CHANNELS)[:, None]
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601-2, as in Pillow's conversion to "L"
# OpenCV rounds to the nearest, Pillow's blend rounds down: without this a mix would be half a level brighter.
# Not quite one half, so that what is whole already (a grey image, a constant one) stays as it is.
_ROUND_DOWN = -0.499


class Tones:
    """An image and a tone table that is still to be applied to it.

    Args:
        image: uint8 RGB [H, W, 3]; never written to.
    """

    def __init__(self, image: np.ndarray):
        self._image = image
        self._table: np.ndarray | None = None
        self._histogram: np.ndarray | None = None

    def apply(self, table: np.ndarray) -> None:
        """Map value v of channel c to ``table[v]`` (uint8 [256]) or ``table[c, v]`` (uint8 [3, 256])."""
        if self._table is None:
            self._table = table
        elif table.ndim == 1:
            self._table = table[self._table]
        else:
            self._table = table[_EACH_CHANNEL, self._table]

    def histogram(self) -> np.ndarray:
        """int64 [3, 256]: how many pixels have each value, per channel, the table applied."""
        if self._histogram is None:
            counts = [cv2.calcHist([self._image], [c], None, [256], [0, 256]) for c in range(CHANNELS)]
            self._histogram = np.concatenate(counts, axis=1).T.astype(np.int64, order="C")
        if self._table is None:
            return self._histogram
        tables = np.broadcast_to(self._table, self._histogram.shape)
        moved = [np.bincount(t, counts, 256) for t, counts in zip(tables, self._histogram, strict=True)]
        return np.stack(moved).astype(np.int64)

    def image(self) -> np.ndarray:
        """uint8 [H, W, 3]: the image, the table applied; the array given if there is none."""
        if self._table is None:
            return self._image
        table = self._table if self._table.ndim == 1 else np.ascontiguousarray(self._table.T)[None]
        return cv2.LUT(self._image, table)


def auto_contrast(tones: Tones, _: float) -> np.ndarray:
    """Stretch each channel to 0..255 (``ImageOps.autocontrast``), unless constant. Table uint8 [3, 256]."""
    low, high = _range(tones.histogram())
    scale = 255.0 / np.maximum(high - low, 1)
    stretched = np.clip(_VALUES * scale - low * scale, 0, 255)
    return np.where(high > low, stretched, _VALUES).astype(np.uint8)


def equalize(tones: Tones, _: float) -> np.ndarray:
    """Flatten each channel's histogram (``ImageOps.equalize``), unless constant. Table uint8 [3, 256]."""
    counts = tones.histogram()
    below = np.cumsum(counts, axis=1) - counts
    brightest = _range(counts)[1]
    step = below[_EACH_CHANNEL, brightest] // 255  # the brightest value's own pixels do not count
    levels = np.minimum((below + step // 2) // np.maximum(step, 1), 255)
    return np.where(step > 0, levels, _VALUES).astype(np.uint8)


def brightness(_: Tones, factor: float) -> np.ndarray:
    """Mix with black (``ImageEnhance.Brightness``). Table uint8 [256]."""
    return _blend(0, factor)


def contrast(tones: Tones, factor: float) -> np.ndarray:
    """Mix with the grey of the image's mean luminance (``ImageEnhance.Contrast``). Table uint8 [256]."""
    histogram = tones.histogram()
    mean = _LUMA @ (histogram @ _VALUES) / histogram[0].sum()
    return _blend(int(mean + 0.5), factor)


def posterize(_: Tones, bits: float) -> np.ndarray:
    """Keep the ``int(bits)`` highest bits (``ImageOps.posterize``). Table uint8 [256]."""
    return (_VALUES & -(1 << (8 - int(bits)))).astype(np.uint8)


def solarize(_: Tones, threshold: float) -> np.ndarray:
    """Invert values from ``threshold`` on (``ImageOps.solarize``). Table uint8 [256]."""
    return np.where(threshold > _VALUES, _VALUES, 255 - _VALUES).astype(np.uint8)


def saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Mix with the image's own greys (``ImageEnhance.Color``)."""
    return cv2.addWeighted(image, factor, grayscale(image), 1 - factor, _ROUND_DOWN)


def grayscale(image: np.ndarray) -> np.ndarray:
    """The luminance in all three channels (Pillow's conversion to "L")."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def sharpness(image: np.ndarray, factor: float) -> np.ndarray:
    """Mix with the smoothed image (``ImageEnhance.Sharpness``); the outermost pixels stay.

    Pillow's smoothing kernel is (1 1 1; 1 5 1; 1 1 1) / 13, that is 9/13 of a box filter and 4/13 of the
    pixel itself.
    """
    if min(image.shape[:2]) < 3:
        return image
    box = (1 - factor) * 9 / 13
    mixed = cv2.addWeighted(image, 1 - box, cv2.blur(image, (3, 3)), box, _ROUND_DOWN)
    mixed[0], mixed[-1] = image[0], image[-1]
    mixed[:, 0], mixed[:, -1] = image[:, 0], image[:, -1]
    return mixed


def _range(histogram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Darkest and brightest value of each channel, int64 [3, 1] each."""
    present = histogram > 0
    return present.argmax(axis=1, keepdims=True), 255 - present[:, ::-1].argmax(axis=1, keepdims=True)


def _blend(grey: int, factor: float) -> np.ndarray:
    # float32 and rounding down, as Pillow's Image.blend does it
    return (np.float32(grey) + np.float32(factor) * (_VALUES - grey).astype(np.float32)).astype(np.uint8)


@TRANSFORMS.register_module()
class RandomGrayscale:
    """Replace the colours by their luminance, e.g. where grey faces (FER2013) and colour faces are mixed.

    Args:
        probability: how often; 1 makes every image grey.
    """

    draws = 1

    def __init__(self, probability: float = 0.1):
        self.probability = require_share(probability, "probability", "RandomGrayscale", 0, 1)

    def __call__(self, image: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Grey in all three channels where ``u[0] < probability``."""
        return grayscale(image) if u[0] < self.probability else image
