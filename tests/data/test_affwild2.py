import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferbench.data.check import run_check
from ferbench.data.datasets.abaw import EXPR_CLASSES, video_of
from ferbench.data.datasets.affwild2 import AffWild2Expr
from ferbench.data.io import UnreadableImage
from ferbench.errors import UserError
from ferbench.registry import DATASETS

HEADER = ",".join(EXPR_CLASSES)
PLACE = "5th_ABAW_Annotations/EXPR_Classification_Challenge"


def shade(subject, frame):
    return (sum(map(ord, subject)) * 7 + frame * 10) % 240


def annotate(root, subject, labels, header=HEADER, part="Train_Set", place=PLACE):
    folder = root / place / part
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{subject}.txt").write_text("\n".join([header, *map(str, labels)]) + "\n")


def crop(root, subject, frames, folder="cropped_aligned"):
    place = root / folder / subject
    place.mkdir(parents=True, exist_ok=True)
    for frame in frames:
        image = np.full((8, 8, 3), shade(subject, frame), np.uint8)
        (place / f"{frame:05d}.jpg").write_bytes(cv2.imencode(".jpg", image)[1].tobytes())


@pytest.fixture
def root(tmp_path):
    """Two people in one video, -1 frames, missing crops, labels beyond the crops and the other way round."""
    annotate(tmp_path, "video59", [0, -1, 4, 4, 7, 1])
    crop(tmp_path, "video59", [1, 2, 4, 5])  # 3 and 6 are missing; 6 lies beyond the last crop
    annotate(tmp_path, "video59_right", [2, 2])
    crop(tmp_path, "video59_right", [1, 2, 3, 4])  # 3 and 4 have no label
    annotate(tmp_path, "10-60-1280x720", [-1, 5])
    crop(tmp_path, "10-60-1280x720", [2])
    return tmp_path


def content(dataset):
    return dict(zip(dataset.item_ids(np.arange(len(dataset))), dataset.labels.tolist(), strict=True))


def test_labels_and_crops_are_joined_by_frame_number(root):
    dataset = DATASETS.build({"type": "AffWild2Expr", "root": str(root)})
    assert content(dataset) == {
        "10-60-1280x720/00002.jpg": 5,
        "video59/00001.jpg": 0,
        "video59/00004.jpg": 4,
        "video59/00005.jpg": 7,
        "video59_right/00001.jpg": 2,
        "video59_right/00002.jpg": 2,
    }
    for index, item in enumerate(content(dataset)):
        subject, name = item.split("/")
        assert dataset.item_id(index) == item
        assert abs(dataset.read(index).mean() - shade(subject, int(name[:5]))) <= 2
    assert dataset.classes == EXPR_CLASSES
    assert dataset.labels.dtype == np.int16
    assert dataset.name == "affwild2-train"
    assert (dataset.subject_of(2), dataset.frame_of(2)) == ("video59", 4)


def test_where_names_crop_annotation_and_line(root):
    dataset = AffWild2Expr(root)
    annotation = root / PLACE / "Train_Set" / "video59.txt"
    assert dataset.where(2) == f"{root}/cropped_aligned/video59/00004.jpg (label: {annotation}:5)"
    assert annotation.read_text().splitlines()[5 - 1] == "4"


def test_two_people_of_a_video_are_one_group(root):
    dataset = AffWild2Expr(root)
    assert dataset.group_names == ["10-60-1280x720", "video59"]
    assert dataset.tracks.tolist() == [0, 1, 1, 1, 2, 2]  # each a track
    assert dataset.frames.tolist() == [2, 1, 4, 5, 1, 2]
    assert dataset.groups.tolist() == [0, 1, 1, 1, 1, 1]
    assert dataset.groups.dtype == np.int32


@pytest.mark.parametrize(
    ("subject", "video"),
    [
        ("video2_left", "video2"),
        ("video59", "video59"),
        ("video10_1_right", "video10_1"),
        ("x_left_3", "x_left_3"),
    ],
)
def test_only_a_trailing_side_is_stripped(subject, video):
    assert video_of(subject) == video


