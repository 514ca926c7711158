"""The learning rate against numbers by hand."""

from __future__ import annotations

import math

import pytest
import torch

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
