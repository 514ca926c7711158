"""AffectNet by its csv lists and as the reduced release."""

from __future__ import annotations

import io
import json

import cv2
import numpy as np
import pytest

from ferbench.errors import UserError
from ferbench.registry import DATASETS

HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
)
CODES = [0, 7, 8, 1, 10, 6, 9, 8]
NAMES = ["Neutral", "Contempt", "Happy", "Anger"]


def write_csv(root, header=True, codes=CODES):
    lines = [HEADER] if header else []
    for i, code in enumerate(codes):
        (root / "Manually_Annotated_Images" / "7").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / f"Manually_Annotated_Images/7/{i}.jpg"), np.full((8, 8, 3), 20 * i, np.uint8))
        lines.append(f"7/{i}.jpg,1,2,5,5,10.5;20.5,{code},-0.5,0.25")
    (root / "training.csv").write_text("\n".join(lines) + "\n")
    return root


def write_reduced(root, codes=CODES):
    for folder in ("images", "annotations"):
        (root / "train_set" / folder).mkdir(parents=True)
    for i, code in enumerate(codes):
        np.save(root / f"train_set/annotations/{i}_exp.npy", np.array(str(code)))
        np.save(root / f"train_set/annotations/{i}_val.npy", np.array("0.5"))
        cv2.imwrite(str(root / f"train_set/images/{i}.jpg"), np.full((8, 8, 3), 20 * i, np.uint8))
    return root


def build(root, **options):
    return DATASETS.build(dict(type="AffectNet", root=str(root), cache=None) | options)


@pytest.mark.parametrize(
    ("layout", "ids"),
    [
        (write_csv, ["7/0.jpg", "7/1.jpg", "7/3.jpg", "7/5.jpg"]),
        (lambda root: write_csv(root, header=False), ["7/0.jpg", "7/1.jpg", "7/3.jpg", "7/5.jpg"]),
        (write_reduced, ["0.jpg", "1.jpg", "3.jpg", "5.jpg"]),
    ],
    ids=["csv", "csv without header", "reduced"],
)
def test_images_with_an_expression_are_kept(tmp_path, layout, ids):
    data = build(layout(tmp_path))
    assert data.item_ids(np.arange(len(data))) == ids
    assert [data.classes[i] for i in data.labels] == NAMES
    assert abs(int(data.read(3)[0, 0, 0]) - 100) < 4
    found = data.summary()
    assert (found["dropped_none"], found["dropped_uncertain"], found["dropped_no-face"]) == (2, 1, 1)


def test_seven_classes_need_a_word_about_contempt(tmp_path):
    seven = ("Anger", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
    write_csv(tmp_path)
    with pytest.raises(UserError, match="'Contempt' has no counterpart"):
        build(tmp_path, classes=seven)
    data = build(tmp_path, classes=seven, rename={"Contempt": None})
    assert data.labels.tolist() == [6, 3, 0]
    assert data.where(1).endswith("training.csv:5)")
    assert data.summary()["dropped_classes"] == 1


def test_labels_of_the_reduced_release_are_kept_until_files_are_added(tmp_path):
    root, cache = write_reduced(tmp_path / "a"), str(tmp_path / "cache")
    first = build(root, cache=cache)
    again = build(root, cache=cache)
    assert again.item_ids(np.arange(4)) == first.item_ids(np.arange(4))
    np.testing.assert_array_equal(first.labels, again.labels)
    np.save(root / "train_set/annotations/99_exp.npy", np.array("4"))
    assert build(root, cache=cache).class_counts().tolist() == [1, 1, 0, 0, 1, 0, 1, 1]


def test_bad_labels_are_named(tmp_path):
    write_csv(tmp_path, codes=[0, 1, 11])
    with pytest.raises(UserError, match=r"'11' is out of range(.|\n)*training.csv:4"):
        build(tmp_path)
    (tmp_path / "training.csv").write_text(HEADER + "\n7/0.jpg,1,2\n")
    with pytest.raises(UserError, match=r"too few cells(.|\n)*training.csv:2"):
        build(tmp_path)
    (tmp_path / "training.csv").write_text(HEADER.replace("expression", "emotion") + "\n7/0.jpg,1,2\n")
    with pytest.raises(UserError, match=r"no column 'expression'(.|\n)*training.csv:1"):
        build(tmp_path)
    root = write_reduced(tmp_path / "b", codes=[3, 12])
    with pytest.raises(UserError, match=r"label '12' is out of range(.|\n)*1_exp.npy"):
        build(root)
    (root / "train_set/annotations/1_exp.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(UserError, match=r"cannot be read(.|\n)*1_exp.npy"):
        build(root)


def npy(array, version=(1, 0)):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version, allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04garbage",
        b"PK\x05\x06" + b"\0" * 18,  # a whole, empty zip file
        b"\x80\x04K\x03.",  # a pickle
        npy(np.array([object()], object)),
        npy(np.array("3"))[:-1],
        npy(np.array("3"))[:30],
        npy(np.array("3")).replace(b"()", b"(9999999999999,)  "),
        npy(np.array(["3", "4"])),
        npy(np.array([], "U1")),
        npy(np.array("3"), (2, 0)),
        *(
            npy(np.array(label))
            for label in ("+1", "0_1", "\u0661", "9" * 20, "", "nan", "1.0", "-1", 3.5, True)
        ),
    ],
)
def test_a_label_file_that_holds_no_label_is_named(tmp_path, data):
    """Zip files, pickles, cut files, other shapes, versions and types, and numbers that only Python takes for one."""
    root = write_reduced(tmp_path)
    (root / "train_set/annotations/1_exp.npy").write_bytes(data)
    with pytest.raises(UserError, match=r"(cannot be read|is out of range)(.|\n)*1_exp.npy"):
        build(root)


