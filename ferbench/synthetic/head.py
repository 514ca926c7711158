"""The head without its features: outline, ears, neck, the skin's relief, hair and beard."""

from __future__ import annotations

import numpy as np

from ferbench.synthetic.canvas import Canvas, tone
from ferbench.synthetic.people import Identity, Rgb

_SIDES = (-1, 1)
_TURN = np.linspace(0, 2 * np.pi, 61)
_COS, _SIN = np.cos(_TURN), np.sin(_TURN)
_EAR_COS, _EAR_SIN = _COS[::4], _SIN[::4]


def head_outline(who: Identity, act: dict[str, float]) -> np.ndarray:
    """float64 [61, 2] in face units: half an ellipse, and below it half a superellipse to the chin."""
    low = _SIN > 0
    power = np.where(low, 2 / who.jaw, 1.0)
    y = np.sign(_SIN) * np.abs(_SIN) ** power * np.where(low, who.chin + 0.09 * act["jaw"], 0.88)
    x = np.sign(_COS) * np.abs(_COS) ** power * who.face_width * (1 - 0.14 * np.maximum(y, 0) ** 2)
    return np.stack([x, y], axis=1)


def _chin_lift(outline: np.ndarray) -> np.ndarray:
    """The chin lies further forward than the ellipsoid's rim, so that it turns with the face."""
    return 0.28 * np.maximum(outline[:, 1], 0)


def draw_head(canvas: Canvas, who: Identity, act: dict[str, float]) -> None:
    """Neck, shoulders, ears, the head itself and the soft hills and hollows of its skin."""
    neck = np.array([[-0.34, 0.5], [0.34, 0.5], [0.37, 1.6], [-0.37, 1.6]])
    canvas.fill(neck, tone(who.skin, 0.78))
    shoulders = np.array(
        [[-1.6, 1.9], [-1.2, 1.22], [-0.4, 1.05], [0.0, 1.22], [0.4, 1.05], [1.2, 1.22], [1.6, 1.9]]
    )
    canvas.fill(shoulders, who.clothes)
    for side in _SIDES:
        ear = np.stack([side * (who.face_width + 0.02) + 0.075 * _EAR_COS, 0.05 + 0.15 * _EAR_SIN], axis=1)
        canvas.fill(ear, tone(who.skin, 0.9), lift=-0.05)
    outline = head_outline(who, act)
    canvas.fill(outline, who.skin, lift=_chin_lift(outline))
    for side in _SIDES:
        canvas.shadow(
            (side * who.eye_distance, who.eye_height - 0.03), (0.17, 0.11), 0.13 + 0.10 * act["frown"]
        )
        canvas.shadow((side * 0.37, 0.22 - 0.04 * act["cheek"]), (0.13, 0.10), -0.08 - 0.12 * act["cheek"])
        canvas.shadow((side * 0.53, 0.42), (0.10, 0.25), 0.10)
    canvas.shadow((0.0, who.mouth_height + 0.21 + 0.08 * act["jaw"]), (0.16, 0.05), 0.16 + 0.12 * act["chin"])
    canvas.shadow((0.0, -0.5), (0.3, 0.1), -0.06)


def draw_hair_behind(canvas: Canvas, who: Identity) -> None:
    """Hair that hangs or stands behind the head."""
    turn = np.linspace(0, 2 * np.pi, 41)
    width = who.face_width
    if who.hair_style == "long":
        x, y = np.cos(turn) * (width + 0.17), 0.1 + 1.12 * np.sin(turn)
        x = x * (1 + 0.12 * np.maximum(y, 0))
        canvas.fill(np.stack([x, y], axis=1), tone(who.hair, 0.8), lift=-0.1)
    elif who.hair_style == "curly":
        swing = 1 + 0.05 * np.sin(9 * turn)
        outline = np.stack(
            [np.cos(turn) * (width + 0.2) * swing, -0.28 + 0.78 * np.sin(turn) * swing], axis=1
        )
        canvas.fill(outline, tone(who.hair, 0.85), lift=-0.1)


def draw_hair_in_front(canvas: Canvas, who: Identity) -> None:
    """Hair on top of the head, down to the hairline."""
    if who.hair_style == "bald":
        return
    s = np.linspace(-1, 1, 25)
    edge = who.face_width * 1.04
    volume = {"short": 0.05, "fringe": 0.10, "parted": 0.10, "long": 0.10, "curly": 0.16}[who.hair_style]
    crown = np.stack(
        [s * (edge + volume * 0.6 * (1 - s**4)), -0.12 - (0.80 + volume) * np.sqrt(1 - s**2)], axis=1
    )
    line = who.hairline + 0.42 * np.abs(s) ** 3.5
    if who.hair_style == "fringe":
        line = who.hairline + 0.13 + 0.025 * np.sin(14 * s) + 0.25 * np.abs(s) ** 4
    elif who.hair_style in ("parted", "long"):
        line = who.hairline - 0.06 + 0.42 * np.abs(s - 0.35) ** 1.4
    elif who.hair_style == "curly":
        line = line + 0.025 * np.cos(17 * s)
    front = np.stack([s * edge, np.clip(line, crown[:, 1], 0.12)], axis=1)
    canvas.overlay(canvas.place(np.concatenate([crown, front[::-1]]), lift=0.02), who.hair)
    for share in (0.25, 0.5, 0.75):  # strands catch the light
        strand = crown * share + front * (1 - share)
        canvas.line(
            strand[4:-4],
            tone(who.hair, 1.0 + 0.35 * (1 - share) * (-1) ** round(4 * share)),
            0.018,
            lift=0.02,
        )


def draw_beard(canvas: Canvas, who: Identity, act: dict[str, float]) -> None:
    """Stubble to full beard on cheeks and chin, and a moustache; they move with the jaw."""
    if not who.beard:
        return
    share = 0.25 + 0.6 * who.beard
    red, green, blue = (h * share + k * (1 - share) for h, k in zip(who.hair, who.skin, strict=True))
    colour: Rgb = (red, green, blue)
    s = np.linspace(-1, 1, 25)
    top = np.stack(
        [s * who.face_width, 0.62 - 0.52 * np.abs(s) ** 3 - 0.08 * np.exp(-((s / 0.3) ** 2))], axis=1
    )
    outline = head_outline(who, act)
    jaw = outline[outline[:, 1] > 0.1]  # runs from right to left, as `top` ends on the right
    canvas.fill(np.concatenate([top, jaw]), colour, lift=np.concatenate([0 * s, _chin_lift(jaw)]))
    if who.moustache:
        lip = (
            who.mouth_height
            - 0.055
            - 0.05 * act["upper_lip"]
            - 0.02 * act["nose_wrinkle"]
            - 0.05 * act["jaw"]
        )
        under_nose = np.stack(
            [s * 0.22, lip - 0.075 * (1 - s**2) + 0.05 * s**2 - 0.06 * act["smile"] * s**2], axis=1
        )
        edge = np.stack([s * 0.23, lip + 0.012 + 0.085 * s**2 - 0.06 * act["smile"] * s**2], axis=1)
        canvas.fill(np.concatenate([under_nose, edge[::-1]]), colour, lift=0.06)
