"""mmengine's Runner with a seam for two streams, exact resume and checkpoints that hold only plain types."""

from __future__ import annotations

import inspect
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner
from torch import nn

from ferbench.benchmark import describe
from ferbench.benchmark.protocol import difference
from ferbench.distributed import barrier, rank
from ferbench.engine import checkpoint
from ferbench.engine.build import Data
from ferbench.engine.optim import build_optimizer
from ferbench.errors import UserError
from ferbench.models.ssl import SSLModel
from ferbench.parts import build
from ferbench.registry import HOOKS, LOOPS, MODELS, PARAM_SCHEDULERS
from ferbench.version import __version__


class SSLRunner(Runner):
    """Owns model, optimizer, loops and hooks of one run.

    What differs from mmengine's: a DDP wrapper that also runs on CPUs; the model learns what it must know of the data
    before a checkpoint is loaded; a checkpoint holds all state that must survive a kill (`ferbench.engine.checkpoint`),
    hooks' included; hooks may implement ``after_iteration`` (all of an iteration is done: labeled pass and validation
    too) and ``state_dict`` / ``load_state_dict``.
    """

    data: Data
    _train_loop: Any
    optim_wrapper: Any
    param_schedulers: Any

    @property
    def bare_model(self) -> SSLModel:
        """The model without its DDP wrapper."""
        return self.model.module if isinstance(self.model, MMDistributedDataParallel) else self.model

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Move the model to its device and, with several processes, wrap it in DDP."""
        if not torch.cuda.is_available():
            device, ids = torch.device("cpu"), None
        else:
            device, ids = torch.device("cuda", torch.cuda.current_device()), [torch.cuda.current_device()]
        model = model.to(device)
        if not self.distributed:
            return model
        # Rules hold the same state on every process by construction; broadcasting buffers would only cost time.
        # A head may stay out of the loss of some steps.
        settings = {
            "broadcast_buffers": False,
            "find_unused_parameters": len(cast(SSLModel, model).network.heads) > 0,
            **(model_wrapper_cfg or {}),
        }
        return MMDistributedDataParallel(module=model, device_ids=ids, **settings)

    @cached_property
    def protocol(self) -> dict[str, Any]:
        """What the run shares with those that it may be compared with (`ferbench.benchmark.protocol`)."""
        return describe.plain(describe.protocol_of(self.cfg, self.data, self.bare_model))

    def dump_config(self) -> None:
        """Nothing: mmengine would replace the config of an earlier run before this one is sure to start; see `save_config`."""

    def save_config(self) -> None:
        """Write the config into the run's folder (rank 0)."""
        super().dump_config()

    def prepare(self, checkpoint_path: Path | None = None) -> None:
        """Build all that a run needs, and load the checkpoint to go on from; nothing is written to the run's folder."""
        loop = self._train_loop = build(
            LOOPS, self._train_loop, "train_cfg", runner=self, dataloader=self._train_dataloader
        )
        self.optim_wrapper = build_optimizer(self.bare_model, self.optim_wrapper)
        if self.bare_model.precision == "fp16":
            self.optim_wrapper.enable_loss_scaling(loop.device.type)
        if self.param_schedulers is not None:
            configs = (
                self.param_schedulers if isinstance(self.param_schedulers, list) else [self.param_schedulers]
            )
            self.param_schedulers = [self._build_schedule(c, loop.max_iters) for c in configs]
        self._val_loop = self.evaluation_loop("val")
        self._test_loop = self.evaluation_loop("test")
        self.call_hook("before_run")
        if checkpoint_path is not None:
            self.resume(str(checkpoint_path))

    def train(self) -> nn.Module:
        """Train to the end (call `prepare` first)."""
        self._train_loop.run()
        self.call_hook("after_run")
        self.visualizer.close()
        return self.model

    def _build_schedule(self, config: dict, max_iters: int) -> Any:
        """A schedule; one that must know the length of the run is told it, so that it is stated once."""
        kind = PARAM_SCHEDULERS.get(config["type"])
        told = {"max_iters": max_iters} if "max_iters" in inspect.signature(kind).parameters else {}
        return build(PARAM_SCHEDULERS, config, "param_scheduler", optimizer=self.optim_wrapper, **told)

    def register_hook(self, hook: Hook | dict, priority: Any = None) -> None:
        """As mmengine's, with errors that say what is wrong in the config."""
        if not isinstance(hook, Hook):
            given = {k: v for k, v in hook.items() if k != "priority"} if isinstance(hook, dict) else hook
            priority = hook.get("priority", priority) if isinstance(hook, dict) else priority
            hook = build(HOOKS, given, "default_hooks or custom_hooks")
        super().register_hook(hook, priority)

    def build_model(self, model: Any) -> nn.Module:
        """The model of the config."""
        return build(MODELS, model, "model")

    def evaluation_loop(self, part: str) -> Any:
        """The loop over ``val`` or ``test``."""
        loop, loader, evaluator = (
            (self._val_loop, self._val_dataloader, self._val_evaluator)
            if part == "val"
            else (self._test_loop, self._test_dataloader, self._test_evaluator)
        )
        return build(LOOPS, loop, f"{part}_cfg", runner=self, dataloader=loader, evaluator=evaluator)

    def save_to(self, path: Path, full: bool = True) -> None:
        """Write a checkpoint (rank 0; the others wait).

        Args:
            path: file.
            full: with optimizer, schedules and hooks, to resume from; else only the model, to test.
        """
        self.bare_model.share_buffers()
        hooks = {name: hook.state_dict() for name, hook in self._stateful_hooks().items()} if full else {}
        if rank() == 0:
            content: dict[str, Any] = {
                "meta": self._meta(),
                "iter": self.iter,
                "model": self.bare_model.state_dict(),
            }
            if full:
                content["optimizer"] = self.optim_wrapper.state_dict()
                content["schedules"] = [describe.plain(s.state_dict()) for s in self.param_schedulers or []]
                content["hooks"] = hooks
            checkpoint.save(content, path)
        barrier()

    def resume(self, filename: str, *_: Any, **__: Any) -> None:
        """Load everything that `save_to` wrote.

        Raises:
            UserError: the checkpoint is missing, damaged, of another model, seed or split, or has no optimizer.
        """
        content = checkpoint.load(filename)
        self.check_meta(content["meta"], filename, exact=True)
        if "optimizer" not in content:
            raise UserError(
                "the checkpoint holds only weights",
                where=filename,
                expected="last.pth",
                fix="--resume without a path",
            )
        checkpoint.load_model_state(self.bare_model, content["model"], filename)
        self.optim_wrapper.load_state_dict(content["optimizer"])
        for scheduler, state in zip(self.param_schedulers or [], content["schedules"], strict=True):
            scheduler.load_state_dict(state)
        for name, hook in self._stateful_hooks().items():
            if name in content["hooks"]:
                hook.load_state_dict(content["hooks"][name])
        self._train_loop.start_from(content["iter"])
        self.logger.info(f"resumed from {filename} at iteration {content['iter']}")

    def check_meta(self, meta: dict[str, Any], path: str | Path, exact: bool) -> None:
        """Refuse a checkpoint of another experiment.

        Args:
            meta: the checkpoint's.
            path: for the message.
            exact: also compare what only matters for going on with the same run (seed, split, batch sizes, ...).
        """
        own = self._meta()
        for key in (
            "classes",
            "preprocess",
            *(("seed", "split_hash", "images", "identity", "protocol") if exact else ()),
        ):
            if meta.get(key) != own[key]:
                raise UserError(
                    f"the checkpoint has another {key.replace('_', ' ')}: {_difference(meta.get(key), own[key])}",
                    where=path,
                    expected="the same as the config's",
                    fix=_USE_SAVED,
                )

    def _meta(self) -> dict[str, Any]:
        split = self.data.split
        return {
            "version": __version__,
            "classes": list(self.data.classes),
            "preprocess": self.bare_model.preprocess.as_dict(),
            "seed": self.seed,
            "split_hash": split.hash if split else None,
            "images": {part: len(dataset) for part, dataset in self.data.datasets.items()},
            "identity": {key: describe.plain(_at(self.cfg, key)) for key in IDENTITY},
            # One may add a hook to watch the rest of a run; its record names the hooks that it ended with.
            "protocol": {key: value for key, value in self.protocol.items() if key != "hooks"},
            "config": self._config_text,
        }

    @cached_property
    def _config_text(self) -> str:
        return self.cfg.pretty_text  # formatted by yapf, which takes up to a second

    def _stateful_hooks(self) -> dict[str, Any]:
        return {type(h).__name__: h for h in self._hooks if hasattr(h, "state_dict")}


_USE_SAVED = "use the config saved in the run's folder; for another experiment use another --work-dir"

# What must not change between the two halves of a run (paths of data and numbers of workers may).
IDENTITY = (
    "model", "views", "train_cfg", "optim_wrapper", "param_scheduler", "train_dataloader.batch_size",
    "unlabeled_dataloader.mu",
)  # fmt: skip


def _at(cfg: Any, dotted: str) -> Any:
    for key in dotted.split("."):
        cfg = (cfg or {}).get(key)
    return cfg


def _difference(theirs: Any, ours: Any) -> str:
    if isinstance(ours, dict):
        key, theirs, ours = difference(theirs or {}, ours)[0]
        return f"{key} = {theirs!r} instead of {ours!r}"
    return f"{theirs!r} instead of {ours!r}"
