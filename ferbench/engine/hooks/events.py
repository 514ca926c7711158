"""The events of a run that a hook may wait for, and the hooks of other packages that cannot be right here."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import EarlyStoppingHook, Hook, ParamSchedulerHook, ProfilerHook

from ferbench.core.plain import package_of, resolved, spelled_out
from ferbench.errors import UserError, nearest
from ferbench.registry import HOOKS

_BATCH = ("batch_idx", "data_batch")
#: Every event, in the order of a run, and the names of the arguments that a hook gets with it, after the runner. All but the
#: last two are mmengine's.
EVENTS: Mapping[str, tuple[str, ...]] = {
    "before_run": (),
    "after_load_checkpoint": ("checkpoint",),
    "before_train": (), "before_train_epoch": (), "before_train_iter": _BATCH, "after_train_iter": (*_BATCH, "outputs"),
    "before_val": (), "before_val_epoch": (), "before_val_iter": _BATCH, "after_val_iter": (*_BATCH, "outputs"),
    "after_val_epoch": ("metrics",), "after_val": (),
    "before_save_checkpoint": ("checkpoint",),
    "after_train_epoch": (), "after_train": (),
    "before_test": (), "before_test_epoch": (), "before_test_iter": _BATCH, "after_test_iter": (*_BATCH, "outputs"),
    "after_test_epoch": ("metrics",), "after_test": (),
    "after_run": (),
    "after_iteration": (), "final_test": (),
}  # fmt: skip

OPENMMLAB = (
    "mmengine", "mmcv", "mmpretrain", "mmcls", "mmselfsup", "mmdet", "mmseg", "mmaction", "mmrazor", "mmdeploy",
)  # fmt: skip
#: Hooks of OpenMMLab that do here what they are for.
WORKING = ("ParamSchedulerHook", "EarlyStoppingHook", "EmptyCacheHook", "ProfilerHook")
#: For the others that users know: how the same is had here.
INSTEAD: Mapping[str, str] = {
    "CheckpointHook": "CheckpointKeeper saves the last and the best checkpoints: "
    "default_hooks = dict(checkpoint=dict(type='CheckpointKeeper', interval=1000, metric='macro_f1'))",
    "EMAHook": "the model averages its classifier, and both are evaluated: model = dict(ema_decay=0.999)",
    "LoggerHook": "PseudoLabelMonitor writes the log: "
    "default_hooks = dict(monitor=dict(type='PseudoLabelMonitor', interval=50))",
    "IterTimerHook": "PseudoLabelMonitor writes images per second, the share of waiting for data and the time left",
    "RuntimeInfoHook": "PseudoLabelMonitor writes losses and learning rate without reading the device at each step",
    "DistSamplerSeedHook": "the order of the images follows from seed and step, on any number of processes",
    "SyncBuffersHook": "the processes share their batch-norm statistics before each evaluation and checkpoint; to compute "
    "them over all processes: model = dict(batch_norm='synchronized')",
    "PreciseBNHook": "the averaged classifier has averaged batch-norm statistics: model = dict(ema_decay=0.999)",
    "NPUProfilerHook": "on CPUs and GPUs: custom_hooks = [dict(type='ProfilerHook', by_epoch=False, profile_times=10)]",
    "ClassNumCheckHook": "the number of classes is checked against the data when the run is built",
    "NaiveVisualizationHook": "`ferbench test --out` writes the prediction of each image to a table",
    "VisualizationHook": "`ferbench test --out` writes the prediction of each image to a table",
    "SwitchRecipeHook": "write a hook of your own, see docs/howto/plugin.md",
    "WarmupParamHook": "write a hook of your own, see docs/howto/plugin.md",
}
# What such a hook must remember across a kill, and does not save itself.
_REMEMBERED: Mapping[type[Hook], tuple[str, ...]] = {EarlyStoppingHook: ("wait_count", "best_score")}


def check_kind(kind: Any, where: str) -> None:
    """Whether the hooks of a class can do here what they are for.

    Args:
        kind: the class, or whatever else was registered.
        where: section of the config.

    Raises:
        UserError: it is, or extends, a hook of OpenMMLab that is made for other loops or models; or one of its methods does
            not take the arguments of its event.
    """
    if not inspect.isclass(kind):
        return
    for base in kind.__mro__:
        if base in (Hook, object) or base.__module__.partition(".")[0] not in OPENMMLAB:
            continue
        if base.__name__ not in WORKING:
            does = "is" if base is kind else f"extends {base.__name__}, which is"
            raise UserError(
                f"{kind.__name__} {does} a hook for the loops and models of {base.__module__.partition('.')[0]}, and cannot "
                "be right here",
                where=where,
                expected=f"a hook of ferbench, a hook of your own, or one of {', '.join(WORKING)}",
                fix="leave it out" + (f"; {INSTEAD[base.__name__]}" if base.__name__ in INSTEAD else ""),
            )
    for event, names in EVENTS.items():
        method = getattr(kind, event, None)
        if method is None or method is getattr(Hook, event, None):
            continue
        try:
            inspect.signature(method).bind(None, None, **dict.fromkeys(names))
        except TypeError as error:
            raise UserError(
                f"{kind.__name__}.{event} cannot be called: {error}",
                where=where,
                expected=f"def {event}({', '.join(('self', 'runner', *names))})",
            ) from error


def check_hooks(hooks: Sequence[Hook], scheduled: bool) -> None:
    """Whether the hooks of a run make sense together.

    Args:
        hooks: all of them.
        scheduled: whether the config has schedules.

    Raises:
        UserError: one is missing that another one needs, or stands twice.
    """
    from ferbench.engine.hooks import CheckpointKeeper, FinalReport, PseudoLabelMonitor, RunRecord

    own = {
        "checkpoint": CheckpointKeeper, "monitor": PseudoLabelMonitor, "report": FinalReport, "record": RunRecord,
        "param_scheduler": ParamSchedulerHook,
    }  # fmt: skip
    count = Counter(name for name, kind in own.items() for hook in hooks if isinstance(hook, kind))
    for name, found in count.items():
        if found > 1:
            raise UserError(
                f"there are {found} hooks of the kind {own[name].__name__}",
                where=f"default_hooks.{name} and custom_hooks",
                expected="one",
            )
    needed = [("record", "monitor"), ("record", "report"), ("report", "checkpoint")]
    for name, other in [(a, b) for a, b in needed if count[a]]:
        if not count[other]:
            raise UserError(
                f"there is no {own[other].__name__}, which {own[name].__name__} needs",
                where=f"default_hooks.{other}",
                expected=f"dict(type={own[other].__name__!r})",
                fix=f"or leave out both: default_hooks = dict({other}=None, {name}=None, ...)",
            )
    if scheduled and not count["param_scheduler"]:
        raise UserError(
            "there is no ParamSchedulerHook, so that no schedule would ever move",
            where="default_hooks.param_scheduler",
            expected="dict(type='ParamSchedulerHook')",
            fix="or leave out the schedules: param_scheduler = None",
        )


def check_settings(hooks: Sequence[Hook], scores: Sequence[str], max_iters: int) -> None:
    """Whether hooks of mmengine are told what exists in this run.

    Args:
        hooks: all of them.
        scores: names of the scores of a validation.
        max_iters: iterations of the run.

    Raises:
        UserError: a score that there is not, epochs, or more iterations than there are.
    """
    for hook in hooks:
        if isinstance(hook, EarlyStoppingHook):
            check_monitor(hook.monitor, scores, "EarlyStoppingHook")
        if isinstance(hook, ProfilerHook) and (hook.by_epoch or hook.profile_times > max_iters):
            raise UserError(
                "ProfilerHook is to profile "
                + ("a whole epoch" if hook.by_epoch else f"{hook.profile_times} iterations"),
                where="custom_hooks",
                expected=f"some iterations; the run has {max_iters}, and no epochs",
                fix="dict(type='ProfilerHook', by_epoch=False, profile_times=1)",
            )


def check_monitor(monitor: str, scores: Sequence[str], who: str) -> None:
    """Whether a validation gives the score that somebody waits for.

    Raises:
        UserError: it does not.
    """
    if monitor not in scores:
        raise UserError(
            f"{who} monitors {monitor!r}, which is no score of a validation",
            expected=nearest(monitor, scores),
            fix="name one of them; 'raw/...' is of the trained weights, 'ema/...' and the bare name are of their average",
        )


def of_users(hooks: Sequence[Hook]) -> list[Hook]:
    """Hooks that are neither ours nor mmengine's: those of both serve training."""
    return [h for h in hooks if type(h).__module__.partition(".")[0] not in ("ferbench", *OPENMMLAB)]


