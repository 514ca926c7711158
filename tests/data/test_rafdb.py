"""RAF-DB in its released layout."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ferbench.data.datasets.base import UnreadableImage
from ferbench.errors import UserError
from ferbench.registry import DATASETS

LIST = ["train_00001.jpg 5", "train_00002.jpg 1", "test_0001.jpg 7", "train_00003.jpg 4", "test_0002.jpg 2"]


def write(root, lines=LIST, list_name="list_patition_label.txt"):
    for folder in ("EmoLabel", "Image/aligned", "Image/original"):
        (root / folder).mkdir(parents=True)
    (root / "EmoLabel" / list_name).write_text("\n".join(lines) + "\n")
    for i, line in enumerate(lines):
        stem = line.split(".")[0]
        cv2.imwrite(str(root / f"Image/aligned/{stem}_aligned.jpg"), np.full((10, 10, 3), 20 * i, np.uint8))
        cv2.imwrite(str(root / f"Image/original/{stem}.jpg"), np.full((30, 40, 3), 20 * i, np.uint8))
    return root


def build(root, **options):
    return DATASETS.build(dict(type="RAFDB", root=str(root)) | options)


@pytest.mark.parametrize("list_name", ["list_patition_label.txt", "list_partition_label.txt"])
def test_parts_and_labels(tmp_path, list_name):
    write(tmp_path / "basic", list_name=list_name)
    data = build(tmp_path)
    assert [data.item_id(i) for i in range(len(data))] == [
        "train_00001.jpg",
        "train_00002.jpg",
        "train_00003.jpg",
    ]
    assert [data.classes[i] for i in data.labels] == ["Sadness", "Surprise", "Happiness"]
    assert abs(int(data.read(2)[0, 0, 0]) - 60) < 4
    assert data.where(2).endswith(f"train_00003_aligned.jpg ({tmp_path}/basic/EmoLabel/{list_name}:4)")
    test = build(tmp_path / "basic", part="test", images="original")
    assert [test.classes[i] for i in test.labels] == ["Neutral", "Fear"]
    assert test.read(1).shape == (30, 40, 3)


def test_classes_by_name(tmp_path):
    write(tmp_path)
    data = build(
        tmp_path,
        classes=("Other", "Happiness", "Sadness"),
        rename=dict.fromkeys(("Surprise", "Fear", "Disgust", "Anger", "Neutral")),
    )
    assert data.labels.tolist() == [2, 1]
    assert data.item_id(1) == "train_00003.jpg"
    assert data.where(1).endswith(":4)")
    assert data.summary() == {
        "kept": 2,
        "per_class": {"Other": 0, "Happiness": 1, "Sadness": 1},
        "dropped_classes": 1,
    }


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("train_00002.jpg 8", "'8' is out of range"),
        ("train_00002.jpg 0", "'0' is out of range"),
        ("train_00002.jpg x", "'x'"),
        ("train_00002.jpg", "1 cells"),
        ("val_2.jpg 3", "of no part"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, says):
    write(tmp_path)
    path = tmp_path / "EmoLabel" / "list_patition_label.txt"
    path.write_text("\n".join([LIST[0], line, *LIST[2:]]))
    with pytest.raises(UserError, match=says) as error:
        build(tmp_path)
    assert f"{path}:2" in str(error.value)


def test_missing_data(tmp_path):
    with pytest.raises(UserError, match=r"whdeng"):
        build(tmp_path / "none")
    with pytest.raises(UserError, match=r"list of RAF-DB(.|\n)*EmoLabel/list_patition_label.txt"):
        build(tmp_path)
    write(tmp_path)
    (tmp_path / "Image/aligned/train_00001_aligned.jpg").unlink()
    data = build(tmp_path)
    with pytest.raises(UnreadableImage, match=r"train_00001_aligned.jpg \(.*txt:1\): No such file"):
        data.read(0)
    with pytest.raises(UserError, match="part='dev'"):
        build(tmp_path, part="dev")
