"""The trained object: classifier, its EMA copy, the algorithm and the preprocessing, in one module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from ferbench.arguments import SHARE_BELOW_1, check_numbers
from ferbench.contracts import Batch, StepResult
from ferbench.core.parts import build
from ferbench.core.plain import spelled_out
from ferbench.data.preprocess import Preprocess
from ferbench.distributed import rank, world_size
from ferbench.errors import UserError
from ferbench.lifecycle import RunContext, bind, parts_of
from ferbench.models.batch_norm import recalibrate
from ferbench.models.classifier import Classifier
from ferbench.models.passes import Passes
from ferbench.models.weights import WHERE_FROM
from ferbench.registry import ALGORITHMS, MODELS

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@contextmanager
def explaining_batches_of_one() -> Iterator[None]:
    """Turn the error of a batch-norm layer that sees one value per channel into a `UserError`."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UserError(
            "a batch-norm layer sees one value per channel, of which there is no variance: one image, as a map of 1 x 1",
            where="train_dataloader.batch_size",
            expected="at least 2 labeled and 2 unlabeled images in each process' share of a step (and of each micro-batch)",
            fix="set train_dataloader.batch_size so, or use fewer processes or micro_batches, larger images (views.size, "
            "model.preprocess.size), or a network without batch-norm",
        ) from error


#: Options that the protocol has under another key, or that change no result.
_DESCRIBED_APART = ("algorithm", "backbone", "head", "preprocess", "num_classes", "channels_last", "compile")


