"""DFEW, FERV39k, MAFW: frames of clips, each with its clip's label and its clip as group."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ferbench.data.io import UnreadableImage
from ferbench.errors import UserError
from ferbench.registry import DATASETS

# type, list of the part `train` (fold 2 where there are folds), its lines, folder of frames, its clips, classes
SETS = {
    "DFEW": (
        "EmoLabel_DataSplit/{part}(single-labeled)/set_2.csv",
        ["video_name,label", "7,1", "12,7", "00123,3"],
        "Clip/clip_224x224",
        ["00007", "00012", "00123"],
        ["Happy", "Fear", "Neutral"],
    ),
    "FERV39k": (
        "4_setups/All_scenes/{part}_All.csv",
        ["Action/Sad/0010 Sad", "Action/Happy/0010 Happy", "Daily Life/Angry/7 Angry"],
        "2_ClipsforFaceCrop",
        ["Action/Sad/0010", "Action/Happy/0010", "Daily Life/Angry/7"],
        ["Sad", "Happy", "Angry"],
    ),
    "MAFW": (
        "Train & Test Set/single/no_caption/set_2/{part}.txt",
        ["00001.mp4 anger", "00030.mp4 disappointment", "00002.mp4 neutral"],
        "data/frames",
        ["00001", "00030", "00002"],
        ["anger", "disappointment", "neutral"],
    ),
}
FRAMES = (2, 3, 12)


@pytest.fixture(params=SETS)
def kind(request):
    return request.param


def write(root, kind, lines=None, part="train", names="{}.jpg"):
    place, own, folder, clips, _ = SETS[kind]
    file = root / place.format(part=part)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes("\n".join(own if lines is None else lines).encode())
    for i, (clip, count) in enumerate(zip(clips, FRAMES, strict=True)):
        (root / folder / clip).mkdir(parents=True, exist_ok=True)
        for frame in range(1, count + 1):
            name = root / folder / clip / names.format(frame)
            cv2.imwrite(str(name), np.full((8, 8, 3), 60 * i + 5 * frame, np.uint8))
    return file


def build(root, kind, **options):
    fold = {} if kind == "FERV39k" else {"fold": 2}
    return DATASETS.build(dict(type=kind, root=str(root)) | fold | options)


@pytest.mark.parametrize("names", ["{}.jpg", "{:05d}.png", "frame_{:03d}.JPG", "0010_{}.jpeg"])
def test_frames_have_label_and_group_of_their_clip(tmp_path, kind, names):
    file = write(tmp_path, kind, names=names)
    folder, clips, classes = SETS[kind][2:]
    (tmp_path / folder / clips[0] / "._1.jpg").touch()
    (tmp_path / folder / clips[0] / "Thumbs.db").touch()
    (tmp_path / folder / clips[0] / "mean.jpg").touch()
    data = build(tmp_path, kind)
    expected = [(c, f) for c, count in enumerate(FRAMES) for f in range(1, count + 1)]
    assert [data.group_names[g] for g in data.groups] == [clips[c] for c, _ in expected]
    assert data.tracks.tolist() == [c for c, _ in expected]
    assert data.frames.tolist() == [f for _, f in expected]
    assert [data.classes[i] for i in data.labels] == [classes[c] for c, _ in expected]
    assert data.labels.dtype == np.int16
    for index, (clip, frame) in enumerate(expected):
        assert data.item_id(index) == f"{clips[clip]}/{names.format(frame)}"
        assert abs(data.read(index).mean() - (60 * clip + 5 * frame)) <= 3
    line = 1 + (kind == "DFEW")
    assert data.where(0) == f"{tmp_path / folder}/{data.item_id(0)} ({file}:{line})"
    assert data.name == f"{kind.lower()}-train" + ("" if kind == "FERV39k" else "-2")
    found = data.summary()
    assert (found["kept"], found["clips"], found["missing_clips"]) == (17, 3, 0)
    assert found["images_without_number"] == 1


def test_some_frames_of_each_clip_evenly_spread(tmp_path, kind):
    write(tmp_path, kind)
    data = build(tmp_path, kind, frames_per_clip=3)
    assert data.frames.tolist() == [1, 2, 1, 2, 3, 3, 7, 11]
    for wrong in (0, -1, 1.5, "2"):
        with pytest.raises(UserError, match="frames_per_clip"):
            build(tmp_path, kind, frames_per_clip=wrong)


def test_parts_folds_and_other_places(tmp_path, kind):
    write(tmp_path / "a", kind)
    with pytest.raises(UserError, match=f"the list of {kind}"):
        build(tmp_path / "a", kind, part="test")
    write(tmp_path / "a", kind, part="test")
    assert len(build(tmp_path / "a", kind, part="test")) == 17
    for wrong in ({"part": "val"}, {"fold": 6}, {"missing_clips": "warn"}):
        with pytest.raises(UserError, match="expected"):
            build(tmp_path / "a", kind, **wrong)
    folder = SETS[kind][2]
    (tmp_path / "a" / folder).rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=rf"the folder of frames of {kind}(.|\n)*`images`"):
        build(tmp_path / "a", kind)
    assert len(build(tmp_path / "a", kind, images=str(tmp_path / "elsewhere"))) == 17
    file = tmp_path / "a" / SETS[kind][0].format(part="train")
    file.rename(tmp_path / "my list")
    data = build(
        tmp_path / "a", kind, images=str(tmp_path / "elsewhere"), annotations=str(tmp_path / "my list")
    )
    assert len(data) == 17
    with pytest.raises(UserError, match="https://"):
        build(tmp_path / "none", kind)


def test_clips_without_frames(tmp_path, kind):
    write(tmp_path, kind)
    folder, clips = SETS[kind][2:4]
    for file in (tmp_path / folder / clips[1]).iterdir():
        file.rename(file.with_suffix(".avi"))
    with pytest.raises(
        UserError, match=rf"1 listed clips have no frames: {clips[1]}(.|\n)*missing_clips='skip'"
    ):
        build(tmp_path, kind)
    data = build(tmp_path, kind, missing_clips="skip")
    assert (len(data), data.summary()["missing_clips"]) == (14, 1)
    (tmp_path / folder / clips[0] / "1.jpg").write_bytes(b"")
    with pytest.raises(UnreadableImage, match=rf"{clips[0]}/1.jpg \(.*:\d\): .*empty"):
        data.read(0)


def test_classes_by_name(tmp_path, kind):
    write(tmp_path, kind)
    classes = SETS[kind][4]
    data = build(
        tmp_path, kind, classes=["x"], rename={n: "x" if n == classes[2] else None for n in all_classes(kind)}
    )
    assert set(data.labels.tolist()) == {0}
    assert (len(data), data.summary()["dropped_clips"]) == (12, 2)


def all_classes(kind):
    return DATASETS.get(kind).source


def test_two_files_of_one_frame(tmp_path, kind):
    write(tmp_path, kind)
    folder, clips = SETS[kind][2:4]
    (tmp_path / folder / clips[1] / "00002.png").touch()
    with pytest.raises(UserError, match="are both frame 2"):
        build(tmp_path, kind)


BAD = {
    "DFEW": [
        *(f"12,{n}" for n in ("+1", "0_1", "\u0661", "0", "8", "-1", "1.0", "", "9" * 20)),
        *(f"{n},3" for n in ("+12", "1_2", "\u0661", "-12", "9" * 20, "x", "", "../12")),
        "12", "12,3,4", '"12,3', "1\v2,3",
    ],
    "FERV39k": [
        "Action/Sad/0010", "Action/Sad/0010 Joy", "Action/Sad/0010 0", "../Sad/0010 Sad", "/Sad/0010 Sad", "a//b Sad",
        "a\\b Sad", "Action/Sad/00\0 Sad", "a Sad\u2028b Sad",
    ],
    "MAFW": [
        "00001.mp4", "00001.mp4 joy", "00001.mp4 1", "../1.mp4 anger", "/1.mp4 anger", "..mp4 anger", "a\0.mp4 anger",
        "1.mp4 anger\x852.mp4 fear", "x" * 256 + ".mp4 anger",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "line"), [(kind, line) for kind, lines in BAD.items() for line in lines])
def test_a_bad_line_is_named(tmp_path, kind, line):
    file = write(tmp_path, kind, [SETS[kind][1][0], line])
    with pytest.raises(UserError) as error:
        build(tmp_path, kind)
    assert f"{file}:2" in str(error.value)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_and_a_byte_order_mark(tmp_path, kind, end):
    file = write(tmp_path, kind)
    file.write_bytes(end.join([*SETS[kind][1], ""]).encode("utf-8-sig"))
    assert len(build(tmp_path, kind)) == 17


def test_lists_that_are_empty_repeat_or_contradict(tmp_path, kind):
    own = SETS[kind][1]
    write(tmp_path, kind, [])
    with pytest.raises(UserError, match="has no clips"):
        build(tmp_path, kind)
    write(tmp_path, kind, [*own, own[1]])
    assert build(tmp_path, kind).summary()["repeated_rows"] == 1
    other = {"DFEW": "7,2", "FERV39k": "Action/Sad/0010 Happy", "MAFW": "00001.mp4 fear"}[kind]
    file = write(tmp_path, kind, [*own, other])
    with pytest.raises(UserError, match=r"listed twice, with different labels") as error:
        build(tmp_path, kind)
    assert f"{file}:{1 + (kind == 'DFEW')} and :{len(own) + 1}" in str(error.value)
    file.unlink()
    file.mkdir()
    with pytest.raises(UserError, match="is no file"):
        build(tmp_path, kind)
