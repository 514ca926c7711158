"""AffectNet, manually annotated images, in the forms in which it is handed out.

Mollahosseini et al., "AffectNet: A Database for Facial Expression, Valence, and Arousal Computing in the
Wild", IEEE Transactions on Affective Computing 2019; Fard et al., "AffectNet+: A Database for Enhancing Facial
Expression Recognition with Soft-Labels", arXiv 2410.22506.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ferbench.data.datasets.base import require_folder
from ferbench.data.datasets.listed import (
    ListedFaces,
    Rows,
    bad_line,
    first_existing,
    is_name,
    join,
    parse_code,
)
from ferbench.data.paths import IndexCache, PathArray
from ferbench.data.text import csv_rows, shown, whole_number
from ferbench.errors import UserError
from ferbench.registry import DATASETS

AFFECTNET_CLASSES = ("Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger", "Contempt")
NO_EXPRESSION = ("None", "Uncertain", "No-Face")  # codes 8, 9, 10
GET_AFFECTNET = "ask for AffectNet at http://mohammadmahoor.com/affectnet/"
_CODES = range(len(AFFECTNET_CLASSES) + len(NO_EXPRESSION))
_COLUMNS = (
    "subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks",
    "expression", "valence", "arousal",
)  # fmt: skip
_PLACES = ("", "Manually_Annotated/", "Manually_Annotated_file_lists/", "Manually_annotated/")
_PARTS = {"train": ("train_set", "train"), "val": ("val_set", "validation_set", "val", "validation")}
_IMAGES = (".jpg", ".jpeg", ".png")
_LABELS = ("_exp.npy", ".json")
_TRIED = 16  # images that are looked for to learn their ending
_LARGEST = 1 << 20  # bytes of a label file: a real one has a few hundred


@DATASETS.register_module()
class AffectNet(ListedFaces):
    """AffectNet by its lists (``training.csv``), in the reduced release (``0_exp.npy``) or as AffectNet+ (``0.json``).

    Images of the lists may be png instead of what the lists call them, if all are.
    The reduced release and AffectNet+ have a label file for each image in ``train_set/annotations`` (or beside the
    images) and ``0.jpg`` or ``0.png`` in ``train_set/images``; ``val_set`` may also be called ``validation_set``. Of
    the json files of AffectNet+, whose key ``Human-Label`` is read, no public description was found: the layout is the
    one that public code reads. Soft labels are not used.

    Images of the codes 8 None, 9 Uncertain and 10 No-Face are left out and counted. For "AffectNet-7" leave
    out contempt with ``rename={'Contempt': None}`` and name the other seven as ``classes``.

    Args:
        root: folder with ``train_set`` and ``val_set``, or with the csv files.
        part: ``train`` or ``val``.
        images: folder of the images that the csv lists, if it is not ``Manually_Annotated_Images`` below
            ``root``.
        annotations: the csv file, if it is not found below ``root``.
        classes: target classes; None for the eight of AffectNet.
        rename: source class -> target class, or None to leave its images out (see `ClassMap`).
        cache: where the labels are kept that lie in one file each (see `IndexCache`). Kept labels hold while no file
            is added to or removed from the folders of annotations and images.
        name: short name for logs and records.

    Raises:
        UserError: missing folder or list; a row without path or with a label that is none (file and line); a label
            file that holds none.
    """

    def __init__(
        self,
        root: str | Path,
        part: Literal["train", "val"] = "train",
        images: str | Path | None = None,
        annotations: str | Path | None = None,
        classes: Sequence[str] | None = None,
        rename: Mapping[str, str | None] | None = None,
        cache: str | os.PathLike[str] | None = "auto",
        name: str | None = None,
    ):
        super().__init__(name or f"affectnet-{part}", AFFECTNET_CLASSES, classes, rename)
        if part not in ("train", "val"):
            raise UserError(f"part={part!r}", expected="'train' or 'val'")
        self._ending: str | None = None
        folder = require_folder(root, "AffectNet", synthetic=False, get=GET_AFFECTNET)
        base = next((folder / place for place in _PARTS[part] if _is_part(folder / place)), None)
        if base is not None and annotations is None and images is None:
            apart = (base / "annotations").is_dir() or (base / "images").is_dir()  # not in one folder
            self.folder = require_folder(
                base / "images" if apart else base,
                "the images of AffectNet",
                synthetic=False,
                get=GET_AFFECTNET,
            )
            names, codes = _read_files(base, self.folder, cache)
            self._hold_expressions(names, None, codes)
            return
        file = {"train": "training.csv", "val": "validation.csv"}[part]
        self.list_file = (
            first_existing(
                folder,
                [p + file for p in _PLACES],
                f"{file} of AffectNet (or {part}_set)",
                f"{GET_AFFECTNET}; a folder per class is read by ImageFolder with labeled=True",
            )
            if annotations is None
            else Path(annotations).expanduser()
        )
        if images is None:
            places = [p + "Manually_Annotated_Images" for p in _PLACES]
            images = first_existing(folder, places, "the images of AffectNet", "name them as `images`")
        self.folder = require_folder(images, "the images of AffectNet", synthetic=False, get=GET_AFFECTNET)
        rows = Rows()
        for line, path, label in _read_csv(self.list_file):
            rows.add(path, line, parse_code(label, _CODES, self.list_file, line), self.list_file)
        names = rows.names.build()
        self._ending = _other_ending(self.folder, names[:_TRIED])
        self._hold_expressions(names, np.asarray(rows.lines), np.asarray(rows.codes))

    def _hold_expressions(self, names: PathArray, lines: np.ndarray | None, codes: np.ndarray) -> None:
        count = len(AFFECTNET_CLASSES)
        for i, reason in enumerate(NO_EXPRESSION):
            self.left_out[f"dropped_{reason.lower()}"] = int((codes == count + i).sum())
        self.hold(names, lines, np.where(codes < count, codes, -1))

    def file(self, index: int) -> str:
        """See `ListedFaces.file`."""
        name = self.item_id(index)
        return join(self.folder, name if self._ending is None else os.path.splitext(name)[0] + self._ending)


def _other_ending(folder: Path, names: Sequence[str]) -> str | None:
    """The ending of the images that lie there, if they are not called as they are listed (``.png`` for ``.jpg``)."""
    for name in names:
        if os.path.exists(join(folder, name)):
            return None
        for ending in _IMAGES:
            if os.path.exists(join(folder, os.path.splitext(name)[0] + ending)):
                return ending
    return None


def _is_part(folder: Path) -> bool:
    """Whether a part of the reduced release or of AffectNet+ lies there."""
    return any((folder / name).is_dir() for name in ("annotations", "images")) or any(folder.glob("*.json"))


def _read_csv(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line, image path and expression code of each row. Some copies of ``validation.csv`` have no header."""
    path_at, label_at = _COLUMNS.index("subDirectory_filePath"), _COLUMNS.index("expression")
    for line, row in csv_rows(path, "the list of AffectNet", GET_AFFECTNET):
        if line == 1 and _COLUMNS[0] in row:
            if "expression" not in row:
                raise bad_line(path, 1, "the csv has no column 'expression'", ",".join(_COLUMNS))
            path_at, label_at = row.index(_COLUMNS[0]), row.index("expression")
            continue
        if len(row) <= max(path_at, label_at) or not row[path_at]:
            raise bad_line(path, line, "a row has no path or too few cells", ",".join(_COLUMNS))
        yield line, row[path_at].replace("\\", "/"), row[label_at].strip(" ")


