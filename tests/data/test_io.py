import errno
import os
import socket
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from ferbench.data import io
from ferbench.data.io import MAX_BYTES, UnreadableImage, decode, read_file, remove_unfinished, replacing

RED = np.zeros((20, 30, 3), np.uint8)
RED[..., 2] = 255  # OpenCV writes BGR


def where(index):
    return f"item {index}"


def test_decode_gives_rgb():
    image = decode(cv2.imencode(".png", RED)[1].tobytes(), where, 0)
    assert image.dtype == np.uint8
    assert image.shape == (20, 30, 3)
    assert (image == [255, 0, 0]).all()


def test_decode_makes_three_channels_of_grey():
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert np.array_equal(decode(cv2.imencode(".png", grey)[1].tobytes(), where, 0), np.stack([grey] * 3, -1))


@pytest.mark.parametrize("extension", [".jpg", ".png", ".bmp", ".webp"])
@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_cut_image_is_named(extension, keep):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = cv2.imencode(extension, noise)[1].tobytes()
    with pytest.raises(UnreadableImage, match="item 7"):
        decode(data[: int(keep * len(data))], where, 7)


def test_empty_and_foreign_bytes_are_named():
    with pytest.raises(UnreadableImage, match="item 3: the file is empty"):
        decode(b"", where, 3)
    with pytest.raises(UnreadableImage, match=r"not an image.*5 bytes"):
        decode(b"hello", where, 3)


@pytest.mark.parametrize("kind", ["a folder", "a FIFO", "a socket", "a device", "too many levels", "null"])
def test_what_is_no_file_is_refused_at_once(tmp_path, kind):
    """The class of paths that are no regular file: opening or reading one must not wait or take memory."""
    path = tmp_path / "a.jpg"
    if kind == "a folder":
        path.mkdir()
    elif kind == "a FIFO":
        os.mkfifo(path)
    elif kind == "a socket":
        bound = socket.socket(socket.AF_UNIX)
        bound.bind(os.path.relpath(path))
        kind = "No such device"
    elif kind == "a device":
        path = "/dev/zero"
    elif kind == "too many levels":
        path.symlink_to("a.jpg")
    else:
        path = f"{path}\0"
    with pytest.raises(UnreadableImage, match=rf"(?i)item 4.*{kind}"):
        read_file(path, where, 4)


def test_a_file_that_is_no_image_by_its_size_is_not_read(tmp_path):
    with open(tmp_path / "a", "wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(UnreadableImage, match=r"item 4: the file has [\d,]* bytes, too many"):
        read_file(tmp_path / "a", where, 4)


def test_a_growing_file_is_read_as_far_as_it_was(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"abc")
    real = os.read

    def grow(descriptor, size):
        with open(tmp_path / "a", "ab") as file:
            file.write(b"more")
        return real(descriptor, min(size, 2))

    monkeypatch.setattr(os, "read", grow)
    assert read_file(tmp_path / "a", where, 0) == b"abc"


def test_read_file_names_a_missing_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert read_file(tmp_path / "a", where, 0) == b"abc"
    with pytest.raises(UnreadableImage, match="item 5: No such file"):
        read_file(tmp_path / "b", where, 5)


def test_replacing_keeps_the_old_file_when_writing_fails(tmp_path):
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with pytest.raises(TypeError), replacing(target) as file:
        file.writelines([b"half", "not bytes"])
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert target.read_bytes() == b"old"
    with replacing(target) as file:
        file.write(b"new")
    assert target.read_bytes() == b"new"


class TestUnfinishedFiles:
    """Temporary files of writers that were killed go; those of writers that live stay."""

    def test_of_the_same_file(self, tmp_path):
        for left in (".a.json.0123abcd.tmp", ".a.json.77.tmp"):
            (tmp_path / left).write_text("half")
        (tmp_path / ".b.json.0123abcd.tmp").write_text("half of another file")
        with replacing(tmp_path / "a.json") as stream:
            stream.write(b"whole")
        assert sorted(f.name for f in tmp_path.iterdir()) == [".b.json.0123abcd.tmp", "a.json"]

    def test_a_writer_that_lives_keeps_its_file(self, tmp_path):
        with replacing(tmp_path / "a.json") as slow:
            slow.write(b"slow")
            with replacing(tmp_path / "a.json") as fast:  # two that race for one name
                fast.write(b"fast")
            remove_unfinished(tmp_path)
            assert len(list(tmp_path.glob(".*.tmp"))) == 1
        assert (tmp_path / "a.json").read_bytes() == b"slow"
        assert len(list(tmp_path.iterdir())) == 1

    def test_a_writer_in_another_process(self, tmp_path):
        """It is killed: then, and only then, its file goes."""
        code = (
            "import sys, signal; from pathlib import Path; from ferbench.data.io import replacing\n"
            "with replacing(Path(sys.argv[1])) as f: f.write(b'x'); f.flush(); print('now', flush=True); signal.pause()"
        )
        writer = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "last.pth")], stdout=subprocess.PIPE
        )
        assert writer.stdout.readline() == b"now\n"
        remove_unfinished(tmp_path)
        assert len(list(tmp_path.glob(".last.pth.*.tmp"))) == 1
        writer.kill()
        writer.wait()
        writer.stdout.close()
        remove_unfinished(tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_without_locks_only_old_ones_go(self, tmp_path, monkeypatch):
        """Of a file system that has none."""

        def none(*_):
            raise OSError(errno.ENOLCK, "no locks")

        monkeypatch.setattr(io.fcntl, "flock", none)
        for name, age in ((".a.1.tmp", 10.0), (".a.2.tmp", 1e6)):
            (tmp_path / name).write_text("half")
            then = time.time() - age
            os.utime(tmp_path / name, (then, then))
        with replacing(tmp_path / "a"):
            pass
        assert sorted(f.name for f in tmp_path.iterdir()) == [".a.1.tmp", "a"]
