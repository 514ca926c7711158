"""Recognising by how much an image was turned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ferbench.algorithms import Batch
from ferbench.contracts import Output
from ferbench.lifecycle import RunContext
from ferbench.registry import LOSSES
from ferbench.testing import make_step

ITEMS, SIDE = 40, 3
CONTEXT = RunContext(4, num_labeled=8, num_unlabeled=50, max_iters=10, class_counts=(2,) * 4, seed=5)


def make_term(context: RunContext = CONTEXT, **options):
    term = LOSSES.build(dict(type="RotationTerm", **options))
    term.bind(context)
    return term


def make_batch(iteration: int = 0, view: str = "strong", items: int = ITEMS) -> Batch:
    images = torch.arange(items * 3 * SIDE**2, dtype=torch.float32).view(items, 3, SIDE, SIDE)
    y = torch.zeros(1, dtype=torch.int64)
    return Batch({}, y, y, {view: images}, torch.arange(items), y, iteration)


def turns_of(images: np.ndarray, turned: np.ndarray) -> list[int]:
    """By how many quarter turns (counter-clockwise) each image was turned, found by trying."""
    return [
        next(k for k in range(4) if np.array_equal(np.rot90(image, k, axes=(1, 2)), other))
        for image, other in zip(images, turned, strict=True)
    ]


def rotated_step(batch: Batch, rotation: torch.Tensor):
    rows = len(rotation)
    weak = Output(torch.zeros(ITEMS, 4), torch.zeros(ITEMS, 2))
    rotated = Output(torch.zeros(rows, 4), torch.zeros(rows, 2), {"rotation": rotation})
    return replace(make_step({"weak": weak, "rotated": rotated}, [1.0] * ITEMS), batch=batch)


@pytest.mark.parametrize("every_angle", [False, True])
def test_the_loss_is_the_cross_entropy_of_the_angle(every_angle) -> None:
    term, batch = make_term(every_angle=every_angle), make_batch(iteration=3)
    turned = term.derived_views(batch)["rotated"].numpy()
    images = np.tile(batch.unlabeled["strong"].numpy(), (4 if every_angle else 1, 1, 1, 1))
    angles = turns_of(images, turned)
    assert set(angles) == {0, 1, 2, 3}
    if every_angle:
        assert np.bincount(angles).tolist() == [ITEMS] * 4

    logits = np.random.default_rng(0).normal(size=(len(angles), 4)).astype(np.float32)
    value = term(rotated_step(batch, torch.from_numpy(logits)))
    log_prob = logits - np.log(np.exp(logits.astype(np.float64)).sum(axis=1, keepdims=True))
    assert value.item() == pytest.approx(-log_prob[np.arange(len(angles)), angles].mean(), abs=1e-6)


def test_angles_are_a_function_of_seed_and_iteration() -> None:
    def views(term, iteration):
        return term.derived_views(make_batch(iteration))["rotated"]

    assert torch.equal(views(make_term(), 3), views(make_term(), 3))
    assert not torch.equal(views(make_term(), 3), views(make_term(), 4))
    assert not torch.equal(views(make_term(), 3), views(make_term(replace(CONTEXT, seed=6)), 3))


def test_each_process_turns_its_rows_as_a_single_one_would(monkeypatch) -> None:
    whole = make_term().derived_views(make_batch())["rotated"]
    halves = []
    for rank in range(2):
        monkeypatch.setattr("ferbench.losses.rotation.world_size", lambda: 2)
        monkeypatch.setattr("ferbench.distributed.world_size", lambda: 2)
        monkeypatch.setattr("ferbench.distributed.rank", lambda rank=rank: rank)
        batch = make_batch()
        rows = slice(rank * ITEMS // 2, (rank + 1) * ITEMS // 2)
        half = replace(batch, unlabeled={"strong": batch.unlabeled["strong"][rows]})
        halves.append(make_term().derived_views(half)["rotated"])
    assert torch.equal(torch.cat(halves), whole)


def test_what_it_asks_for() -> None:
    term = make_term(view="weak", weight=0.25)
    assert (term.name, term.weight, term.views, term.needs_gradient) == (
        "rotation",
        0.25,
        ("weak",),
        ("rotated",),
    )
    (head,) = term.heads(num_features=7, num_classes=8).values()
    assert isinstance(head, nn.Linear)
    assert (head.in_features, head.out_features) == (7, 4)
    assert term.derived_views(make_batch(view="weak", items=1))["rotated"].shape == (1, 3, SIDE, SIDE)
