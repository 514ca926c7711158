"""FER+ votes: joined by row within a usage, plurality and distributions by stated rules."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ferbench.data.datasets.ferplus import plurality
from ferbench.data.io import UnreadableImage
from ferbench.errors import UserError
from ferbench.registry import DATASETS

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
EIGHT = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
VOTES = [  # usage, votes of the ten columns
    ("Training", [6, 0, 0, 4, 0, 0, 0, 0, 0, 0]),  # neutral
    ("Training", [0, 5, 5, 0, 0, 0, 0, 0, 0, 0]),  # tie
    ("Training", [0, 3, 1, 0, 0, 0, 0, 2, 4, 0]),  # unknown
    ("PublicTest", [0, 0, 10, 0, 0, 0, 0, 0, 0, 0]),  # surprise
    ("Training", [0, 0, 0, 0, 0, 0, 0, 0, 0, 10]),  # no face
    ("Training", [1, 0, 0, 0, 0, 0, 4, 3, 2, 0]),  # fear by 4 of 10
    ("Training", [1, 2, 0, 0, 0, 0, 0, 6, 0, 1]),  # contempt
    ("PrivateTest", [0, 9, 0, 0, 0, 0, 0, 0, 1, 0]),  # not in the csv
]


def write(folder, votes=VOTES, usages=None, pixels=None):
    usages = usages or [u for u, _ in votes if u != "PrivateTest"]
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (len(usages), 48 * 48)) if pixels is None else pixels
    lines = [
        f"{i % 7},{' '.join(map(str, p.tolist()))},{u}"
        for i, (u, p) in enumerate(zip(usages, pixels, strict=True))
    ]
    (folder / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *lines]) + "\n")
    # file names count in another way than rows do, and images without a face have none
    rows = [
        f"{u},{'' if v[9] > 5 else f'fer{3 * i:07d}.png'},{','.join(map(str, v))}"
        for i, (u, v) in enumerate(votes)
    ]
    (folder / "fer2013new.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return folder


def build(root, **options):
    return DATASETS.build(dict(type="FERPlus", root=str(root), cache=None) | options)


def ids(data):
    return data.item_ids(np.arange(len(data)))


def test_plurality_leaves_ties_and_empty_rows_open():
    assert plurality(np.array([[1, 3, 2], [2, 2, 0], [0, 0, 0], [0, 0, 5]])).tolist() == [1, -1, -1, 2]


def test_majority_drops_ties_unknown_and_no_face_and_counts_them(tmp_path):
    data = build(write(tmp_path))
    assert ids(data) == ["row00000", "row00005", "row00006"]
    assert [data.classes[i] for i in data.labels] == ["neutral", "fear", "contempt"]
    assert data.targets is None
    found = data.summary()
    assert (found["dropped_ties"], found["dropped_unknown"], found["dropped_no_face"], found["kept"]) == (
        1,
        1,
        1,
        3,
    )
    test = build(tmp_path, usage="PublicTest")  # its first row is row 3 of both files
    assert ids(test) == ["row00003"]
    assert test.classes[test.labels[0]] == "surprise"


def test_probability_targets_are_the_votes_without_unknown_and_no_face(tmp_path):
    data = build(write(tmp_path), mode="probability")
    assert data.targets.dtype == np.float32
    np.testing.assert_allclose(
        data.targets,
        [
            [0.6, 0, 0, 0.4, 0, 0, 0, 0],
            [1 / 8, 0, 0, 0, 0, 0, 4 / 8, 3 / 8],
            [1 / 9, 2 / 9, 0, 0, 0, 0, 0, 6 / 9],
        ],
        rtol=1e-6,
    )
    assert data.labels.tolist() == [0, 6, 7]


def test_stated_rules_of_the_paper(tmp_path):
    write(tmp_path)
    strict = build(tmp_path, min_share=0.5)
    assert ids(strict) == ["row00000", "row00006"]
    assert strict.summary()["dropped_below_min_share"] == 1
    no_slips = build(tmp_path, mode="probability", drop_single_votes=True)
    np.testing.assert_allclose(no_slips.targets[1], [0, 0, 0, 0, 0, 0, 4 / 7, 3 / 7], rtol=1e-6)
    np.testing.assert_allclose(no_slips.targets[2], [0, 2 / 8, 0, 0, 0, 0, 0, 6 / 8], rtol=1e-6)


def test_target_classes_take_or_leave_votes_by_name(tmp_path):
    classes = ("Fear", "Other", "Neutral", "Happiness", "Surprise", "Sadness", "Anger", "Disgust")
    merged = build(write(tmp_path), mode="probability", classes=classes, rename={"contempt": "Other"})
    assert [classes[i] for i in merged.labels] == ["Neutral", "Fear", "Other"]
    np.testing.assert_allclose(merged.targets[1], [4 / 8, 3 / 8, 1 / 8, 0, 0, 0, 0, 0], rtol=1e-6)
    seven = build(tmp_path, mode="probability", classes=EIGHT[:7], rename={"contempt": None})
    assert ids(seven) == ["row00000", "row00005"]
    assert seven.summary()["dropped_classes"] == 1
    np.testing.assert_allclose(seven.targets[1], [1 / 5, 0, 0, 0, 0, 0, 4 / 5], rtol=1e-6)


def test_copies_of_test_images_are_dropped_before_votes_are_counted(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 48 * 48))
    pixels[3] = pixels[0]
    data = build(write(tmp_path, pixels=pixels))
    assert ids(data) == ["row00005", "row00006"]
    assert data.summary()["dropped_duplicates"] == 1


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    write(tmp_path, usages=["Training"] * 5 + ["PublicTest"] * 2)
    with pytest.raises(UserError, match="Training has 5 rows in FER2013 but 6 in the votes"):
        build(tmp_path)
    rng = np.random.default_rng(0)
    shuffled = [
        ("Training", rng.multinomial(10, np.eye(10)[rng.integers(8)] * 0.9 + 0.01).tolist())
        for _ in range(300)
    ]
    write(tmp_path, shuffled, pixels=rng.integers(0, 9, (300, 48 * 48)))
    with pytest.raises(UserError, match="rows do not belong together"):
        build(tmp_path)


@pytest.mark.parametrize(
    ("line", "text", "says"),
    [
        (3, "Training,a.png,1,2,3,4,0,0,0,x,0,0", "no row of votes"),
        (3, "Training,a.png,1,2,3", "no row of votes"),
        (4, "Train,a.png,6,0,0,4,0,0,0,0,0,0", "no row of votes"),
        (2, "Training,a.png,6,0,0,-4,0,0,0,0,0,0", "no row of votes"),
        (3, "Training,a.png,1,2,3,4,0,0,0,0,0,0,0", "no row of votes"),
        *(
            (3, f"Training,a.png,6,0,0,{votes},0,0,0,0,0,0", "no row of votes")
            for votes in ("+4", "0_4", "\u0664", "4.0", "", "10001", "9" * 18, "9" * 20, "9" * 5000, "nan")
        ),
        (3, "Training,a.png,6,0,0,4\v,0,0,0,0,0,0", r"U\+000B"),
        (3, "Training,a\0.png,6,0,0,4,0,0,0,0,0,0", r"U\+0000"),
        (1, HEADER.replace("anger", "angry"), "no column anger"),
    ],
)
def test_a_bad_row_of_votes_is_named_by_its_line(tmp_path, line, text, says):
    write(tmp_path)
    lines = (tmp_path / "fer2013new.csv").read_text().splitlines()
    lines[line - 1] = text
    (tmp_path / "fer2013new.csv").write_text("\n".join(lines))
    with pytest.raises(UserError, match=says) as error:
        build(tmp_path)
    assert f"fer2013new.csv:{line}" in str(error.value)


def test_missing_votes_and_folder_releases_are_refused(tmp_path):
    write(tmp_path)
    with pytest.raises(UserError, match="microsoft/FERPlus"):
        build(tmp_path, votes=str(tmp_path / "none.csv"))
    (tmp_path / "empty.csv").touch()
    with pytest.raises(UserError, match="no column usage"):
        build(tmp_path, votes=str(tmp_path / "empty.csv"))
    with pytest.raises(UserError, match="'mean'"):
        build(tmp_path, mode="mean")
    folder = tmp_path / "images" / "Training" / "Happy"
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "a.png"), np.zeros((48, 48), np.uint8))
    with pytest.raises(UserError, match="lost"):
        build(tmp_path / "images", votes=str(tmp_path / "fer2013new.csv"))


FOLDERS = {"Training": "FER2013Train", "PublicTest": "FER2013Valid", "PrivateTest": "FER2013Test"}


def write_folders(root, labels="", images="", box="(0, 0, 48, 48)"):
    """`write`'s data as FER+'s own scripts lay it out: images without a face are not in it."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (len(VOTES), 48, 48)).astype(np.uint8)
    for i, (usage, votes) in enumerate(VOTES):
        if votes[9] > 5:
            continue
        for within in {labels, images}:
            (root / within / FOLDERS[usage]).mkdir(parents=True, exist_ok=True)
        with open(root / labels / FOLDERS[usage] / "label.csv", "a") as file:
            file.write(f'fer{i:07d}.png,"{box}",{",".join(map(str, votes))}\n')
        cv2.imwrite(str(root / images / FOLDERS[usage] / f"fer{i:07d}.png"), pixels[i])
    return pixels


