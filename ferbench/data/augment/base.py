"""What a transform is."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ferbench.errors import UserError

GREY = 127  #: fills what an operation uncovers or cuts out (all three channels), as in Cutout of FixMatch
CHANNELS = 3


class Transform(Protocol):
    """One step of a view's recipe; register it in `ferbench.registry.TRANSFORMS`.

    It must be a pure function of its arguments: no random generator of its own, no state, and the input array
    is never written to (other views are made from the same array). It may return its input where nothing
    changes.

    Attributes:
        draws: how many uniform random numbers in [0, 1) one call consumes; fixed when the transform is built.
    """

    draws: int

    def __call__(self, image: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Transform one image.

        Args:
            image: uint8 RGB [H, W, 3], not to be modified.
            u: float64 [draws] in [0, 1).

        Returns:
            uint8 RGB [H', W', 3].
        """
        ...


def pick(u: float, choices: int) -> int:
    """Integer in [0, choices), uniform if ``u`` is uniform in [0, 1)."""
    return int(u * choices)


def require_share(value: float, name: str, owner: str, low: float, high: float) -> float:
    """``value``, or a UserError if it lies outside [low, high]."""
    if not low <= value <= high:
        raise UserError(
            f"{owner}: {name}={value!r} is out of range", expected=f"a number from {low:g} to {high:g}"
        )
    return float(value)
