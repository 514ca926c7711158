"""Schedules of learning rate, momentum and weight decay: building them for a run that counts iterations, and one of our own."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmengine.optim.scheduler import (
    CosineAnnealingParamScheduler,
    LinearParamScheduler,
    OneCycleParamScheduler,
    PolyParamScheduler,
)
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler

from ferbench.core.parts import build, check, kind_of, parameters
from ferbench.core.plain import listed, spelled_out
from ferbench.errors import UserError
from ferbench.registry import PARAM_SCHEDULERS

REHEARSED = 20_000  # iterations of a schedule that are tried out before a run; takes a fifth of a second
_SCHEDULED = ("lr", "momentum", "weight_decay")


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(_ParamScheduler):
    """Linear warm-up, then ``lr_0 * cos(pi * cycles * k / K)`` over the iterations after it.

    ``cycles = 7/16`` is the schedule of FixMatch and USB (arXiv 2001.07685, sec. 2.3), which ends at 0.195 * lr_0;
    ``cycles = 1/2`` ends at 0; ``cycles = 0`` is a constant rate.

    Args:
        optimizer: whose learning rate is set.
        max_iters: iterations of the run, warm-up included; filled in from ``train_cfg.max_iters``.
        warmup: iterations of linear warm-up.
        cycles: see above.
    """

    def __init__(self, optimizer: Any, max_iters: int, warmup: int = 0, cycles: float = 7 / 16):
        self.max_iters, self.warmup, self.cycles = max_iters, warmup, cycles
        super().__init__(optimizer, "lr", by_epoch=False)

    def _get_value(self) -> list[float]:
        step = self.last_step
        if step < self.warmup:
            factor = (step + 1) / (self.warmup + 1)
        else:
            done = (step - self.warmup) / max(1, self.max_iters - self.warmup)
            factor = math.cos(math.pi * self.cycles * min(done, 1.0))
        return [base * factor for base in self.base_values]


def completed(configs: Any, max_iters: int) -> list[dict[str, Any]]:
    """The schedules of a config, checked, with what follows from the length of the run filled in.

    A run is counted in iterations, so ``by_epoch=True``, which is mmengine's default and would never move, is refused
    (``ReduceOnPlateau...`` apart, which counts validations). Schedules whose shape depends on their end (linear, polynomial,
    cosine without ``T_max``, one-cycle without ``total_steps``) end with the run unless the config says where.

    Args:
        configs: ``param_scheduler`` of the config: None, one section or a list of them.
        max_iters: iterations of the run.

    Raises:
        UserError: no section, an unknown schedule or parameter, or one that counts epochs.
    """
    if configs is None:
        return []
    if isinstance(configs, Mapping) and "type" not in configs:
        raise UserError(
            "param_scheduler is a dict of schedules for several optimizers",
            where="param_scheduler",
            expected="dict(type=..., ...), or a list of such sections: there is one optimizer",
        )
    single = isinstance(configs, Mapping)
    if not single and (not isinstance(configs, Sequence) or isinstance(configs, str)):
        raise UserError(f"param_scheduler is {configs!r}", expected="dict(type=..., ...), or a list of them")
    return [
        _completed(c, max_iters, "param_scheduler" if single else f"param_scheduler[{i}]")
        for i, c in enumerate([configs] if single else configs)
    ]


def _completed(config: Any, max_iters: int, where: str) -> dict[str, Any]:
    kind = kind_of(PARAM_SCHEDULERS, config, where, _ParamScheduler)
    known = parameters(kind)[0]
    told: dict[str, Any] = {"max_iters": max_iters} if "max_iters" in known else {}
    if "by_epoch" in known:
        _check_units(kind, config, max_iters, where)
    begin = config.get("begin", 0)
    if issubclass(kind, OneCycleParamScheduler) and config.get("total_steps"):
        told["end"] = begin + config["total_steps"]  # mmengine's raises an error after its last step
    elif issubclass(kind, (LinearParamScheduler, PolyParamScheduler, OneCycleParamScheduler)) or (
        issubclass(kind, CosineAnnealingParamScheduler) and not config.get("T_max")
    ):
        told["end"] = max(max_iters, begin + 1)
    section = {**told, **config}
    check(PARAM_SCHEDULERS, section, where, optimizer=None)
    return section


def _check_units(kind: Any, config: Mapping[str, Any], max_iters: int, where: str) -> None:
    name = kind.__name__
    if config.get("convert_to_iter_based"):
        raise UserError(
            f"{name} is to be converted from epochs to iterations, but a run of two streams has no epochs",
            where=f"{where}.convert_to_iter_based",
            fix=f"leave it out, write by_epoch=False, and count in iterations, of which the run has {max_iters}",
        )
    if _is_plateau(kind):
        if "begin" in config or "end" in config:
            raise UserError(
                f"{name} is to begin or end at an epoch, but a run is counted in iterations",
                where=where,
                expected="neither begin nor end",
                fix="leave them out: it looks at every validation; patience and cooldown count validations, too",
            )
    elif config.get("by_epoch", True):
        raise UserError(
            f"{name} counts epochs (by_epoch=True, the default of mmengine), and would never move: a run is counted in "
            "iterations",
            where=f"{where}.by_epoch",
            expected="by_epoch=False",
            fix="write by_epoch=False, and begin, end, milestones, T_max, ... in iterations, of which the run has "
            f"{max_iters}",
        )


def build_schedules(
    sections: Sequence[Mapping[str, Any]], optimizer: Any, max_iters: int, warn: Callable[[str], None]
) -> list[_ParamScheduler]:
    """The schedules of a run, after a rehearsal of its first iterations.

    Args:
        sections: see `completed`.
        optimizer: the optimizer's wrapper.
        max_iters: iterations of the run.
        warn: is told where none of the schedules changes anything in the whole run.

    Raises:
        UserError: one cannot be built, fails in the run, or counts epochs.
    """
    wheres = (
        ["param_scheduler"] if len(sections) == 1 else [f"param_scheduler[{i}]" for i in range(len(sections))]
    )

    def build_all(target: Any) -> list[_ParamScheduler]:
        return [
            build(PARAM_SCHEDULERS, s, w, optimizer=target) for s, w in zip(sections, wheres, strict=True)
        ]

    double = _double(optimizer)
    before = _values(double)
    rehearsal = build_all(double)
    double._global_step = 0  # else mmengine warns that the optimizer has made no step
    for schedule, where in zip(rehearsal, wheres, strict=True):
        if schedule.by_epoch and not _is_plateau(schedule):
            raise UserError(
                f"{type(schedule).__name__} counts epochs, and would never move: a run is counted in iterations",
                where=where,
                fix="pass by_epoch=False to the constructor of its base class",
            )
    moved = _values(double) != before or any(map(_is_plateau, rehearsal))
    for iteration in range(min(max_iters, REHEARSED)):
        for schedule, where in zip(rehearsal, wheres, strict=True):
            try:
                schedule.step()
            except Exception as error:  # a schedule is a program
                raise UserError(
                    f"{type(schedule).__name__} fails after iteration {iteration + 1}: {type(error).__name__}: {error}",
                    where=where,
                    expected=f"a schedule for a run of {max_iters} iterations",
                    fix="correct its numbers, or say where it ends: end=...",
                ) from error
        moved = moved or _values(double) != before
    constant = all(isinstance(s, WarmupCosineLR) for s in rehearsal)  # on purpose: cycles=0
    if not moved and not constant and max_iters <= REHEARSED:
        warn(
            f"no schedule of param_scheduler changes anything in the {max_iters} iterations of this run: do begin, end, "
            "milestones, ... count iterations?"
        )
    return build_all(optimizer)


def _is_plateau(schedule: Any) -> bool:
    return getattr(schedule, "need_val_args", False)


def _values(optimizer: Any) -> list[Any]:
    return [group.get(name) for group in optimizer.param_groups for name in _SCHEDULED]


def _double(optimizer: Any) -> Any:
    """An optimizer wrapper whose groups may be changed without touching those of `optimizer`."""
    double = copy.copy(optimizer)
    double.optimizer = copy.copy(optimizer.optimizer)
    double.optimizer.param_groups = [dict(group) for group in optimizer.optimizer.param_groups]
    if (
        optimizer.base_param_settings is not None
    ):  # mmengine's memory of the rate that the config says, a group of its own
        double.base_param_settings = dict(optimizer.base_param_settings)
    return double


def state_of(schedule: _ParamScheduler) -> dict[str, Any]:
    """What a schedule must remember across a kill; what its config decides is built again."""
    return {k: v for k, v in schedule.state_dict().items() if _changes(v)}


def restore(schedule: _ParamScheduler, state: Mapping[str, Any]) -> None:
    """See `state_of`."""
    own = vars(schedule)
    schedule.load_state_dict({k: v for k, v in state.items() if k not in own or _changes(own[k])})


def _changes(value: Any) -> bool:
    """Not so milestones, whose numbers are keys, and functions."""
    return not callable(value) and not isinstance(value, Counter)


def described(configs: Any) -> list[dict[str, Any]]:
    """The schedules as the protocol of a run names them.

    Args:
        configs: ``param_scheduler`` of the config.
    """
    return [spelled_out(PARAM_SCHEDULERS, config) for config in listed(configs)]
