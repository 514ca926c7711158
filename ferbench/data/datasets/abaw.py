"""Expression annotations of Aff-Wild2 as the ABAW challenges release them: where they lie, how they read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ferbench.data.datasets.base import UNLABELED
from ferbench.errors import UserError, nearest

EXPR_CLASSES = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
CHALLENGE_FOLDERS = (
    "EXPR_Classification_Challenge",  # ABAW3 to ABAW5
    "EXPR_Recognition_Challenge",  # ABAW6 and later
    "EXPR_Set", "Expression_Set",  # ABAW1, ABAW2: seven classes, no Other
)  # fmt: skip
GET_AFFWILD2 = "ask for Aff-Wild2 at https://ibug.doc.ic.ac.uk/resources/aff-wild2/ (signed agreement)"


def video_of(subject: str) -> str:
    """The video of a subject: a trailing ``_left`` or ``_right`` names one of two people in one video."""
    for side in ("_left", "_right"):
        if subject.endswith(side):
            return subject.removesuffix(side)
    return subject


def find_annotations(root: Path, part: str) -> Path:
    """The folder of annotation files, e.g. ``.../EXPR_Classification_Challenge/Train_Set``.

    Args:
        root: the data set's folder, an annotation release in it, the challenge's folder, or the part itself.
        part: ``Train_Set`` or ``Validation_Set``.

    Raises:
        UserError: none found, or several releases of which one must be chosen.
    """
    if root.name == part:
        return root
    bases = [root] + sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    places = {base / challenge for base in bases for challenge in CHALLENGE_FOLDERS} | {root}
    found = sorted(place / part for place in places if (place / part).is_dir())
    if len(found) > 1:
        raise UserError(
            f"several annotation releases hold {part}: {', '.join(str(f.relative_to(root)) for f in found)}",
            where=root, expected="one", fix=f"name the one to use: annotations={str(found[-1].parent)!r}",
        )  # fmt: skip
    if not found:
        challenges = [place for place in places if place != root and place.is_dir()]
        parts = sorted({p.name for challenge in challenges for p in challenge.iterdir()})
        raise UserError(
            f"no expression annotations with a part {part!r} below this folder", where=root,
            expected=nearest(part, parts) if parts else f"*_ABAW_Annotations/{CHALLENGE_FOLDERS[0]}/{part}",
            fix=f"{GET_AFFWILD2}; or draw synthetic faces instead: python tools/make_synthetic.py OUT",
        )  # fmt: skip
    return found[0]


@dataclass
class Annotation:
    """The annotation file of one subject.

    Attributes:
        file: the text file; frame i (from 1) is its line i + 1.
        source: class names of the header, in the order of the integers.
        labels: int64 [frames], index into ``source`` or -1 (not annotated).
    """

    file: Path
    source: tuple[str, ...]
    labels: np.ndarray

    @classmethod
    def read(cls, file: Path) -> Annotation:
        """Parse a file: a header of class names in any order, then one integer per frame.

        Raises:
            UserError: empty, without header, or a line that is no label of the header; with file and line.
        """
        try:
            lines = file.read_text(encoding="utf-8-sig").rstrip().splitlines()
        except UnicodeDecodeError as error:
            raise UserError(f"the annotation is not a text file ({error})", where=file) from error
        if len(lines) < 2:
            raise UserError(
                "the annotation file " + ("has a header but no frames" if lines else "is empty"),
                where=file, expected=",".join(EXPR_CLASSES) + " and one integer per frame",
                fix="copy it again",
            )  # fmt: skip
        source = tuple(name.strip() for name in lines[0].split(",") if name.strip())
        if not source or any(name.lstrip("-").isdigit() for name in source):
            raise UserError(
                f"the first line is no list of class names: {lines[0]!r}", where=f"{file}:1",
                expected=",".join(EXPR_CLASSES),
                fix="restore the header: without it every frame would shift by one",
            )  # fmt: skip
        if len({name.lower() for name in source}) < len(source):
            raise UserError(f"the header names a class twice: {lines[0]!r}", where=f"{file}:1")
        return cls(file, source, _parse_labels(file, lines[1:], len(source)))


def _parse_labels(file: Path, lines: list[str], num_classes: int) -> np.ndarray:
    labels = np.empty(len(lines), np.int64)
    for i, text in enumerate(lines):
        try:
            labels[i] = int(text)
        except ValueError:
            raise UserError(
                f"no label: {text!r}", where=f"{file}:{i + 2}",
                expected=f"an integer from -1 to {num_classes - 1}",
                fix="a line must not be removed: line numbers are frame numbers; use -1 for an unknown label",
            ) from None  # fmt: skip
    wrong = np.flatnonzero((labels < UNLABELED) | (labels >= num_classes))
    if len(wrong):
        raise UserError(
            f"label {labels[wrong[0]]} is out of range ({len(wrong)} such lines)",
            where=f"{file}:{wrong[0] + 2}",
            expected=f"-1 (not annotated) or 0 to {num_classes - 1}, the {num_classes} classes of the header",
        )  # fmt: skip
    return labels


def crop_frames(folder: Path) -> np.ndarray:
    """Sorted frame numbers (int64) of the crops ``00001.jpg``, ``00002.jpg``, ... of a folder."""
    try:
        names = os.listdir(folder)  # one call, no stat per frame
    except (FileNotFoundError, NotADirectoryError):
        return np.empty(0, np.int64)
    stems = [name[:-4] for name in names if name.endswith(".jpg")]
    numbers = np.array(sorted(int(stem) for stem in stems if stem.isdecimal() and _is_padded(stem)), np.int64)
    return numbers[numbers > 0]


def _is_padded(stem: str) -> bool:
    return len(stem) == 5 or (len(stem) > 5 and stem[0] != "0")