def _read_files(
    base: Path, images: Path, cache: str | os.PathLike[str] | None
) -> tuple[PathArray, np.ndarray]:
    """Image names and codes (int16) of a part; ``7_exp.npy`` or ``7.json`` holds the code of ``7.jpg``."""
    folder = base / "annotations" if (base / "annotations").is_dir() else images
    stamps = [os.stat(place).st_mtime_ns for place in (folder, images)]
    signature: dict[str, Any] = {"format": "affectnet-2", "mtime_ns": stamps}
    index = IndexCache(base, "affectnet annotations", cache)
    kept = index.load(signature, _check_kept)
    if kept is not None:
        return PathArray(kept["names"], kept["offsets"]), np.asarray(kept["codes"])
    files = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    ending = next((e for e in _LABELS if any(name.endswith(e) for name in files)), None)
    if ending is None:
        raise UserError(
            "the folder holds no labels",
            where=folder,
            expected="<id>_exp.npy (or <id>.json)",
            fix=GET_AFFECTNET,
        )
    labels = [name for name in files if name.endswith(ending)]
    read = _npy_code if ending == "_exp.npy" else _json_code
    codes = np.fromiter((_code(folder / name, read) for name in labels), np.int16, len(labels))
    endings = _endings(images)
    stems = [name.removesuffix(ending) for name in labels]
    # reading an image that is missing names it as .jpg
    names = PathArray.from_strings(stem + endings.get(stem, ".jpg") for stem in stems)
    index.save(signature, {"names": names.blob, "offsets": names.offsets, "codes": codes}, len(labels))
    return names, codes


def _check_kept(arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse arrays that cannot be names and codes of the same images, by a ValueError."""
    names, codes = PathArray(arrays["names"], arrays["offsets"]), arrays["codes"]
    names.check()
    if len(arrays) != 3 or codes.shape != (len(names),) or codes.dtype != np.int16:
        raise ValueError("the images do not have one code each")
    if not np.isin(codes, _CODES).all() or not all(map(is_name, names)):
        raise ValueError("a code or a name is out of range")


def _endings(images: Path) -> dict[str, str]:
    """Stem -> ending of the image files of a folder; a ``.jpg`` counts before others of its stem."""
    endings: dict[str, str] = {}
    for name in sorted(os.listdir(images)):
        stem, ending = os.path.splitext(name)
        if ending.lower() in _IMAGES and (stem not in endings or ending == ".jpg"):
            endings[stem] = ending
    return endings


def _code(path: Path, read: Callable[[bytes], object]) -> int:
    """The expression code of a label file.

    Raises:
        UserError: it is none, or cannot be read.
    """
    try:
        with open(path, "rb") as file:
            found = read(file.read(_LARGEST))
    except Exception as error:  # of the many ways in which a broken npy or json file shows
        raise UserError(
            f"a label of AffectNet cannot be read ({type(error).__name__}: {error})", where=path,
            fix="copy the file again",
        ) from error  # fmt: skip
    code = whole_number(str(found))
    if code is None or code not in _CODES:
        raise UserError(
            f"label {shown(str(found))} is out of range", where=path, expected=f"0 to {_CODES.stop - 1}"
        )
    return code


def _npy_code(data: bytes) -> object:
    """What an npy file of one element holds, text or a number; objects are never unpickled."""
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("not version 1.0 of npy")
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.hasobject or shape not in ((), (1,), (1, 1)):
        raise ValueError(f"{dtype} of shape {shape}, not one label")
    value = np.frombuffer(data, dtype, 1, stream.tell())[0].item()
    return value.decode("ascii") if isinstance(value, bytes) else value


def _json_code(data: bytes) -> object:
    content = json.loads(data)
    if not isinstance(content, dict) or "Human-Label" not in content:
        raise ValueError("there is no key 'Human-Label'")
    return content["Human-Label"]
