"""The hash of what images hold: any set of equal names and labels but other pixels has another one.

Classes of inputs: encoded files, records of a RecordIO, arrays (FER2013), images that a plug-in only gives decoded; sets
below and above the number from which on a sample is hashed; items that cannot be read.
"""

from __future__ import annotations

import hashlib
import shutil

import cv2
import numpy as np
import pytest

from ferbench.data import content
from ferbench.data.datasets import FER2013, Concat, CsvList, FaceDataset, ImageFolder, RecordIO, Subset
from ferbench.data.io import UnreadableImage
from ferbench.data.recordio_file import write_recordio


def png(value: int) -> bytes:
    return cv2.imencode(".png", np.full((4, 4, 3), value, np.uint8))[1].tobytes()


def by_hand(items) -> str:
    """``length newline bytes`` of each item; ``unreadable newline`` for None."""
    return hashlib.sha256(
        b"".join(b"unreadable\n" if i is None else str(len(i)).encode() + b"\n" + i for i in items)
    ).hexdigest()


class Decoded(FaceDataset):
    """As a plug-in writes it: `item_id` and `read`."""

    def __init__(self, values, broken=()):
        self.values, self.broken = values, broken
        self.labels = np.full(len(values), -1, np.int16)

    def item_id(self, index):
        return str(index)

    def read(self, index):
        if index in self.broken:
            raise UnreadableImage(str(index))
        return np.full((2, 3, 3), self.values[index], np.uint8)


def folder(root, values):
    root.mkdir()
    for i, value in enumerate(values):
        (root / f"{i:05d}.png").write_bytes(png(value))
    return ImageFolder(root)


def listed(root, values):
    folder(root, values)
    lines = ["path", *(f"{i:05d}.png" for i in range(len(values)))]
    (root / "list.csv").write_text("\n".join(lines))
    return CsvList(root / "list.csv", label_column=None)


def records(root, values):
    root.mkdir()
    write_recordio(root / "train.rec", [png(v) for v in values])
    return RecordIO(root)


def fer2013(root, values):
    root.mkdir()
    rows = [f"{i % 7},{' '.join([str(v)] * 48 * 48)},Training" for i, v in enumerate(values)]
    (root / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]))
    return FER2013(root)


def decoded(root, values):
    return Decoded(values)


KINDS = pytest.mark.parametrize("make", [folder, listed, records, fer2013, decoded])


@KINDS
def test_names_are_equal_and_pixels_are_not(make, tmp_path):
    first, second, third = (
        make(tmp_path / name, values)
        for name, values in (("a", [1, 2, 3, 4]), ("b", [1, 2, 3, 4]), ("c", [1, 2, 3, 5]))
    )
    every = np.arange(4)
    assert first.item_ids(every) == third.item_ids(every)
    assert content.identity(first) == content.identity(second)
    assert content.identity(first)["images_sha256"] != content.identity(third)["images_sha256"]


def test_the_hash_by_hand(tmp_path):
    encoded = [png(v) for v in (1, 2, 3)]
    for make in (folder, listed, records):
        assert content.identity(make(tmp_path / make.__name__, (1, 2, 3))) == {
            "images_sha256": by_hand(encoded)
        }
    grey = [bytes([v]) * 48 * 48 for v in (1, 2, 3)]
    assert content.identity(fer2013(tmp_path / "f", (1, 2, 3))) == {"images_sha256": by_hand(grey)}
    plain = [b"uint8 (2, 3, 3)\n" + bytes([v]) * 18 for v in (1, 2)]
    assert content.identity(Decoded([1, 2, 9], broken=[2])) == {"images_sha256": by_hand([*plain, None])}


def test_an_item_that_cannot_be_read_is_hashed_as_such(tmp_path):
    dataset = folder(tmp_path / "a", (1, 2))
    whole = content.identity(dataset)
    (tmp_path / "a" / "00001.png").unlink()
    assert content.identity(dataset) == {"images_sha256": by_hand([png(1), None])} != whole


def test_views_of_a_set_hash_what_they_show(tmp_path):
    parent = folder(tmp_path / "a", (1, 2, 3))
    assert content.identity(Subset(parent, np.array([2, 0])))["images_sha256"] == by_hand([png(3), png(1)])
    both = Concat([parent, Decoded([7])])
    assert content.identity(both)["images_sha256"] == by_hand(
        [png(1), png(2), png(3), b"uint8 (2, 3, 3)\n" + bytes([7]) * 18]
    )


def test_a_copy_elsewhere_with_other_times_is_the_same(tmp_path):
    first = folder(tmp_path / "a", range(5))
    (tmp_path / "b").mkdir()
    for file in sorted((tmp_path / "a").iterdir(), reverse=True):  # written in another order
        shutil.copyfile(file, tmp_path / "b" / file.name)
    assert content.identity(ImageFolder(tmp_path / "b")) == content.identity(first)


@pytest.mark.parametrize("count", [2049, 4096, 32_769, 1_000_003, 5_822_653])
def test_the_sample_is_spread_over_the_set(count):
    chosen = content.positions(count, cheap=count > content.ALL_ITEMS)
    assert len(chosen) == 2048
    assert (chosen[0], chosen[-1]) == (0, count - 1)
    gaps = np.diff(chosen)
    assert gaps.min() >= count // 2048
    assert gaps.max() <= count // 2047 + 1


def test_up_to_a_number_every_item_is_hashed():
    assert len(content.positions(32_768)) == 32_768
    assert len(content.positions(2048, cheap=False)) == 2048
    assert len(content.positions(0)) == 0


@KINDS
def test_a_large_set_is_sampled(make, tmp_path, monkeypatch):
    monkeypatch.setattr(content, "ALL_ITEMS", 8)
    monkeypatch.setattr(content, "SAMPLE", 3)
    values = list(range(11))
    found = content.identity(make(tmp_path / "a", values))
    assert found["images_sampled"] == 3
    values[5] = 99  # items 0, 5 and 10 are looked at
    assert content.identity(make(tmp_path / "b", values))["images_sha256"] != found["images_sha256"]


def test_sizes_of_all_records_count(tmp_path, monkeypatch):
    """An image that is not in the sample, of another size, in a file whose records lie in any order."""
    monkeypatch.setattr(content, "ALL_ITEMS", 4)
    monkeypatch.setattr(content, "SAMPLE", 2)
    jpegs = [b"x" * n for n in (100, 200, 300, 400, 500)]
    found = []
    for name, third in (("a", 300), ("b", 304)):
        (tmp_path / name).mkdir()
        jpegs[2] = b"x" * third
        write_recordio(tmp_path / name / "train.rec", jpegs)
        found.append(content.identity(RecordIO(tmp_path / name)))
    assert found[0]["images_sha256"] == found[1]["images_sha256"]
    assert found[0]["sizes_sha256"] != found[1]["sizes_sha256"]
    shuffled = RecordIO(tmp_path / "a")
    order = np.array([3, 0, 4, 2, 1])
    offsets = np.asarray(shuffled._offsets)
    starts = dict(zip(offsets.tolist(), shuffled.sizes().tolist(), strict=True))
    shuffled._offsets = offsets[order]
    assert shuffled.sizes().tolist() == [starts[int(o)] for o in offsets[order]]
