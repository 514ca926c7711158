"""Writes the record of a run."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook

from ferbench import records
from ferbench.core import process
from ferbench.core.plain import plain
from ferbench.data.content import counts_by_name
from ferbench.distributed import rank
from ferbench.engine.build import Data
from ferbench.errors import UserError
from ferbench.evaluation.metrics import further_scores
from ferbench.records import environment
from ferbench.records.curves import Timeline, curves_of, finite, to_targets, val_macro_f1
from ferbench.records.doubts import doubts
from ferbench.records.portable import label_of, portable_config
from ferbench.records.protocol import hash_of
from ferbench.registry import ALGORITHMS, HOOKS
from ferbench.viz.runlog import read_metrics

TARGETS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


@HOOKS.register_module()
class RunRecord(Hook):
    """``record.json``: protocol, results, curves and cost of the run (`ferbench.records`).

    It is there from the start, with status ``running``, is written anew at each validation, and is whole when the run has
    been tested.

    Args:
        label: name of the algorithm in tables; None: its type and the parameters that differ from its defaults.
        cell: place in a grid, as `ferbench.recordss.Cell` takes it (the grid runner fills it in).
        targets: validation macro-F1 values for which the time to reach them is recorded.
    """

    priority = "LOWEST"  # after the final report, whose test scores it takes

    def __init__(
        self,
        label: str | None = None,
        cell: Mapping[str, Any] | None = None,
        targets: Sequence[float] = TARGETS,
    ):
        self.label, self.targets = label, tuple(targets)
        self.warned: set[str] = set()
        self.cell = None if cell is None else records.Cell(**plain(cell))

    def before_train(self, runner: Any) -> None:
        """Describe the run before its first step, so that one that is killed has a record, too."""
        if rank() != 0:
            return
        model, data, cfg = runner.bare_model, runner.data, runner.cfg
        protocol = runner.protocol
        algorithm = plain(cfg.model.algorithm)
        config = portable_config(cfg)
        drawn = (cfg.get("split") or {}).get("file")
        if drawn and Path(drawn).parent == Path(runner.work_dir):  # the manifest that a resumed run finds
            del config["split"]["file"]
        self.known = {
            "schema": records.SCHEMA,
            "failure": None,
            "label": self.label or label_of(ALGORITHMS, algorithm),
            "algorithm": config["model"]["algorithm"],
            "seed": runner.seed,
            "split_hash": data.split.hash if data.split else None,
            "protocol": protocol,
            "protocol_hash": hash_of(protocol),
            "classes": list(data.classes),
            "data": _data_parts(data, model.algorithm.all_labels),
            "code": environment.code(config),
            "libraries": environment.libraries(),
            "hardware": environment.hardware(),
            "command": process.command(),
            "config": config,
            "cell": self.cell,
        }
        self.load = _load_so_far(Path(runner.work_dir) / records.NAME) if runner.iter else None
        self._write(runner, records.RUNNING)

    def after_val_epoch(self, runner: Any, metrics: dict[str, dict[str, Any]] | None = None) -> None:
        """Bring the curves up to date."""
        if rank() == 0:
            self._write(runner, records.RUNNING)

    def final_test(self, runner: Any) -> None:
        """Add the test scores."""
        if rank() == 0:
            self._write(runner, records.FINISHED)

    def _write(self, runner: Any, status: str) -> None:
        folder = Path(runner.work_dir)
        entries = (
            read_metrics(folder, len(runner.data.classes)) if (folder / "metrics.jsonl").is_file() else []
        )
        per_step = runner.train_loop.images_per_step
        curves = curves_of(entries, per_step)
        self.load = max((v for v in (self.load, _load()) if v is not None), default=None)
        timeline = Timeline(entries, per_step)
        cost = None
        if timeline:
            spent = timeline.spent()
            cost = records.Cost(
                train_seconds=spent.seconds, images=spent.images, images_per_s=spent.images_per_s,
                data_wait=spent.data_wait, peak_rss_mb=_peak_rss_mb(), peak_cuda_mb=_peak_cuda_mb(),
                to_target=to_targets(curves.val, self.targets), load=self.load,
            )  # fmt: skip
        results = _results(entries) if status == records.FINISHED else []
        warnings = [
            *runner.bare_model.warnings,
            *doubts(entries, runner.data.classes, runner.train_loop.max_iters),
        ]
        for text in set(warnings) - self.warned:
            runner.logger.warning(f"this run is doubtful: {text}")
        self.warned.update(warnings)
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        own = records.Record(
            **self.known,
            status=status,
            results=results,
            curves=curves,
            cost=cost,
            written=now,
            warnings=warnings,
        )
        records.write(own, folder / records.NAME)


def _data_parts(data: Data, all_labels: bool) -> dict[str, records.DataPart]:
    """What was drawn for a run; ``all_labels``: its labeled stream is the whole training part (the oracle)."""
    own = {**data.datasets, "labeled": data.labeled(all_labels)}
    return {
        name: records.DataPart(d.name, len(d), counts_by_name(d, data.classes)) for name, d in own.items()
    }


def _results(entries: list[dict[str, Any]]) -> list[records.Result]:
    rows = [e for e in entries if e["kind"] == "test"][-1]["rows"]
    return [
        records.Result(
            checkpoint=row["checkpoint"],
            weights=row["weights"],
            iter=row["iter"],
            val_macro_f1=val_macro_f1(entries, row["iter"], row["weights"]),
            smoothed=row["smoothed"],
            groups=row.get("groups") if (row["checkpoint"], row["weights"]) == ("best", "ema") else None,
            metrics={name: finite(row[name]) for name in further_scores(row)},
            **{k: row[k] for k in ("macro_f1", "accuracy", "balanced_accuracy", "f1", "confusion", "count")},
        )
        for row in rows
    ]


def _load() -> float | None:
    """The machine's load average of the last minute per core; None where the system has none."""
    try:
        return round(os.getloadavg()[0] / (os.cpu_count() or 1), 2)
    except OSError:
        return None


def _load_so_far(path: Path) -> float | None:
    """What the record of a run that is resumed says."""
    with suppress(UserError):  # a damaged record is written anew
        old = records.read(path) if path.is_file() else None
        return old.cost.load if old and old.cost else None
    return None


def _peak_rss_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB, on macOS bytes
    return round(peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6, 1)


def _peak_cuda_mb() -> float | None:
    return round(torch.cuda.max_memory_allocated() / 1e6, 1) if torch.cuda.is_available() else None
