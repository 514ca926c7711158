"""mmengine's Runner with a seam for two streams, exact resume and checkpoints that hold only plain types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Priority, Runner
from torch import nn

from ferbench.core.parts import build, check, kind_of
from ferbench.core.plain import plain
from ferbench.distributed import barrier, device, rank
from ferbench.engine import checkpoint
from ferbench.engine.batch_norm import restore_batch_norm
from ferbench.engine.build import Data
from ferbench.engine.hooks import CheckpointKeeper, events
from ferbench.engine.log_writer import stop_on_full_disk
from ferbench.engine.optim import SSLOptimWrapper, build_optimizer
from ferbench.engine.protocol import protocol_of
from ferbench.engine.schedules import build_schedules, completed
from ferbench.engine.schedules import restore as restore_schedule
from ferbench.engine.schedules import state_of as state_of_schedule
from ferbench.errors import UserError
from ferbench.models.ssl import SSLModel
from ferbench.models.weights import start_from
from ferbench.records.protocol import difference
from ferbench.registry import HOOKS, LOOPS, MODELS, OPTIM_WRAPPERS, VISBACKENDS, VISUALIZERS
from ferbench.version import __version__


class SSLRunner(Runner):
    """Owns model, optimizer, loops and hooks of one run.

    What differs from mmengine's: a DDP wrapper that also runs on CPUs; the model learns what it must know of the data
    before a checkpoint is loaded; a checkpoint holds all state that must survive a kill (`ferbench.engine.checkpoint`);
    hooks have two more events (``after_iteration``: passes and validation are done; ``final_test``) and may keep state.
    """

    cfg: Config
    data: Data
    _hooks: list[Hook]
    saved_at: int | None = None  # the last checkpoint that one can resume from
    _train_loop: Any
    optim_wrapper: Any
    param_schedulers: Any

    @property
    def bare_model(self) -> SSLModel:
        """The model without its DDP wrapper."""
        return self.model.module if isinstance(self.model, MMDistributedDataParallel) else self.model

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Move the model to its device and, with several processes, wrap it in DDP."""
        place = device()
        ids = None if place.type == "cpu" else [place]
        model = model.to(place)
        if not self.distributed:
            return model
        # Rules hold the same state on every process by construction; broadcasting buffers would only cost time.
        # A head may stay out of the loss of some steps.
        settings = {
            "broadcast_buffers": False,
            "find_unused_parameters": len(cast(SSLModel, model).network.heads) > 0,
            **{k: v for k, v in (model_wrapper_cfg or {}).items() if k != "type"},
        }
        return MMDistributedDataParallel(module=model, device_ids=ids, **settings)

    @cached_property
    def protocol(self) -> dict[str, Any]:
        """What the run shares with those that it may be compared with (`ferbench.records.protocol`)."""
        return protocol_of(self.cfg, self.data, self.bare_model)

    def dump_config(self) -> None:
        """Nothing: mmengine would replace the config of an earlier run before this one is sure to start; see `save_config`."""

    @master_only
    def save_config(self) -> None:
        """Write the config into the run's folder."""
        name = Path(self.cfg.filename).name if self.cfg.filename else f"{self.timestamp}.py"
        Path(self.work_dir, name).write_text(self._config_text, encoding="utf-8")

    def _log_env(self, env_cfg: dict) -> None:
        """Log the machine by mmengine, and the config as it was formatted once."""
        cfg, self.cfg = self.cfg, Config()
        super()._log_env(env_cfg)
        self.cfg = cfg
        self.logger.info(f"Config:\n{self._config_text}")

    def prepare(self, checkpoint_path: Path | None = None) -> None:
        """Build all that a run needs, and load the checkpoint to go on from; nothing is written to the run's folder."""
        if self._load_from:
            start_from(self.bare_model, self._load_from, self.data.classes)
        restore_batch_norm(self.bare_model, self.data, self.seed)
        loop = self._train_loop = self.build_train_loop(self._train_loop)
        kind_of(OPTIM_WRAPPERS, self.optim_wrapper, "optim_wrapper", SSLOptimWrapper)
        self.optim_wrapper = build_optimizer(self.bare_model, self.optim_wrapper)
        if self.bare_model.precision == "fp16":
            self.optim_wrapper.enable_loss_scaling(loop.device.type)
        sections = completed(self.param_schedulers, loop.max_iters)
        self.param_schedulers = build_schedules(
            sections, self.optim_wrapper, loop.max_iters, self.logger.warning
        )
        self._val_loop = self.evaluation_loop("val")
        self._test_loop = self.evaluation_loop("test")
        self._check_hooks()
        self.call_hook("before_run")
        if checkpoint_path is not None:
            self.resume(str(checkpoint_path))

    def _check_hooks(self) -> None:
        scores = self._val_loop.score_names
        events.check_hooks(self._hooks, bool(self.param_schedulers))
        events.check_settings(self._hooks, scores, self._train_loop.max_iters)
        for schedule in self.param_schedulers:
            if hasattr(schedule, "monitor"):
                events.check_monitor(schedule.monitor, scores, type(schedule).__name__)
        for hook in self._hooks:
            if isinstance(hook, CheckpointKeeper):
                hook.check_metric(scores)

    def train(self) -> nn.Module:
        """Train to the end, and test (call `prepare` first)."""
        self._train_loop.run()
        self.call_hook("final_test")
        self.call_hook("after_run")
        self.visualizer.close()
        return self.model

    def prepare_test(self, checkpoint_path: Path) -> dict[str, Any]:
        """Get ready for a test of a checkpoint; its content. Hooks that serve training only are left out."""
        self._hooks = events.of_users(self._hooks)
        self.call_hook("before_run")
        return self.read_checkpoint(checkpoint_path)

    def test(self, into: Path | None = None) -> dict[str, dict[str, Any]]:
        """Scores of the model on the test set (call `prepare_test` first).

        Args:
            into: see `EvaluationLoop.run`.
        """
        scores = self.evaluation_loop("test").run(into=into)
        self.call_hook("after_run")
        return scores

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """As mmengine's; what a hook finds wrong before the run has begun is one message."""
        try:
            super().call_hook(fn_name, **kwargs)
        except (ValueError, AssertionError, ImportError) as error:
            if fn_name != "before_run":
                raise
            raise UserError(f"a hook refuses the run: {error}", where="custom_hooks") from error

    def register_default_hooks(self, hooks: Mapping[str, Any] | None = None) -> None:
        """Those of ``default_hooks`` that are not None; unlike mmengine's, no others."""
        for name, hook in (hooks or {}).items():
            if hook is not None:
                self._register(hook, f"default_hooks.{name}")

    def register_custom_hooks(self, hooks: Sequence[Any]) -> None:
        """Those of ``custom_hooks``."""
        if isinstance(hooks, (Mapping, str)):
            raise UserError(f"custom_hooks is {hooks!r}", expected="a list: [dict(type=..., ...), ...]")
        for i, hook in enumerate(hooks):
            self._register(hook, f"custom_hooks[{i}]")

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """As mmengine's; a full disk ends the run."""
        logger = super().build_logger(*args, **kwargs)
        stop_on_full_disk(logger)
        return logger

    def register_hook(self, hook: Hook | dict, priority: Any = None) -> None:
        """As mmengine's, with errors that say what is wrong."""
        self._register(hook, "register_hook", priority)

    def _register(self, hook: Any, where: str, priority: Any = None) -> None:
        if not isinstance(hook, Hook):
            given = {k: v for k, v in hook.items() if k != "priority"} if isinstance(hook, Mapping) else hook
            priority = hook.get("priority", priority) if isinstance(hook, Mapping) else priority
            events.check_kind(kind_of(HOOKS, given, where), where)
            hook = build(HOOKS, given, where)
        events.check_kind(type(hook), where)
        try:
            super().register_hook(hook, priority)
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(
                f"the priority of a hook is {hook.priority!r}",
                where=where,
                expected="0 to 100, or one of " + ", ".join(p.name for p in Priority),
            ) from error

    def build_model(self, model: Any) -> nn.Module:
        """The model of the config."""
        kind_of(MODELS, model, "model", SSLModel)
        return build(MODELS, model, "model")

    def build_visualizer(self, visualizer: Any = None) -> Any:
        """The visualizer of the config; without one, nothing but the log is written."""
        section = {"type": "Visualizer", **(visualizer or {})}
        for i, backend in enumerate(section.get("vis_backends") or ()):
            check(VISBACKENDS, backend, f"visualizer.vis_backends[{i}]", save_dir=None)
        given = {"name": self._experiment_name, "save_dir": self._log_dir}
        return build(VISUALIZERS, section, "visualizer", **given)

    def build_train_loop(self, loop: Any) -> Any:
        """The training loop of the config."""
        from ferbench.engine.loops.train import SemiTrainLoop

        kind_of(LOOPS, loop, "train_cfg", SemiTrainLoop)
        return build(LOOPS, loop, "train_cfg", runner=self, dataloader=self._train_dataloader)

    def evaluation_loop(self, part: str) -> Any:
        """The loop over ``val`` or ``test``."""
        from ferbench.engine.loops.evaluation import EvaluationLoop

        loop, loader, evaluator = (
            (self._val_loop, self._val_dataloader, self._val_evaluator)
            if part == "val"
            else (self._test_loop, self._test_dataloader, self._test_evaluator)
        )
        kind_of(LOOPS, loop, f"{part}_cfg", EvaluationLoop)
        if loop.get("part", part) != part:
            raise UserError(
                f"the {part} loop is to read the {loop['part']} set",
                where=f"{part}_cfg.part",
                expected=repr(part),
                fix="leave it out",
            )
        if part == "val" and loop.get("smoothing_window") is not None:
            raise UserError(
                "validation scores are not smoothed over frames, and choose nothing by it",
                where="val_cfg.smoothing_window",
                fix="write it in test_cfg",
            )
        return build(
            LOOPS, loop, f"{part}_cfg", runner=self, dataloader=loader, evaluator=evaluator, part=part
        )

    def save_to(self, path: Path, full: bool = True, stopped: bool = False) -> None:
        """Write a checkpoint (rank 0; the others wait).

        Args:
            path: file.
            full: with optimizer, schedules and hooks, to resume from; else only the model, to test.
            stopped: at a moment at which an uninterrupted run saves nothing: each process' own buffers are kept, too.
        """
        own_buffers = self.bare_model.own_buffers() if stopped else []
        self.bare_model.share_buffers()
        hooks = events.states_of(self._hooks) if full else {}
        if rank() == 0:
            content: dict[str, Any] = {
                "meta": self._meta(),
                "iter": self.iter,
                "state_dict": self.bare_model.state_dict(),
            }
            if full:
                content["optimizer"] = self.optim_wrapper.state_dict()
                content["schedules"] = [plain(state_of_schedule(s)) for s in self.param_schedulers]
                content["hooks"] = hooks
                content["stopped_early"] = self._train_loop.stop_training
                content["pending"], content["own_buffers"] = self._train_loop.pending, own_buffers
            self.call_hook("before_save_checkpoint", checkpoint=content)
            events.check_plain({k: v for k, v in content.items() if k not in _SURE}, path)
            content["model"] = content.pop("state_dict")
            checkpoint.save(content, path)
        if full:
            self.saved_at = self.iter
        barrier()

    def read_checkpoint(self, path: str | Path) -> dict[str, Any]:
        """A checkpoint, as hooks leave it at ``after_load_checkpoint``; its weights are under ``state_dict``.

        Raises:
            UserError: see `ferbench.engine.checkpoint.load`.
        """
        content = checkpoint.load(path)
        content["state_dict"] = content.pop("model")
        self.call_hook("after_load_checkpoint", checkpoint=content)
        return content

    def load_weights(self, path: str | Path) -> int:
        """Give the model, and the parts of the algorithm, the state of a checkpoint of this run; its iteration.

        Raises:
            UserError: the checkpoint cannot be read, or is of another model.
        """
        content = self.read_checkpoint(path)
        checkpoint.load_model_state(self.bare_model, content["state_dict"], path)
        return content["iter"]

    def resume(self, filename: str, *_: Any, **__: Any) -> None:
        """Load everything that `save_to` wrote.

        Raises:
            UserError: the checkpoint is missing, damaged, of another model, seed or split, or has no optimizer.
        """
        content = self.read_checkpoint(filename)
        self.check_meta(content["meta"], filename, exact=True)
        if "optimizer" not in content:
            raise UserError(
                "the checkpoint holds only weights",
                where=filename,
                expected="last.pth",
                fix="--resume without a path",
            )
        checkpoint.load_model_state(self.bare_model, content["state_dict"], filename)
        self.optim_wrapper.load_state_dict(content["optimizer"])
        for schedule, state in zip(self.param_schedulers, content["schedules"], strict=True):
            restore_schedule(schedule, state)
        events.restore(self._hooks, content["hooks"])
        self.bare_model.take_own_buffers(content.get("own_buffers") or [])
        self._train_loop.start_from(content["iter"], content.get("pending", False))
        self._train_loop.stop_training = content.get("stopped_early", False)
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
                    fix=_how_to_go_on(key, meta, own),
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
            "identity": {key: plain(_at(self.cfg, key)) for key in IDENTITY},
            # One may add a hook to watch the rest of a run; its record names the hooks that it ended with.
            "protocol": {key: value for key, value in self.protocol.items() if key != "hooks"},
            "config": self._config_text,
        }

    @cached_property
    def _config_text(self) -> str:
        return self.cfg.pretty_text  # yapf takes a third of a second, as long as a small run's training


