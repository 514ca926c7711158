"""The metric over batches and over processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from sklearn.metrics import f1_score

from ferbench.errors import UserError
from ferbench.evaluation import ExpressionMetrics
from ferbench.registry import METRICS

CLASSES = ("Neutral", "Anger", "Disgust", "Fear")


def sample(count: int = 101) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(-1, 4, (count,), generator=generator)
    return torch.randn(count, 4, generator=generator), labels


def expected_macro_f1(logits: torch.Tensor, labels: torch.Tensor) -> float:
    known = labels >= 0
    return f1_score(labels[known], logits.argmax(1)[known], labels=range(4), average="macro", zero_division=0)


def test_batches_of_any_size_give_the_scores_of_the_whole() -> None:
    logits, labels = sample()
    metric = METRICS.build(dict(type="ExpressionMetrics", classes=CLASSES))
    for start, stop in ((0, 7), (7, 64), (64, 101)):
        metric.update(logits[start:stop], labels[start:stop])
    scores = metric.compute()
    assert scores["macro_f1"] == pytest.approx(expected_macro_f1(logits, labels), abs=1e-12)
    assert scores["count"] == int((labels >= 0).sum())
    assert metric.compute() == scores  # asking twice counts nothing twice


def test_reset_forgets() -> None:
    metric = ExpressionMetrics(CLASSES)
    metric.update(*sample())
    metric.reset()
    assert metric.compute()["count"] == 0


def test_another_number_of_outputs_is_named() -> None:
    with pytest.raises(UserError, match="the network has 7 outputs"):
        ExpressionMetrics(CLASSES).update(torch.zeros(2, 7), torch.zeros(2, dtype=torch.long))


def test_nan_is_an_error_not_a_score() -> None:
    metric = ExpressionMetrics(CLASSES)
    logits = torch.zeros(3, 4)
    logits[1, 2] = float("nan")
    metric.update(logits, torch.tensor([0, 1, -1]))
    with pytest.raises(UserError, match="NaN for 1 of 2 images"):
        metric.compute()


def _worker(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    logits, labels = sample()
    metric = ExpressionMetrics(CLASSES)
    mine = slice(0, 40) if rank == 0 else slice(40, None)  # unequal shares
    metric.update(logits[mine], labels[mine])
    scores = metric.compute()
    metric.reset()
    if rank == 0:
        metric.update(logits, labels)  # the other process saw nothing
    torch.save({"shared": scores, "one_sided": metric.compute()}, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_give_the_scores_of_one(tmp_path: Path) -> None:
    mp.start_processes(_worker, args=(str(tmp_path),), nprocs=2, start_method="fork")
    single = ExpressionMetrics(CLASSES)
    single.update(*sample())
    expected = single.compute()
    np.testing.assert_allclose(expected["macro_f1"], expected_macro_f1(*sample()), rtol=1e-12)
    for rank in range(2):
        result = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert result == {"shared": expected, "one_sided": expected}
