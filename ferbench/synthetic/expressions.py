"""What a synthetic face does: FACS-like action vectors for the eight ABAW classes.

The class of a drawn face is its class *by construction*: an action vector is drawn around one of the class's
prototypes, scaled by the intensity, and laid on the person's face at rest. Mild expressions lie near Neutral,
therefore, and classes that share actions (Fear and Surprise, Anger and Disgust) overlap in part.

Numbering follows the Facial Action Coding System (Ekman, Friesen & Hager, *FACS*, 2002).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CLASSES = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
"""Class names in the order of Aff-Wild2's annotation files."""

NATURAL_SHARE = (0.25, 0.08, 0.05, 0.05, 0.18, 0.12, 0.09, 0.18)
"""Frequency of each class in videos and among unlabeled faces: imbalanced as in Aff-Wild2, if less so."""

ACTIONS = {
    "inner_brow": "AU1, inner brow raiser",
    "outer_brow": "AU2, outer brow raiser",
    "frown": "AU4, brow lowerer",
    "upper_lid": "AU5, upper lid raiser",
    "cheek": "AU6, cheek raiser",
    "lid_tight": "AU7, lid tightener",
    "nose_wrinkle": "AU9, nose wrinkler",
    "upper_lip": "AU10, upper lip raiser",
    "smile": "AU12, lip corner puller",
    "corner_down": "AU15, lip corner depressor",
    "chin": "AU17, chin raiser",
    "pucker": "AU18, lip pucker",
    "stretch": "AU20, lip stretcher",
    "press": "AU23 + AU24, lip tightener and presser",
    "part": "AU25, lips part",
    "jaw": "AU26, jaw drop",
    "closed": "AU43, eyes closed",
    "gaze_x": "AU61/62, eyes turned (positive: to the right of the picture)",
    "gaze_y": "AU63/64, eyes turned (positive: down)",
    "one_sided": "how much smile, outer_brow and closed sit on one side of the picture (-1 left .. 1 right)",
}
_INDEX = {name: i for i, name in enumerate(ACTIONS)}


@dataclass(frozen=True)
class Prototype:
    """One way to show a class: mean actions at intensity 1, and this way's share within the class."""

    share: float
    means: dict[str, float]

    def vector(self) -> np.ndarray:
        """float64 [len(ACTIONS)]: the means, 0 where not named."""
        return _vector(self.means)


def _way(share: float, **means: float) -> Prototype:
    return Prototype(share, means)


def _vector(values: dict[str, float]) -> np.ndarray:
    vector = np.zeros(len(ACTIONS))
    for name, value in values.items():
        vector[_INDEX[name]] = value
    return vector


PROTOTYPES: dict[str, tuple[Prototype, ...]] = {
    "Neutral": (_way(1.0),),
    "Anger": (
        _way(0.6, frown=1.0, upper_lid=0.35, lid_tight=0.6, press=0.9, chin=0.4, corner_down=0.3),
        _way(0.4, frown=1.0, upper_lid=0.4, lid_tight=0.5, upper_lip=0.5, stretch=0.3, part=0.8, jaw=0.4),
    ),
    "Disgust": (
        _way(
            0.6,
            nose_wrinkle=1.0,
            upper_lip=0.8,
            frown=0.5,
            lid_tight=0.7,
            cheek=0.3,
            corner_down=0.5,
            chin=0.4,
        ),
        _way(0.4, nose_wrinkle=0.9, upper_lip=1.0, frown=0.3, lid_tight=0.7, cheek=0.4, part=0.6),
    ),
    "Fear": (
        _way(0.6, inner_brow=1.0, outer_brow=0.4, frown=0.5, upper_lid=0.9, stretch=0.9, part=0.7, jaw=0.2),
        _way(0.4, inner_brow=0.9, outer_brow=0.5, frown=0.4, upper_lid=1.0, stretch=0.5, part=0.6, jaw=0.5),
    ),
    "Happiness": (
        _way(0.6, smile=1.0, cheek=0.8, part=0.8, jaw=0.1),
        _way(0.4, smile=0.9, cheek=0.5),
    ),
    "Sadness": (
        _way(0.7, inner_brow=1.0, frown=0.4, corner_down=0.9, chin=0.6, closed=0.25, gaze_y=0.6),
        _way(0.3, inner_brow=0.8, frown=0.3, corner_down=0.6, chin=0.3, closed=0.55, gaze_y=0.8),
    ),
    "Surprise": (
        _way(0.6, inner_brow=0.9, outer_brow=1.0, upper_lid=0.9, part=0.6, jaw=0.9),
        _way(0.4, inner_brow=0.8, outer_brow=1.0, upper_lid=0.8, part=0.5, jaw=0.45),
    ),
    "Other": (
        _way(0.35, smile=1.1, outer_brow=1.0, press=0.6, one_sided=1.0),  # contempt
        _way(0.30, pucker=1.0, inner_brow=0.2, gaze_x=0.5, gaze_y=-0.4),  # pout
        _way(0.35, closed=1.1, one_sided=1.0, smile=0.2, cheek=0.2),  # wink
    ),
}
"""The table of expressions: per class its prototypes, each a mean vector at intensity 1."""

