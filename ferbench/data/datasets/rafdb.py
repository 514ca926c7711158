"""RAF-DB, basic and compound expressions.

Li et al., "Reliable Crowdsourcing and Deep Locality-Preserving Learning for Expression Recognition in the
Wild", CVPR 2017.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from ferbench.data.datasets.base import require_folder
from ferbench.data.datasets.listed import (
    ListedFaces,
    Rows,
    bad_line,
    cells_of,
    first_existing,
    join,
    names_in,
    parse_code,
)
from ferbench.data.text import csv_rows, shown, text_lines, whole_number
from ferbench.errors import UserError
from ferbench.registry import DATASETS

RAFDB_CLASSES = ("Surprise", "Fear", "Disgust", "Happiness", "Sadness", "Anger", "Neutral")  # codes 1 to 7
RAFDB_COMPOUND = (
    "Happily Surprised", "Happily Disgusted", "Sadly Fearful", "Sadly Angry", "Sadly Surprised", "Sadly Disgusted",
    "Fearfully Angry", "Fearfully Surprised", "Angrily Surprised", "Angrily Disgusted", "Disgustedly Surprised",
)  # fmt: skip
GET_RAFDB = "ask for RAF-DB at http://www.whdeng.cn/raf/model1.html and unpack its folder `basic`"
# The released name is misspelt; some copies mend it.
_LISTS = [
    f"{base}{name}.txt"
    for name in ("list_patition_label", "list_partition_label")
    for base in ("EmoLabel/", "")
]
_LINE = "<image> <label>, e.g. train_00001.jpg 5"
_KAGGLE = ("DATASET", "dataset", "")
_IMAGES = (".jpg", ".jpeg", ".png")

_log = logging.getLogger(__name__)


@DATASETS.register_module()
class RAFDB(ListedFaces):
    """RAF-DB as released, or in the layout in which Kaggle hands it out.

    Released: ``EmoLabel/list_patition_label.txt`` (or beside the images), lines of ``<image> <label>``; images below
    ``Image/aligned``, ``aligned``, ``Image/original`` or ``original``, as ``train_00001.jpg`` or
    ``train_00001_aligned.jpg``, whichever way the list spells them, or as ``.png``. In a folder in which some are called
    so and others so, each is found; a warning says so, and how many listed images are not there. A third column, which
    some copies have, is not read. Kaggle: ``DATASET/train/<label>/train_00001_aligned.jpg`` and, if there,
    ``train_labels.csv`` (``image,label``). Item ids are the same in all of them: ``train_00001.jpg``.

    The layouts are those of the release's own list and of public readers of both.

    Args:
        root: the folder ``basic`` (or ``compound``), the one it lies in, or Kaggle's.
        part: ``train`` (12,271 images; compound: 3,162) or ``test`` (3,068; 792).
        images: ``aligned`` (100 x 100 crops) or ``original`` (whole photographs).
        labels: ``basic`` (seven classes) or ``compound`` (eleven).
        classes: target classes; None for those of the set.
        rename: source class -> target class, or None to leave its images out (see `ClassMap`).
        name: short name for logs and records.

    Raises:
        UserError: missing folder or list; a line that is no image and label (file and line); basic expressions where
            compound ones are asked for, or the other way round.
    """

    def __init__(
        self,
        root: str | Path,
        part: Literal["train", "test"] = "train",
        images: Literal["aligned", "original"] = "aligned",
        labels: Literal["basic", "compound"] = "basic",
        classes: Sequence[str] | None = None,
        rename: Mapping[str, str | None] | None = None,
        name: str | None = None,
    ):
        if part not in ("train", "test") or images not in ("aligned", "original"):
            raise UserError(
                f"part={part!r}, images={images!r}",
                expected="part 'train' or 'test', images 'aligned' or 'original'",
            )
        if labels not in ("basic", "compound"):
            raise UserError(f"labels={labels!r}", expected="'basic' or 'compound'")
        source = RAFDB_CLASSES if labels == "basic" else RAFDB_COMPOUND
        kind = "rafdb" if labels == "basic" else "rafdb-compound"
        super().__init__(name or f"{kind}-{part}", source, classes, rename)
        self._part, self._labels, self._codes = part, labels, range(1, len(source) + 1)
        folder = require_folder(root, "RAF-DB", synthetic=False, get=GET_RAFDB)
        base = folder / labels if (folder / labels).is_dir() else folder
        kaggle = next((base / place / part for place in _KAGGLE if (base / place / part).is_dir()), None)
        rows = Rows()
        if (
            kaggle is not None
            and images == "aligned"
            and not any((base / place).exists() for place in _LISTS)
        ):
            self.folder = kaggle
            self._read_kaggle(base, rows)
        else:
            self.list_file = first_existing(
                base, [*_LISTS, f"DATASET/{part}/1"], "the list of RAF-DB", GET_RAFDB
            )
            places = (f"Image/{images}", images)
            self.folder = first_existing(base, places, f"the folder of {images} images of RAF-DB", GET_RAFDB)
            for line, file, label in _read_list(self.list_file):
                self._add(rows, file, line, label)
        codes = np.asarray(rows.codes)
        self._check_kind(codes)
        held = rows.names.build()
        suffixes = ("_aligned", "") if images == "aligned" else ("", "_aligned")
        self._places, self._place = self._placing(held, codes, suffixes)
        self._row_codes = codes
        self.hold(held, None if self.list_file is None else np.asarray(rows.lines), codes)

    def _add(self, rows: Rows, file: str, line: int, label: str) -> None:
        """A row of the list, if it is of this part."""
        assert self.list_file is not None
        code = whole_number(label)
        if self._labels == "basic" and code in range(len(RAFDB_CLASSES) + 1, len(RAFDB_COMPOUND) + 1):
            raise UserError(
                f"label {label!r} is out of range", where=f"{self.list_file}:{line}", expected="an integer from 1 to 7",
                fix="if this is the list of the compound expressions, set labels='compound'",
            )  # fmt: skip
        parse_code(label, self._codes, self.list_file, line)
        if not file.startswith(("train_", "test_")) or "." not in file:
            what = f"image {shown(file)} is of no part"
            raise bad_line(self.list_file, line, what, "train_*.jpg or test_*.jpg")
        if file.startswith(f"{self._part}_"):
            rows.add(_bare(file), line, int(label) - 1, self.list_file)

    def _read_kaggle(self, base: Path, rows: Rows) -> None:
        """The rows of ``<part>_labels.csv``, or else of the folders ``<part>/<label>``."""
        places = [f"{self._part}_labels.csv", f"DATASET/{self._part}_labels.csv"]
        self.list_file = next((base / place for place in places if (base / place).is_file()), None)
        if self.list_file is not None:
            for line, row in csv_rows(self.list_file, "the csv of RAF-DB", GET_RAFDB):
                if line == 1 and [cell.strip().lower() for cell in row] == ["image", "label"]:
                    continue
                if len(row) != 2:
                    raise bad_line(self.list_file, line, f"a row of {len(row)} cells", "image,label")
                self._add(rows, row[0], line, row[1].strip(" "))
            return
        for code in self._codes:
            try:
                names = sorted(os.listdir(self.folder / str(code)))
            except (FileNotFoundError, NotADirectoryError):
                continue
            for name in names:
                if name.lower().endswith(_IMAGES) and not name.startswith("."):
                    if name.startswith(("train_", "test_")) and not name.startswith(f"{self._part}_"):
                        raise UserError(
                            f"{shown(name)} is not of the part {self._part!r}", where=self.folder / str(code),
                            expected=f"{self._part}_*", fix="unpack the archive again",
                        )  # fmt: skip
                    rows.add(_bare(name), 0, code - 1, self.folder)
        if not len(rows.codes):
            raise UserError(
                "the folder holds no images of RAF-DB", where=self.folder,
                expected=f"{self._part}_00001_aligned.jpg, ... in folders 1 to {len(self._codes)}",
                fix=f"{GET_RAFDB}; folders that are called by class names are read by ImageFolder with labeled=True",
            )  # fmt: skip

    def _check_kind(self, codes: np.ndarray) -> None:
        """Refuse the basic list where the compound one is meant: the codes of both start at 1."""
        if self._labels == "compound" and len(codes) and codes.max() < len(RAFDB_CLASSES):
            raise UserError(
                "no label is above 7: these are the basic expressions", where=self.list_file or self.folder,
                expected="labels from 1 to 11", fix="name the folder `compound` as root, or set labels='basic'",
            )  # fmt: skip

    def _placing(
        self, names: Sequence[str], codes: np.ndarray, suffixes: Sequence[str]
    ) -> tuple[list[str], np.ndarray]:
        """How image files are called, and which of these ways each row's is: ``*`` stands for the stem, ``?`` for the label.

        The way that most have comes first, and counts for images that lie there in several or in none.
        """
        known = os.path.splitext(names[0])[1] if names else _IMAGES[0]
        within = "?/" if self.folder.name == self._part else ""
        places = [f"{within}*{s}{e}" for e in dict.fromkeys((known, *_IMAGES)) for s in suffixes]
        folders = [f"{code + 1}/" for code in range(len(self._codes))] if within else [""]
        there = {folder + name for folder in folders for name in names_in(self.folder / folder)}
        stems = [os.path.splitext(name)[0] for name in names]
        found = np.array(
            [
                [_fill(place, stem, code) in there for stem, code in zip(stems, codes.tolist(), strict=True)]
                for place in places
            ]
        )
        order = np.argsort(-found.sum(axis=1), kind="stable")
        used = [places[i] for i in order if found[i].any()]
        if len(used) > 1:
            _log.warning("the images in %s are called in several ways: %s", self.folder, ", ".join(used))
        if missing := int((~found.any(axis=0)).sum()):
            _log.warning("%d of %d listed images are not in %s", missing, len(names), self.folder)
        return [places[i] for i in order], found[order].argmax(axis=0)

    def file(self, index: int) -> str:
        """See `ListedFaces.file`."""
        row = self.kept[index]
        stem = os.path.splitext(self.item_id(index))[0]
        return join(self.folder, _fill(self._places[self._place[row]], stem, int(self._row_codes[row])))


def _fill(place: str, stem: str, code: int) -> str:
    return place.replace("?", str(code + 1)).replace("*", stem, 1)


def _read_list(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line, image and label of each line of two cells, or of three: all lines must have as many."""
    width = 0
    for line, text in text_lines(path, fix="use the list file as it was released"):
        cells = cells_of(text)
        if not cells:
            continue
        width = width or len(cells)
        if len(cells) not in (2, 3):
            raise bad_line(path, line, f"a line of {len(cells)} cells: {shown(text)}", _LINE)
        if len(cells) != width or any(whole_number(cell) is None for cell in cells[2:]):
            raise bad_line(path, line, f"not as the lines before it: {shown(text)}", _LINE)
        yield line, cells[0], cells[1]


def _bare(file: str) -> str:
    """``train_00001.jpg`` for ``train_00001_aligned.jpg``: one id for an image, however its copy is called."""
    stem, dot, ending = file.rpartition(".")
    return f"{stem.removesuffix('_aligned')}{dot}{ending}" if dot else file
