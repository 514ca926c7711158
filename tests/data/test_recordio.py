import multiprocessing
import os
import pickle
import struct

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferbench.data.datasets.recordio import RecordIO, last_image_key
from ferbench.data.io import UnreadableImage
from ferbench.data.paths import SharedArray
from ferbench.data.recordio_file import (
    MAGIC,
    BrokenRecord,
    RecordFile,
    read_index,
    rebuild_index,
    write_recordio,
)
from ferbench.errors import UserError
from ferbench.registry import DATASETS

SHADES = [10, 60, 110, 160, 210]


def jpeg(shade):
    return cv2.imencode(".jpg", np.full((8, 8, 3), shade, np.uint8))[1].tobytes()


def shade_of(image):
    return int(np.round(image.mean(), -1))


def by_hand(path, records):
    """A .rec and .idx written with struct alone: ``records`` are (key, labels, image)."""
    data, lines = b"", []
    for key, labels, image in records:
        lines.append(f"{key}\t{len(data)}\n")
        if isinstance(labels, list):
            payload = struct.pack(f"<IfQQ{len(labels)}f", len(labels), 0, key, 0, *labels)
        else:
            payload = struct.pack("<IfQQ", 0, labels, key, 0)
        payload += image
        data += struct.pack("<II", 0xCED7230A, len(payload)) + payload + b"\0" * (-len(payload) % 4)
    path.with_suffix(".rec").write_bytes(data)
    path.with_suffix(".idx").write_text("".join(lines))
    return path.with_suffix(".rec")


@pytest.fixture
def insightface(tmp_path):
    images = [(k + 1, 0.0 if k < 3 else 1.0, jpeg(s)) for k, s in enumerate(SHADES)]
    return by_hand(
        tmp_path / "train", [(0, [6.0, 8.0], b""), *images, (6, [1.0, 4.0], b""), (7, [4.0, 6.0], b"")]
    )


@pytest.fixture
def im2rec(tmp_path):
    order = [3, 0, 4, 1, 2]
    return by_hand(tmp_path / "train", [(k, 1.0, jpeg(SHADES[k])) for k in order])


def test_insightface_layout(insightface):
    dataset = DATASETS.build({"type": "RecordIO", "path": str(insightface.parent)})
    assert dataset.item_ids(range(len(dataset))) == ["1", "2", "3", "4", "5"]
    assert [shade_of(dataset.read(i)) for i in range(5)] == SHADES
    assert dataset.labels.tolist() == [-1] * 5
    assert dataset.where(0) == f"{insightface}: record 1 at byte 40"
    assert len(RecordIO(insightface, layout="insightface")) == 5


def test_im2rec_layout_is_read_in_key_order(im2rec):
    dataset = RecordIO(im2rec)
    assert dataset.item_ids(range(len(dataset))) == ["0", "1", "2", "3", "4"]
    assert [shade_of(dataset.read(i)) for i in range(5)] == SHADES
    with pytest.raises(UserError, match="not the header of an InsightFace file"):
        RecordIO(im2rec, layout="insightface")


@pytest.mark.parametrize("layout", ["insightface", "im2rec"])
def test_the_writer_makes_what_is_written_by_hand(tmp_path, layout, request):
    images, identities = (jpeg(s) for s in SHADES), [0, 0, 0, 1, 1]
    expected = request.getfixturevalue("insightface").read_bytes()
    if layout == "im2rec":
        records = [(k, float(identities[k]), jpeg(s)) for k, s in enumerate(SHADES)]
        expected = by_hand(tmp_path / "by_hand", records).read_bytes()
    rec = tmp_path / "written.rec"
    assert write_recordio(rec, images, layout, identities) == 5
    assert rec.read_bytes() == expected
    assert [shade_of(RecordIO(rec).read(i)) for i in range(5)] == SHADES


