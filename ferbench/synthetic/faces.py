"""Draws a face: a head, and on it the brows, eyes, nose, folds and mouth that carry the expression."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from ferbench.synthetic.canvas import Canvas, tone
from ferbench.synthetic.expressions import ACTIONS, CLASSES, express, named, on_side, sample_prototype
from ferbench.synthetic.extras import draw_glasses, draw_occlusion
from ferbench.synthetic.head import draw_beard, draw_hair_behind, draw_hair_in_front, draw_head
from ferbench.synthetic.mouth import draw_mouth
from ferbench.synthetic.people import Conditions, Identity, generator, make_identity

Actions = dict[str, float]

_SHEET = 301  # random stream of the contact sheet
_SIDES = (-1, 1)


def render(identity: Identity, actions: np.ndarray, conditions: Conditions, size: int = 112) -> np.ndarray:
    """Draw one face: a pure function of its arguments.

    Args:
        identity: who.
        actions: float [len(ACTIONS)], see `ferbench.synthetic.expressions.express`.
        conditions: pose, light, occlusion, camera.
        size: side in pixels.

    Returns:
        uint8 RGB [size, size, 3].
    """
    act = named(actions)
    canvas = Canvas(size, conditions)
    draw_hair_behind(canvas, identity)
    draw_head(canvas, identity, act)
    draw_beard(canvas, identity, act)
    _draw_folds(canvas, identity, act)
    _draw_nose(canvas, identity, act)
    draw_mouth(canvas, identity, act)
    for side in _SIDES:
        _draw_eye(canvas, identity, act, side)
    draw_hair_in_front(canvas, identity)
    for side in _SIDES:  # over the hair, as cartoonists do: raised brows must stay readable
        _draw_brow(canvas, identity, act, side)
    draw_glasses(canvas, identity)
    draw_occlusion(canvas, identity)
    return canvas.take()


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """An image uint8 RGB [H, W, 3] as JPEG bytes."""
    _, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    return data.tobytes()


def contact_sheet(seed: int = 0, rows: int = len(CLASSES), cols: int = 8, size: int = 112) -> np.ndarray:
    """Classes x identities at intensity 1 in good light, with the classes' names at the left.

    Args:
        seed: the world.
        rows: how many classes, in the order of `CLASSES` (starting again after the last).
        cols: how many people.
        size: side of one face in pixels.

    Returns:
        uint8 RGB [rows * size, size + cols * size, 3].
    """
    lines = []
    for row in range(rows):
        label = row % len(CLASSES)
        title = np.full((size, size, 3), 255, np.uint8)
        cv2.putText(
            title,
            CLASSES[label],
            (4, size // 2),
            cv2.FONT_HERSHEY_DUPLEX,
            size / 250,
            (30, 30, 30),
            1,
            cv2.LINE_AA,
        )
        faces = [title]
        for col in range(cols):
            rng = generator(seed, _SHEET, row, col)
            person = make_identity(seed, col)
            actions = express(
                sample_prototype(label, rng),
                1.0,
                person.rest_vector(),
                0.5 * rng.standard_normal(len(ACTIONS)),
            )
            turn = rng.normal(0, (0.14, 0.06, 0.05))
            conditions = Conditions(
                yaw=turn[0], pitch=turn[1], roll=turn[2], ambient=0.6, seed=int(rng.integers(2**31))
            )
            faces.append(render(person, actions, conditions, size))
        lines.append(np.concatenate(faces, axis=1))
    return np.concatenate(lines, axis=0)


def _curve(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    return np.stack([xs, ys], axis=1)


@cache
def _parabola(count: int) -> np.ndarray:
    t = np.linspace(0, 1, count)
    return np.stack([(1 - t) * (1 - 2 * t), 4 * t * (1 - t), t * (2 * t - 1)], axis=1)


def _arc(points: tuple[tuple[float, float], ...], count: int = 11) -> np.ndarray:
    """float64 [count, 2]: the parabola through three points."""
    return _parabola(count) @ np.array(points)


def _draw_folds(canvas: Canvas, who: Identity, act: Actions) -> None:
    """Nasolabial folds, forehead, glabella and eye-corner wrinkles, chin dimples."""
    both_brows = min(act["inner_brow"], 1.0) * (0.35 + 0.65 * act["outer_brow"])
    for k in range(3):
        height = -0.40 - 0.07 * k - 0.03 * act["inner_brow"]
        reach = 0.28 if act["outer_brow"] > 0.4 else 0.16
        line = _arc(((-reach, height + 0.015), (0.0, height - 0.01), (reach, height + 0.015)))
        canvas.crease(line, 0.10 * who.age + 0.34 * both_brows * (1 - 0.2 * k), 0.016)
    for side in _SIDES:
        smile = on_side(act, "smile", side)
        pull = max(0.75 * smile, 0.95 * act["nose_wrinkle"], 0.85 * act["upper_lip"], 0.4 * act["stretch"])
        top = (side * (who.nose_width + 0.035), who.nose_length - 0.05 - 0.06 * act["nose_wrinkle"])
        bend = (side * (0.22 + 0.06 * smile + 0.02 * act["upper_lip"]), 0.33 - 0.02 * smile)
        end = (side * (who.mouth_width + 0.055 + 0.10 * smile), who.mouth_height - 0.06 - 0.05 * smile)
        canvas.crease(_arc((top, bend, end)), 0.06 + 0.16 * who.age + 0.30 * pull, 0.022)
        x = side * (0.045 - 0.012 * act["frown"])
        canvas.crease(np.array([[x, -0.32], [x * 1.15, -0.17]]), 0.5 * act["frown"], 0.02)
        for k in range(3):
            start = (side * (who.eye_distance + 0.17), who.eye_height + 0.02 + 0.03 * k)
            stop = (start[0] + side * 0.09, start[1] + 0.045 * (k - 1))
            canvas.crease(np.array([start, stop]), 0.36 * act["cheek"] * (0.5 + 0.5 * who.age), 0.012)
        bag_y = who.eye_height + 0.115 - 0.02 * act["cheek"]
        bag = _arc(((side * 0.18, bag_y - 0.02), (side * 0.28, bag_y + 0.02), (side * 0.40, bag_y - 0.02)))
        canvas.crease(bag, 0.05 + 0.15 * who.age + 0.22 * max(act["cheek"], act["lid_tight"]), 0.014)
        corner = (side * (who.mouth_width * 0.98), who.mouth_height + 0.07 + 0.08 * act["corner_down"])
        canvas.crease(
            np.array([corner, (corner[0] + side * 0.035, corner[1] + 0.10)]), 0.42 * act["corner_down"], 0.018
        )
    for k in range(3):
        y = -0.02 + 0.045 * k - 0.02 * act["nose_wrinkle"]
        line = _arc(((-0.075, y + 0.02), (0.0, y - 0.005), (0.075, y + 0.02)))
        canvas.crease(line, 0.5 * act["nose_wrinkle"], 0.014, lift=0.08)
    dimple = who.mouth_height + 0.2
    canvas.crease(
        _arc(((-0.09, dimple + 0.03), (0.0, dimple), (0.09, dimple + 0.03))), 0.36 * act["chin"], 0.018
    )


def _draw_nose(canvas: Canvas, who: Identity, act: Actions) -> None:
    lifted = 0.05 * act["nose_wrinkle"] + 0.015 * act["upper_lip"]
    width = who.nose_width * (1 + 0.15 * act["nose_wrinkle"] + 0.08 * act["smile"])
    tip = who.nose_length - lifted
    dark_side = 1 if canvas.conditions.light[0] < 0 else -1
    for side in _SIDES:
        strength = 0.26 if side == dark_side else 0.07
        bridge = _arc(((side * 0.06, -0.16), (side * 0.045, 0.05), (side * (width - 0.02), tip - 0.06)))
        canvas.crease(bridge, strength, 0.035, lift=0.05)
        wing = _arc(
            (
                (side * (width - 0.01), tip - 0.075),
                (side * (width + 0.012), tip - 0.01),
                (side * (width - 0.04), tip + 0.02),
            )
        )
        canvas.crease(wing, 0.45, 0.018, lift=0.08)
        nostril = _arc(
            ((side * 0.025, tip + 0.022), (side * 0.05, tip + 0.002), (side * 0.078, tip + 0.018)), 7
        )
        canvas.line(nostril, tone(who.skin, 0.38), 0.022, lift=0.11)
    canvas.crease(np.array([[0.0, -0.12], [0.0, tip - 0.1]]), -0.10, 0.03, lift=0.14)
    canvas.crease(np.array([[-0.012, tip - 0.05], [0.012, tip - 0.05]]), -0.18, 0.05, lift=0.18)
    canvas.shadow((0.0, tip + 0.07), (0.09, 0.03), 0.16)


def _draw_brow(canvas: Canvas, who: Identity, act: Actions, side: int) -> None:
    outer = on_side(act, "outer_brow", side)
    frown, inner = act["frown"], act["inner_brow"]
    base = who.eye_height - who.brow_height
    inner_end = (0.125 - 0.045 * frown + 0.01 * inner, base + 0.003 - 0.15 * inner + 0.155 * frown)
    peak = (0.33 - 0.02 * frown, base - who.brow_arch - 0.05 * inner - 0.15 * outer + 0.10 * frown)
    tail = (0.47, base + 0.03 + who.brow_tilt + 0.03 * inner - 0.10 * outer + 0.02 * frown)
    spine = _arc((inner_end, peak, tail))
    half = 0.024 * who.brow_thickness * np.sin(np.linspace(0.5, np.pi - 0.12, len(spine)))[:, None]
    ridge = np.concatenate([spine - half * (0, 1), (spine + half * (0, 1))[::-1]]) * (side, 1)
    canvas.fill(ridge, tone(who.hair, 0.85 if sum(who.hair) < 450 else 0.7), lift=0.03)


def _lids(who: Identity, act: Actions, side: int) -> tuple[float, float]:
    """Heights of the upper and the lower lid above and below the eye's axis, in face units."""
    closed = min(1.0, on_side(act, "closed", side))
    upper = 0.076 * (
        1 + 0.7 * act["upper_lid"] - 0.34 * act["lid_tight"] - 0.22 * act["cheek"] - 0.2 * act["frown"]
    )
    upper -= 0.014 * act["nose_wrinkle"]
    lower = 0.046 * (1 + 0.25 * act["upper_lid"] - 0.45 * act["lid_tight"] - 0.55 * act["cheek"])
    return who.eye_size * max(upper * (1 - closed) - 0.022 * closed, -0.03), who.eye_size * max(
        lower, 0.006
    ) * (1 - 0.2 * closed)


