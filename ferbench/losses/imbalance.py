"""Losses on the labeled items that correct for how many labels each class has; each wraps another supervised loss."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from typing_extensions import override

from ferbench.arguments import NONNEGATIVE, SHARE_BELOW_1, check_choice, check_numbers
from ferbench.core.parts import build
from ferbench.functional.imbalance import SCHEMES, class_weights, log_prior
from ferbench.functional.probabilities import as_probabilities
from ferbench.lifecycle import RunContext, require_shuffled
from ferbench.losses.base import SupervisedLoss
from ferbench.registry import LOSSES


@LOSSES.register_module()
class LogitAdjusted(SupervisedLoss):
    """``loss(z + tau * log prior, y)``: the logits that are evaluated learn to do without the prior.

    Logit adjustment (Menon et al. 2021, arXiv 2007.07314, eq. 10).

    Args:
        tau: strength; 1 is consistent for the balanced error.
        loss: config of the loss underneath; None: `SupervisedCrossEntropy`.

    Buffers:
        prior: float32 [C], log of each class' share of the labeled items.

    >>> import torch
    >>> loss = LogitAdjusted(tau=1.0)
    >>> loss.bind(RunContext(num_classes=2, num_labeled=4, num_unlabeled=8, max_iters=100, class_counts=(3, 1)))
    >>> (-loss(torch.zeros(1, 2), torch.tensor([1]), iteration=0)).exp()
    tensor(0.2500)
    """

    prior: Tensor

    def __init__(self, tau: float = 1.0, loss: Any = None):
        super().__init__()
        check_numbers(self, NONNEGATIVE, tau=tau)
        self.tau, self.loss = tau, _inner(loss, "LogitAdjusted.loss")

    @override
    def bind(self, context: RunContext) -> None:
        require_shuffled(self, context)
        self.register_buffer("prior", log_prior(context.class_counts), persistent=False)

    @override
    def forward(self, logits: Tensor, target: Tensor, iteration: int) -> Tensor:
        return self.loss(logits.float() + self.tau * self.prior, target, iteration)


@LOSSES.register_module()
class Reweighted(SupervisedLoss):
    """``loss(z, w * y)``: each class' loss times a factor that falls with its number of labels; the factors' mean is 1.

    Re-weighting by the effective number of items (Cui et al. 2019, arXiv 1901.05555) or by inverse frequency. The factors
    go into the target, in which cross-entropy is linear, so that any loss of that kind can be weighted.

    Args:
        scheme: ``effective_number`` or ``inverse_frequency``, see `ferbench.functional.imbalance.class_weights`.
        beta: of the effective number. The paper tries 0.9, 0.99, 0.999 and 0.9999; the default is ours.
        loss: config of the loss underneath; None: `SupervisedCrossEntropy`.

    Buffers:
        class_weight: float32 [C].

    >>> import torch
    >>> loss = Reweighted("inverse_frequency")
    >>> loss.bind(RunContext(num_classes=2, num_labeled=4, num_unlabeled=8, max_iters=100, class_counts=(3, 1)))
    >>> loss.class_weight
    tensor([0.5000, 1.5000])
    """

    class_weight: Tensor

    def __init__(self, scheme: str = "effective_number", beta: float = 0.999, loss: Any = None):
        super().__init__()
        check_choice(self, SCHEMES, scheme=scheme)
        check_numbers(self, SHARE_BELOW_1, beta=beta)
        self.scheme, self.beta, self.loss = scheme, beta, _inner(loss, "Reweighted.loss")

    @override
    def bind(self, context: RunContext) -> None:
        require_shuffled(self, context)
        weight = class_weights(context.class_counts, self.scheme, self.beta)
        self.register_buffer("class_weight", weight, persistent=False)

    @override
    def forward(self, logits: Tensor, target: Tensor, iteration: int) -> Tensor:
        return self.loss(
            logits, as_probabilities(target, len(self.class_weight)) * self.class_weight, iteration
        )


def _inner(loss: Any, where: str) -> SupervisedLoss:
    return (
        loss
        if isinstance(loss, SupervisedLoss)
        else build(LOSSES, loss or dict(type="SupervisedCrossEntropy"), where)
    )
