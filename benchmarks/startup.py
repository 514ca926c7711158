"""How long a user waits: for help, for the list of parts, for the first training step.

    OMP_NUM_THREADS=1 python benchmarks/startup.py [--rounds 5] [--imports 12]

Each row is a fresh process, started and waited for; bytecode and the page cache are warm (the first start
of each is not counted). The first step is that of `tools/train.py` on the tiny synthetic config, with
synthetic faces drawn for this benchmark; a hook in the temporary config notes the times and ends the run.
"CPU s" is the processor time of the process and its children, which other load on the machine does not
stretch much.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

ROOT = Path(__file__).resolve().parents[1]
TARGET_HELP, TARGET_STEP = 1.0, 10.0
EVENTS = {
    "before_run": "model, data and hooks built",
    "before_train": "workers started",
    "after_train_iter": "first step done",
}

CONFIG = """
_base_ = ["{{{{$FERBENCH_CONFIGS:}}}}/dtm/tiny_synthetic.py"]
custom_imports = dict(imports=["{plugin}"])
custom_hooks = [dict(type="StopAtFirstStep", path="{events}")]
split = dict(per_class=1, val=0.3)  # the small drawing has fewer faces than the config asks for
"""
HOOK = '''
"""Notes when a run reaches its first step, and ends it."""

import json
import time

from mmengine.hooks import Hook

from ferbench.registry import HOOKS


@HOOKS.register_module()
class StopAtFirstStep(Hook):
    """See the module."""

    def __init__(self, path):
        self.path, self.events = path, {}

    def before_run(self, runner):
        self.events["before_run"] = time.time()

    def before_train(self, runner):
        self.events["before_train"] = time.time()

    def after_train_iter(self, runner, **_):
        self.events["after_train_iter"] = time.time()
        with open(self.path, "w") as file:
            json.dump(self.events, file)
        raise SystemExit(0)
'''


def run(words: Sequence[str]) -> None:
    """Run Python from the top of the checkout; on failure show what it said."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}  # as users have it
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def timed(work: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median wall and CPU seconds of a child process."""
    walls, cpus = [], []
    for turn in range(rounds + 1):
        wall, before = time.perf_counter(), os.times()
        work()
        wall, after = time.perf_counter() - wall, os.times()
        if turn:
            walls.append(wall)
            cpus.append(
                after.children_user + after.children_system - before.children_user - before.children_system
            )
    return statistics.median(walls), statistics.median(cpus)


def command_table(rounds: int) -> tuple[Table, float]:
    """Commands that end by themselves; also the wall time of the first."""
    commands = {
        "python -c pass": ["-c", "pass"],
        "python tools/train.py --help": ["tools/train.py", "--help"],
        "ferbench list": ["-m", "ferbench", "list"],
        "import torch": ["-c", "import torch"],
        "import torch, timm, mmengine.runner": ["-c", "import torch, timm, mmengine.runner"],
        "import ferbench.engine.api": ["-c", "import ferbench.engine.api"],
    }
    table = Table(Column("command", no_wrap=True), "wall s", "CPU s")
    walls = {}
    for name, words in commands.items():
        walls[name], cpu = timed(partial(run, words), rounds)
        table.add_row(name, f"{walls[name]:.2f}", f"{cpu:.2f}")
    return table, walls["python tools/train.py --help"]


def first_step_table(folder: Path, rounds: int) -> tuple[Table, float]:
    """From the start of `tools/train.py` to the first step; also the last row's seconds."""
    run(["tools/make_synthetic.py", str(folder / "data" / "synthetic"), "--small"])
    plugin, config, events = folder / "stop.py", folder / "first_step.py", folder / "events.json"
    plugin.write_text(HOOK, encoding="utf-8")
    config.write_text(CONFIG.format(plugin=plugin, events=events), encoding="utf-8")
    words = ["tools/train.py", str(config), "--data", str(folder / "data"), "--work-dir", str(folder / "run")]
    waits: dict[str, list[float]] = {name: [] for name in EVENTS}
    for turn in range(rounds + 1):
        start = time.time()
        run([*words, "--overwrite"])
        if turn:
            for name, when in json.loads(events.read_text()).items():
                waits[name].append(when - start)
    table = Table(Column("tools/train.py, seconds from its start", no_wrap=True), "wall s", "least")
    for name, text in EVENTS.items():
        table.add_row(text, f"{statistics.median(waits[name]):.2f}", f"{min(waits[name]):.2f}")
    return table, statistics.median(waits["after_train_iter"])


def import_table(count: int) -> Table:
    """The packages whose own modules take longest to import (`python -X importtime`)."""
    command = [sys.executable, "-X", "importtime", "-c", "import ferbench.engine.api"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stderr.splitlines()
    packages: dict[str, float] = {}
    for line in lines:
        found = re.match(r"import time:\s+(\d+) \|\s+\d+ \|\s+([\w.]+)", line)
        if found:
            package = found[2].split(".")[0]
            packages[package] = packages.get(package, 0.0) + int(found[1]) / 1e3
    table = Table(Column("package imported by ferbench.engine.api", no_wrap=True), "own ms")
    for name in sorted(packages, key=lambda n: -packages[n])[:count]:
        table.add_row(name, f"{packages[name]:.0f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--imports", type=int, default=12, metavar="N", help="rows of the table of imports")
    arguments = parser.parse_args()
    console = Console()
    table, help_seconds = command_table(arguments.rounds)
    console.print(table)
    with tempfile.TemporaryDirectory() as folder:
        steps, step_seconds = first_step_table(Path(folder), arguments.rounds)
    console.print(steps)
    console.print(import_table(arguments.imports))
    console.print(
        f"targets: help below {TARGET_HELP:g} s, here {help_seconds:.2f}; "
        f"first step below {TARGET_STEP:g} s, here {step_seconds:.2f}"
    )


if __name__ == "__main__":
    main()
