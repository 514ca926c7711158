"""JAFFE: 213 posed expressions of ten Japanese women (Lyons et al. 1998), labeled by their file names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ferbench.data.datasets.base import ClassMap, EncodedDataset, UnreadableImage, require_folder
from ferbench.errors import UserError
from ferbench.registry import DATASETS

CODES = {
    "NE": "Neutral", "AN": "Anger", "DI": "Disgust", "FE": "Fear",
    "HA": "Happiness", "SA": "Sadness", "SU": "Surprise",
}  # fmt: skip
SUFFIXES = (".tiff", ".tif", ".png", ".jpg")
FILE_NAME = re.compile(r"(?P<person>[A-Z]{2})\.(?P<code>[A-Z]{2})\d+\.\d+\.(tiff?|png|jpg)")


@DATASETS.register_module()
class Jaffe(EncodedDataset):
    """Files such as ``KA.AN1.39.tiff`` in one folder (person KA, angry, take 1, image 39); group = person.

    Args:
        root: the folder.
        classes: class names of the experiment; None: JAFFE's own seven.
        rename: JAFFE's name -> the experiment's name, None drops the class.

    Raises:
        UserError: no such folder, no image in it, or a file name that does not say an expression.
    """

    def __init__(
        self,
        root: str | Path,
        classes: Sequence[str] | None = None,
        rename: Mapping[str, str | None] | None = None,
    ):
        get = "ask for JAFFE at https://zenodo.org/records/3451524"
        self.root = require_folder(root, "the JAFFE images", synthetic=False, get=get)
        self.name = "jaffe"
        self.files = sorted(p.name for p in self.root.iterdir() if p.suffix in SUFFIXES)
        if not self.files:
            raise UserError(
                "there is no image", where=self.root, expected="files such as KA.AN1.39.tiff", fix=get
            )
        parsed = [self._parse(file) for file in self.files]
        own = tuple(CODES.values())
        self.classes = tuple(classes or own)
        to_target = ClassMap(own, self.classes, rename, where=self.root)
        self.labels = to_target(np.array([own.index(CODES[code]) for _, code in parsed], np.int16))
        self.group_names = sorted({person for person, _ in parsed})
        self.groups = np.array([self.group_names.index(person) for person, _ in parsed], np.int32)

    def item_id(self, index: int) -> str:
        return self.files[index]

    def where(self, index: int) -> str:
        return str(self.root / self.files[index])

    def read_bytes(self, index: int) -> bytes:
        try:
            return (self.root / self.files[index]).read_bytes()
        except OSError as error:
            raise UnreadableImage(f"{self.where(index)}: {error.strerror}") from error

    def _parse(self, file: str) -> tuple[str, str]:
        match = FILE_NAME.fullmatch(file)
        if not match or match["code"] not in CODES:
            raise UserError(
                "the file name does not say an expression",
                where=self.root / file,
                expected="PERSON.CODEn.N.tiff with CODE one of " + ", ".join(CODES),
            )
        return match["person"], match["code"]
