"""What happened to the pseudo-labels since the last look, summed on the device without a sync."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ferbench.contracts import PseudoLabels, StepResult
from ferbench.distributed import rank, sum_over_ranks, world_size

SLACK = 1e-3  # by which rounding may bring a weight out of [0, 1]
BINS = 200  # of the confidence histogram; quantiles are exact to half a percent point
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class StepStatistics:
    """Sums over steps; `summary` reads them back once and starts anew.

    Args:
        num_classes: C.
        device: where the sums live.
    """

    def __init__(self, num_classes: int, device: torch.device):
        self.num_classes, self.device = num_classes, device
        self.clear()

    def clear(self) -> None:
        """Start anew."""
        self.steps = 0
        self.losses: dict[str, Tensor] = {}
        self.per_class = torch.zeros(4, self.num_classes, dtype=torch.float64, device=self.device)
        self.histogram = torch.zeros(BINS, dtype=torch.float64, device=self.device)
        self.outside = torch.zeros((), dtype=torch.int64, device=self.device)
        self.thresholds: Tensor | None = None
        self.seen_pseudo_labels = False

    def add(self, result: StepResult, hidden_labels: Tensor | None) -> None:
        """Add one step (or micro-batch) of this process.

        Args:
            result: the step's result.
            hidden_labels: [b] true classes of the unlabeled items, -1 where unknown; used for purity only.
        """
        self.steps += 1
        for name, value in {"loss": result.loss, **result.parts}.items():
            self.losses[name] = self.losses.get(name, 0) + value.detach().double()
        if result.pseudo_labels is not None and hidden_labels is not None:
            self._add_pseudo_labels(result.pseudo_labels, hidden_labels)

    def _add_pseudo_labels(self, found: PseudoLabels, hidden: Tensor) -> None:
        self.seen_pseudo_labels = True
        weight = found.weight.double()
        inside = (weight >= -SLACK) & (weight <= 1 + SLACK)  # which NaN is not
        self.outside += (found.probs.isfinite().all(dim=1) & ~inside).sum()
        known = weight * (hidden >= 0)
        rows = torch.stack([torch.ones_like(weight), weight, known, known * (hidden == found.label)])
        self.per_class.index_add_(1, found.label, rows)
        place = (found.confidence.float() * BINS).long().clamp(0, BINS - 1)
        self.histogram.index_add_(0, place, torch.ones_like(weight))
        self.thresholds = found.thresholds

    def count_outside(self) -> int:
        """Pseudo-labels of all ranks since the last `summary` whose weight is not in [0, 1]; reads the device.

        Where the probabilities are NaN or infinite the training has diverged, and the weight is not to blame.
        """
        return int(sum_over_ranks(self.outside.clone()))

    def summary(self) -> dict[str, Any]:
        """Means over the steps and ranks since the last call: the statistics of a ``train`` record (see docs/outputs.md)."""
        if not self.steps:
            return {}
        names = sorted(self.losses)
        losses = sum_over_ranks(torch.stack([self.losses[n] for n in names])) / (self.steps * world_size())
        out: dict[str, Any] = {"losses": dict(zip(names, losses.tolist(), strict=True))}
        if self.seen_pseudo_labels:
            counts, weights, known, right = sum_over_ranks(self.per_class).cpu()
            total = counts.sum()
            out["threshold"] = None if self.thresholds is None else self.thresholds.tolist()
            out["utilization"] = (weights / counts).tolist()
            out["purity"] = (right / known).tolist()
            out["purity_count"] = known.tolist()
            out["pseudo_label_share"] = (counts / total).tolist()
            out["utilization_mean"] = float(weights.sum() / total)
            out["purity_mean"] = float(right.sum() / known.sum())
            out["confidence_quantiles"] = _quantiles(sum_over_ranks(self.histogram).cpu(), QUANTILES)
        self.clear()
        return out

    def state_dict(self) -> dict[str, Any]:
        """The sums over all processes (called by all of them), as plain types and tensors."""
        losses = {name: sum_over_ranks(self.losses[name].clone()) for name in sorted(self.losses)}
        return {
            "steps": self.steps, "losses": losses, "per_class": sum_over_ranks(self.per_class.clone()),
            "histogram": sum_over_ranks(self.histogram.clone()), "thresholds": self.thresholds,
            "seen": self.seen_pseudo_labels,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `state_dict`. The first process goes on from all sums, the others from 0, so that the total is right."""
        share = 1.0 if rank() == 0 else 0.0
        self.steps, self.seen_pseudo_labels = state["steps"], state["seen"]
        self.losses = {k: v.to(self.device) * share for k, v in state["losses"].items()}
        self.per_class = state["per_class"].to(self.device) * share
        self.histogram = state["histogram"].to(self.device) * share
        self.thresholds = None if state["thresholds"] is None else state["thresholds"].to(self.device)


def _quantiles(histogram: Tensor, levels: Sequence[float]) -> dict[str, float]:
    """Quantiles of confidences in [0, 1] from their histogram (bin centres)."""
    cumulative = histogram.cumsum(0) / histogram.sum()
    return {str(q): (int((cumulative < q).sum()) + 0.5) / len(histogram) for q in levels}