@MODELS.register_module()
class SSLModel(nn.Module):
    """A classifier trained by a semi-supervised algorithm.

    Args:
        backbone, head: the classifier's parts, or their configs.
        algorithm: config of the algorithm.
        preprocess: arguments of `Preprocess` (size, mean, std); what is left out is as the weights of the backbone expect it,
            where that is known.
        num_classes: C (filled in from the classes of the config).
        ema_decay: of the averaged classifier; 0 turns averaging off (EMA = student).
        ema_warmup: let the decay grow as ``min(ema_decay, (1 + t) / (10 + t))`` over the updates t, so that a short run is
            not averaged with its random start (a decay of 0.999 is reached at update 8,990); False: constant.
        forward_mode: ``split``: views that need no gradient pass first, without a graph; the others in one pass after them;
            batch-norm normalises each pass by its own statistics. ``joint``: all views in one pass, with a graph
            (more memory and time; batch-norm sees the mixture). Part of the protocol. Default by measurement
            (docs/benchmarks.md).
        batch_norm: ``per_process`` statistics (so results depend on the number of processes), or ``synchronized``
            over all of them (GPU only).
        precision: ``fp32``, ``bf16`` or ``fp16`` (autocast; fp16 with loss scaling).
        channels_last: memory format of weights and activations.
        compile: compile the classifier (rules and losses stay eager).
    """

    def __init__(
        self,
        backbone: dict | nn.Module,
        algorithm: dict,
        preprocess: dict | None = None,
        num_classes: int = 0,
        head: dict | None = None,
        ema_decay: float = 0.999,
        ema_warmup: bool = True,
        forward_mode: str = "split",
        batch_norm: str = "per_process",
        precision: str = "fp32",
        channels_last: bool = True,
        compile: bool = False,
    ):
        super().__init__()
        for name, value, allowed in (
            ("forward_mode", forward_mode, ("split", "joint")),
            ("batch_norm", batch_norm, ("per_process", "synchronized")),
            ("precision", precision, tuple(PRECISIONS)),
            ("ema_warmup", ema_warmup, (True, False)),
        ):
            if value not in allowed:
                raise UserError(f"model.{name} is {value!r}", expected=" or ".join(map(str, allowed)))
        check_numbers(self, SHARE_BELOW_1, ema_decay=ema_decay)
        self.network = Classifier(backbone, head or dict(type="LinearHead"), num_classes)
        loaded = self.network.loaded
        expected = dict(loaded.preprocess) if loaded is not None else {}
        self.preprocess = Preprocess(**{**expected, **(preprocess or {})})
        #: What is doubtful about the model, for the record of the run.
        self.warnings = (
            [] if loaded is None else [*loaded.warnings, *self.preprocess.contradictions(expected)]
        )
        self.algorithm = build(ALGORITHMS, algorithm, "model.algorithm")
        for part in parts_of(self.algorithm):
            self.network.add_heads(part.heads(self.network.num_features, num_classes))
        self.ema_decay, self.ema_warmup, self.batch_norm = ema_decay, ema_warmup, batch_norm
        self.precision = precision
        if batch_norm == "synchronized" and world_size() > 1:
            if not torch.cuda.is_available():
                raise UserError(
                    "batch_norm='synchronized' needs GPUs",
                    fix="use 'per_process', or a network without batch-norm",
                )
            self.network = nn.SyncBatchNorm.convert_sync_batchnorm(self.network)
        if channels_last:
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub lacks it
        self.ema_network = deepcopy(self.network).requires_grad_(False)
        self.passes = Passes(self.network, self.ema_network, forward_mode)
        if compile:
            self.network.compile()
        self._averaging: tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]] | None = None

    def as_dict(self, config: Mapping[str, Any], processes: int) -> dict[str, Any]:
        """What the protocol of a run says of its model: options with their defaults, and what it starts from.

        Args:
            config: ``model`` of the config.
            processes: that train together; counts where batch-norm normalises the share of each by itself.
        """
        loaded = self.network.initial_weights
        classifier = (self.network.backbone, self.network.head)
        head = config.get("head") or {"type": "LinearHead"}
        found = {
            **spelled_out(MODELS, config, _DESCRIBED_APART),
            "backbone": spelled_out(MODELS, config["backbone"], WHERE_FROM),
            "head": spelled_out(MODELS, head, ("in_features", "num_classes")),
            "preprocess": self.preprocess.as_dict(),
            "parameters": sum(p.numel() for part in classifier for p in part.parameters()),
            "initial_weights": "random"
            if loaded is None
            else {k: v for k, v in loaded.items() if k != "file"},
        }
        has_batch_norm = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in self.network.modules())
        if has_batch_norm and found.get("batch_norm") == "per_process":
            found["batch_norm_processes"] = processes
        return found

    def bind(self, context: RunContext) -> None:
        """Let the algorithm allocate what depends on the run (call before loading a checkpoint)."""
        device = next(self.network.parameters()).device
        bind(self.algorithm, context)
        self.algorithm.to(device)
        if self.algorithm.generation is not None:
            self._initial = {k: v.clone() for k, v in self.network.state_dict().items()}
            self._initial_state = [
                (part, name, buffer.clone())
                for part in parts_of(self.algorithm)
                if not part.lasting
                for name, buffer in part.named_buffers(recurse=False)
            ]

    @torch.no_grad()
    def start_anew(self) -> None:
        """Give the classifier and its average the weights they had at first, and the parts that are not lasting their state.

        For an algorithm of several generations.
        """
        self.network.load_state_dict(self._initial)
        self.ema_network.load_state_dict(self._initial)
        for part, name, value in self._initial_state:
            getattr(part, name).copy_(value)

    def recalibrate(self, images: Tensor) -> None:
        """Take batch-norm's statistics from images of the run, where they were folded into the initial weights.

        The same function results on every process; what is computed with it begins with the first process' numbers.

        Args:
            images: see `predict`.
        """
        recalibrate(self.network.backbone, self.preprocess.normalize(images))
        if world_size() > 1:
            for value in self.network.backbone.state_dict().values():
                torch.distributed.broadcast(value, 0)
        self.ema_network.load_state_dict(self.network.state_dict())

    def train(self, mode: bool = True) -> SSLModel:
        """Set training mode; the averaged classifier always stays in evaluation mode."""
        super().train(mode)
        self.ema_network.eval()
        return self

    def forward(self, batch: Mapping[str, Any], iteration: int, number: int = -1) -> StepResult:
        """The loss of one step.

        Args:
            batch: ``labeled`` and ``unlabeled`` (absent for a supervised run), as `ferbench.data.loader` yields them,
                on the device.
            iteration: 0 at the first step.
            number: see `Batch`; the iteration unless given.
        """
        labeled, unlabeled = batch["labeled"], batch.get("unlabeled")
        step_batch = Batch(
            labeled=self._normalize(labeled["images"]),
            target=labeled.get("targets", labeled["labels"]),
            labels=labeled["labels"],
            unlabeled=self._normalize(unlabeled["images"]) if unlabeled else {},
            index=unlabeled["index"] if unlabeled else None,
            labeled_index=labeled["index"],
            iteration=iteration,
            number=number,
        )
        with self.autocast(), explaining_batches_of_one():
            return self.algorithm.step(self.passes, step_batch)

    @torch.no_grad()
    def predict(self, images: Tensor, weights: str, for_rules: bool = False) -> Tensor:
        """Class probabilities of prepared images, in evaluation mode.

        Args:
            images: uint8 [B, S, S, 3] as `Preprocess.prepare` makes them, on the device.
            weights: ``student`` or ``ema``.
            for_rules: by the head that makes the pseudo-labels, where it is not the one that is evaluated.

        Returns:
            float32 [B, C].
        """
        network = self.ema_network if weights == "ema" else self.network
        was_training = network.training
        network.eval()
        with self.autocast():
            output = network(self.preprocess.normalize(images))
        network.train(was_training)
        algorithm = self.algorithm
        logits = output.of(algorithm.evidence_head) if for_rules else algorithm.prediction(output)
        return logits.float().softmax(dim=1)

    @torch.no_grad()
    def update_ema(self, updates: int) -> None:
        """Move the averaged classifier towards the student; call after every optimizer step.

        Batch-norm statistics are averaged like the weights (as Ada-CM, unlike USB, which copies them): the student's
        belong to other weights than the averaged ones. Integer buffers are copied.

        Args:
            updates: t, optimizer steps done, from 1.
        """
        if self._averaging is None:
            # Tensors keep their identity from here on; listing them costs more than the lerp.
            pairs = list(zip(_tensors(self.ema_network), _tensors(self.network), strict=True))
            averaged = [pair for pair in pairs if pair[0].is_floating_point()]
            copied = [pair for pair in pairs if not pair[0].is_floating_point()]
            self._averaging = (*_columns(averaged), *_columns(copied))
        averaged_to, averaged_from, copied_to, copied_from = self._averaging
        warm = (1 + updates) / (10 + updates) if self.ema_warmup else 1.0
        decay = min(self.ema_decay, warm)
        torch._foreach_lerp_(averaged_to, averaged_from, 1.0 - decay)
        if copied_to:
            torch._foreach_copy_(copied_to, copied_from)

    @torch.no_grad()
    def share_buffers(self) -> None:
        """Give every process the first one's batch-norm statistics, which each keeps of its own share of the batches.

        To be called wherever the model is evaluated or saved; otherwise each process would score its share of the images
        with another model, and none of them with the one that is saved.
        """
        if world_size() > 1:
            for buffer in (*self.network.buffers(), *self.ema_network.buffers()):
                torch.distributed.broadcast(buffer, 0)

    def own_buffers(self) -> list[list[Tensor]]:
        """Each process' batch-norm statistics, by rank; empty for a single process."""
        if world_size() == 1:
            return []
        own = [b.cpu() for b in (*self.network.buffers(), *self.ema_network.buffers())]
        gathered: list[list[Tensor]] = [[] for _ in range(world_size())]
        torch.distributed.all_gather_object(gathered, own)
        return gathered

    @torch.no_grad()
    def take_own_buffers(self, gathered: list[list[Tensor]]) -> None:
        """Give this process what it had when `own_buffers` gathered them."""
        if len(gathered) != world_size():
            return
        buffers = (*self.network.buffers(), *self.ema_network.buffers())
        for buffer, value in zip(buffers, gathered[rank()], strict=True):
            buffer.copy_(value)

    def autocast(self) -> torch.autocast:
        """The precision of a forward pass.

        Without the cache of cast weights: up to torch 2.10 it gives a pass that learns the copies that a pass without a
        graph has made, and no gradient reaches the weights.
        """
        dtype = PRECISIONS[self.precision]
        kind = next(self.network.parameters()).device.type
        return torch.autocast(
            kind, dtype=dtype or torch.bfloat16, enabled=dtype is not None, cache_enabled=False
        )

    def _normalize(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: self.preprocess.normalize(x) for name, x in images.items()}


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _columns(pairs: list[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    return [first for first, _ in pairs], [second for _, second in pairs]
