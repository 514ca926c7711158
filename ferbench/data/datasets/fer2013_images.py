"""All pixels of FER2013, from Kaggle's csv or from a folder of images, and which of them are equal."""

from __future__ import annotations

import csv
import hashlib
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from ferbench.data.datasets.folder import scan_tree
from ferbench.data.io import UnreadableImage, decode, read_file
from ferbench.data.paths import AUTO_CACHE_ITEMS, IndexCache, PathArray
from ferbench.errors import UserError, nearest

FER2013_CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
USAGES = ("Training", "PublicTest", "PrivateTest")
SIDE = 48
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

    Columns are found by name, in any order, so that ``icml_face_data.csv`` is read as well.

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
            + ", ".join((*FOLDER_USAGES, *_FOLDER_ALIASES)), fix=f"name fer2013.csv itself, or {GET_FER2013}",
        )  # fmt: skip
    names = PathArray.from_strings(paths)
    state = hashlib.sha256()
    for relative in paths:
        status = os.stat(root / relative)
        state.update(f"{relative}\n{status.st_size}\n{status.st_mtime_ns}\n".encode())
    signature = {"format": "fer2013-folder-1", "files": state.hexdigest()}
    index = IndexCache(root, "fer2013 folder", cache)
    arrays: Mapping[str, Any] | None = index.load(
        signature, partial(_check_kept, usages=FOLDER_USAGES, images=len(paths))
    )
    if arrays is None:
        arrays = _keep(index, signature, _read_files(root, paths))
    return Images(**arrays, usages=FOLDER_USAGES, paths=names)


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
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # how NumPy reports text that is not a number
        for line, label, text, part in _rows(path):
            if label not in emotions:
                raise bad_row(path, line, f"label {label!r} is out of range", "an emotion from 0 to 6")
            if part not in codes:
                raise bad_row(path, line, f"usage {part!r} is not known", "one of " + ", ".join(USAGES))
            emotion.append(emotions[label])
            usage.append(codes[part])
            pixels += _pixels(path, line, text).data
    images = np.frombuffer(pixels, np.uint8).reshape(-1, SIDE, SIDE)
    return {
        "pixels": images, "emotion": np.frombuffer(emotion, np.int8), "usage": np.frombuffer(usage, np.int8),
        "first": _first_equal(images),
    }  # fmt: skip


def _rows(path: Path) -> Iterator[tuple[int, str, str, str]]:
    """Line, emotion, pixels and usage of each row."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [cell.strip().lower() for cell in next(reader, [])]
            missing = {"emotion", "pixels", "usage"} - set(header)
            if missing:
                raise UserError(
                    f"the csv has no column {', '.join(sorted(missing))}", where=f"{path}:1",
                    expected="the header emotion,pixels,Usage", fix=GET_FER2013,
                )  # fmt: skip
            at = [header.index(name) for name in ("emotion", "pixels", "usage")]
            count = 0
            for row in reader:
                if not row:
                    continue
                if len(row) <= max(at):
                    raise bad_row(
                        path,
                        reader.line_num,
                        f"a row has {len(row)} cells",
                        f"{len(header)}; is the file cut short?",
                    )
                count += 1
                yield reader.line_num, row[at[0]].strip(), row[at[1]], row[at[2]].strip()
            if not count:
                raise UserError("the csv lists no images", where=path, fix=GET_FER2013)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"not the csv of FER2013 ({error})", where=path, fix=GET_FER2013) from error


def _pixels(path: Path, line: int, text: str) -> np.ndarray:
    try:
        values = np.fromstring(text, np.int32, sep=" ")
    except (DeprecationWarning, ValueError):
        raise bad_row(
            path, line, "the pixels are not all numbers", f"{SIDE * SIDE} numbers from 0 to 255"
        ) from None
    if len(values) != SIDE * SIDE or values.min() < 0 or values.max() > 255:
        what = f"{len(values)} pixels" if len(values) != SIDE * SIDE else "a pixel outside 0 to 255"
        raise bad_row(path, line, what, f"{SIDE * SIDE} numbers from 0 to 255")
    return values.astype(np.uint8)


def bad_row(path: Path, line: int, what: str, expected: str) -> UserError:
    """The error that names a row of a csv of FER2013."""
    return UserError(what, where=f"{path}:{line}", expected=expected, fix=GET_FER2013)


def _read_files(root: Path, paths: Sequence[str]) -> dict[str, np.ndarray]:
    count = len(paths)
    pixels, readable = np.zeros((count, SIDE, SIDE), np.uint8), np.ones(count, bool)
    emotion, usage = np.empty(count, np.int8), np.empty(count, np.int8)
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
    return {"pixels": pixels, "emotion": emotion, "usage": usage, "first": first, "readable": readable}


def _usage_of(folder: str) -> str | None:
    by_name = {name.lower(): name for name in FOLDER_USAGES} | _FOLDER_ALIASES
    return by_name.get(folder.lower())


def _first_equal(pixels: np.ndarray) -> np.ndarray:
    """int32 [N]: for each image the first one with the same pixels."""
    seen: dict[bytes, int] = {}
    digests = (hashlib.blake2b(image, digest_size=16).digest() for image in pixels)
    return np.fromiter((seen.setdefault(d, i) for i, d in enumerate(digests)), np.int32, len(pixels))
