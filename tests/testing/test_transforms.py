"""`check_transform`: ours pass, and each kind of fault is found."""

import random

import cv2
import numpy as np
import pytest
import torch

from ferbench.data.views import MEDIUM, STRONG, WEAK
from ferbench.registry import TRANSFORMS
from ferbench.testing import check_transform

OURS = [
    *WEAK, *MEDIUM, *STRONG, dict(type="RandomCrop", ratio=0.8), dict(type="Resize", size=20), dict(type="RandomGrayscale")
]  # fmt: skip


@pytest.mark.parametrize("config", OURS, ids=lambda c: c["type"])
def test_our_transforms_conform(config):
    check_transform(config)


def into_input(image, u):
    image[:4] = 0
    return image


def by_opencv(image, u):
    cv2.GaussianBlur(image, (3, 3), 0, dst=image)
    return image


FAULTS = {
    "writes into its input": into_input,
    "writes into its input, through OpenCV": by_opencv,
    "draws from random": lambda image, u: image if random.random() < 0.5 else image[::-1],
    "draws from numpy.random": lambda image, u: image + np.uint8(np.random.randint(2)),
    "draws from torch": lambda image, u: image[:, ::-1] if torch.rand(()) < 0.5 else image,
    "another one for the same": lambda image, u: (
        image if np.random.default_rng().random() < 0.5 else image[::-1]
    ),
    "gives float64": lambda image, u: image / 255,
    "gives uint8 of shape (32, 32)": lambda image, u: image[..., 0],
    "several shapes": lambda image, u: image[: 16 + int(u[0] * 16)],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_found(fault, monkeypatch):
    """Class: whatever a transform may do that other views, other workers or a resume would notice."""

    class Faulty:
        draws = 1

        def __call__(self, image, u):
            return FAULTS[fault](image, u)

    found(Faulty, fault.split(",")[0], monkeypatch)


def found(kind, message, monkeypatch):
    monkeypatch.setitem(TRANSFORMS._module_dict, "Faulty", kind)
    with pytest.raises((AssertionError, cv2.error)) as caught:
        check_transform(dict(type="Faulty"))
    assert message in str(caught.value) or caught.type is cv2.error


def test_state_and_shared_results_are_found(monkeypatch):
    class Counts:
        draws = 0
        calls = 0

        def __call__(self, image, u):
            self.calls += 1
            return image + np.uint8(self.calls)

    class Shares:
        draws = 0

        def __init__(self):
            self.buffer = np.empty((32, 32, 3), np.uint8)

        def __call__(self, image, u):
            self.buffer[:] = 255 - image
            return self.buffer

    class BuiltByChance:
        draws = 0

        def __init__(self):
            self.shift = np.uint8(np.random.default_rng().integers(256))

        def __call__(self, image, u):
            return image + self.shift

    found(Counts, "another one for the same", monkeypatch)
    found(Shares, "changes an earlier result", monkeypatch)
    found(BuiltByChance, "of another instance", monkeypatch)
