import os
import socket

import cv2
import numpy as np
import pytest

from ferbench.data.io import MAX_BYTES, UnreadableImage, decode, read_file

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