def test_the_writer_leaves_nothing_half_written(tmp_path):
    def breaking():
        yield jpeg(0)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_recordio(tmp_path / "a.rec", breaking())
    with pytest.raises(ValueError, match="identity 0 comes back at image 3"):
        write_recordio(tmp_path / "a.rec", [jpeg(0)] * 3, identities=[0, 1, 0])
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.sampled_from([MAGIC, b"ab", b"\x0a\x23", b"abcd", b"\0"]), max_size=12))
def test_payloads_with_the_magic_number_inside(tmp_path_factory, pieces):
    image = b"".join(pieces)
    rec = tmp_path_factory.mktemp("rec") / "a.rec"
    write_recordio(rec, [image, b"after"], "im2rec")
    records = RecordFile(rec)
    offsets = read_index(rec.with_suffix(".idx"))[1]
    assert [records.read(int(o)).image for o in offsets] == [image, b"after"]
    assert list(records.spans()) == [(int(o), k) for k, o in enumerate(offsets)]
    aligned = [i for i in range(0, rec.stat().st_size, 4) if rec.read_bytes()[i : i + 4] == MAGIC]
    parts = 2 + sum(image[i : i + 4] == MAGIC for i in range(0, len(image), 4))
    assert len(aligned) == parts  # the magic number stands nowhere but at the head of a part


def test_multi_part_record_by_hand(tmp_path):
    payload = struct.pack("<IfQQ", 0, 0, 0, 0) + b"left"
    data = MAGIC + struct.pack("<I", 1 << 29 | len(payload)) + payload
    data += MAGIC + struct.pack("<I", 2 << 29)  # two magic numbers adjoined: an empty middle part
    data += MAGIC + struct.pack("<I", 3 << 29 | 5) + b"right\0\0\0"
    (tmp_path / "a.rec").write_bytes(data)
    assert RecordFile(tmp_path / "a.rec").read(0).image == b"left" + MAGIC + MAGIC + b"right"
    (tmp_path / "a.rec").write_bytes(data[: len(payload) + 8] * 2)  # a first part after a first part
    with pytest.raises(BrokenRecord, match="unexpected flag 1"):
        RecordFile(tmp_path / "a.rec").read(0)


def test_a_large_record_takes_more_than_one_read(tmp_path):
    image = np.random.default_rng(0).bytes(100_001)
    write_recordio(tmp_path / "a.rec", [image, b"x"], "im2rec")
    assert RecordFile(tmp_path / "a.rec").read(0).image == image


def test_cut_short(insightface):
    data = insightface.read_bytes()
    insightface.write_bytes(data[:-4])
    with pytest.raises(UserError, match="cut short: 1 of 8 records"):
        RecordIO(insightface)
    insightface.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"cut short: [2-7] of 8 records(.|\n)*train\.rec"):
        RecordIO(insightface)
    insightface.write_bytes(b"")
    with pytest.raises(UserError, match="cut short: 8 of 8"):
        RecordIO(insightface)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "index is empty"),
        ("0\t0\n1\tx\n2\t9\n", r"broken: b'1\\tx\\n'(.|\n)*train\.idx:2"),
        ("0\t0\n1\n2\t80\n", r"broken: b'1\\n'(.|\n)*train\.idx:2"),
        ("0\t0\n1\t2\t3\n4\t5\n6\n", r"broken: b'1\\t2\\t3\\n'(.|\n)*train\.idx:2"),
        ("0\t0\n1\n2\t3\t40\n", r"broken: b'1\\n'(.|\n)*train\.idx:2"),
        ("0\t0\n\n1\t40\n", r"broken: b'\\n'(.|\n)*train\.idx:2"),
        ("0\t0\n1\t40\n2\t40\n", r"byte offset 40 comes twice(.|\n)*train\.idx:3"),
        *(
            (f"0\t0\n1\t{number}\n", r"broken(.|\n)*train\.idx:2")
            for number in ("+40", "4_0", "40.0", "\u0664\u0660", "9" * 19, "9" * 30, "nan", "40\v", "40\0")
        ),
        ("0\t0\r1\t40\r", r"train\.idx:1"),
        ("0\t0\n" + " " * 3_000_000, r"train\.idx:2"),
        ("0\t0\n1\t-40\n", r"train\.idx:2"),
        ("0\t0\n1\t40\n1\t44\n", r"key 1 comes twice(.|\n)*train\.idx:3"),
        ("\x00\x01\x02", r"broken(.|\n)*train\.idx:1"),
        ("0\t0\n1\t40\n", "lists 1 of the 5 images"),
        ("0\t0\n1\t44\n2\t48\n3\t52\n4\t56\n5\t60\n", "does not fit the records: no record starts at byte"),
    ],
)
def test_broken_index(insightface, text, message):
    insightface.with_suffix(".idx").write_text(text)
    with pytest.raises(UserError, match=message):
        RecordIO(insightface)
    assert [shade_of(RecordIO(insightface, rebuild_index=True).read(i)) for i in range(5)] == SHADES


