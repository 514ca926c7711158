"""RAF-DB, basic expressions.

Li et al., "Reliable Crowdsourcing and Deep Locality-Preserving Learning for Expression Recognition in the
Wild", CVPR 2017.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from ferbench.data.datasets.base import require_folder
from ferbench.data.datasets.listed import (
    ListedFaces,
    Rows,
    bad_line,
    first_existing,
    join,
    parse_code,
    split_lines,
)
from ferbench.errors import UserError
from ferbench.registry import DATASETS

RAFDB_CLASSES = ("Surprise", "Fear", "Disgust", "Happiness", "Sadness", "Anger", "Neutral")  # codes 1 to 7
GET_RAFDB = "ask for RAF-DB at http://www.whdeng.cn/raf/model1.html and unpack its folder `basic`"
# The released name is misspelt; some copies mend it.
_LISTS = [
    f"{base}{name}.txt"
    for name in ("list_patition_label", "list_partition_label")
    for base in ("EmoLabel/", "")
]


@DATASETS.register_module()
class RAFDB(ListedFaces):
    """RAF-DB as released: ``EmoLabel/list_patition_label.txt`` and ``Image/aligned/train_00001_aligned.jpg``.

    Args:
        root: the folder ``basic``, or the one it lies in.
        part: ``train`` (12,271 images) or ``test`` (3,068).
        images: ``aligned`` (100 x 100 crops) or ``original`` (whole photographs).
        classes: target classes; None for the seven of RAF-DB.
        rename: source class -> target class, or None to leave its images out (see `ClassMap`).
        name: short name for logs and records.

    Raises:
        UserError: missing folder or list; a line that is no image and label (file and line).
    """

    def __init__(
        self,
        root: str | Path,
        part: Literal["train", "test"] = "train",
        images: Literal["aligned", "original"] = "aligned",
        classes: Sequence[str] | None = None,
        rename: Mapping[str, str | None] | None = None,
        name: str | None = None,
    ):
        super().__init__(name or f"rafdb-{part}", RAFDB_CLASSES, classes, rename)
        if part not in ("train", "test") or images not in ("aligned", "original"):
            raise UserError(
                f"part={part!r}, images={images!r}",
                expected="part 'train' or 'test', images 'aligned' or 'original'",
            )
        folder = require_folder(root, "RAF-DB", synthetic=False, get=GET_RAFDB)
        base = folder / "basic" if (folder / "basic").is_dir() else folder
        self.list_file = first_existing(base, _LISTS, "the list of RAF-DB", GET_RAFDB)
        self.folder = require_folder(
            base / "Image" / images, f"the {images} images of RAF-DB", synthetic=False, get=GET_RAFDB
        )
        self._ending = "_aligned" if images == "aligned" else ""
        rows = Rows()
        for line, (file, label) in split_lines(self.list_file, 2, "<image> <label>, e.g. train_00001.jpg 5"):
            code = parse_code(label, range(1, 8), self.list_file, line)
            if not file.startswith(("train_", "test_")):
                raise bad_line(
                    self.list_file, line, f"image {file!r} is of no part", "train_*.jpg or test_*.jpg"
                )
            if file.startswith(f"{part}_"):
                rows.add(file, line, code - 1)
        self.hold(rows.names.build(), np.asarray(rows.lines), np.asarray(rows.codes))

    def file(self, index: int) -> str:
        """See `ListedFaces.file`."""
        stem, dot, ending = self.item_id(index).rpartition(".")
        return join(self.folder, f"{stem}{self._ending}{dot}{ending}")
