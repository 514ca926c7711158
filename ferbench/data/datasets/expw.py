"""ExpW, faces in photographs from the web.

Zhang et al., "From Facial Expression Recognition to Interpersonal Relation Prediction", IJCV 2018.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ferbench.data.datasets.base import UNLABELED, require_folder
from ferbench.data.datasets.listed import (
    ListedFaces,
    Rows,
    bad_line,
    first_existing,
    join,
    parse_code,
    split_lines,
)
from ferbench.data.io import UnreadableImage
from ferbench.data.text import decimal_number, shown, whole_number
from ferbench.errors import UserError
from ferbench.registry import DATASETS

EXPW_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
GET_EXPW = (
    "get ExpW (label.lst and origin.7z.*) from http://mmlab.ie.cuhk.edu.hk/projects/socialrelation/index.html"
)
_LISTS = ("label.lst", "label/label.lst", "data/label/label.lst")
_IMAGES = ("origin", "image/origin", "data/image/origin", "image", "images")
_FARTHEST = 1_000_000  # pixels: no photograph is that wide
_LINE = "<image> <face id> <top> <left> <right> <bottom> <confidence> <label 0..6>"


@DATASETS.register_module()
class ExpW(ListedFaces):
    """Faces of ExpW, cut out of the original photographs by the box of the list.

    The layout is the one of the release and its readme: lines of image, face id, top, left, right, bottom, confidence,
    label.

    An item is a face: its id is ``<image>#<face id>``. There is no official division into parts.

    Args:
        root: folder with ``label.lst`` and the photographs (``data/image/origin``, ``origin``, ``image``
            ...).
        min_confidence: faces whose box has less than this confidence (of the list, 0 to 100) are left out.
        margin: how far the crop reaches beyond the box on each side, as a share of the box.
        images: folder of the photographs, if it is not found below ``root``.
        classes: target classes; None for the seven of ExpW.
        rename: source class -> target class, or None to leave its faces out (see `ClassMap`).
        name: short name for logs and records.

    Raises:
        UserError: missing folder or list; a line that is no face (file and line).
    """

    def __init__(
        self,
        root: str | Path,
        min_confidence: float = 0.0,
        margin: float = 0.0,
        images: str | Path | None = None,
        classes: Sequence[str] | None = None,
        rename: Mapping[str, str | None] | None = None,
        name: str = "expw",
    ):
        super().__init__(name, EXPW_CLASSES, classes, rename)
        if not 0 <= margin < math.inf or not math.isfinite(min_confidence):
            raise UserError(
                f"margin={margin}, min_confidence={min_confidence}",
                expected="a margin of 0 or more, and numbers",
            )
        self.margin = margin
        folder = require_folder(root, "ExpW", synthetic=False, get=GET_EXPW)
        self.list_file = first_existing(folder, _LISTS, "the list of ExpW", GET_EXPW)
        place = (
            first_existing(folder, _IMAGES, "the folder of photographs", "name it as `images`")
            if images is None
            else images
        )
        self.folder = require_folder(place, "the photographs of ExpW", synthetic=False, get=GET_EXPW)
        rows, boxes = Rows(), array("i")
        unsure = 0
        for line, (file, face, *numbers, label) in split_lines(self.list_file, 8, _LINE):
            box = [
                value
                for value in map(whole_number, numbers[:4])
                if value is not None and abs(value) < _FARTHEST
            ]
            confidence = decimal_number(numbers[4])
            if confidence is None or len(box) < 4 or whole_number(face) is None:
                what = f"no face id, box and confidence: {shown(' '.join([face, *numbers]))}"
                raise bad_line(self.list_file, line, what, _LINE)
            code = parse_code(label, range(len(EXPW_CLASSES)), self.list_file, line)
            unsure += confidence < min_confidence
            rows.add(
                f"{file}#{face}", line, code if confidence >= min_confidence else UNLABELED, self.list_file
            )
            boxes.extend(box)
        self.left_out["dropped_below_min_confidence"] = unsure
        self._boxes = np.asarray(boxes, np.int32).reshape(-1, 4)
        self.hold(rows.names.build(), np.asarray(rows.lines), np.asarray(rows.codes), self._boxes)

    def file(self, index: int) -> str:
        """See `ListedFaces.file`."""
        return join(self.folder, self.item_id(index).rpartition("#")[0])

    def read(self, index: int) -> np.ndarray:
        """The face, uint8 RGB [H, W, 3]; the part of its box (and margin) that lies inside the photograph.

        Raises:
            UnreadableImage: also if the box lies outside the photograph or is empty.
        """
        photograph = super().read(index)
        height, width = photograph.shape[:2]
        top, left, right, bottom = self._boxes[self.kept[index]].tolist()
        dy, dx = round(self.margin * (bottom - top)), round(self.margin * (right - left))
        rows = slice(max(top - dy, 0), min(bottom + dy, height))
        columns = slice(max(left - dx, 0), min(right + dx, width))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            raise UnreadableImage(
                f"{self.where(index)}: the face box (top {top}, left {left}, right {right}, bottom {bottom}) "
                f"is empty or outside the photograph of {width} x {height}"
            )
        return np.ascontiguousarray(photograph[rows, columns])

    def content(self, index: int) -> bytes:
        """The photograph and the box of the face."""
        return super().content(index) + self._boxes[self.kept[index]].astype("<i4").tobytes()