def test_summary_counts_everything(root):
    assert AffWild2Expr(root).summary() == {
        "videos": 2,
        "subjects": 3,
        "annotated_frames": 10,
        "kept": 6,
        "dropped_invalid": 2,
        "dropped_classes": 0,
        "missing_crops": 2,
        "labels_beyond_last_crop": 1,
        "crops_beyond_last_label": 2,
        "skipped_videos": [],
        "in_several_places": 0,
        "crops_of_other_names": 0,
        "crops_of_frame_0": 0,
        "per_class": {
            "Neutral": 1, "Anger": 0, "Disgust": 2, "Fear": 0,
            "Happiness": 1, "Sadness": 1, "Surprise": 0, "Other": 1,
        },
    }  # fmt: skip


def test_unlabeled_frames(root):
    invalid = AffWild2Expr(root, unlabeled="invalid")
    assert content(invalid) == {"video59/00002.jpg": -1}
    everything = AffWild2Expr(root, unlabeled="all")
    assert content(everything) == dict.fromkeys(
        ["10-60-1280x720/00002.jpg"]
        + [f"video59/{i:05d}.jpg" for i in (1, 2, 4, 5)]
        + [f"video59_right/{i:05d}.jpg" for i in (1, 2, 3, 4)],
        -1,
    )
    assert everything.groups.tolist() == [0] + [1] * 8
    with pytest.raises(UserError, match="unlabeled='some' is not known"):
        AffWild2Expr(root, unlabeled="some")


@pytest.mark.parametrize(
    ("header", "label", "name"),
    [
        (" Neutral , Anger,Disgust, Fear,Happiness,Sadness,Surprise,Other, ", 7, "Other"),
        ("Other,Surprise,Sadness,Happiness,Fear,Disgust,Anger,Neutral", 7, "Neutral"),
        ("Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise", 6, "Surprise"),
        ("\ufeffneutral,anger,disgust,fear,happiness,sadness,surprise,other\r", 4, "Happiness"),
    ],
)
def test_headers_are_mapped_by_name(tmp_path, header, label, name):
    annotate(tmp_path, "112", [label], header)
    crop(tmp_path, "112", [1])
    dataset = AffWild2Expr(tmp_path)
    assert dataset.classes[dataset.labels[0]] == name


def test_other_target_classes(root):
    rename = {
        "Other": None,
        "Disgust": "Anger",
        **dict.fromkeys(["Fear", "Sadness", "Surprise", "Neutral"], None),
    }
    dataset = AffWild2Expr(root, classes=["Happiness", "Anger"], rename=rename)
    assert content(dataset) == {
        "video59/00004.jpg": 0,
        "video59_right/00001.jpg": 1,
        "video59_right/00002.jpg": 1,
    }
    assert dataset.summary()["dropped_classes"] == 3  # Neutral, Other, Sadness


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "annotation file is empty"),
        ([HEADER], "header but no frames"),
        (["0", "1"], r"no list of class names: '0'(.|\n)*bad\.txt:1"),
        (["Neutral,Joy", "0"], r"class 'Joy' has no counterpart(.|\n)*bad\.txt:1"),
        (["Neutral,neutral", "0"], r"names a class twice(.|\n)*bad\.txt:1"),
        ([HEADER, "0", "8", "9"], r"label 8 is out of range \(2 such lines\)(.|\n)*bad\.txt:3"),
        ([HEADER, "0", "1", "-2"], r"label -2 is out of range(.|\n)*bad\.txt:4"),
        (["Neutral,Anger,Fear", "0", "3"], r"label 3 is out of range(.|\n)*bad\.txt:3(.|\n)*0 to 2"),
        ([HEADER, "0", "", "1"], r"no label: ''(.|\n)*bad\.txt:3"),
        ([HEADER, "0", "1.5"], r"no label: '1\.5'(.|\n)*bad\.txt:3"),
        *(
            ([HEADER, "0", number, "1"], r"no label: (.|\n)*bad\.txt:3")
            for number in ("+1", "0_1", "\u0661", "\uff11", "9" * 20, "9" * 5000, "1 2", "-", "1\xa0")
        ),
        *(
            ([HEADER, "0", f"1{char}2", "3"], rf"U\+{ord(char):04X}(.|\n)*bad\.txt:3")
            for char in "\v\f\x1c\x1d\x1e\x85\u2028\u2029\0"
        ),
        ([f"{HEADER}\v0", "1"], r"U\+000B(.|\n)*bad\.txt:1"),
        ([HEADER, "", "1"], r"no label: ''(.|\n)*bad\.txt:2"),
    ],
)
def test_bad_annotations(tmp_path, lines, message):
    annotate(tmp_path, "good", [0])
    crop(tmp_path, "good", [1])
    (tmp_path / PLACE / "Train_Set" / "bad.txt").write_bytes("\n".join(lines).encode())
    crop(tmp_path, "bad", [1])
    with pytest.raises(UserError, match=message):
        AffWild2Expr(tmp_path)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_do_not_move_labels(tmp_path, end):
    annotate(tmp_path, "a", [])
    text = end.join([HEADER, "0", " 3", "-1\t", "5", "", ""])
    (tmp_path / PLACE / "Train_Set" / "a.txt").write_bytes(text.encode("utf-8-sig"))
    crop(tmp_path, "a", [1, 2, 3, 4])
    assert content(AffWild2Expr(tmp_path)) == {"a/00001.jpg": 0, "a/00002.jpg": 3, "a/00004.jpg": 5}


