"""The votes of FER+, from ``fer2013new.csv`` or from the folders ``FER2013Train``, ``FER2013Valid``, ``FER2013Test``."""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ferbench.data.datasets.fer2013_images import USAGES, Images, bad_row, load_files, read_images
from ferbench.data.text import csv_rows, shown, whole_number
from ferbench.errors import UserError

FERPLUS_CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
NO_CLASS = ("unknown", "NF")  # NF: no face
GET_FERPLUS = "get fer2013new.csv from https://github.com/microsoft/FERPlus"
FOLDERS = ("FER2013Train", "FER2013Valid", "FER2013Test")  # in the order of `USAGES`
_COLUMNS = (*FERPLUS_CLASSES, *NO_CLASS)
_MOST_VOTES = 10_000  # for one class: the released files have ten votes a row
_WHOLE_IMAGE = "(0, 0, 48, 48)"


def read_votes(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Votes int64 [N, 10] (`FERPLUS_CLASSES`, then `NO_CLASS`) and usage int64 [N] of each row.

    Raises:
        UserError: no such file or column, a vote that is no number, an unknown usage; with file and line.
    """
    votes, usage = array("q"), array("q")
    rows = csv_rows(path, "the csv of FER+ votes", GET_FERPLUS)
    header = [cell.strip().lower() for cell in next(rows, (0, []))[1]]
    missing = [name for name in ("usage", *_COLUMNS) if name.lower() not in header]
    if missing:
        raise UserError(
            f"the csv of votes has no column {', '.join(missing)}", where=f"{path}:1", fix=GET_FERPLUS
        )
    at, usage_at = [header.index(name.lower()) for name in _COLUMNS], header.index("usage")
    for line, row in rows:
        if len(row) != len(header) or row[usage_at].strip(" ") not in USAGES:
            raise _bad_votes(
                path, line, row, f"a usage ({', '.join(USAGES)}) and {len(_COLUMNS)} numbers of votes"
            )
        votes.extend(_numbers(path, line, row, [row[i] for i in at]))
        usage.append(USAGES.index(row[usage_at].strip(" ")))
    return np.asarray(votes, np.int64).reshape(-1, len(_COLUMNS)), np.asarray(usage, np.int64)


def _numbers(path: Path, line: int, row: Sequence[str], cells: Sequence[str]) -> list[int]:
    numbers = [whole_number(cell.strip(" ")) for cell in cells]
    votes = [number for number in numbers if number is not None and 0 <= number <= _MOST_VOTES]
    if len(votes) != len(_COLUMNS):
        raise _bad_votes(path, line, row, f"{len(_COLUMNS)} numbers of votes from 0 to {_MOST_VOTES}")
    return votes


def _bad_votes(path: Path, line: int, row: Sequence[str], expected: str) -> UserError:
    return bad_row(path, line, f"no row of votes: {shown(','.join(row))}", expected, GET_FERPLUS)


def has_label_folders(root: Path) -> bool:
    """Whether FER+'s own folders lie there, with or without images."""
    return any(_label_file(root, folder) is not None for folder in FOLDERS)


def _label_file(root: Path, folder: str) -> Path | None:
    places = [root / within / folder / "label.csv" for within in ("", "data", "Labels", "labels")]
    return next((place for place in places if place.is_file()), None)


def load_label_folders(root: Path, cache: str | os.PathLike[str] | None) -> tuple[Images, np.ndarray]:
    """The images of FER+'s folders and their votes, int64 [N, 10].

    ``label.csv`` has a row of file name, face box and votes for each image. The images lie beside it, or in the folder
    of the same name in ``Images``, as FER+'s script `generate_training_data.py` writes them.

    Raises:
        UserError: no images; a row that is none (file and line); an image that is listed twice or is not 48 x 48.
    """
    votes, usage = array("q"), array("b")
    paths: dict[str, str] = {}
    for code, folder in enumerate(FOLDERS):
        path = _label_file(root, folder)
        if path is None:
            continue
        within = next((w for w in ("", "data/", "Images/", "images/") if _has_images(root / w / folder)), "")
        for line, row in csv_rows(path, "label.csv of FER+", GET_FERPLUS):
            expected = f"<image>,{_WHOLE_IMAGE!r} and {len(_COLUMNS)} numbers of votes"
            if len(row) != 2 + len(_COLUMNS) or not row[0].endswith(".png") or "/" in row[0]:
                raise _bad_votes(path, line, row, expected)
            if row[1] != _WHOLE_IMAGE:  # the released ones are all the same; another one is not understood
                raise bad_row(path, line, f"the face box {shown(row[1])}", _WHOLE_IMAGE, GET_FERPLUS)
            file = f"{within}{folder}/{row[0]}"
            if file in paths:
                raise bad_row(path, line, f"{shown(row[0])} is listed twice", "every image once", GET_FERPLUS)
            paths[file] = f"{path}:{line}"
            votes.extend(_numbers(path, line, row, row[2:]))
            usage.append(code)
    files = list(paths)
    if not any((root / file).is_file() for file in files):
        raise UserError(
            "FER+'s folders have label.csv but none of its images", where=root, expected="FER2013Train/fer0000000.png, ...",
            fix="make them from fer2013.csv by FER+'s generate_training_data.py; or name fer2013.csv as root and "
            "fer2013new.csv as votes",
        )  # fmt: skip
    usages = np.asarray(usage, np.int8)
    no_emotion = np.zeros(len(files), np.int8)
    images = load_files(
        root,
        files,
        USAGES,
        cache,
        lambda: {"emotion": no_emotion, "usage": usages} | read_images(root, files),
    )
    return images, np.asarray(votes, np.int64).reshape(-1, len(_COLUMNS))


def _has_images(folder: Path) -> bool:
    try:
        return any(name.endswith(".png") and not name.startswith(".") for name in os.listdir(folder))
    except OSError:
        return False
