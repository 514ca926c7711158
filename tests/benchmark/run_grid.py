"""A runner in a process of its own, whose trainings are played by `fake_train`:  run_grid.py PLAN GRID OUT DATA [--resume]"""

import sys
from pathlib import Path

from ferbench.benchmark import runner

FAKE = Path(__file__).with_name("fake_train.py")


def play(plan: str) -> None:
    """Put the stand-in in the place of the training command."""
    runner.train_command = lambda config, folder, data, plugins, processes=1: (
        sys.executable, str(FAKE), plan, str(config), "--work-dir", str(folder),
    )  # fmt: skip


if __name__ == "__main__":
    plan, grid, out, data, *rest = sys.argv[1:]
    play(plan)
    sys.exit(runner.benchmark(runner.Options(grid, out=out, data=data, resume="--resume" in rest)))