def test_an_annotation_that_is_not_text(tmp_path):
    annotate(tmp_path, "bad", [0])
    (tmp_path / PLACE / "Train_Set" / "bad.txt").write_bytes(b"\xff\xd8\xff\xe0")
    crop(tmp_path, "bad", [1])
    with pytest.raises(UserError, match=r"not a text file(.|\n)*bad\.txt"):
        AffWild2Expr(tmp_path)


def test_videos_without_crops(root):
    annotate(root, "nocrops", [0, 1])
    annotate(root, "empty_left", [0, 1])
    crop(root, "empty_left", [])
    with pytest.raises(UserError, match=r"2 annotated videos have no crops: empty_left, nocrops(.|\n)*skip"):
        AffWild2Expr(root)
    dataset = AffWild2Expr(root, missing_videos="skip")
    assert len(dataset) == 6
    assert dataset.summary()["skipped_videos"] == ["empty_left", "nocrops"]
    with pytest.raises(UserError, match="missing_videos='ignore' is not known"):
        AffWild2Expr(root, missing_videos="ignore")


def test_nothing_left(tmp_path):
    annotate(tmp_path, "a", [-1, 3])
    crop(tmp_path, "a", [1])
    with pytest.raises(UserError, match="no frame is left"):
        AffWild2Expr(tmp_path)
    annotate(tmp_path / "b", "x", [1])
    (tmp_path / "b" / "cropped_aligned").mkdir()
    with pytest.raises(UserError, match="1 annotated videos have no crops"):
        AffWild2Expr(tmp_path / "b", missing_videos="skip")


@pytest.mark.parametrize(
    "place",
    [
        "3rd_ABAW_Annotations/EXPR_Classification_Challenge",
        "Third ABAW Annotations/EXPR_Classification_Challenge",
        "6th_ABAW_Annotations/EXPR_Recognition_Challenge",
        "EXPR_Recognition_Challenge",
        "annotations/EXPR_Set",
    ],
)
def test_annotation_folders_of_every_year(tmp_path, place):
    annotate(tmp_path, "a", [3], place=place, part="Validation_Set")
    crop(tmp_path, "a", [1])
    dataset = AffWild2Expr(tmp_path, part="Validation_Set")
    assert content(dataset) == {"a/00001.jpg": 3}
    assert dataset.name == "affwild2-validation"
    for depth in (place, place + "/Validation_Set", place.split("/")[0]):
        direct = AffWild2Expr(
            annotations=tmp_path / depth, crops=tmp_path / "cropped_aligned", part="Validation_Set"
        )
        assert content(direct) == content(dataset)


