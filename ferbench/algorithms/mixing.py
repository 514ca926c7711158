"""The step that MixMatch, ReMixMatch and ICT share: its losses are computed on mixtures of images and of targets."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from ferbench.algorithms.matching import Matching
from ferbench.arguments import POSITIVE, check_choice, check_numbers
from ferbench.contracts import MatchingStep, Network, Output, Views
from ferbench.distributed import gather_rows, rank, world_size
from ferbench.errors import UserError
from ferbench.functional.mixup import mix
from ferbench.functional.probabilities import as_probabilities
from ferbench.functional.randomness import derive_seed
from ferbench.lifecycle import Part, RunContext

MIX_TARGETS = ("probabilities", "logits")


class Rows(NamedTuple):
    """Rows of images and of their targets that are mixed.

    Attributes:
        images: [b, 3, S, S].
        target: [b, C] probabilities, or logits.
        weight: [b] in [0, 1].
    """

    images: Tensor
    target: Tensor
    weight: Tensor


class Mixer(Part):
    """MixUp (Zhang et al. 2018, arXiv 1710.09412) within the concatenation of several groups of rows.

    One lambda ~ Beta(alpha, alpha) and one permutation per batch, drawn for all processes as functions of seed and the
    batch's number. The images of all processes are gathered, so that any row can be any other's partner; each process gets
    its own rows back, mixed.

    Args:
        alpha: of the Beta distribution.
        dominant: lambda := max(lambda, 1 - lambda), so that a mixture is mostly its own row.
    """

    def __init__(self, alpha: float, dominant: bool = True):
        super().__init__()
        check_numbers(self, POSITIVE, alpha=alpha)
        self.alpha, self.dominant = alpha, dominant

    @override
    def bind(self, context: RunContext) -> None:
        self.seed = context.seed

    def draw(self, rows: int, number: int) -> tuple[float, np.ndarray]:
        """Lambda (before the larger share is taken), and the partner of every row of the global concatenation, [rows]."""
        generator = np.random.default_rng(derive_seed(self.seed, "mixup", number))
        return float(generator.beta(self.alpha, self.alpha)), generator.permutation(rows)

    def forward(self, groups: Sequence[Rows], number: int) -> list[Rows]:
        """The groups, mixed among each other; a row of weight w is mixed into another with w times the partner's share."""
        own = Rows(*(torch.cat(column).detach() for column in zip(*groups, strict=True)))
        everybody = own
        if world_size() > 1:  # each group in the order of a single process
            everybody = Rows(
                torch.cat([gather_rows(group.images) for group in groups]),
                torch.cat([gather_rows(group.target) for group in groups]),
                torch.cat([gather_rows(group.weight) for group in groups]),
            )
        sizes = [len(group.images) for group in groups]
        kept, order = self.draw(world_size() * sum(sizes), number)
        if self.dominant:
            kept = max(kept, 1.0 - kept)
        starts = [world_size() * sum(sizes[:i]) + rank() * size for i, size in enumerate(sizes)]
        places = np.concatenate([np.arange(a, a + n) for a, n in zip(starts, sizes, strict=True)])
        partner = torch.from_numpy(order[places].astype(np.int64)).to(own.weight.device, non_blocking=True)

        share = (1.0 - kept) * everybody.weight[partner]
        images = mix(own.images, everybody.images[partner], share)
        target = mix(own.target, everybody.target[partner], share)
        columns = (column.split(sizes) for column in (images, target, own.weight))
        return [Rows(*group) for group in zip(*columns, strict=True)]


class Mixing(Matching):
    """`Matching` that learns mixtures: of images, and of labels and pseudo-labels in the same shares.

    ``L = L_x(mixed labeled) + lambda_u * ramp * consistency(mixed unlabeled, mixed targets)``

    The rules see the views as they came (in passes that leave batch-norm's running statistics alone where the labeled
    images are mixed too: the statistics are then those of the mixtures). An item that the threshold rule gives a lower
    weight counts less, and is mixed into others by a smaller share; with weight 1 this is plain MixUp.

    Memory: on several processes, each gathers all images that are mixed.

    Args:
        mixed_views: unlabeled views that are mixed; their order is that of the concatenation, after the labeled images.
        mix_labeled: mix the labeled images, too; else ``L_x`` is on the labeled images as they are.
        mix_targets: what of the pseudo-labels is mixed: ``probabilities``, or ``logits``, of which the softmax is then the
            target (unlabeled images alone: a label has no logits).
        alpha, dominant: see `Mixer`.
        parts: any argument of `Matching`, but for ``prediction_view``: the mixtures are what learns.
    """

    def __init__(
        self,
        mixed_views: Sequence[str],
        alpha: float,
        mix_labeled: bool = True,
        dominant: bool = True,
        mix_targets: str = "probabilities",
        **parts: Any,
    ):
        super().__init__(prediction_view=mixed_views[0], **parts)
        check_choice(self, MIX_TARGETS, mix_targets=mix_targets)
        if mix_targets == "logits" and mix_labeled:
            raise UserError(
                "labels have no logits that could be mixed",
                where="model.algorithm.mix_targets",
                expected="mix_labeled=False, or mix_targets='probabilities'",
            )
        self.mixed_views, self.mix_labeled, self.mix_targets = tuple(mixed_views), mix_labeled, mix_targets
        self.mixer = Mixer(alpha, dominant)

    @property
    @override
    def views(self) -> Views:
        views = super().views
        return replace(views, unlabeled=tuple(dict.fromkeys((*views.unlabeled, *self.mixed_views))))

    @property
    def _learning(self) -> tuple[str, ...]:
        return () if self.mix_labeled else ("labeled",)

    def _pass(
        self,
        network: Network,
        labeled: Mapping[str, Tensor],
        unlabeled: Mapping[str, Tensor],
        learning: Collection[str],
    ) -> dict[str, Output]:
        if self.mix_labeled:
            return network({**labeled, **unlabeled}, learning, update_statistics=False)
        return super()._pass(network, labeled, unlabeled, learning)

    def _compared(self, step: MatchingStep) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
        batch, classes = step.batch, step.probs.shape[1]
        target = as_probabilities(step.target, classes)
        if (
            self.mix_targets == "logits"
        ):  # up to a constant per row, which the softmax drops from a mixture, too
            target = target.clamp_min(1e-30).log()
        groups = [Rows(batch.unlabeled[view], target, step.weight) for view in self.mixed_views]
        labeled, labeled_target = {}, batch.target
        if self.mix_labeled:
            known = as_probabilities(batch.target, classes)
            groups = [Rows(batch.labeled["weak"], known, torch.ones_like(known[:, 0])), *groups]
        groups = self.mixer(groups, batch.number)
        if self.mix_labeled:
            images, labeled_target, _ = groups.pop(0)
            labeled = {"labeled": images}
        mixed = Rows(*(torch.cat(column) for column in zip(*groups, strict=True)))
        passed = super()._pass(step.network, labeled, {"mixed": mixed.images}, ("labeled", "mixed"))
        outputs = {**step.outputs, **passed}
        prediction = self._with_margins(outputs["mixed"].logits)
        target = mixed.target.softmax(dim=1) if self.mix_targets == "logits" else mixed.target
        return (outputs["labeled"].logits, labeled_target), (prediction, target, mixed.weight)