def _draw_eye(canvas: Canvas, who: Identity, act: Actions, side: int) -> None:
    half = 0.125 * who.eye_size
    upper, lower = _lids(who, act, side)
    closed = min(1.0, on_side(act, "closed", side))
    s = np.linspace(-1, 1, 13)
    x = side * (who.eye_distance + half * s)
    axis = who.eye_height - (who.eye_tilt + 0.03 * (act["lid_tight"] > 0.3) - 0.02 * closed) * s
    # Sad brows lift the inner part of the lid and let the outer part hang.
    slant = (
        0.02
        * (act["inner_brow"] * (1 - min(1, act["outer_brow"])) - act["frown"] * (act["inner_brow"] < 0.4))
        * s
    )
    bulge = (1 - s**2) ** 0.62
    top = np.minimum(axis - upper * bulge + slant * bulge, axis + lower * bulge)
    bottom = axis + lower * bulge
    opening = np.concatenate([_curve(x, top), _curve(x, bottom)[::-1]])
    centre = (side * who.eye_distance + 0.055 * act["gaze_x"], who.eye_height - 0.008 + 0.03 * act["gaze_y"])
    with canvas.within(opening):
        canvas.fill(opening, (236, 233, 228))
        canvas.disc(centre, 0.060 * who.eye_size, tone(who.iris, 0.55))
        canvas.disc(centre, 0.052 * who.eye_size, who.iris)
        canvas.disc(centre, 0.026 * who.eye_size, (16, 14, 14))
        canvas.disc((centre[0] - 0.018, centre[1] - 0.02), 0.011, (250, 250, 250))
        canvas.line(_curve(x, top + 0.012), (150, 140, 135), 0.018)
    lash = tone(who.skin, 0.34 - 0.2 * who.make_up)
    canvas.line(_curve(x, top), lash, 0.020 + 0.014 * who.make_up)
    canvas.line(_curve(x, bottom), tone(who.skin, 0.62), 0.009)
    fold = np.minimum(top, axis - 0.03) - (0.024 + 0.012 * closed) * bulge
    canvas.crease(_curve(x, fold)[1:-1], 0.36 - 0.12 * act["upper_lid"], 0.013)
    if who.make_up:
        canvas.crease(_curve(x, fold - 0.02)[2:-1], 0.25 * who.make_up, 0.04)
