"""RandAugment as the FixMatch family uses it: a few operations of 14, each with a magnitude drawn anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ferbench.data.augment import color, geometric
from ferbench.data.augment.base import pick
from ferbench.data.augment.color import Tones
from ferbench.errors import UserError, nearest
from ferbench.registry import TRANSFORMS


class ToneOperation(NamedTuple):
    """An operation that is a tone table: ``table(tones, magnitude)``, magnitude uniform in [low, high)."""

    low: float
    high: float
    table: Callable[[Tones, float], np.ndarray]

    def __call__(self, tones: Tones, magnitude: float) -> Tones:
        """Add the table to those that wait to be applied."""
        tones.apply(self.table(tones, magnitude))
        return tones


class ImageOperation(NamedTuple):
    """An operation that needs more than a pixel's own value; ``function(image, magnitude)``."""

    low: float
    high: float
    function: Callable[[np.ndarray, float], np.ndarray]

    def __call__(self, tones: Tones, magnitude: float) -> Tones:
        """Apply what waits, then the operation."""
        return Tones(self.function(tones.image(), magnitude))


Operation = ToneOperation | ImageOperation

#: The operations and ranges of FixMatch (arXiv 2001.07685, appendix), magnitudes as USB and TorchSSL draw
#: them. Factors below 1 only reduce (colour, contrast, ...), as in the paper. Shift and shear are shares of
#: the side, angles are degrees.
OPERATIONS: dict[str, Operation] = {
    "AutoContrast": ToneOperation(0, 1, color.auto_contrast),
    "Brightness": ToneOperation(0.05, 0.95, color.brightness),
    "Color": ImageOperation(0.05, 0.95, color.saturation),
    "Contrast": ToneOperation(0.05, 0.95, color.contrast),
    "Equalize": ToneOperation(0, 1, color.equalize),
    "Identity": ImageOperation(0, 1, lambda image, _: image),
    "Posterize": ToneOperation(4, 8, color.posterize),
    "Rotate": ImageOperation(-30, 30, geometric.rotate),
    "Sharpness": ImageOperation(0.05, 0.95, color.sharpness),
    "ShearX": ImageOperation(-0.3, 0.3, geometric.shear_x),
    "ShearY": ImageOperation(-0.3, 0.3, geometric.shear_y),
    "Solarize": ToneOperation(0, 256, color.solarize),
    "TranslateX": ImageOperation(-0.3, 0.3, geometric.translate_x),
    "TranslateY": ImageOperation(-0.3, 0.3, geometric.translate_y),
}


@TRANSFORMS.register_module()
class RandAugment:
    """Apply `num_ops` operations, drawn with replacement, each with its own uniform magnitude.

    Args:
        num_ops: operations per image.
        operations: names to draw from; None: all of `OPERATIONS`.

    Raises:
        UserError: an unknown operation, or none at all.
    """

    def __init__(self, num_ops: int = 3, operations: Sequence[str] | None = None):
        names = list(OPERATIONS if operations is None else operations)
        if num_ops < 0:
            raise UserError(
                f"RandAugment: num_ops={num_ops!r} is out of range", expected="a count, 0 or more"
            )
        if not names:
            raise UserError(
                "RandAugment has no operation to draw from", expected="names of " + ", ".join(OPERATIONS)
            )
        for name in names:
            if name not in OPERATIONS:
                raise UserError(
                    f"RandAugment has no operation named {name!r}", expected=nearest(name, OPERATIONS)
                )
        self.draws = 2 * num_ops
        self._operations = [OPERATIONS[name] for name in names]

    def __call__(self, image: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Operation i is picked by ``u[2 i]``, its magnitude by ``u[2 i + 1]``; the shape stays."""
        tones = Tones(image)
        for choice, level in u.reshape(-1, 2).tolist():
            operation = self._operations[pick(choice, len(self._operations))]
            tones = operation(tones, operation.low + (operation.high - operation.low) * level)
        return tones.image()
