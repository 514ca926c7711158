"""Train and test, as the command line does it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from mmengine.config import Config
from rich.console import Console

from ferbench import records
from ferbench.core import (
    _torchvision_guard,  # noqa: F401 - before anything imports torchvision
    stopping,
)
from ferbench.core.files import atomic_write, remove_unfinished
from ferbench.core.keys import check_values
from ferbench.core.text import printable
from ferbench.data import manifest
from ferbench.distributed import rank
from ferbench.engine import checkpoint
from ferbench.engine.accidents import explained
from ferbench.engine.build import Data, build_data
from ferbench.engine.folder import SPLIT, adopt, checkpoint_to_resume, start_anew
from ferbench.engine.group import process_timeout, start_processes
from ferbench.engine.hooks.keeper import LAST
from ferbench.engine.lock import holding
from ferbench.engine.runner import SSLRunner
from ferbench.errors import UserError
from ferbench.evaluation.predictions import file_name
from ferbench.evaluation.table import results_table, score_rows

REQUIRED = ("classes", "model", "views", "train_dataloader", "train_cfg", "optim_wrapper", "val_dataloader", "val_cfg",
            "val_evaluator", "test_dataloader", "test_cfg", "test_evaluator")  # fmt: skip
DEFAULT_TYPES = {
    "model": "SSLModel", "train_cfg": "SemiTrainLoop", "optim_wrapper": "SSLOptimWrapper", "val_cfg": "EvaluationLoop",
    "test_cfg": "EvaluationLoop",
}  # fmt: skip
DEFAULT_HOOKS = {
    "checkpoint": "CheckpointKeeper", "param_scheduler": "ParamSchedulerHook", "monitor": "PseudoLabelMonitor",
    "report": "FinalReport", "record": "RunRecord",
}  # fmt: skip

SCORES = "scores.json"

_runs = count()  # runs of this process


def train(
    cfg: Config,
    work_dir: str | Path | None = None,
    resume: bool | str = False,
    overwrite: bool = False,
    take_over: bool = False,
) -> SSLRunner:
    """Train as a config says, and report.

    Args:
        cfg: from `ferbench.config.load_config`; ``randomness.seed`` and ``launcher`` may be set in it.
        work_dir: folder of the run.
        resume: False: as the config says (``resume``; with it, ``load_from`` is the checkpoint), else not; True: from
            ``last.pth`` of the folder, or from the start if it holds no run; or a checkpoint.
        overwrite: start anew in a folder that holds a run.
        take_over: train in a folder that is locked by somebody of whom nothing can be known: the user says that it is gone.

    Raises:
        FolderTaken: somebody else trains in the folder, or may do.
        UserError: any mistake in config, data or folder; nothing is lost or half-written.
        Stopped: told to end by SIGTERM, SIGINT, SIGUSR1 or SIGHUP; ``last.pth`` holds all that was done.
        KeyboardInterrupt: the same before the first iteration, or told twice.
    """
    if cfg.get("resume") and not resume and not overwrite:
        resume = cfg.get("load_from") or cfg.resume
    cfg = complete(cfg, work_dir)
    if resume and not isinstance(resume, bool) and resume == cfg.get("load_from"):
        cfg.load_from = None  # as in mmengine: with ``resume=True`` the run goes on from it
    folder = Path(cfg.work_dir)
    hung = partial(records.mark_failed, folder / records.NAME)
    with (
        stopping.Watch(process_timeout(cfg), hung) as watch,
        explained(cfg),
        _alone(folder, cfg, take_over),
    ):
        source = checkpoint_to_resume(folder, resume, overwrite)
        own_split = cfg.get("split") and not cfg.split.get("file")  # else the manifest is the user's
        if own_split and source is not None and (source.parent / SPLIT).is_file():
            cfg.split.file = str(source.parent / SPLIT)
        data = build_data(cfg)
        runner = _build_runner(cfg, data)
        runner.logger.info(f"data:\n{describe(data)}")
        runner.prepare(source)
        if resume is True and source is None:
            runner.logger.info(f"no {LAST} in {folder}: the run starts from the beginning")
        if source is None:  # only now: up to here a mistake would have cost an earlier run in the folder
            start_anew(folder)
            if own_split and data.split is not None:
                manifest.write(data.split.manifest, folder / SPLIT)
        else:
            adopt(source, folder)
        runner.save_config()
        remove_unfinished(folder)
        with records.recording_failure(folder), explained(cfg), watch.holding():
            runner.train()
    return runner


def test(
    cfg: Config,
    checkpoint_path: str | Path,
    out: str | Path | None = None,  # noqa: PT028 - the command of that name, no test
) -> dict[str, dict[str, Any]]:
    """Scores of a checkpoint's raw and EMA weights on the config's test set; the same numbers as at the end of training.

    For videos, the smoothed ones are under ``smoothed``.

    Args:
        cfg: from `ferbench.config.load_config`.
        checkpoint_path: of a run.
        out: a new folder for ``scores.json`` and ``predictions_<weights>.csv``, a line per image; None: no files.

    Raises:
        UserError: a mistake in the config, data or checkpoint; ``out`` holds such files already.
    """
    into = None if out is None else _new_results(Path(out))
    path = Path(checkpoint_path)
    seed = checkpoint.load(path)["meta"]["seed"]
    cfg = complete(cfg, path.parent / "test")
    start_processes(cfg)
    cfg.randomness["seed"] = seed
    runner = _build_runner(cfg, build_data(cfg))
    content = runner.prepare_test(path)
    runner.check_meta(content["meta"], path, exact=False)
    checkpoint.load_networks(runner.bare_model, content["state_dict"], path)
    with explained(cfg):
        scores = runner.test(into=into)
    rows = score_rows(path.name, content["iter"], scores)
    if into is not None and rank() == 0:
        told = {"checkpoint": path.name, "classes": list(runner.data.classes), "rows": rows}
        with atomic_write(into / SCORES) as stream:
            stream.write(json.dumps(told, indent=1).encode() + b"\n")
    Console().print(results_table(rows, runner.data.classes))
    return scores


def _new_results(out: Path) -> Path:
    """The folder for the files of `test`, made if it is not there."""
    old = [name for name in (SCORES, file_name("raw"), file_name("ema")) if (out / name).exists()]
    if old:
        raise UserError(
            f"the folder already holds {old[0]}", where=out, expected="a new folder", fix="name another --out"
        )
    out.mkdir(parents=True, exist_ok=True)
    return out


def describe(data: Data) -> str:
    """One line per dataset: name, images, labeled images per class."""
    lines = []
    for part, dataset in data.datasets.items():
        line = f"  {part:<9} {printable(dataset.name)}: {len(dataset)} images"
        if part != "unlabeled":
            counts = ", ".join(
                f"{printable(c)} {n}"
                for c, n in zip(data.classes, dataset.class_counts().tolist(), strict=True)
            )
            line += f" ({counts})"
        lines.append(line)
    if data.split is not None:
        lines.append(f"  split     sha256 {data.split.hash}")
    return "\n".join(lines)


def complete(cfg: Config, work_dir: str | Path | None) -> Config:
    """A copy of a config with everything filled in that `train` needs.

    Raises:
        UserError: a section is missing.
    """
    cfg = copy.deepcopy(cfg)  # `Config.copy` shares the sections
    for section in REQUIRED:
        if not cfg.get(section):
            raise UserError(
                f"the config has no {section!r}",
                where=cfg.filename,
                fix="inherit it from configs/_base_, see any shipped config",
            )
    if isinstance(cfg.model, Mapping) and not cfg.model.get("algorithm"):
        raise UserError(
            "the config has no algorithm",
            where=cfg.filename,
            fix="--algorithm NAME, e.g. --algorithm fixmatch; all of them: ferbench list --kind algorithm-config",
        )
    for section in ("randomness", *DEFAULT_TYPES):
        if not isinstance(cfg.get(section) or {}, Mapping):
            raise UserError(f"{section} is {cfg[section]!r}", where=section, expected="a dict")
    cfg.launcher = cfg.get("launcher") or "none"
    cfg.randomness = {"seed": 0, **(cfg.get("randomness") or {})}
    if cfg.randomness["seed"] is None:
        cfg.randomness["seed"] = 0
    check_values(cfg)
    cfg.work_dir = str(work_dir or cfg.get("work_dir") or "work_dirs/run")
    cfg.default_scope = "ferbench"
    cfg.resume = False  # `prepare` is told
    for section, kind in DEFAULT_TYPES.items():
        cfg[section].setdefault("type", kind)
    given = cfg.get("default_hooks") or {}
    named = {name: {"type": kind} for name, kind in DEFAULT_HOOKS.items()}
    cfg.default_hooks = {
        **named,
        **{k: {**named.get(k, {}), **v} if isinstance(v, Mapping) else v for k, v in given.items()},
    }
    # mmengine keeps loggers and visualizers by this name: two runs of one process must not share them.
    cfg.experiment_name = f"{cfg.get('experiment_name') or Path(cfg.work_dir).name}_{next(_runs)}"
    cfg.model.setdefault("num_classes", len(cfg.get("classes") or ()))
    return cfg


@contextmanager
def _alone(folder: Path, cfg: Config, take_over: bool) -> Iterator[None]:
    """Connect the processes of the run, and hold the lock of its folder, so that no other run reads or changes it."""
    start_processes(cfg)
    with holding(folder, take_over):
        yield


def _build_runner(cfg: Config, data: Data) -> SSLRunner:
    runner = SSLRunner.from_cfg(cfg)
    runner.data = data
    return runner
