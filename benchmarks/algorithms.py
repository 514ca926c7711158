"""What each algorithm costs: a training step and its memory, relative to labeled-only and to FixMatch.

    OMP_NUM_THREADS=1 python benchmarks/algorithms.py [NAME ...] [--size 48] [--batch 8] [--mu 7] [--rounds 5]

Every algorithm (a file of configs/_base_/algorithms/) is trained on the same network and batches, without a loader, in a
process of its own; processes take turns with those of `supervised` and `fixmatch`, a ratio is the median over rounds of CPU
time. "MB" is the most that the process held above what it held before the model was built. Passes over a whole data set,
which some rules ask for from time to time, are not in a step.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch starts its threads
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import multiprocessing
import statistics
import tempfile
import warnings
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from _common import alternate, machine, ratio, seconds
from rich.console import Console
from rich.table import Column, Table
from step import Shape, training_loop

from ferbench.core.config_files import ALGORITHMS, names_in
from ferbench.core.process import keep_large_blocks

REFERENCES = ("supervised", "fixmatch")


def held(field: str) -> float:
    """A field of ``/proc/self/status`` in MB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith(f"{field}:"))


def serve(connection: Connection, algorithm: str, shape: Shape) -> None:
    """In a process of its own: a step at each request, answered with its CPU seconds; at the end the memory."""
    warnings.filterwarnings("ignore", module="mmengine")  # on how processes are started
    keep_large_blocks()
    before = held("VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        step = training_loop(algorithm, shape, folder)
        while connection.recv():
            connection.send(seconds(step))
        connection.send(held("VmHWM") - before)


class Server:
    """One algorithm's process."""

    def __init__(self, algorithm: str, shape: Shape):
        context = multiprocessing.get_context("spawn")
        self.end, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, algorithm, shape), daemon=True)
        self.process.start()
        theirs.close()  # if the process fails, `recv` then ends instead of waiting for ever

    def step(self) -> float:
        """CPU seconds of one more step."""
        self.end.send(True)
        return self.end.recv()

    def stop(self) -> float:
        """End the process; the memory it needed, in MB."""
        self.end.send(False)
        memory = self.end.recv()
        self.process.join()
        return memory


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="as --algorithm takes them (default: all)")
    parser.add_argument("--size", type=int, default=48, help="side of the views in pixels")
    parser.add_argument("--batch", type=int, default=8, help="labeled images per step")
    parser.add_argument("--mu", type=int, default=7, help="unlabeled images per labeled one")
    parser.add_argument("--network", default="resnet18", help="a name of timm")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    shape = Shape(arguments.size, arguments.batch, arguments.mu, arguments.network)
    names = [n for n in arguments.names or names_in(ALGORITHMS) if n not in REFERENCES]

    console = Console()
    console.print(f"{machine()}; {shape}; {arguments.rounds} rounds")
    table = Table(
        Column("algorithm", no_wrap=True), "CPU ms", "to supervised", "to fixmatch", "MB", "to fixmatch"
    )
    references = {name: Server(name, shape) for name in REFERENCES}
    rows: dict[str, tuple[float, float, float]] = {}
    memory: dict[str, float] = {}
    for name in names:
        server = Server(name, shape)
        programs = {n: partial(s.step) for n, s in {**references, name: server}.items()}
        times = alternate(programs, arguments.rounds, clock=lambda step: step())
        for n in (*REFERENCES, name):
            ratios = [ratio(times[n], times[reference]) for reference in REFERENCES]
            rows[n] = (1e3 * statistics.median(times[n]), ratios[0], ratios[1])
        memory[name] = server.stop()
    memory |= {name: server.stop() for name, server in references.items()}
    for name, (cost, *ratios) in sorted(rows.items()):
        table.add_row(
            name,
            f"{cost:,.0f}",
            *(f"{r:.2f}" for r in ratios),
            f"{memory[name]:,.0f}",
            f"{memory[name] / memory['fixmatch']:.2f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