def test_an_index_with_other_line_ends_and_order(im2rec):
    """CR LF, no last line end, blanks for tabs and shuffled keys change nothing."""
    lines = im2rec.with_suffix(".idx").read_text().splitlines()
    im2rec.with_suffix(".idx").write_bytes(
        "\r\n".join(line.replace("\t", "  ") for line in lines[::-1]).encode()
    )
    assert [shade_of(RecordIO(im2rec).read(i)) for i in range(5)] == SHADES


def test_an_index_that_was_cut_at_a_line_end_is_said(im2rec, caplog):
    """It is as good as an index of some of the records, which may be meant: a warning, no error."""
    RecordIO(im2rec)
    RecordIO(im2rec, rebuild_index=True)
    assert not caplog.records
    lines = im2rec.with_suffix(".idx").read_text().splitlines(True)
    im2rec.with_suffix(".idx").write_text("".join(lines[:3]))
    assert len(RecordIO(im2rec)) == 3
    assert "goes on for" in caplog.text
    assert "rebuild_index=True" in caplog.text


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, -3.0, 0.0, 1.0, 2.5, 1e19, 3.4e38])
def test_a_header_record_that_announces_no_number_of_images(tmp_path, number):
    rec = by_hand(tmp_path / "a", [(0, [number, number], b""), (1, 0.0, jpeg(9))])
    for rebuild in (False, True):
        with pytest.raises(UserError, match=r"record 0 announces(.|\n)*a\.rec: record 0"):
            RecordIO(rec, rebuild_index=rebuild)


@pytest.mark.parametrize("number", [7.0, 2.0**30, 2.0**62])
def test_a_header_record_that_announces_more_images_than_there_are(tmp_path, number):
    rec = by_hand(tmp_path / "a", [(0, [number, number], b""), (1, 0.0, jpeg(9))])
    with pytest.raises(UserError, match=r"the index lists 1 of the \d+ images"):
        RecordIO(rec)


@pytest.mark.parametrize("rebuild", [False, True])
def test_a_file_without_records(tmp_path, rebuild):
    for name in ("a.rec", "a.idx"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"holds no records|index is empty"):
        RecordIO(tmp_path / "a.rec", rebuild_index=rebuild)
    (tmp_path / "a.idx").write_text("0\t0\n")
    if not rebuild:
        with pytest.raises(UserError, match="cut short"):
            RecordIO(tmp_path / "a.rec")


@pytest.mark.parametrize("identity", [2**63, 2**64 - 1])
def test_ids_beyond_63_bits(tmp_path, identity):
    rec = by_hand(tmp_path / "a", [(identity, 0.0, jpeg(9))])
    with pytest.raises(UserError, match=f"record at byte 0 has the id {identity}"):
        RecordIO(rec, rebuild_index=True)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "a.rec")
    (tmp_path / "a.idx").mkdir()
    (tmp_path / "b.rec").write_bytes(b"x")
    (tmp_path / "b.idx").mkdir()
    for path in ("a.rec", "b.rec"):
        with pytest.raises(UserError, match="is no file"):
            RecordIO(tmp_path / path)
    with pytest.raises(UserError, match="null"):
        RecordIO(tmp_path / "a\0.rec")


def test_missing_files(insightface, tmp_path):
    expected = insightface.with_suffix(".idx").read_text()
    insightface.with_suffix(".idx").unlink()
    with pytest.raises(UserError, match=r"missing(.|\n)*train\.idx(.|\n)*rebuild_index=True"):
        RecordIO(insightface)
    assert len(RecordIO(insightface, rebuild_index=True)) == 5
    assert not insightface.with_suffix(".idx").exists()
    assert rebuild_index(insightface).read_text() == expected
    assert len(RecordIO(insightface)) == 5
    with pytest.raises(UserError, match=r"cannot be opened(.|\n)*other\.rec"):
        RecordIO(tmp_path / "other.rec")
    with pytest.raises(UserError, match="layout='mxnet' is not known"):
        RecordIO(insightface, layout="mxnet")


