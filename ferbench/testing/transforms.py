"""One call that checks a transform of a view against what `ferbench.data.augment.base.Transform` says; for your own tests.

from ferbench.testing import check_transform

def test_conformance():
    check_transform(dict(type="MyBlur", sigma=2.0))
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from ferbench.data.augment.base import Transform
from ferbench.data.views import build_transform
from ferbench.errors import described

REPEATS = 8  # calls with the same numbers: one coin of a transform's own is seen in all but one of 128 checks


def check_transform(config: Mapping[str, Any], size: int = 32) -> None:
    """Check a transform: shape and type, also for the extreme numbers; the input left as it was; the same result for the same
    image and numbers, whatever was called between; no random numbers but those it is given; results of their own.

    Args:
        config: of the transform.
        size: side of the images it is given, as ``views.working_size`` in the config.

    Raises:
        AssertionError: what is wrong, and what to do about it.
        UserError: the transform cannot be built, or its `draws` is no number.
    """
    name = f"transform {config.get('type')}"
    first, second = build_transform(config, "test"), build_transform(config, "test")
    assert first.draws == second.draws, (
        f"{name} has another `draws` each time it is built; fix it from its arguments"
    )
    shapes = set()
    for image, u in _cases(first.draws, size):
        result = _applied(first, image, u, name)
        kept = result.copy()
        shapes.add(result.shape)
        for _ in range(REPEATS):
            _applied(first, image[::-1].copy(), u[::-1].copy(), name)
            assert np.array_equal(result, kept), (
                f"{name} changes an earlier result; return a new array each time"
            )
            for transform, whose in ((first, "again"), (second, "of another instance")):
                assert np.array_equal(_applied(transform, image, u, name), kept), (
                    f"{name}: the result {whose} is another one for the same image and numbers; take all randomness from `u` "
                    "(set `draws` to how many numbers you need), and keep no state"
                )
    assert len(shapes) == 1, (
        f"{name} gives several shapes, {sorted(shapes)}; the size may not depend on the random numbers"
    )


def _cases(draws: int, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images (noise, a gradient, black, white) and numbers (all 0, the greatest below 1, some of each)."""
    rng = np.random.default_rng(0)
    gradient = np.linspace(0, 255, size).astype(np.uint8)
    images = (
        rng.integers(0, 256, (size, size, 3), np.uint8),
        np.stack(np.broadcast_arrays(gradient[:, None], gradient, np.uint8(90)), -1),
        np.zeros((size, size, 3), np.uint8),
        np.full((size, size, 3), 255, np.uint8),
    )
    greatest = np.full(draws, np.nextafter(1.0, 0.0))
    for number, image in enumerate(images):
        for u in (
            (np.zeros(draws), greatest, *rng.random((3, draws))) if number < 2 else rng.random((1, draws))
        ):
            yield image, u


def _applied(transform: Transform, image: np.ndarray, u: np.ndarray, name: str) -> np.ndarray:
    given, numbers, before = image.copy(), u.copy(), _global_states()
    given.setflags(write=False)
    numbers.setflags(write=False)
    try:
        result: Any = transform(given, numbers)
    except ValueError as error:
        if "read-only" not in str(error):
            raise
        raise AssertionError(
            f"{name} writes into its input, from which other views are made; work on a copy"
        ) from error
    assert np.array_equal(given, image) & np.array_equal(numbers, u), (
        f"{name} writes into its input, from which other views are made; work on a copy"
    )
    for generator, (old, new) in zip(_GENERATORS, zip(before, _global_states(), strict=True), strict=True):
        assert old == new, (
            f"{name} draws from {generator}, which no seed of a view governs; take the numbers from `u`"
        )
    right = (
        isinstance(result, np.ndarray)
        and result.dtype == np.uint8
        and result.ndim == 3
        and result.shape[2] == 3
    )
    assert right, f"{name} gives {described(result)}; give uint8 [H, W, 3]"
    return result


_GENERATORS: Mapping[str, Callable[[], Any]] = {
    "random": random.getstate,
    "numpy.random": lambda: str(np.random.get_state(legacy=False)["state"]),
    "torch's generator": lambda: torch.get_rng_state().numpy().tobytes(),
}


def _global_states() -> list[Any]:
    return [state() for state in _GENERATORS.values()]
