"""Who is drawn and how the picture is taken: the nuisance of a synthetic face, every value from a seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ferbench.synthetic.expressions import ACTIONS

Rgb = tuple[float, float, float]

HAIR_STYLES = ("bald", "short", "fringe", "parted", "long", "curly")
OCCLUSIONS = ("none", "hand", "bar", "mask", "strand")

_SKINS = np.array(
    [[244, 208, 177], [232, 190, 158], [222, 176, 140], [198, 148, 112], [160, 112, 80], [112, 76, 54]], float
)
_HAIRS = np.array(
    [[32, 26, 24], [62, 42, 30], [104, 70, 42], [186, 142, 84], [150, 72, 38], [150, 148, 146]], float
)
_IRISES = np.array([[72, 46, 28], [52, 36, 26], [96, 124, 70], [76, 112, 150], [110, 120, 126]], float)
_CLOTHES = np.array(
    [[60, 80, 120], [120, 60, 60], [70, 100, 70], [50, 50, 56], [170, 160, 140], [110, 80, 120]], float
)

_IDENTITY, _CONDITIONS = 101, 102  # keep the random streams apart


@dataclass(frozen=True)
class Identity:
    """What stays the same in all pictures of a person. Lengths in face units, factors around 1."""

    face_width: float
    jaw: float
    chin: float
    skin: Rgb
    hair: Rgb
    clothes: Rgb
    hair_style: str
    hairline: float
    brow_height: float
    brow_thickness: float
    brow_tilt: float
    brow_arch: float
    eye_size: float
    eye_distance: float
    eye_height: float
    eye_tilt: float
    iris: Rgb
    nose_length: float
    nose_width: float
    mouth_height: float
    mouth_width: float
    upper_lip: float
    lower_lip: float
    lips: Rgb
    beard: float
    moustache: bool
    glasses: float
    make_up: float
    age: float
    rest: tuple[float, ...]

    def rest_vector(self) -> np.ndarray:
        """float64 [len(ACTIONS)]: the face at rest, added to every expression."""
        return np.array(self.rest)


@dataclass(frozen=True)
class Conditions:
    """How one picture is taken.

    Angles in radians; light as a direction (x right, y down); shift in face units; blur as a sigma in pixels
    of a 112-px picture; noise as a standard deviation on 0..255;
    `seed`
    decides the background, and with `moment` the noise.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    shift: tuple[float, float] = (0.0, -0.10)
    zoom: float = 1.28
    light: tuple[float, float] = (-0.4, -0.5)
    ambient: float = 0.6
    gain: float = 1.0
    tint: Rgb = (1.0, 1.0, 1.0)
    occlusion: str = "none"
    occluder: tuple[float, float, float] = (0.0, 0.0, 0.0)
    blur: float = 0.0
    noise: float = 0.0
    quality: int = 95
    seed: int = 0
    moment: int = 0

    def moved(self, **changes: object) -> Conditions:
        """The same picture with some values changed."""
        return replace(self, **changes)  # type: ignore[arg-type] # names and types are the fields'


def generator(*key: int) -> np.random.Generator:
    """A private generator for a key of non-negative integers; equal keys give equal streams everywhere."""
    return np.random.default_rng(list(key))


