"""Shipped configs: every algorithm is built for every setting; every setting and kind of step is trained for two iterations.

`tests/testing/test_conformance.py` trains every algorithm; here it is the files. `make test-all` trains the others, too.
"""

from __future__ import annotations

import csv
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from ferbench.config import config_root, load_config, read_file
from ferbench.core.config_algorithm import algorithm_of, conditions_of
from ferbench.core.config_files import ALGORITHMS as BODIES
from ferbench.core.config_files import SETTINGS, names_in
from ferbench.core.parts import build
from ferbench.engine import api
from ferbench.registry import ALGORITHMS, MODELS
from ferbench.synthetic import layouts

ROOT = Path(__file__).resolve().parents[2] / "configs"
EXPLICIT = sorted(
    p.relative_to(ROOT).as_posix() for p in ROOT.rglob("*.py") if not {"_base_", "grids"} & set(p.parts)
)
MIXED = "dtm/r50_abaw5_affectnet_expw.py"
EXPLICIT.remove(MIXED)
#: Setting and algorithm: each setting, steps with passes, generations, all labels and no unlabeled images.
TRAINED = [
    ("tiny_synthetic", "dtm_full"),
    ("r50_abaw5", "dtm"),
    ("r18_fer2013", "noisystudent"),
    ("r18_ferplus", "oracle"),
    ("r18_fer2013", "supervised"),
]
OTHERS = [("r18_fer2013", name) for name in names_in(BODIES) if name not in {a for _, a in TRAINED}]
#: What the files say where settings differ: long run on much data; 3,000 iterations; 1,000 iterations.
DIFFERENCES = {
    ("adacm", "rule"): ({"max_items": 50_000}, None, None),
    ("adamatch", "momentum"): (0.999, 0.99, 0.99),
    ("adsh", "rule"): ({"max_items": 100_000}, None, None),
    ("crest", "generations"): (6, 3, 2),
    ("crest", "restart"): (None, False, False),
    ("crestplus", "generations"): (6, 3, 2),
    ("crestplus", "restart"): (None, False, False),
    ("darp", "interval"): (500, 10, 10),
    ("darp", "refinery"): ({"half": True}, None, None),
    ("debiasedpl", "momentum"): (0.999, 0.99, 0.99),
    ("dtm", "rule"): ({"max_items": 50_000}, None, None),
    ("dtm_full", "rule"): ({"max_items": 50_000}, None, None),
    ("freematch", "momentum"): (0.999, 0.99, 0.99),
    ("meanteacher", "lambda_u"): (10.0, 1.0, 1.0),
    ("noisystudent", "generations"): (4, 3, 2),
    ("noisystudent", "restart"): (None, False, False),
    ("noisystudent", "teacher"): ({"half": True}, None, None),
    ("saw", "rule"): ({"max_items": 100_000}, None, None),
    ("simmatch", "bank"): ({"temperature": 0.1, "size": 16_384}, {"temperature": 0.1}, {"temperature": 0.1}),
    ("softmatch", "momentum"): (0.999, 0.99, 0.99),
    ("ssmfar", "rule"): ({"max_items": 50_000}, None, None),
}
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


def write_affectnet_and_expw(root: Path) -> None:
    """Two faces or more of each class; AffectNet has an eighth one, contempt, and a face without expression."""
    (root / "affectnet" / "Manually_Annotated_Images" / "1").mkdir(parents=True)
    (root / "expw" / "origin").mkdir(parents=True)
    rng = np.random.default_rng(1)
    affectnet, expw = (
        [
            "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
        ],
        [],
    )
    for number in range(17):
        picture = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
        cv2.imwrite(str(root / "affectnet" / "Manually_Annotated_Images" / "1" / f"{number}.jpg"), picture)
        affectnet.append(f"1/{number}.jpg,0,0,40,40,,{number % 8 if number < 16 else 9},0,0")
        cv2.imwrite(str(root / "expw" / "origin" / f"{number}.jpg"), 255 - picture)
        expw.append(f"{number}.jpg 0 2 2 38 38 60.0 {number % 7}")
    (root / "affectnet" / "training.csv").write_text("\n".join(affectnet) + "\n")
    (root / "expw" / "label.lst").write_text("\n".join(expw) + "\n")


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
    write_affectnet_and_expw(root)
    return root


@pytest.mark.parametrize("name", names_in(BODIES))
def test_every_algorithm_is_built_for_every_setting(name):
    file = ROOT / BODIES / f"{name}.py"
    assert len(file.read_text().splitlines()) <= 15
    found = [
        algorithm_of(name, conditions_of(setting))[0]
        for setting in ("r50_abaw5", "r18_fer2013", "tiny_synthetic")
    ]
    for algorithm in found:
        build(ALGORITHMS, algorithm, "model.algorithm")
    differ = {key for f in found for key in f if any(o.get(key) != f[key] for o in found)}
    assert differ == {key for body, key in DIFFERENCES if body == name}
    for key in differ:
        assert tuple(f.get(key) for f in found) == DIFFERENCES[name, key]


