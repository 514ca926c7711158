"""Pseudo-labels that a frozen teacher gives to the whole unlabeled set at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from ferbench.arguments import COUNT, check_numbers
from ferbench.contracts import Evidence
from ferbench.core.files import atomic_write
from ferbench.core.pass_table import PassTable
from ferbench.distributed import rank
from ferbench.functional.randomness import derive_seed
from ferbench.lifecycle import DatasetPass, Part, RunContext

Rules = Callable[[Evidence], tuple[Evidence, Tensor, Tensor]]


class OfflineLabels(Part):
    """One pseudo-label and one weight per unlabeled item, made anew at the end of each generation but the last.

    The teacher, i.e. the model as it stands then, predicts every labeled and unlabeled item. The rules then see these
    predictions as they would in training, in batches of the same size and in random order: once, so that what they remember
    (running means, counts) settles, and a second time, when their weights and pseudo-labels are kept. So any alignment,
    threshold and target rule can make the labels.

    For the user they are also written to ``pseudo_labels_<g>.npz`` in the run's folder, g = 0 for the first teacher: ``label``,
    ``weight``, ``confidence`` (after alignment) and, where they are soft, ``target``, by place in the unlabeled set.

    Args:
        rules: what makes weights and pseudo-labels of evidence (`Matching.label`).
        thresholds: their thresholds per class, for the log.
        generations: G, of ``ceil(max_iters / G)`` iterations each.
        soft: keep pseudo-labels as distributions.
        weights: ``ema`` or ``student`` model as teacher.
        view: ``eval`` (clean images: the teacher is not noised) or ``weak``.
        half: keep weights, confidences and soft pseudo-labels in float16. They are rounded then, so that 1 and 2 processes
            agree to some 1e-3 only.

    Buffers:
        label: int8 [N] (int32 above 127 classes). weight, confidence: float32 or float16 [N]. With ``soft`` also target:
        [N, C]. Together 9 * N bytes and 4 * N * C for soft ones, or 5 * N and 2 * N * C; also in the checkpoint.
        threshold: float32 [C], NaN until the first labels. made: int64 [], how often.
        While a pass lasts: 4 * (N + n_l) * C bytes.
    """

    lasting = True
    label: Tensor
    weight: Tensor
    confidence: Tensor
    threshold: Tensor
    made: Tensor
    target: Tensor

    def __init__(
        self,
        rules: Rules,
        thresholds: Callable[[], Tensor | None],
        generations: int,
        soft: bool,
        weights: str = "ema",
        view: str = "eval",
        half: bool = False,
    ):
        super().__init__()
        check_numbers(self, COUNT, generations=generations)
        self.rules, self.rule_thresholds = rules, thresholds
        self.generations, self.soft, self.weights, self.view = generations, soft, weights, view
        self.dtype = torch.float16 if half else torch.float32

    def bind(self, context: RunContext) -> None:
        """See `Part.bind`. The rules must be bound before."""
        self.context, items, classes = context, context.num_unlabeled, context.num_classes
        self.length = context.generation_length(self.generations)
        self.labeled_pass = self.unlabeled_pass = DatasetPass(
            self.length, self.weights, self.view, last=context.max_iters - 1
        )
        dtype = torch.int8 if classes <= 127 else torch.int32
        self.register_buffer("label", torch.zeros(items, dtype=dtype))
        self.register_buffer("weight", torch.zeros(items, dtype=self.dtype))
        self.register_buffer("confidence", torch.zeros(items, dtype=self.dtype))
        self.register_buffer("threshold", torch.full((classes,), torch.nan))
        self.register_buffer("made", torch.zeros((), dtype=torch.int64))
        if self.soft:
            self.register_buffer("target", torch.zeros(items, classes, dtype=self.dtype))
        self.has_thresholds = self.rule_thresholds() is not None
        self.unlabeled, self.labeled = (
            PassTable(items, classes),
            PassTable(context.num_labeled, classes + 1),  # taken after the other pass
        )

    def forward(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Probabilities [b, C], weights [b] and pseudo-labels [b] or [b, C] of the items at ``index`` [b].

        Where the pseudo-labels are hard, the probabilities are the confidence and, over the other classes, an even rest.
        """
        label, weight = self.label[index].long(), self.weight[index].float()
        if self.soft:
            target = self.target[index].float()
            return target, weight, target
        top, classes = self.confidence[index].float()[:, None], self.context.num_classes
        rest = ((1 - top) / max(classes - 1, 1)).repeat(1, classes)
        return rest.scatter(1, label[:, None], top), weight, label

    def thresholds(self) -> Tensor | None:
        """[C] those that the labels passed, or None."""
        return self.threshold if self.has_thresholds else None

    @override
    def see_labeled(self, probs: Tensor, labels: Tensor, index: Tensor) -> None:
        self.labeled.put(index, torch.cat([probs, labels[:, None]], dim=1))

    @override
    def see_unlabeled(self, probs: Tensor, index: Tensor) -> None:
        self.unlabeled.put(index, probs)

    @torch.no_grad()
    @override
    def finish_unlabeled_pass(self) -> None:
        device = self.label.device
        labeled, unlabeled = self.labeled.take(device), self.unlabeled.take(device)
        for evidence in self._evidence(labeled, unlabeled):
            self.rules(evidence)
        for raw in self._evidence(labeled, unlabeled):
            evidence, weight, target = self.rules(raw)
            soft = target.is_floating_point()
            self.label[raw.index] = (target.argmax(dim=1) if soft else target).to(self.label.dtype)
            self.weight[raw.index] = weight.to(self.dtype)
            self.confidence[raw.index] = evidence.probs.max(dim=1).values.to(self.dtype)
            if self.soft:
                rows = target if soft else F.one_hot(target, unlabeled.shape[1])
                self.target[raw.index] = rows.to(self.dtype)
        thresholds = self.rule_thresholds()
        if thresholds is not None:
            self.threshold.copy_(thresholds)
        self._write(int(self.made))
        self.made += 1

    def _evidence(self, labeled: Tensor, unlabeled: Tensor) -> Iterator[Evidence]:
        """The predictions in batches, as in training; the labeled set is gone through again and again."""
        seed = derive_seed(self.context.seed, "offline labels", int(self.made))
        generator = torch.Generator().manual_seed(seed % 2**63)
        order, labeled_order = (torch.randperm(len(x), generator=generator) for x in (unlabeled, labeled))
        size = max(self.context.labeled_batch, 1)
        for step, index in enumerate(order.split(max(self.context.unlabeled_batch, 1))):
            rows = labeled_order[torch.arange(step * size, (step + 1) * size) % len(labeled)]
            index, rows = index.to(unlabeled.device), rows.to(unlabeled.device)
            yield Evidence(
                probs=unlabeled[index],
                raw_probs=unlabeled[index],
                index=index,
                labeled_probs=labeled[rows, :-1],
                labels=labeled[rows, -1].long(),
                labeled_index=rows,
                iteration=(int(self.made) + 1) * self.length - 1,
            )

    def _write(self, generation: int) -> None:
        if self.context.folder is None or rank() != 0:
            return
        arrays: dict[str, Tensor] = {
            "label": self.label,
            "weight": self.weight,
            "confidence": self.confidence,
        }
        if self.soft:
            arrays["target"] = self.target
        self.context.folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.context.folder / f"pseudo_labels_{generation}.npz") as file:
            np.savez(file, allow_pickle=False, **{name: x.cpu().numpy() for name, x in arrays.items()})
