"""Self-supervision by rotation: a head predicts by which angle an image was turned."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from ferbench.arguments import NONNEGATIVE, check_numbers
from ferbench.contracts import Batch, MatchingStep
from ferbench.distributed import local_rows, world_size
from ferbench.functional.losses import cross_entropy
from ferbench.functional.randomness import derive_seed
from ferbench.lifecycle import RunContext
from ferbench.losses.base import ExtraTerm
from ferbench.registry import LOSSES

ANGLES = 4  # multiples of 90 degrees


@LOSSES.register_module()
class RotationTerm(ExtraTerm):
    """``mean_i H(r_i, q(Rotate(u_i, r_i)))``, r one of 0, 90, 180, 270 degrees (ReMixMatch, arXiv 1911.09785, sec. 3.3).

    The unlabeled images are turned on the device, and a head ``rotation`` on the features (a linear layer to 4 classes)
    tells by how much. The angles are a function of seed and the batch's number and drawn for the global batch, so they do not
    depend on the number of processes.

    Args:
        weight: factor in the total loss.
        view: the unlabeled view that is turned.
        every_angle: turn each image by all four angles (4 * mu * B further images per step) instead of by a random one
            (mu * B).

    >>> labels, images = torch.zeros(2, dtype=torch.int64), torch.zeros(2, 3, 8, 8)
    >>> batch = Batch({}, labels, labels, {"strong": images}, labels, labels, iteration=0)
    >>> RotationTerm(every_angle=True).derived_views(batch)["rotated"].shape
    torch.Size([8, 3, 8, 8])
    """

    name = "rotation"
    needs_gradient = ("rotated",)

    def __init__(self, weight: float = 0.5, view: str = "strong", every_angle: bool = False):
        super().__init__()
        check_numbers(self, NONNEGATIVE, weight=weight)
        self.weight, self.view, self.every_angle = weight, view, every_angle
        self.views = (view,)

    @override
    def bind(self, context: RunContext) -> None:
        self.seed = context.seed

    @override
    def heads(self, num_features: int, num_classes: int) -> dict[str, nn.Module]:
        return {"rotation": nn.Linear(num_features, ANGLES)}

    def derived_views(self, batch: Batch) -> Mapping[str, Tensor]:
        """``rotated``: [mu * b, 3, S, S], or four times as many."""
        images = batch.unlabeled[self.view]
        turned = torch.stack([torch.rot90(images, angle, dims=(2, 3)) for angle in range(ANGLES)])
        if self.every_angle:
            return {"rotated": turned.flatten(0, 1)}
        rows = torch.arange(len(images), device=images.device)
        return {"rotated": turned[self._angles(batch, images), rows]}

    def forward(self, step: MatchingStep) -> Tensor:
        """Unweighted term, []."""
        logits = step.outputs["rotated"].heads["rotation"]
        return cross_entropy(logits, self._angles(step.batch, logits)).mean()

    def _angles(self, batch: Batch, like: Tensor) -> Tensor:
        """By how many quarter turns each rotated image is turned, on the device of ``like``."""
        items = len(batch.unlabeled[self.view])
        if self.every_angle:
            return torch.arange(ANGLES, device=like.device).repeat_interleave(items)
        draw = np.random.default_rng(derive_seed(self.seed, "rotation", batch.number))
        angles = torch.from_numpy(draw.integers(ANGLES, size=items * world_size()))
        return local_rows(angles).to(like.device, non_blocking=True)
