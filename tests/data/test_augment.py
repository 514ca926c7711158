from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from ferbench.data.augment import GREY, OPERATIONS, resize
from ferbench.data.augment.color import Tones
from ferbench.errors import UserError
from ferbench.registry import TRANSFORMS

Pillow = Image.Image
FILL = (GREY,) * 3


def affine(image: Pillow, *coefficients: float) -> Pillow:
    return image.transform(image.size, Image.Transform.AFFINE, coefficients, fillcolor=FILL)


PILLOW: dict[str, Callable[[Pillow, float], Pillow]] = {
    "AutoContrast": lambda image, _: ImageOps.autocontrast(image),
    "Brightness": lambda image, v: ImageEnhance.Brightness(image).enhance(v),
    "Color": lambda image, v: ImageEnhance.Color(image).enhance(v),
    "Contrast": lambda image, v: ImageEnhance.Contrast(image).enhance(v),
    "Equalize": lambda image, _: ImageOps.equalize(image),
    "Identity": lambda image, _: image,
    "Posterize": lambda image, v: ImageOps.posterize(image, int(v)),
    "Rotate": lambda image, v: image.rotate(v, fillcolor=FILL),
    "Sharpness": lambda image, v: ImageEnhance.Sharpness(image).enhance(v),
    "ShearX": lambda image, v: affine(image, 1, v, 0, 0, 1, 0),
    "ShearY": lambda image, v: affine(image, 1, 0, 0, v, 1, 0),
    "Solarize": lambda image, v: ImageOps.solarize(image, v),  # type: ignore[arg-type]
    "TranslateX": lambda image, v: affine(image, 1, 0, v * image.width, 0, 1, 0),
    "TranslateY": lambda image, v: affine(image, 1, 0, 0, 0, 1, v * image.height),
}
MEANS_OF_LUMINANCE = ("Contrast",)  # where Pillow's mean lies on .5, one level more or less is rounding
MIXES = ("Color", "Sharpness")
RESAMPLES = ("Rotate", "ShearX", "ShearY")


