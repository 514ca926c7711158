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
        "repeated_rows": 0,
    }


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("train_00002.jpg 8", "'8' is out of range"),
        ("train_00002.jpg 0", "'0' is out of range"),
        ("train_00002.jpg x", "'x'"),
        ("train_00002.jpg", "1 cells"),
        ("val_2.jpg 3", "of no part"),
        ("train_00002 3", "of no part"),
        *((f"train_00002.jpg {label}", "out of range") for label in ("+1", "0_1", "\u0661", "9" * 20, "-1")),
        ("train_00002.jpg 1 3", "not as the lines before it"),
        ("train_00002.jpg 1 3 1", "4 cells"),
        ("train_00002\0.jpg 1", r"U\+0000"),
        ("train_00002.jpg 1\v3", r"U\+000B"),
        ("train_/../../2.jpg 1", "no name of an image"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, says):
    write(tmp_path)
    path = tmp_path / "EmoLabel" / "list_patition_label.txt"
    path.write_text("\n".join([LIST[0], line, *LIST[2:]]))
    with pytest.raises(UserError, match=says) as error:
        build(tmp_path)
    assert f"{path}:2" in str(error.value)


def names(data):
    return [data.item_id(i) for i in range(len(data))]


TRAIN = ["train_00001.jpg", "train_00002.jpg", "train_00003.jpg"]


def test_the_label_is_the_second_column_of_three(tmp_path):
    """The third one is coarser: taken as the label it would be valid, and wrong."""
    data = build(write(tmp_path, [f"{line} {i % 3 + 1}" for i, line in enumerate(LIST)]))
    assert names(data) == TRAIN
    assert [data.classes[i] for i in data.labels] == ["Sadness", "Surprise", "Happiness"]


def test_compound_expressions(tmp_path):
    lines = ["train_0001.jpg 1", "train_0002.jpg 11", "test_0001.jpg 8"]
    write(tmp_path / "compound", lines)
    write(tmp_path / "basic")
    data = build(tmp_path, labels="compound")
    assert data.name == "rafdb-compound-train"
    assert [data.classes[i] for i in data.labels] == ["Happily Surprised", "Disgustedly Surprised"]
    assert len(build(tmp_path)) == 3  # `basic` lies beside it
    with pytest.raises(UserError, match=r"out of range(.|\n)*txt:2(.|\n)*labels='compound'"):
        build(tmp_path / "compound")
    with pytest.raises(UserError, match=r"no label is above 7(.|\n)*labels='basic'"):
        build(tmp_path / "basic", labels="compound")


@pytest.mark.parametrize("folder", ["Image/aligned", "aligned"])
@pytest.mark.parametrize("listed", ["", "_aligned"])
@pytest.mark.parametrize("lying", ["", "_aligned"])
@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_names_with_and_without_aligned_have_one_id(tmp_path, folder, listed, lying, ending):
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "list_patition_label.txt").write_text(
        "\n".join(line.replace(".", f"{listed}.") for line in LIST)
    )
    for i, line in enumerate(LIST):
        file = tmp_path / folder / f"{line.split('.')[0]}{lying}.{ending}"
        cv2.imwrite(str(file), np.full((10, 10, 3), 20 * i, np.uint8))
    data = build(tmp_path)
    assert names(data) == TRAIN
    assert abs(int(data.read(2)[0, 0, 0]) - 60) < 4
    (tmp_path / folder / f"train_00001{lying}.{ending}").unlink()  # the first: the others tell the names
    assert abs(int(build(tmp_path).read(2)[0, 0, 0]) - 60) < 4