def test_several_releases_must_be_told_apart(root):
    other = "6th_ABAW_Annotations/EXPR_Recognition_Challenge"
    annotate(root, "video59", [3], place=other)
    with pytest.raises(
        UserError, match=r"several annotation releases(.|\n)*5th(.|\n)*6th(.|\n)*annotations="
    ):
        AffWild2Expr(root)
    assert content(AffWild2Expr(root, annotations=root / other)) == {"video59/00001.jpg": 3}


def test_crops_in_several_folders(root):
    annotate(root, "late", [6])
    crop(root, "late", [1], folder="cropped_aligned_new_50_vids")
    dataset = AffWild2Expr(root, crops=[root / "cropped_aligned", root / "cropped_aligned_new_50_vids"])
    index = dataset.item_ids(np.arange(len(dataset))).index("late/00001.jpg")
    assert dataset.where(index).startswith(f"{root}/cropped_aligned_new_50_vids/late/00001.jpg")
    assert dataset.read(index).shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("cropped_aligned", "cropped_aligned_new_50_vids"),
        ("cropped_aligned/cropped_aligned", "cropped_aligned/cropped_aligned_new_50_vids"),
        ("cropped_aligned", "cropped_aligned/cropped_aligned_new_50_vids"),
        ("batch1/cropped_aligned", "batch2/cropped_aligned_new_50_vids"),
        ("crops/batch1 (1)/cropped_aligned", "crops/batch2/cropped_aligned_new_50_vids"),
        ("cropped_aligned_batch1", "cropped_aligned_batch3"),
        (
            "cropped_aligned_image_test/batch1 (1)/cropped_aligned",
            "cropped_aligned_image_test/batch2/cropped_aligned_new_50_vids",
        ),
        ("cropped_aligned_images/cropped_aligned", "cropped_aligned_images/cropped_aligned_new_50_vids"),
        ("new_cropped_aligned", "data/cropped-aligned 2"),
    ],
)
def test_the_official_batches_unpack_side_by_side(root, first, second):
    """All folders of crops are found, wherever the archives put them; unaligned crops and a Mac's twins are not."""
    if first != "cropped_aligned":
        (root / "cropped_aligned").rename(root / "moved")
        (root / first).parent.mkdir(parents=True, exist_ok=True)
        (root / "moved").rename(root / first)
    before = content(AffWild2Expr(root))
    annotate(root, "late_left", [6, 1])
    crop(root, "late_left", [1, 2], folder=second)
    crop(root, "late_left", [1, 2, 3], folder="cropped/batch1")
    crop(root, "late_left", [1, 2, 3], folder=f"__MACOSX/{second}")
    dataset = AffWild2Expr(root)
    assert content(dataset) == {**before, "late_left/00001.jpg": 6, "late_left/00002.jpg": 1}
    index = dataset.item_ids(np.arange(len(dataset))).index("late_left/00001.jpg")
    assert dataset.where(index).startswith(f"{root / second}/late_left/00001.jpg")
    assert dataset.summary()["in_several_places"] == 0


def test_crops_elsewhere_are_named(root):
    annotate(root, "late", [6])
    crop(root, "late", [1], folder="faces/second")
    with pytest.raises(
        UserError, match=r"1 annotated videos have no crops: late(.|\n)*faces/second(.|\n)*crops="
    ):
        AffWild2Expr(root)
    dataset = AffWild2Expr(root, crops=[root / "cropped_aligned", root / "faces/second"])
    assert "late/00001.jpg" in content(dataset)


def test_crops_named_one_level_too_high(root):
    (root / "cropped_aligned").rename(root / "moved")
    (root / "crops").mkdir()
    (root / "moved").rename(root / "crops/cropped_aligned")
    assert len(AffWild2Expr(root, crops=root / "crops")) == 6


