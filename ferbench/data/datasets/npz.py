"""Arrays of pixels in an npz file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ferbench.data.datasets.base import UNLABELED, FaceDataset
from ferbench.data.datasets.naming import FoundLabels, KeptRows
from ferbench.data.datasets.packed import require_file
from ferbench.data.text import shown
from ferbench.errors import UserError
from ferbench.registry import DATASETS


@DATASETS.register_module()
class NpzImages(KeptRows, FaceDataset):
    """Pixels in an npz file: an array of images and, if they are labeled, one of labels. All are held in memory.

    Args:
        path: the file (``numpy.savez``); arrays of Python objects are not read.
        images: name of the array, uint8 [N, H, W] or [N, H, W, 3] in RGB.
        labels: name of the array of class names or integers (-1: unlabeled), [N]; None reads all as unlabeled.
        groups: name of the array that says what belongs together, [N]; or None.
        classes: target classes; None takes ``source_classes`` or the names found.
        source_classes: class names in the order of the integers.
        rename: source class -> target class, or None to leave its images out (see `ClassMap`).
        name: short name for logs and records; the file's stem if None.

    Raises:
        UserError: no such file or array; one of another shape or type; see `FoundLabels`.
    """

    def __init__(
        self,
        path: str | Path,
        images: str = "images",
        labels: str | None = "labels",
        groups: str | None = None,
        classes: Sequence[str] | None = None,
        source_classes: Sequence[str] | None = None,
        rename: Mapping[str, str | None] | None = None,
        name: str | None = None,
    ):
        self.path = require_file(path, "the npz file")
        self.name = name or self.path.stem
        optional = {"labels": labels, "groups": groups}
        wanted = {"images": images} | {key: name for key, name in optional.items() if name is not None}
        arrays = self._arrays(wanted)
        self._pixels = arrays["images"]
        if self._pixels.dtype != np.uint8 or not (
            self._pixels.ndim == 3 or (self._pixels.ndim == 4 and self._pixels.shape[3] == 3)
        ):
            self._refuse(images, self._pixels, "uint8 [N, H, W] or [N, H, W, 3] (RGB)")
        self._kept: np.ndarray | None = None
        self.labels = np.full(len(self._pixels), UNLABELED, np.int16)
        if labels is not None:
            codes, texts = self._texts(labels, arrays["labels"])
            found = FoundLabels(texts, codes, lambda row: f"{self.path}: {labels}[{row}]", "labels")
            self.class_map, self.labels, self._kept = found.mapped(classes, source_classes, rename, self.path)
            self.classes = self.class_map.target if texts else ()
        if groups is not None:
            codes, self.group_names = self._texts(groups, arrays["groups"])
            self.groups = codes if self._kept is None else codes[self._kept]

    def _arrays(self, wanted: Mapping[str, str]) -> dict[str, np.ndarray]:
        try:
            with np.load(self.path, allow_pickle=False) as file:
                if not isinstance(file, np.lib.npyio.NpzFile):
                    raise ValueError("it is a single array")
                for name in wanted.values():
                    if name not in file.files:
                        raise UserError(
                            f"the npz file has no array {name!r}", where=self.path, expected="one of " + ", ".join(file.files),
                            fix="set `images`, `labels` and `groups` to the names of its arrays, or to None",
                        )  # fmt: skip
                found = {key: file[name] for key, name in wanted.items()}
                if not all(isinstance(array, np.ndarray) for array in found.values()):
                    raise ValueError("what is called an array is none")
                return found
        except UserError:
            raise
        except Exception as error:  # zipfile raises half a dozen kinds for a damaged archive
            raise UserError(
                f"the npz file cannot be read ({shown(str(error) or type(error).__name__)})", where=self.path,
                expected="arrays of numbers and text as numpy.savez writes them",
                fix="save it again without Python objects",
            ) from error  # fmt: skip

    def _texts(self, name: str, values: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """int32 [N] codes, -1 where the value is -1 or ''; and the different values as text."""
        if values.shape == (len(self._pixels), 1):
            values = values[:, 0]
        if values.shape != (len(self._pixels),) or values.dtype.kind not in "iuU":
            self._refuse(name, values, f"{len(self._pixels)} whole numbers or texts")
        different, codes = np.unique(values, return_inverse=True)
        texts = [str(value) for value in different.tolist()]
        empty = [i for i, text in enumerate(texts) if text in ("", "-1")]
        codes = codes.astype(np.int32)
        codes[np.isin(codes, empty)] = UNLABELED
        used = [i for i in range(len(texts)) if i not in empty]
        row = np.full(len(texts) + 1, UNLABELED, np.int32)
        row[used] = np.arange(len(used))
        return row[codes], [texts[i] for i in used]

    def _refuse(self, name: str, values: np.ndarray, expected: str) -> None:
        raise UserError(
            f"the array {name!r} is {values.dtype} of shape {values.shape}",
            where=self.path,
            expected=expected,
        )

    def read(self, index: int) -> np.ndarray:
        """See `FaceDataset.read`."""
        image = self._pixels[self._row(index)]
        return np.stack([image] * 3, -1) if image.ndim == 2 else image.copy()

    def content(self, index: int) -> bytes:
        """See `FaceDataset.content`."""
        return self._pixels[self._row(index)].tobytes()
