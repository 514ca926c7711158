"""A checkpoint alone gives the probabilities that testing gives, and opens no data set."""

from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest

from ferbench.config import load_config
from ferbench.data.datasets.base import FaceDataset
from ferbench.deploy import Predictor
from ferbench.engine import api
from ferbench.errors import UserError
from tiny_experiment import CLASSES


@pytest.fixture(scope="module")
def run(tmp_path_factory, images, config_file):
    """Folder of a finished run, with the csv files of its test in ``tested``."""
    folder = tmp_path_factory.mktemp("deploy") / "run"
    options = {"train_cfg.max_iters": 4, "model.algorithm._delete_": True, "model.algorithm.type": "ABC",
               "model.algorithm.base.type": "FixMatch"}  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FERBENCH_DATA", "")  # which `load_config` sets
        cfg = load_config(config_file, options, (), images)  # ABC predicts with a head of its own
        api.train(cfg, folder)
        api.test(cfg, folder / "last.pth", folder / "tested")
    return folder


@pytest.mark.parametrize(("weights", "file"), [("ema", "ema"), ("student", "raw")])
def test_it_gives_the_probabilities_of_the_test(run, images, weights, file, monkeypatch):
    monkeypatch.setattr(FaceDataset, "__init__", None)  # whoever opens a data set fails
    predictor = Predictor(run / "last.pth", weights)
    assert predictor.classes == CLASSES
    with open(run / "tested" / f"predictions_{file}.csv", newline="") as stream:
        head, *rows = csv.reader(stream)
    pictures = [cv2.imread(str(images / "test" / row[0]))[..., ::-1] for row in rows]
    expected = np.array([[float(p) for p in row[3:]] for row in rows])
    assert head[3:] == [f"p({name})" for name in CLASSES]
    found = predictor(pictures)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_images_of_any_size_and_of_none(run):
    predictor = Predictor(run / "last.pth")
    faces = [np.full((h, w, 3), 90, np.uint8) for h, w in ((24, 24), (240, 120))]
    found = predictor(faces)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)  # one colour is the same at any size
    assert predictor([]).shape == (0, len(CLASSES))


@pytest.mark.parametrize(
    "image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((8, 8, 4), np.uint8), "a.jpg"]
)
def test_an_image_of_another_kind_is_named(run, image):
    with pytest.raises(UserError, match="image 1 is "):
        Predictor(run / "last.pth")([np.zeros((8, 8, 3), np.uint8), image])


def test_weights_and_files_that_are_not_there(run, tmp_path):
    with pytest.raises(UserError, match="weights is 'raw'"):
        Predictor(run / "last.pth", "raw")
    with pytest.raises(UserError, match="no checkpoint"):
        Predictor(tmp_path / "x.pth")