@pytest.mark.parametrize("second", ["cropped_aligned_new_50_vids", "second/cropped_aligned"])
@pytest.mark.parametrize(("frames", "beyond"), [([1], 0), ([1, 3, 6], 2)])
def test_a_subject_in_two_places_is_counted_and_named(root, second, frames, beyond, caplog):
    crop(root, "video59", frames, folder=second)
    dataset = AffWild2Expr(root)
    assert len(dataset) == 6  # `cropped_aligned` comes first
    assert dataset.summary()["in_several_places"] == 1
    assert (
        f"video59 has crops in several folders, and those of {root}/cropped_aligned/video59 are used"
        in caplog.text
    )
    assert f"{beyond} frames that only {root / second / 'video59'} have are left out" in caplog.text
    report = run_check({"labeled": dataset})
    assert "affwild2-train: 1 videos have crops in several folders" in report.warnings


def renumber(folder, by, name="{:05d}.jpg"):
    """Other numbers for the crops of a subject."""
    for file in sorted(folder.iterdir(), reverse=by > 0):
        file.rename(file.with_name(name.format(int(file.stem) + by)))


@pytest.mark.parametrize("name", ["{:05d}.jpg", "{:d}.jpg", "{:05d}.png", "{:06d}.jpg"])
@pytest.mark.parametrize("unlabeled", [None, "all"])
def test_crops_that_are_counted_from_0_are_refused(root, name, unlabeled):
    """Each would have the label of the frame before; and what the message proposes gives the right join."""
    before = content(AffWild2Expr(root, unlabeled=unlabeled))
    folder = root / "cropped_aligned/video59"
    renumber(folder, -1, name)
    with pytest.raises(UserError) as error:
        AffWild2Expr(root, unlabeled=unlabeled)
    assert "the crops of video59 seem to be counted from 0" in error.value.what
    assert "to frame 4, and there are 6 annotated frames" in error.value.what
    assert str(error.value.where).endswith("video59.txt")
    renumber(folder, 1, name)
    assert content(AffWild2Expr(root, unlabeled=unlabeled)) == before


def test_a_stray_crop_of_frame_0_is_left_out_and_named(root, caplog):
    """There are crops up to the number of annotated frames, and beyond: these are counted from 1."""
    before = content(AffWild2Expr(root))
    crop(root, "video59_right", [0])
    dataset = AffWild2Expr(root)
    assert content(dataset) == before
    assert dataset.summary()["crops_of_frame_0"] == 1
    assert f"{root}/cropped_aligned/video59_right/00000.jpg is left out" in caplog.text


def test_crops_of_test_videos_that_are_counted_from_0_are_refused(root):
    (root / RELEASE).parent.mkdir()
    (root / RELEASE).write_text("video59\n")
    renumber(root / "cropped_aligned/video59", -1)
    with pytest.raises(UserError, match="seem to be counted from 0"):
        AffWild2Expr(root, part="Test_Set")


@pytest.mark.parametrize(
    "names", ["{:d}.jpg", "{:05d}.png", "{:d}.png", "{:06d}.jpg", "{:05d}.JPG", "{:05d}.jpeg"]
)
def test_crops_of_other_names(root, names):
    """The join by frame number and the ids are those of the official names, also beyond 9, 99, ... frames."""
    frames = [1, 2, 9, 10, 99, 100, 9_999, 10_000, 12_345]
    annotate(root, "long", [f % 7 for f in range(1, 13_000)])
    crop(root, "long", frames)
    before = content(AffWild2Expr(root))
    assert [item for item in before if item.startswith("long/1")] == ["long/10000.jpg", "long/12345.jpg"]
    for file in root.glob("cropped_aligned/*/*.jpg"):
        image = cv2.imread(str(file))
        file.unlink()
        cv2.imwrite(str(file.with_name(names.format(int(file.stem)))), image)
    dataset = AffWild2Expr(root)
    assert content(dataset) == before
    assert {before[f"long/{f:05d}.jpg"] for f in (9, 100, 12_345)} == {9 % 7, 100 % 7, 12_345 % 7}
    for index in range(0, len(dataset), 3):
        subject, name = dataset.item_id(index).split("/")
        assert abs(dataset.read(index).mean() - shade(subject, int(name[:-4]))) <= 2


