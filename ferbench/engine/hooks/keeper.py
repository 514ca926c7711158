"""Keeps the last and the best checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook

from ferbench.errors import UserError, nearest
from ferbench.records import WEIGHTS
from ferbench.registry import HOOKS

LAST = "last.pth"


def best(weights: str) -> str:
    """File name of the checkpoint that is best on validation with ``raw`` or ``ema`` weights."""
    return f"best_{weights}.pth"


@HOOKS.register_module()
class CheckpointKeeper(Hook):
    """``last.pth`` to resume from; ``best_raw.pth`` and ``best_ema.pth``, each chosen on validation by its own weights.

    Args:
        interval: iterations between two saves of ``last.pth``; None: at each validation.
        metric: score that chooses the best; larger is better.
    """

    priority = "LOW"

    def __init__(self, interval: int | None = None, metric: str = "macro_f1"):
        self.interval, self.metric = interval, metric
        self.best: dict[str, dict[str, float]] = {}

    def check_metric(self, scores: Sequence[str]) -> None:
        """Whether a validation, which gives some scores, gives the one that chooses.

        Raises:
            UserError: it does not.
        """
        names = [name for name in scores if "/" not in name]
        if self.metric not in names:
            raise UserError(
                f"the best checkpoint is to be chosen by {self.metric!r}, which is no score of a validation",
                where="default_hooks.checkpoint.metric",
                expected=nearest(str(self.metric), names),
            )

    def after_val_epoch(self, runner: Any, metrics: dict[str, dict[str, Any]] | None = None) -> None:
        """Save a best model. The first of equally good ones is kept."""
        assert metrics is not None
        for weights in WEIGHTS:
            score = metrics[weights][self.metric]
            if weights not in self.best or score > self.best[weights]["score"]:
                self.best[weights] = {"score": score, "iter": runner.iter}
                runner.save_to(Path(runner.work_dir) / best(weights), full=False)

    def after_iteration(self, runner: Any) -> None:
        """Save the state to resume from, after everything else of the iteration."""
        interval = self.interval or runner.train_loop.val_interval
        if runner.iter % interval == 0 or runner.train_loop.done:
            runner.train_loop.check_finite()
            runner.save_to(Path(runner.work_dir) / LAST)

    def state_dict(self) -> dict[str, Any]:
        """Best scores so far."""
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `state_dict`."""
        self.best = state["best"]


def described(hooks: Mapping[str, Any], val_interval: int | None) -> dict[str, Any]:
    """How a run's checkpoint is chosen, for the protocol.

    Args:
        hooks: ``default_hooks`` of the config.
        val_interval: iterations between validations.
    """
    metric = (hooks.get("checkpoint") or {}).get("metric", "macro_f1")
    return {"on": "val", "metric": metric, "interval": val_interval, "weights": "raw by raw, EMA by EMA"}
