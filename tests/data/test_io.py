import cv2
import numpy as np
import pytest

from ferbench.data.io import UnreadableImage, decode, is_truncated_jpeg, read_file, replacing

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


def test_a_jpeg_with_bytes_after_its_end_is_whole():
    data = cv2.imencode(".jpg", RED)[1].tobytes()
    assert not is_truncated_jpeg(data + b"\0" * 100)
    assert is_truncated_jpeg(data[:-2])


def test_a_header_that_claims_a_giant_image_is_unreadable():
    data = bytearray(cv2.imencode(".bmp", RED)[1].tobytes())
    data[18:26] = (2**30).to_bytes(4, "little") * 2  # width, height
    with pytest.raises(UnreadableImage):
        decode(bytes(data), where, 0)


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
