"""MultiMatch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from ferbench.algorithms.matching import Matching
from ferbench.arguments import NONNEGATIVE, check_numbers
from ferbench.contracts import MatchingStep, Output
from ferbench.distributed import local_rows
from ferbench.registry import ALGORITHMS
from ferbench.targets.agreement import AgreedTarget
from ferbench.thresholds.agreement import HeadAgreement


@ALGORITHMS.register_module()
class MultiMatch(Matching):
    """Three heads on one backbone teach each other (Sirbu et al. 2025, arXiv 2506.07801).

    Each head learns from the labels, and on the strong view what the two others agree on or one of them is sure of, see
    `HeadAgreement`: ``L = mean_h(L_x,h) + lambda_u * mean_h(mean_i(w_ih * H(y_ih, p_ih)))``. The mean of the three heads'
    logits is the prediction. The authors add the heads' L_x up and use lambda_u 3 on text, which is this ratio times 3.

    Args:
        disagreement: weight of the items that only one of two heads is sure of.
        agreement: any other argument of `HeadAgreement`.
        lambda_u: weight of the unsupervised loss.
        parts: any other argument of `Matching`.
    """

    def __init__(
        self, disagreement: float = 3.0, agreement: dict | None = None, lambda_u: float = 1.0, **parts: Any
    ):
        check_numbers(self, NONNEGATIVE, lambda_u=lambda_u)
        own = HeadAgreement(disagreement=disagreement, **(agreement or {}))
        defaults = dict(threshold=own, target=AgreedTarget(own), embedding="peers")
        # The rule's weights are divided by `disagreement`.
        super().__init__(lambda_u=lambda_u * disagreement, **{**defaults, **parts})

    @override
    def prediction(self, output: Output) -> Tensor:
        return torch.cat([output.logits[:, None], output.heads["peers"]], dim=1).mean(dim=1)

    def _compared(self, step: MatchingStep) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
        (labeled, target), (strong, _, _) = super()._compared(step)
        more_labeled, more_strong = (
            step.outputs[view].heads["peers"].unbind(dim=1) for view in ("labeled", self.prediction_view)
        )
        labels, weights = (
            local_rows(x).t().flatten() for x in (self.threshold.labels, self.threshold.weights)
        )
        targets = torch.cat([target] * (1 + len(more_labeled)))
        return (torch.cat([labeled, *more_labeled]), targets), (
            torch.cat([strong, *more_strong]),
            labels,
            weights,
        )