def make_identity(seed: int, index: int) -> Identity:
    """Person ``index`` of the world ``seed``."""
    rng = generator(seed, _IDENTITY, index)
    feminine = rng.random() < 0.5
    skin = _between(_SKINS, rng)
    age = float(rng.beta(1.4, 2.2))
    grey = max(0.0, age - 0.6) * 1.8
    fair = skin.sum() > 480  # dark skin with fair hair is rare
    hair = _between(_HAIRS[:5] if fair else _HAIRS[:2], rng) * (1 - grey) + _HAIRS[5] * grey
    make_up = float(rng.uniform(0.3, 1.0)) if feminine and rng.random() < 0.6 else 0.0
    lips = skin * np.array([0.86, 0.62, 0.62])
    painted = np.array([rng.uniform(150, 215), rng.uniform(30, 80), rng.uniform(50, 100)])
    styles = (0.0, 0.1, 0.2, 0.2, 0.35, 0.15) if feminine else (0.16, 0.36, 0.16, 0.16, 0.04, 0.12)
    beard = float(rng.uniform(0.25, 1.0)) if not feminine and rng.random() < 0.3 else 0.0
    rest = np.clip(rng.normal(0, 0.05, len(ACTIONS)), -0.08, 0.12)
    rest[[list(ACTIONS).index(name) for name in ("gaze_x", "gaze_y", "one_sided", "jaw", "closed")]] *= 0.5
    return Identity(
        face_width=float(rng.normal(0.625, 0.03)),
        jaw=float(rng.uniform(1.9, 2.4) if feminine else rng.uniform(2.1, 3.0)),
        chin=float(rng.normal(0.9, 0.03)),
        skin=_rgb(skin),
        hair=_rgb(hair),
        clothes=_rgb(_CLOTHES[rng.integers(len(_CLOTHES))]),
        hair_style=str(rng.choice(HAIR_STYLES, p=styles)),
        hairline=float(rng.normal(-0.56, 0.04)),
        brow_height=float(rng.normal(0.235, 0.016)),
        brow_thickness=float(rng.uniform(0.9, 1.3) if feminine else rng.uniform(1.1, 1.7)),
        brow_tilt=float(rng.normal(0.0, 0.012)),
        brow_arch=float(rng.normal(0.045, 0.01)),
        eye_size=float(rng.normal(1.2, 0.08)),
        eye_distance=float(rng.normal(0.285, 0.014)),
        eye_height=float(rng.normal(-0.10, 0.02)),
        eye_tilt=float(rng.normal(0.012, 0.014)),
        iris=_rgb(_between(_IRISES, rng)),
        nose_length=float(rng.normal(0.26, 0.025)),
        nose_width=float(rng.normal(0.105, 0.012)),
        mouth_height=float(rng.normal(0.50, 0.015)),
        mouth_width=float(rng.normal(0.26, 0.016)),
        upper_lip=float(rng.normal(0.05, 0.008)),
        lower_lip=float(rng.normal(0.068, 0.009)),
        lips=_rgb(lips * (1 - make_up) + painted * make_up),
        beard=beard,
        moustache=bool(beard > 0 and rng.random() < 0.7),
        glasses=float(rng.uniform(0.4, 1.0)) if rng.random() < 0.12 else 0.0,
        make_up=make_up,
        age=age,
        rest=tuple(rest.tolist()),
    )


def sample_conditions(seed: int, *key: int) -> Conditions:
    """How picture ``key`` of the world ``seed`` is taken: pose, light, occlusion, sharpness, background."""
    rng = generator(seed, _CONDITIONS, *key)
    warm = rng.normal(0, 0.05)
    soft = rng.random() < 0.35
    return Conditions(
        yaw=float(np.clip(rng.normal(0, 0.11), -0.4, 0.4)),
        pitch=float(np.clip(rng.normal(0, 0.05), -0.2, 0.2)),
        roll=float(np.clip(rng.normal(0, 0.05), -0.2, 0.2)),
        shift=(float(rng.normal(0, 0.015)), float(rng.normal(-0.10, 0.015))),
        zoom=float(np.clip(rng.normal(1.28, 0.03), 1.18, 1.4)),
        light=(float(rng.uniform(-1, 1)), float(rng.uniform(-0.9, 0.4))),
        ambient=float(rng.uniform(0.55, 0.85)),
        gain=float(np.exp(rng.normal(0, 0.12))),
        tint=(float(1 + warm), float(1 + rng.normal(0, 0.025)), float(1 - warm)),
        occlusion=str(rng.choice(OCCLUSIONS, p=(0.90, 0.04, 0.03, 0.01, 0.02))),
        occluder=(float(rng.random()), float(rng.random()), float(rng.random())),
        blur=float(rng.uniform(0.5, 1.4)) if soft else 0.0,
        noise=float(rng.gamma(1.5, 1.5)),
        quality=int(rng.integers(45, 96)),
        seed=int(rng.integers(2**31)),
    )


def _between(palette: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A colour between two neighbours of a palette float [N, 3]."""
    place = rng.uniform(0, len(palette) - 1)
    low = min(int(place), len(palette) - 2)
    return palette[low] + (place - low) * (palette[low + 1] - palette[low])


def _rgb(colour: np.ndarray) -> Rgb:
    red, green, blue = (float(c) for c in colour)
    return red, green, blue
