"""The learning rate against numbers by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import mmengine.registry
import mmpretrain.engine
import mmpretrain.registry
import pytest
import torch
from mmengine.hooks import ParamSchedulerHook
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler

from ferbench.core.plain import plain
from ferbench.engine import api
from ferbench.engine.optim import SSLOptimWrapper
from ferbench.engine.schedules import build_schedules, completed, restore, state_of
from ferbench.errors import UserError
from ferbench.registry import PARAM_SCHEDULERS


def rates(lrs: list[float], steps: int, **options: float) -> list[list[float]]:
    """Learning rates of the groups at iterations 0, 1, ..., as an optimizer would use them."""
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs]
    optimizer = torch.optim.SGD(groups)
    scheduler = PARAM_SCHEDULERS.build(dict(type="WarmupCosineLR", optimizer=optimizer, **options))
    used = []
    for _ in range(steps):
        used.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return used


def test_schedule_of_fixmatch() -> None:
    """cos(7 pi k / 16 K): at 0, 4/7 and all of the run 1, cos(pi / 4), cos(7 pi / 16)."""
    used = rates([0.03], 71, max_iters=70)
    assert used[0] == pytest.approx([0.03])
    assert used[40] == pytest.approx([0.03 * math.sqrt(0.5)])
    assert used[70] == pytest.approx([0.03 * 0.1950903], rel=1e-6)


def test_warmup_then_half_a_cosine() -> None:
    """Three iterations of warm-up: 1/4, 2/4, 3/4; then a quarter turn over eight, which ends at 0."""
    used = [lr for (lr,) in rates([1.0], 12, max_iters=11, warmup=3, cycles=0.5)]
    assert used[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert used[7] == pytest.approx(math.cos(math.pi / 4))  # half of the eight
    assert used[11] == pytest.approx(0.0, abs=1e-12)


def test_constant_rate_and_groups_with_their_own() -> None:
    assert rates([0.1, 0.01], 5, max_iters=4, cycles=0) == [[0.1, 0.01]] * 5
    used = rates([0.1, 0.01], 5, max_iters=4, warmup=2)
    assert [b / a for a, b in used] == pytest.approx([0.1] * 5)


def test_after_the_last_iteration_the_rate_stays() -> None:
    used = rates([1.0], 30, max_iters=10, cycles=0.25)
    assert used[10] == used[29] == pytest.approx([math.sqrt(0.5)])


def test_warmup_as_long_as_the_run() -> None:
    assert [lr for (lr,) in rates([1.0], 4, max_iters=3, warmup=3)] == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_state_carries_over() -> None:
    """A scheduler that is loaded in the middle goes on as the first one would have."""
    straight = rates([0.5], 20, max_iters=20, warmup=4)
    optimizers = [torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5) for _ in "12"]
    first, second = (
        PARAM_SCHEDULERS.build(dict(type="WarmupCosineLR", optimizer=o, max_iters=20, warmup=4))
        for o in optimizers
    )
    for _ in range(7):
        optimizers[0].step()
        first.step()
    optimizers[1].load_state_dict(optimizers[0].state_dict())
    second.load_state_dict(first.state_dict())
    for step in range(7, 20):
        assert optimizers[1].param_groups[0]["lr"] == pytest.approx(straight[step][0])
        optimizers[1].step()
        second.step()


# --- Every registered schedule ---------------------------------------------------------------------------------------

RUN = 12
# Parameters without which a schedule cannot be built, in iterations; by the first letters of its name.
NEEDED = {
    "Step": dict(step_size=4),
    "MultiStep": dict(milestones=[3, 9]),
    "Exponential": dict(gamma=0.9),
    "CosineAnnealing": dict(eta_min=0.0),
    "CosineRestart": dict(periods=[6, 6], restart_weights=[1, 0.5], eta_min=0.0),
    "OneCycle": dict(eta_max=0.5),
    "ReduceOnPlateau": dict(monitor="macro_f1", rule="greater", patience=0),
}
ALL = sorted(
    list(mmengine.registry.PARAM_SCHEDULERS.module_dict)
    + [f"mmpretrain.{n}" for n in mmpretrain.registry.PARAM_SCHEDULERS.module_dict]
    + PARAM_SCHEDULERS.names()
)


def section(name: str, **more) -> dict:
    base = name.partition(".")[2] or name
    needed = next((v for k, v in NEEDED.items() if base.startswith(k)), {})
    given = dict(param_name="lr") if base.endswith("ParamScheduler") else {}
    own = {} if base.startswith(("ReduceOnPlateau", "WarmupCosine")) else dict(by_epoch=False)
    return {"type": name, **needed, **given, **own, **more}


def wrapper(adam: bool = False) -> SSLOptimWrapper:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.01)]
    common = dict(lr=0.1, weight_decay=0.1)
    return SSLOptimWrapper(
        torch.optim.Adam(groups, **common) if adam else torch.optim.SGD(groups, momentum=0.9, **common)
    )


def built(sections, optimizer, max_iters=RUN, warn=pytest.fail):
    return build_schedules(completed(sections, max_iters), optimizer, max_iters, warn)


class EpochsInside(_ParamScheduler):
    """A schedule of one's own that forgets to say what it counts."""

    def __init__(self, optimizer):
        super().__init__(optimizer, "lr")

    def _get_value(self):
        return self.base_values


