"""Every shipped config is checked and its algorithm built; a choice of them takes two steps with a tiny network.

The choice has each algorithm once, the data sets in turn, and every config of DTM. The other combinations of the same parts
take their steps in `make test-all`.
"""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from ferbench.config import config_root, load_config
from ferbench.core.parts import build
from ferbench.engine import api
from ferbench.registry import ALGORITHMS, MODELS
from ferbench.synthetic import layouts

ROOT = Path(__file__).resolve().parents[2] / "configs"
CONFIGS = sorted(
    p.relative_to(ROOT).as_posix() for p in ROOT.rglob("*.py") if not {"_base_", "grids"} & set(p.parts)
)
FOLDERS = sorted({name.split("/")[0] for name in CONFIGS})
CHOSEN = sorted(
    {name for name in CONFIGS if name.startswith("dtm/")}
    | {
        own[i % len(own)]
        for i, folder in enumerate(FOLDERS)
        for own in [[name for name in CONFIGS if name.startswith(f"{folder}/")]]
    }
)
MODEL_FILES = sorted(p.stem for p in (ROOT / "_base_" / "models").glob("*.py"))
PARTS = Path(__file__).with_name("tiny_parts.py")


def write_fer2013(root: Path) -> None:
    """``fer2013.csv`` and ``fer2013new.csv``: noise that darkens with the class, all ten people of one opinion."""
    rng = np.random.default_rng(0)
    votes_of = {
        0: "anger",
        1: "disgust",
        2: "fear",
        3: "happiness",
        4: "sadness",
        5: "surprise",
        6: "neutral",
    }
    columns = [
        "neutral",
        "happiness",
        "surprise",
        "sadness",
        "anger",
        "disgust",
        "fear",
        "contempt",
        "unknown",
        "NF",
    ]
    with (
        open(root / "fer2013.csv", "w", newline="") as a,
        open(root / "fer2013new.csv", "w", newline="") as b,
    ):
        images, votes = csv.writer(a), csv.writer(b)
        images.writerow(["emotion", "pixels", "Usage"])
        votes.writerow(["Usage", "Image name", *columns])
        row = 0
        for usage, per_class in (("Training", 16), ("PublicTest", 2), ("PrivateTest", 1)):
            for label in [*range(7)] * per_class:
                pixels = rng.integers(0, 60, 48 * 48) + 25 * label
                images.writerow([label, " ".join(map(str, pixels)), usage])
                # FER+ has an eighth class, which FER2013 lacks: a few of its neutral faces.
                name = "contempt" if label == 6 and row % 14 == 6 else votes_of[label]
                votes.writerow([usage, f"fer{row:07d}.png", *(10 if c == name else 0 for c in columns)])
                row += 1


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """The folder that all shipped configs find their data in."""
    root = tmp_path_factory.mktemp("data")
    drawn = root / "synthetic"
    layouts.write(
        drawn, replace(layouts.SMALL, videos=24, frames=8), workers=1
    )  # enough videos for a validation part
    (root / "affwild2").symlink_to(drawn / "affwild2")
    (root / "lfw").symlink_to(drawn / "faces")
    (root / "faces").mkdir()
    for ending in ("rec", "idx"):
        if (drawn / f"faces.{ending}").exists():
            os.link(drawn / f"faces.{ending}", root / "faces" / f"train.{ending}")
    write_fer2013(root)
    return root


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_config_is_checked_and_short(folder):
    """Keys, parts and parameters of each config of an algorithm, for each data set; at most 15 lines."""
    found = [name for name in CONFIGS if name.startswith(f"{folder}/")]
    assert {name.split("/")[1] for name in CONFIGS if name.startswith("fixmatch/")} <= {
        name.split("/")[1] for name in found
    }
    for name in found:
        cfg = load_config(name)
        assert cfg.views.size == cfg.model.preprocess.size
        build(ALGORITHMS, cfg.model.algorithm, "model.algorithm")
        assert len((ROOT / name).read_text().splitlines()) <= 15


def test_every_algorithm_is_trained():
    """The trainings below leave out none: each registered algorithm is that of a chosen config."""
    assert config_root() == ROOT
    trained = {load_config(name).model.algorithm.type for name in CHOSEN}
    assert set(ALGORITHMS.names()) - trained == {"Matching"}  # the step that they share
    assert {name.split("/")[1].removesuffix("_full.py") for name in CHOSEN} >= {
        name.split("/")[1] for name in CONFIGS if name.startswith("fixmatch/")
    }


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in CHOSEN else pytest.mark.heavy) for name in CONFIGS]
)
def test_two_steps(name, data, tmp_path):
    options = {
        "model.backbone._delete_": True, "model.backbone.type": "TinyBatchNorm", "log_level": "WARNING",
        "train_dataloader.batch_size": 4, "unlabeled_dataloader.mu": 2, "visualizer.vis_backends": [],
        "train_cfg.max_iters": 2, "train_cfg.val_interval": 2, "default_hooks.monitor.interval": 1,
        "default_hooks.report.pictures": name == "dtm/tiny_synthetic.py",
        **{f"{part}_dataloader.num_workers": 0 for part in ("train", "unlabeled", "val", "test")},
    }  # fmt: skip
    cfg = load_config(name, options, [str(PARTS)], data)
    if cfg.split.get("per_class"):
        cfg.split.per_class = 1
    runner = api.train(cfg, tmp_path)

    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["train", "train", "val", "test"]
    assert all(np.isfinite(line["losses"]["loss"]) for line in lines[:2])
    labels_only = name.startswith(("supervised/", "oracle/"))
    assert not (labels_only and "threshold" in lines[0])
    rows = lines[-1]["rows"]  # last and best, raw and EMA; of videos once more, smoothed
    assert [row["smoothed"] for row in rows] in ([False] * 4, [False] * 4 + [True] * 4)
    labeled = len(runner.data.labeled(runner.bare_model.algorithm.all_labels))
    if "abaw5" not in name:  # whose whole training part is labeled
        assert (labeled == len(cfg.classes)) == (not name.startswith("oracle/"))
    pictures = [p.name for p in tmp_path.rglob("*.png")]
    assert bool(pictures) == (name == "dtm/tiny_synthetic.py")


@pytest.mark.parametrize("name", MODEL_FILES)
def test_shipped_models(name):
    """Each is built once as it is, and makes logits of faces of its size."""
    own = Config.fromfile(ROOT / "_base_" / "models" / f"{name}.py")
    own.model.backbone.pop("weights", None)  # a package that need not be installed brings them
    model = MODELS.build(
        dict(own.model, type="SSLModel", algorithm=dict(type="Supervised"), num_classes=8)
    ).eval()
    size = own.model.preprocess.size
    assert own.views.size == size
    probs = model.predict(torch.zeros(2, size, size, 3, dtype=torch.uint8), "ema")
    assert probs.shape == (2, 8)
    assert probs.sum(dim=1).tolist() == pytest.approx([1, 1])
