"""What a run ends with: test scores, table and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from rich.console import Console

from ferbench.distributed import rank
from ferbench.engine.build import Data
from ferbench.engine.hooks.keeper import LAST, best
from ferbench.engine.log_writer import LogWriter
from ferbench.evaluation.table import results_markdown, results_table, score_rows
from ferbench.registry import HOOKS

RESULTS = "results.md"


@HOOKS.register_module()
class FinalReport(Hook):
    """Tests the last checkpoint and the ones that were best on validation, raw and EMA; prints the table; draws.

    The test set is read here and nowhere else; nothing is chosen by it.

    Args:
        pictures: whether to draw.
    """

    priority = "VERY_LOW"

    def __init__(self, pictures: bool = True):
        self.pictures = pictures

    def final_test(self, runner: Any) -> None:
        """See the class."""
        folder, log = Path(runner.work_dir), LogWriter(runner.work_dir)
        last = runner.test_loop.run()
        rows = score_rows("last", runner.iter, last)
        for weights in last:
            iteration = runner.load_weights(folder / best(weights))
            rows += score_rows("best", iteration, runner.test_loop.run([weights]))
        rows.sort(key=lambda row: row["smoothed"])
        runner.load_weights(folder / LAST)
        log.append({"kind": "test", "iter": runner.iter, "rows": rows})
        if rank() != 0:
            return
        Console().print(results_table(rows, runner.data.classes))
        (folder / RESULTS).write_text(results_markdown(rows, runner.data.classes), encoding="utf-8")
        runner.logger.info(f"results: {folder / RESULTS}")
        if self.pictures:
            from ferbench.viz.plots import plot_run

            for picture in plot_run(folder, runner.data.classes, _hidden_share(runner.data)):
                runner.logger.info(f"picture: {picture}")


def _hidden_share(data: Data) -> list[float] | None:
    """Share of each class among the unlabeled images whose hidden label is known, for the picture only."""
    unlabeled = data.datasets.get("unlabeled")
    if unlabeled is None or not (unlabeled.labels >= 0).any():
        return None
    counts = np.bincount(unlabeled.labels[unlabeled.labels >= 0], minlength=len(data.classes))
    return (counts / counts.sum()).tolist()