def test_a_stray_name_does_not_hide_the_others(root):
    """Names of another kind are left out and counted, whichever kind is the rare one."""
    before = content(AffWild2Expr(root))
    folder = root / "cropped_aligned/video59"
    for name in ("3.jpg", "00003.png", "000003.jpg", "00003.JPG"):
        (folder / name).touch()
    found = AffWild2Expr(root)
    assert content(found) == before
    assert found.summary()["crops_of_other_names"] == 4
    for frame in (1, 2, 4, 5):
        (folder / f"{frame:05d}.jpg").rename(folder / f"{frame}.png")
    found = AffWild2Expr(root)
    assert content(found) == before
    assert found.summary()["crops_of_other_names"] == 4


@pytest.mark.parametrize(
    "name",
    [
        "\u0661.jpg",
        "9999999999.jpg",
        "-1.jpg",
        "+1.jpg",
        "0.jpg",
        "1_0.jpg",
        "1.5.jpg",
        "._00003.jpg",
        "\u00b2.jpg",
    ],
)
def test_names_that_are_no_frame_numbers(root, name):
    before = content(AffWild2Expr(root))
    (root / "cropped_aligned/video59" / name).touch()
    assert content(AffWild2Expr(root)) == before


@pytest.mark.parametrize("place", ["6th ABAW Annotations", "6th_ABAW_Annotations/6th_ABAW_Annotations"])
def test_annotations_two_levels_deep_and_twins_of_a_mac(tmp_path, place):
    place = f"{place}/EXPR_Recognition_Challenge"
    annotate(tmp_path, "a", [3], place=place)
    annotate(tmp_path, "a", [3], place=f"__MACOSX/{place}")
    (tmp_path / place / "Train_Set/._a.txt").write_bytes(b"\0\5\x16\7")
    crop(tmp_path, "a", [1])
    assert content(AffWild2Expr(tmp_path)) == {"a/00001.jpg": 3}


RELEASE = "names_of_videos_in_each_test_set/Expression_Classification_Challenge_test_set_release.txt"


@pytest.mark.parametrize(
    "lines",
    [
        ["video59_right", "10-60-1280x720"],
        ["video59_right ", "", "10-60-1280x720", "video59_right"],
        [
            "image_location,Neutral,Anger",
            "video59_right/00001.jpg,",
            "video59_right/00002.jpg,",
            "10-60-1280x720/00001.jpg,",
        ],
    ],
)
@pytest.mark.parametrize("place", ["", "test_release/"])
def test_the_list_of_test_videos(root, lines, place):
    """All crops of the videos that the list (or the example of a submission) names, without labels."""
    file = root / place / RELEASE
    file.parent.mkdir(parents=True)
    file.write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    dataset = AffWild2Expr(root, part="Test_Set")
    assert dataset.name == "affwild2-test"
    assert content(dataset) == dict.fromkeys(
        [*(f"video59_right/0000{i}.jpg" for i in (1, 2, 3, 4)), "10-60-1280x720/00002.jpg"], -1
    )
    assert [dataset.group_names[g] for g in dataset.groups] == ["video59"] * 4 + ["10-60-1280x720"]
    assert dataset.where(0).endswith(f"video59_right/00001.jpg (test video of {file})")
    assert dataset.read(0).shape == (8, 8, 3)
    assert dataset.summary()["kept"] == 5
    alone = AffWild2Expr(crops=root / "cropped_aligned", part="Test_Set", test_list=file)
    assert content(alone) == content(dataset)


def test_bad_lists_of_test_videos(root):
    with pytest.raises(UserError, match=r"no list of test videos(.|\n)*test_list="):
        AffWild2Expr(root, part="Test_Set")
    file = root / "list.txt"
    for text, message in [
        ("", "is empty"),
        ("video59\0", r"U\+0000(.|\n)*list.txt:1"),
        ("a\n../b", r"no name of a video(.|\n)*list.txt:2"),
        ("a,b", "no name of a video"),
        ("x" * 256, "no name of a video"),
        ("nobody", r"1 test videos have no crops: nobody(.|\n)*skip"),
    ]:
        file.write_text(text)
        with pytest.raises(UserError, match=message):
            AffWild2Expr(root, part="Test_Set", test_list=file)
    with pytest.raises(UserError, match="part is not 'Test_Set'"):
        AffWild2Expr(root, test_list=file)
    with pytest.raises(UserError, match="unlabeled='invalid'"):
        AffWild2Expr(root, part="Test_Set", unlabeled="invalid")
    with pytest.raises(UserError, match="test_list="):
        AffWild2Expr(crops=root, part="Test_Set")


