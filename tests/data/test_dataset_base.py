import ast

import numpy as np
import pytest

from ferbench.data.datasets.base import ClassMap, Concat, FaceDataset, Subset, require_folder
from ferbench.errors import UserError


class Numbers(FaceDataset):
    """Item i is a 1x1 image of value ``start + i``."""

    def __init__(self, name, labels, classes=("A", "B"), start=0):
        self.name, self.labels, self.classes, self.start = name, np.array(labels, np.int16), classes, start

    def item_id(self, index):
        return f"n{self.start + index}"

    def read(self, index):
        return np.full((1, 1, 3), self.start + index, np.uint8)


def test_class_map_maps_by_name():
    class_map = ClassMap(
        ["happy", "NEUTRAL", "contempt"], ["Neutral", "Happiness"], {"Happy": "happiness", "contempt": None}
    )
    assert class_map(np.array([0, 1, 2, -1, 0])).tolist() == [1, 0, -1, -1, 1]
    assert class_map.as_dict() == {"happy": "Happiness", "NEUTRAL": "Neutral", "contempt": None}
    assert class_map(np.array([0])).dtype == np.int16


def test_class_map_without_targets_takes_the_renamed_sources():
    class_map = ClassMap(["c", "a", "b", "d"], None, {"c": "X", "b": "X", "d": None})
    assert class_map.target == ("X", "a")
    assert class_map(np.array([0, 1, 2, 3])).tolist() == [0, 1, 0, -1]


def test_class_map_refuses_unknown_classes():
    with pytest.raises(UserError, match=r"'joy' has no counterpart(.|\n)*here\.txt:1(.|\n)*Happiness"):
        ClassMap(["joy"], ["Happiness"], where="here.txt:1")
    with pytest.raises(UserError, match="'joy' has no counterpart"):
        ClassMap(["joy"], ["Happiness"], {"joy": "Happines"})


@pytest.mark.parametrize(
    ("classes", "rename"),
    [(5, None), ("joy", None), ({"joy": 1}, None), ([["joy"]], None), ([None], None), ([5], None),
     (None, 5), (None, ["joy"]), (None, {"joy": 5}), (None, {"joy": ["x"]}), (None, {5: "joy"})],
)  # fmt: skip
def test_classes_and_new_names_of_another_kind(classes, rename):
    """Numbers, nested lists, a name in place of a list: one message, no traceback."""
    with pytest.raises(UserError):
        ClassMap(["joy"], classes, rename)


def test_class_counts_ignore_unlabeled():
    assert Numbers("n", [0, 1, -1, 1], ("A", "B", "C")).class_counts().tolist() == [1, 2, 0]


def test_subset_follows_its_indices():
    parent = Numbers("n", [0, 1, -1, 1])
    parent.groups, parent.group_names = np.array([5, 6, 7, 8], np.int32), list("abcdefghi")
    parent.targets = np.arange(8, dtype=np.float32).reshape(4, 2)
    subset = Subset(parent, np.array([3, 0]))
    assert subset.item_ids(np.array([0, 1])) == ["n3", "n0"]
    assert [int(subset.read(i)[0, 0, 0]) for i in range(2)] == [3, 0]
    assert subset.labels.tolist() == [1, 0]
    assert subset.groups.tolist() == [8, 5]
    assert subset.targets.tolist() == [[6, 7], [0, 1]]
    assert subset.where(0) == "n3"


def test_concat_joins_parts():
    labeled, unlabeled = Numbers("a", [0, 1]), Numbers("u", [-1, -1, -1], (), start=50)
    joined = Concat([labeled, unlabeled])
    assert len(joined) == 5
    assert joined.classes == ("A", "B")
    assert joined.item_ids(np.arange(5)) == ["a/n0", "a/n1", "u/n50", "u/n51", "u/n52"]
    assert [int(joined.read(i)[0, 0, 0]) for i in range(5)] == [0, 1, 50, 51, 52]
    assert joined.labels.tolist() == [0, 1, -1, -1, -1]
    assert joined.groups is None
    assert joined.targets is None


def test_concat_keeps_groups_apart():
    first, second = Numbers("a", [0, 1]), Numbers("b", [0, 1])
    first.groups, first.group_names = np.array([0, 0], np.int32), ["video"]
    joined = Concat([first, second])
    assert joined.groups.tolist() == [0, 0, 1, 2]
    assert list(joined.group_names) == ["a/video", "b/n0", "b/n1"]


def test_concat_makes_targets_of_labels():
    first, second = Numbers("a", [1, -1]), Numbers("b", [0])
    second.targets = np.array([[0.5, 0.5]], np.float32)
    assert Concat([first, second]).targets.tolist() == [[0, 1], [0, 0], [0.5, 0.5]]


def test_concat_refuses_different_classes_and_nothing():
    with pytest.raises(UserError, match="'a' and 'b' are to be mixed but have different classes"):
        Concat([Numbers("a", [0]), Numbers("b", [0], ("B", "A"))])
    with pytest.raises(UserError, match="empty"):
        Concat([])


def test_require_folder(tmp_path):
    assert require_folder(str(tmp_path), "images") == tmp_path
    with pytest.raises(
        UserError, match=r"folder with pictures does not exist(.|\n)*x(.|\n)*ask(.|\n)*make_synthetic"
    ):
        require_folder(tmp_path / "x", "pictures", get="ask them")


@pytest.mark.parametrize(
    ("one", "other"), [("Happy", "happy"), ("STRASSE", "strasse"), ("\u00e9", "e\u0301")]
)
def test_names_that_differ_by_case_or_accents_are_one_class(one, other):
    """Of the data: named, and what the message proposes makes them one. Of the targets: named."""
    with pytest.raises(UserError, match="are one: letters may be small or large") as error:
        ClassMap([one, other, "c"], None)
    found = ast.literal_eval(error.value.fix.removeprefix("add rename=").partition(", or ")[0])
    class_map = ClassMap([one, other, "c"], None, found)
    assert class_map.target == (one, "c")
    assert class_map(np.array([0, 1, 2, -1])).tolist() == [0, 0, 1, -1]
    with pytest.raises(UserError, match="are one"):
        ClassMap([one], [one, other])
