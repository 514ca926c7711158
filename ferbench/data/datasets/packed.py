"""Many encoded images in one file: InsightFace's ``lfw.bin``, Parquet tables."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import stat
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ferbench.data.datasets.base import UNLABELED, EncodedDataset
from ferbench.data.datasets.naming import FoundLabels, KeptRows
from ferbench.data.decoding import MAX_PIXELS
from ferbench.data.paths import IndexCache, PathArray
from ferbench.data.text import shown
from ferbench.errors import UserError
from ferbench.registry import DATASETS


def need(package: str) -> Any:
    """An optional package, or a module of it, that has an extra of the package's name.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UserError(
            f"the package {package.split('.')[0]} is not installed ({error})", expected="it, to read these files",
            fix=f"pip install 'ferbench[{package.split('.')[0]}]'",
        ) from None  # fmt: skip


def require_file(path: str | Path, what: str) -> Path:
    """The file.

    Raises:
        UserError: it does not exist, or is no regular file.
    """
    file = Path(path).expanduser()
    try:
        regular, problem = stat.S_ISREG(os.stat(file).st_mode), "it is no file"
    except (OSError, ValueError) as error:
        regular, problem = False, getattr(error, "strerror", None) or str(error)
    if not regular:
        raise UserError(f"{what} cannot be read ({problem})", where=file, fix="check `path`")
    return file


def _stamp(path: Path) -> list[Any]:
    status = os.stat(path)
    return [path.name, status.st_size, status.st_mtime_ns]


class _Images:
    """Grows a blob of encoded images: (uint8 [bytes], int64 [N + 1]); an index file holds both."""

    def __init__(self) -> None:
        self._blob, self._ends = bytearray(), array("q", [0])

    def add(self, image: bytes) -> None:
        self._blob += image
        self._ends.append(len(self._blob))

    def arrays(self) -> dict[str, np.ndarray]:
        return {"images": np.frombuffer(self._blob, np.uint8), "ends": np.array(self._ends, np.int64)}


