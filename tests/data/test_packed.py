"""Images in one file: InsightFace's pickles, npz, and, where their packages are installed, Parquet and LMDB."""

import contextlib
import json
import os
import pickle
import zipfile

import cv2
import numpy as np
import pytest

from ferbench.data import paths
from ferbench.data.datasets import packed
from ferbench.data.datasets.lmdb_images import LmdbImages
from ferbench.data.datasets.npz import NpzImages
from ferbench.data.datasets.opening import opened
from ferbench.data.datasets.packed import InsightFaceBin, ParquetImages
from ferbench.data.io import UnreadableImage
from ferbench.errors import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
PNGS = [cv2.imencode(".png", image[..., ::-1])[1].tobytes() for image in IMAGES]


def ids(dataset):
    return dataset.item_ids(np.arange(len(dataset)))


def by_item(dataset, codes, names):
    return {i: names[c] if c >= 0 else None for i, c in zip(ids(dataset), codes.tolist(), strict=True)}


def holds(dataset, rows):
    return all(np.array_equal(dataset.read(i), IMAGES[row]) for i, row in enumerate(rows))


class TestInsightFaceBin:
    @pytest.mark.parametrize("protocol", range(6))
    @pytest.mark.parametrize("kind", ["bytes", "arrays", "scalars"])
    def test_written_as_others_write_it(self, tmp_path, protocol, kind):
        """Class: all protocols; images as bytes or arrays of bytes; truth values of Python or NumPy."""
        bins = PNGS if kind != "arrays" else [np.frombuffer(png, np.uint8) for png in PNGS]
        same = [True, False, True] if kind == "bytes" else list(np.array([True, False, True]))
        (tmp_path / "lfw.bin").write_bytes(pickle.dumps((bins, same), protocol))
        dataset = opened(InsightFaceBin(tmp_path / "lfw.bin"), "here")
        assert (dataset.name, ids(dataset), dataset.labels.tolist()) == ("lfw", list("012345"), [-1] * 6)
        assert holds(dataset, range(6))
        assert dataset.where(2) == f"{tmp_path}/lfw.bin, image 2"

    def test_python_2_wrote_the_released_files(self, tmp_path):
        def text(data):  # a `str` of Python 2: opcode T
            return b"T" + len(data).to_bytes(4, "little") + data

        body = b"\x80\x02](" + b"".join(map(text, PNGS)) + b"e](\x88\x89\x88e\x86."
        (tmp_path / "lfw.bin").write_bytes(body)
        assert holds(InsightFaceBin(tmp_path / "lfw.bin"), range(6))

    def test_no_code_is_run(self, tmp_path):
        """Class: pickles that call something."""

        class Evil:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "made"),)

        for number, hostile in enumerate([Evil(), ([Evil(), b""], [True]), (PNGS, [Evil()] * 3)]):
            file = tmp_path / f"{number}.bin"
            file.write_bytes(pickle.dumps(hostile))
            with pytest.raises(UserError, match=r"posix.mkdir, which is not read"):
                InsightFaceBin(file)
        assert not (tmp_path / "made").exists()

    @pytest.mark.parametrize(
        "content",
        [
            b"", b"hello", pickle.dumps(5),
            pickle.dumps(([], [])), pickle.dumps((PNGS, [True])),
            pickle.dumps((["a", "b"], [True])),
            pickle.dumps((PNGS, [True] * 3))[:200], pickle.dumps({}), pickle.dumps((PNGS, None)),
            b"(" * 10_000, b"\x80\x04r\xff\xff\xff\x7f.",
        ],
        ids=range(11),
    )  # fmt: skip
    def test_other_files_are_one_message(self, tmp_path, content):
        (tmp_path / "x.bin").write_bytes(content)
        with pytest.raises(UserError, match="no verification set of InsightFace"):
            InsightFaceBin(tmp_path / "x.bin")

    @pytest.mark.parametrize("kind", ["missing", "folder", "FIFO"])
    def test_no_file(self, tmp_path, kind):
        path = tmp_path / "x.bin"
        if kind == "folder":
            path.mkdir()
        elif kind == "FIFO":
            os.mkfifo(path)
        with pytest.raises(UserError, match="cannot be read"):
            InsightFaceBin(path)


