"""Writes down what happens to each class while a run goes on."""

from __future__ import annotations

import math
import time
from datetime import timedelta
from typing import Any

from mmengine.hooks import Hook
from rich.cells import cell_len

from ferbench.contracts import StepResult
from ferbench.core.text import printable, short_names, tags
from ferbench.distributed import rank
from ferbench.engine.hooks.step_statistics import StepStatistics
from ferbench.engine.log_writer import LogWriter
from ferbench.errors import UserError
from ferbench.evaluation.metrics import further_scores
from ferbench.lifecycle import parts_of
from ferbench.registry import HOOKS
from ferbench.thresholds.base import ThresholdRule
from ferbench.viz.tensorboard import add_layout


@HOOKS.register_module()
class PseudoLabelMonitor(Hook):
    """Losses, thresholds, utilization, purity, pseudo-label shares, confidences and speed, every ``interval`` iterations.

    To the log, to ``metrics.jsonl``, and to the visualizer's back-ends (TensorBoard, W&B, MLflow, as configured).
    Everything is summed on the device, which is read back at the end of an interval only. There, too, a run is stopped
    whose pseudo-labels got weights outside [0, 1]. Purity compares with hidden labels, which no algorithm sees.

    Args:
        interval: iterations between two records.
        patience: records in a row without any selected pseudo-label after which the log warns.
    """

    priority = "ABOVE_NORMAL"

    def __init__(self, interval: int = 100, patience: int = 5):
        self.interval, self.patience = interval, patience
        self.empty_records = 0

    def before_run(self, runner: Any) -> None:
        """Prepare the sums (a resume fills them in afterwards)."""
        self.log = LogWriter(runner.work_dir)
        self.statistics = StepStatistics(len(runner.data.classes), runner.train_loop.device)

    def before_train(self, runner: Any) -> None:
        """Drop records of iterations that a resumed run will do again."""
        self.log.rewind(runner.iter)
        self.busy, self.iterations = 0.0, 0
        self.last: dict[str, Any] = {}
        if rank() == 0:
            add_layout(runner.visualizer, runner.data.classes)
        self._mark(runner)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: list[StepResult] | None = None
    ) -> None:
        """Add one step; report at the end of an interval."""
        assert outputs is not None
        hidden = data_batch.get("unlabeled", {}).get("hidden_labels")
        parts = hidden.chunk(len(outputs)) if hidden is not None else [None] * len(outputs)
        for result, labels in zip(outputs, parts, strict=True):
            self.statistics.add(result, labels)
        self.iterations += 1
        done = runner.iter + 1
        if done % self.interval == 0 or done == runner.max_iters:
            self._close_interval(runner, done)
        else:
            self.busy += time.perf_counter() - self.started

    def after_iteration(self, runner: Any) -> None:
        """Time spent on validation, passes and checkpoints is not training time. A run that is stopped ends an interval."""
        if runner.train_loop.done and self.iterations:
            self._mark(runner)
            self._close_interval(runner, runner.iter)
        self._mark(runner)

    def _close_interval(self, runner: Any, done: int) -> None:
        self._check_weights(runner, done)  # first: a weight that is NaN makes the loss NaN
        runner.train_loop.check_finite()
        summary = self.statistics.summary()  # waits for the device: what follows is real time
        self.busy += time.perf_counter() - self.started
        self._report(runner, summary, done)
        self.busy, self.iterations, runner.train_loop.data_wait = 0.0, 0, 0.0

    def after_val_epoch(self, runner: Any, metrics: dict[str, dict[str, Any]] | None = None) -> None:
        """Record a validation, and print what became of each class."""
        assert metrics is not None
        raw, ema = metrics["raw"], metrics["ema"]
        self.log.append({"kind": "val", "iter": runner.iter, "raw": raw, "ema": ema})
        lines = [
            f"val   iter {runner.iter}: macro-F1 {100 * raw['macro_f1']:.2f} raw, {100 * ema['macro_f1']:.2f} EMA; "
            f"accuracy {100 * raw['accuracy']:.2f} raw, {100 * ema['accuracy']:.2f} EMA"
            + "".join(f"; {k} {raw[k]:.4g} raw, {ema[k]:.4g} EMA" for k in further_scores(ema))
        ]
        lines += self._class_lines(runner.data.classes, ema)
        runner.logger.info("\n".join(lines))
        shown = ("macro_f1", "accuracy", *further_scores(ema))
        self._to_backends(runner, {f"val/{w}/{k}": metrics[w][k] for w in ("raw", "ema") for k in shown})

    def state_dict(self) -> dict[str, Any]:
        """The open interval's sums."""
        return {"statistics": self.statistics.state_dict(), "empty_records": self.empty_records}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `state_dict`."""
        self.statistics.load_state_dict(state["statistics"])
        self.empty_records = state["empty_records"]

    def _mark(self, runner: Any) -> None:
        self.started = time.perf_counter()

    def _check_weights(self, runner: Any, done: int) -> None:
        """Stop all processes if a rule broke its promise: such weights scale the loss, and make the diagnostics wrong."""
        if outside := self.statistics.count_outside():
            algorithm = runner.bare_model.algorithm
            rules = [p for p in parts_of(algorithm) if isinstance(p, ThresholdRule)] or [algorithm]
            raise UserError(
                f"{' and '.join(type(r).__name__ for r in rules)} gave {outside} pseudo-labels a weight outside [0, 1] or NaN "
                f"before iteration {done}",
                where="model.algorithm",
                expected="weights in [0, 1], which say how much of an item's loss counts",
                fix="scale or clamp them, and check the rule with ferbench.testing.check_rule (docs/howto/plugin.md)",
            )

    def _report(self, runner: Any, summary: dict[str, Any], done: int) -> None:
        loop = runner.train_loop
        speed = {
            "lr": runner.optim_wrapper.param_groups[0]["lr"],
            "images_per_s": loop.images_per_step * self.iterations / self.busy,
            "data_wait": loop.data_wait / self.busy,
        }
        record = {"kind": "train", "iter": done, **summary, **speed}
        self.log.append(record)
        self.last = record
        left = timedelta(seconds=round((runner.max_iters - done) * self.busy / self.iterations))
        text = f"train iter {done}/{runner.max_iters}  " + "  ".join(
            f"{k} {v:.4f}" for k, v in record["losses"].items()
        )
        if "utilization_mean" in record:
            text += f"  utilization {record['utilization_mean']:.3f}"
            if not math.isnan(record["purity_mean"]):  # no hidden label known, or nothing selected
                text += f"  purity {record['purity_mean']:.3f}"
        text += f"  lr {speed['lr']:.5f}  {speed['images_per_s']:.0f} images/s (waits for data {speed['data_wait']:.0%})"
        runner.logger.info(f"{text}  left {left}")
        self._warn_if_nothing_passes(runner, record)
        self._to_backends(runner, _flat(record, runner.data.classes), step=done)

    def _warn_if_nothing_passes(self, runner: Any, record: dict[str, Any]) -> None:
        if record.get("utilization_mean") != 0:
            self.empty_records = 0
            return
        self.empty_records += 1
        if self.empty_records % self.patience == 0:
            runner.logger.warning(
                f"no pseudo-label has passed its threshold for {self.empty_records * self.interval} iterations: "
                f"the run trains on labeled images only. Confidence quantiles {record['confidence_quantiles']}, "
                f"thresholds {record['threshold']}. Train longer, lower the threshold, or check the labeled loss."
            )

    def _class_lines(self, classes: tuple[str, ...], scores: dict[str, Any]) -> list[str]:
        names = short_names([printable(c) for c in classes])
        width = max(map(cell_len, names))
        columns = [
            c for c in ("threshold", "utilization", "purity", "pseudo_label_share") if self.last.get(c)
        ]
        lines = [
            "      " + " " * width + "      F1" + "".join(f"  {c.replace('_', ' '):>18}" for c in columns)
        ]
        for i, name in enumerate(names):
            cells = "".join(f"  {_number(self.last[c][i]):>18}" for c in columns)
            lines.append(f"      {name}{' ' * (width - cell_len(name))}  {100 * scores['f1'][i]:6.2f}{cells}")
        return lines

    def _to_backends(self, runner: Any, scalars: dict[str, Any], step: int | None = None) -> None:
        numbers = {k: float(v) for k, v in scalars.items() if v is not None and v == v}
        runner.visualizer.add_scalars(numbers, step=runner.iter if step is None else step)


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.3f}"


def _flat(record: dict[str, Any], classes: tuple[str, ...]) -> dict[str, Any]:
    flat = {f"loss/{k}": v for k, v in record["losses"].items()}
    for key in ("threshold", "utilization", "purity", "pseudo_label_share"):
        flat.update(
            {f"{key}/{name}": v for name, v in zip(tags(classes), record.get(key) or (), strict=False)}
        )
    flat.update({f"confidence/{q}": v for q, v in record.get("confidence_quantiles", {}).items()})
    flat.update(
        {
            k: record[k]
            for k in ("lr", "images_per_s", "data_wait", "utilization_mean", "purity_mean")
            if k in record
        }
    )
    return flat
