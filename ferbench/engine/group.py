"""Connecting the processes of a training."""

from __future__ import annotations

import math
import os
from datetime import timedelta
from typing import Any

import torch
from mmengine.config import Config

from ferbench.engine import slurm
from ferbench.errors import UserError

PATIENCE = 600.0  # seconds that the processes of a group wait for one that hangs
MARGIN = 30.0  # seconds that a collective operation waits longer: `ferbench.core.hangs` ends first, and names the process


def process_timeout(cfg: Config) -> float:
    """Seconds that the processes of a group wait for each other, from ``env_cfg.dist_cfg.timeout``.

    Raises:
        UserError: it is not a positive number.
    """
    seconds = _group_settings(cfg).get("timeout", PATIENCE)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < math.inf:
        raise UserError(f"env_cfg.dist_cfg.timeout is {seconds!r}", expected="seconds, more than 0")
    return float(seconds)


def _group_settings(cfg: Config) -> dict[str, Any]:
    return dict((cfg.get("env_cfg") or {}).get("dist_cfg") or {})


def start_processes(cfg: Config) -> None:
    """Connect the processes that a launcher has started: by NCCL on GPUs, by gloo on CPUs or where the config asks for it.

    Raises:
        UserError: the launcher's variables are missing, or there are more processes than GPUs.
    """
    launcher = cfg.launcher
    if launcher == "none" or torch.distributed.is_initialized():
        return
    if launcher == "slurm":
        slurm.set_environment()
    missing = [
        name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ
    ]
    if missing:
        raise UserError(
            f"--launcher {launcher}, but {', '.join(missing)} is not set",
            fix="start it by tools/dist_train.sh (torchrun)",
        )
    settings = _group_settings(cfg)
    backend = settings.pop("backend", "nccl" if torch.cuda.is_available() else "gloo")
    settings["timeout"] = timedelta(seconds=process_timeout(cfg) + MARGIN)
    if backend != "gloo":
        torch.cuda.set_device(_gpu_of_process())
    torch.distributed.init_process_group(backend, **settings)


def _gpu_of_process() -> int:
    """Index of the GPU of this process: its local rank.

    Raises:
        UserError: there are fewer GPUs than processes.
    """
    place, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    processes = max(place + 1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    if processes > gpus:
        raise UserError(
            f"{processes} processes on a machine with {gpus} usable GPUs",
            expected="at most one process per GPU",
            fix=(f"start {gpus}, or train" if gpus else "train")
            + " on the CPUs: CUDA_VISIBLE_DEVICES= before the command, or "
            "--cfg-options env_cfg.dist_cfg.backend=gloo",
        )
    return place
