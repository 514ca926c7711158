"""What `ferbench.data.decoding` decides, compared with Pillow or with numbers by hand."""

import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image

from ferbench.data.decoding import BACKGROUND, MAX_PIXELS, Undecodable, decode_rgb, jpeg_header

NOISE = np.random.default_rng(0).integers(0, 256, (48, 40, 3), np.uint8)
SMOOTH = cv2.GaussianBlur(NOISE, (9, 9), 0)


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def jpeg(image=NOISE, **options):
    return saved(Image.fromarray(image), "JPEG", **options)


def with_thumbnail(data):
    """The JPEG with another one in an APP1 segment, as cameras write it."""
    inner = b"Exif\0\0" + jpeg(SMOOTH[:8, :8])
    return data[:2] + b"\xff\xe1" + (len(inner) + 2).to_bytes(2, "big") + inner + data[2:]


JPEGS = {
    "baseline": jpeg(),
    "progressive": jpeg(progressive=True),
    "restarts": jpeg(restart_marker_blocks=2),
    "thumbnail": with_thumbnail(jpeg()),
    "progressive, thumbnail": with_thumbnail(jpeg(progressive=True)),
    "grey": jpeg(NOISE[..., 0]),
    "CMYK": saved(Image.fromarray(NOISE).convert("CMYK"), "JPEG"),
    "fill bytes": jpeg().replace(b"\xff\xda", b"\xff\xff\xff\xda", 1),
}


@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize(
    "trailer",
    [
        b"\0" * 4097,
        b"\xff" * 5000,
        b"\n",
        b"ftypmp42" * 30_000,
        jpeg(SMOOTH),
        jpeg(SMOOTH)[:300],
        b"\xff\xd8 x \xff\xd9 y",
    ],
    ids=["zeros", "ones", "line end", "video", "second image", "half a second image", "markers"],
)
def test_bytes_after_the_end_of_a_jpeg_mean_nothing(name, trailer):
    """Class: any valid JPEG, followed by anything of any length."""
    assert np.array_equal(decode_rgb(JPEGS[name] + trailer), decode_rgb(JPEGS[name]))


@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize("tail", [b"", b"\0" * 5000, b"\xff\xd9", jpeg(SMOOTH)], ids=len)
def test_a_jpeg_that_is_cut_short_is_found(name, tail):
    """Class: JPEGs cut anywhere in headers, a thumbnail or the scans, also where another end marker follows."""
    data = JPEGS[name]
    scan = jpeg_header(data)[2]
    cuts = [4, 30, scan - 5, *np.linspace(scan + 1, scan + (len(data) - scan) * 0.9, 6).astype(int).tolist()]
    inner = data.find(b"\xff\xd9")
    if inner < scan:
        cuts.append(inner + 2)
    if "progressive" in name:
        cuts = cuts[:6]  # of the first scans: what lacks only the last is a whole image of lower quality
    for cut in cuts:
        with pytest.raises(Undecodable):
            decode_rgb(data[:cut] + tail)


def test_corrupt_scans_are_named_in_the_words_of_the_decoder(capfd):
    """Class: bytes changed within the data of a JPEG where libjpeg notices; it only prints, and decodes on."""
    found = 0
    for start in range(jpeg_header(JPEGS["baseline"])[2], len(JPEGS["baseline"]) - 60, 97):
        data = bytearray(JPEGS["baseline"])
        data[start : start + 40] = b"\x55\xaa" * 20
        try:
            decode_rgb(bytes(data))
        except Undecodable as error:
            assert "Corrupt JPEG data" in str(error)  # noqa: PT017 - the others decode without a complaint
            found += 1
    assert found > 5
    assert capfd.readouterr().err == ""


def test_a_corrupt_png_is_named(capfd):
    data = bytearray(saved(Image.fromarray(NOISE), "PNG"))
    data[len(data) // 2] ^= 0x55
    with pytest.raises(Undecodable, match="libpng error: IDAT"):
        decode_rgb(bytes(data))
    assert capfd.readouterr().err == ""


def test_several_threads_hear_only_their_own_complaints():
    good, bad = JPEGS["baseline"], bytearray(JPEGS["baseline"])
    bad[-60:-20] = b"\x55\xaa" * 20

    def corrupt(data):
        try:
            decode_rgb(data)
        except Undecodable:
            return True
        return False

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(corrupt, [good, bytes(bad)] * 100)) == [False, True] * 100


def test_what_others_print_meanwhile_is_not_lost(capfd, monkeypatch):
    real = cv2.imdecode

    def talking(*arguments):
        os.write(2, b"news\n")
        return real(*arguments)

    monkeypatch.setattr(cv2, "imdecode", talking)
    decode_rgb(JPEGS["baseline"])
    assert capfd.readouterr().err == "news\n"