class _Packed(KeptRows, EncodedDataset):
    """Encoded images held as one array; ``path`` may also be a folder of files."""

    def _hold(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._blob, self._ends = arrays["images"], arrays["ends"]
        self.labels = np.full(len(self._ends) - 1, UNLABELED, np.int16)

    def read_bytes(self, index: int) -> bytes:
        """See `EncodedDataset.read_bytes`."""
        row = self._row(index)
        return self._blob[int(self._ends[row]) : int(self._ends[row + 1])].tobytes()


class _Inert:
    """Stands for an object of NumPy in a pickle; keeps its state, runs nothing."""

    def __init__(self, *arguments: Any):
        self.state: Any = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _PlainUnpickler(pickle.Unpickler):
    """Reads lists, bytes and numbers; NumPy's arrays and scalars as `_Inert`; nothing that could run code."""

    _NUMPY = (
        "numpy",
        "numpy.core.multiarray",
        "numpy.core.numeric",
        "numpy._core.multiarray",
        "numpy._core.numeric",
    )

    def find_class(self, module: str, name: str) -> Any:
        if module in self._NUMPY and name in ("_reconstruct", "_frombuffer", "scalar", "ndarray", "dtype"):
            return _Inert
        if (module, name) == ("_codecs", "encode"):  # bytes of Python 3 in the protocols of Python 2
            return lambda text, coding="latin1": str(text).encode("latin1")
        raise pickle.UnpicklingError(f"it holds a {module}.{name}, which is not read")


@DATASETS.register_module()
class InsightFaceBin(_Packed):
    """The images of a verification set of InsightFace (``lfw.bin``, ``cfp_fp.bin``, ...) as unlabeled data.

    The file is a pickle of two lists: encoded images, two for each pair, and whether they show one person. It is read
    without what makes pickles dangerous: a file that holds anything else than bytes, numbers and lists is refused.

    Args:
        path: the file.
        name: short name for logs and records; the file's stem if None.
        grayscale: see `EncodedDataset`.
        max_pixels: see `EncodedDataset`.

    Raises:
        UserError: no such file, no such pickle.
    """

    def __init__(
        self,
        path: str | Path,
        name: str | None = None,
        grayscale: bool = False,
        max_pixels: int = MAX_PIXELS,
    ):
        self.path = require_file(path, "the file of InsightFace")
        self.name, self.grayscale, self.max_pixels = name or self.path.stem, grayscale, max_pixels
        images = _Images()
        for image in self._images():
            images.add(image)
        self._hold(images.arrays())

    def _images(self) -> Iterator[bytes]:
        try:
            with open(self.path, "rb") as file:
                found = _PlainUnpickler(file, encoding="bytes").load()
            bins, same = found
            if not isinstance(bins, list) or not bins or len(bins) != 2 * len(same):
                raise ValueError("it does not hold two images for each pair")
            for image in bins:
                state = image.state if isinstance(image, _Inert) else image
                parts = state if isinstance(state, tuple) else (state,)
                data = next((part for part in parts if isinstance(part, (bytes, bytearray))), None)
                if data is None:
                    raise ValueError(f"an image is a {type(image).__name__}")
                yield bytes(data)
        except Exception as error:  # a pickle that is cut short or damaged raises anything
            raise UserError(
                f"no verification set of InsightFace ({shown(str(error) or type(error).__name__)})", where=self.path,
                expected="a pickle of a list of encoded images and a list of whether each pair is one person",
                fix="copy it again from the data set's archive",
            ) from error  # fmt: skip


@DATASETS.register_module()
class ParquetImages(_Packed):
    """Encoded images in the rows of Parquet files, as Hugging Face's ``datasets`` writes them.

    The files are read once; a set of 100,000 images and more is kept as an index of mapped arrays (`IndexCache`), as large as
    the images are. Needs pyarrow: ``pip install 'ferbench[pyarrow]'``.

    Args:
        path: a file, or a folder whose ``*.parquet`` are read in the order of their names.
        image_column: column of bytes, or of structs with a field ``bytes``.
        label_column: column of class names or integers (-1 or null: unlabeled); None reads all as unlabeled.
        group_column: column of what belongs together (person, video), for splits ``by='group'``; or None.
        classes: target classes; None takes ``source_classes`` or the names found.
        source_classes: class names in the order of the integers; None takes those that Hugging Face wrote, if any.
        rename: source class -> target class, or None to leave its rows out (see `ClassMap`).
        cache: see `IndexCache`.
        refresh: read the files although a kept index seems valid.
        name: short name for logs and records; the stem of ``path`` if None.
        grayscale: see `EncodedDataset`.
        max_pixels: see `EncodedDataset`.

    Raises:
        UserError: pyarrow is not installed; no such file or column; a row without an image or group; see `FoundLabels`.
    """

    def __init__(
        self,
        path: str | Path,
        image_column: str = "image",
        label_column: str | None = "label",
        group_column: str | None = None,
        classes: Sequence[str] | None = None,
        source_classes: Sequence[str] | None = None,
        rename: Mapping[str, str | None] | None = None,
        cache: str | os.PathLike[str] | None = "auto",
        refresh: bool = False,
        name: str | None = None,
        grayscale: bool = False,
        max_pixels: int = MAX_PIXELS,
    ):
        self.path = Path(path).expanduser()
        self.name, self.grayscale, self.max_pixels = name or self.path.stem, grayscale, max_pixels
        files = sorted(self.path.glob("*.parquet")) if self.path.is_dir() else [self.path]
        if not files:
            raise UserError("the folder holds no Parquet file", where=self.path, expected="*.parquet")
        files = [require_file(file, "the Parquet file") for file in files]
        columns = {"image_column": image_column, "label_column": label_column, "group_column": group_column}
        folder = self.path if self.path.is_dir() else self.path.parent
        index = IndexCache(folder, f"parquet {self.path.name} {sorted(columns.items(), key=str)}", cache)
        signature = {"format": "parquet-1", "columns": columns, "files": [_stamp(file) for file in files]}
        kept = None if refresh else index.load(signature, _check_table)
        if kept is None:
            arrays = _Table(files, columns).arrays()
            kept = index.save(signature, arrays, len(arrays["ends"]) - 1)
        self._hold(kept)
        texts = list(PathArray(kept["labels"], kept["label_offsets"]))
        own = list(PathArray(kept["names"], kept["name_offsets"])) or None
        found = FoundLabels(texts, np.asarray(kept["codes"]), lambda row: f"{self.path}, image {row}")
        source = own if source_classes is None else source_classes
        self.class_map, self.labels, self._kept = found.mapped(classes, source, rename, self.path)
        self.classes = self.class_map.target if texts else ()
        if group_column is not None:
            self.groups = np.asarray(kept["groups"]) if self._kept is None else kept["groups"][self._kept]
            self.group_names = PathArray(kept["group_names"], kept["group_name_offsets"])


def _check_table(arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse arrays that no Parquet file can have given.

    Raises:
        KeyError, ValueError: an array is missing, of another type or length than the others.
    """
    ends, count = arrays["ends"], len(arrays["ends"]) - 1
    if (
        arrays["images"].dtype != np.uint8
        or ends.dtype != np.int64
        or ends[0]
        or ends[-1] != len(arrays["images"])
    ):
        raise ValueError("the images do not have one end each")
    for codes, texts in (("codes", "label"), ("groups", "group_name")):
        names = PathArray(arrays[f"{texts}s"], arrays[f"{texts}_offsets"])
        names.check()
        values = arrays[codes]
        if len(values) not in ({count} if codes == "codes" else {count, 0}) or values.dtype != np.int32:
            raise ValueError("the columns are not equally long")
        if len(values) and not UNLABELED <= values.min() <= values.max() < max(len(names), 1):
            raise ValueError("a row has a label or a group without a name")
    PathArray(arrays["names"], arrays["name_offsets"]).check()
    if (ends[1:] < ends[:-1]).any():
        raise ValueError("the images do not have one end each")


class _Table:
    """Reads the columns of Parquet files, one group of rows after the other."""

    def __init__(self, files: Sequence[Path], columns: Mapping[str, str | None]):
        self.columns = columns
        self.images, self.codes, self.groups = _Images(), array("i"), array("i")
        self.labels: dict[str, int] = {}
        self.group_names: dict[str, int] = {}
        self.names: list[str] = []
        arrow, parquet = need("pyarrow"), need("pyarrow.parquet")
        for file in files:
            try:
                with parquet.ParquetFile(file) as table:
                    self._read(file, table)
            except (arrow.ArrowException, OSError, ValueError) as error:
                raise UserError(
                    f"the Parquet file cannot be read ({shown(str(error))})", where=file, fix="copy it again"
                ) from error
        if len(self.images.arrays()["ends"]) == 1:
            raise UserError("the Parquet files hold no rows", where=files[0])

    def _read(self, file: Path, table: Any) -> None:
        known = table.schema_arrow.names
        for option, column in self.columns.items():
            if column is not None and column not in known:
                raise UserError(
                    f"the table has no column {column!r}", where=file, expected="one of " + ", ".join(known),
                    fix=f"set `{option}` to the column's name",
                )  # fmt: skip
        image, label, group = (self.columns[f"{key}_column"] for key in ("image", "label", "group"))
        self.names = self.names or _hugging_face_names(table.schema_arrow.metadata, label)
        row = 0
        for batch in table.iter_batches(256, columns=[c for c in (image, label, group) if c is not None]):
            content = batch.to_pydict()
            nothing: list[Any] = [None] * len(content[image])
            for value, name, who in zip(
                content[image], content.get(label, nothing), content.get(group, nothing), strict=True
            ):
                self._add(f"{file}, row {row}", value, name, who)
                row += 1

    def _add(self, where: str, image: Any, label: Any, group: Any) -> None:
        data = image.get("bytes") if isinstance(image, dict) else image
        if not isinstance(data, bytes):
            raise UserError(
                f"a row holds no encoded image but {type(data).__name__}", where=where, expected="bytes of a JPEG, PNG, ...",
                fix="write the images into the table, not their paths",
            )  # fmt: skip
        self.images.add(data)
        text = "" if label is None or label == -1 else str(label)
        self.codes.append(self.labels.setdefault(text, len(self.labels)) if text else UNLABELED)
        if self.columns["group_column"] is not None:
            if group is None or group == "":
                raise UserError(f"a row has no {self.columns['group_column']!r}", where=where)
            self.groups.append(self.group_names.setdefault(str(group), len(self.group_names)))

    def arrays(self) -> dict[str, np.ndarray]:
        """As an index file holds them."""
        found = self.images.arrays() | {
            "codes": np.array(self.codes, np.int32),
            "groups": np.array(self.groups, np.int32),
        }
        for key, texts in (("label", self.labels), ("group_name", self.group_names), ("name", self.names)):
            packed = PathArray.from_strings(texts)
            found |= {f"{key}s": packed.blob, f"{key}_offsets": packed.offsets}
        return found


def _hugging_face_names(metadata: Mapping[bytes, bytes] | None, column: str | None) -> list[str]:
    """Class names of a column of integers as Hugging Face's ``datasets`` notes them, or []."""
    try:
        names = json.loads((metadata or {})[b"huggingface"])["info"]["features"][column]["names"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return []
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []
