"""ExpW: faces cut out of photographs by the boxes of label.lst."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ferbench.data.datasets.base import UnreadableImage
from ferbench.errors import UserError
from ferbench.registry import DATASETS

LINES = [  # image, face, top, left, right, bottom, confidence, label
    "angry_actor_104.jpg 0 20 10 40 60 76.6 0",
    "angry_actor_104.jpg 1 0 70 100 30 12.5 3",
    "a face.png 0 5 5 200 300 99 6",
    "a face.png 1 90 90 80 80 50 2",
]

# what Python takes for a number, what overflows 32 or 64 bits, and what is none
NO_NUMBERS = ("+1", "0_1", "\u0661", "1e", "4000000000" * 2, "x")


def write(root, lines=LINES):
    (root / "data" / "image" / "origin").mkdir(parents=True)
    (root / "data" / "label").mkdir()
    (root / "data" / "label" / "label.lst").write_text("\n".join(lines) + "\n")
    for i, name in enumerate(("angry_actor_104.jpg", "a face.png")):
        cv2.imwrite(str(root / "data/image/origin" / name), photograph(i)[:, :, ::-1])
    return root


def photograph(seed):
    smooth = np.random.default_rng(seed).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    return cv2.resize(smooth, (100, 80), interpolation=cv2.INTER_LINEAR)


def build(root, **options):
    return DATASETS.build(dict(type="ExpW", root=str(root)) | options)


def test_faces_are_cut_out_by_top_left_right_bottom(tmp_path):
    data = build(write(tmp_path))
    assert [data.item_id(i) for i in range(4)] == [
        "angry_actor_104.jpg#0", "angry_actor_104.jpg#1", "a face.png#0", "a face.png#1",
    ]  # fmt: skip
    assert [data.classes[i] for i in data.labels] == ["angry", "happy", "neutral", "fear"]
    face = data.read(0)
    assert face.shape == (40, 30, 3)  # rows 20 to 60, columns 10 to 40
    assert abs(face.astype(int) - photograph(0)[20:60, 10:40]).mean() < 4  # JPEG
    np.testing.assert_array_equal(
        data.read(2), photograph(1)[5:80, 5:100]
    )  # PNG; the box ends at the picture's edge
    wide = build(tmp_path, margin=0.5).read(0)
    assert abs(wide.astype(int) - photograph(0)[0:80, 0:55]).mean() < 4
    with pytest.raises(UnreadableImage, match=r"a face.png \(.*label.lst:4\): the face box"):
        data.read(3)


def test_faces_of_low_confidence_are_left_out_and_counted(tmp_path):
    data = build(write(tmp_path), min_confidence=50)
    assert data.item_ids(np.arange(3)) == ["angry_actor_104.jpg#0", "a face.png#0", "a face.png#1"]
    found = data.summary()
    assert found["dropped_below_min_confidence"] == 1
    assert found["dropped_classes"] == 0
    np.testing.assert_array_equal(data.read(1), photograph(1)[5:80, 5:100])
    data = build(tmp_path, min_confidence=50, rename={"fear": None})
    assert data.summary()["dropped_classes"] == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("a face.png 1 9 9 8 8 50 7", "'7' is out of range"),
        ("a face.png 1 9 9 8 x 50 6", "no face id, box"),
        ("a.png 9 9 8 8 50 6", "7 cells"),
        *((f"a face.png 1 9 9 {box} 8 50 6", "no face id, box") for box in NO_NUMBERS),
        *((f"a face.png 1 9 9 9 8 {sure} 6", "no face id, box") for sure in (*NO_NUMBERS, "nan", "inf")),
        *((f"a face.png {face} 9 9 9 8 50 6", "no face id, box") for face in NO_NUMBERS),
        *((f"a face.png 1 9 9 9 8 50 {label}", "out of range") for label in (*NO_NUMBERS, "-1", "9" * 20)),
        ("a face\0.png 1 9 9 9 8 50 6", r"U\+0000"),
        ("a face.png 1 9 9 9 8 50 6\v1", r"U\+000B"),
        ("../a.png 1 9 9 9 8 50 6", "no name of an image"),
        ("/etc/a.png 1 9 9 9 8 50 6", "no name of an image"),
        ("angry_actor_104.jpg 0 20 10 40 61 76.6 0", "listed twice"),
        ("angry_actor_104.jpg 0 20 10 40 60 76.6 1", "listed twice"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, says):
    write(tmp_path, [LINES[0], line])
    with pytest.raises(UserError, match=says) as error:
        build(tmp_path)
    assert "label.lst:2" in str(error.value) or "label.lst:1 and :2" in str(error.value)


def test_a_repeated_row_counts_once(tmp_path):
    data = build(write(tmp_path, [*LINES[:3], LINES[0]]))
    assert len(data) == 3
    assert data.summary()["repeated_rows"] == 1


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xff\xfea\0", "a.jpg 0 1 2 3 4 5 \xe9".encode("latin-1")])
def test_lists_that_are_empty_or_no_utf8(tmp_path, data):
    write(tmp_path)
    (tmp_path / "data/label/label.lst").write_bytes(data)
    with pytest.raises(UserError, match=r"no images|not a text file in UTF-8(.|\n)*label.lst:1"):
        build(tmp_path)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_and_a_byte_order_mark(tmp_path, end):
    write(tmp_path)
    (tmp_path / "data/label/label.lst").write_bytes(("\ufeff" + end.join(LINES)).encode())
    assert build(tmp_path).item_id(0) == "angry_actor_104.jpg#0"


def test_missing_data(tmp_path):
    with pytest.raises(UserError, match="mmlab"):
        build(tmp_path / "none")
    with pytest.raises(UserError, match=r"label.lst or label/label.lst"):
        build(tmp_path)
    (tmp_path / "label.lst").write_text(LINES[0])
    with pytest.raises(UserError, match="folder of photographs"):
        build(tmp_path)
    with pytest.raises(UserError, match="margin"):
        build(tmp_path, margin=-1)
