"""Run with the package installed, or from this folder: ``python -m pytest tests``."""

import cv2
import numpy as np
import pytest
import torch
from ferbench_example import Jaffe, TopShareThreshold

from ferbench.errors import UserError
from ferbench.testing import check_algorithm, check_rule, make_evidence
from ferbench.thresholds import RunContext


def evidence(confidences):
    top = torch.tensor(confidences)
    return make_evidence(torch.stack([top, 1 - top], dim=1))


def bound(**options):
    rule = TopShareThreshold(**options)
    rule.bind(RunContext(num_classes=2, num_labeled=4, num_unlabeled=5, max_iters=10, class_counts=(2, 2)))
    return rule


def test_it_keeps_what_the_framework_relies_on():
    check_rule(dict(type="TopShareThreshold", share=0.3))
    check_algorithm(
        dict(type="Matching", threshold=dict(type="TopShareThreshold", share=0.3)), processes=False
    )


def test_two_steps_on_paper():
    rule = bound(share=0.5, momentum=0.9)
    first = rule(evidence([0.6, 0.7, 0.8, 0.9, 1.0]))  # median 0.8
    assert first.tolist() == [0, 0, 1, 1, 1]
    second = rule(evidence([0.5, 0.6, 0.7, 0.78, 0.95]))  # median 0.7: level 0.9 * 0.8 + 0.1 * 0.7 = 0.79
    assert rule.level.item() == pytest.approx(0.79)
    assert second.tolist() == [0, 0, 0, 0, 1]
    assert rule.thresholds().tolist() == pytest.approx([0.79, 0.79])


def test_the_level_keeps_above_the_floor():
    rule = bound(share=0.9, momentum=0.0, floor=0.75)
    assert rule(evidence([0.6, 0.7, 0.8])).tolist() == [0, 0, 1]


def test_the_state_survives_a_checkpoint():
    rule, other = bound(), bound()
    rule(evidence([0.6, 0.9]))
    other.load_state_dict(rule.state_dict())
    assert other.level.item() == rule.level.item()


def test_a_share_outside_0_1_is_refused():
    with pytest.raises(UserError, match=r"share=1\.5"):
        TopShareThreshold(share=1.5)


@pytest.fixture
def folder(tmp_path):
    for value, name in enumerate(["KA.AN1.39.tiff", "KA.HA2.30.tiff", "YM.HA1.52.tiff", "YM.NE1.49.tiff"]):
        cv2.imwrite(str(tmp_path / name), np.full((8, 6), 10 * value, np.uint8))
    return tmp_path


def test_labels_people_and_pixels(folder):
    faces = Jaffe(folder, classes=("Neutral", "Happiness", "Anger"), rename=dict.fromkeys(
        ["Disgust", "Fear", "Sadness", "Surprise"]))  # fmt: skip
    assert faces.labels.tolist() == [2, 1, 1, 0]
    assert faces.groups.tolist() == [0, 0, 1, 1]
    assert faces.group_names == ["KA", "YM"]
    assert faces.read(3).shape == (8, 6, 3)
    assert (faces.read(3) == 30).all()


def test_a_name_without_an_expression_is_an_error(folder):
    (folder / "KA.XX1.39.tiff").write_bytes(b"")
    with pytest.raises(UserError, match="does not say an expression"):
        Jaffe(folder)


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(UserError, match="there is no image"):
        Jaffe(tmp_path)