@pytest.mark.parametrize("csv", [True, False])
@pytest.mark.parametrize("place", ["DATASET", ""])
def test_the_layout_of_kaggle(tmp_path, csv, place):
    for i, line in enumerate(LIST):
        name, label = line.split()
        folder = tmp_path / place / name.split("_")[0] / label
        folder.mkdir(parents=True)
        (folder / "._x.jpg").touch()
        cv2.imwrite(str(folder / name.replace(".", "_aligned.")), np.full((10, 10, 3), 20 * i, np.uint8))
    if csv:
        rows = [line.replace(".", "_aligned.").replace(" ", ",") for line in LIST if line.startswith("train")]
        (tmp_path / "train_labels.csv").write_text("\n".join(["image,label", *rows]))
    data = build(tmp_path)
    assert sorted(names(data)) == TRAIN
    index = names(data).index("train_00003.jpg")
    assert data.classes[data.labels[index]] == "Happiness"
    assert abs(int(data.read(index)[0, 0, 0]) - 60) < 4
    assert len(build(tmp_path, part="test")) == 2


def test_the_csv_of_kaggle_names_its_bad_row(tmp_path):
    (tmp_path / "DATASET/train/1").mkdir(parents=True)
    for row in ("train_00001_aligned.jpg,8", "train_00001_aligned.jpg", "x.jpg,1"):
        (tmp_path / "train_labels.csv").write_text(f"image,label\n{row}\n")
        with pytest.raises(UserError, match=r"train_labels.csv:2"):
            build(tmp_path)


def test_folders_without_images_say_what_belongs_there(tmp_path):
    (tmp_path / "DATASET/train/happiness").mkdir(parents=True)
    with pytest.raises(UserError, match=r"no images of RAF-DB(.|\n)*DATASET/train(.|\n)*folders 1 to 7"):
        build(tmp_path)


def test_a_test_image_among_kaggle_s_training_images_is_refused(tmp_path):
    (tmp_path / "train/1").mkdir(parents=True)
    (tmp_path / "train/1/test_0001_aligned.jpg").touch()
    with pytest.raises(UserError, match=r"not of the part 'train'(.|\n)*train/1"):
        build(tmp_path)


def test_one_image_listed_twice(tmp_path):
    data = build(write(tmp_path, [*LIST, LIST[0]]))
    assert (len(data), data.summary()["repeated_rows"]) == (3, 1)
    (tmp_path / "EmoLabel/list_patition_label.txt").write_text(
        "train_00001.jpg 5\ntrain_00001_aligned.jpg 4\n"
    )
    with pytest.raises(UserError, match=r"listed twice(.|\n)*txt:1 and :2"):
        build(tmp_path)


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


@pytest.mark.parametrize("kaggle", [False, True])
def test_a_folder_in_which_some_images_are_called_otherwise(tmp_path, caplog, kaggle):
    """Each is found, whichever spelling most have; what is in no spelling there is counted when the set is opened."""
    write(tmp_path)
    codes = {line.split(".")[0]: line.split()[1] for line in LIST}
    if kaggle:
        for file in list((tmp_path / "Image/aligned").iterdir()):
            folder = (
                tmp_path / "DATASET" / file.name.split("_")[0] / codes[file.stem.removesuffix("_aligned")]
            )
            folder.mkdir(parents=True, exist_ok=True)
            file.rename(folder / file.name)
        (tmp_path / "EmoLabel/list_patition_label.txt").unlink()
    before = [build(tmp_path).read(i) for i in range(3)]
    assert not caplog.text
    [file] = tmp_path.rglob("train_00002_aligned.jpg")
    file.rename(file.with_name("train_00002.jpg"))
    data = build(tmp_path)
    assert sorted(data.item_id(i) for i in range(3)) == [f"train_0000{n}.jpg" for n in (1, 2, 3)]
    assert sorted(data.read(i).mean() for i in range(3)) == sorted(image.mean() for image in before)
    assert "are called in several ways" in caplog.text
    assert "not in" not in caplog.text
    if not kaggle:
        file.with_name("train_00003_aligned.jpg").unlink()
        build(tmp_path)
        assert f"1 of 3 listed images are not in {tmp_path}/Image/aligned" in caplog.text
