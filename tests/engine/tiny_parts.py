"""A plug-in file with parts made for tests: networks small enough for a test, and hooks that break a run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.hooks import Hook
from torch import nn

from ferbench.core import stopping
from ferbench.models import LoadedWeights
from ferbench.registry import HOOKS, MODELS, THRESHOLDS
from ferbench.thresholds import Evidence, ThresholdRule

WIDTH = 8
WAITS = "waits"


class _Tiny(nn.Module):
    num_features = 2 * WIDTH

    def __init__(self, norm: bool):
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((3, WIDTH), (WIDTH, 2 * WIDTH)):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1)]
            layers += [nn.BatchNorm2d(after), nn.ReLU()] if norm else [nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images).mean(dim=(2, 3))


@MODELS.register_module()
class TinyPlain(_Tiny):
    """Each image is treated by itself: results do not depend on how a batch is split."""

    def __init__(self):
        super().__init__(norm=False)


@MODELS.register_module()
class TinyBatchNorm(_Tiny):
    """With batch-norm."""

    def __init__(self):
        super().__init__(norm=True)


@MODELS.register_module()
class TinyFolded(TinyBatchNorm):
    """As if it had started from weights into which batch-norm was folded."""

    def __init__(self):
        super().__init__()
        expected = {"size": 30, "mean": [120.0] * 3}
        self.loaded = LoadedWeights(
            Path("faces.dat"), "0" * 64, "", 14, (), (), folded=True, preprocess=expected
        )


@HOOKS.register_module()
class KillAt(Hook):
    """Sends this process (or one of its children) a signal in an iteration.

    Args:
        iteration: iterations done when it happens, counted from 1.
        moment: ``step``: after the update, before the labeled pass and validation; ``checkpoint``: after both, before the
            checkpoint of the iteration.
        signum: the signal; 0: none.
        whom: ``self``; ``child``: every child process (data-loading workers); ``parent``: the launcher, which hands it on.
            With ``parent``, the training then waits until it is told to stop, and says so by a file `WAITS` in its folder.
        times: 2: twice, while the children that there are then are listed in ``children.txt``.
        rank: on which process; None: on all.
    """

    priority = "NORMAL"

    def __init__(
        self,
        iteration: int = 0,
        moment: str = "step",
        signum: int = signal.SIGKILL,
        whom: str = "self",
        times: int = 1,
        rank: int | None = None,
    ):
        self.iteration, self.moment, self.signum, self.whom = iteration, moment, signum, whom
        self.times, self.rank = times, rank

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if self.rank not in (runner.rank, None):
            return
        if self.moment == "step" and runner.iter + 1 == self.iteration:
            if self.times > 1:
                stopping.ECHO = -1.0  # no echo: a second signal
                (Path(runner.work_dir) / "children.txt").write_text(" ".join(_children()))
                self._send()
            self._send()
            if self.whom == "parent":
                (Path(runner.work_dir) / WAITS).touch()
                while not stopping.current.asked:
                    time.sleep(0.01)

    def after_iteration(self, runner) -> None:
        if self.moment == "checkpoint" and runner.iter == self.iteration:
            self._send()

    def _send(self) -> None:
        if self.whom == "self":
            os.kill(os.getpid(), self.signum)
            return
        if self.whom == "parent":
            os.kill(os.getppid(), self.signum)
            return
        for child in _children():
            os.kill(int(child), self.signum)


def _children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


@HOOKS.register_module()
class PoisonAt(Hook):
    """Makes one weight NaN, as a diverging update does."""

    def __init__(self, iteration: int = 0):
        self.iteration = iteration

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 == self.iteration:
            with torch.no_grad():
                runner.bare_model.network.head.fc.bias[0] = float("nan")


@HOOKS.register_module()
class FailAt(Hook):
    """Raises an error on one process, or on all (None)."""

    def __init__(self, iteration: int = 0, rank: int | None = None):
        self.iteration, self.rank = iteration, rank

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        from ferbench.errors import UserError

        if runner.iter + 1 == self.iteration and self.rank in (runner.rank, None):
            raise UserError("the data of this process is broken")


@THRESHOLDS.register_module()
class OddWeights(ThresholdRule):
    """Gives the items of a batch some numbers in turn; as a column if asked."""

    def __init__(self, numbers: Sequence[float], column: bool = False):
        super().__init__()
        self.numbers, self.column = tuple(numbers), column

    def forward(self, evidence: Evidence) -> torch.Tensor:
        weight = torch.tensor(self.numbers)[torch.arange(len(evidence.probs)) % len(self.numbers)]
        return weight[:, None] if self.column else weight
