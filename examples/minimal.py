"""FixMatch with FreeMatch's self-adaptive threshold in a training loop of your own: plain torch and two tensors of images.

    python examples/minimal.py

No config, no data set, no runner: of ferbench only `Matching` (the step), a threshold rule, and the types that they exchange.
Any other rule, target, alignment, loss or term goes in the same way: ``Matching(threshold=..., target=..., terms=[...])``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn

from ferbench.algorithms import Matching
from ferbench.contracts import Batch, Output
from ferbench.lifecycle import RunContext, bind
from ferbench.thresholds import SelfAdaptiveThreshold

CLASSES, SIZE, STEPS, LABELED_BATCH, UNLABELED_BATCH = 4, 16, 120, 8, 56


class Classifier(nn.Module):
    """Your network: anything from images [B, 3, S, S] to an `Output` of logits [B, C] and features [B, D]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 16, 4, stride=4), nn.ReLU(), nn.Flatten())
        self.fc = nn.Linear(16 * (SIZE // 4) ** 2, CLASSES)

    def forward(self, images: Tensor) -> Output:
        features = self.features(images)
        return Output(self.fc(features), features)


class StudentAndTeacher:
    """How the step runs your networks (`ferbench.contracts.Network`)."""

    def __init__(self, student: Classifier, teacher: Classifier):
        self.student, self.average = student, teacher

    def __call__(
        self, views: Mapping[str, Tensor], needs_gradient: Collection[str], update_statistics: bool = True
    ) -> dict[str, Output]:
        outputs = {name: self.student(images) for name, images in views.items()}
        return {name: out if name in needs_gradient else out.detach() for name, out in outputs.items()}

    @torch.no_grad()
    def teacher(self, views: Mapping[str, Tensor], training: bool = False) -> dict[str, Output]:
        return {name: self.average(images) for name, images in views.items()}

    def head(self, name: str, features: Tensor) -> Tensor:
        raise NotImplementedError("this network has no further heads")


def draw(count: int) -> tuple[Tensor, Tensor]:
    """Stand-ins for faces: noise with one bright quarter, whose place is the class. Images [N, 3, S, S], labels [N]."""
    labels = torch.randint(CLASSES, (count,))
    bright = 0.6 * torch.eye(CLASSES).reshape(CLASSES, 1, 2, 2).repeat_interleave(SIZE // 2, 2)
    images = bright.repeat_interleave(SIZE // 2, 3)[labels] + 0.6 * torch.randn(count, 3, SIZE, SIZE)
    return images, labels


def weak(images: Tensor) -> Tensor:
    """Shifted by at most one pixel."""
    return images.roll(tuple(torch.randint(-1, 2, (2,)).tolist()), dims=(2, 3))


def strong(images: Tensor) -> Tensor:
    """Shifted, with another contrast and more noise."""
    contrast = torch.empty(len(images), 1, 1, 1).uniform_(0.7, 1.3)
    return weak(images) * contrast + 0.3 * torch.randn_like(images)


def train(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, float]:
    """Loss of each step, thresholds [C] before and after, accuracy of the averaged weights on new images."""
    torch.manual_seed(seed)
    images, labels = draw(5 * CLASSES)
    unlabeled, _ = draw(400)
    student = Classifier()
    network = StudentAndTeacher(student, deepcopy(student).requires_grad_(False))
    rule = SelfAdaptiveThreshold(momentum=0.9)
    algorithm = Matching(threshold=rule, lambda_u=1.0)  # FixMatch with another threshold
    bind(
        algorithm, RunContext(CLASSES, len(images), len(unlabeled), STEPS, tuple(labels.bincount().tolist()))
    )
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9)
    before, losses = rule.thresholds(), []

    for iteration in range(STEPS):
        i, j = torch.randint(len(images), (LABELED_BATCH,)), torch.randint(len(unlabeled), (UNLABELED_BATCH,))
        batch = Batch(
            labeled={"weak": weak(images[i])},
            target=labels[i],
            labels=labels[i],
            unlabeled={"weak": weak(unlabeled[j]), "strong": strong(unlabeled[j])},
            index=j,
            labeled_index=i,
            iteration=iteration,
        )
        result = algorithm.step(network, batch)
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
        for averaged, weights in zip(network.average.parameters(), student.parameters(), strict=True):
            averaged.lerp_(weights.detach(), 0.05)
        losses.append(result.loss.detach())

    fresh, answers = draw(400)
    accuracy = (network.average(fresh).logits.argmax(dim=1) == answers).float().mean()
    return torch.stack(losses), before, rule.thresholds(), accuracy.item()


if __name__ == "__main__":
    losses, before, after, accuracy = train()
    print(f"loss: {losses[:10].mean():.3f} in the first 10 steps, {losses[-10:].mean():.3f} in the last 10")
    print("threshold of each class:", [f"{t:.2f}" for t in before], "->", [f"{t:.2f}" for t in after])
    print(f"accuracy of the averaged weights on new images: {accuracy:.3f} (by chance: {1 / CLASSES})")
