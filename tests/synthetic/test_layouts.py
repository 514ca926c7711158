"""Writing: the layouts with their traps, and that nothing is left half-written."""

import argparse
import errno
import hashlib
import os
from collections import namedtuple
from pathlib import Path

import cv2
import numpy as np
import pytest

from ferbench.errors import UserError
from ferbench.synthetic import layouts, plan
from ferbench.synthetic.expressions import CLASSES, MIN_INTENSITY
from ferbench.synthetic.layouts import ANNOTATIONS, CROPS, Amounts

TINY = Amounts(videos=12, frames=8, unlabeled=12, train=1, test=1, size=32, seed=7)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("synthetic") / "out"
    layouts.write(out, TINY, workers=1)
    return out


@pytest.fixture
def videos() -> dict[str, plan.Video]:
    train, val = plan.plan_videos(TINY.seed, TINY.videos, TINY.frames)
    return {video.name: video for video in [*train, *val]}


def hashes(root: Path) -> dict[str, str]:
    files = (p for p in sorted(root.rglob("*")) if p.is_file())
    return {p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def annotation(root: Path, name: str) -> list[str]:
    (file,) = (root / ANNOTATIONS).glob(f"*/{name}.txt")
    return file.read_text().splitlines()


def test_same_seed_same_bytes_other_seed_other_bytes(written, tmp_path):
    layouts.write(tmp_path / "again", TINY, workers=1)
    assert hashes(tmp_path / "again") == hashes(written)
    faces = [face for _, face in plan.plan_videos(8, 12, 8)[0][0].crops]
    same_place = written / CROPS / "10-30-1280x720" / "00001.jpg"
    assert faces[0].jpeg(8, 32) != same_place.read_bytes()


def test_the_number_of_processes_changes_nothing(monkeypatch):
    faces = plan.unlabeled_faces(1, 6)
    alone = list(layouts._drawn(faces, 1, 32, workers=1))
    monkeypatch.setattr(layouts, "_POOL_PAYS_FROM", 1)
    assert list(layouts._drawn(faces, 1, 32, workers=2)) == alone


def test_annotation_text_is_the_drawn_label(written, videos):
    annotated = 0
    for name, video in videos.items():
        lines = annotation(written, name)
        assert lines[0] == "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
        for frame, face in video.crops:
            picture = written / CROPS / name / f"{frame:05d}.jpg"
            assert picture.read_bytes() == face.jpeg(TINY.seed, TINY.size)
            if frame < len(lines) and lines[frame] != "-1":
                assert int(lines[frame]) == face.label
                annotated += 1
    assert annotated > 60


def test_crops_on_disk_are_those_of_the_plan(written, videos):
    assert {p.name for p in (written / CROPS).iterdir()} == set(videos)
    for name, video in videos.items():
        assert sorted(p.name for p in (written / CROPS / name).iterdir()) == [
            f"{f:05d}.jpg" for f, _ in video.crops
        ]
    picture = cv2.imread(str(written / CROPS / "112" / "00008.jpg"))
    assert picture.shape == (32, 32, 3)


def test_the_traps_of_aff_wild2_are_there(written, videos):
    sets = {
        part: {p.stem for p in (written / ANNOTATIONS / part).iterdir()}
        for part in ("Train_Set", "Validation_Set")
    }
    assert {"video7", "video7_right", "30-30-1920x1080_left", "30-30-1920x1080_right", "112"} <= sets[
        "Train_Set"
    ]
    assert {"video2", "video2_left"} <= sets["Validation_Set"]
    assert not (written / CROPS / "30-30-1920x1080").exists()
    last = {name: max(frame for frame, _ in video.crops) for name, video in videos.items()}
    lines = {name: len(annotation(written, name)) - 1 for name in videos}
    assert {n for n in videos if lines[n] > last[n]} == {plan.MORE_LABELS_THAN_FRAMES}
    assert {n for n in videos if lines[n] < last[n]} == {plan.FEWER_LABELS_THAN_FRAMES}
    assert any("-1" in annotation(written, n) for n in sets["Train_Set"])
    assert any("-1" in annotation(written, n) for n in sets["Validation_Set"])
    gaps = {n: last[n] - len(video.crops) for n, video in videos.items()}
    assert {gaps[n] for n in videos} == {0, 2}
    assert any(video.crops[0][0] > 1 for video in videos.values())


def test_people_of_one_video_share_its_length_but_not_their_face(videos):
    for main, other in (("video7", "video7_right"), ("video2", "video2_left")):
        assert len(videos[main].labels) == len(videos[other].labels)
        assert videos[main].crops[0][1].identity != videos[other].crops[0][1].identity


def test_nobody_is_in_two_parts():
    train, val = plan.plan_videos(0, 40, 10)
    people = [{face.identity for video in part for _, face in video.crops} for part in (train, val)]
    people.append({face.identity for face in plan.unlabeled_faces(0, 100)})
    people += [
        {face.identity for face in plan.class_folders(0, 5, first)}
        for first in (plan.FIRST_TRAIN, plan.FIRST_TEST)
    ]
    assert sum(map(len, people)) == len(set.union(*people))
    assert len(people[0]) == len(train) == 30  # one person each


def test_neighbouring_frames_are_alike_and_expressions_come_in_segments():
    train, _ = plan.plan_videos(0, 16, 40)
    steps, jumps, changes = [], [], []
    for video in train:
        faces = [face for _, face in video.crops]
        actions = np.array([face.actions for face in faces])
        labels = np.array([face.label for face in faces])
        same = labels[1:] == labels[:-1]
        steps.append(np.abs(np.diff(actions, axis=0))[same].mean())
        jumps.append(np.abs(actions - actions[::-1]).mean())
        changes.append((~same).sum())
        assert np.abs(np.diff([face.conditions.yaw for face in faces])).max() < 0.1
    assert np.mean(steps) < 0.35 * np.mean(jumps)
    assert 4 <= np.mean(changes) <= 10  # 40 frames in segments of four or more, neighbours sometimes alike


def test_classes_are_as_frequent_as_stated_and_all_present():
    faces = plan.unlabeled_faces(3, 1000)
    counts = np.bincount([face.label for face in faces], minlength=8)
    assert counts.tolist() == [250, 80, 50, 50, 180, 120, 90, 180]
    for videos in plan.plan_videos(3, 12, 8):
        assert {face.label for video in videos for _, face in video.crops} == set(range(8))
    intensities = [face.intensity for face in faces]
    assert MIN_INTENSITY <= min(intensities) < 0.3
    assert 0.95 < max(intensities) <= 1


def test_unlabeled_faces_as_folder_and_record(written):
    files = sorted((written / "faces").rglob("*.jpg"))
    assert len(files) == 12
    data = (written / "faces.rec").read_bytes()
    places = [data.find(file.read_bytes()) for file in files]
    assert places == sorted(places)
    assert places[0] > 0
    people = len(list((written / "faces").iterdir()))
    keys = [int(line.split("\t")[0]) for line in (written / "faces.idx").read_text().splitlines()]
    assert keys == list(range(1 + 12 + people))  # the header, the images, one record per person
    assert (written / "property").read_text() == f"{people},32,32\n"
    rows = (written / "faces_truth.csv").read_text().splitlines()
    assert rows[0] == "path,label"
    truth = dict(row.split(",") for row in rows[1:])
    assert [written / path for path in sorted(truth)] == files
    assert set(truth.values()) <= set(CLASSES)


def test_class_folders_are_balanced(written):
    for part in ("train", "test"):
        counts = {p.name: len(list(p.iterdir())) for p in (written / "folders" / part).iterdir()}
        assert counts == dict.fromkeys(CLASSES, 1)
    labels = [face.label for face in plan.class_folders(0, 6, plan.FIRST_TRAIN)]
    assert np.bincount(labels).tolist() == [6] * 8


def test_the_note_says_what_it_is(written):
    note = (written / "README.txt").read_text()
    assert "no real person" in note
    assert "--videos 12 --frames 8 --unlabeled 12 --train 1 --test 1 --size 32 --seed 7" in note


def test_a_folder_of_somebody_else_is_never_touched(tmp_path):
    (tmp_path / "holiday.jpg").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="not written by this command"):
            layouts.write(tmp_path, TINY, overwrite=overwrite)
    assert [p.name for p in tmp_path.iterdir()] == ["holiday.jpg"]