def test_options_of_another_type(root):
    for wrong in (5, ["a"], True):
        with pytest.raises(UserError, match="expected: a path, as text"):
            AffWild2Expr(wrong)
        with pytest.raises(UserError, match="'Train_Set', 'Validation_Set' or 'Test_Set'"):
            AffWild2Expr(root, part=wrong)
    for name in ("x" * 5000, "a\0b"):
        with pytest.raises(UserError, match="does not exist"):
            AffWild2Expr(name)


def test_missing_folders_say_how_to_get_the_data(root, tmp_path):
    with pytest.raises(UserError, match=r"nowhere(.|\n)*aff-wild2(.|\n)*make_synthetic"):
        AffWild2Expr(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"cropped-aligned images(.|\n)*other_crops(.|\n)*make_synthetic"):
        AffWild2Expr(root, crops=root / "other_crops")
    with pytest.raises(UserError, match=r"no expression annotations with a part 'Train'(.|\n)*Train_Set"):
        AffWild2Expr(root, part="Train")
    with pytest.raises(UserError, match=r"no expression annotations(.|\n)*make_synthetic"):
        AffWild2Expr(root / "cropped_aligned", crops=root / "cropped_aligned")
    with pytest.raises(UserError, match="needs to know where it lies"):
        AffWild2Expr()
    (root / PLACE / "Validation_Set").mkdir()
    with pytest.raises(UserError, match="holds no annotation files"):
        AffWild2Expr(root, part="Validation_Set")


def test_other_files_among_the_crops_are_ignored(root):
    before = content(AffWild2Expr(root))
    for name in ("3.jpg", "00003.png", "mask_00003.jpg", "000003.jpg", "00006.jpg.part"):
        (root / "cropped_aligned" / "video59" / name).write_bytes(b"")
    assert content(AffWild2Expr(root)) == before


@pytest.mark.parametrize(("cut", "message"), [(slice(0), "empty"), (slice(-30), "cut short")])
def test_unreadable_crops_are_named(root, cut, message):
    file = root / "cropped_aligned" / "video59" / "00004.jpg"
    file.write_bytes(file.read_bytes()[cut])
    with pytest.raises(UnreadableImage, match=rf"00004\.jpg \(label: .*video59\.txt:5\): .*{message}"):
        AffWild2Expr(root).read(2)


@settings(max_examples=30)
@given(
    labels=st.lists(st.integers(-1, 7), min_size=1, max_size=12),
    frames=st.sets(st.integers(1, 14), min_size=1),
)
def test_the_join_against_a_plain_loop(tmp_path_factory, labels, frames):
    root = tmp_path_factory.mktemp("affwild2")
    annotate(root, "v", labels)
    folder = root / "cropped_aligned" / "v"
    folder.mkdir(parents=True)
    for frame in frames:
        (folder / f"{frame:05d}.jpg").touch()
    expected = {f"v/{i:05d}.jpg": label for i, label in enumerate(labels, 1) if label >= 0 and i in frames}
    if not expected:
        with pytest.raises(UserError, match="no frame is left"):
            AffWild2Expr(root)
        return
    dataset = AffWild2Expr(root)
    assert content(dataset) == expected
    summary = dataset.summary()
    assert summary["missing_crops"] + summary["kept"] + summary["dropped_invalid"] == len(labels)
    assert summary["labels_beyond_last_crop"] == sum(i > max(frames) for i in range(1, len(labels) + 1))
    assert summary["crops_beyond_last_label"] == sum(f > len(labels) for f in frames)
