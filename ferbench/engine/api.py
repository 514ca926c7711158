"""Train and test, as the command line does it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from rich.console import Console

from ferbench import _torchvision_guard  # noqa: F401 - before anything imports torchvision
from ferbench.engine import checkpoint
from ferbench.engine.build import build_data, split_file
from ferbench.engine.hooks.keeper import LAST, best
from ferbench.engine.runlog import NAME as LOG_NAME
from ferbench.engine.runner import SSLRunner
from ferbench.errors import UserError
from ferbench.evaluation.table import results_table


def train(cfg: Config, work_dir: str | Path | None = None, resume: bool | str = False, overwrite: bool = False) -> SSLRunner:
    """Train as a config says, and report.

    Args:
        cfg: from `ferbench.config.load_config`; ``randomness.seed`` and ``launcher`` may be set in it.
        work_dir: folder of the run.
        resume: False; True: from ``last.pth`` of the folder, or from the start if there is none; or a checkpoint.
        overwrite: start anew in a folder that holds a run.

    Raises:
        UserError: any mistake in config, data or folder; nothing is lost or half-written.
    """
    cfg = _complete(cfg, work_dir)
    _start_processes(cfg.launcher)
    cfg.load_from = _prepare_folder(Path(cfg.work_dir), resume, overwrite)
    split_file(cfg, cfg.work_dir)
    data = build_data(cfg)
    runner = _build_runner(cfg, data)
    runner.logger.info(f"data:\n{describe(data)}")
    runner.train()
    return runner


def test(cfg: Config, checkpoint_path: str | Path) -> dict[str, dict[str, Any]]:
    """Scores of a checkpoint's raw and EMA weights on the config's test set; the same numbers as at the end of training."""
    content = checkpoint.load(checkpoint_path)
    path = Path(checkpoint_path)
    cfg = _complete(cfg, path.parent / "test")
    _start_processes(cfg.launcher)
    cfg.randomness["seed"] = content["meta"]["seed"]
    runner = _build_runner(cfg, build_data(cfg))
    runner.check_meta(content["meta"], path, exact=False)
    for name, network in (("network", runner.bare_model.network), ("ema_network", runner.bare_model.ema_network)):
        state = {k.removeprefix(f"{name}."): v for k, v in content["model"].items() if k.startswith(f"{name}.")}
        checkpoint.load_model_state(network, state, path)
    scores = runner.evaluation_loop("test").evaluate()
    rows = [{"checkpoint": path.name, "weights": w, "iter": content["iter"], **s} for w, s in scores.items()]
    Console().print(results_table(rows, runner.data.classes))
    return scores


def describe(data: Any) -> str:
    """One line per dataset: name, images, labeled images per class."""
    lines = []
    for part, dataset in data.datasets.items():
        line = f"  {part:<9} {dataset.name}: {len(dataset)} images"
        if part != "unlabeled":
            counts = ", ".join(f"{c} {n}" for c, n in zip(data.classes, dataset.class_counts().tolist()))
            line += f" ({counts})"
        lines.append(line)
    if data.split is not None:
        lines.append(f"  split     sha256 {data.split.hash}")
    return "\n".join(lines)


def _complete(cfg: Config, work_dir: str | Path | None) -> Config:
    cfg = cfg.copy()
    cfg.default_scope = "ferbench"
    cfg.work_dir = str(work_dir or cfg.get("work_dir") or "work_dirs/run")
    cfg.launcher = cfg.get("launcher") or "none"
    cfg.randomness = {"seed": 0, **(cfg.get("randomness") or {})}
    if cfg.randomness["seed"] is None:
        cfg.randomness["seed"] = 0
    cfg.resume = False  # the runner is told by load_from
    cfg.model.setdefault("type", "SSLModel")
    cfg.model.setdefault("num_classes", len(cfg.get("classes") or ()))
    return cfg


def _start_processes(launcher: str) -> None:
    """Start gloo on CPUs, where mmengine would ask for a GPU; on GPUs mmengine starts NCCL."""
    if launcher != "none" and not torch.cuda.is_available() and not torch.distributed.is_initialized():
        if launcher == "slurm":
            _slurm_environment()
        torch.distributed.init_process_group("gloo")


def _slurm_environment() -> None:
    """What torchrun would have set, from Slurm's variables."""
    for ours, theirs in (("RANK", "SLURM_PROCID"), ("WORLD_SIZE", "SLURM_NTASKS"), ("LOCAL_RANK", "SLURM_LOCALID")):
        if theirs not in os.environ:
            raise UserError(f"--launcher slurm, but {theirs} is not set", fix="start it by tools/slurm_train.sh")
        os.environ[ours] = os.environ[theirs]
    os.environ.setdefault("MASTER_PORT", "29500")
    os.environ.setdefault("MASTER_ADDR", os.environ.get("SLURM_LAUNCH_NODE_IPADDR", "127.0.0.1"))


def _build_runner(cfg: Config, data: Any) -> SSLRunner:
    runner = SSLRunner.from_cfg(cfg)
    runner.data = data
    return runner


def _prepare_folder(folder: Path, resume: bool | str, overwrite: bool) -> str | None:
    """The checkpoint to go on from; refuses to write into another run's folder."""
    if isinstance(resume, str):
        checkpoint.load(resume)  # before anything is built, so that a wrong path costs nothing
        return resume
    last = folder / LAST
    if resume:
        return str(last) if last.is_file() else None
    if last.is_file() and not overwrite:
        raise UserError(
            "the folder already holds a run",
            where=folder,
            expected="a new folder",
            fix="--resume goes on with it, --overwrite starts anew in it, --work-dir names another one",
        )
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        for name in (LAST, best("raw"), best("ema"), LOG_NAME, "split.json", "unreadable.txt"):
            (folder / name).unlink(missing_ok=True)
    return None
