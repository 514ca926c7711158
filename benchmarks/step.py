"""What a training step costs beyond its forward and backward passes, and which choices make it fast.

    OMP_NUM_THREADS=1 python benchmarks/step.py [--size 112] [--batch 8] [--mu 7] [--rounds 7] [--quick]

"bare" is a loop that anyone would write to know how fast the network can be: the weak views without a
graph, labeled and strong views in one pass with it, channels-last float images that lie ready, two cross-
entropies, backward, fused SGD. "ferbench" is the training loop itself (`SemiTrainLoop.advance` of a real
runner: seeding, batch to the device, hooks, normalisation of uint8 views, rule, losses, backward,
optimizer, EMA, schedule, monitor); only the loader is replaced by batches in memory. "peer" does the same
work as the usual code base: all views in one pass with a graph, contiguous layout, SGD as constructed, an
averaged model by `load_state_dict`, four `.item()`.

Programs take turns; the clock is the process's CPU time; a ratio is the median of the rounds' ratios. The
allocator rows run in two processes, because its settings cannot be taken back.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch starts its threads
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # a thread that waits shall not count as work

import argparse
import itertools
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from _common import alternate, machine, ratio, seconds
from rich.console import Console
from rich.table import Column, Table
from torch import Tensor, nn

from ferbench.config import load_config
from ferbench.core.process import keep_large_blocks
from ferbench.data.datasets.base import FaceDataset
from ferbench.data.preprocess import Preprocess
from ferbench.engine import api
from ferbench.engine.loops import SemiTrainLoop
from ferbench.registry import DATASETS, LOOPS

TARGET = 1.05
CLASSES = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")
UNLABELED_SET = 50_000


@dataclass(frozen=True)
class Shape:
    """The problem: side in pixels, labeled images per step, unlabeled per labeled one, and the network."""

    size: int
    batch: int
    mu: int
    network: str


def batches(
    shape: Shape, labeled: Sequence[str] = ("weak",), unlabeled: Sequence[str] = ("weak", "strong")
) -> dict[str, dict[str, Any]]:
    """What the two loaders hand over: uint8 views, indices, labels."""
    generator = torch.Generator().manual_seed(0)
    streams = {
        "labeled": (shape.batch, labeled, "labels"),
        "unlabeled": (shape.batch * shape.mu, unlabeled, "hidden_labels"),
    }
    made = {}
    for name, (count, views, labels) in streams.items():
        images = (count, shape.size, shape.size, 3)
        made[name] = {
            "images": {
                v: torch.randint(0, 256, images, dtype=torch.uint8, generator=generator) for v in views
            },
            "index": torch.arange(count),
            labels: torch.randint(0, len(CLASSES), (count,), generator=generator),
            "unreadable": [],
        }
    return made


class Bare:
    """Forward, backward and update, and nothing else.

    Args:
        shape: the problem.
        split: weak views apart, without a graph.
        channels_last: memory format.
        sgd: arguments of SGD that choose its kernel.
    """

    def __init__(self, shape: Shape, split: bool = True, channels_last: bool = True, **sgd: bool):
        torch.manual_seed(0)
        form = torch.channels_last if channels_last else torch.contiguous_format
        self.network: nn.Module = timm.create_model(shape.network, num_classes=len(CLASSES))
        self.network.to(memory_format=form)  # type: ignore[call-overload] # torch's stub lacks it
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=0.03,
            momentum=0.9,
            nesterov=True,
            weight_decay=5e-4,
            **(sgd or {"fused": True}),
        )
        self.split, made, normalize = split, batches(shape), Preprocess(shape.size).normalize
        self.labels = made["labeled"]["labels"]
        labeled = normalize(made["labeled"]["images"]["weak"])
        weak, strong = (normalize(made["unlabeled"]["images"][v]) for v in ("weak", "strong"))
        self.first = weak.contiguous(memory_format=form)
        self.second = torch.cat([labeled, strong]).contiguous(memory_format=form)
        self.all = torch.cat([self.second, self.first]).contiguous(memory_format=form)

    def losses(self) -> tuple[Tensor, Tensor, Tensor]:
        """Supervised and unsupervised loss, and the mask."""
        count = len(self.labels)
        if self.split:
            with torch.no_grad():
                weak = self.network(self.first)
            labeled, strong = self.network(self.second).tensor_split([count])
        else:
            labeled, strong, weak = self.network(self.all).tensor_split([count, len(self.second)])
        confidence, label = weak.detach().softmax(dim=1).max(dim=1)
        mask = (confidence >= 0.95).float()
        unsupervised = (F.cross_entropy(strong, label, reduction="none") * mask).mean()
        return F.cross_entropy(labeled, self.labels), unsupervised, mask

    def __call__(self) -> None:
        """One step."""
        supervised, unsupervised, _ = self.losses()
        (supervised + unsupervised).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


class Peer(Bare):
    """A step as the code bases of the field write it."""

    def __init__(self, shape: Shape):
        super().__init__(shape, split=False, channels_last=False, foreach=False)
        self.averaged = deepcopy(self.network)

    def __call__(self) -> None:
        """One step."""
        supervised, unsupervised, mask = self.losses()
        loss = supervised + unsupervised
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        for value in (supervised, unsupervised, loss, mask.mean()):
            value.item()
        average_by_state_dict(self.averaged, self.network)


@torch.no_grad()
def average_by_state_dict(averaged: nn.Module, network: nn.Module, decay: float = 0.999) -> None:
    """An exponential moving average through fresh tensors and two loads of the whole state."""
    shadow = {}
    for (name, old), new in zip(averaged.named_parameters(), network.parameters(), strict=True):
        shadow[name] = (decay * old + (1.0 - decay) * new).clone()
    averaged.load_state_dict(network.state_dict())
    averaged.load_state_dict(shadow, strict=False)


@DATASETS.register_module()
class MemoryFaces(FaceDataset):
    """Labels without images: the loop needs their number, the benchmark supplies the batches."""

    def __init__(self, count: int, classes: tuple[str, ...] = CLASSES):
        self.labels, self.classes = (np.arange(count) % len(CLASSES)).astype(np.int16), classes

    def item_id(self, index: int) -> str:
        """See `FaceDataset.item_id`."""
        return str(index)

    def read(self, index: int) -> np.ndarray:
        """See `FaceDataset.read`."""
        raise NotImplementedError


@LOOPS.register_module()
class PausedLoop(SemiTrainLoop):
    """Gets everything ready and leaves the iterations to the benchmark."""

    def run(self) -> None:
        """See `SemiTrainLoop.run`."""
        self.runner.call_hook("before_train")
        self.runner.model.train()


def training_loop(algorithm: str, shape: Shape, folder: str, **options: Any) -> Callable[[], None]:
    """One iteration of a real run of a shipped config, without its loader."""
    cfg = load_config(
        "r18_fer2013",
        {"views.size": shape.size, "model.preprocess.size": shape.size, "train_cfg.type": "PausedLoop"}
        | {"model.backbone.name": shape.network, "log_level": "ERROR"}
        | options,
        algorithm=algorithm,
    )
    cfg.classes = CLASSES
    cfg.pop("split")
    cfg.train_dataloader = dict(batch_size=shape.batch, dataset=dict(type="MemoryFaces", count=4_000))
    cfg.unlabeled_dataloader = dict(mu=shape.mu, dataset=dict(type="MemoryFaces", count=UNLABELED_SET))
    for key in ("val_dataloader", "test_dataloader"):
        cfg[key] = dict(batch_size=64, dataset=dict(type="MemoryFaces", count=64))
    cfg.experiment_name = algorithm
    loop = api.train(cfg, work_dir=f"{folder}/{algorithm}").train_loop
    made = batches(shape, loop.wanted.labeled, loop.wanted.unlabeled)
    if not loop.wanted.unlabeled:
        made.pop("unlabeled")
    # The loop takes a key out of a batch.
    streams: dict[str, Iterator[dict[str, Any]]] = {
        k: map(dict, itertools.repeat(b)) for k, b in made.items()
    }
    return lambda: loop.advance(streams)


def add_ratios(table: Table, times: dict[str, list[float]], base: str) -> None:
    for name, values in times.items():
        table.add_row(name, f"{1e3 * statistics.median(values):,.0f}", f"{ratio(values, times[base]):.3f}")


def step_table(shape: Shape, rounds: int, folder: str) -> tuple[Table, dict[str, float]]:
    """Whole steps against the bare one; also the ratios of ours."""
    programs: dict[str, Callable[[], object]] = {
        "bare: split, channels-last, fused SGD": Bare(shape),
        "ferbench, FixMatch": training_loop("fixmatch", shape, folder),
        "ferbench, DTM threshold-only": training_loop("dtm", shape, folder),
        "peer: joint, contiguous, EMA by load_state_dict": Peer(shape),
    }
    times = alternate(programs, rounds)
    table = Table(Column("whole step", no_wrap=True), "CPU ms", "ratio to bare")
    base = next(iter(programs))
    add_ratios(table, times, base)
    return table, {n: ratio(t, times[base]) for n, t in times.items() if n.startswith("ferbench")}


def factor_table(shape: Shape, rounds: int) -> Table:
    """The bare step with one choice changed."""
    programs: dict[str, Callable[[], object]] = {
        "bare: split, channels-last": Bare(shape),
        "  joint instead of split": Bare(shape, split=False),
        "  contiguous instead of channels-last": Bare(shape, channels_last=False),
        "  joint and contiguous": Bare(shape, split=False, channels_last=False),
    }
    table = Table(Column("one choice changed", no_wrap=True), "CPU ms", "ratio to bare")
    add_ratios(table, alternate(programs, rounds), next(iter(programs)))
    return table


def update_table(shape: Shape, rounds: int) -> Table:
    """Optimizer and averaging alone."""
    programs: dict[str, Callable[[], object]] = {}
    for name, kernel in (
        ("fused", {"fused": True}),
        ("foreach", {"foreach": True}),
        ("for-loop", {"foreach": False}),
    ):
        bare = Bare(shape, **kernel)
        for parameter in bare.network.parameters():
            parameter.grad = torch.randn_like(parameter)
        programs[f"SGD {name}"] = bare.optimizer.step
    network = bare.network
    averaged = deepcopy(network).requires_grad_(False)
    mine: list[Tensor] = list(averaged.parameters())
    theirs: list[Tensor] = list(network.parameters())

    @torch.no_grad()
    def together() -> None:
        torch._foreach_lerp_(mine, theirs, 0.001)

    @torch.no_grad()
    def one_by_one() -> None:
        for a, b in zip(mine, theirs, strict=True):
            a.lerp_(b, 0.001)

    programs["EMA foreach"] = together
    programs["EMA one by one, in place"] = one_by_one
    programs["EMA by load_state_dict"] = lambda: average_by_state_dict(averaged, network)
    times = alternate(programs, 5 * rounds)
    table = Table(Column("update alone", no_wrap=True), "CPU ms", "ratio")
    for kind in ("SGD", "EMA"):
        add_ratios(
            table,
            {n: t for n, t in times.items() if n.startswith(kind)},
            f"{kind} {'fused' if kind == 'SGD' else 'foreach'}",
        )
    return table


def serve(connection: Connection, shape: Shape, keep: bool) -> None:
    """In a process of its own: run a step at each request and answer with its seconds (CPU, and wall)."""
    if keep:
        keep_large_blocks()
    programs = {"bare": Bare(shape), "peer": Peer(shape)}
    while (name := connection.recv()) is not None:
        start = time.perf_counter()
        passed = seconds(programs[name])
        connection.send((passed, time.perf_counter() - start))


def allocator_table(shape: Shape, rounds: int) -> Table:
    """The same steps with glibc's usual allocator and with `keep_large_blocks`."""
    context = multiprocessing.get_context("spawn")
    ends = {}
    for keep in (True, False):
        ends[keep], theirs = context.Pipe()
        context.Process(target=serve, args=(theirs, shape, keep), daemon=True).start()
        theirs.close()  # if the process fails, `recv` then ends instead of waiting for ever

    def request(name: str, keep: bool) -> float:
        ends[keep].send(name)
        return ends[keep].recv()[0]

    names = {
        (n, k): f"{n}, {'blocks kept' if k else 'usual malloc'}"
        for n in ("bare", "peer")
        for k in (True, False)
    }
    answers = {text: partial(request, *name) for name, text in names.items()}
    times = alternate(answers, rounds, clock=lambda ask: ask())  # the clock is the other process's
    for end in ends.values():
        end.send(None)
    table = Table(Column("allocator", no_wrap=True), "CPU ms", "ratio to bare, blocks kept")
    add_ratios(table, times, names["bare", True])
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=112, help="side of the views in pixels")
    parser.add_argument("--batch", type=int, default=8, help="labeled images per step")
    parser.add_argument("--mu", type=int, default=7, help="unlabeled images per labeled one")
    parser.add_argument("--network", default="resnet18", help="a name of timm")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="3 rounds, only the whole steps")
    arguments = parser.parse_args()
    shape = Shape(arguments.size, arguments.batch, arguments.mu, arguments.network)
    rounds = 3 if arguments.quick else arguments.rounds

    keep_large_blocks()
    console = Console()
    console.print(f"{machine()}; {shape}; {rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        table, ratios = step_table(shape, rounds, folder)
    console.print(table)
    console.print(
        f"target: at most {TARGET:.2f} of the bare step; here "
        + ", ".join(f"{v:.3f} ({k})" for k, v in ratios.items())
    )
    if not arguments.quick:
        for made in (
            factor_table(shape, rounds),
            update_table(shape, rounds),
            allocator_table(shape, rounds),
        ):
            console.print(made)


if __name__ == "__main__":
    main()
