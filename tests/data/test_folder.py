import multiprocessing
import os
import pickle

import cv2
import numpy as np
import pytest

from ferbench.data.datasets import folder as folder_module
from ferbench.data.datasets.folder import ImageFolder, scan_tree
from ferbench.data.io import UnreadableImage
from ferbench.data.paths import SharedArray
from ferbench.errors import UserError
from ferbench.registry import DATASETS

JPEG = cv2.imencode(".jpg", np.full((8, 8, 3), 128, np.uint8))[1].tobytes()


def plant(root, *paths, data=JPEG):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return root


def ids(dataset):
    return dataset.item_ids(np.arange(len(dataset)))


def test_order_and_names(tmp_path):
    plant(tmp_path, "b/2.jpg", "b/10.PNG", "a-b/x.jpg", "a/x.jpg", "a/sub/é.jpeg", "z.jpg", "b/notes.txt")
    plant(tmp_path, ".hidden/x.jpg", "a/.x.jpg", "empty/readme.md")
    dataset = DATASETS.build({"type": "ImageFolder", "root": str(tmp_path)})
    assert ids(dataset) == ["z.jpg", "a/x.jpg", "a/sub/é.jpeg", "a-b/x.jpg", "b/10.PNG", "b/2.jpg"]
    assert dataset.labels.tolist() == [-1] * 6
    assert dataset.labels.dtype == np.int16
    assert dataset.classes == ()
    assert dataset.name == tmp_path.name
    assert dataset.where(1) == str(tmp_path / "a/x.jpg")
    assert dataset.read(2).shape == (8, 8, 3)


def test_the_order_does_not_depend_on_the_file_system(tmp_path, monkeypatch):
    plant(tmp_path, *(f"{c}/{i}.jpg" for c in "ba" for i in range(20)))
    expected = ids(ImageFolder(tmp_path))
    listed = os.scandir

    class Reversed:
        def __init__(self, path):
            with listed(path) as entries:
                self.entries = sorted(entries, key=lambda e: e.name, reverse=True)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(os, "scandir", Reversed)
    assert ids(ImageFolder(tmp_path)) == expected


def test_labels_by_folder_name(tmp_path):
    plant(tmp_path, "happy/1.jpg", "happy/deep/2.jpg", "Sadness/3.jpg", "contempt/4.jpg")
    dataset = ImageFolder(
        tmp_path,
        labeled=True,
        classes=["Sadness", "Happiness"],
        rename={"happy": "Happiness", "contempt": None},
    )
    assert dict(zip(ids(dataset), dataset.labels.tolist(), strict=True)) == {
        "Sadness/3.jpg": 0,
        "happy/1.jpg": 1,
        "happy/deep/2.jpg": 1,
    }
    assert dataset.class_counts().tolist() == [1, 2]
    assert all(dataset.read(i).shape == (8, 8, 3) for i in range(3))


def test_classes_default_to_the_folders(tmp_path):
    plant(tmp_path, "b/1.jpg", "a/1.jpg")
    assert ImageFolder(tmp_path, labeled=True).classes == ("a", "b")
    assert ImageFolder(tmp_path, labeled=True, rename={"a": "Z"}).classes == ("Z", "b")


def test_bad_folders(tmp_path):
    with pytest.raises(UserError, match="make_synthetic"):
        ImageFolder(tmp_path / "missing")
    with pytest.raises(UserError, match="no images"):
        ImageFolder(tmp_path)
    plant(tmp_path, "a/1.jpg")
    with pytest.raises(UserError, match="labeled=True"):
        ImageFolder(tmp_path, classes=["a"])
    with pytest.raises(UserError, match=r"class 'a' has no counterpart"):
        ImageFolder(tmp_path, labeled=True, classes=["b"])
    plant(tmp_path, "stray.jpg")
    with pytest.raises(UserError, match=r"the paths of 1 images name no class(.|\n)*stray\.jpg"):
        ImageFolder(tmp_path, labeled=True)


def test_a_name_that_is_not_utf8(tmp_path):
    try:
        with open(os.fsencode(tmp_path) + b"/caf\xe9.jpg", "wb"):
            pass
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(UserError, match="not valid UTF-8"):
        ImageFolder(tmp_path)


