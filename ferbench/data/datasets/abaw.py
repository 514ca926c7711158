"""Expression annotations of Aff-Wild2 as the ABAW challenges release them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ferbench.data.datasets.base import UNLABELED
from ferbench.data.text import shown, text_lines, whole_number
from ferbench.errors import UserError

EXPR_CLASSES = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
GET_AFFWILD2 = "ask for Aff-Wild2 at https://ibug.doc.ic.ac.uk/resources/aff-wild2/ (signed agreement)"


def video_of(subject: str) -> str:
    """The video of a subject: a trailing ``_left`` or ``_right`` names one of two people in one video."""
    for side in ("_left", "_right"):
        if subject.endswith(side):
            return subject.removesuffix(side)
    return subject


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
        lines = [text.strip(" \t") for _, text in text_lines(file, "the annotation", "copy it again")]
        while lines and not lines[-1]:
            lines.pop()
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
        label = whole_number(text)
        if label is None:
            raise UserError(
                f"no label: {shown(text)}", where=f"{file}:{i + 2}",
                expected=f"an integer from -1 to {num_classes - 1}",
                fix="a line must not be removed: line numbers are frame numbers; use -1 for an unknown label",
            )  # fmt: skip
        labels[i] = label
    wrong = np.flatnonzero((labels < UNLABELED) | (labels >= num_classes))
    if len(wrong):
        raise UserError(
            f"label {labels[wrong[0]]} is out of range ({len(wrong)} such lines)",
            where=f"{file}:{wrong[0] + 2}",
            expected=f"-1 (not annotated) or 0 to {num_classes - 1}, the {num_classes} classes of the header",
        )  # fmt: skip
    return labels
