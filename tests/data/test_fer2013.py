"""FER2013 from a csv and from folders: pixels, labels, copies of test images, errors by line."""

from __future__ import annotations

import pickle
import re

import cv2
import numpy as np
import pytest

from ferbench.data.datasets.base import UnreadableImage
from ferbench.data.datasets.fer2013_images import load_csv
from ferbench.data.splits import BudgetSplit
from ferbench.errors import UserError
from ferbench.registry import DATASETS

NAMES = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
TARGET = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")
RENAME = {"Angry": "Anger", "Happy": "Happiness", "Sad": "Sadness"}


def rows_of(seed=0):
    """Rows (usage, label, pixels): 3 copies PublicTest's 10; 1 and 5 are copies with different labels."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (13, 48, 48)).astype(np.uint8)
    pixels[10] = pixels[3]
    pixels[5] = pixels[1]
    labels = [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 4, 5, 6]
    usages = ["Training"] * 9 + ["PublicTest"] * 2 + ["PrivateTest"] * 2
    return list(zip(usages, labels, pixels, strict=True))


def write_csv(path, rows, columns=("emotion", "pixels", "Usage")):
    lines = [",".join(columns)]
    for usage, label, pixels in rows:
        cells = {"emotion": str(label), "usage": usage, "pixels": " ".join(map(str, pixels.ravel().tolist()))}
        lines.append(",".join(cells[c.strip().lower()] for c in columns))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_folder(root, rows, names=None):
    for i, (usage, label, pixels) in enumerate(rows):
        folder = root / (names or {}).get(usage, usage) / NAMES[label]
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{i:05d}.png"), pixels)
    return root


def build(root, **options):
    return DATASETS.build(dict(type="FER2013", root=str(root), cache=None) | options)


def test_csv_gives_pixels_labels_and_row_names(tmp_path):
    rows = rows_of()
    data = build(write_csv(tmp_path / "fer2013.csv", rows), drop_duplicates_of=None)
    assert data.classes == NAMES
    assert [data.item_id(i) for i in range(len(data))] == [f"row{i:05d}" for i in range(9)]
    assert data.labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1]
    assert data.labels.dtype == np.int16
    for i in range(9):
        np.testing.assert_array_equal(data.read(i), np.repeat(rows[i][2][:, :, None], 3, axis=2))
    assert data.where(4).endswith("fer2013.csv:6")


def test_training_drops_copies_of_test_images_and_counts_them(tmp_path):
    write_csv(tmp_path / "fer2013.csv", rows_of())
    data = build(tmp_path)  # the folder that holds the csv
    assert data.item_ids(np.arange(8)) == [f"row{i:05d}" for i in (0, 1, 2, 4, 5, 6, 7, 8)]
    assert data.summary()["dropped_duplicates"] == 1
    assert data.summary()["copies"] == 1
    assert data.summary()["per_class"]["Happy"] == 0
    assert len(build(tmp_path, drop_duplicates_of="PrivateTest")) == 9
    assert len(build(tmp_path, drop_duplicates_of=["PublicTest"])) == 8
    test = build(tmp_path, usage="PublicTest")
    assert test.item_ids(np.arange(2)) == ["row00009", "row00010"]
    assert len(build(tmp_path, usage=["Training", "PublicTest"])) == 11


def test_copies_share_a_group_and_a_side_of_every_split(tmp_path):
    data = build(write_csv(tmp_path / "fer2013.csv", rows_of()), rename={}, drop_duplicates_of=None)
    assert data.groups_are_copies
    assert data.groups[1] == data.groups[5]
    assert len(set(data.groups.tolist())) == 8
    assert data.group_names[data.groups[5]] == "row00001"
    for seed in range(10):
        parts = BudgetSplit(total=7, seed=seed)(data).parts
        assert ({1, 5} <= set(parts["labeled"].tolist())) != ({1, 5} <= set(parts["unlabeled"].tolist()))


def test_classes_are_mapped_by_name(tmp_path):
    data = build(
        write_csv(tmp_path / "a.csv", rows_of()), classes=TARGET, rename=RENAME, drop_duplicates_of=None
    )
    assert [TARGET[i] for i in data.labels] == [
        "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Neutral", "Anger", "Disgust",
    ]  # fmt: skip
    without = build(tmp_path / "a.csv", classes=TARGET[:2] + TARGET[3:], rename=RENAME | {"Disgust": None})
    assert without.summary()["dropped_classes"] == 2
    assert "row00001" not in without.item_ids(np.arange(len(without)))
    with pytest.raises(UserError, match="'Happy' has no counterpart"):
        build(tmp_path / "a.csv", classes=TARGET, rename={"Angry": "Anger"})


@pytest.mark.parametrize("names", [{}, {"Training": "train", "PublicTest": "test", "PrivateTest": "test"}])
def test_folder_release_is_the_same_data(tmp_path, names):
    rows = rows_of()
    data = build(write_folder(tmp_path / "fer", rows, names))
    by_id = {data.item_id(i): i for i in range(len(data))}
    kept = [0, 1, 2, 4, 5, 6, 7, 8]
    folder = names.get("Training", "Training")
    assert sorted(by_id) == sorted(f"{folder}/{NAMES[rows[i][1]]}/{i:05d}.png" for i in kept)
    for i in kept:
        index = by_id[f"{folder}/{NAMES[rows[i][1]]}/{i:05d}.png"]
        assert data.labels[index] == rows[i][1]
        np.testing.assert_array_equal(data.read(index)[:, :, 1], rows[i][2])
    assert len(build(tmp_path / "fer", usage=names.get("PublicTest", "PublicTest"))) == (4 if names else 2)


def test_an_unreadable_file_of_a_folder_stays_listed_and_says_why(tmp_path):
    root = write_folder(tmp_path / "fer", rows_of())
    for i in (0, 7):
        (root / "Training" / "Angry" / f"{i:05d}.png").write_bytes(b"")
    data = build(root)
    index = data.item_ids(np.arange(len(data))).index("Training/Angry/00000.png")
    with pytest.raises(UnreadableImage, match="empty"):
        data.read(index)
    assert data.summary()["unreadable"] == 2
    assert data.summary()["copies"] == 1  # two unreadable files are not taken for copies of one image


def test_column_order_of_the_other_kaggle_file(tmp_path):
    rows = rows_of()
    data = build(
        write_csv(tmp_path / "icml_face_data.csv", rows, ("emotion", " Usage", " pixels")),
        usage="PrivateTest",
    )
    np.testing.assert_array_equal(data.read(1)[:, :, 0], rows[12][2])


def damage(text, line, edit):
    lines = text.splitlines()
    lines[line - 1] = edit(lines[line - 1])
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("line", "edit", "says"),
    [
        (4, lambda s: "7" + s[1:], "label '7' is out of range"),
        (5, lambda s: s.replace("Training", "Train"), "usage 'Train' is not known"),
        (3, lambda s: s.replace(" ", ",", 1), "4 cells"),
        (6, lambda s: s.replace(" ", " 1 ", 1), "2305 pixels"),
        (6, lambda s: s.replace(" ", " 256 ", 1).replace(" 256 ", " 256", 1), "pixel|pixels"),
        (7, lambda s: s.replace(" ", " x ", 1), "not all numbers"),
        (8, lambda s: s[: len(s) // 2], "2 cells"),
        (1, lambda s: "label,pixels,Usage", "no column emotion"),
        (1, lambda s: "pixels", r"no column emotion \(test.csv"),
        *(
            (6, lambda s, n=n: re.sub(r",\d+ ", f",{n} ", s), "not all numbers")
            for n in ("+5", "1_0", "\u0661", "1.5", "-1")
        ),
        *(
            (6, lambda s, n=n: re.sub(r",\d+ ", f",{n} ", s), "outside 0 to 255")
            for n in ("4294967297", "9" * 25)
        ),
        *(
            (6, lambda s, n=n: n + s[1:], "label .* is out of range")
            for n in ("+1", "01", "\u0661", "9" * 20, "-1", "")
        ),
        (7, lambda s: s.replace(" ", "\v", 1), r"U\+000B"),
        (7, lambda s: s.replace(" ", "\0", 1), r"U\+0000"),
        (7, lambda s: s.replace(",", "\u2028,", 1), r"U\+2028"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path, line, edit, says):
    path = write_csv(tmp_path / "fer2013.csv", rows_of())
    path.write_bytes(damage(path.read_text(), line, edit).encode())
    with pytest.raises(UserError, match=says) as error:
        build(path)
    assert f"fer2013.csv:{line}" in str(error.value)


@pytest.mark.parametrize("name", ["fer2013.csv", "fer2013/fer2013.csv", "icml_face_data.csv", "train.csv"])
def test_a_folder_with_a_csv_of_kaggle(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    write_csv(tmp_path / name, rows_of(), ("emotion", " Usage", " pixels"))
    assert len(build(tmp_path)) == 8


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_and_a_byte_order_mark(tmp_path, end):
    text = write_csv(tmp_path / "fer2013.csv", rows_of()).read_text()
    (tmp_path / "fer2013.csv").write_bytes(text.replace("\n", end).encode("utf-8-sig"))
    data = build(tmp_path)
    assert len(data) == 8
    np.testing.assert_array_equal(data.read(7)[:, :, 0], rows_of()[8][2])


def test_train_csv_of_the_competition_is_training_and_says_what_it_lacks(tmp_path, caplog):
    """Without test images their copies among the training images cannot be known: that is said, not passed over."""
    rows = rows_of()
    whole = build(write_csv(tmp_path / "fer2013.csv", rows), drop_duplicates_of=None)
    assert not caplog.records
    data = build(write_csv(tmp_path / "train.csv", rows[:9], ("emotion", "pixels")))
    assert data.item_ids(np.arange(9)) == whole.item_ids(np.arange(9))
    assert data.labels.tolist() == whole.labels.tolist()
    assert "holds no test images" in caplog.text


@pytest.mark.parametrize(
    "data", [b"", b"\n\n", b"PK\3\4", "emotion,pixels,Usage\n0,1,Tr\u00e4ning".encode("latin-1")]
)
def test_a_csv_that_is_none(tmp_path, data):
    (tmp_path / "fer2013.csv").write_bytes(data)
    with pytest.raises(UserError, match=r"no column emotion, pixels|UTF-8(.|\n)*csv:2|U\+0003"):
        build(tmp_path)


def test_options_of_another_type(tmp_path):
    write_csv(tmp_path / "fer2013.csv", rows_of())
    for wrong in (None, 5, [], [5], {"Training": 1}):
        with pytest.raises(UserError, match="a list of them"):
            build(tmp_path, usage=wrong)
    with pytest.raises(UserError, match="a list of them"):
        build(tmp_path, drop_duplicates_of=5)


def test_missing_data_says_where_it_comes_from(tmp_path):
    with pytest.raises(UserError, match="Kaggle"):
        build(tmp_path / "none.csv")
    with pytest.raises(UserError, match="no FER2013 images"):
        build(tmp_path)
    (tmp_path / "empty.csv").write_text("emotion,pixels,Usage\n")
    with pytest.raises(UserError, match="lists no images"):
        build(tmp_path / "empty.csv")
    write_csv(tmp_path / "fer2013.csv", rows_of()[:9])
    with pytest.raises(UserError, match=r"no images of usage 'PublicTest'(.|\n)*one of Training"):
        build(tmp_path, usage="PublicTest")


def test_folder_errors_name_the_place(tmp_path):
    root = write_folder(tmp_path / "a", rows_of())
    cv2.imwrite(str(root / "Training" / "Angry" / "large.png"), np.zeros((64, 64), np.uint8))
    with pytest.raises(UserError, match=r"64 x 64(.|\n)*large.png"):
        build(root)
    root = write_folder(tmp_path / "b", rows_of())
    (root / "Training" / "Fear").rename(root / "Training" / "Feer")
    with pytest.raises(UserError, match=r"'Feer'(.|\n)*did you mean 'Fear'"):
        build(root)


def test_parsed_pixels_are_kept_until_the_csv_changes(tmp_path):
    rng = np.random.default_rng(1)
    rows = [("Training", int(rng.integers(7)), rng.integers(0, 10, (48, 48))) for _ in range(1000)]
    path, cache = write_csv(tmp_path / "fer2013.csv", rows), tmp_path / "cache"
    fresh = load_csv(path, cache)
    kept = load_csv(path, cache)
    assert isinstance(kept.pixels, np.memmap)
    np.testing.assert_array_equal(fresh.pixels, kept.pixels)
    np.testing.assert_array_equal(kept.pixels, np.array([r[2] for r in rows]))
    rows[17] = ("Training", rows[17][1], rows[17][2][::-1])
    write_csv(path, [*rows, rows[17]])
    np.testing.assert_array_equal(load_csv(path, cache).pixels[17], rows[17][2])
    data = build(path, cache=str(cache))
    assert len(pickle.dumps(data)) < 100_000  # a spawned worker maps the file instead of receiving the pixels
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(data)).read(17), data.read(17))