_SURE = ("meta", "optimizer", "schedules")  # of a checkpoint: no hook adds to them
_ANOTHER = "for another experiment use another --work-dir"

# What must not change between the two halves of a run (paths of data and numbers of workers may).
IDENTITY = (
    "model", "views", "train_cfg", "optim_wrapper", "param_scheduler", "train_dataloader.batch_size",
    "unlabeled_dataloader.mu",
)  # fmt: skip


def _how_to_go_on(key: str, theirs: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """What helps, where a checkpoint and a config differ in ``key`` of their `SSLRunner._meta`."""
    if key == "protocol" and difference(theirs[key] or {}, own[key])[0][0].endswith("batch_norm_processes"):
        began = theirs[key]["model"].get("batch_norm_processes")
        return f"start it with {began} processes, as it began (torchrun --nproc_per_node {began}); {_ANOTHER}"
    saved = f"use the config saved in the run's folder; {_ANOTHER}"
    return (
        f"bring back the images that the run began with, or {saved}"
        if key in ("split_hash", "images")
        else saved
    )


def _at(cfg: Any, dotted: str) -> Any:
    for key in dotted.split("."):
        cfg = (cfg or {}).get(key)
    return cfg


def _difference(theirs: Any, ours: Any) -> str:
    if isinstance(ours, dict):
        key, theirs, ours = difference(theirs or {}, ours)[0]
        return f"{key} = {theirs!r} instead of {ours!r}"
    return f"{theirs!r} instead of {ours!r}"
