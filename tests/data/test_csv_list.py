import logging
import os
import pickle
import unicodedata

import cv2
import numpy as np
import pytest

from ferbench.data import paths
from ferbench.data.datasets import csv_list
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
    with pytest.raises(
        UserError,
        match=r"label '3' is out of range(.|\n)*list\.csv:3(.|\n)*source_classes(.|\n)*label_column=None",
    ):
        CsvList(path)
    assert CsvList(path, label_column=None).classes == ()  # as the message says
    assert CsvList(path, source_classes=["x", "y", "z", "Sad"]).labels.tolist() == [3, 3]


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
    with pytest.raises(UserError, match=r"not a text file in UTF-8(.|\n)*binary\.csv:2"):
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


def test_unlabeled_data_may_have_any_number_of_labels(tmp_path):
    """Class: more different labels than int16 counts, in data whose labels nobody uses."""
    text = "path,label\n" + "".join(f"{i}.jpg,id{i}\n" for i in range(33_000))
    dataset = CsvList(write(tmp_path, text))
    assert len(dataset) == len(dataset.classes) == 33_000
    assert dataset.labels.min() == 0
    assert [dataset.classes[dataset.labels[i]] for i in (0, 32_768, 32_999)] == ["id0", "id32768", "id32999"]


@pytest.mark.parametrize(
    "label",
    ["+1", "0_1", "\u0661", "1.0", "\uff11", "0x1", "1e0", "9" * 20, "9" * 5000, "\u00b2", "-1", " 1 1"],
)
@pytest.mark.parametrize("source", [None, ["x", "y"]])
def test_what_only_looks_like_a_number_is_refused(tmp_path, label, source):
    """Class: texts that Python's `int` and `float` take, and a reader would not; also where no numbers are meant."""
    path = write(tmp_path, f"path,label\na.jpg,{'x' if source is None else 0}\nb.jpg,{label}\n")
    if source is None and label in ("0x1", "\u00b2", " 1 1"):  # names, as good as others
        assert len(CsvList(path).classes) == 2
        return
    with pytest.raises(UserError, match=r"is (no class|out of range)(.|\n)*list\.csv:3") as caught:
        CsvList(path, source_classes=source)
    assert len(str(caught.value)) < 500


E_ACUTE = "\u00e9"


@pytest.mark.parametrize("labels", [("x", "x"), ("x", "y")])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a.jpg", "./a.jpg"), ("a.jpg", "b/../a.jpg"), ("b/a.jpg", "b//a.jpg"), ("b/a.jpg", "b/./a.jpg"),
        ("b/a.jpg", r"b\a.jpg"), (E_ACUTE + ".jpg", unicodedata.normalize("NFD", E_ACUTE) + ".jpg"),
        (" a.jpg", "a.jpg"),
    ],
)  # fmt: skip
def test_one_file_in_two_spellings_is_noticed(tmp_path, one, other, labels):
    """Class: rows that mean one file, with one label or two."""
    path = write(tmp_path, f"path,label\n{one},{labels[0]}\nc.jpg,x\n{other},{labels[1]}\n")
    with pytest.raises(UserError, match=r"listed twice(.|\n)*list\.csv:2 and :4"):
        CsvList(path)


@pytest.mark.parametrize("link", ["hard", "file", "folder", "chain"])
@pytest.mark.parametrize("labels", [("x", "x"), ("x", "y")])
def test_two_links_to_one_file_are_noticed(tmp_path, link, labels, monkeypatch):
    """Class: two names of one file, which no spelling tells. Long lists are not looked at file by file."""
    (tmp_path / "a").mkdir()
    for name in ("a/1.jpg", "a/2.jpg"):
        (tmp_path / name).write_bytes(b"the same bytes")
    other = "b/1.jpg" if link == "folder" else "l.jpg"
    if link == "folder":
        (tmp_path / "b").symlink_to("a")
    elif link == "hard":
        os.link(tmp_path / "a/1.jpg", tmp_path / other)
    else:
        (tmp_path / "m.jpg").symlink_to("a/1.jpg")
        (tmp_path / other).symlink_to("m.jpg" if link == "chain" else "a/1.jpg")
    path = write(
        tmp_path, f"path,label\na/1.jpg,{labels[0]}\na/2.jpg,x\nmissing.jpg,x\n{other},{labels[1]}\n"
    )
    with pytest.raises(UserError, match=rf"listed twice.*{other}', a link(.|\n)*list\.csv:2 and :5"):
        CsvList(path)
    monkeypatch.setattr(csv_list, "LINKS", 3)
    assert len(CsvList(path)) == 4