SPREAD: dict[str, float] = {
    "Neutral": 0.05, "Anger": 0.13, "Disgust": 0.13, "Fear": 0.13, "Happiness": 0.13, "Sadness": 0.13,
    "Surprise": 0.13, "Other": 0.14,
}  # fmt: skip
"""Per class: standard deviation of each action that a prototype names, at intensity 1."""

BACKGROUND_SPREAD = _vector(
    {
        "inner_brow": 0.06,
        "outer_brow": 0.06,
        "frown": 0.06,
        "smile": 0.05,
        "part": 0.07,
        "jaw": 0.06,
        "closed": 0.05,
        "gaze_x": 0.25,
        "gaze_y": 0.15,
        "one_sided": 0.08,
    }
)
"""float64 [len(ACTIONS)]: standard deviation of what a face does beside its expression (talk, look)."""

MIN_INTENSITY = 0.25
"""The mildest expression that still carries its class's label."""


def sample_prototype(label: int, rng: np.random.Generator) -> np.ndarray:
    """A prototype of class ``label`` with this person's and moment's own manner.

    Args:
        label: index into `CLASSES`.
        rng: private generator.

    Returns:
        float64 [len(ACTIONS)] at intensity 1.
    """
    name = CLASSES[label]
    choices = PROTOTYPES[name]
    shares = np.array([p.share for p in choices])
    means = choices[int(rng.choice(len(choices), p=shares / shares.sum()))].vector()
    vector = means + SPREAD[name] * rng.standard_normal(len(ACTIONS)) * (means != 0)
    mirrored = rng.choice((-1.0, 1.0), size=2)  # which side is one-sided, and where the eyes go
    vector[_INDEX["one_sided"]] *= mirrored[0]
    vector[_INDEX["gaze_x"]] *= mirrored[1]
    return vector


def express(prototype: np.ndarray, intensity: float, rest: np.ndarray, jitter: np.ndarray) -> np.ndarray:
    """The actions a face shows: the expression at its intensity, on the face at rest, plus what else it does.

    Args:
        prototype: float [A], from `sample_prototype`.
        intensity: 0..1.
        rest: float [A], the person's face at rest.
        jitter: float [A], standard normal; scaled by `BACKGROUND_SPREAD`.

    Returns:
        float64 [A], clipped to what a face can do: 0..1.3; gaze and one_sided to -1..1.
    """
    scale = np.full(len(ACTIONS), intensity)
    scale[_INDEX["one_sided"]] = 1.0  # a mild smirk is as one-sided as a strong one
    vector = prototype * scale + rest + BACKGROUND_SPREAD * jitter
    signed = [_INDEX["gaze_x"], _INDEX["gaze_y"], _INDEX["one_sided"]]
    clipped = np.clip(vector, 0.0, 1.3)
    clipped[signed] = np.clip(vector[signed], -1.0, 1.0)
    return clipped


def named(vector: np.ndarray) -> dict[str, float]:
    """An action vector float [A] as name -> value."""
    return dict(zip(ACTIONS, vector.tolist(), strict=True))


def on_side(act: dict[str, float], name: str, side: int) -> float:
    """How strongly an action shows on one side of the picture (-1 left, 1 right)."""
    return act[name] * (1 - max(0.0, -side * act["one_sided"]))
