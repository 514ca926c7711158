"""A training run of a few steps in memory: random images, a small network, no files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ferbench.contracts import StepResult
from ferbench.distributed import rank, world_size
from ferbench.engine.seeding import seed_step
from ferbench.functional.randomness import derive_seed
from ferbench.lifecycle import RunContext, parts_of
from ferbench.models.ssl import SSLModel

SIZE, CLASSES = 8, 4
LABELED, UNLABELED = 12, 24  # images in the sets
MAX_ITERS = 8


class SmallNet(nn.Module):
    """Two convolutions.

    Args:
        batch_norm: between them. Without, what it makes of an image does not depend on the batch.
    """

    num_features = 6

    def __init__(self, batch_norm: bool = False) -> None:
        super().__init__()
        first = [nn.Conv2d(3, 6, 3, 2, 1, bias=not batch_norm), *([nn.BatchNorm2d(6)] if batch_norm else [])]
        self.layers = nn.Sequential(*first, nn.Tanh(), nn.Conv2d(6, 6, 3, 2, 1), nn.Tanh())

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, 6]."""
        return self.layers(images).mean(dim=(2, 3))


class Experiment:
    """Steps of an algorithm as the training loop makes them, for checks of the algorithm.

    Every number is a function of the seed. Image i of class c is noise around a pattern of class c; a view is the image
    with noise of its own.

    Args:
        algorithm: its config.
        precision: of the forward pass, see `SSLModel`; gradients stay until the next step.
        labeled_batch, unlabeled_batch: images per step over all processes.
        batch_norm: of the network, see `SmallNet`.
        sharpness: factor on the classifier's last layer; 0 makes every prediction uniform, so that nothing is selected.
    """

    def __init__(
        self,
        algorithm: Mapping[str, Any],
        precision: str = "fp32",
        labeled_batch: int = 4,
        unlabeled_batch: int = 8,
        sharpness: float = 4.0,
        batch_norm: bool = False,
    ):
        self.name = f"algorithm {algorithm.get('type')} in {precision}"
        torch.manual_seed(derive_seed("experiment") % 2**31)
        self.model = SSLModel(
            SmallNet(batch_norm),
            dict(algorithm),
            dict(size=SIZE),
            num_classes=CLASSES,
            ema_decay=0.9,
            precision=precision,
            channels_last=False,
        ).train()
        with torch.no_grad():
            for network in (self.model.network, self.model.ema_network):
                for parameter in network.head.parameters():
                    parameter.mul_(sharpness)
        self.labels = torch.arange(LABELED) % CLASSES
        self.images = {
            "labeled": _images("labeled", self.labels),
            "unlabeled": _images("unlabeled", torch.arange(UNLABELED) % CLASSES),
        }
        self.batches = {"labeled": labeled_batch, "unlabeled": unlabeled_batch}
        self.iteration = 0
        self.model.bind(
            RunContext(
                num_classes=CLASSES,
                num_labeled=LABELED,
                num_unlabeled=UNLABELED,
                max_iters=MAX_ITERS,
                class_counts=tuple(torch.bincount(self.labels, minlength=CLASSES).tolist()),
                labeled_batch=labeled_batch,
                unlabeled_batch=unlabeled_batch,
            )
        )
        self.trained: nn.Module = self.model
        if world_size() > 1:
            self.trained = DistributedDataParallel(
                self.model, broadcast_buffers=False, find_unused_parameters=True
            )
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=precision == "fp16")

    def loss(self, labels: Tensor | None = None) -> StepResult:
        """The next step's result, without an update of the weights.

        Args:
            labels: in place of those of the labeled images, [L].
        """
        seed_step(0, self.iteration, 0)  # dropout, where there is any, must not depend on the process
        return self.trained(self._batch(labels), self.iteration)

    def step(self) -> StepResult:
        """One step: loss, update, EMA, and the passes over the data sets that are due."""
        result = self.loss()
        assert result.loss.requires_grad, (
            f"{self.name}: the loss carries no gradient; name the views that need one"
        )
        self.optimizer.zero_grad()
        self.scaler.scale(result.loss).backward()
        self.scaler.unscale_(self.optimizer)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        generation = self.model.algorithm.generation
        done = self.iteration if generation is None else self.iteration % generation
        self.model.update_ema(done + 1)
        self.iteration += 1
        self._passes()
        if generation is not None and self.iteration % generation == 0:
            self.model.start_anew()
            self.optimizer.state.clear()
        return result

    def state(self) -> dict[str, Tensor]:
        """Weights, EMA and the parts' buffers."""
        return self.model.state_dict()

    def _batch(self, labels: Tensor | None) -> dict[str, Any]:
        wanted = self.model.algorithm.views
        index = self._index("labeled")
        known = self.labels if labels is None else labels
        batch: dict[str, Any] = {
            "labeled": {"images": self._views("labeled", index, wanted.labeled), "labels": known[index], "index": index}
        }  # fmt: skip
        if wanted.unlabeled:
            index = self._index("unlabeled")
            images = self._views("unlabeled", index, wanted.unlabeled)
            batch["unlabeled"] = {"images": images, "index": index}
        return batch

    def _index(self, stream: str) -> Tensor:
        """This process' rows of the global batch."""
        size, count = self.batches[stream], len(self.images[stream])
        generator = torch.Generator().manual_seed(derive_seed(stream, self.iteration) % 2**31)
        rows = torch.randperm(count, generator=generator)[:size]
        share = size // world_size()
        return rows[rank() * share : (rank() + 1) * share]

    def _views(self, stream: str, index: Tensor, names: tuple[str, ...]) -> dict[str, Tensor]:
        views = {}
        for name in names:
            generator = torch.Generator().manual_seed(derive_seed(stream, name, self.iteration) % 2**31)
            noise = torch.randint(-20, 21, self.images[stream].shape, generator=generator)
            views[name] = (self.images[stream] + noise).clamp(0, 255).to(torch.uint8)[index]
        return views

    def _passes(self) -> None:
        for part in parts_of(self.model.algorithm):
            for stream, request in (("labeled", part.labeled_pass), ("unlabeled", part.unlabeled_pass)):
                if request is None or not request.due(self.iteration):
                    continue
                mine = torch.arange(len(self.images[stream]))[rank() :: world_size()]
                images = self.images[stream][mine].to(torch.uint8)
                probs = self.model.predict(images, request.weights, for_rules=True)
                if stream == "labeled":
                    part.see_labeled(probs, self.labels[mine], mine)
                    part.finish_labeled_pass()
                else:
                    part.see_unlabeled(probs, mine)
                    part.finish_unlabeled_pass()


def _images(stream: str, labels: Tensor) -> Tensor:
    """[N, S, S, 3] integers in [0, 255]."""
    generator = torch.Generator().manual_seed(derive_seed("images", stream) % 2**31)
    pattern = torch.randint(0, 256, (CLASSES, SIZE, SIZE, 3), generator=torch.Generator().manual_seed(1))
    noise = torch.randint(-60, 61, (len(labels), SIZE, SIZE, 3), generator=generator)
    return (pattern[labels] + noise).clamp(0, 255)
