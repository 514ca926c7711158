"""A run that has learned nothing says so."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pandas as pd
import pytest

from ferbench.benchmark.report.notes import SHOWN_DOUBTS, _doubtful
from ferbench.records.doubts import doubts

CLASSES = ("Sad", "Happy", "Angry")


def train(step: int, **losses: float) -> dict:
    return {"kind": "train", "iter": step, "losses": losses}


def val(step: int, confusion: list[list[int]]) -> dict:
    return {"kind": "val", "iter": step, "raw": {"confusion": confusion}}


@pytest.mark.parametrize(("losses", "doubtful"), [
    ([2.0, 1.2, 1.3], True),
    ([2.0, 1.2, 1.0], False),  # it has begun, if late
    ([2.0, 1.0, 1.3], False),  # it has begun, and was lost again, which is another matter
    ([2.0], False),  # too early to say
    ([], False),
])  # fmt: skip
def test_a_loss_no_better_than_guessing(losses: list[float], doubtful: bool) -> None:
    entries = [train(step, supervised=x) for step, x in zip((9, 10, 20), losses, strict=False)]
    found = doubts(entries, CLASSES, 100)
    assert bool(found) == doubtful
    if doubtful:
        assert "1.30 after 20 of 100 steps" in found[0]
        assert f"ln 3 = {math.log(3):.2f}" in found[0]


def test_an_algorithm_without_a_supervised_loss_is_judged_by_its_loss() -> None:
    assert doubts([train(50, loss=5.0)], CLASSES, 100)
    assert not doubts([train(50, loss=0.5)], CLASSES, 100)
    assert not doubts([train(50, other=0.5)], CLASSES, 100)


def test_one_class_for_every_image() -> None:
    one, two = [[0, 3, 0], [0, 2, 0], [0, 1, 0]], [[1, 2, 0], [0, 2, 0], [0, 1, 0]]
    assert doubts([val(4, two), val(8, one)], CLASSES, 100) == [
        "validation after 8 steps predicts 'Happy' for every image"
    ]
    assert doubts([val(4, one), val(8, two)], CLASSES, 100) == []
    assert doubts([{"kind": "val", "iter": 4, "raw": {}}], CLASSES, 100) == []
    assert doubts([val(8, one)], CLASSES, 99) == []  # a trial


def test_the_report_says_it_once_for_all_runs() -> None:
    runs = [
        SimpleNamespace(label="DTM", seed=s, warnings=["nothing was learned"] * (s < 2)) for s in range(3)
    ]
    runs += [SimpleNamespace(label="UDA", seed=s, warnings=[f"doubt {s}"]) for s in range(7)]
    notes = _doubtful(SimpleNamespace(finished=pd.DataFrame(map(vars, runs))))
    assert notes[0].text == "Doubtful: nothing was learned. Runs: DTM (seed 0), DTM (seed 1)."
    assert len(notes) == SHOWN_DOUBTS + 1
    assert notes[-1].text == "2 more doubts stand in the records."
