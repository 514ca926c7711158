"""UDA's loss on the labeled items, which leaves out those that are learnt already."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from typing_extensions import override

from ferbench.arguments import check_choice
from ferbench.distributed import gather_rows
from ferbench.functional.losses import cross_entropy, weighted_mean
from ferbench.functional.weighting import annealed_ceiling
from ferbench.lifecycle import RunContext
from ferbench.losses.supervised import SupervisedCrossEntropy
from ferbench.registry import LOSSES

SCHEDULES = ("none", "linear", "log", "exp")
CONFIDENCES = ("label", "top")
DIVISORS = ("kept", "batch")


@LOSSES.register_module()
class AnnealedCrossEntropy(SupervisedCrossEntropy):
    """Cross-entropy of the labeled items whose confidence is at most tau(it), which rises from 1/C to 1 over the run.

    Training signal annealing (UDA, Xie et al. 2020, arXiv 1904.12848, app. A.1).

    Args:
        schedule: how tau rises, see `ferbench.functional.weighting.annealed_ceiling`; ``none``: nothing is left out.
        confidence: the probability of the ``label`` (the paper), or the ``top`` one (which also leaves out what the model
            is sure of and wrong about).
        divide_by: the mean is over the ``kept`` items of the global batch (the paper), or over the whole ``batch``.
        class_weight: see `SupervisedCrossEntropy`.

    Attributes:
        ceiling: tau of the last step.

    >>> import torch
    >>> loss = AnnealedCrossEntropy("linear")
    >>> loss.bind(RunContext(num_classes=2, num_labeled=4, num_unlabeled=8, max_iters=100, class_counts=(2, 2)))
    >>> logits = torch.tensor([[0.0, 0.0], [3.0, 0.0]])
    >>> loss(logits, torch.tensor([0, 0]), iteration=0)
    tensor(0.6931)
    >>> loss.ceiling
    0.5
    """

    def __init__(
        self,
        schedule: str = "linear",
        confidence: str = "label",
        divide_by: str = "kept",
        class_weight: Sequence[float] | None = None,
    ):
        super().__init__(class_weight)
        check_choice(self, SCHEDULES, schedule=schedule)
        check_choice(self, CONFIDENCES, confidence=confidence)
        check_choice(self, DIVISORS, divide_by=divide_by)
        self.schedule, self.confidence, self.divide_by = schedule, confidence, divide_by
        self.ceiling = 1.0

    @override
    def bind(self, context: RunContext) -> None:
        super().bind(context)
        self.max_iters = context.max_iters

    @override
    def forward(self, logits: Tensor, target: Tensor, iteration: int) -> Tensor:
        probs = logits.detach().float().softmax(dim=1)
        self.ceiling = annealed_ceiling(iteration / self.max_iters, self.schedule, probs.shape[1])
        label = target.argmax(dim=1) if target.is_floating_point() else target
        confidence = (
            probs.gather(1, label[:, None]).squeeze(1)
            if self.confidence == "label"
            else probs.max(dim=1).values
        )
        keep = (confidence <= self.ceiling).float()
        loss = weighted_mean(cross_entropy(logits, target, self.class_weight), keep)
        if self.divide_by == "batch":
            return loss
        kept = gather_rows(keep)
        return loss / kept.mean().clamp(min=1 / len(kept))
