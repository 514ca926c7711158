"""The training loop over two streams."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.runner import BaseLoop

from ferbench.contracts import StepResult
from ferbench.core import stopping
from ferbench.data.datasets.base import FaceDataset
from ferbench.data.loader import (
    EvalBatches,
    TrainBatches,
    batch_loader,
    check_batch,
    check_mu,
    check_sampler,
    default_workers,
    to_device,
    train_loader,
)
from ferbench.data.views import Views
from ferbench.distributed import rank, sum_over_ranks, world_size
from ferbench.engine.hooks.keeper import LAST
from ferbench.engine.seeding import seed_step
from ferbench.engine.unreadable import UnreadableLog
from ferbench.errors import Stopped, UserError
from ferbench.functional.randomness import derive_seed
from ferbench.lifecycle import DatasetPass, Part, RunContext, parts_of
from ferbench.registry import LOOPS

SMALL_PASS = 2048  # images below which starting workers costs more than it saves


@LOOPS.register_module()
class SemiTrainLoop(BaseLoop):
    """Iterations over a labeled and an unlabeled stream; validation at intervals; final test.

    Args:
        runner: the runner.
        dataloader: ``train_dataloader``: ``batch_size`` (labeled images per step, over all processes), ``num_workers``,
            ``sampler`` (order of the labeled stream: ``shuffled``, or ``class_balanced``: every class has the same share).
        max_iters: iterations, each one update of the weights.
        val_interval: iterations between validations.
        micro_batches: parts into which a process cuts its share of a step to save memory; gradients are averaged over
            them before the one update. Each part passes batch-norm and the threshold rule on its own.
        max_unreadable: share of unreadable images, of the images seen in a stream, above which the run stops.
    """

    not_protocol = ("max_unreadable",)  # options that change no result

    def __init__(
        self,
        runner: Any,
        dataloader: Mapping[str, Any],
        max_iters: int,
        val_interval: int = 1000,
        micro_batches: int = 1,
        max_unreadable: float = 0.01,
    ):
        self._runner, self.dataloader = runner, dataloader
        for name, value in (
            ("max_iters", max_iters), ("val_interval", val_interval), ("micro_batches", micro_batches),
        ):  # fmt: skip
            if not isinstance(value, int) or value < 1:
                raise UserError(f"train_cfg.{name} is {value!r}", expected="a whole number, at least 1")
        self.max_iters, self.val_interval, self.micro_batches = max_iters, val_interval, micro_batches
        self._iter = 0
        self.stop_training = False  # set by a hook, the run ends after the iteration and is tested
        self.pending = False  # what is due after the last iteration (passes, validation) is still to be done
        self.device = next(runner.model.parameters()).device
        self.nonfinite = torch.zeros((), device=self.device)
        self.data_wait = 0.0  # seconds spent waiting for the loaders, read and reset by the monitor
        self.unreadable = UnreadableLog(
            runner.work_dir, runner.logger, max_unreadable, "train_cfg.max_unreadable"
        )

        model, cfg = runner.bare_model, runner.cfg
        self.wanted = model.algorithm.views
        if "size" not in cfg.views:
            raise UserError(
                "the size of the views is not given", where="views", expected="dict(size=..., ...)"
            )
        self.views = Views(**cfg.views)
        if self.views.size != model.preprocess.size:
            raise UserError(
                f"views of {self.views.size} px are made for a network that is given {model.preprocess.size} px",
                where="views.size and model.preprocess.size", expected="the same number",
            )  # fmt: skip
        asked_by = f"algorithm {type(model.algorithm).__name__!r}"
        self.views.check((*self.wanted.labeled, *self.wanted.unlabeled), asked_by)
        self.labeled = runner.data.labeled(model.algorithm.all_labels)
        self.unlabeled = runner.data.datasets.get("unlabeled") if self.wanted.unlabeled else None
        if self.wanted.unlabeled and self.unlabeled is None:
            raise UserError(
                f"{asked_by} needs unlabeled images, but the config names none",
                where="unlabeled_dataloader",
                expected="rest=True and/or dataset=...",
            )
        self.mu = check_mu(cfg.get("unlabeled_dataloader"))
        check_batch(self.labeled, dataloader.get("batch_size"), "labeled")
        self.sampler = check_sampler(dataloader.get("sampler", "shuffled"))
        if self.unlabeled is not None:
            check_batch(self.unlabeled, dataloader["batch_size"] * self.mu, "unlabeled")
        model.bind(
            RunContext(
                num_classes=len(runner.data.classes),
                num_labeled=len(self.labeled),
                num_unlabeled=len(self.unlabeled) if self.unlabeled is not None else 0,
                max_iters=max_iters,
                class_counts=tuple(self.labeled.class_counts().tolist()),
                labeled_batch=dataloader["batch_size"],
                unlabeled_batch=dataloader["batch_size"] * self.mu if self.unlabeled is not None else 0,
                seed=runner.seed,
                sampler=self.sampler,
                labeled_videos=_videos(self.labeled),
                folder=Path(runner.work_dir),
            )
        )
        self.passes = [
            (part, stream, request)
            for part in parts_of(model.algorithm)
            for stream, request in (("labeled", part.labeled_pass), ("unlabeled", part.unlabeled_pass))
            if request is not None
        ]

    @property
    def iter(self) -> int:
        """Iterations done."""
        return self._iter

    @property
    def done(self) -> bool:
        """Whether the training has come to its end."""
        return self._iter >= self.max_iters or self.stop_training

    @property
    def epoch(self) -> int:
        """Always 0: the run is counted in iterations."""
        return 0

    @property
    def max_epochs(self) -> int:
        """Always 1: the run is counted in iterations."""
        return 1

    @property
    def images_per_step(self) -> int:
        """Source images of one step over all processes."""
        return self.dataloader["batch_size"] * (1 + (self.mu if self.unlabeled is not None else 0))

    def start_from(self, iteration: int, pending: bool = False) -> None:
        """Go on after ``iteration`` iterations; the streams start there, nothing is replayed.

        Args:
            iteration: iterations done.
            pending: what is due after the last of them (passes, validation) is still to be done.
        """
        self._iter, self.pending = iteration, pending

    def run(self) -> None:
        """Train to the last iteration, or until a hook stops the training."""
        runner = self.runner
        streams = {} if self.done else self._streams()
        runner.call_hook("before_train")
        runner.call_hook("before_train_epoch")  # as in mmengine's loops of iterations, the run is one epoch
        runner.model.train()
        try:
            if self.pending:
                self._complete()
            while not self.done:
                stopping.gate()
                self.advance(streams)
        except Stopped as stop:
            self._save_where_stopped()
            raise Stopped(
                f"{stop} after iteration {self._iter} of {self.max_iters}, which {LAST} holds"
            ) from None
        runner.call_hook("after_train_epoch")
        runner.call_hook("after_train")

    def advance(self, streams: Mapping[str, Iterator[dict[str, Any]]]) -> None:
        """One iteration, and what is due after it.

        Args:
            streams: ``labeled`` and, where the algorithm wants it, ``unlabeled`` batches.
        """
        runner = self.runner
        seed_step(runner.seed, self._iter, rank())
        batch = self._next(streams)
        runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=batch)
        result = self._step(batch)
        runner.call_hook("after_train_iter", batch_idx=self._iter, data_batch=batch, outputs=result)
        self._iter += 1
        self._complete()

    def _complete(self) -> None:
        """What is due after an update: passes over data sets, validation, a new start of the weights, the checkpoint.

        A stop on the way takes back what the passes have changed: a resumed run does all of it anew (`pending`).
        """
        runner = self.runner
        passes = [wanted for wanted in self.passes if wanted[2].due(self._iter)]
        validates = self._iter % self.val_interval == 0 or self.done
        if passes or validates:
            state = runner.bare_model.algorithm.state_dict()
            self._before = {name: value.clone() for name, value in state.items()}
            # A resumed run that begins here draws the same numbers.
            seed_step(runner.seed, self._iter, rank(), "after")
        self.pending = True
        for part, stream, request in passes:
            self.dataset_pass(part, stream, request)
        if validates:
            self.check_finite()  # first: it knows what to say
            runner.val_loop.run()
            runner.model.train()
        self.pending = False
        if self._updates() == 0 and not self.done:
            runner.bare_model.start_anew()
            runner.optim_wrapper.forget()
        runner.call_hook("after_iteration")

    def _save_where_stopped(self) -> None:
        """Write ``last.pth``, unless it is of this very moment."""
        if self.pending:
            self.runner.bare_model.algorithm.load_state_dict(self._before)
        elif self.runner.saved_at == self._iter:
            return
        self.check_finite()
        self.runner.save_to(Path(self.runner.work_dir) / LAST, stopped=True)

    def check_finite(self) -> None:
        """Stop if a loss has been NaN or infinite (reads the device; called where one waits for it anyway).

        Called by all processes at the same time. The weights are looked at, too: those that a last update has ruined show
        in the next loss only.

        Raises:
            UserError: with the iteration up to which it happened; no checkpoint is written after it.
        """
        weights = torch.stack(torch._foreach_norm(list(self.runner.bare_model.network.parameters()))).sum()
        if sum_over_ranks(self.nonfinite + ~weights.isfinite()).item():
            raise UserError(
                f"the loss or the weights became NaN or infinite before iteration {self._iter + 1}",
                where=self.runner.work_dir,
                expected="finite numbers",
                fix="lower the learning rate, clip gradients (optim_wrapper.clip_grad), or use model.precision='bf16' or "
                f"'fp32' instead of 'fp16'; {self._what_is_saved()}",
            )

    def _what_is_saved(self) -> str:
        if (Path(self.runner.work_dir) / LAST).is_file():
            return f"{LAST} in the folder is from before and healthy"
        return "no checkpoint had been written yet, so that there is nothing to go on from"

    def _streams(self) -> dict[str, Iterator[dict[str, Any]]]:
        seed, cfg, batch = self.runner.seed, self.runner.cfg, self.dataloader["batch_size"]
        labeled = TrainBatches(self.labeled, self.views, self.wanted.labeled, seed, "labels")
        # The labeled stream is 1/mu of the unlabeled one: one worker feeds it.
        workers = self.dataloader.get("num_workers")
        workers = workers if workers is not None or self.unlabeled is None else 1
        streams = {"labeled": train_loader(labeled, batch, "labeled", self._iter, workers, self.sampler)}
        if self.unlabeled is not None:
            unlabeled = TrainBatches(self.unlabeled, self.views, self.wanted.unlabeled, seed, "hidden_labels")
            workers = cfg.unlabeled_dataloader.get("num_workers")
            streams["unlabeled"] = train_loader(unlabeled, batch * self.mu, "unlabeled", self._iter, workers)
        return streams

    def _next(self, streams: Mapping[str, Iterator[dict[str, Any]]]) -> dict[str, Any]:
        started = time.perf_counter()
        batch = {}
        for name, stream in streams.items():
            with stopping.waiting():
                part = next(stream)
            if "error" in part:
                raise part["error"]
            self.unreadable.count(name, len(part["index"]), part.pop("unreadable"))
            batch[name] = to_device(part, self.device)
        self.data_wait += time.perf_counter() - started
        return batch

    def _step(self, batch: dict[str, Any]) -> list[StepResult]:
        runner, optim = self.runner, self.runner.optim_wrapper
        parts = _cut(batch, self.micro_batches) if self.micro_batches > 1 else [batch]
        results = []
        for i, part in enumerate(parts):
            # Gradients meet over the processes once, with the last part.
            no_sync = getattr(runner.model, "no_sync", nullcontext) if i + 1 < len(parts) else nullcontext
            with no_sync():
                result = runner.model(part, self._iter, self._iter * len(parts) + i)
                optim.backward(result.loss / len(parts))
            result.loss = result.loss.detach()
            self.nonfinite += ~result.loss.isfinite()
            results.append(result)
        optim.step()
        runner.bare_model.update_ema(self._updates() + 1)
        return results

    def _updates(self) -> int:
        """Updates of the weights since they last were the initial ones."""
        generation = self.runner.bare_model.algorithm.generation
        return self._iter if generation is None else self._iter % generation

    @torch.no_grad()
    def dataset_pass(self, part: Part, stream: str, request: DatasetPass) -> None:
        """Show a training set, in evaluation mode, to the part that asked for it.

        Args:
            part: it is told each batch, and the end.
            stream: ``labeled`` or ``unlabeled``.
            request: what it asked for.
        """
        model = self.runner.bare_model
        dataset = self.labeled if stream == "labeled" else self.unlabeled
        if dataset is None:
            raise UserError(
                f"{type(part).__name__} wants to see the unlabeled set, but the algorithm reads no unlabeled stream",
                where="model.algorithm",
            )
        model.share_buffers()
        number = self._iter // request.interval
        total = len(dataset) if request.max_items is None else min(len(dataset), request.max_items)
        batch_size = self.runner.cfg.val_dataloader.get("batch_size", 256)
        items = torch.arange(total) * len(dataset) // total
        mine = items[rank() :: world_size()]
        workers = 0 if len(mine) < SMALL_PASS else default_workers()
        see: Callable[..., None]
        see, finish = (
            (part.see_labeled, part.finish_labeled_pass)
            if stream == "labeled"
            else (part.see_unlabeled, part.finish_unlabeled_pass)
        )
        for images, known in self._pass_batches(
            dataset, stream, mine, request.view, number, batch_size, workers
        ):
            probs = model.predict(images.to(self.device, non_blocking=True), request.weights, for_rules=True)
            see(probs, *(k.to(self.device, non_blocking=True) for k in known))
        finish()

    def _pass_batches(
        self,
        dataset: FaceDataset,
        stream: str,
        items: torch.Tensor,
        view: str,
        number: int,
        batch_size: int,
        workers: int,
    ) -> Iterator[tuple[torch.Tensor, list[torch.Tensor]]]:
        """Images, and their labels (labeled only) and places in the set."""
        shares = (
            [s.numpy() for s in items.split(batch_size)] if len(items) else []
        )  # more processes than items
        if view == "eval":
            batches: Any = EvalBatches(dataset, self.runner.bare_model.preprocess)
        else:
            seed = derive_seed(self.runner.seed, f"{stream} pass")
            batches = TrainBatches(dataset, self.views, (view,), seed, "labels")
            epoch = torch.full_like(items, number)
            keys = torch.stack([epoch, items], dim=1)
            shares = [s.numpy() for s in keys.split(batch_size)] if len(items) else []
        for batch in batch_loader(batches, shares, workers):
            if "error" in batch:
                raise batch["error"]
            images = batch["images"]
            known = ("labels", "index") if stream == "labeled" else ("index",)
            yield images if view == "eval" else images[view], [batch[name] for name in known]


def _videos(dataset: FaceDataset) -> torch.Tensor | None:
    known = dataset.groups is not None and not dataset.groups_are_copies
    return torch.from_numpy(np.asarray(dataset.groups, np.int64)) if known else None


def _cut(batch: dict[str, Any], parts: int) -> list[dict[str, Any]]:
    """Cut every tensor of a nested batch into equal parts along its rows."""

    def cut(value: Any, i: int) -> Any:
        if isinstance(value, dict):
            return {k: cut(v, i) for k, v in value.items()}
        if len(value) % parts:
            raise UserError(
                f"a process' share of {len(value)} images cannot be cut into {parts} equal parts",
                where="train_cfg.micro_batches",
                expected=f"a batch size per process that is a multiple of {parts}",
            )
        size = len(value) // parts
        return value[i * size : (i + 1) * size]

    return [cut(batch, i) for i in range(parts)]
