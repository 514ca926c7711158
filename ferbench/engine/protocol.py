"""The protocol of a run: what each of its parts says of itself (see `ferbench.records.protocol`)."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config

from ferbench.core.plain import plain, spelled_out
from ferbench.data import loader
from ferbench.data.views import Views
from ferbench.distributed import world_size
from ferbench.engine import optim, schedules
from ferbench.engine.build import Data
from ferbench.engine.hooks import events, keeper
from ferbench.engine.loops import SemiTrainLoop, evaluation
from ferbench.evaluation import metrics
from ferbench.models.ssl import SSLModel
from ferbench.registry import LOOPS


def protocol_of(cfg: Config, data: Data, model: SSLModel) -> dict[str, Any]:
    """Everything in a run but algorithm, seed and the draw of the split, with defaults spelled out.

    ``unlabeled_dataloader`` counts for an algorithm that does not read it, too: the comparison is one.

    Args:
        cfg: the run's complete config.
        data: its datasets.
        model: its model, for the initial weights.
    """
    loop = spelled_out(LOOPS, cfg.train_cfg, SemiTrainLoop.not_protocol)
    return plain(
        {
            "classes": list(data.classes),
            **data.as_dict(cfg),
            "views": Views(**cfg.views).as_dict(),
            "model": model.as_dict(cfg.model, world_size()),
            "train": {**loop, **loader.described(cfg.train_dataloader, cfg.get("unlabeled_dataloader"))},
            "optimizer": optim.described(cfg.optim_wrapper),
            "schedule": schedules.described(cfg.get("param_scheduler")),
            "selection": keeper.described(cfg.get("default_hooks") or {}, loop.get("val_interval")),
            "metrics": {part: metrics.described(cfg[f"{part}_evaluator"]) for part in ("val", "test")},
            "hooks": events.described(cfg),
            **evaluation.described(cfg.test_cfg, data.datasets["test"]),
        }
    )
