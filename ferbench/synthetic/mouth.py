"""The mouth, which carries most of an expression: lips, corners, opening, teeth, tongue."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ferbench.synthetic.canvas import Canvas, tone
from ferbench.synthetic.expressions import on_side
from ferbench.synthetic.people import Identity

_S = np.linspace(-1, 1, 21)  # from the left to the right corner
_BULGE = np.sqrt(1 - _S**2)
_CUPIDS_BOW = 1 - 0.28 * np.exp(-((_S / 0.16) ** 2))
_TEETH = (238.0, 234.0, 222.0)


class Lips(NamedTuple):
    """Contours of both lips in face units, float64 [21, 2] from left to right, and the gap between."""

    upper_outer: np.ndarray
    upper_inner: np.ndarray
    lower_inner: np.ndarray
    lower_outer: np.ndarray
    gap: float


def lips(who: Identity, act: dict[str, float]) -> Lips:
    """Where a person's lips lie when they do the actions ``act``."""
    pressed, stretched, parted = min(1.1, act["press"]), act["stretch"], act["part"]
    smile = np.where(_S < 0, on_side(act, "smile", -1), on_side(act, "smile", 1))
    narrow = 0.52 * act["pucker"] + 0.10 * act["press"] + 0.12 * act["jaw"]
    x = _S * (who.mouth_width * (1 - narrow + 0.26 * stretched) + 0.085 * smile)
    corners = -0.165 * smile + 0.145 * act["corner_down"] + 0.035 * stretched + 0.03 * act["upper_lip"]
    pushed_up = 0.03 * act["chin"] + 0.035 * act["nose_wrinkle"] + 0.02 * act["corner_down"]
    arch = 0.025 * np.minimum(smile, 1) - pushed_up
    centre = who.mouth_height + corners * _S**2 + arch * (1 - _S**2) - 0.03 * act["nose_wrinkle"]
    dropped = 0.30 * act["jaw"] * min(1.0, 2 * parted + 0.1)
    gap = 0.11 * parted * (1 - 0.7 * min(1.0, act["press"])) + dropped
    bared = 0.045 * act["upper_lip"] * min(1.0, 2 * parted + 0.3)
    square = _BULGE ** (1 - 0.45 * min(1.0, stretched + 0.5 * act["upper_lip"]))
    upper = centre - (0.35 * gap + bared) * square
    lower = centre + 0.65 * gap * square
    full = 1 - 0.62 * pressed - 0.15 * np.minimum(smile, 1) - 0.25 * stretched + 0.9 * act["pucker"]
    above = upper - who.upper_lip * full * _BULGE**1.3 * _CUPIDS_BOW - 0.02 * act["upper_lip"] * _BULGE
    below = lower + who.lower_lip * (full + 0.25 * act["chin"]) * _BULGE**1.1
    outer, inner, inner_low, outer_low = (np.stack([x, y], axis=1) for y in (above, upper, lower, below))
    return Lips(outer, inner, inner_low, outer_low, gap + bared)


def draw_mouth(canvas: Canvas, who: Identity, act: dict[str, float]) -> None:
    """Draw the lips, and what an open mouth shows between them."""
    mouth = lips(who, act)
    dark = tone(who.skin, 0.42)
    if mouth.gap > 0.012:
        _draw_inside(canvas, mouth, act)
    lower_lip = np.concatenate([mouth.lower_inner, mouth.lower_outer[::-1]])
    upper_lip = np.concatenate([mouth.upper_outer, mouth.upper_inner[::-1]])
    canvas.fill(lower_lip, tone(who.lips, 1.05), lift=0.05)
    canvas.fill(upper_lip, tone(who.lips, 0.88), lift=0.05)
    middle = (mouth.upper_inner + mouth.lower_inner) / 2
    if mouth.gap <= 0.03:
        canvas.line(middle, dark, 0.018, lift=0.05)
    for end, side in ((0, -1), (-1, 1)):
        tip = middle[end] + (side * 0.018, -0.01 * on_side(act, "smile", side))
        canvas.line(np.array([middle[end], tip]), dark, 0.02, lift=0.04)
    shine = mouth.lower_inner * 0.45 + mouth.lower_outer * 0.55
    canvas.crease(shine[8:13], -0.2, 0.02, lift=0.05)
    canvas.crease(mouth.lower_outer[4:-4] + (0, 0.022), 0.25, 0.02, lift=0.04)


def _draw_inside(canvas: Canvas, mouth: Lips, act: dict[str, float]) -> None:
    upper, lower, gap = mouth.upper_inner, mouth.lower_inner, mouth.gap
    opening = np.concatenate([upper, lower[::-1]])
    with canvas.within(opening):
        canvas.fill(opening, (62, 22, 26))
        tongue = (0.0, float(lower[len(lower) // 2, 1]) + 0.01)
        canvas.disc(tongue, min(0.09, 0.7 * gap), (176, 82, 84))
        shown = min(1.0, 0.25 + 0.8 * act["smile"] + 0.8 * act["upper_lip"] + 0.45 * act["stretch"])
        edge = upper + (0, min(0.085, 0.75 * gap) * shown)
        canvas.fill(np.concatenate([upper, edge[::-1]]), _TEETH)
        clenched = max(act["stretch"], act["upper_lip"] * (act["smile"] < 0.4))
        if clenched > 0.25:
            edge = lower - (0, min(0.06, 0.5 * gap) * clenched)
            canvas.fill(np.concatenate([edge, lower[::-1]]), tone(_TEETH, 0.92))
