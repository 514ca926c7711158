"""A picture of a head under construction: 2.5-D placement, smooth shapes, shading, the camera.

Face units: the origin lies between nose tip and nose bridge, x points right and y down, 1 is half the side of
the picture (at zoom 1). Depth comes from an ellipsoid, so that features move as a turned head's do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np

from ferbench.synthetic.people import Conditions, Rgb, generator

cv2.setNumThreads(0)  # several processes draw at once

_SUPERSAMPLING = 2  # drawing at twice the size and averaging looks clean and costs a third of 3x
_FRACTION_BITS = 4  # OpenCV takes coordinates in 1/16 pixel
_SOFT_SIDE = 56
_HALF_WIDTH, _HALF_HEIGHT, _HALF_DEPTH, _MIDDLE = 0.68, 0.96, 0.62, 0.03
_FACE_DEPTH = (
    0.42  # the head turns around a point behind the face, so that a cropped face stays in the picture
)
_NEUTRAL = 128  # value of a shading layer that changes nothing


class Canvas:
    """Draws in face units, then takes the picture.

    Args:
        size: side of the finished picture in pixels.
        conditions: pose, light and camera.
    """

    def __init__(self, size: int, conditions: Conditions):
        self.size, self.conditions = size, conditions
        self.side = size * _SUPERSAMPLING
        self.image = self._background()
        self._creases = np.full((self.side, self.side), _NEUTRAL, np.uint8)
        self._shadows = np.full((_SOFT_SIDE, _SOFT_SIDE), _NEUTRAL, np.uint8)
        c = conditions
        self._turn = (
            np.cos(c.yaw),
            np.sin(c.yaw),
            np.cos(c.pitch),
            np.sin(c.pitch),
            np.cos(c.roll),
            np.sin(c.roll),
        )

    def place(self, points: np.ndarray, lift: float | np.ndarray = 0.0) -> np.ndarray:
        """Project points on the head.

        Args:
            points: float [N, 2] in face units, seen from the front.
            lift: height above the ellipsoid, e.g. of the nose; scalar or float [N].

        Returns:
            float64 [N, 2], in -1..1 over the picture.
        """
        x, y = points[:, 0], points[:, 1]
        inside = 1 - (x / _HALF_WIDTH) ** 2 - ((y - _MIDDLE) / _HALF_HEIGHT) ** 2
        z = _HALF_DEPTH * np.sqrt(np.maximum(inside, 0)) + lift - _FACE_DEPTH
        cos_yaw, sin_yaw, cos_pitch, sin_pitch, cos_roll, sin_roll = self._turn
        turned = x * cos_yaw + z * sin_yaw
        depth = z * cos_yaw - x * sin_yaw
        tilted = y * cos_pitch + depth * sin_pitch
        placed = np.empty((len(points), 2))
        placed[:, 0] = turned * cos_roll - tilted * sin_roll
        placed[:, 1] = turned * sin_roll + tilted * cos_roll
        return placed * self.conditions.zoom + self.conditions.shift

    def fill(self, points: np.ndarray, colour: Rgb, lift: float | np.ndarray = 0.0) -> None:
        """Fill a polygon on the head with a colour."""
        cv2.fillPoly(self.image, [self._fixed(self.place(points, lift))], colour, cv2.LINE_AA, _FRACTION_BITS)

    def line(self, points: np.ndarray, colour: Rgb, width: float, lift: float | np.ndarray = 0.0) -> None:
        """Draw an open curve on the head; width in face units."""
        at = [self._fixed(self.place(points, lift))]
        cv2.polylines(self.image, at, False, colour, self._pixels(width), cv2.LINE_AA, _FRACTION_BITS)

    def disc(self, centre: tuple[float, float], radius: float, colour: Rgb, lift: float = 0.0) -> None:
        """Draw a disc that faces the camera, centred on a point of the head."""
        at = self._fixed(self.place(np.array([centre]), lift))[0]
        scaled = round(radius * self.conditions.zoom * self.side / 2 * (1 << _FRACTION_BITS))
        cv2.circle(self.image, (int(at[0]), int(at[1])), scaled, colour, -1, cv2.LINE_AA, _FRACTION_BITS)

    def overlay(self, placed: np.ndarray, colour: Rgb, width: float = 0.0) -> None:
        """Cover the head, creases and all, with a polygon or a curve; points as from `place`."""
        at = [self._fixed(placed)]
        for layer, value in ((self.image, colour), (self._creases, _NEUTRAL)):
            if width:
                cv2.polylines(layer, at, False, value, self._pixels(width), cv2.LINE_AA, _FRACTION_BITS)
            else:
                cv2.fillPoly(layer, at, value, cv2.LINE_AA, _FRACTION_BITS)

    def crease(
        self, points: np.ndarray, strength: float, width: float, lift: float | np.ndarray = 0.0
    ) -> None:
        """Darken the skin along a curve by ``strength`` (0..1); negative values lighten it."""
        if abs(strength) < 0.03:
            return
        at = [self._fixed(self.place(points, lift))]
        value = _shade_value(strength)
        cv2.polylines(self._creases, at, False, value, self._pixels(width), cv2.LINE_AA, _FRACTION_BITS)

    def shadow(self, centre: tuple[float, float], radii: tuple[float, float], strength: float) -> None:
        """Darken a soft ellipse of the head by ``strength`` (0..1); negative values lighten it."""
        if abs(strength) < 0.03:
            return
        turn = np.linspace(0, 2 * np.pi, 13)
        points = np.stack([centre[0] + radii[0] * np.cos(turn), centre[1] + radii[1] * np.sin(turn)], axis=1)
        at = [self._fixed(self.place(points), _SOFT_SIDE)]
        cv2.fillPoly(self._shadows, at, _shade_value(strength), cv2.LINE_AA, _FRACTION_BITS)

    @contextmanager
    def within(self, outline: np.ndarray) -> Iterator[None]:
        """Keep what is drawn inside the block only where it lies within a polygon on the head."""
        before = self.image.copy()
        yield
        at = self._fixed(self.place(outline))
        low = np.clip((at.min(axis=0) >> _FRACTION_BITS) - 1, 0, self.side - 1)
        high = np.clip((at.max(axis=0) >> _FRACTION_BITS) + 3, 1, self.side)
        x, y = slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))
        mask = np.zeros((y.stop - y.start, x.stop - x.start), np.uint8)
        cv2.fillPoly(
            mask, [(at - (low << _FRACTION_BITS)).astype(np.int32)], 255, cv2.LINE_AA, _FRACTION_BITS
        )
        share = mask[..., None].astype(np.float32) / 255
        drawn = self.image[y, x] * share + before[y, x] * (1 - share)
        self.image = before
        self.image[y, x] = np.round(drawn).astype(np.uint8)

    def take(self) -> np.ndarray:
        """The finished picture, uint8 RGB [size, size, 3]: lit, blurred and noisy as the conditions say."""
        c = self.conditions
        small = (self.size, self.size)
        image: np.ndarray = cv2.resize(self.image, small, interpolation=cv2.INTER_AREA).astype(np.float32)
        creases = cv2.resize(
            cv2.GaussianBlur(self._creases, (0, 0), self.side / 150), small, interpolation=cv2.INTER_AREA
        )
        shadows = cv2.GaussianBlur(self._shadows, (0, 0), 1.6).astype(np.float32) / _NEUTRAL
        shade = cv2.resize(
            (shadows * self._light()).astype(np.float32), small, interpolation=cv2.INTER_LINEAR
        )
        shade *= creases.astype(np.float32) / _NEUTRAL
        image *= shade[..., None] * (c.gain * np.asarray(c.tint, np.float32))
        if c.blur:
            image = cv2.GaussianBlur(image, (0, 0), c.blur * self.size / 112)
        if c.noise:
            rng = generator(c.seed, c.moment, 1)
            image += c.noise * rng.standard_normal(image.shape, np.float32)
        return np.clip(np.round(image), 0, 255).astype(np.uint8)

    def _light(self) -> np.ndarray:
        """float64 [_SOFT_SIDE, _SOFT_SIDE]: Lambert's law on the ellipsoid, even light elsewhere."""
        c = self.conditions
        axis = (np.arange(_SOFT_SIDE) + 0.5) / _SOFT_SIDE * 2 - 1
        x = (axis[None, :] - c.shift[0]) / c.zoom / _HALF_WIDTH
        y = (axis[:, None] - c.shift[1] - _MIDDLE) / c.zoom / _HALF_HEIGHT
        distance = x * x + y * y
        z = np.sqrt(np.maximum(1 - distance, 0.0))
        towards = np.array([c.light[0], c.light[1], 0.75])
        towards /= np.linalg.norm(towards)
        lit = np.maximum(x * towards[0] + y * towards[1] + z * towards[2], 0.0)
        head = c.ambient + (1 - c.ambient) * 1.3 * lit
        around = c.ambient + (1 - c.ambient) * 0.5
        inside = np.clip((1.25 - distance) / 0.35, 0, 1)
        return head * inside + around * (1 - inside)

    def _background(self) -> np.ndarray:
        rng = generator(self.conditions.seed)
        coarse = rng.uniform(60, 190) + rng.normal(0, 18, 3) + rng.normal(0, 20, (4, 4, 1))
        smooth = cv2.resize(np.clip(coarse, 0, 255).astype(np.uint8), (28, 28), interpolation=cv2.INTER_CUBIC)
        return cv2.resize(smooth, (self.side, self.side), interpolation=cv2.INTER_LINEAR)

    def _fixed(self, placed: np.ndarray, side: int | None = None) -> np.ndarray:
        scale = (side or self.side) / 2 * (1 << _FRACTION_BITS)
        return np.round((placed + 1) * scale).astype(np.int32)

    def _pixels(self, width: float) -> int:
        return max(1, round(width * self.conditions.zoom * self.side / 2))


def _shade_value(strength: float) -> int:
    return min(255, max(0, int(_NEUTRAL * (1 - strength))))


def tone(colour: Rgb, factor: float) -> Rgb:
    """A colour made lighter (factor > 1) or darker."""
    red, green, blue = (min(255.0, c * factor) for c in colour)
    return red, green, blue