def images() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (61, 84, 3), dtype=np.uint8)
    smooth = cv2.resize(
        generator.integers(0, 256, (6, 6, 3), dtype=np.uint8), (112, 112), interpolation=cv2.INTER_CUBIC
    )
    return {
        "noise": noise,
        "smooth": smooth,
        "low contrast": (smooth // 5 + 90).astype(np.uint8),
        "grey": np.repeat(smooth[..., :1], 3, axis=2),
        "one channel constant": np.dstack([smooth[..., 0], np.full((112, 112), 7, np.uint8), smooth[..., 2]]),
        "two values": np.where(noise > 128, 200, 50).astype(np.uint8),
        "constant": np.full((20, 31, 3), 99, np.uint8),
        "black": np.zeros((16, 16, 3), np.uint8),
        "white": np.full((16, 16, 3), 255, np.uint8),
        "small": noise[:3, :5].copy(),
    }


IMAGES = images()


def apply(name: str, image: np.ndarray, magnitude: float) -> np.ndarray:
    return OPERATIONS[name](Tones(image), magnitude).image()


def magnitudes(name: str, count: int = 9) -> list[float]:
    operation = OPERATIONS[name]
    return np.linspace(operation.low, operation.high, count, endpoint=False).tolist()


def transform(type_: str, **arguments):
    return TRANSFORMS.build(dict(type=type_, **arguments))


def test_the_fourteen_operations_and_their_ranges():
    shares = {"ShearX", "ShearY", "TranslateX", "TranslateY"}
    mixes = {"Brightness", "Color", "Contrast", "Sharpness"}
    ranges = {name: (operation.low, operation.high) for name, operation in OPERATIONS.items()}
    assert ranges.keys() == PILLOW.keys()
    assert len(ranges) == 14
    assert {ranges[n] for n in shares} == {(-0.3, 0.3)}
    assert {ranges[n] for n in mixes} == {(0.05, 0.95)}
    assert (ranges["Posterize"], ranges["Rotate"], ranges["Solarize"]) == ((4, 8), (-30, 30), (0, 256))


@pytest.mark.parametrize("picture", IMAGES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_equals_pillow(name, picture):
    image = IMAGES[picture]
    for magnitude in magnitudes(name):
        found = apply(name, image, magnitude).astype(int)
        expected = np.asarray(PILLOW[name](Image.fromarray(image), magnitude)).astype(int)
        difference = np.abs(found - expected)
        if name in RESAMPLES:  # sampling points on the edge of two pixels; OpenCV knows 1/1024 of a pixel
            pixels = (difference > 0).any(axis=2)
            assert pixels.sum() <= max(0.01 * pixels.size, max(pixels.shape))
        elif name in MIXES:
            assert difference.max() <= 1
            assert (
                difference.mean() < 0.3 or picture == "two values"
            )  # few values: the same rounding everywhere
        else:
            assert difference.max() <= (1 if name in MEANS_OF_LUMINANCE else 0)


@pytest.mark.parametrize("name", [n for n in OPERATIONS if n not in ("Brightness", "Solarize", "Posterize")])
def test_constant_image_only_gets_grey_where_it_is_uncovered(name):
    image = np.full((40, 40, 3), 99, np.uint8)
    for magnitude in magnitudes(name):
        assert set(np.unique(apply(name, image, magnitude))) <= {99, GREY}


@pytest.mark.parametrize("name", ["Color", "Brightness", "Contrast", "AutoContrast", "Equalize", "Sharpness"])
def test_grey_image_stays_grey(name):
    for magnitude in magnitudes(name):
        found = apply(name, IMAGES["grey"], magnitude)
        assert (found == found[..., :1]).all()
        if name == "Color":
            np.testing.assert_array_equal(found, IMAGES["grey"])


@given(
    st.lists(st.tuples(st.sampled_from(sorted(OPERATIONS)), st.floats(0, 1, exclude_max=True)), max_size=5),
    st.sampled_from(["noise", "smooth", "low contrast", "constant"]),
)
@settings(max_examples=60)
def test_chained_tables_equal_one_operation_after_the_other(chain, picture):
    tones, expected = Tones(IMAGES[picture]), IMAGES[picture]
    for name, level in chain:
        operation = OPERATIONS[name]
        magnitude = operation.low + (operation.high - operation.low) * level
        tones = operation(tones, magnitude)
        expected = apply(name, expected, magnitude)
        counts = [np.bincount(channel, minlength=256) for channel in expected.reshape(-1, 3).T]
        np.testing.assert_array_equal(tones.histogram(), counts)
    np.testing.assert_array_equal(tones.image(), expected)


def test_rand_augment_draws_operation_then_magnitude():
    names = ["Posterize", "TranslateX", "Rotate", "Brightness"]
    augment = transform("RandAugment", num_ops=3, operations=names)
    assert augment.draws == 6
    u = np.array([0.3, 0.75, 0.99, 0.5, 0.0, 0.25])  # TranslateX .15, Brightness .5, Posterize 5
    expected = apply("TranslateX", IMAGES["noise"], 0.15)
    expected = apply("Posterize", apply("Brightness", expected, 0.5), 5.0)
    np.testing.assert_array_equal(augment(IMAGES["noise"], u), expected)


def test_rand_augment_picks_all_operations_alike():
    # every operation on a picture that it changes in its own way; which one it was is read off the result
    image, level = IMAGES["smooth"], 0.37
    augment = transform("RandAugment", num_ops=1)
    outcomes = {}
    for name, operation in OPERATIONS.items():
        outcomes[apply(name, image, operation.low + (operation.high - operation.low) * level).tobytes()] = (
            name
        )
    assert len(outcomes) == 14
    picks = [outcomes[augment(image, np.array([(k + 0.5) / 140, level])).tobytes()] for k in range(140)]
    assert picks == [name for name in OPERATIONS for _ in range(10)]


def test_rand_augment_without_operations_is_the_identity():
    assert transform("RandAugment", num_ops=0)(IMAGES["noise"], np.zeros(0)) is IMAGES["noise"]


@pytest.mark.parametrize("shape", [(112, 112), (48, 48), (20, 31), (7, 5), (2, 2), (1, 1)])
@pytest.mark.parametrize("padding", [0.0, 0.125, 0.45])
def test_pad_crop_equals_padding_then_cropping(shape, padding):
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    rows, columns = int(padding * shape[0]), int(padding * shape[1])
    padded = np.pad(image, ((rows, rows), (columns, columns), (0, 0)), mode="reflect")
    crop = transform("PadCrop", padding=padding)
    seen = set()
    for u in np.random.default_rng(2).random((200, 2)):
        top, left = int(u[0] * (2 * rows + 1)), int(u[1] * (2 * columns + 1))
        seen.add((top, left))
        np.testing.assert_array_equal(crop(image, u), padded[top : top + shape[0], left : left + shape[1]])
    assert max(top for top, _ in seen) == 2 * rows


def test_random_crop_reaches_all_positions():
    image = np.arange(8 * 16 * 3, dtype=np.uint8).reshape(8, 16, 3)
    crop = transform("RandomCrop", ratio=0.875)
    tops = [crop(image, np.array([u, 0.0]))[0, 0, 0] // 48 for u in (0.0, 0.49, 0.5, 0.999)]
    assert tops == [0, 0, 1, 1]
    assert crop(image, np.array([0.999, 0.999])).shape == (7, 14, 3)
    np.testing.assert_array_equal(crop(image, np.array([0.999, 0.999])), image[1:, 2:])


@pytest.mark.parametrize("size", [32, 48, 64, 96, 112, 224])
def test_random_crop_of_the_enlarged_image_ends_at_the_size(size):
    larger = np.zeros((round(size / 0.875),) * 2 + (3,), np.uint8)
    assert transform("RandomCrop")(larger, np.zeros(2)).shape == (size, size, 3)


def test_horizontal_flip():
    flip, image = transform("HorizontalFlip", probability=0.25), IMAGES["noise"]
    np.testing.assert_array_equal(flip(image, np.array([0.2499])), image[:, ::-1])
    assert flip(image, np.array([0.25])) is image


def test_cutout_is_a_grey_square_of_the_drawn_side():
    image = np.zeros((40, 60, 3), np.uint8)
    result = transform("Cutout", max_side=0.5)(
        image, np.array([1 / 3, 0.5, 0.25])
    )  # side 10, centre (20, 15)
    expected = np.zeros_like(image)
    expected[15:25, 10:20] = 127
    np.testing.assert_array_equal(result, expected)
    # centred on the corner only a quarter remains
    corner = transform("Cutout", max_side=0.5)(image, np.array([1 / 3, 0.0, 0.0]))
    assert corner[:5, :5].min() == 127
    assert corner.sum() == 25 * 3 * 127
    assert transform("Cutout", max_side=0.5)(image, np.array([0.0, 0.5, 0.5])).sum() == 0


def test_random_grayscale_equals_pillow():
    grey, image = transform("RandomGrayscale", probability=0.5), IMAGES["noise"]
    expected = np.asarray(Image.fromarray(image).convert("L").convert("RGB")).astype(int)
    assert np.abs(grey(image, np.array([0.1])).astype(int) - expected).max() <= 1
    assert grey(image, np.array([0.5])) is image


def test_resize_averages_when_shrinking_and_keeps_what_fits():
    checkers = np.indices((64, 64)).sum(axis=0) % 2 * 255
    image = np.repeat(checkers[..., None], 3, axis=2).astype(np.uint8)
    np.testing.assert_allclose(resize(image, 32), 127.5, atol=0.5)  # no aliasing
    assert resize(image, 64) is image
    assert resize(image[:, :30], 48).shape == (48, 48, 3)
    assert transform("Resize", size=48)(image, np.zeros(0)).shape == (48, 48, 3)


ANY = [
    {"type": "PadCrop"}, {"type": "HorizontalFlip"}, {"type": "RandAugment"}, {"type": "Cutout"},
    {"type": "RandomGrayscale", "probability": 0.5}, {"type": "RandomCrop"}, {"type": "Resize", "size": 9},
]  # fmt: skip


@given(st.data())
@settings(max_examples=150)
def test_any_image_any_numbers(data):
    config = data.draw(st.sampled_from(ANY))
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    image = np.random.default_rng(data.draw(st.integers(0, 99))).integers(
        0, 256, (height, width, 3), dtype=np.uint8
    )
    step = TRANSFORMS.build(config)
    u = np.array(
        data.draw(st.lists(st.floats(0, 1, exclude_max=True), min_size=step.draws, max_size=step.draws))
    )
    before = image.copy()
    image.flags.writeable = False
    result = step(image, u)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(step(image, u), result)
    assert result.dtype == np.uint8
    assert config["type"] in ("RandomCrop", "Resize") or result.shape == before.shape


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "PadCrop", "padding": 0.6}, "padding=0.6"),
        ({"type": "RandomCrop", "ratio": 1.2}, "ratio=1.2"),
        ({"type": "HorizontalFlip", "probability": -1}, "probability=-1"),
        ({"type": "Cutout", "max_side": 2}, "max_side=2"),
        ({"type": "Resize", "size": 0}, "size=0"),
        ({"type": "RandAugment", "num_ops": -1}, "num_ops=-1"),
        ({"type": "RandAugment", "operations": []}, "no operation"),
        ({"type": "RandAugment", "operations": ["Rotat"]}, "'Rotate'"),
    ],
    ids=str,
)
def test_bad_arguments_are_named(config, message):
    with pytest.raises(UserError, match=message):
        TRANSFORMS.build(config)
