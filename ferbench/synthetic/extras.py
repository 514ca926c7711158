"""What covers a face: glasses, and things in front of it."""

from __future__ import annotations

import numpy as np

from ferbench.synthetic.canvas import Canvas, tone
from ferbench.synthetic.people import Identity, Rgb, generator


def draw_glasses(canvas: Canvas, who: Identity) -> None:
    """Two rims and a bridge, round or angular."""
    if not who.glasses:
        return
    colour: Rgb = (40, 36, 36) if who.glasses > 0.6 else (130, 100, 60)
    turn = np.linspace(0, 2 * np.pi, 29)
    power = 0.6 if who.glasses > 0.7 else 1.0
    cos, sin = np.cos(turn), np.sin(turn)
    for side in (-1, 1):
        x = side * who.eye_distance + 0.19 * np.sign(cos) * np.abs(cos) ** power
        y = who.eye_height + 0.02 + 0.15 * np.sign(sin) * np.abs(sin) ** power
        canvas.line(np.stack([x, y], axis=1), colour, 0.02 + 0.015 * who.glasses, lift=0.08)
        hinge = np.array(
            [
                [side * (who.eye_distance + 0.19), who.eye_height],
                [side * who.face_width, who.eye_height - 0.03],
            ]
        )
        canvas.line(hinge, colour, 0.022, lift=0.05)
    level = who.eye_height
    gap = who.eye_distance - 0.19
    canvas.line(np.array([[-gap, level], [0, level - 0.025], [gap, level]]), colour, 0.026, lift=0.12)


def draw_occlusion(canvas: Canvas, who: Identity) -> None:
    """A hand, a bar, a medical mask or a strand of hair in front of the face."""
    kind = canvas.conditions.occlusion
    if kind == "none":
        return
    where = canvas.conditions.occluder
    {"hand": _hand, "bar": _bar, "mask": _mask, "strand": _strand}[kind](canvas, who, where)


def _hand(canvas: Canvas, who: Identity, where: tuple[float, float, float]) -> None:
    side = 1 if where[0] < 0.5 else -1
    wrist = np.array([side * 1.1, 0.9 + 0.3 * where[1]])
    knuckles = np.array([side * (0.42 + 0.3 * where[2]), 0.35 + 0.45 * where[1]])
    for finger in range(4):
        base = knuckles + (side * 0.03 * finger, 0.13 * finger - 0.1)
        tip = base - (side * (0.34 - 0.05 * abs(finger - 1.5)), 0.16)
        canvas.overlay(np.stack([wrist, base, tip]), tone(who.skin, 0.7), 0.165)
        canvas.overlay(np.stack([wrist, base, tip]), tone(who.skin, 0.93), 0.14)


def _bar(canvas: Canvas, who: Identity, where: tuple[float, float, float]) -> None:
    del who
    angle = np.pi * where[0]
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    middle = across * (1.1 * where[1] - 0.55)
    thickness = 0.08 + 0.10 * where[2]
    corners = [
        middle + 2 * a * along + b * thickness * across for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))
    ]
    red, green, blue = (generator(canvas.conditions.seed, 1).uniform(30, 220, 3)).tolist()
    canvas.overlay(np.stack(corners), (red, green, blue))


def _mask(canvas: Canvas, who: Identity, where: tuple[float, float, float]) -> None:
    colour: Rgb = (176, 204, 220) if where[0] < 0.6 else (46, 46, 52)
    width = who.face_width
    points = np.array(
        [[-width * 0.96, 0.16], [-0.2, 0.12], [0, 0.06], [0.2, 0.12], [width * 0.96, 0.16],
         [width * 0.8, 0.62], [0.3, who.chin], [0, who.chin + 0.04], [-0.3, who.chin], [-width * 0.8, 0.62]]
    )  # fmt: skip
    canvas.overlay(canvas.place(points, lift=0.12), colour)
    for y in (0.35, 0.5, 0.65):
        canvas.line(np.array([[-0.42, y], [0, y + 0.03], [0.42, y]]), tone(colour, 0.85), 0.014, lift=0.12)


def _strand(canvas: Canvas, who: Identity, where: tuple[float, float, float]) -> None:
    side = 1 if where[0] < 0.5 else -1
    t = np.linspace(0, 1, 15)
    for k in range(7):
        start = 0.1 + 0.05 * k + 0.3 * where[1]
        x = side * (start + (0.25 + 0.03 * k) * t - 0.2 * np.sin(np.pi * t) * where[2])
        y = -0.75 + (1.0 + 0.5 * where[2]) * t
        canvas.overlay(np.stack([x, y], axis=1), tone(who.hair, 0.85 + 0.07 * (k % 3)), 0.055)
