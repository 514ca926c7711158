"""The dataset checker: what it counts, what it calls a defect, what it only notes."""

from __future__ import annotations

import io

import cv2
import numpy as np
from rich.console import Console

from ferbench.data.check import print_report, run_check
from ferbench.data.datasets.base import Concat, FaceDataset, Subset
from ferbench.data.datasets.folder import ImageFolder
from ferbench.errors import UserError


def folder(root, counts=(("angry", 5), ("happy", 3)), size=(20, 30), seed=0):
    rng = np.random.default_rng(seed)
    for name, count in counts:
        (root / name).mkdir(parents=True)
        for i in range(count):
            cv2.imwrite(str(root / name / f"{i}.png"), rng.integers(0, 256, (*size, 3)).astype(np.uint8))
    return root


def printed(report):
    out = io.StringIO()
    print_report(report, Console(file=out, width=250, color_system=None))
    return out.getvalue()


def test_sound_data_is_counted_and_passes(tmp_path):
    data = ImageFolder(folder(tmp_path / "a"), labeled=True)
    cv2.imwrite(str(tmp_path / "a" / "happy" / "9.png"), np.zeros((40, 10, 3), np.uint8))
    data = ImageFolder(tmp_path / "a", labeled=True)
    faces = ImageFolder(folder(tmp_path / "faces", (("x", 600),), seed=1))
    report = run_check(
        {"labeled": Subset(data, np.array([0, 1, 6])), "unlabeled": faces, "test": lambda: data}, workers=3
    )
    labeled, unlabeled, test = report.parts
    assert report.ok
    assert report.exit_code == 0
    assert (labeled.images, labeled.read, labeled.class_counts) == (3, 3, {"angry": 2, "happy": 1})
    assert (unlabeled.images, unlabeled.unlabeled, unlabeled.read, unlabeled.class_counts) == (
        600,
        600,
        600,
        {},
    )
    assert (test.smallest, test.largest) == ((20, 10), (40, 30))
    text = printed(report)
    assert "no defect found" in text
    assert "20 x 10 to 40 x 30" in text
    assert "3 pictures of test are, pixel for pixel, also in labeled" in text


def test_unreadable_images_are_named_and_fail(tmp_path):
    root = folder(tmp_path / "a", (("angry", 4), ("happy", 40)))
    (root / "angry" / "1.png").write_bytes(b"")
    for i in range(30):
        (root / "happy" / f"{i}.png").write_bytes(b"no image")
    report = run_check({"labeled": ImageFolder(root, labeled=True)})
    assert report.exit_code == 1
    assert report.defects == ["labeled: 31 of 44 images cannot be read"]
    assert len(report.parts[0].unreadable) == 31
    text = printed(report)
    assert f"{root}/angry/1.png: the file is empty" in text
    assert text.count("unreadable (labeled): ") == 31
    assert "DEFECT" in text
    assert "no defect" not in text


class Wrong(FaceDataset):
    """Labels and distributions as a careless plug-in might give them."""

    def __init__(self, labels, targets=None):
        self.labels, self.classes, self.name = np.asarray(labels, np.int16), ("a", "b", "c"), "wrong"
        self.targets = targets

    def item_id(self, index):
        return f"item {index}"

    def read(self, index):
        return np.full((4, 4, 3), index, np.uint8)


def test_labels_and_distributions_out_of_range_fail():
    assert run_check({"labeled": Wrong([0, 1, 3, -2])}).defects == [
        "labeled: 2 labels are out of range, first 3 of item 2; there are 3 classes"
    ]
    targets = np.array([[1, 0, 0], [0.5, 0.4, 0], [np.nan, 1, 0], [0, 0, 0]], np.float32)
    defects = run_check({"labeled": Wrong([0, 1, 1, -1], targets)}).defects
    assert defects == ["labeled: 2 label distributions do not add up to 1, first item 1"]
    assert (
        "shape (4, 2), expected (4, 3)"
        in run_check({"labeled": Wrong([0, 1, 1, -1], targets[:, :2])}).defects[0]
    )
    assert run_check({"val": Wrong([])}).defects == ["val: there are no images"]


def test_a_class_without_images_is_a_note():
    report = run_check({"labeled": Wrong([0, 1, 1])})
    assert report.ok
    assert report.warnings == ["labeled: no image of class c"]


def test_a_dataset_that_cannot_be_built_is_a_defect_beside_the_others():
    def broken():
        raise UserError("the folder [a] does not exist", where="/data")

    report = run_check({"labeled": broken, "test": Wrong([0, 1, 2])})
    assert report.exit_code == 1
    assert report.parts[1].read == 3
    assert "DEFECT: labeled: the folder [a] does not exist" in printed(report)


def test_sample_and_limit_read_a_part_and_say_so():
    data = Wrong([0] * 100)
    assert run_check({"test": data}, sample=10).parts[0].read == 10
    report = run_check({"test": data}, limit=7)
    assert report.parts[0].read == 7
    assert "93 images were not read" in printed(report)


def test_summaries_of_the_sources_are_shown_once():
    class Videos(Wrong):
        def summary(self):
            return {"missing_crops": 4, "skipped_videos": ["v1", "v2"], "per_class": {"a": 1}, "kept": 3}

    data = Videos([0, 1, 2])
    data.groups, data.group_names = np.array([0, 0, 1], np.int32), ["v3", "v4"]
    other = Wrong([0, 1])
    other.name = "other"
    report = run_check(
        {"labeled": Subset(data, np.array([0])), "val": Concat([Subset(data, np.array([1, 2])), other])}
    )
    assert list(report.sources) == ["wrong"]
    assert "wrong: 4 missing crops" in report.warnings
    assert "wrong: 2 skipped videos" in report.warnings
    assert report.parts[0].groups == 1
    assert "skipped_videos 2 (v1, v2)" in printed(report)
    assert report.ok


def test_labeled_images_in_the_unlabeled_stream_are_no_leak():
    data = Wrong([0, 1, 2])
    assert run_check({"labeled": data, "unlabeled": data}).warnings == []
    assert "3 pictures of test" in run_check({"unlabeled": data, "test": data}).warnings[0]


def test_files_left_out_for_their_ending_are_named(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
    for name in ("b.heic", "c.HEIC", "list.txt"):
        (tmp_path / name).touch()
    report = run_check({"labeled": ImageFolder(tmp_path)})
    assert report.warnings == [f"{tmp_path.name}: 3 files are left out for their ending: .heic 2, .txt 1"]
    assert "other_endings .heic 2, .txt 1" in printed(report)
