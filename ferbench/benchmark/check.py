"""Whether the runs of a grid could start: every mistake is found before the first one does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ferbench.benchmark.grid import Grid, Run, config_of
from ferbench.core.parts import build, check, kind_of
from ferbench.core.plain import plain
from ferbench.data.loader import check_batch, check_mu
from ferbench.data.views import Views
from ferbench.engine.api import complete
from ferbench.engine.build import build_data
from ferbench.engine.hooks import CheckpointKeeper
from ferbench.engine.hooks.events import check_kind
from ferbench.engine.schedules import completed
from ferbench.errors import UserError
from ferbench.evaluation.building import build_metrics
from ferbench.evaluation.metrics import try_out
from ferbench.records.portable import portable_config, with_data_variable
from ferbench.registry import (
    ALGORITHMS,
    HOOKS,
    LOOPS,
    MODELS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
)

if TYPE_CHECKING:
    from mmengine import Config


@dataclass(frozen=True)
class Checked:
    """A run that could start.

    Attributes:
        run: the run.
        config: its complete config, as plain types; data lie below ``{{$FERBENCH_DATA:data}}``.
        identity: the same without a path of the machine and without the command: equal exactly for the same run.
        iterations: of the run.
        images: source images that it sees in training.
        classes: names.
    """

    run: Run
    config: dict[str, Any]
    identity: dict[str, Any]
    iterations: int
    images: int
    classes: list[str]


def check_runs(
    grid: Grid, runs: Sequence[Run], data: str | Path | None, command: str = "", data_too: bool = True
) -> list[Checked]:
    """Build the config of every run and all its parts but those that take long: networks once per data set, data sets and
    splits once per data set, budget and seed.

    Args:
        grid: the grid.
        runs: what to check.
        data: folder of the data sets.
        command: that runs the grid, for the records.
        data_too: whether to build networks, data sets and splits; False where that was done before.

    Raises:
        UserError: the first mistake, with the run in which it was met.
    """
    seen: set[Any] | None = set() if data_too else None
    return [_naming(run, lambda run=run: _check(grid, run, data, command, seen)) for run in runs]


def _naming(run: Run, action: Any) -> Any:
    try:
        return action()
    except UserError as error:
        what = f"the grid cannot be run, for a mistake in the run {run}:\n{error.what}"
        raise UserError(what, where=error.where, expected=error.expected, fix=error.fix) from error


def _check(grid: Grid, run: Run, data: str | Path | None, command: str, seen: set[Any] | None) -> Checked:
    original = config_of(run, grid, data, command)
    cfg = complete(original, "unused")
    algorithm = build(ALGORITHMS, cfg.model.algorithm, "model.algorithm")
    views = Views(**cfg.views)
    views.check((*algorithm.views.labeled, *algorithm.views.unlabeled), f"algorithm {run.label!r}")
    reads_unlabeled = bool(algorithm.views.unlabeled)
    if reads_unlabeled and not cfg.get("unlabeled_dataloader"):
        raise UserError(
            f"algorithm {run.label!r} needs unlabeled images, but the config names none",
            where="unlabeled_dataloader",
            expected="rest=True and/or dataset=...",
        )
    if _first(seen, "parts", run.dataset, repr(run.budget)):
        _check_parts(cfg)
    if _first(seen, "data", run.dataset, repr(run.budget), run.seed):
        parts, batch = build_data(cfg).datasets, cfg.train_dataloader.get("batch_size")
        check_batch(parts["labeled"], batch, "labeled", grid.processes)
        if "unlabeled" in parts:
            check_batch(
                parts["unlabeled"], batch * check_mu(cfg.unlabeled_dataloader), "unlabeled", grid.processes
            )
    config = plain(original.to_dict())
    identity = portable_config(original)
    identity["default_hooks"]["record"]["cell"]["command"] = ""
    iterations = cfg.train_cfg.get("max_iters")
    if not isinstance(iterations, int) or iterations < 1:
        raise UserError(f"train_cfg.max_iters is {iterations!r}", expected="a whole number, at least 1")
    labeled, mu = cfg.train_dataloader.batch_size, check_mu(cfg.get("unlabeled_dataloader"))
    return Checked(
        run=run,
        config=with_data_variable(config),
        identity=identity,
        iterations=iterations,
        images=iterations * labeled * (1 + (mu if reads_unlabeled else 0)),
        classes=[str(name) for name in cfg.classes],
    )


def _check_parts(cfg: Config) -> None:
    """Whatever else a run builds, apart from the data."""
    check(LOOPS, cfg.train_cfg, "train_cfg", runner=None, dataloader=None)
    model = build(MODELS, cfg.model, "model")
    if model.preprocess.size != cfg.views.size:
        raise UserError(
            f"views of {cfg.views.size} px are made for a network that is given {model.preprocess.size} px",
            where="views.size and model.preprocess.size", expected="the same number",
        )  # fmt: skip
    check(OPTIMIZERS, cfg.optim_wrapper.get("optimizer"), "optim_wrapper.optimizer", params=None)
    check(OPTIM_WRAPPERS, {**cfg.optim_wrapper, "optimizer": None}, "optim_wrapper")
    completed(cfg.get("param_scheduler"), cfg.train_cfg.get("max_iters", 1))
    hooks = [(f"custom_hooks[{i}]", hook) for i, hook in enumerate(cfg.get("custom_hooks") or ())]
    hooks += [(f"default_hooks.{k}", hook) for k, hook in (cfg.get("default_hooks") or {}).items() if hook]
    for where, hook in hooks:
        given = {k: v for k, v in hook.items() if k != "priority"}
        check(HOOKS, given, where)
        check_kind(kind_of(HOOKS, given, where), where)
    for part in ("val", "test"):
        check(LOOPS, cfg[f"{part}_cfg"], f"{part}_cfg", runner=None, dataloader=None, evaluator=None)
        where = f"{part}_evaluator"
        metrics = build_metrics(cfg[where], cfg.classes, where)
        scores = try_out(metrics, len(cfg.classes), torch.device("cpu"), where)
        keeper = cfg.default_hooks.get("checkpoint")
        if part == "val" and keeper:
            hook = build(
                HOOKS, {k: v for k, v in keeper.items() if k != "priority"}, "default_hooks.checkpoint"
            )
            if isinstance(hook, CheckpointKeeper):
                hook.check_metric(scores)


def _first(seen: set[Any] | None, *key: Any) -> bool:
    """Whether this is asked for the first time; never without a memory."""
    if seen is None or key in seen:
        return False
    seen.add(key)
    return True
