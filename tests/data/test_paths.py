import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferbench.data.paths import AUTO_CACHE_ITEMS, IndexCache, PathArray, SharedArray
from ferbench.errors import UserError

NAMES = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=20)


@given(NAMES)
def test_strings_come_back(strings):
    paths = PathArray.from_strings(iter(strings))
    assert list(paths) == strings
    assert len(paths) == len(strings)
    assert [paths[-i - 1] for i in range(len(strings))] == strings[::-1]
    assert paths[1:3] == strings[1:3]
    assert list(pickle.loads(pickle.dumps(paths))) == strings


@given(NAMES)
def test_duplicate_is_found_exactly_when_there_is_one(strings):
    pair = PathArray.from_strings(strings).duplicate()
    if pair is None:
        assert len(set(strings)) == len(strings)
    else:
        assert pair[0] < pair[1]
        assert strings[pair[0]] == strings[pair[1]]


def test_bounds_and_size():
    paths = PathArray.from_strings(["ab", "", "ç"])
    assert paths.nbytes == 4 + 4 * 4  # UTF-8 bytes and four 32-bit offsets
    for index in (3, -4):
        with pytest.raises(IndexError):
            paths[index]


def test_an_index_is_used_again_only_under_its_signature(tmp_path):
    cache = IndexCache(tmp_path / "data", "kind", tmp_path / "cache")
    assert cache.load({"size": 1}) is None
    saved = cache.save({"size": 1}, {"numbers": np.arange(5)}, count=5)
    assert isinstance(saved["numbers"], SharedArray)
    again = cache.load({"size": 1})
    assert again["numbers"].tolist() == [0, 1, 2, 3, 4]
    assert cache.load({"size": 2}) is None
    assert IndexCache(tmp_path / "data", "other kind", tmp_path / "cache").load({"size": 1}) is None
    assert IndexCache(tmp_path / "other data", "kind", tmp_path / "cache").load({"size": 1}) is None


def test_saving_again_replaces_the_files_and_leaves_nothing_else(tmp_path):
    cache = IndexCache(tmp_path, "kind", tmp_path / "cache")
    old = cache.save({}, {"numbers": np.arange(5)}, count=5)["numbers"]
    cache.save({}, {"numbers": np.arange(6)}, count=6)
    folder = cache.places[0]
    assert len(list(folder.iterdir())) == 2  # one array, index.json
    assert len(cache.load({})["numbers"]) == 6
    assert old.tolist() == [0, 1, 2, 3, 4]  # who mapped the old file keeps it
    with pytest.raises(UserError, match="cannot be opened"):
        pickle.loads(pickle.dumps(old))


def test_a_damaged_index_counts_as_none(tmp_path):
    cache = IndexCache(tmp_path, "kind", tmp_path / "cache")
    cache.save({}, {"numbers": np.arange(5)}, count=5)
    (array_file,) = cache.places[0].glob("*.npy")
    array_file.write_bytes(array_file.read_bytes()[:-8])
    assert cache.load({}) is None
    (cache.places[0] / "index.json").write_text("{")
    assert cache.load({}) is None


def test_the_pickle_of_a_mapped_array_is_its_path(tmp_path):
    saved = IndexCache(tmp_path, "kind", tmp_path).save({}, {"numbers": np.arange(10_000)}, count=1)[
        "numbers"
    ]
    data = pickle.dumps(saved)
    assert len(data) < 400
    copy = pickle.loads(data)
    assert isinstance(copy, SharedArray)
    assert np.array_equal(copy, np.arange(10_000))
    part = pickle.loads(pickle.dumps(saved[2:5]))  # a slice is data, not the file
    assert part.tolist() == [2, 3, 4]
    assert type(part) is np.ndarray


def test_auto_keeps_only_large_indexes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    cache = IndexCache(tmp_path, "kind", "auto")
    numbers = {"numbers": np.arange(3)}
    assert cache.save({}, numbers, AUTO_CACHE_ITEMS - 1)["numbers"] is numbers["numbers"]
    assert list(tmp_path.iterdir()) == []
    cache.save({}, numbers, AUTO_CACHE_ITEMS)
    assert [p.name for p in tmp_path.iterdir()] == [".ferbench"]
    assert cache.load({})["numbers"].tolist() == [0, 1, 2]


def test_auto_goes_to_the_users_cache_when_the_data_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    not_a_folder = tmp_path / "data"
    not_a_folder.write_text("")
    IndexCache(not_a_folder, "kind", "auto").save({}, {"numbers": np.arange(3)}, AUTO_CACHE_ITEMS)
    assert list((tmp_path / "home" / "ferbench").iterdir())
    assert IndexCache(not_a_folder, "kind", "auto").load({})["numbers"].tolist() == [0, 1, 2]


