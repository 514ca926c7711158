"""Learning-rate schedules that mmengine lacks (of its own, `LinearLR`` and ``CosineAnnealingLR`` may be used as well)."""

from __future__ import annotations

import math
from typing import Any

from mmengine.optim.scheduler.param_scheduler import _ParamScheduler

from ferbench.registry import PARAM_SCHEDULERS


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