def test_links_are_followed_but_not_in_circles(tmp_path):
    plant(tmp_path / "elsewhere", "1.jpg")
    root = plant(tmp_path / "root", "a/2.jpg")
    (root / "b").symlink_to(tmp_path / "elsewhere")
    assert ids(ImageFolder(root)) == ["a/2.jpg", "b/1.jpg"]
    (root / "a" / "loop").symlink_to(root)
    with pytest.raises(UserError, match="link leads back"):
        ImageFolder(root)


@pytest.mark.parametrize(("data", "message"), [(b"", "empty"), (JPEG[:-20], "cut short"), (b"x" * 9, "not")])
def test_unreadable_files_are_named(tmp_path, data, message):
    plant(tmp_path, "a/1.jpg", data=data)
    with pytest.raises(UnreadableImage, match=rf"{tmp_path}/a/1\.jpg: .*{message}"):
        ImageFolder(tmp_path).read(0)


def test_a_file_that_vanished_is_unreadable(tmp_path):
    dataset = ImageFolder(plant(tmp_path, "1.jpg"))
    (tmp_path / "1.jpg").unlink()
    with pytest.raises(UnreadableImage, match="No such file"):
        dataset.read(0)


@pytest.fixture
def scans(monkeypatch):
    """Roots scanned so far."""
    seen = []

    def counted(root, extensions):
        seen.append(root)
        return scan_tree(root, extensions)

    monkeypatch.setattr(folder_module, "scan_tree", counted)
    return seen


def set_back(root):
    """Make folder times old: a change within the clock tick of a scan could not be seen."""
    for folder, _, _ in os.walk(root):
        os.utime(folder, (1, 1))


def test_the_index_is_kept_until_a_folder_changes(tmp_path, scans):
    root = plant(tmp_path / "root", "a/1.jpg", "b/c/2.jpg")
    set_back(root)

    def opened(**options):
        return ids(ImageFolder(root, cache=tmp_path / "cache", **options))

    assert opened() == opened() == ["a/1.jpg", "b/c/2.jpg"]
    assert len(scans) == 1
    plant(root, "b/c/3.jpg")  # changes the time of b/c only
    assert opened() == opened() == ["a/1.jpg", "b/c/2.jpg", "b/c/3.jpg"]
    assert len(scans) == 2
    opened(refresh=True)
    assert len(scans) == 3
    opened(extensions=[".png", ".jpg"])
    assert len(scans) == 4


def test_an_index_inside_the_root_does_not_invalidate_itself(tmp_path, scans, monkeypatch):
    monkeypatch.setattr("ferbench.data.paths.AUTO_CACHE_ITEMS", 2)
    root = plant(tmp_path / "root", "a/1.jpg", "b/2.jpg")
    set_back(root)
    assert ids(ImageFolder(root)) == ids(ImageFolder(root)) == ["a/1.jpg", "b/2.jpg"]
    assert len(scans) == 1
    assert (root / ".ferbench").is_dir()


def _first_image(dataset, queue):
    queue.put((dataset.item_id(1), dataset.read(1).shape, isinstance(dataset._tree.names.blob, SharedArray)))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_share_the_index(tmp_path, method):
    root = plant(tmp_path / "root", *(f"{i}.jpg" for i in range(3000)))
    dataset = ImageFolder(root, cache=tmp_path / "cache")
    assert len(pickle.dumps(dataset)) < 8000 + 2 * len(dataset)  # labels and paths of the files
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    worker = context.Process(target=_first_image, args=(dataset, queue))
    worker.start()
    answer = queue.get(timeout=1200)
    worker.join()
    assert answer == ("1.jpg", (8, 8, 3), True)


def by_item(dataset, codes, names):
    return {i: names[c] for i, c in zip(ids(dataset), codes.tolist(), strict=True)}


def test_classes_and_persons_from_levels_of_folders(tmp_path):
    """CK+ and Oulu as they are often cut: a folder per person, in it one per expression."""
    plant(tmp_path, "S005/happy/1.png", "S005/sad/1.png", "S010/happy/take2/1.png", "S010/contempt/1.png")
    dataset = ImageFolder(tmp_path, class_from=2, group_from=1, rename={"contempt": None})
    assert by_item(dataset, dataset.labels, dataset.classes) == {
        "S005/happy/1.png": "happy", "S005/sad/1.png": "sad", "S010/happy/take2/1.png": "happy"
    }  # fmt: skip
    assert by_item(dataset, dataset.groups, dataset.group_names) == {
        "S005/happy/1.png": "S005", "S005/sad/1.png": "S005", "S010/happy/take2/1.png": "S010"
    }  # fmt: skip
    last = ImageFolder(tmp_path, class_from=-1)
    assert last.classes == ("contempt", "happy", "sad", "take2")
    assert ImageFolder(tmp_path, class_from=1).classes == ImageFolder(tmp_path, labeled=True).classes