class TestNpz:
    def test_labels_groups_and_grey_images(self, tmp_path):
        file = tmp_path / "faces.npz"
        np.savez(
            file, x=IMAGES[..., 0], y=[[1], [0], [2], [-1], [1], [0]], who=["a", "b", "b", "c", "a", "c"]
        )
        dataset = opened(
            NpzImages(file, "x", "y", "who", classes=["Sad", "Happy"], source_classes=["sad", "happy", "calm"],
                      rename={"calm": None}),
            "here",
        )  # fmt: skip
        assert by_item(dataset, dataset.labels, dataset.classes) == {
            "0": "Happy", "1": "Sad", "3": None, "4": "Happy", "5": "Sad"
        }  # fmt: skip
        assert [dataset.group_names[g] for g in dataset.groups] == ["a", "b", "c", "a", "c"]
        assert np.array_equal(dataset.read(2), np.stack([IMAGES[3, ..., 0]] * 3, -1))

    def test_names_and_colours(self, tmp_path):
        np.savez_compressed(tmp_path / "faces.npz", images=IMAGES, labels=["b", "a", "", "a", "b", "b"])
        dataset = NpzImages(tmp_path / "faces.npz")
        assert by_item(dataset, dataset.labels, dataset.classes) == dict(
            zip("012345", ["b", "a", None, "a", "b", "b"], strict=True)
        )
        assert holds(dataset, range(6))
        with pytest.raises(UserError, match=r"no array 'label'(.|\n)*one of images, labels"):
            NpzImages(tmp_path / "faces.npz", labels="label")
        assert NpzImages(tmp_path / "faces.npz", labels=None).classes == ()

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            (dict(images=IMAGES.astype(np.float32) / 255), "'images' is float32"),
            (dict(images=IMAGES[0, 0]), r"shape \(8, 3\)"),
            (dict(images=IMAGES.transpose(0, 3, 1, 2)), r"shape \(6, 3, 8, 8\)"),
            (dict(labels=np.zeros(5, int)), r"shape \(5,\)"),
            (dict(labels=np.zeros(6)), "'labels' is float64"), (dict(labels=np.array([object()] * 6)), "Object arrays"),
            (dict(labels=np.full(6, 9)), r"label '9' is out of range(.|\n)*labels\[0\]"),
        ],
    )  # fmt: skip
    def test_wrong_arrays(self, tmp_path, arrays, message):
        np.savez(tmp_path / "x.npz", **{"images": IMAGES, "labels": np.zeros(6, int), **arrays})
        with pytest.raises(UserError, match=message):
            NpzImages(tmp_path / "x.npz", source_classes=["a"])

    def test_other_files_are_one_message(self, tmp_path):
        """Class: no zip, a zip of something else, one that is cut short or damaged, a single array, a pickle."""
        np.savez(tmp_path / "good.npz", images=IMAGES, labels=np.zeros(6, int))
        good = (tmp_path / "good.npz").read_bytes()
        with zipfile.ZipFile(tmp_path / "other.npz", "w") as file:
            file.writestr("images.npy", b"no array")
            file.writestr("labels.npy", b"")
        np.save(tmp_path / "single.npy", IMAGES)
        flipped = bytearray(good)
        flipped[300] ^= 0xFF
        for number, content in enumerate(
            [b"", b"PK", good[:-40], good[:200], bytes(flipped), pickle.dumps(5)]
        ):
            (tmp_path / f"{number}.npz").write_bytes(content)
        for file in set(tmp_path.iterdir()) - {tmp_path / "good.npz"}:
            with pytest.raises(UserError, match="npz file cannot be read"):
                NpzImages(file, source_classes=["a"])


