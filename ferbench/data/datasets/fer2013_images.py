"""All pixels of FER2013, from Kaggle's csv or from a folder of images, and which of them are equal."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from ferbench.data.datasets.folder import scan_tree
from ferbench.data.io import UnreadableImage, decode, read_file
from ferbench.data.paths import AUTO_CACHE_ITEMS, IndexCache, PathArray
from ferbench.data.text import csv_rows, shown
from ferbench.errors import UserError, nearest

FER2013_CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
USAGES = ("Training", "PublicTest", "PrivateTest")
SIDE = 48
CSV_NAMES = ("fer2013.csv", "fer2013/fer2013.csv", "icml_face_data.csv", "train.csv")
_PIXELS = re.compile("[0-9 ]+", re.ASCII)
MIN_CACHED = 1000  # rows: parsing fewer is faster than anybody notices
GET_FER2013 = (
    "get fer2013.csv (emotion,pixels,Usage) from the Kaggle competition "
    "challenges-in-representation-learning-facial-expression-recognition-challenge"
)
FOLDER_USAGES = (*USAGES, "test")  # folder releases that name a usage `test` have put both test parts into it
_FOLDER_ALIASES = {"train": "Training", "val": "PublicTest", "validation": "PublicTest"}


class Images(NamedTuple):
    """All of FER2013 that one csv or folder holds.

    Attributes:
        pixels: uint8 [N, 48, 48].
        emotion: int8 [N], index into `FER2013_CLASSES`.
        usage: int8 [N], index into ``usages``.
        first: int32 [N], the first item with the same pixels (itself, if there is no earlier one).
        readable: bool [N], whether the image could be decoded (always, in a csv).
        usages: names of the usages, in order of the codes.
        paths: relative path of each image file, or None in a csv.
    """

    pixels: np.ndarray
    emotion: np.ndarray
    usage: np.ndarray
    first: np.ndarray
    readable: np.ndarray
    usages: tuple[str, ...]
    paths: PathArray | None = None


def load_csv(path: Path, cache: str | os.PathLike[str] | None = "auto") -> Images:
    """Parse the Kaggle csv, or map what an earlier call kept, while size and time of the file are the same.

    Columns are found by name, in any order and whatever blanks stand about them, so that ``icml_face_data.csv`` is read
    as well; and ``train.csv``, which has no column Usage and holds the usage Training alone.

    Raises:
        UserError: no such file or column, a row that is no image, label or usage; with file and line.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise UserError(f"FER2013 cannot be read: {error.strerror}", where=path, fix=GET_FER2013) from error
    signature = {"format": "fer2013-1", "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
    index = IndexCache(path.parent, f"fer2013 csv {path.name}", cache)
    arrays: Mapping[str, Any] | None = index.load(signature, partial(_check_kept, usages=USAGES))
    if arrays is None:
        arrays = _keep(index, signature, _parse_csv(path))
    return Images(**arrays, readable=np.ones(len(arrays["emotion"]), bool), usages=USAGES)


def load_folder(root: Path, cache: str | os.PathLike[str] | None = "auto") -> Images:
    """Read ``<usage>/<class>/*`` (Training or train, PublicTest, PrivateTest, test; case ignored).

    Kept between calls while names, sizes and times of all files are the same. Unreadable files stay in,
    marked.

    Raises:
        UserError: no usage folder, an unknown class folder, an image of another size.
    """
    tree = scan_tree(root)
    paths = [tree.path(i) for i in range(len(tree.names))]
    paths = [p for p in paths if p.count("/") == 2 and _usage_of(p.split("/")[0]) is not None]
    if not paths:
        raise UserError(
            "the folder holds no FER2013 images", where=root,
            expected="<usage>/<class>/<image>, usage one of "
            + ", ".join((*FOLDER_USAGES, *_FOLDER_ALIASES)),
            fix=f"name fer2013.csv itself, or {GET_FER2013}; folders with label.csv are read by FERPlus",
        )  # fmt: skip
    return load_files(root, paths, FOLDER_USAGES, cache, lambda: _read_files(root, paths))


def load_files(
    root: Path, paths: Sequence[str], usages: tuple[str, ...], cache: str | os.PathLike[str] | None,
    read: Callable[[], dict[str, np.ndarray]],
) -> Images:  # fmt: skip
    """`Images` of image files, from ``read`` or as they were kept while names, sizes and times of all were the same."""
    state = hashlib.sha256()
    for relative in paths:
        try:
            status = os.stat(root / relative)
            state.update(f"{relative}\n{status.st_size}\n{status.st_mtime_ns}\n".encode())
        except OSError:  # a listed file that is missing: unreadable, and named when it is read
            state.update(f"{relative}\n\n".encode())
    signature = {"format": "fer2013-folder-1", "files": state.hexdigest()}
    index = IndexCache(root, f"fer2013 folder {' '.join(usages)}", cache)
    arrays: Mapping[str, Any] | None = index.load(
        signature, partial(_check_kept, usages=usages, images=len(paths))
    )
    if arrays is None:
        arrays = _keep(index, signature, read())
    return Images(**arrays, usages=usages, paths=PathArray.from_strings(paths))


def find_csv(root: Path) -> Path:
    """The csv of a folder, under the names that Kaggle gives it; ``root`` itself where there is none."""
    return next((root / name for name in CSV_NAMES if (root / name).is_file()), root)


def _check_kept(arrays: Mapping[str, np.ndarray], usages: Sequence[str], images: int | None = None) -> None:
    """Whether kept arrays can be FER2013 (``images``: how many files there are, None for a csv); ValueError."""
    pixels, emotion, usage, first = (arrays[name] for name in ("pixels", "emotion", "usage", "first"))
    readable = np.ones(len(emotion), bool) if images is None else arrays["readable"]
    count = len(emotion) if images is None else images
    if (
        len(arrays) != 4 + (images is not None)
        or pixels.shape != (count, SIDE, SIDE)
        or any(a.shape != (count,) for a in (emotion, usage, first, readable))
    ):
        raise ValueError("the arrays are not of the same images")
    types = (np.uint8, np.int8, np.int8, np.int32, np.bool_)
    if any(a.dtype != t for a, t in zip((pixels, emotion, usage, first, readable), types, strict=True)):
        raise ValueError("an array is of another type")
    for values, beyond in (
        (emotion, len(FER2013_CLASSES)),
        (usage, len(usages)),
        (first, np.arange(count) + 1),
    ):
        if (values < 0).any() or (values >= beyond).any():
            raise ValueError("a class, a usage or a copy is out of range")


def _keep(
    index: IndexCache, signature: Mapping[str, Any], arrays: dict[str, np.ndarray]
) -> Mapping[str, Any]:
    """Cache from `MIN_CACHED` rows on: it is the text of the rows that takes seconds, not their number."""
    count = len(arrays["emotion"])
    return index.save(signature, arrays, AUTO_CACHE_ITEMS if count >= MIN_CACHED else count)


def _parse_csv(path: Path) -> dict[str, np.ndarray]:
    pixels, emotion, usage = bytearray(), bytearray(), bytearray()
    codes = {name: i for i, name in enumerate(USAGES)}
    emotions = {str(i): i for i in range(len(FER2013_CLASSES))}
    for line, label, text, part in _rows(path):
        if label not in emotions:
            raise bad_row(path, line, f"label {shown(label)} is out of range", "an emotion from 0 to 6")
        if part not in codes:
            raise bad_row(path, line, f"usage {shown(part)} is not known", "one of " + ", ".join(USAGES))
        emotion.append(emotions[label])
        usage.append(codes[part])
        pixels += _pixels(path, line, text).data
    images = np.frombuffer(pixels, np.uint8).reshape(-1, SIDE, SIDE)
    return {
        "pixels": images, "emotion": np.frombuffer(emotion, np.int8), "usage": np.frombuffer(usage, np.int8),
        "first": _first_equal(images),
    }  # fmt: skip


def _rows(path: Path) -> Iterator[tuple[int, str, str, str]]:
    """Line, emotion, pixels and usage of each row; without a column Usage, as in ``train.csv``, that is Training."""
    rows = csv_rows(path, "the csv of FER2013", GET_FER2013)
    header = [cell.strip().lower() for cell in next(rows, (0, []))[1]]
    missing = {"emotion", "pixels"} - set(header)
    if missing:
        raise UserError(
            f"the csv has no column {', '.join(sorted(missing))}"
            + (" (test.csv of the competition has no labels)" if header == ["pixels"] else ""),
            where=f"{path}:1", expected="the header emotion,pixels,Usage", fix=GET_FER2013,
        )  # fmt: skip
    emotion_at, pixels_at = header.index("emotion"), header.index("pixels")
    usage_at = header.index("usage") if "usage" in header else None
    count = 0
    for line, row in rows:
        if len(row) != len(header):
            raise bad_row(path, line, f"a row has {len(row)} cells", f"{len(header)}; is the file cut short?")
        count += 1
        usage = USAGES[0] if usage_at is None else row[usage_at].strip(" ")
        yield line, row[emotion_at].strip(" "), row[pixels_at], usage
    if not count:
        raise UserError("the csv lists no images", where=path, fix=GET_FER2013)


def _pixels(path: Path, line: int, text: str) -> np.ndarray:
    expected = f"{SIDE * SIDE} numbers from 0 to 255"
    if not _PIXELS.fullmatch(text):
        raise bad_row(path, line, "the pixels are not all numbers", expected)
    values = np.fromstring(text, np.int64, sep=" ")
    if len(values) != SIDE * SIDE or values.max() > 255:
        what = f"{len(values)} pixels" if len(values) != SIDE * SIDE else "a pixel outside 0 to 255"
        raise bad_row(path, line, what, expected)
    return values.astype(np.uint8)


def bad_row(path: Path, line: int, what: str, expected: str, fix: str = GET_FER2013) -> UserError:
    """The error that names a row of a csv of FER2013 or FER+."""
    return UserError(what, where=f"{path}:{line}", expected=expected, fix=fix)


def _read_files(root: Path, paths: Sequence[str]) -> dict[str, np.ndarray]:
    emotion, usage = np.empty(len(paths), np.int8), np.empty(len(paths), np.int8)
    known = {name.lower(): i for i, name in enumerate(FER2013_CLASSES)}
    for i, relative in enumerate(paths):
        part, label, _ = relative.split("/")
        if label.lower() not in known:
            raise UserError(
                f"class folder {label!r} is not known",
                where=root / part / label,
                expected=nearest(label, FER2013_CLASSES),
            )
        emotion[i], usage[i] = known[label.lower()], FOLDER_USAGES.index(str(_usage_of(part)))
    return {"emotion": emotion, "usage": usage} | read_images(root, paths)


def read_images(root: Path, paths: Sequence[str]) -> dict[str, np.ndarray]:
    """``pixels``, ``first`` and ``readable`` of `Images` from image files, relative to ``root``.

    Raises:
        UserError: an image that is not 48 x 48.
    """
    pixels, readable = np.zeros((len(paths), SIDE, SIDE), np.uint8), np.ones(len(paths), bool)
    for i, relative in enumerate(paths):
        try:
            image = decode(read_file(root / relative, paths.__getitem__, i), paths.__getitem__, i)
        except UnreadableImage:
            readable[i] = False  # `FER2013Faces.read` says why, each time it is asked for
            continue
        if image.shape[:2] != (SIDE, SIDE):
            raise UserError(
                f"an image of {image.shape[1]} x {image.shape[0]} pixels", where=root / relative,
                expected=f"{SIDE} x {SIDE}", fix="for other images use ImageFolder with labeled=True",
            )  # fmt: skip
        pixels[i] = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    first = _first_equal(pixels)
    first[~readable] = np.flatnonzero(~readable)  # nothing is known of them, not that they are equal
    return {"pixels": pixels, "first": first, "readable": readable}


def _usage_of(folder: str) -> str | None:
    by_name = {name.lower(): name for name in FOLDER_USAGES} | _FOLDER_ALIASES
    return by_name.get(folder.lower())


def _first_equal(pixels: np.ndarray) -> np.ndarray:
    """int32 [N]: for each image the first one with the same pixels."""
    seen: dict[bytes, int] = {}
    digests = (hashlib.blake2b(image, digest_size=16).digest() for image in pixels)
    return np.fromiter((seen.setdefault(d, i) for i, d in enumerate(digests)), np.int32, len(pixels))
