"""A kept index whose recorded hash is right and whose content is not (written by another program, or by an older fault)
is rebuilt, never used: for every data set that keeps one, and every array in it."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from ferbench.data import paths
from ferbench.data.datasets import FER2013, AffectNet, ImageFolder, RecordIO
from ferbench.data.recordio_file import write_recordio

PNG = cv2.imencode(".png", np.zeros((48, 48), np.uint8))[1].tobytes()


def folder(root):
    for name in ("a/1.png", "a/2.png", "b/3.png", "b/c/4.png"):
        file = root / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(PNG)
    return lambda: ImageFolder(root / "data", cache=root / "cache")


def records(root):
    (root / "data").mkdir()
    write_recordio(root / "data" / "train.rec", [PNG] * 4)
    return lambda: RecordIO(root / "data", cache=root / "cache")


def fer2013_csv(root):
    (root / "data").mkdir()
    rows = [f"{i},{' '.join([str(i)] * 2304)},Training" for i in range(4)]
    (root / "data" / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]))
    return lambda: FER2013(root / "data", cache=root / "cache")


def fer2013_folder(root):
    for i, name in enumerate(("Angry", "Fear", "Fear", "Sad")):
        file = root / "data" / "Training" / name / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), np.full((48, 48), i * 9, np.uint8))
    return lambda: FER2013(root / "data", cache=root / "cache")


def affectnet(root):
    for i in range(4):
        for place, data in (("images", PNG), ("annotations", b"")):
            file = root / "data/train_set" / place / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        np.save(root / f"data/train_set/annotations/{i}_exp.npy", np.array(str(i + 2)))
    return lambda: AffectNet(root / "data", cache=root / "cache")


DAMAGE = {
    "an element less": lambda a: a[:-1],
    "an element more": lambda a: np.concatenate([a, a[:1]]),
    "nothing": lambda a: a[:0],
    "numbers with a fraction": lambda a: a + 0.5,
    "an axis more": lambda a: a[None],
    "a scalar": lambda a: np.zeros((), a.dtype),
    "text": lambda a: np.array(["a"] * len(a)),
    "complex numbers": lambda a: a.astype(complex),
}


@pytest.mark.parametrize("make", [folder, records, fer2013_csv, fer2013_folder, affectnet])
def test_each_array_of_each_index(make, tmp_path):
    build = make(tmp_path)
    (before := build()).read(0)
    [place] = (tmp_path / "cache").iterdir()
    saved = json.loads((place / "index.json").read_text())
    whole = {name: np.array(np.load(place / file)) for name, file in saved["arrays"].items()}
    every = np.arange(len(before))
    for name, values in whole.items():
        damages = dict(DAMAGE)
        if values.dtype.kind in "iu" and values.ndim == 1 and name not in ("mtimes", "names", "folders"):
            damages["a number too large"] = lambda a: np.where(
                np.arange(len(a)) == len(a) - 1, np.iinfo(a.dtype).max, a
            )
            damages["falling"] = lambda a: a[::-1] if len(np.unique(a)) > 1 else a[:-1]
        if name in ("emotion", "usage", "codes"):
            del damages["falling"]  # as good as any order
        if name == "keys":
            del damages["a number too large"]  # it still rises
        if values.dtype.kind == "i":
            damages["a number below 0"] = lambda a: np.where(np.arange(len(a)) == len(a) // 2, -1, a)
            if name in ("mtimes", "pixels"):
                del damages["a number below 0"]
        for what, damage in damages.items():
            paths._publish(place, saved["signature"], whole | {name: damage(values)})
            again = build()
            assert again.item_ids(every) == before.item_ids(every), (name, what)
            assert again.labels.tolist() == before.labels.tolist(), (name, what)
            assert all(np.array_equal(again.read(i), before.read(i)) for i in every), (name, what)
    for missing in whole:
        paths._publish(place, saved["signature"], {k: v for k, v in whole.items() if k != missing})
        assert build().item_ids(every) == before.item_ids(every)


def test_names_that_lead_out_of_the_root(tmp_path):
    build = folder(tmp_path)
    build()
    [place] = (tmp_path / "cache").iterdir()
    saved = json.loads((place / "index.json").read_text())
    whole = {name: np.array(np.load(place / file)) for name, file in saved["arrays"].items()}
    for name, old, new in (
        ("names", b"1.png", b"/etcx"),
        ("names", b"1.png", b"1\0png"),
        ("folders", b"b/c", b"../"),
    ):
        blob = np.frombuffer(bytes(whole[name]).replace(old, new), np.uint8)
        paths._publish(place, saved["signature"], whole | {name: blob})
        assert build().item_ids(np.arange(4)) == ["a/1.png", "a/2.png", "b/3.png", "b/c/4.png"]