def test_a_missing_package_is_one_message(monkeypatch, tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    monkeypatch.setitem(__import__("sys").modules, "lmdb", None)
    with pytest.raises(UserError, match=r"pyarrow is not installed(.|\n)*pip install 'ferbench\[pyarrow\]'"):
        ParquetImages(tmp_path / "x.parquet")
    (tmp_path / "data.mdb").write_bytes(b"")
    with pytest.raises(UserError, match=r"lmdb is not installed(.|\n)*pip install 'ferbench\[lmdb\]'"):
        LmdbImages(tmp_path)


class TestParquet:
    @pytest.fixture
    def write(self, tmp_path):
        arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")

        def write(name="train.parquet", metadata=None, **columns):
            table = arrow.table(columns)
            if metadata is not None:
                table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
            parquet.write_table(table, tmp_path / name, row_group_size=2)
            return tmp_path / name

        return write

    def test_as_hugging_face_writes_it(self, write):
        names = {"info": {"features": {"label": {"names": ["sad", "happy"], "_type": "ClassLabel"}}}}
        images = [{"bytes": png, "path": f"{i}.png"} for i, png in enumerate(PNGS)]
        path = write(metadata=names, image=images, label=[1, 0, -1, None, 1, 0], who=list("aabbcc"))
        dataset = opened(ParquetImages(path, group_column="who"), "here")
        assert by_item(dataset, dataset.labels, dataset.classes) == dict(
            zip("012345", ["happy", "sad", None, None, "happy", "sad"], strict=True)
        )
        assert [dataset.group_names[g] for g in dataset.groups] == list("aabbcc")
        assert holds(dataset, range(6))

    def test_a_folder_of_files_names_and_an_index(self, write, tmp_path, monkeypatch):
        write("b.parquet", picture=PNGS[3:], emotion=["x", "y", "x"])
        write("a.parquet", picture=PNGS[:3], emotion=["y", "", None])
        monkeypatch.setattr(paths, "AUTO_CACHE_ITEMS", 2)
        for _ in range(2):
            dataset = ParquetImages(tmp_path, "picture", "emotion", rename={"x": None})
            assert by_item(dataset, dataset.labels, dataset.classes) == {
                "0": "y",
                "1": None,
                "2": None,
                "4": "y",
            }
            assert holds(dataset, [0, 1, 2, 4])
            monkeypatch.setattr(packed, "_Table", lambda *_: pytest.fail("read again"))

    @pytest.mark.parametrize(
        ("columns", "options", "message"),
        [
            (dict(picture=PNGS), {}, r"no column 'image'(.|\n)*one of picture(.|\n)*`image_column`"),
            (dict(image=["a.jpg"], label=[0]), {}, "row 0(.|\n)*not their paths"),
            (dict(image=[PNGS[0], None], label=["a", "b"]), {}, "NoneType(.|\n)*row 1"),
            (dict(image=PNGS[:1], label=[7]), dict(source_classes=["a"]), "label '7' is out of range"),
            (dict(image=PNGS[:1], who=[None]), dict(label_column=None, group_column="who"), "no 'who'"),
            (dict(image=PNGS[:0], label=[]), {}, "no rows"),
        ],
    )
    def test_wrong_tables(self, write, columns, options, message):
        with pytest.raises(UserError, match=message):
            ParquetImages(write(**columns), **options)

    def test_other_files_are_one_message(self, write, tmp_path):
        good = write(image=PNGS, label=list("aabbcc")).read_bytes()
        for number, content in enumerate([b"", b"PAR1", good[:-10], good[: len(good) // 2]]):
            (tmp_path / f"{number}.parquet").write_bytes(content)
            with pytest.raises(UserError, match="cannot be read"):
                ParquetImages(tmp_path / f"{number}.parquet")

    def test_damage_is_one_message_or_another_image(self, write, tmp_path):
        good, rng = write(image=PNGS, label=list("aabbcc")).read_bytes(), np.random.default_rng(0)
        for _ in range(100):
            damaged = bytearray(good)
            for at in rng.integers(0, len(good), 3):
                damaged[at] = rng.integers(256)
            (tmp_path / "x.parquet").write_bytes(damaged)
            with contextlib.suppress(UserError, UnreadableImage):
                ParquetImages(tmp_path / "x.parquet", cache=None).read(0)


class TestLmdb:
    @pytest.fixture
    def write(self, tmp_path):
        lmdb = pytest.importorskip("lmdb", reason="lmdb is not installed")

        def write(items, subdir=True):
            path = tmp_path / "faces.lmdb"
            with (
                lmdb.open(str(path), subdir=subdir, map_size=1 << 24) as database,
                database.begin(write=True) as change,
            ):
                for key, value in items.items():
                    change.put(key, value)
            return path

        return write

    @pytest.mark.parametrize("subdir", [True, False])
    def test_keys_name_class_and_person(self, write, subdir, monkeypatch):
        keys = [b"happy/p1_1", b"happy/p2_1", b"sad/p1_1", b"sad/p1_2", b"calm/p3_1"]
        path = write({**dict(zip(keys, PNGS, strict=False)), b"__len__": b"5"}, subdir)
        monkeypatch.setattr(paths, "AUTO_CACHE_ITEMS", 2)
        for _ in range(2):
            dataset = opened(LmdbImages(path, r"^([^/]+)/", r"/(\w+)_", rename={"calm": None}), "here")
            assert by_item(dataset, dataset.labels, dataset.classes) == {
                "happy/p1_1": "happy", "happy/p2_1": "happy", "sad/p1_1": "sad", "sad/p1_2": "sad"
            }  # fmt: skip
            assert [dataset.group_names[g] for g in dataset.groups] == ["p1", "p2", "p1", "p1"]
            assert holds(dataset, range(4))
            monkeypatch.setattr(LmdbImages, "_list", lambda self: pytest.fail("listed again"))
        again = pickle.loads(pickle.dumps(dataset))
        assert holds(again, range(4))

    def test_keys_that_are_no_text(self, write):
        dataset = LmdbImages(write({i.to_bytes(4, "big") + b"\xff": png for i, png in enumerate(PNGS)}))
        assert ids(dataset)[1] == "00000001ff"
        assert holds(dataset, range(6))

    def test_a_forked_worker_opens_its_own(self, write):
        dataset = LmdbImages(write({b"%d" % i: png for i, png in enumerate(PNGS)}))
        dataset.read(0)
        child = os.fork()
        if not child:
            os._exit(0 if holds(dataset, range(6)) else 1)
        assert os.waitpid(child, 0)[1] == 0

    def test_broken_databases_are_one_message(self, write, tmp_path):
        path = write({b"%d" % i: png * 100 for i, png in enumerate(PNGS)})
        data = (path / "data.mdb").read_bytes()
        for number, content in enumerate([b"", b"hello" * 5000, data[: len(data) // 2], data[:4096]]):
            folder = tmp_path / str(number)
            folder.mkdir()
            (folder / "data.mdb").write_bytes(content)
            with pytest.raises(UserError, match=r"cut short|cannot be opened|no images"):
                LmdbImages(folder)
        with pytest.raises(UserError, match="cannot be read"):
            LmdbImages(tmp_path / "missing")
        with pytest.raises(UserError, match="name no class"):
            LmdbImages(path, class_from="(z)")

    def test_damaged_pages_are_one_message(self, write):
        """The library ends its process for some of them (an assertion, a bus error); this one must live."""
        path = write({b"c/%05d.jpg" % i: bytes(100 + i) for i in range(300)})
        whole = bytearray((path / "data.mdb").read_bytes())
        said = []
        for at, value in ((16396, 127), (69642, 0), (81930, 0), (81937, 127), (57359, 255), (24586, 127)):
            damaged = whole.copy()
            damaged[at] = value
            (path / "data.mdb").write_bytes(damaged)
            try:
                LmdbImages(path, cache=None)
            except UserError as error:
                said.append(error.what)
        assert all(what.startswith("the LMDB database is damaged") for what in said)
        assert any("ended a process" in what for what in said)

    def test_values_that_are_no_images(self, write):
        with pytest.raises(UserError, match="no image can be read"):
            opened(LmdbImages(write({b"a": pickle.dumps((PNGS[0], 1))})), "here")
