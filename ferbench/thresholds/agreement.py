"""MultiMatch's weights: two heads that have been sure make the pseudo-label of the third."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from ferbench.arguments import COUNT, FACTOR, SHARE, check_choice, check_numbers
from ferbench.contracts import Evidence
from ferbench.core.heads import ParallelHeads
from ferbench.core.parts import build
from ferbench.functional.agreement import agreed_label, masked_quantile, pseudo_margins
from ferbench.functional.duplicates import last_occurrence
from ferbench.lifecycle import RunContext, embeddings
from ferbench.registry import THRESHOLDS
from ferbench.thresholds.base import ThresholdRule

HEADS = 3
COMBINE = ("any", "all")


@THRESHOLDS.register_module()
class HeadAgreement(ThresholdRule):
    """Labels and weights for each of three heads from the two others (MultiMatch, arXiv 2506.07801).

    A head is sure of its class c for an item if its average pseudo-margin reaches a cut-off of c. Both sure and agreed:
    weight 1 (easy); exactly one sure: its class, weight ``disagreement`` (hard); else 0. That counts where one of the two
    heads' own threshold rules passes the item. Weights are divided by ``disagreement``, so that they stay in [0, 1]. Of the
    first epoch there are no cut-offs yet, and nothing is selected.

    Average pseudo-margin of (item, head, class): ``m <- m + smoothing / (1 + epoch) * (margin - m)``. Cut-off of (head,
    class) after each epoch: the ``quantile`` of the margins of the two other heads over the items that both predict as the
    class; 0 where there are none. Read from the authors' public code; the paper's text could be read in part only.

    Head 0 is the classifier's own; the two others are the head ``peers``, named as `Matching`'s ``embedding``. The rule
    returns the weights of head 0; `AgreedTarget` and `MultiMatch` read the others.

    Args:
        rule: config of the threshold rule that each head has for itself; None: FreeMatch's.
        smoothing: of the average pseudo-margins in the first epoch.
        quantile: for the cut-offs.
        nonnegative: raise negative cut-offs to 0.
        disagreement: weight of hard items, at least 1.
        combine: ``any``: one of the two heads' own rules must pass the item; ``all``: both.
        epoch_length: iterations; None: a twentieth of the run, as `DynamicThreshold` (the authors': 1,024 of 102,400).

    Buffers:
        margins: float32 [N + 1, 3, C], average pseudo-margins. predicted: int8 [N + 1, 3], last class of each head, -1
        before the first. cutoffs: float32 [3, C], for the label of a head. The last row of the first two is scratch space.
    """

    margins: Tensor
    predicted: Tensor
    cutoffs: Tensor
    labels: Tensor
    weights: Tensor

    def __init__(
        self,
        rule: Any = None,
        smoothing: float = 0.997,
        quantile: float = 0.05,
        nonnegative: bool = False,
        disagreement: float = 3.0,
        combine: str = "any",
        epoch_length: int | None = None,
    ):
        super().__init__()
        check_choice(self, COMBINE, combine=combine)
        check_numbers(self, SHARE, smoothing=smoothing, quantile=quantile)
        check_numbers(self, FACTOR, disagreement=disagreement)
        check_numbers(self, COUNT, or_none=True, epoch_length=epoch_length)
        config = rule or dict(type="SelfAdaptiveThreshold")
        self.rules = nn.ModuleList(
            build(THRESHOLDS, config, "the rule of HeadAgreement") for _ in range(HEADS)
        )
        self.smoothing, self.quantile, self.nonnegative = smoothing, quantile, nonnegative
        self.disagreement, self.combine = disagreement, combine
        self.epoch_length = epoch_length or 0  # 0 until `bind` knows the run

    @override
    def bind(self, context: RunContext) -> None:
        self.epoch_length = self.epoch_length or max(1, context.max_iters // 20)
        rows, classes = context.num_unlabeled + 1, context.num_classes
        self.register_buffer("margins", torch.zeros(rows, HEADS, classes))
        self.register_buffer("predicted", torch.full((rows, HEADS), -1, dtype=torch.int8))
        self.register_buffer("cutoffs", torch.zeros(HEADS, classes))

    @override
    def heads(self, num_features: int, num_classes: int) -> dict[str, nn.Module]:
        return {"peers": ParallelHeads(num_features, num_classes, HEADS - 1)}

    def forward(self, evidence: Evidence) -> Tensor:
        """See `ThresholdRule.forward`. Leaves ``labels`` and ``weights`` [B, 3] of all heads."""
        unlabeled, labeled = (x.softmax(dim=2) for x in embeddings(evidence, "HeadAgreement"))
        probs = torch.cat([evidence.probs.float()[:, None], unlabeled], dim=1)
        labeled = torch.cat([evidence.labeled_probs.float()[:, None], labeled], dim=1)
        epoch = evidence.iteration // self.epoch_length
        if epoch > 0 and evidence.iteration % self.epoch_length == 0:
            self._recalibrate()
        margins = self._average(probs, evidence.index, self.smoothing / (1 + epoch))

        own = [
            rule(replace(evidence, probs=probs[:, h], raw_probs=probs[:, h], labeled_probs=labeled[:, h]))
            for h, rule in enumerate(self.rules)
        ]
        classes = probs.argmax(dim=2)
        found = [self._for_head(h, classes, margins, torch.stack(own)) for h in range(HEADS)]
        self.labels, weights = (torch.stack(x, dim=1) for x in zip(*found, strict=True))
        self.weights = weights if epoch > 0 else torch.zeros_like(weights)
        return self.weights[:, 0]

    def _average(self, probs: Tensor, index: Tensor, share: float) -> Tensor:
        """The items' average pseudo-margins [B, 3, C] after this step, which are also written down."""
        margins = self.margins[index].lerp(pseudo_margins(probs.clamp_min(1e-30).log()), share)
        scratch = torch.full_like(index, len(self.margins) - 1)
        last = last_occurrence(index)
        place = torch.where(last, index, scratch)
        self.margins[place] = torch.where(last[:, None, None], margins, torch.zeros_like(margins))
        predicted = torch.where(last[:, None], probs.argmax(dim=2), -torch.ones_like(index)[:, None])
        self.predicted[place] = predicted.to(self.predicted.dtype)
        return margins

    def _for_head(self, head: int, classes: Tensor, margins: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """Labels and weights [B] of one head, from the others."""
        pair = [h for h in range(HEADS) if h != head]
        reached = margins.gather(2, classes[:, :, None]).squeeze(2) >= self.cutoffs[head][classes]
        label, easy, hard = agreed_label(*(classes[:, h] for h in pair), *(reached[:, h] for h in pair))
        passed = own[pair].amax(dim=0) if self.combine == "any" else own[pair].amin(dim=0)
        return label, (easy / self.disagreement + hard.float()) * passed

    def _recalibrate(self) -> None:
        """New cut-offs; O(N log N), once per epoch."""
        margins, predicted = self.margins[:-1], self.predicted[:-1]
        for head in range(HEADS):
            i, j = (h for h in range(HEADS) if h != head)
            agreed = predicted[:, i] == predicted[:, j]
            for c in range(margins.shape[2]):
                both = agreed & (predicted[:, i] == c)
                values = torch.cat([margins[:, i, c], margins[:, j, c]])
                self.cutoffs[head, c] = masked_quantile(values, both.repeat(2), self.quantile)
        if self.nonnegative:
            self.cutoffs.clamp_(min=0)
