"""A very small experiment: four classes of coloured patterns of 24 px, a network of two layers, twelve iterations.

Fixtures for any folder of tests whose ``conftest.py`` imports them.
"""

from __future__ import annotations

import random
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from child import run_script
from ferbench.config import load_config

TESTS = Path(__file__).resolve().parent
PARTS = TESTS / "engine" / "tiny_parts.py"
CLASSES = ("blank", "cross", "disc", "stripes")

CONFIG = f"""
_base_ = ["{{{{$FERBENCH_CONFIGS:}}}}/_base_/runtime/default.py"]
custom_imports = dict(imports=[{str(PARTS)!r}])
classes = {CLASSES!r}
_root = "{{{{$FERBENCH_DATA:data}}}}"
train_dataloader = dict(
    batch_size=8, num_workers=0, dataset=dict(type="ImageFolder", root=_root + "/train", labeled=True, cache=None)
)
split = dict(type="BudgetSplit", per_class=10, val=0.15, seed=0)
unlabeled_dataloader = dict(
    mu=2, num_workers=0, rest=True, dataset=dict(type="ImageFolder", root=_root + "/faces", cache=None)
)
val_dataloader = dict(batch_size=16, num_workers=0)
test_dataloader = dict(
    batch_size=16, num_workers=0, dataset=dict(type="ImageFolder", root=_root + "/test", labeled=True, cache=None)
)
model = dict(
    backbone=dict(type="TinyPlain"),
    head=dict(type="LinearHead", dropout=0.2),
    preprocess=dict(size=24),
    algorithm=dict(type="DTM", floor=0.2, rule=dict(epoch_length=2, init=0.3)),
    ema_decay=0.9,
)
views = dict(size=24)
train_cfg = dict(type="SemiTrainLoop", max_iters=12, val_interval=4)
optim_wrapper = dict(
    type="SSLOptimWrapper", optimizer=dict(type="SGD", lr=0.3, momentum=0.9, nesterov=True, weight_decay=5e-4)
)
param_scheduler = dict(type="WarmupCosineLR", warmup=2)
default_hooks = dict(monitor=dict(interval=3), report=dict(pictures=False))
custom_hooks = [dict(type="KillAt"), dict(type="FailAt"), dict(type="PoisonAt")]  # at no iteration, unless a test says so
visualizer = dict(vis_backends=[])
log_level = "WARNING"
"""


def draw(label: int, rng: np.random.Generator) -> np.ndarray:
    """uint8 BGR [24, 24, 3]: noise, and the pattern of a class in a colour of its own."""
    image = rng.integers(0, 120, (24, 24, 3)).astype(np.uint8)
    colour = [(0, 0, 0), (0, 0, 250), (0, 250, 0), (250, 0, 0)][label]
    if label == 1:
        cv2.line(image, (2, 2), (21, 21), colour, 3)
        cv2.line(image, (2, 21), (21, 2), colour, 3)
    elif label == 2:
        cv2.circle(image, (12, 12), 7, colour, -1)
    elif label == 3:
        image[::4] = colour
    return image


def draw_folder(root: Path, count: int, seed: int, labeled: bool = True) -> None:
    """``count`` images; of the labeled ones, class c is every fourth. Half PNG, half JPEG."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        folder = root / (CLASSES[i % 4] if labeled else "people")
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{i:04d}.{'png' if i % 2 else 'jpg'}"), draw(i % 4, rng))


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """Data folder with ``train`` (122 images), ``test`` (37) and ``faces`` (61, unlabeled)."""
    root = tmp_path_factory.mktemp("images")
    draw_folder(root / "train", 122, seed=1)
    draw_folder(root / "test", 37, seed=2)
    draw_folder(root / "faces", 61, seed=3, labeled=False)
    return root


@pytest.fixture(scope="session")
def config_file(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("config") / "tiny.py"
    file.write_text(CONFIG)
    return file


@pytest.fixture(autouse=True)
def process_state(monkeypatch):
    """A run seeds the global generators and names its folders in the environment: give both back."""
    for name in ("FERBENCH_DATA", "FERBENCH_CONFIGS"):
        monkeypatch.setenv(name, "")  # so that what a test sets is taken back
        monkeypatch.delenv(name)
    python, numpy, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    random.setstate(python)
    np.random.set_state(numpy)
    torch.set_rng_state(torch_state)


@pytest.fixture
def make(images, config_file):
    """The config with changes: ``make({"train_cfg.max_iters": 2})``."""

    def make(options=None, data=images):
        return load_config(config_file, options or {}, (), data)

    return make


@pytest.fixture
def command(images, config_file):
    """Runs ``tools/train.py`` (or another tool) on the config; stdout, stderr and exit code."""

    def run(*arguments, tool="train.py", options=None, config=config_file, data=images):
        words = [str(TESTS.parent / "tools" / tool), str(config), *map(str, arguments), "--data", str(data)]
        if options:
            words += ["--cfg-options", *(f"{k}={v}" for k, v in options.items())]
        return run_script(words)

    return run
