"""Arguments of data sets: every parameter of every one, each given values of every kind; only a `UserError` may come out."""

from __future__ import annotations

import inspect

import pytest
import readers

from ferbench.core.parts import build
from ferbench.data.datasets.opening import opened
from ferbench.errors import UserError
from ferbench.registry import DATASETS

ODD = (
    None, 3, -1, 0, 2.5, True, float("nan"), 10**30, "", "x", "x\0y", "/nonexistent", "(", "(a", "x" * 5000, b"x", [], ["a"],
    [1, 2], ["Happy", "Happy"], ["happy", "HAPPY"], ["x", "y"], [None], [["a"]], ("a",), {}, {"a": 1}, {1: "a"}, {"a": None},
    {"x": "y"},
)  # fmt: skip
WHOLE = {
    "ImageFolder": (readers.folder, dict(root="", labeled=True, cache=None)),
    "CsvList": (readers.listed, dict(path="list.csv", source_classes=("x", "y"))),
    "InsightFaceBin": (readers.verification, dict(path="lfw.bin")),
    "NpzImages": (readers.pixels, dict(path="faces.npz")),
    "AffWild2Expr": (readers.affwild2, dict(root="")),
    "DFEW": (readers.clips, dict(root="", images="frames")),
    "FERV39k": (readers.clips, dict(root="", images="frames")),
    "MAFW": (readers.clips, dict(root="")),
    "AffectNet": (readers.affectnet, dict(root="", cache=None)),
    "RAFDB": (readers.rafdb, dict(root="")),
    "ExpW": (readers.expw, dict(root="")),
    "FER2013": (readers.fer2013, dict(root="", cache=None)),
    "FERPlus": (readers.ferplus, dict(root="", cache=None)),
    "RecordIO": (readers.recordio, dict(path="", cache=None)),
}


@pytest.mark.heavy
@pytest.mark.parametrize("name", WHOLE)
def test_no_argument_ends_in_a_traceback(name, tmp_path, monkeypatch):
    write, arguments = WHOLE[name]
    root = tmp_path / "data"
    root.mkdir()
    write(root)
    monkeypatch.chdir(tmp_path)
    whole = {k: str(root / v) if k in ("root", "path", "images") else v for k, v in arguments.items()}
    opened(build(DATASETS, dict(type=name, **whole), "section"), "section")
    found = []
    for key in inspect.signature(DATASETS.get(name)).parameters:
        for value in ODD:
            try:
                opened(build(DATASETS, dict(type=name, **{**whole, key: value}), "section"), "section")
            except UserError as error:
                said = str(error)
                found += [f"{key}: a message of {len(said)} characters"] if len(said) > 4000 else []
            except Exception as error:
                found.append(f"{key}={value!r:.40}: {type(error).__name__}: {error!s:.100}")
    assert not found, "\n".join(found)


def test_every_data_set_is_tried():
    own = {name for name, kind in DATASETS.module_dict.items() if kind.__module__.startswith("ferbench.")}
    assert own - readers.OPTIONAL == WHOLE.keys()