def test_a_fork_during_a_decode_keeps_its_standard_error():
    """A child of a process in which another thread is decoding prints where its parent prints, and can decode."""
    program = """
import os, threading, cv2, numpy as np
from ferbench.data.decoding import decode_rgb
data = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()
real, inside, leave = cv2.imdecode, threading.Event(), threading.Event()
def slow(*a):
    inside.set(); leave.wait(); return real(*a)
cv2.imdecode = slow
thread = threading.Thread(target=decode_rgb, args=(data,)); thread.start(); inside.wait()
child = os.fork()
if not child:
    leave.set(); os.write(2, b"child %d\\n" % decode_rgb(data).size); os._exit(0)
os.waitpid(child, 0); leave.set(); thread.join()
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "child 48\n")


def test_decoding_without_a_standard_error():
    program = "import os; os.close(2)\nfrom ferbench.data.decoding import decode_rgb; import sys\n"
    program += "print(decode_rgb(sys.stdin.buffer.read()).shape)"
    done = subprocess.run([sys.executable, "-c", program], input=JPEGS["baseline"], capture_output=True)
    assert done.stdout.split() == [b"(48,", b"40,", b"3)"]


TRANSPARENT = np.dstack([NOISE, np.full(NOISE.shape[:2], 255, np.uint8)])
TRANSPARENT[:10, :, 3] = 0
TRANSPARENT[10:20, :, 3] = 100


def on_grey(rgba):
    alpha = rgba[..., 3:] / 255
    return rgba[..., :3] * alpha + BACKGROUND * (1 - alpha)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("WEBP", dict(lossless=True, exact=True)), ("TIFF", {}), ("JPEG2000", {}), ("AVIF", dict(quality=100))],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_shows_one_background(kind, options, mode):
    """Class: every format and colour model with transparency."""
    if kind == "AVIF" and ".avif" not in Image.registered_extensions():
        pytest.skip("this Pillow has no AVIF")
    rgba = np.dstack([SMOOTH, TRANSPARENT[..., 3]]) if kind == "AVIF" else TRANSPARENT
    image = Image.fromarray(rgba).convert(mode)
    decoded = decode_rgb(saved(image, kind, **options)).astype(int)
    expected = on_grey(np.asarray(image.convert("RGBA")))
    if kind == "AVIF":  # lossy
        assert (decoded[:10] == BACKGROUND).all()
        assert abs(decoded - expected).mean() < 4
    else:
        assert abs(decoded - expected).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_transparent_palette_colours(kind):
    image = Image.new("P", (6, 4), 1)
    image.putpalette([0, 0, 0, 250, 10, 20, 1, 2, 3])
    image.putpixel((5, 3), 2)
    decoded = decode_rgb(saved(image, kind, transparency=1))
    assert (decoded[:3] == BACKGROUND).all()
    assert decoded[3, 5].tolist() == [1, 2, 3]


@pytest.mark.parametrize(("mode", "colour"), [("L", 77), ("RGB", (9, 8, 7))])
def test_one_transparent_colour(mode, colour):
    image = Image.new(mode, (6, 4), colour)
    image.putpixel((5, 3), 3 if mode == "L" else (3, 3, 3))
    decoded = decode_rgb(saved(image, "PNG", transparency=colour))
    assert (decoded[:3] == BACKGROUND).all()
    assert decoded[3, 5].tolist() == [3, 3, 3]


def test_a_bmp_of_32_bits_has_no_transparency():
    assert np.array_equal(decode_rgb(saved(Image.fromarray(TRANSPARENT), "BMP")), NOISE)


def test_an_opaque_alpha_channel_changes_nothing():
    opaque = np.dstack([NOISE, np.full(NOISE.shape[:2], 255, np.uint8)])
    assert np.array_equal(decode_rgb(saved(Image.fromarray(opaque), "PNG")), NOISE)
    grey = cv2.cvtColor(NOISE, cv2.COLOR_RGB2GRAY)
    decoded = decode_rgb(saved(Image.fromarray(opaque), "PNG"), grayscale=True)
    assert abs(decoded.astype(int) - grey[..., None]).max() <= 1
    assert decoded.shape == NOISE.shape


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "transparent PNG", "AVIF"])
def test_images_come_upright(kind, orientation):
    """Class: EXIF's eight orientations, in every format that carries them."""
    upright = np.zeros((64, 64, 4 if "transparent" in kind else 3), np.uint8)
    upright[:32, :32] = 255
    upright[32:, 32:] = 100
    turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # what undoes each, as Pillow numbers them
    image = Image.fromarray(upright)
    if orientation > 1:
        image = image.transpose(Image.Transpose(turn[orientation]))
    exif = Image.Exif()
    exif[0x112] = orientation
    if kind == "AVIF" and ".avif" not in Image.registered_extensions():
        pytest.skip("this Pillow has no AVIF")
    options = dict(lossless=True) if kind == "WEBP" else {}
    decoded = decode_rgb(saved(image, kind.split()[-1], exif=exif, **options))
    expected = on_grey(upright) if "transparent" in kind else upright
    assert decoded.shape == (64, 64, 3)
    assert abs(decoded.astype(int) - expected).max() <= 40  # JPEG and AVIF at the edges
    assert abs(decoded.astype(int) - expected).mean() < 1


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_counts(kind):
    first, second = Image.new("RGB", (6, 4), (250, 0, 0)), Image.new("RGB", (6, 4), (0, 250, 0))
    options = dict(lossless=True) if kind == "WEBP" else {}
    decoded = decode_rgb(saved(first, kind, save_all=True, append_images=[second], **options))
    assert decoded.shape == (4, 6, 3)
    assert (decoded == [250, 0, 0]).all()


