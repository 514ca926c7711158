"""Which faces a synthetic data set holds, and with which labels: plain data, nothing is written here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ferbench.synthetic.expressions import (
    ACTIONS,
    CLASSES,
    MIN_INTENSITY,
    NATURAL_SHARE,
    express,
    sample_prototype,
)
from ferbench.synthetic.faces import encode_jpeg, render
from ferbench.synthetic.people import Conditions, generator, make_identity, sample_conditions

NOT_ANNOTATED = -1

# Every part draws its people from its own range, so that no person is in two parts.
FIRST_TRAIN_VIDEO, FIRST_VAL_VIDEO, FIRST_UNLABELED, FIRST_TRAIN, FIRST_TEST = (
    k * 10_000_000 for k in range(5)
)
_STILL, _VIDEO, _SCRIPT, _COUNTS = 201, 202, 203, 204  # random streams

_PER_PERSON = 4  # images of a person in the class folders, and on average among the unlabeled faces


@dataclass(frozen=True)
class Face:
    """One picture to draw.

    Attributes:
        identity: number of the person.
        label: index into `CLASSES`, of the expression that the actions show.
        intensity: of the expression, `MIN_INTENSITY`..1.
        actions: what the face does, float [len(ACTIONS)].
        conditions: how the picture is taken.
    """

    identity: int
    label: int
    intensity: float
    actions: tuple[float, ...]
    conditions: Conditions

    def jpeg(self, seed: int, size: int) -> bytes:
        """Draw the face at ``size`` pixels as a person of the world ``seed``, and encode it."""
        image = render(make_identity(seed, self.identity), np.array(self.actions), self.conditions, size)
        return encode_jpeg(image, self.conditions.quality)


@dataclass(frozen=True)
class Video:
    """One annotated person of a video.

    Attributes:
        name: of its annotation file and its crop folder.
        labels: one per line of the annotation file, `NOT_ANNOTATED` or an index into `CLASSES`.
        crops: (frame number from 1, face) of every frame that has a crop, in order.
    """

    name: str
    labels: tuple[int, ...]
    crops: tuple[tuple[int, Face], ...]


def still(seed: int, identity: int, number: int, label: int) -> Face:
    """A picture of a person with the expression ``label``; ``number`` tells apart the pictures of a world."""
    rng = generator(seed, _STILL, identity, number)
    intensity = float(MIN_INTENSITY + (1 - MIN_INTENSITY) * rng.beta(2, 1))  # mild ones are the fewer
    rest = make_identity(seed, identity).rest_vector()
    actions = express(sample_prototype(label, rng), intensity, rest, rng.standard_normal(len(ACTIONS)))
    conditions = sample_conditions(seed, identity, number)
    return Face(identity, label, intensity, tuple(actions.tolist()), conditions)


def class_folders(seed: int, per_class: int, first_identity: int) -> list[Face]:
    """Balanced stills, ``per_class`` of each class; each person appears in four of them."""
    total = per_class * len(CLASSES)
    people = -(-total // _PER_PERSON)
    return [still(seed, first_identity + i % people, i, i % len(CLASSES)) for i in range(total)]


def unlabeled_faces(seed: int, count: int) -> list[Face]:
    """Stills of many people, 1 to 7 of each, with the classes as frequent as in videos; grouped by person."""
    rng = generator(seed, _COUNTS, FIRST_UNLABELED)
    labels = _shuffled_labels(count, rng)
    faces: list[Face] = []
    person = FIRST_UNLABELED
    while len(faces) < count:
        for _ in range(min(int(rng.integers(1, 2 * _PER_PERSON)), count - len(faces))):
            faces.append(still(seed, person, len(faces), labels[len(faces)]))
        person += 1
    return faces


# Names as they occur in Aff-Wild2, with its traps: two people in a video are told apart by a suffix that the
# main person may lack, and names may be bare numbers or contain an underscore of their own.
_TRAIN_NAMES = ("10-30-1280x720", "112", "video7", "video7_right", "video59", "video10_1",
                "30-30-1920x1080_left", "30-30-1920x1080_right")  # fmt: skip
_VAL_NAMES = ("118-30-640x480", "video2", "video2_left", "46-24-1920x1080")
MIN_VIDEOS = len(_TRAIN_NAMES) + len(_VAL_NAMES)
MIN_FRAMES = 8
MORE_LABELS_THAN_FRAMES, FEWER_LABELS_THAN_FRAMES = "video59", "video10_1"
_TAIL = 2  # by how many lines those two differ


def plan_videos(seed: int, count: int, frames: int) -> tuple[list[Video], list[Video]]:
    """The training and the validation videos, three to one, of different people.

    Args:
        seed: the world.
        count: annotated people in all, at least `MIN_VIDEOS`.
        frames: mean length of a video, at least `MIN_FRAMES`.
    """
    val = max(len(_VAL_NAMES), count // 4)
    train_names = [*_TRAIN_NAMES, *_more_names(1000, count - val - len(_TRAIN_NAMES))]
    val_names = [*_VAL_NAMES, *_more_names(5000, val - len(_VAL_NAMES))]
    return (
        _plan_set(seed, train_names, frames, FIRST_TRAIN_VIDEO),
        _plan_set(seed, val_names, frames, FIRST_VAL_VIDEO),
    )


def _more_names(start: int, count: int) -> Iterator[str]:
    patterns = ("{}-30-1280x720", "video{}", "{}", "{}-24-1920x1080")
    return (patterns[i % len(patterns)].format(start + i) for i in range(count))


def _plan_set(seed: int, names: Sequence[str], frames: int, first_identity: int) -> list[Video]:
    rng = generator(seed, _SCRIPT, first_identity)
    lengths: dict[str, int] = {}
    for name in names:  # people of one video share its length
        length = int(rng.integers(frames * 3 // 4, frames * 5 // 4 + 1))
        lengths.setdefault(name.removesuffix("_left").removesuffix("_right"), length)
    spans = [lengths[name.removesuffix("_left").removesuffix("_right")] for name in names]
    segments = [max(2, n // 4) for n in spans]
    labels = iter(_shuffled_labels(sum(segments), rng))
    videos = []
    for i, (name, length, parts) in enumerate(zip(names, spans, segments, strict=True)):
        script = [next(labels) for _ in range(parts)]
        faces = _film(seed, first_identity + i, length, script)
        videos.append(_annotate(name, i, faces, generator(seed, _SCRIPT, first_identity, i)))
    return videos


def _film(seed: int, identity: int, length: int, script: Sequence[int]) -> list[Face]:
    """A person shows the expressions of the script one after the other; pose and actions move smoothly."""
    rng = generator(seed, _VIDEO, identity)
    rest = make_identity(seed, identity).rest_vector()
    scene = sample_conditions(seed, identity, 0)
    sway = rng.normal(0, (0.08, 0.04, 0.03))
    waves, phase = rng.standard_normal((2, len(ACTIONS))), rng.uniform(0, 2 * np.pi, 2)
    covered = int(rng.integers(length)) if scene.occlusion != "none" else length
    weights = rng.uniform(0.7, 1.3, len(script))
    borders = np.round(np.cumsum(weights) / weights.sum() * length).astype(int)
    faces: list[Face] = []
    for label, end in zip(script, borders.tolist(), strict=True):
        start, prototype = len(faces), sample_prototype(label, rng)
        peak = rng.uniform(0.75, 1.0)
        for t in range(start, end):
            rise = np.sin(np.pi * (t - start + 0.5) / (end - start)) ** 0.7
            intensity = float(MIN_INTENSITY + (peak - MIN_INTENSITY) * rise)
            jitter = waves[0] * np.cos(t / 6) + waves[1] * np.sin(t / 6)
            actions = express(prototype, intensity, rest, jitter)
            swing = np.sin(t / 9 + phase[0])
            conditions = scene.moved(
                yaw=scene.yaw + float(sway[0] * swing),
                pitch=scene.pitch + float(sway[1] * np.sin(t / 7 + phase[1])),
                roll=scene.roll + float(sway[2] * swing),
                occlusion=scene.occlusion if covered <= t < covered + length // 3 else "none",
                moment=t,
            )
            faces.append(Face(identity, label, intensity, tuple(actions.tolist()), conditions))
    return faces


def _annotate(name: str, number: int, faces: Sequence[Face], rng: np.random.Generator) -> Video:
    """Labels and crops with the flaws of real ones: frames nobody rated or without a crop, other lengths."""
    labels = [face.label for face in faces]
    crops = dict(enumerate(faces, start=1))
    if number % 3 == 0:
        start = int(rng.integers(len(faces) - 3))
        labels[start : start + 3] = [NOT_ANNOTATED] * 3
    if number % 3 == 1:  # the detector lost the face; in every other such video from the first frame on
        start = 1 if number % 2 else int(rng.integers(2, len(faces) - 2))
        for frame in (start, start + 1):
            del crops[frame]
    if name == MORE_LABELS_THAN_FRAMES:
        labels += labels[-1:] * _TAIL
    if name == FEWER_LABELS_THAN_FRAMES:
        del labels[-_TAIL:]
    return Video(name, tuple(labels), tuple(crops.items()))


def _shuffled_labels(count: int, rng: np.random.Generator) -> list[int]:
    """``count`` labels in natural proportion (largest remainder), each class at least once if possible."""
    shares = np.array(NATURAL_SHARE) * count
    counts = np.floor(shares).astype(int)
    for label in np.argsort(counts - shares, kind="stable")[: count - counts.sum()]:
        counts[label] += 1
    while count >= len(CLASSES) and counts.min() == 0:
        counts[counts.argmin()] += 1
        counts[counts.argmax()] -= 1
    return rng.permutation(np.repeat(np.arange(len(CLASSES)), counts)).tolist()