@pytest.mark.parametrize(
    ("labels", "images"), [("", ""), ("data", ""), ("Labels", "Images"), ("data", "data")]
)
def test_the_folders_of_ferplus_are_the_same_data(tmp_path, labels, images):
    """Labels, targets and left-out images are those that the two csv files give; each row keeps its image."""
    (tmp_path / "csv").mkdir()
    by_row = build(write(tmp_path / "csv"), mode="probability")
    pixels = write_folders(tmp_path / "own", labels, images)
    data = build(tmp_path / "own", mode="probability")
    assert [item.rsplit("/", 1)[1] for item in ids(data)] == [f"fer{i:07d}.png" for i in (0, 5, 6)]
    assert data.labels.tolist() == by_row.labels.tolist()
    np.testing.assert_array_equal(data.targets, by_row.targets)
    for index, row in enumerate((0, 5, 6)):
        np.testing.assert_array_equal(data.read(index)[:, :, 0], pixels[row])
    found = data.summary()
    assert (found["dropped_ties"], found["dropped_unknown"], found["dropped_no_face"]) == (1, 1, 0)
    assert "agreement_with_fer2013" not in found
    assert len(build(tmp_path / "own", usage="PrivateTest")) == 1
    assert str(tmp_path / "own") in data.where(0)


