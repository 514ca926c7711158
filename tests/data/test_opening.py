"""What every dataset must be, whoever wrote it: one check, one message."""

import re

import numpy as np
import pytest

from ferbench.data.check import run_check
from ferbench.data.datasets.base import FaceDataset
from ferbench.data.datasets.csv_list import CsvList
from ferbench.data.datasets.opening import opened, read_image
from ferbench.data.io import UnreadableImage
from ferbench.data.loader import EvalBatches, TrainBatches
from ferbench.data.preprocess import Preprocess
from ferbench.data.views import Views
from ferbench.errors import UserError

IMAGE = np.zeros((8, 6, 3), np.uint8)


class Plugin(FaceDataset):
    """Ten images, as given; those of ``broken`` cannot be read."""

    name, classes = "plugin", ("a", "b")

    def __init__(self, image=IMAGE, broken=(), **attributes):
        self.image, self.broken = image, broken
        self.labels = np.arange(10) % 2
        for key, value in attributes.items():
            setattr(self, key, value)

    def __len__(self):
        return 10

    def item_id(self, index):
        return f"item {index}"

    def read(self, index):
        if index in self.broken:
            raise UnreadableImage(f"item {index}: broken")
        return self.image


WRONG_IMAGES = {
    "2-D": IMAGE[..., 0], "float": IMAGE.astype(np.float32), "four channels": np.zeros((8, 6, 4), np.uint8), "none": None,
    "empty": IMAGE[:0], "a list": IMAGE.tolist(), "bytes": b"abc",
    "int64": IMAGE.astype(np.int64), "channels first": IMAGE.transpose(2, 0, 1),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG_IMAGES)
def test_images_are_uint8_rgb(kind):
    """Class: whatever else a dataset may return; the same message at opening, in the loaders and in the checker."""
    dataset = Plugin(WRONG_IMAGES[kind])
    message = r"'plugin' gives .* as an image(.|\n)*where: +item 0(.|\n)*uint8 of shape \(height, width, 3\)"
    for read in (lambda: opened(dataset, "here"), lambda: read_image(dataset, 0)):
        with pytest.raises(UserError, match=message):
            read()
    batch = TrainBatches(dataset, Views(8), ("weak",), 0, "labels")[np.zeros((1, 2), np.int64)]
    assert re.search(message, str(batch["error"]))
    with pytest.raises(UserError, match=message):
        EvalBatches(dataset, Preprocess(size=8))[np.array([0])]
    assert re.search(message, run_check({"labeled": dataset}).parts[0].unreadable[0])


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (dict(labels=np.full(10, 2)), "10 labels are out of range, first 2 of item 0; there are 2 classes"),
        (dict(labels=np.full(10, -2)), "10 labels are out of range, first -2"),
        (dict(labels=np.zeros(10)), r"labels are float64 of shape \(10,\)"),
        (dict(labels=np.zeros((10, 1), int)), r"labels are int64 of shape \(10, 1\)"),
        (dict(labels=[0] * 10), "labels are list"),
        (dict(labels=np.zeros(9, int)), "9 labels of 10 images"),
        (dict(labels=np.zeros(10, np.uint8)), "labels are uint8"),
        (dict(targets=np.zeros((10, 2), np.float32)), "10 label distributions do not add up to 1"),
        (dict(targets=np.full((10, 2), np.nan)), "10 label distributions do not add up to 1"),
        (dict(targets=np.ones((10, 3))), r"have the shape \(10, 3\)"),
        (dict(groups=np.zeros(9, int)), r"groups are int64 of shape \(9,\)"),
        (dict(frames=np.zeros(10)), "frames are float64"),
        (dict(classes=("b", "a")), "classes are b, a"),
    ],
)
def test_what_a_dataset_says_of_its_items(attributes, message):
    """Class: labels, distributions, groups and classes that cannot be."""
    with pytest.raises(UserError, match=message):
        opened(Plugin(**attributes), "train_dataloader.dataset", ("a", "b"))


def test_a_sound_dataset_opens():
    dataset = Plugin(broken=range(9))
    assert opened(dataset, "here", ("a", "b")) is dataset
    unlabeled = Plugin(labels=np.full(10, -1), classes=())
    assert opened(unlabeled, "here", ("a", "b")) is unlabeled


def test_no_dataset_at_all():
    with pytest.raises(UserError, match="a dataset is a list"):
        opened([1, 2], "here")


def test_a_dataset_of_which_nothing_can_be_read_says_so_at_once(tmp_path):
    """Class: wrong roots, images that were moved or are all broken."""
    with pytest.raises(
        UserError, match=r"no image can be read: 8 of 10 were tried, the first was item 0: broken"
    ):
        opened(Plugin(broken=range(10)), "here")
    (tmp_path / "list.csv").write_text("path,label\na.jpg,a\nb.jpg,b\n")
    with pytest.raises(UserError, match=r"2 of 2 were tried(.|\n)*a\.jpg(.|\n)*No such file"):
        opened(CsvList(tmp_path / "list.csv"), "here")