def test_none_keeps_nothing(tmp_path):
    numbers = np.arange(3)
    cache = IndexCache(tmp_path, "kind", None)
    assert cache.save({}, {"numbers": numbers}, 10**9)["numbers"] is numbers
    assert cache.load({}) is None
    assert list(tmp_path.iterdir()) == []


def test_a_named_cache_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    cache = IndexCache(tmp_path, "kind", tmp_path / "file" / "cache")
    with pytest.raises(UserError, match="index cannot be written"):
        cache.save({}, {"numbers": np.arange(3)}, 3)


def test_no_space_leaves_no_half_written_index(tmp_path, monkeypatch):
    def full(file, array):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    cache = IndexCache(tmp_path, "kind", tmp_path / "cache")
    with pytest.raises(UserError, match="No space left"):
        cache.save({}, {"numbers": np.arange(3)}, 3)
    assert list(cache.places[0].iterdir()) == []


class TestKeptIndex:
    """What was kept is verified each time: a flipped byte anywhere, another file under the name, a foreign structure."""

    @pytest.fixture
    def cache(self, tmp_path):
        cache = IndexCache(tmp_path, "kind", tmp_path / "cache")
        cache.save({"size": 1}, {"numbers": np.arange(500)}, count=500)
        return cache

    @pytest.mark.parametrize("at", [0, 3, 9, 30, 60, 70, 127, 128, 2000, -1])
    def test_a_flipped_byte(self, at, cache):
        (file,) = cache.places[0].glob("*.npy")
        content = bytearray(file.read_bytes())
        content[at] ^= 0x41
        file.write_bytes(content)
        assert cache.load({"size": 1}) is None

    def test_every_byte_of_the_data_counts(self, cache):
        (file,) = cache.places[0].glob("*.npy")
        whole = file.read_bytes()
        for at in range(128, len(whole), 97):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            assert cache.load({"size": 1}) is None
        file.write_bytes(whole)
        assert cache.load({"size": 1})["numbers"].tolist() == list(range(500))

    @pytest.mark.parametrize("content", [
        "[]", "null", '"text"', "{}", '{"signature": {"size": 1}}', '{"signature": {"size": 1}, "arrays": []}',
        '{"signature": {"size": 1}, "arrays": {"numbers": 3}}', '{"signature": {"size": 1}, "arrays": {"numbers": "../x.npy"}}',
        '{"signature": {"size": 1}, "arrays": {"numbers": "numbers-\\u0000.npy"}}', "[" * 100_000, '{"a":' * 100_000,
        '{"signature": ' + "9" * 5000 + "}", "\ufeff{", "\x00",
    ])  # fmt: skip
    def test_an_index_file_of_another_structure(self, content, cache):
        (cache.places[0] / "index.json").write_text(content)
        assert cache.load({"size": 1}) is None

    def test_bytes_that_are_no_text(self, cache):
        (cache.places[0] / "index.json").write_bytes(b'{"signature": "\xff"}')
        assert cache.load({"size": 1}) is None

    @pytest.mark.parametrize("kind", ["pickle", "zip", "huge"])
    def test_an_array_file_of_another_kind(self, kind, cache):
        (file,) = cache.places[0].glob("*.npy")
        if kind == "pickle":
            np.save(file, np.array([{}], object), allow_pickle=True)
        elif kind == "zip":
            with open(file, "wb") as stream:
                np.savez(stream, numbers=np.arange(3))
        else:
            file.write_bytes(file.read_bytes().replace(b"(500,)", b"(9e9,)"))
        assert cache.load({"size": 1}) is None

    def test_a_content_that_the_data_set_refuses(self, cache):
        def refuse(arrays):
            raise ValueError("no index of these data")

        assert cache.load({"size": 1}, refuse) is None
        assert cache.load({"size": 1}, lambda arrays: None) is not None


@pytest.mark.parametrize(("blob", "offsets"), [
    (b"abc", [0, 2]), (b"abc", [1, 3]), (b"abc", [0, 2, 1, 3]), (b"abc", [0, 4]), (b"abc", []), (b"abc", [0.0, 3.0]),
    (b"\xff\xfe", [0, 2]), ("ç".encode(), [0, 1, 2]), ("ab😀".encode(), [0, 2, 4, 6]), ("ç".encode()[:1], [0, 1]),
    (b"abc", [[0, 3]]), (b"abc", [0, -1, 3]),
])  # fmt: skip
def test_arrays_that_are_no_strings(blob, offsets):
    kept = PathArray(np.frombuffer(blob, np.uint8), np.array(offsets))
    with pytest.raises(ValueError, match=r"string|utf-8"):
        kept.check()


@given(NAMES)
def test_packed_strings_pass_the_check(strings):
    PathArray.from_strings(strings).check()