def test_cmyk_is_converted():
    decoded = decode_rgb(saved(Image.fromarray(SMOOTH).convert("CMYK"), "JPEG", quality=95))
    assert abs(decoded.astype(int) - SMOOTH).mean() < 5


@pytest.mark.parametrize("bits", [1, 8, 10, 12, 14])
@pytest.mark.parametrize("kind", ["png", "tiff", "jp2", "color png"])
def test_few_bits_in_a_16_bit_image_are_named(bits, kind):
    """Class: data of fewer bits in 16-bit files of every format; scaled by 256, as OpenCV does, they would be black."""
    image = (NOISE if kind != "jp2" and "color" in kind else NOISE[..., 0]).astype(np.uint16) * 257 >> (
        16 - bits
    )
    if kind == "jp2":  # lossy: the noise overshoots
        image[:] = image.max()
    data = cv2.imencode("." + kind.split()[-1], image)[1].tobytes()
    with pytest.raises(Undecodable, match=rf"{bits} bits: it would come out nearly black"):
        decode_rgb(data)


@pytest.mark.parametrize("kind", [".png", ".tiff", ".jp2"])
def test_16_bits_are_scaled_to_8(kind):
    deep = SMOOTH.astype(np.uint16) * 257
    difference = decode_rgb(cv2.imencode(kind, deep[..., ::-1])[1].tobytes()).astype(int) - SMOOTH
    assert abs(difference).max() <= (5 if kind == ".jp2" else 0)
    assert not decode_rgb(cv2.imencode(kind, deep[..., ::-1] * 0)[1].tobytes()).any()  # black is black


@pytest.mark.parametrize("top", [1, 15, 100, 255, 256, 1023, 4095, 65535])
@pytest.mark.parametrize("magic", [b"P2", b"P3", b"P5", b"P6"])
def test_pnm_is_scaled_by_its_own_maximum(top, magic):
    """Class: the four PNM formats with every kind of maximum."""
    channels = 3 if magic in (b"P3", b"P6") else 1
    values = np.linspace(0, top, 12 * channels).round().astype(int)
    if magic in (b"P5", b"P6"):
        body = values.astype(">u2" if top > 255 else np.uint8).tobytes()
    else:
        body = " ".join(map(str, values)).encode() + b"\n"
    decoded = decode_rgb(magic + b"\n# a comment\n4 3\n%d\n" % top + body)
    expected = (values * 255 / top).reshape(3, 4, channels) + np.zeros((1, 1, 3))
    assert abs(decoded - expected).max() <= 1


@pytest.mark.parametrize("kind", [".pfm", ".hdr", ".tiff"])
def test_floating_point_images_are_named(kind):
    with pytest.raises(Undecodable):
        decode_rgb(cv2.imencode(kind, np.full((8, 8, 3), 0.5, np.float32))[1].tobytes())


def claimed(data, kind, width, height):
    """The image with another size in its header."""
    data = bytearray(data)
    if kind == "png":
        data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    elif kind == "bmp":
        data[18:26] = width.to_bytes(4, "little") + height.to_bytes(4, "little")
    elif kind == "jpg":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    else:
        data[6:10] = width.to_bytes(2, "little") + height.to_bytes(2, "little")
    return bytes(data)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", ["png", "bmp", "jpg", "gif"])
@pytest.mark.parametrize("size", [(20_000, 3_201), (65_535, 65_535)])
def test_more_pixels_than_stated_are_refused_before_decoding(kind, size, monkeypatch):
    """Class: headers that claim much, whatever data there is."""
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    data = claimed(cv2.imencode("." + kind, NOISE)[1].tobytes(), kind, *size)
    with pytest.raises(Undecodable, match=r"64,000,000|far too large"):
        decode_rgb(data)


def test_the_greatest_number_of_pixels_can_be_set():
    assert MAX_PIXELS == 64_000_000
    assert decode_rgb(JPEGS["baseline"], max_pixels=48 * 40).shape == (48, 40, 3)
    with pytest.raises(Undecodable, match="40 x 48 pixels, more than the 1,919"):
        decode_rgb(JPEGS["baseline"], max_pixels=48 * 40 - 1)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000"])
def test_every_format_cut_short_is_named(kind, capfd):
    data = saved(Image.fromarray(NOISE), kind)
    for share in (0.1, 0.5, 0.97):
        with pytest.raises(Undecodable):
            decode_rgb(data[: int(len(data) * share)])
    assert capfd.readouterr().err == ""


@pytest.mark.filterwarnings("ignore:.*EXIF")
def test_random_bytes_under_known_signatures_are_named():
    rng = np.random.default_rng(0)
    for start in (
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"BM",
        b"RIFF\x40\0\0\0WEBP",
        b"II*\0",
        b"P5 4 4 0\n",
    ):
        for length in (1, 20, 300):
            with pytest.raises(Undecodable):
                decode_rgb(start + rng.bytes(length))
