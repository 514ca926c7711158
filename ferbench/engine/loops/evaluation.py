"""The evaluation loop: every image once, student and EMA, over all processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.runner import BaseLoop

from ferbench.core.plain import spelled_out
from ferbench.data.datasets.base import FaceDataset
from ferbench.data.loader import EvalBatches, eval_loader, to_device
from ferbench.distributed import rank, world_size
from ferbench.engine.unreadable import UnreadableLog
from ferbench.errors import UserError
from ferbench.evaluation.building import build_metrics
from ferbench.evaluation.metrics import GroupConfusion, has_videos, is_number, scores_of, try_out
from ferbench.evaluation.predictions import Predictions, file_name, write_predictions
from ferbench.evaluation.smoothing import WINDOW, has_frames, smoothed_frames
from ferbench.registry import LOOPS


@LOOPS.register_module()
class EvaluationLoop(BaseLoop):
    """Evaluates student and EMA on one dataset, each image exactly once over all processes.

    Args:
        runner: the runner.
        dataloader: ``batch_size`` per process, ``num_workers``.
        evaluator: config of the metric, or a list of them; their results are merged.
        part: ``val`` or ``test``.
        smoothing_window: frames over which class probabilities are averaged for the smoothed scores of a test set of
            videos (`ferbench.evaluation.smoothing`), an odd number; None: no such scores.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: Mapping[str, Any],
        evaluator: Any,
        part: str = "val",
        smoothing_window: int | None = WINDOW,
    ):
        self._runner, self.dataloader, self.part = runner, dataloader, part
        if not isinstance(dataloader.get("batch_size"), int) or dataloader["batch_size"] < 1:
            raise UserError(
                f"{part}_dataloader.batch_size is {dataloader.get('batch_size')!r}",
                expected="images per process, at least 1",
            )
        if smoothing_window is not None and not _is_window(smoothing_window):
            raise UserError(
                f"smoothing_window is {smoothing_window!r}",
                where=f"{part}_cfg",
                expected="an odd number of frames, at least 3, or None for no smoothed scores",
            )
        self.smoothing_window = smoothing_window
        classes, where = runner.data.classes, f"{part}_evaluator"
        self.metrics = {weights: build_metrics(evaluator, classes, where) for weights in ("raw", "ema")}
        device = next(runner.model.parameters()).device
        names = try_out(self.metrics["ema"], len(classes), device, where)
        self.score_names = [*names, *(f"{weights}/{name}" for weights in ("raw", "ema") for name in names)]
        self.unreadable = UnreadableLog(
            runner.work_dir,
            runner.logger,
            dataloader.get("max_unreadable", 0.0),
            f"{part}_dataloader.max_unreadable",
        )

    @torch.no_grad()
    def run(
        self, weights: Sequence[str] = ("raw", "ema"), into: Path | None = None
    ) -> dict[str, dict[str, Any]]:
        """Scores of the ``raw`` and the ``ema`` weights; hooks are told what mmengine's loops tell them, in its order.

        Of a test set of videos, the scores hold ``groups``, and where its frames have numbers ``smoothed``: the same scores
        with the class probabilities averaged over neighbouring frames, and the ``window``.

        Args:
            weights: ``raw``, ``ema``.
            into: an existing folder for the tables of predictions (`write_predictions`); None: no such files.
        """
        tell, part = self.runner.call_hook, self.part
        tell(f"before_{part}")
        tell(f"before_{part}_epoch")
        self.runner.model.eval()
        scores = self._evaluate(weights, into)
        tell(f"after_{part}_epoch", metrics=_metrics(scores))
        tell(f"after_{part}")
        return scores

    def _evaluate(self, weights: Sequence[str], into: Path | None) -> dict[str, dict[str, Any]]:
        model, dataset = self.runner.bare_model, self.runner.data.datasets[self.part]
        model.share_buffers()
        device = next(model.parameters()).device
        test = self.part == "test"
        # The test set's frames depend on each other within a video: what intervals are bootstrapped over.
        videos = dataset if test and has_videos(dataset) else None
        counts = {w: _Counts(self.metrics[w], videos) for w in weights}
        window = self.smoothing_window if test and has_frames(dataset) else None
        kept = {w: Predictions(dataset) for w in weights if window is not None or into is not None}
        batches = EvalBatches(dataset, model.preprocess)
        loader = eval_loader(batches, self.dataloader["batch_size"], self.dataloader.get("num_workers"))
        for number, batch in enumerate(loader):
            self.unreadable.count(self.part, len(batch["index"]), batch.pop("unreadable"))
            place = {"batch_idx": number, "data_batch": batch}
            self.runner.call_hook(f"before_{self.part}_iter", **place)
            images, labels = to_device(batch["images"], device), to_device(batch["labels"], device)
            outputs = {}
            for name, own in counts.items():
                outputs[name] = probs = model.predict(images, "student" if name == "raw" else "ema")
                own.update(probs, labels, batch["index"])
                if name in kept:
                    kept[name].update(probs, batch["index"])
            self.runner.call_hook(f"after_{self.part}_iter", **place, outputs=outputs)
        scores = {name: own.scores() for name, own in counts.items()}
        for name, predictions in kept.items():
            index, found = predictions.gather()
            smoothed = None if window is None else smoothed_frames(dataset, index, found, window)
            if smoothed is not None:
                own = _Counts(self.metrics[name], videos)
                mine = index[rank() :: world_size()]
                labels = torch.from_numpy(dataset.labels[mine].astype(np.int64))
                own.update(torch.from_numpy(smoothed[rank() :: world_size()]), labels, torch.from_numpy(mine))
                scores[name]["smoothed"] = {"window": window, **own.scores()}
            if into is not None and rank() == 0:
                write_predictions(into / file_name(name), dataset, index, found, smoothed)
        return scores


class _Counts:
    """The metrics of one kind of weights, from nothing, and the confusion of each video where there are some."""

    def __init__(self, metrics: Sequence[Any], videos: FaceDataset | None):
        self.metrics = metrics
        for metric in metrics:
            metric.reset()
        self.groups = None if videos is None else GroupConfusion(videos)

    def update(self, probs: torch.Tensor, labels: torch.Tensor, index: torch.Tensor) -> None:
        for metric in self.metrics:
            metric.update(probs, labels)
        if self.groups is not None:
            self.groups.update(probs, labels, index)

    def scores(self) -> dict[str, Any]:
        found = scores_of(self.metrics)
        return found if self.groups is None else {**found, "groups": self.groups.compute()}


def _metrics(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What hooks get: the scores by kind of weights; each number as ``raw/<name>`` and ``ema/<name>``; bare names: EMA's."""
    numbers = {w: {k: v for k, v in own.items() if is_number(v)} for w, own in scores.items()}
    flat = {f"{weights}/{name}": v for weights, own in numbers.items() for name, v in own.items()}
    return {**scores, **flat, **numbers.get("ema", {})}


def _is_window(value: Any) -> bool:
    return isinstance(value, int) and value >= 3 and value % 2 == 1


def described(config: Mapping[str, Any], dataset: FaceDataset) -> dict[str, Any]:
    """Over how many frames predictions are smoothed, for the protocol; no key where the data are not numbered frames."""
    if not has_frames(dataset):
        return {}
    return {"smoothing": {"window": spelled_out(LOOPS, config).get("smoothing_window")}}
