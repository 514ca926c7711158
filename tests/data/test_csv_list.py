import cv2
import numpy as np
import pytest

from ferbench.data.datasets.csv_list import CsvList
from ferbench.data.io import UnreadableImage
from ferbench.errors import UserError
from ferbench.registry import DATASETS

JPEG = cv2.imencode(".jpg", np.full((8, 8, 3), 128, np.uint8))[1].tobytes()


def write(tmp_path, text, name="list.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def ids(dataset):
    return dataset.item_ids(np.arange(len(dataset)))


def test_labels_by_name(tmp_path):
    path = write(tmp_path, "\ufeffpath, label\nb.jpg,Sad\na/c.jpg,happy\n\nd.jpg,\n")
    dataset = DATASETS.build(
        {
            "type": "CsvList",
            "path": str(path),
            "classes": ["Happiness", "Sad"],
            "rename": {"happy": "Happiness"},
        }
    )
    assert ids(dataset) == ["b.jpg", "a/c.jpg", "d.jpg"]
    assert dataset.labels.tolist() == [1, 0, -1]
    assert dataset.where(1) == f"{tmp_path}/a/c.jpg ({path}:3)"
    assert dataset.where(2).endswith(f"({path}:5)")  # the empty line counts
    assert dataset.name == "list"


def test_labels_by_integer_are_mapped_by_name(tmp_path):
    path = write(tmp_path, "label;file\n2;x.jpg\n0;y.jpg\n1;z\\q.jpg\n")
    dataset = CsvList(
        path,
        classes=["Neutral", "Anger"],
        source_classes=["anger", "Contempt", "neutral"],
        rename={"contempt": None},
        path_column="file",
        delimiter=";",
    )
    assert ids(dataset) == ["x.jpg", "y.jpg"]  # the dropped class is left out
    assert dataset.labels.tolist() == [0, 1]
    everything = CsvList(path, source_classes=["a", "b", "c"], path_column="file", delimiter=";")
    assert everything.classes == ("a", "b", "c")
    assert everything.labels.tolist() == [2, 0, 1]
    assert everything.item_id(2) == "z/q.jpg"


def test_unlabeled_lists(tmp_path):
    path = write(tmp_path, "path\na.jpg\n")
    assert CsvList(path, label_column=None).labels.tolist() == [-1]
    assert CsvList(write(tmp_path, "path,label\na.jpg,\n", "b.csv")).classes == ()


def test_class_names_that_are_numbers_need_source_classes(tmp_path):
    path = write(tmp_path, "path,label\na.jpg,Sad\nb.jpg,3\n")
    with pytest.raises(UserError, match=r"label '3' is out of range(.|\n)*list\.csv:3(.|\n)*source_classes"):
        CsvList(path)


@pytest.mark.parametrize("label", ["7", "-1", "2"])
def test_label_out_of_range(tmp_path, label):
    path = write(tmp_path, f"path,label\na.jpg,0\nb.jpg,{label}\nc.jpg,{label}\n")
    with pytest.raises(UserError, match=rf"label '{label}' is out of range(.|\n)*list\.csv:3"):
        CsvList(path, source_classes=["x", "y"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"empty(.|\n)*list\.csv:1"),
        ("path,label\n", "lists no images"),
        ("paths,label\na,b\n", r"no column 'path'(.|\n)*did you mean 'paths'"),
        ("path,label\na.jpg,x\nb.jpg\n", r"too few cells: 'b\.jpg'(.|\n)*list\.csv:3"),
        ("path,label\n,x\n", r"no path(.|\n)*list\.csv:2"),
        ("path,label\na.jpg,x\nb.jpg,x\na.jpg,y\n", r"'a\.jpg' is listed twice(.|\n)*list\.csv:2 and :4"),
    ],
)
def test_bad_csv(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        CsvList(write(tmp_path, text))


def test_unknown_class_and_missing_file(tmp_path):
    with pytest.raises(UserError, match="class 'sad' has no counterpart"):
        CsvList(write(tmp_path, "path,label\na.jpg,sad\n"), classes=["Sadness"])
    with pytest.raises(UserError, match=r"label 'happy' is no class(.|\n)*list\.csv:2"):
        CsvList(write(tmp_path, "path,label\na.jpg,happy\n"), source_classes=["sad"])
    with pytest.raises(UserError, match=r"cannot be read(.|\n)*missing\.csv"):
        CsvList(tmp_path / "missing.csv")
    (tmp_path / "binary.csv").write_bytes(b"path,label\n\xff\xfe\n")
    with pytest.raises(UserError, match="not a csv file in UTF-8"):
        CsvList(tmp_path / "binary.csv")


def test_read(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(JPEG)
    (tmp_path / "images" / "b.jpg").write_bytes(JPEG[:-20])
    dataset = CsvList(
        write(tmp_path, "path\na.jpg\nb.jpg\nc.jpg\n"), root=tmp_path / "images", label_column=None
    )
    assert dataset.read(0).shape == (8, 8, 3)
    with pytest.raises(UnreadableImage, match=r"images/b\.jpg.*list\.csv:3.*cut short"):
        dataset.read(1)
    with pytest.raises(UnreadableImage, match=r"images/c\.jpg.*list\.csv:4.*No such file"):
        dataset.read(2)