class Steps:
    """What the loop and mmengine's hook do with schedules; validation after every second iteration never improves."""

    def __init__(self, sections, adam=False, max_iters=RUN, warn=pytest.fail):
        self.optimizer = wrapper(adam)
        self.runner = SimpleNamespace(param_schedulers=built(sections, self.optimizer, max_iters, warn))
        self.hook = ParamSchedulerHook()
        self.used: list[list[float]] = []

    def go(self, start: int, end: int):
        for iteration in range(start, end):
            names = ("lr", "momentum", "weight_decay")
            self.used.append([g.get(n) for g in self.optimizer.param_groups for n in names])
            if "betas" in self.optimizer.defaults:
                self.used[-1] += [g["betas"][0] for g in self.optimizer.param_groups]
            self.optimizer.optimizer.step()
            self.hook.after_train_iter(self.runner, iteration)
            if iteration % 2:
                self.hook.after_val_epoch(self.runner, {"macro_f1": 0.5})
        return self


@pytest.mark.parametrize("name", ALL)
def test_every_registered_schedule_moves_and_resumes_exactly(name, tmp_path) -> None:
    """Learning rate, momentum or weight decay; through a checkpoint file in the middle, as a resumed run reads it."""
    if "Momentum" in name and name.startswith("ReduceOnPlateau"):
        pytest.skip("needs an optimizer with momentum: see below")
    config = section(name)
    straight = Steps(config).go(0, RUN)
    assert (
        straight.used[0] != straight.used[-1]
        or len({tuple(u) for u in straight.used}) > 1
        or "Constant" in name
    )
    if "Constant" in name:  # a constant factor is not the optimizer's own value
        assert straight.used[0] != [0.1, 0.9, 0.1, 0.01, 0.9, 0.1]

    first = Steps(config).go(0, RUN // 2)
    states = [plain(state_of(s)) for s in first.runner.param_schedulers]
    torch.save({"o": first.optimizer.state_dict(), "s": states}, tmp_path / "x.pth")
    content = torch.load(tmp_path / "x.pth", weights_only=True)
    second = Steps(config)
    second.optimizer.load_state_dict(content["o"])
    for schedule, state in zip(second.runner.param_schedulers, content["s"], strict=True):
        restore(schedule, state)
    second.go(RUN // 2, RUN)
    assert first.used + second.used == straight.used


@pytest.mark.parametrize("name", [n for n in ALL if "Momentum" in n])
def test_a_schedule_of_the_momentum_moves_the_first_beta_of_adam(name) -> None:
    used = Steps(section(name), adam=True).go(0, RUN).used
    assert len({u[-1] for u in used}) > 1 or "Constant" in name
    assert used[-1][-1] != 0.9 or len({u[-1] for u in used}) > 1


@pytest.mark.parametrize("name", [n for n in ALL if not n.startswith(("ReduceOnPlateau", "WarmupCosine"))])
@pytest.mark.parametrize("said", [{}, {"by_epoch": True}, {"by_epoch": True, "convert_to_iter_based": True}])
def test_epochs_are_refused_and_the_advice_works(name, said) -> None:
    """mmengine's default would never move: a run of two streams has no epochs."""
    config = {k: v for k, v in section(name).items() if k != "by_epoch"}
    with pytest.raises(UserError, match="epochs") as error:
        completed([{**config, **said}], RUN)
    assert error.value.where.startswith("param_scheduler[0].")
    assert "by_epoch=False" in error.value.fix
    assert str(RUN) in error.value.fix
    completed([{**config, "by_epoch": False}], RUN)


@pytest.mark.parametrize("more", [dict(begin=1), dict(end=5), dict(by_epoch=False)])
def test_a_plateau_counts_validations(more) -> None:
    with pytest.raises(UserError):
        built(section("ReduceOnPlateauLR", **more), wrapper())


def test_a_plateau_s_rate_falls_after_each_validation_that_is_no_better() -> None:
    """patience=0: the first validation is the best, each of the others divides by ten."""
    used = [u[0] for u in Steps(section("ReduceOnPlateauLR")).go(0, 8).used]
    assert used == pytest.approx([0.1] * 4 + [0.01] * 2 + [0.001] * 2)


def test_warm_up_then_cosine_over_the_rest_of_the_run() -> None:
    """mmengine's usual pair; ``T_max`` and ``end`` follow from the length of the run: lr_0 (1 + cos(pi k / 8)) / 2."""
    pair = [
        dict(type="LinearLR", start_factor=0.25, by_epoch=False, end=4),
        dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=False, begin=4),
    ]
    used = [u[0] for u in Steps(pair).go(0, RUN).used]
    warm = [0.1 * (0.25 + 0.75 * k / 3) for k in range(4)]
    assert used == pytest.approx(warm + [0.05 * (1 + math.cos(math.pi * k / 8)) for k in range(8)])


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [("LinearLR", 0.1 / 3, 0.1), ("PolyLR", 0.1, 0.0), ("OneCycleLR", 0.02, 2e-6)],
)
def test_a_schedule_whose_shape_depends_on_its_end_ends_with_the_run(name, first, last) -> None:
    """mmengine's default end is a thousand million iterations, with which it stays where it begins."""
    used = [u[0] for u in Steps(section(name)).go(0, RUN).used]
    assert (used[0], used[-1]) == (pytest.approx(first), pytest.approx(last))