def test_classes_and_persons_from_patterns(tmp_path):
    """JAFFE, KDEF and RaFD: the file's name says who and what."""
    plant(tmp_path, "KA.HA1.29.jpg", "KA.SA2.30.jpg", "x/KL.HA1.158.jpg")
    dataset = ImageFolder(
        tmp_path, class_from=r"\.(HA|SA|NE)\d", group_from=r"([^/.]+)\.[^/]*$", classes=["Sad", "Happy"],
        rename={"ha": "Happy", "SA": "Sad"},
    )  # fmt: skip
    assert by_item(dataset, dataset.labels, dataset.classes) == {
        "KA.HA1.29.jpg": "Happy", "KA.SA2.30.jpg": "Sad", "x/KL.HA1.158.jpg": "Happy"
    }  # fmt: skip
    assert [dataset.group_names[g] for g in dataset.groups] == ["KA", "KA", "KL"]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("class_from", 3, r"1 images name no class, the first is 'a/b/x\.jpg'"), ("class_from", 0, "class_from=0"),
        ("group_from", -3, "1 images name no group"), ("group_from", True, "group_from=True"),
        ("class_from", 1.5, "class_from=1.5"), ("class_from", "[", "no regular expression"),
        ("class_from", "a/b", "0 groups"), ("group_from", "(a)/(b)", "2 groups"),
        ("group_from", "(z+)", "1 images name no group"),
        ("class_from", "(z*)", "1 images name no class"), ("extensions", ".jpg", r"extensions='\.jpg'"),
    ],
)  # fmt: skip
def test_paths_that_name_nothing(tmp_path, option, value, message):
    """Class: levels and patterns that are none, or that do not fit an image."""
    plant(tmp_path, "a/b/x.jpg")
    with pytest.raises(UserError, match=message):
        ImageFolder(tmp_path, **{option: value})


def test_files_left_out_for_their_ending_are_counted(tmp_path, monkeypatch):
    """Class: endings of all kinds, in small and capital letters, also none; an index keeps the counts."""
    read = ["a.jpg", "a.JFIF", "a.jpe", "a.gif", "a.Avif", "a.tif", "a.jp2"]
    plant(tmp_path, *(f"Neutral/{name}" for name in read))
    plant(
        tmp_path, "Neutral/a.heic", "Neutral/b.HEIC", "Neutral/c.heif", "Neutral/README", "Neutral/d.tar.gz"
    )
    counts = {".heic": 2, ".heif": 1, "(none)": 1, ".gz": 1}
    for _ in range(2):
        dataset = ImageFolder(tmp_path, labeled=True, cache=tmp_path / ".kept")
        assert ids(dataset) == sorted(f"Neutral/{name}" for name in read)
        assert dataset.summary() == {"kept": 7, "dropped_classes": 0, "other_endings": counts}
        monkeypatch.setattr(folder_module, "scan_tree", lambda *_: pytest.fail("scanned anew"))
    monkeypatch.undo()
    plant(tmp_path, *(f"many/frame.{i:05d}" for i in range(300)))
    assert ImageFolder(tmp_path).other_endings["others"] > 100
    with pytest.raises(UserError, match=r"no images, but files that end in \.heic 2"):
        ImageFolder(tmp_path / "Neutral", extensions=[".bmp"])


def test_a_link_in_a_circle_is_an_unreadable_image(tmp_path):
    plant(tmp_path, "a.jpg")
    (tmp_path / "b.jpg").symlink_to("b.jpg")
    (tmp_path / "c").symlink_to("c")
    dataset = ImageFolder(tmp_path)
    assert ids(dataset) == ["a.jpg", "b.jpg"]
    with pytest.raises(UnreadableImage, match=r"b\.jpg: Too many levels"):
        dataset.read(1)


def test_a_class_in_two_codings_of_its_accent_is_one(tmp_path):
    plant(tmp_path, "de\u0301gou\u0302t/1.jpg")
    assert ImageFolder(tmp_path, labeled=True, classes=["d\u00e9go\u00fbt"]).labels.tolist() == [0]
