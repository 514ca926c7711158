"""AffectNet, manually annotated images, in both forms in which it is handed out.

Mollahosseini et al., "AffectNet: A Database for Facial Expression, Valence, and Arousal Computing in the
Wild", IEEE Transactions on Affective Computing 2019.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ferbench.data.datasets.base import require_folder
from ferbench.data.datasets.listed import ListedFaces, Rows, bad_line, first_existing, join, parse_code
from ferbench.data.paths import IndexCache, PathArray
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


@DATASETS.register_module()
class AffectNet(ListedFaces):
    """AffectNet by its lists (``training.csv``) or in the reduced release (``0_exp.npy``, ``0.jpg``).

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
        cache: where the labels of the reduced release are kept, which lie in one file each (see
            `IndexCache`). Kept labels hold while no file is added to or removed from the annotations folder.
        name: short name for logs and records.

    Raises:
        UserError: missing folder or list; a row without path or with a label that is none (file and line).
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
        folder = require_folder(root, "AffectNet", synthetic=False, get=GET_AFFECTNET)
        if (folder / f"{part}_set").is_dir():
            base = folder / f"{part}_set"
            self.folder = require_folder(
                base / "images", "the images of AffectNet", synthetic=False, get=GET_AFFECTNET
            )
            names, codes = _read_reduced(base / "annotations", cache)
            self._hold_expressions(names, None, codes)
            return
        file = {"train": "training.csv", "val": "validation.csv"}[part]
        self.list_file = (
            first_existing(
                folder, [p + file for p in _PLACES], f"{file} of AffectNet (or {part}_set)", GET_AFFECTNET
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
            rows.add(path, line, parse_code(label, _CODES, self.list_file, line))
        self._hold_expressions(rows.names.build(), np.asarray(rows.lines), np.asarray(rows.codes))

    def _hold_expressions(self, names: PathArray, lines: np.ndarray | None, codes: np.ndarray) -> None:
        count = len(AFFECTNET_CLASSES)
        for i, reason in enumerate(NO_EXPRESSION):
            self.left_out[f"dropped_{reason.lower()}"] = int((codes == count + i).sum())
        self.hold(names, lines, np.where(codes < count, codes, -1))

    def file(self, index: int) -> str:
        """See `ListedFaces.file`."""
        return join(self.folder, self.item_id(index))


def _read_csv(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line, image path and expression code of each row. Some copies of ``validation.csv`` have no header."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            path_at, label_at = _COLUMNS.index("subDirectory_filePath"), _COLUMNS.index("expression")
            for row in filter(None, reader):
                if reader.line_num == 1 and _COLUMNS[0] in row:
                    if "expression" not in row:
                        raise bad_line(path, 1, "the csv has no column 'expression'", ",".join(_COLUMNS))
                    path_at, label_at = row.index(_COLUMNS[0]), row.index("expression")
                    continue
                if len(row) <= max(path_at, label_at) or not row[path_at]:
                    raise bad_line(
                        path, reader.line_num, "a row has no path or too few cells", ",".join(_COLUMNS)
                    )
                yield reader.line_num, row[path_at].replace("\\", "/"), row[label_at]
    except OSError as error:
        raise UserError(
            f"the list of AffectNet cannot be read: {error.strerror}", where=path, fix=GET_AFFECTNET
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"not a csv file in UTF-8 ({error})", where=path) from error


def _read_reduced(folder: Path, cache: str | os.PathLike[str] | None) -> tuple[PathArray, np.ndarray]:
    """Image names and codes (int16) of the reduced release; ``7_exp.npy`` holds the code of ``7.jpg``."""
    require_folder(folder, "the annotations of AffectNet", synthetic=False, get=GET_AFFECTNET)
    signature: dict[str, Any] = {"format": "affectnet-1", "mtime_ns": os.stat(folder).st_mtime_ns}
    index = IndexCache(folder.parent, "affectnet annotations", cache)
    kept = index.load(signature)
    if kept is not None:
        return PathArray(kept["names"], kept["offsets"]), np.asarray(kept["codes"])
    ids = sorted(name.removesuffix("_exp.npy") for name in os.listdir(folder) if name.endswith("_exp.npy"))
    if not ids:
        raise UserError(
            "the folder holds no labels", where=folder, expected="<id>_exp.npy", fix=GET_AFFECTNET
        )
    codes = np.fromiter((_read_code(folder / f"{i}_exp.npy") for i in ids), np.int16, len(ids))
    names = PathArray.from_strings(f"{i}.jpg" for i in ids)
    index.save(signature, {"names": names.blob, "offsets": names.offsets, "codes": codes}, len(ids))
    return names, codes


def _read_code(path: Path) -> int:
    try:
        value = np.load(path, allow_pickle=False)
        code = int(str(value.reshape(-1)[0]))  # released as text in an array
    except (OSError, ValueError, IndexError, EOFError) as error:
        raise UserError(
            f"a label of AffectNet cannot be read ({error})", where=path, fix="copy the file again"
        ) from error
    if code not in _CODES:
        raise UserError(f"label {code} is out of range", where=path, expected=f"0 to {_CODES.stop - 1}")
    return code