def test_an_earlier_result_is_replaced_only_on_request(monkeypatch, tmp_path):
    monkeypatch.setattr(
        layouts, "_write_parts", lambda root, *_: (root / "README.txt").write_text(layouts.MARK + " new")
    )
    out = tmp_path / "out"
    out.mkdir()
    (out / "README.txt").write_text(layouts.MARK + " old")
    (out / "stale.txt").write_text("")
    with pytest.raises(UserError, match="--overwrite"):
        layouts.write(out, TINY)
    assert (out / "README.txt").read_text().endswith("old")
    layouts.write(out, TINY, overwrite=True)
    assert [p.name for p in out.iterdir()] == ["README.txt"]
    assert (out / "README.txt").read_text().endswith("new")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_empty_folder_may_be_given(monkeypatch, tmp_path):
    monkeypatch.setattr(
        layouts, "_write_parts", lambda root, *_: (root / "README.txt").write_text(layouts.MARK)
    )
    layouts.write(tmp_path, TINY)
    assert [p.name for p in tmp_path.iterdir()] == ["README.txt"]


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(monkeypatch, tmp_path):
    whole = Path.write_bytes

    def fills_up(self: Path, data: bytes) -> int:
        if self.name == "00003.jpg":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return whole(self, data)

    monkeypatch.setattr(Path, "write_bytes", fills_up)
    with pytest.raises(UserError, match="disk is full"):
        layouts.write(tmp_path / "out", TINY, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_too_little_space_is_refused_before_drawing(monkeypatch, tmp_path):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(layouts.shutil, "disk_usage", lambda _: usage(10**9, 10**9, 10**5))
    with pytest.raises(UserError, match="MB are needed"):
        layouts.write(tmp_path / "out", TINY)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        layouts.write(tmp_path / "file" / "out", TINY)


@pytest.mark.parametrize(
    ("name", "value"), [("videos", 11), ("frames", 2), ("unlabeled", 0), ("size", 8), ("seed", -1)]
)
def test_amounts_out_of_range(name, value, tmp_path):
    with pytest.raises(UserError, match=f"--{name} is {value}"):
        layouts.write(tmp_path / "out", Amounts(**{**vars(TINY), name: value}))


def test_command_line_options(monkeypatch, tmp_path, capsys):
    seen = {}
    monkeypatch.setattr(
        layouts, "write", lambda out, amounts, **rest: seen.update(amounts=amounts, **rest) or 5
    )
    parser = argparse.ArgumentParser()
    layouts.add_arguments(parser)
    assert layouts.run(parser.parse_args([str(tmp_path), "--small", "--seed", "3", "--workers", "1"])) == 0
    assert seen == {
        "amounts": Amounts(**{**vars(layouts.SMALL), "seed": 3}),
        "overwrite": False,
        "workers": 1,
    }
    assert "5 synthetic faces" in capsys.readouterr().out
    layouts.run(parser.parse_args([str(tmp_path), "--overwrite", "--videos", "20"]))
    assert seen["amounts"] == Amounts(videos=20)
    assert seen["overwrite"] is True