def check_plain(value: Any, path: Path, at: str = "") -> None:
    """Whether a value, to which a hook may have added something, can be read again from a checkpoint.

    Raises:
        UserError: it holds an object that is neither a tensor nor a plain type.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            check_plain(key, path, f"{at}: a key")
            check_plain(item, path, f"{at}.{key}" if at else str(key))
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            check_plain(item, path, f"{at}[{i}]")
    elif value is not None and not isinstance(value, (torch.Tensor, bool, int, float, str, bytes)):
        raise UserError(
            f"a hook wants to save something that no checkpoint can be read with: {at} is a {type(value).__name__}",
            where=path,
            expected="tensors, numbers, text, and lists and dicts of them",
        )


def states_of(hooks: Sequence[Hook]) -> dict[str, dict[str, Any]]:
    """What hooks must remember across a kill: their ``state_dict()``; called by all processes."""
    return {name: _state(hook) for name, hook in _stateful(hooks).items()}


def restore(hooks: Sequence[Hook], states: Mapping[str, Mapping[str, Any]]) -> None:
    """See `states_of`."""
    for name, hook in _stateful(hooks).items():
        if name not in states:
            continue
        load = getattr(hook, "load_state_dict", None)
        if load is not None:
            load(states[name])
        else:
            vars(hook).update(states[name])


def _stateful(hooks: Sequence[Hook]) -> dict[str, Hook]:
    """Hooks with a state by name; of several of one class, the second is ``<class> 2``."""
    found: dict[str, Hook] = {}
    for hook in hooks:
        if hasattr(hook, "state_dict") or isinstance(hook, tuple(_REMEMBERED)):
            kind = type(hook).__name__
            number = 1 + sum(type(other).__name__ == kind for other in found.values())
            found[kind if number == 1 else f"{kind} {number}"] = hook
    return found


def _state(hook: Hook) -> dict[str, Any]:
    own = getattr(hook, "state_dict", None)
    if own is not None:
        return own()
    return {
        name: getattr(hook, name)
        for kind, names in _REMEMBERED.items()
        if isinstance(hook, kind)
        for name in names
    }


def described(cfg: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The hooks of a config that may change what comes out, for the protocol: ferbench's and mmengine's do not, but for one."""
    hooks = [*(cfg.get("custom_hooks") or ()), *filter(None, (cfg.get("default_hooks") or {}).values())]
    return [
        spelled_out(HOOKS, hook)
        for hook in hooks
        if package_of(HOOKS, hook) not in ("ferbench", "mmengine")
        or getattr(resolved(HOOKS, hook), "__name__", "") == EarlyStoppingHook.__name__
    ]