def test_copies_of_test_images_are_dropped_in_folders_too(tmp_path):
    write_folders(tmp_path)
    (tmp_path / "FER2013Train/fer0000000.png").write_bytes(
        (tmp_path / "FER2013Valid/fer0000003.png").read_bytes()
    )
    data = build(tmp_path)
    assert ids(data) == ["FER2013Train/fer0000005.png", "FER2013Train/fer0000006.png"]
    assert data.summary()["dropped_duplicates"] == 1


@pytest.mark.parametrize(
    ("row", "says"),
    [
        *(
            (f'fer1.png,"(0, 0, 48, 48)",6,0,0,{n},0,0,0,0,0,0', "no row of votes")
            for n in ("+4", "9" * 20, "-1", "x", "")
        ),
        ('fer1.png,"(0, 0, 48, 48)",6,0,0,4,0,0,0,0,0', "no row of votes"),
        ('../fer1.png,"(0, 0, 48, 48)",6,0,0,4,0,0,0,0,0,0', "no row of votes"),
        ('fer1.png,"(9, 9, 48, 48)",6,0,0,4,0,0,0,0,0,0', "face box"),
        ('fer0000000.png,"(0, 0, 48, 48)",6,0,0,4,0,0,0,0,0,0', "listed twice"),
        ('fer1\0.png,"(0, 0, 48, 48)",6,0,0,4,0,0,0,0,0,0', r"U\+0000"),
        ('fer1.png,"(0, 0, 48, 48),6,0,0,4,0,0,0,0,0,0', "is broken"),
    ],
)
def test_a_bad_row_of_a_folder_is_named(tmp_path, row, says):
    write_folders(tmp_path)
    path = tmp_path / "FER2013Train/label.csv"
    path.write_text(path.read_text().splitlines()[0] + f"\n{row}\n")
    with pytest.raises(UserError, match=rf"{says}(.|\n)*label.csv:2"):
        build(tmp_path)


def test_folders_without_images_and_with_missing_ones(tmp_path):
    write_folders(tmp_path)
    (tmp_path / "FER2013Train/fer0000000.png").unlink()
    data = build(tmp_path)
    assert data.summary()["unreadable"] == 1
    with pytest.raises(UnreadableImage, match=r"fer0000000.png"):
        data.read(0)
    with pytest.raises(UserError, match="beside folders that have their own"):
        build(tmp_path, votes="x.csv")
    for file in tmp_path.rglob("*.png"):
        file.unlink()
    with pytest.raises(UserError, match=r"none of its images(.|\n)*generate_training_data.py"):
        build(tmp_path)
