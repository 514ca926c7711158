"""What a config may say: its keys, and the values that have no effect here, which are refused."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

from ferbench.core.parts import parameters
from ferbench.errors import UserError

TOP_LEVEL = frozenset((
    "classes", "split", "views", "train_dataloader", "unlabeled_dataloader", "val_dataloader",
    "test_dataloader", "model", "train_cfg", "val_cfg", "test_cfg", "optim_wrapper", "param_scheduler",
    "val_evaluator", "test_evaluator", "default_hooks", "custom_hooks", "custom_imports", "env_cfg",
    "visualizer", "log_level", "randomness", "default_scope", "work_dir", "launcher", "resume", "load_from",
    "experiment_name", "model_wrapper_cfg",
))  # fmt: skip

#: What only a file says, and `ferbench.config.load_config` resolves: the algorithm's name, and what holds in a setting.
IN_FILES = frozenset(("algorithm", "conditions", "overrides"))

#: What a setting may say of itself, in the order in which an algorithm's `overrides` for it are applied.
CONDITIONS: Mapping[str, str] = {
    "large_data": "half a million images or more",
    "short_run": "3,000 iterations or fewer",
    "tiny_run": "1,000 iterations or fewer (short_run, too)",
}

# Sections that are read key by key, so that no part's signature checks them when it is built.
_EVALUATION = frozenset({"dataset", "batch_size", "num_workers", "max_unreadable"})
_BY_HAND: Mapping[str, frozenset[str]] = {
    "train_dataloader": frozenset({"dataset", "batch_size", "num_workers", "sampler"}),
    "unlabeled_dataloader": frozenset({"dataset", "rest", "include_labeled", "mu", "num_workers"}),
    "val_dataloader": _EVALUATION,
    "test_dataloader": _EVALUATION,
    "views": frozenset({"size", "working_size", "weak", "medium", "strong"}),
    "env_cfg": frozenset({"cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit"}),
    "custom_imports": frozenset({"imports", "allow_failed_imports"}),
}


@cache
def section_keys() -> Mapping[str, frozenset[str]]:
    """Section -> its keys, of the sections that are read key by key; where a function takes them, from its signature."""
    from mmengine.model import MMDistributedDataParallel
    from mmengine.runner import Runner

    return {
        **_BY_HAND,
        "randomness": frozenset(parameters(Runner.set_randomness)[0]) - {"self"},
        "model_wrapper_cfg": (frozenset(parameters(MMDistributedDataParallel)[0]) | {"type"})
        - {"module", "device_ids", "output_device", "process_group"},
    }


# Sections whose `type` has a default: their keys are checked when they are built.
IMPLIED_TYPE = frozenset({"model", "train_cfg", "val_cfg", "test_cfg", "optim_wrapper"})

LAUNCHERS = ("none", "pytorch", "slurm")


def check_values(cfg: Mapping[str, Any]) -> None:
    """Refuse values of keys that no part of its own checks, and those that would be accepted and have no effect.

    Args:
        cfg: a complete config.

    Raises:
        UserError: names the key, and what to write.
    """
    for section in (
        "model",
        "train_cfg",
        "val_cfg",
        "test_cfg",
        "optim_wrapper",
        "views",
        "train_dataloader",
        "randomness",
    ):
        _require(isinstance(cfg.get(section), Mapping), section, cfg.get(section), "a dict")
    randomness, environment = cfg["randomness"], cfg.get("env_cfg") or {}
    hooks, backend = cfg.get("default_hooks"), (cfg.get("visualizer") or {})
    _require(hooks is None or isinstance(hooks, Mapping), "default_hooks", hooks, "a dict of hooks")
    _require(
        isinstance(backend, Mapping), "visualizer", backend, "dict(type='Visualizer', vis_backends=[...])"
    )
    seed = randomness.get("seed")
    _require(
        _is_whole(seed) and 0 <= seed < 2**32, "randomness.seed", seed, "a whole number from 0 to 2^32 - 1"
    )
    _require(
        not randomness.get("diff_rank_seed"), "randomness.diff_rank_seed", True, "False",
        "leave it out: each process draws its own random numbers, and all of them share one order of the images",
    )  # fmt: skip
    for key in ("randomness.deterministic", "env_cfg.cudnn_benchmark"):
        section, _, name = key.partition(".")
        value = (cfg.get(section) or {}).get(name, False)
        _require(isinstance(value, bool), key, value, "True or False")
    workers = environment.get("mp_cfg") or {}
    _require(
        isinstance(workers, Mapping) and workers.get("mp_start_method", "fork") == "fork",
        "env_cfg.mp_cfg", workers, "dict(opencv_num_threads=...), with mp_start_method='fork' or without it",
        "leave mp_start_method out: the data-loading processes are forked with a check of their own",
    )  # fmt: skip
    scope = cfg.get("default_scope")
    _require(
        scope in (None, "ferbench"), "default_scope", scope, "'ferbench'",
        "leave it out; a part of another scope is named with it: type='mmpretrain.ResNet'",
    )  # fmt: skip
    level = cfg.get("log_level", "INFO")
    names = [logging.getLevelName(n) for n in (10, 20, 30, 40, 50)]
    known = level.upper() in names if isinstance(level, str) else _is_whole(level)
    _require(known, "log_level", level, " or ".join(names))
    for key in ("work_dir", "experiment_name", "load_from"):
        value = cfg.get(key)
        _require(value is None or isinstance(value, str), key, value, "text")
    _require(
        cfg.get("launcher") in (None, *LAUNCHERS), "launcher", cfg.get("launcher"), " or ".join(LAUNCHERS)
    )
    wrapper = cfg.get("model_wrapper_cfg") or {}
    _require(
        wrapper.get("type", "MMDistributedDataParallel") == "MMDistributedDataParallel",
        "model_wrapper_cfg.type", wrapper.get("type"), "MMDistributedDataParallel",
    )  # fmt: skip


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _require(right: bool, key: str, found: Any, expected: str, fix: str | None = None) -> None:
    if not right:
        raise UserError(f"{key} is {found!r}", where=key, expected=expected, fix=fix)