@pytest.mark.parametrize(
    "listed", ["x" * 300 + ".jpg", "x" * 5000, "y/" * 2500 + "a.jpg", "\u00e9" * 200 + ".jpg"]
)
def test_a_path_that_no_file_can_have(tmp_path, listed):
    path = write(tmp_path, f"path,label\na.jpg,x\n{listed},x\n")
    with pytest.raises(UserError, match=r"longer than a file's can be(.|\n)*list\.csv:3") as caught:
        CsvList(path)
    assert len(str(caught.value)) < 600


def test_the_message_of_a_long_path_is_shortened(tmp_path):
    """A root may be long, too: whatever cannot be read is named in few characters."""
    path = write(tmp_path, "path,label\na.jpg,x\n")
    with pytest.raises(UnreadableImage, match=r"[56],\d+ characters") as caught:
        CsvList(path, root=tmp_path / ("r/" * 2500)).read(0)
    assert len(str(caught.value)) < 1100
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize(
    "path", ["../a.jpg", "/etc/a.jpg", "b/../../a.jpg", "..", r"..\a.jpg", r"C:\a.jpg", "c:a.jpg", "//a.jpg"]
)
def test_paths_that_leave_the_root_need_leave(tmp_path, path):
    """Class: absolute paths and paths with `..`, in the spelling of every system."""
    listed = write(tmp_path, f"path,label\nok.jpg,x\n{path},x\n")
    with pytest.raises(UserError, match=r"leaves the folder(.|\n)*list\.csv:3(.|\n)*allow_outside=True"):
        CsvList(listed)
    if path != "..":
        assert CsvList(listed, allow_outside=True).item_id(1) == path.replace("\\", "/")
    assert CsvList(write(tmp_path, "path,label\nb/../ok.jpg,x\n", "in.csv")).item_id(0) == "b/../ok.jpg"


