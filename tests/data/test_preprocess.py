"""Preprocessing against NumPy and OpenCV."""

from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest
import torch

from ferbench.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from ferbench.errors import UserError


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_normalize_equals_numpy_exactly() -> None:
    images = noise(3, 16, 16, 3)
    mean, std = np.float32(IMAGENET_MEAN), np.float32(IMAGENET_STD)
    expected = ((images.astype(np.float32) - mean) / std).transpose(0, 3, 1, 2)
    result = Preprocess(16).normalize(torch.from_numpy(images))
    assert result.dtype == torch.float32
    np.testing.assert_array_equal(result.numpy(), expected)


def test_normalize_keeps_the_channel_order() -> None:
    images = torch.zeros(1, 2, 2, 3, dtype=torch.uint8)
    images[..., 0] = 30  # red
    result = Preprocess(2, mean=[10, 20, 40], std=[10, 5, 2]).normalize(images)
    assert result[0, :, 0, 0].tolist() == [2.0, -4.0, -20.0]


def test_normalize_gives_channels_last_and_leaves_its_input_alone() -> None:
    images = torch.from_numpy(noise(2, 8, 8, 3))
    before = images.clone()
    result = Preprocess(8).normalize(images)
    assert result.shape == (2, 3, 8, 8)
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)


def test_normalize_takes_a_strided_batch() -> None:
    images = torch.from_numpy(noise(4, 8, 8, 3))
    preprocess = Preprocess(8)
    assert torch.equal(preprocess.normalize(images[::2]), preprocess.normalize(images)[::2])
    assert torch.equal(preprocess.normalize(images.flip(2)), preprocess.normalize(images).flip(3))


@pytest.mark.parametrize(
    ("shape", "interpolation"),
    [((40, 64, 3), cv2.INTER_AREA), ((24, 24, 3), cv2.INTER_AREA), ((9, 11, 3), cv2.INTER_LINEAR)],
)
def test_prepare_averages_when_shrinking_and_interpolates_when_enlarging(
    shape: tuple[int, ...], interpolation: int
) -> None:
    image = noise(*shape)
    expected = cv2.resize(image, (20, 20), interpolation=interpolation)
    np.testing.assert_array_equal(Preprocess(20).prepare(image), expected)


def test_prepare_halves_by_the_mean_of_four_pixels() -> None:
    image = noise(8, 8, 3)
    expected = np.rint(image.reshape(4, 2, 4, 2, 3).astype(np.float64).mean(axis=(1, 3)))
    assert np.abs(Preprocess(4).prepare(image) - expected).max() <= 1  # ties may round either way


def test_prepare_leaves_the_right_size_as_it_is() -> None:
    image = noise(20, 20, 3)
    assert Preprocess(20).prepare(image) is image


def test_as_dict_makes_the_same_object_from_plain_types() -> None:
    preprocess = Preprocess(48, mean=(127.5,) * 3, std=(64.0, 65.0, 66.0))
    values = preprocess.as_dict()
    assert values == {"size": 48, "mean": [127.5] * 3, "std": [64.0, 65.0, 66.0]}
    again = Preprocess.from_dict(values)
    images = torch.from_numpy(noise(1, 48, 48, 3))
    assert torch.equal(again.normalize(images), preprocess.normalize(images))


def test_it_adds_nothing_to_a_state_dict_and_can_be_sent_to_a_worker() -> None:
    assert not Preprocess(8).state_dict()
    assert pickle.loads(pickle.dumps(Preprocess(8))).as_dict() == Preprocess(8).as_dict()


@pytest.mark.parametrize("wrong", [{"size": 0}, {"size": 8, "mean": [1, 2]}, {"size": 8, "std": [1, 0, 1]}])
def test_impossible_values_are_named(wrong: dict) -> None:
    with pytest.raises(UserError, match="the preprocessing is"):
        Preprocess(**wrong)