def test_a_cycle_that_ends_before_the_run_stays_there() -> None:
    """mmengine's raises an error in the iteration after its last."""
    used = [u[0] for u in Steps(section("OneCycleLR", total_steps=5)).go(0, RUN).used]
    assert used[4] == used[-1] < used[0]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (section("StepLR", step_size=0), "StepLR fails after iteration 1: ZeroDivisionError"),
        (section("OneCycleLR", total_steps=5, end=99), "OneCycleLR fails after iteration"),
        (section("CosineAnnealingLR", eta_min_ratio=0.1), "CosineAnnealingLR cannot be built"),
        (section("StepParamScheduler", param_name="rate"), "StepParamScheduler cannot be built"),
        (section("LinearLR", end=0), "end should be larger than begin"),
        (dict(lr=section("StepLR")), "several optimizers"),
        ("StepLR", "param_scheduler is 'StepLR'"),
        ([None], "no 'type'"),
        (dict(type="StepLr"), "'StepLR'"),
        (section("StepLR", gama=1), "no parameter 'gama'"),
        (dict(type="SGD", lr=1), "SGD"),
        (dict(type=EpochsInside), "counts epochs"),
    ],
    ids=str,
)
def test_what_no_schedule_is(config, says) -> None:
    with pytest.raises(UserError, match=says):
        built(config, wrapper())


def test_milestones_beyond_the_run_are_said() -> None:
    said: list[str] = []
    built(section("MultiStepLR", milestones=[30, 60]), wrapper(), warn=said.append)
    assert "no schedule of param_scheduler changes anything in the 12 iterations" in said[0]
    built(dict(type="WarmupCosineLR", cycles=0), wrapper())  # a constant rate, on purpose


def test_a_run_with_milestones_resumes_bit_for_bit(make, read, tmp_path, differ) -> None:
    """The milestone comes after the kill; the rates are those in the log."""
    more = {
        "param_scheduler": dict(type="MultiStepLR", milestones=[5, 9], gamma=0.5, by_epoch=False),
        "default_hooks.monitor.interval": 1,
    }
    api.train(make(more), tmp_path / "straight")
    with pytest.raises(UserError, match="is broken"):
        api.train(make({**more, "custom_hooks.1.iteration": 6}), tmp_path / "killed")
    api.train(make(more), tmp_path / "killed", resume=True)
    straight, killed = read(tmp_path / "straight"), read(tmp_path / "killed")
    for part in ("model", "optimizer", "schedules"):
        assert differ(straight.checkpoint[part], killed.checkpoint[part]) == []
    rates = [m["lr"] for m in straight.metrics if m["kind"] == "train"]
    assert rates == pytest.approx([0.3] * 5 + [0.15] * 4 + [0.075] * 3)
    assert rates == [m["lr"] for m in killed.metrics if m["kind"] == "train"]
