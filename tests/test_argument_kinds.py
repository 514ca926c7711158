"""Arguments of a config that are of another kind than a part expects: a number for a list, a list for a name, ...

Class of inputs: every parameter of real data sets, algorithms, losses and hooks, given a value of each kind that a config can
hold. A part may accept it; else one message names the section, never a traceback.
"""

from __future__ import annotations

import inspect
from contextlib import suppress

import cv2
import numpy as np
import pytest

from ferbench.core.parts import _fits, build
from ferbench.data.datasets.opening import opened
from ferbench.errors import UserError
from ferbench.registry import ALGORITHMS, DATASETS, HOOKS, THRESHOLDS

VALUES = (5, -1.5, True, None, "x", "x" * 5000, b"x", ["x"], [1], {"a": 1}, {})


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Six images in two folders, and the csv that lists them."""
    root = tmp_path_factory.mktemp("faces")
    rows = ["path,label"]
    for i in range(6):
        name = f"{'ab'[i % 2]}/{i}.png"
        (root / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(root / name), np.full((8, 8, 3), 40 * i, np.uint8))
        rows.append(f"{name},{'ab'[i % 2]}")
    (root / "list.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Where a name such as 'x' is a folder that a part may write to: not in the project."""
    monkeypatch.chdir(tmp_path)


def tried(registry, config: dict, key: str, value: object) -> None:
    with suppress(UserError):
        part = build(registry, {**config, key: value}, "section")
        if registry is DATASETS:
            opened(part, "section")


def keys(registry, name: str) -> list[str]:
    own = inspect.signature(registry.get(name)).parameters.values()
    return [p.name for p in own if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


@pytest.mark.parametrize("key", keys(DATASETS, "ImageFolder"))
def test_image_folder(faces, key):
    for value in VALUES:
        tried(DATASETS, dict(type="ImageFolder", root=str(faces), labeled=True), key, value)


@pytest.mark.parametrize("key", keys(DATASETS, "CsvList"))
def test_csv_list(faces, key):
    for value in VALUES:
        tried(DATASETS, dict(type="CsvList", path=str(faces / "list.csv")), key, value)


@pytest.mark.parametrize(
    ("registry", "name"),
    [(ALGORITHMS, "DTM"), (ALGORITHMS, "FixMatch"), (ALGORITHMS, "Matching"), (THRESHOLDS, "DynamicThreshold"),
     (HOOKS, "CheckpointKeeper")],
    ids=lambda v: v if isinstance(v, str) else "",
)  # fmt: skip
def test_parts(registry, name):
    base = dict(type=name, **({"threshold": dict(type="FixedThreshold")} if name == "Matching" else {}))
    for key in keys(registry, name):
        for value in VALUES:
            tried(registry, base, key, value)


@pytest.mark.parametrize(
    ("value", "hint", "fits"),
    [
        (5, list[str] | None, False), (["a"], list[str] | None, True), ("abc", list[str], False), ([1], list[str], False),
        (None, list[str] | None, True), (None, str, False), (0.5, int, True), ("a", float, False), ("a", bool, False),
        ({"a": 1}, dict[str, int], True), ([1], dict[str, int], False), ((1, 2), tuple[int, int], True), (5, object, True),
    ],
)  # fmt: skip
def test_kinds(value, hint, fits):
    assert _fits(value, hint) == fits