def test_ids_that_repeat_are_replaced_by_positions(tmp_path):
    rec = by_hand(tmp_path / "a", [(0, 0.0, jpeg(s)) for s in SHADES])
    dataset = RecordIO(rec, rebuild_index=True)
    assert dataset.item_ids(range(5)) == ["0", "1", "2", "3", "4"]
    assert [shade_of(dataset.read(i)) for i in range(5)] == SHADES


def test_a_scan_names_the_place_where_the_chain_breaks(im2rec):
    data = bytearray(im2rec.read_bytes())
    second = int(im2rec.with_suffix(".idx").read_text().splitlines()[1].split("\t")[1])
    data[second] ^= 0xFF
    im2rec.write_bytes(data)
    with pytest.raises(UserError, match=f"cannot be listed: no record starts at byte {second}"):
        RecordIO(im2rec, rebuild_index=True)
    im2rec.write_bytes(im2rec.read_bytes()[: second - 2])
    with pytest.raises(UserError, match="cannot be listed: the file ends within the record at byte 0"):
        RecordIO(im2rec, rebuild_index=True)


def test_single_broken_records_are_unreadable_images(tmp_path):
    images = [jpeg(s) for s in range(200)]
    images[50], images[51], images[52] = b"", images[51][:-9], b"no image"
    write_recordio(tmp_path / "a.rec", images)
    dataset = RecordIO(tmp_path / "a.rec")
    with open(tmp_path / "a.rec", "r+b") as file:
        file.seek(int(dataset._offsets[53]))
        file.write(b"bad!")
        file.seek(int(dataset._offsets[54]) + 8)
        file.write(struct.pack("<I", 10**6))  # number of labels
    for index, message in [
        (50, "empty"),
        (51, "cut short"),
        (52, "not an image"),
        (53, "no record"),
        (54, "claims"),
    ]:
        with pytest.raises(UnreadableImage, match=rf"a\.rec: record {index + 1} at byte \d+: .*{message}"):
            dataset.read(index)
    assert dataset.read(55).shape == (8, 8, 3)


def test_the_rounded_header_of_a_very_large_file(tmp_path):
    """Above 2**24 images the float32 header cannot hold their number: 2**24 + 1 becomes 2**24."""
    last = 2**24
    by_hand(
        tmp_path / "a",
        [(0, [last + 1.0, 0.0], b""), (last - 1, 0.0, b"x"), (last, 0.0, b"x"), (last + 1, [1.0, 2.0], b"")],
    )
    keys, offsets = read_index(tmp_path / "a.idx")
    assert last_image_key(RecordFile(tmp_path / "a.rec"), keys, offsets) == last


def test_the_index_is_kept_until_a_file_changes(im2rec, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    dataset = RecordIO(im2rec, cache=cache)
    assert isinstance(dataset._offsets, SharedArray)
    monkeypatch.setattr("ferbench.data.datasets.recordio.read_index", None)  # any call would fail
    assert [shade_of(RecordIO(im2rec, cache=cache).read(i)) for i in range(5)] == SHADES
    with pytest.raises(TypeError):
        RecordIO(im2rec, cache=cache, refresh=True)
    os.utime(im2rec, (5, 5))
    with pytest.raises(TypeError):
        RecordIO(im2rec, cache=cache)


def _shades(dataset, queue):
    queue.put(
        [shade_of(dataset.read(i)) for i in range(len(dataset))] + [dataset.records._owner == os.getpid()]
    )


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_open_their_own_descriptor(insightface, tmp_path, method):
    dataset = RecordIO(insightface, cache=tmp_path / "cache")
    dataset.read(0)  # the parent holds an open descriptor
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    worker = context.Process(target=_shades, args=(dataset, queue))
    worker.start()
    assert queue.get(timeout=1200) == [*SHADES, True]
    worker.join()
    assert shade_of(dataset.read(4)) == SHADES[4]


def test_the_pickle_of_a_cached_dataset_holds_no_index(tmp_path):
    write_recordio(tmp_path / "a.rec", [jpeg(0)] * 2000)
    dataset = RecordIO(tmp_path / "a.rec", cache=tmp_path / "cache")
    assert len(pickle.dumps(dataset)) - dataset.labels.nbytes < 2000