def test_every_registered_algorithm_has_a_file_and_every_file_a_registered_algorithm():
    assert config_root() == ROOT
    types = {algorithm_of(name)[0]["type"] for name in names_in(BODIES)}
    shipped = {n for n in ALGORITHMS.names() if ALGORITHMS.get(n).__module__.startswith("ferbench.")}
    assert shipped - types == {"Matching"}  # the step that they share
    assert types <= shipped


@pytest.mark.parametrize("name", EXPLICIT)
def test_explicit_configs_are_a_setting_and_an_algorithm(name):
    folder, setting = name.removesuffix(".py").split("/")
    full = "_full" if setting.endswith("_full") else ""
    cfg, same = load_config(name), load_config(setting.removesuffix("_full"), algorithm=folder + full)
    assert cfg.to_dict() == same.to_dict()
    assert cfg.model.algorithm == load_config(f"dtm/{setting}", algorithm=folder + full).model.algorithm


def test_the_setting_of_the_howto(tmp_path):
    """A data set for all algorithms is this one file."""
    page = (ROOT.parent / "docs" / "howto" / "data.md").read_text()
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", page, flags=re.S) if "conditions" in b)
    file = tmp_path / "rafdb.py"
    file.write_text(block)
    for name in ("softmatch", "crest", "dtm"):
        cfg = load_config(file, algorithm=name)
        assert cfg.model.algorithm == load_config("r18_fer2013", algorithm=name).model.algorithm
        assert cfg.train_dataloader.dataset.type == "RAFDB"


def two_steps(config: str, algorithm: str | None, data: Path, folder: Path, pictures: bool = False):
    """Train a tiny network for two iterations by a shipped config."""
    options = {
        "model.backbone": dict(type="TinyBatchNorm"), "log_level": "WARNING",
        "train_dataloader.batch_size": 4, "unlabeled_dataloader.mu": 2, "visualizer.vis_backends": [],
        "train_cfg.max_iters": 2, "train_cfg.val_interval": 2, "default_hooks.monitor.interval": 1,
        "default_hooks.report.pictures": pictures,
        **{f"{part}_dataloader.num_workers": 0 for part in ("train", "unlabeled", "val", "test")},
    }  # fmt: skip
    cfg = load_config(config, options, [str(PARTS)], data, algorithm)
    if cfg.split.get("per_class"):
        cfg.split.per_class = 1
    return api.train(cfg, folder)


@pytest.mark.parametrize(("setting", "algorithm"), [
    *TRAINED, *(pytest.param(*pair, marks=pytest.mark.heavy) for pair in OTHERS),
])  # fmt: skip
def test_two_steps(setting, algorithm, data, tmp_path):
    pictures = (setting, algorithm) == TRAINED[0]
    runner = two_steps(setting, algorithm, data, tmp_path, pictures)

    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["train", "train", "val", "test"]
    assert all(np.isfinite(line["losses"]["loss"]) for line in lines[:2])
    assert not (algorithm in ("supervised", "oracle") and "threshold" in lines[0])
    rows = lines[-1]["rows"]  # last and best, raw and EMA; of videos once more, smoothed
    assert [row["smoothed"] for row in rows] in ([False] * 4, [False] * 4 + [True] * 4)
    labeled = len(runner.data.labeled(runner.bare_model.algorithm.all_labels))
    if setting != "r50_abaw5":  # whose whole training part is labeled
        assert (labeled == len(runner.data.classes)) == (algorithm != "oracle")
    assert bool(list(tmp_path.rglob("*.png"))) == pictures


def test_three_labeled_sets_are_mixed_by_class_name(data, tmp_path):
    runner = two_steps(MIXED, None, data, tmp_path)
    classes = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
    affwild2, affectnet, expw = runner.data.datasets["labeled"].parent.parts
    # AffectNet's codes: neutral, happy, sad, surprise, fear, disgust, anger, contempt (left out), 9: no expression.
    assert [classes[i] for i in affectnet.labels[:7]] == [classes[i] for i in (0, 4, 5, 6, 3, 2, 1)]
    assert affectnet.class_counts().tolist() == [2] * 7 + [0]
    # ExpW's: angry, disgust, fear, happy, sad, surprise, neutral.
    assert [classes[i] for i in expw.labels[:7]] == [classes[i] for i in (1, 2, 3, 4, 5, 6, 0)]
    assert len(expw) == 17
    assert affwild2.class_counts()[7] > 0


def shipped_networks():
    """Files of networks, and of the setting that has its own."""
    files = sorted((ROOT / "_base_" / "models").glob("*.py"))
    return [*files, *(ROOT / SETTINGS / f"{name}.py" for name in ("r50_abaw5", "tiny_synthetic"))]


@pytest.mark.parametrize("file", shipped_networks(), ids=lambda file: file.stem)
def test_shipped_networks(file):
    """Each is built once as it is, and makes logits of faces of its size."""
    own = read_file(file)
    own.model.backbone.pop("weights", None)  # a package that need not be installed brings them
    model = MODELS.build(
        dict(own.model, type="SSLModel", algorithm=dict(type="Supervised"), num_classes=8)
    ).eval()
    size = own.model.preprocess.size
    assert own.views.size == size
    probs = model.predict(torch.zeros(2, size, size, 3, dtype=torch.uint8), "ema")
    assert probs.shape == (2, 8)
    assert probs.sum(dim=1).tolist() == pytest.approx([1, 1])
