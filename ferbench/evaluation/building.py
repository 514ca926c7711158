"""From the evaluators of a config to metrics: ours, users' own, and those written for mmengine's evaluator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch.distributed as dist
from mmengine.evaluator import BaseMetric, DumpResults
from torch import Tensor

from ferbench.core.parts import build, kind_of, parameters
from ferbench.distributed import world_size
from ferbench.errors import UserError
from ferbench.registry import METRICS


def build_metrics(evaluator: Any, classes: Sequence[str], where: str) -> list[Any]:
    """The metrics of an evaluator.

    Args:
        evaluator: config of a metric, or a list of them; `BaseMetric` of mmengine and its subclasses included.
        classes: names, passed to the metrics that take ``classes``.
        where: section of the config, for messages.

    Raises:
        UserError: no metric, or one that cannot be built.
    """
    configs = [evaluator] if isinstance(evaluator, Mapping) else evaluator
    if not isinstance(configs, Sequence) or isinstance(configs, str) or not configs:
        raise UserError(f"{where} is {evaluator!r}", expected="dict(type=..., ...), or a list of them")
    return [_build(config, classes, where) for config in configs]


def _build(config: Any, classes: Sequence[str], where: str) -> Any:
    kind = _kind_of(config, where)
    takes_classes = "classes" in parameters(kind)[0]
    if kind is DumpResults:
        raise UserError(
            "mmengine's DumpResults writes a file at each evaluation, of which the last is left",
            where=where,
            fix="leave it out: python tools/test.py CONFIG CHECKPOINT --out DIR writes the predictions of a checkpoint",
        )
    metric = build(METRICS, config, where, **({"classes": tuple(classes)} if takes_classes else {}))
    return FromMMEngine(metric, classes) if isinstance(metric, BaseMetric) else metric


def _kind_of(config: Any, where: str) -> Any:
    """The class of a metric; of a name that only mmpretrain has, the error says so."""
    try:
        return kind_of(METRICS, config, where)
    except UserError as error:
        name = config.get("type") if isinstance(config, Mapping) else None
        if isinstance(name, str) and "." not in name:
            with suppress(UserError):
                kind_of(METRICS, {"type": f"mmpretrain.{name}"}, where)
                error = UserError(
                    error.what, where=f"{where}.type", fix=f"mmpretrain has one: type='mmpretrain.{name}'"
                )
        raise error from None


class FromMMEngine:
    """A metric for mmengine's evaluator, as a metric of ours.

    It is given each labeled image as mmpretrain's metrics expect one: ``pred_score`` ([C] probabilities), ``pred_label`` and
    ``gt_label`` ([1]); there is no ``data_batch``. Its results are gathered from all processes, those of the first process
    first; the scores keep their names, with ``_`` in place of ``/``.

    Args:
        metric: an mmengine `BaseMetric`.
        classes: names, its ``dataset_meta['classes']``.
    """

    def __init__(self, metric: BaseMetric, classes: Sequence[str]):
        self.wrapped = metric
        metric.dataset_meta = {"classes": tuple(classes)}

    def reset(self) -> None:
        """Forget everything."""
        self.wrapped.results.clear()

    def update(self, probs: Tensor, labels: Tensor) -> None:
        """Count one batch.

        Args:
            probs: [B, C] probabilities.
            labels: [B] class indices; below 0: not annotated, not counted.
        """
        known = labels >= 0
        probs, labels = probs[known].cpu(), labels[known].cpu()
        predicted = probs.argmax(dim=1)
        rows = zip(probs, predicted[:, None], labels[:, None], strict=True)
        samples = [dict(zip(("pred_score", "pred_label", "gt_label"), row, strict=True)) for row in rows]
        if samples:
            self.wrapped.process({}, samples)

    def compute(self) -> dict[str, Any]:
        """The scores; must be called by all processes, and every process gets the same."""
        parts = [list(self.wrapped.results)] * world_size()
        if world_size() > 1:
            dist.all_gather_object(parts, self.wrapped.results)
        scores = self.wrapped.compute_metrics([result for part in parts for result in part])
        if not isinstance(scores, Mapping):
            return scores
        prefix = f"{self.wrapped.prefix}_" if self.wrapped.prefix else ""
        return {(prefix + str(name)).replace("/", "_"): value for name, value in scores.items()}