@pytest.mark.parametrize("value", [3, "3"])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_labels_as_text_or_number(tmp_path, value, shape):
    root = write_reduced(tmp_path, codes=[0])
    for array in (np.full(shape, value), np.full(shape, str(value), "S1")):
        np.save(root / "train_set/annotations/0_exp.npy", array)
        assert build(root).labels.tolist() == [3]


@pytest.mark.parametrize("ending", ["png", "jpeg", "JPG"])
def test_images_of_other_endings_and_twins_of_a_mac(tmp_path, ending):
    root = write_reduced(tmp_path)
    (root / "train_set/annotations/._0_exp.npy").write_bytes(b"\0\5\x16\7")
    for file in (root / "train_set/images").glob("*.jpg"):
        cv2.imwrite(str(file.with_suffix(f".{ending}")), cv2.imread(str(file)))
        file.unlink()
    data = build(root)
    assert data.item_ids(np.arange(4)) == [f"{i}.{ending}" for i in (0, 1, 3, 5)]
    assert abs(int(data.read(3)[0, 0, 0]) - 100) < 4


@pytest.mark.parametrize("ending", ["png", "jpeg"])
def test_listed_images_that_lie_there_with_another_ending(tmp_path, ending):
    write_csv(tmp_path)
    for file in (tmp_path / "Manually_Annotated_Images").rglob("*.jpg"):
        cv2.imwrite(str(file.with_suffix(f".{ending}")), cv2.imread(str(file)))
        file.unlink()
    (tmp_path / f"Manually_Annotated_Images/7/0.{ending}").unlink()
    data = build(tmp_path)
    assert data.item_ids(np.arange(4)) == ["7/0.jpg", "7/1.jpg", "7/3.jpg", "7/5.jpg"]
    assert abs(int(data.read(3)[0, 0, 0]) - 100) < 4
    assert f"7/5.{ending} (" in data.where(3)


def write_plus(root, beside, codes=CODES, folder="train_set"):
    images, labels = (
        (root / folder, root / folder)
        if beside
        else (root / folder / "images", root / folder / "annotations")
    )
    for i, code in enumerate(codes):
        for place in (images, labels):
            place.mkdir(parents=True, exist_ok=True)
        text = {"Human-Label": code, "Soft-Label": [0.125] * 8, "Subset": 0}
        (labels / f"{i}.json").write_text(json.dumps(text))
        cv2.imwrite(str(images / f"{i}.png"), np.full((8, 8, 3), 20 * i, np.uint8))
    return root


@pytest.mark.parametrize("beside", [True, False])
def test_affectnet_plus(tmp_path, beside):
    data = build(write_plus(tmp_path, beside))
    assert data.item_ids(np.arange(4)) == ["0.png", "1.png", "3.png", "5.png"]
    assert [data.classes[i] for i in data.labels] == NAMES
    assert len(build(write_plus(tmp_path, beside, [2], "validation_set"), part="val")) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[3]",
        "{}",
        '{"Human-Label": 11}',
        '{"Human-Label": "+1"}',
        '{"Human-Label": 3.0}',
        "[" * 100_000,
        "\xff",
    ],
)
def test_a_json_file_that_holds_no_label_is_named(tmp_path, text):
    root = write_plus(tmp_path, False)
    (root / "train_set/annotations/1.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"(cannot be read|is out of range)(.|\n)*1.json"):
        build(root)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("7/0\0.jpg,1,2,5,5,1;2,3,0,0", r"U\+0000"),
        ("7/0.jpg,1,2,5,5,1;2,3\u20284,0,0", r"U\+2028"),
        ("../0.jpg,1,2,5,5,1;2,3,0,0", "no name of an image"),
        ("/0.jpg,1,2,5,5,1;2,3,0,0", "no name of an image"),
        ('"7/0.jpg,1,2,5,5,1;2,3,0,0', "is broken"),
        *(
            (f"7/0.jpg,1,2,5,5,1;2,{label},0,0", "out of range")
            for label in ("+1", "0_1", "\u0663", "9" * 20, "-1", "")
        ),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path, row, says):
    write_csv(tmp_path)
    (tmp_path / "training.csv").write_bytes(f"{HEADER}\n{row}\n".encode())
    with pytest.raises(UserError, match=rf"{says}(.|\n)*training.csv:2"):
        build(tmp_path)


def test_a_named_csv_is_read_although_the_reduced_release_lies_there(tmp_path):
    write_csv(write_reduced(tmp_path), codes=[5])
    data = build(tmp_path, annotations=str(tmp_path / "training.csv"))
    assert data.item_ids(np.arange(len(data))) == ["7/0.jpg"]


def test_labels_without_their_folder_of_images(tmp_path):
    root = write_reduced(tmp_path)
    (root / "train_set/images").rename(root / "train_set/pictures")
    with pytest.raises(UserError, match=r"the images of AffectNet(.|\n)*train_set/images"):
        build(root)


def test_missing_data(tmp_path):
    with pytest.raises(UserError, match="mohammadmahoor"):
        build(tmp_path / "none")
    with pytest.raises(UserError, match=r"training.csv of AffectNet"):
        build(tmp_path)
    (tmp_path / "training.csv").write_text(HEADER + "\n")
    with pytest.raises(UserError, match="Manually_Annotated_Images"):
        build(tmp_path)
    with pytest.raises(UserError, match="no images"):
        build(tmp_path, images=str(tmp_path))