@pytest.mark.parametrize("what", ["\0", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"])
def test_control_characters_are_named(tmp_path, what):
    """Class: what ends a line for some reader or a name for the system, within a line."""
    path = write(tmp_path, f"path,label\na.jpg,x\nb{what}.jpg,y\n")
    with pytest.raises(UserError, match=rf"U\+{ord(what):04X}(.|\n)*list\.csv:3"):
        CsvList(path)


@pytest.mark.parametrize("delimiter", ["::", "", "\n", '"', 5, None])
def test_a_delimiter_is_one_character(tmp_path, delimiter):
    with pytest.raises(UserError, match="delimiter"):
        CsvList(write(tmp_path, "path,label\na.jpg,x\n"), delimiter=delimiter)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path;label\na.jpg;x\n", "set `delimiter` to ';'"),
        ("path,label,path\na.jpg,x,b.jpg\n", r"several columns 'path'(.|\n)*list\.csv:1"),
        ("path,label\na,b.jpg,x\n", r"more cells than the header(.|\n)*list\.csv:2"),
        ('path,label\n"a.jpg,x\n', r"broken"),
        ('path,label\n"a\nb.jpg",x\n', r"over two lines(.|\n)*list\.csv:3"),
        ("path,label\n" + "a" * 200_000 + ",x\n", r"broken: field larger(.|\n)*list\.csv:2"),
        ("path,label\n" + "a" * 100_000 + "\n", r"too few cells(.|\n)*list\.csv:2"),
        ("path,label\na.jpg," + "x" * 100_000 + "\n", r"class(.|\n)*no counterpart"),
    ],
)
def test_broken_csv_gives_one_short_message(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as caught:
        CsvList(write(tmp_path, text), classes=["y"])
    assert len(str(caught.value)) < 1000


def test_forms_of_one_csv_mean_the_same(tmp_path):
    """Class: byte order mark, line ends, quotes, blanks, empty lines and cells."""
    plain = 'path,label\na.jpg,x\n"b,c.jpg",y\n'
    forms = [
        plain, "\ufeff" + plain, plain.replace("\n", "\r\n"), plain.replace("\n", "\r"), plain.rstrip(),
        plain.replace("\n", "\n\n"), plain.replace("\n", "\n,\n"),
        '"path", label\n"a.jpg", x \n"b,c.jpg",y,\n',
    ]  # fmt: skip
    for number, text in enumerate(forms):
        path = tmp_path / f"{number}.csv"
        path.write_bytes(text.encode())
        dataset = CsvList(path)
        assert ids(dataset) == ["a.jpg", "b,c.jpg"], repr(text)
        assert [dataset.classes[i] for i in dataset.labels] == ["x", "y"]


def test_classes_that_differ_in_case_only_are_refused(tmp_path):
    path = write(tmp_path, "path,label\na.jpg,Happy\nb.jpg,happy\n")
    with pytest.raises(UserError, match="'Happy' and 'happy' are one"):
        CsvList(path)
    assert CsvList(path, rename={"happy": "Happy"}).labels.tolist() == [0, 0]  # as the message says


@pytest.mark.parametrize("classes", [[1, 2], [None], [""], [b"x"]])
def test_class_names_are_text(tmp_path, classes):
    with pytest.raises(UserError, match="class name"):
        CsvList(write(tmp_path, "path,label\na.jpg,x\n"), classes=classes)


def test_groups(tmp_path):
    text = "path,label,who\na.jpg,x,Ann\nb.jpg,y,Bob\nc.jpg,x,Bob\nd.jpg,y,Ann\n"
    dataset = CsvList(write(tmp_path, text), group_column="who", rename={"y": None})
    assert ids(dataset) == ["a.jpg", "c.jpg"]
    assert [dataset.group_names[g] for g in dataset.groups] == ["Ann", "Bob"]
    with pytest.raises(UserError, match=r"no 'who'(.|\n)*b\.csv:3"):
        CsvList(write(tmp_path, "path,label,who\na.jpg,x,A\nb.jpg,x,\n", "b.csv"), group_column="who")
    with pytest.raises(UserError, match=r"no column 'person'(.|\n)*`group_column`"):
        CsvList(write(tmp_path, text), group_column="person")


def test_rows_are_kept_until_the_csv_changes(tmp_path, monkeypatch, caplog):
    reads = []
    real = csv_list._Reading.rows
    monkeypatch.setattr(csv_list._Reading, "rows", lambda self: reads.append(1) or real(self))
    monkeypatch.setattr(paths, "AUTO_CACHE_ITEMS", 2)
    text = "path,label,who\na.jpg,x,Ann\nb.jpg,y,Bob\nc.jpg,,Bob\n"
    path = write(tmp_path, text)

    def opened(**options):
        dataset = CsvList(path, group_column="who", **options)
        return (
            ids(dataset), dataset.labels.tolist(), dataset.classes, dataset.groups.tolist(),
            list(dataset.group_names), dataset.where(2),
        )  # fmt: skip

    first = opened()
    assert opened() == first
    assert len(reads) == 1
    assert CsvList(path).groups is None  # other options, other rows
    assert len(reads) == 2
    assert opened(refresh=True) == first
    assert opened(cache=None) == first
    assert len(reads) == 4
    write(tmp_path, text.replace("a.jpg", "z.jpg"))  # same size
    assert opened()[0] == ["z.jpg", "b.jpg", "c.jpg"]
    assert len(reads) == 5
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("column", "wrong"),
    [
        ("codes", lambda v: v + 200), ("codes", lambda v: v.astype(np.int64)), ("lines", lambda v: v[:1]),
        ("paths_offsets", lambda v: v[::-1]), ("paths", lambda v: v | 0x80), ("groups", lambda v: v[:1] + 0),
    ],
)  # fmt: skip
def test_kept_rows_that_no_csv_can_have_are_read_anew(tmp_path, monkeypatch, column, wrong, caplog):
    """Class: kept indexes whose signature and hashes are right and whose content is not."""
    path = write(tmp_path, "path,label,who\na.jpg,x,A\nb.jpg,y,B\n")
    options = dict(cache=tmp_path / "kept", group_column="who")
    real = paths.IndexCache.save

    def damaging(self, signature, arrays, count):
        real(self, signature, {**arrays, column: wrong(arrays[column])}, count)
        return arrays

    monkeypatch.setattr(paths.IndexCache, "save", damaging)
    first = CsvList(path, **options)
    monkeypatch.undo()
    with caplog.at_level(logging.WARNING):
        again = CsvList(path, **options)
    assert (ids(again), again.labels.tolist()) == (ids(first), [0, 1])
    assert "not usable" in caplog.text
