"""The table at the end of a run."""

from __future__ import annotations

import torch
from rich.console import Console

from ferbench.evaluation import results_markdown, results_table
from ferbench.evaluation.table import score_rows
from ferbench.functional.metrics import scores_from_confusion

CLASSES = ("Neutral", "Anger|Rage")
ROWS = [
    {
        "checkpoint": checkpoint,
        "weights": weights,
        "iter": iteration,
        "smoothed": False,
        **scores_from_confusion(torch.tensor(confusion)),
    }
    for checkpoint, weights, iteration, confusion in (
        ("last", "raw", 20_000, [[3, 1], [2, 2]]),
        ("best", "ema", 15_000, [[4, 0], [1, 3]]),
    )
]


def test_markdown_holds_every_score_in_percent() -> None:
    lines = results_markdown(ROWS, CLASSES).splitlines()
    cells = [[c.strip() for c in line.split(" | ")] for line in lines[2:]]
    assert lines[0].startswith("Test scores on 8 images.")
    assert cells[0] == ["|", "last, raw", "best, EMA |"]
    assert cells[2] == ["| iteration", "20,000", "15,000 |"]
    assert cells[3] == ["| macro-F1", "61.90", "87.30 |"]  # (2/3 + 4/7) / 2 and (8/9 + 6/7) / 2
    assert cells[4] == ["| accuracy", "62.50", "87.50 |"]
    assert cells[5] == ["| balanced acc.", "62.50", "87.50 |"]
    assert cells[6] == ["| F1 Neutral", "66.67", "88.89 |"]
    assert cells[7] == [r"| F1 Anger\|Rage", "57.14", "85.71 |"]
    assert len({len(line) for line in lines[2:]}) == 1  # aligned


def test_smoothed_scores_are_a_table_of_their_own() -> None:
    plain, smoothed = (scores_from_confusion(torch.tensor(m)) for m in ([[3, 1], [2, 2]], [[4, 0], [1, 3]]))
    rows = score_rows("last", 20, {"raw": {**plain, "smoothed": {"window": 5, **smoothed}}, "ema": plain})
    assert [(r["weights"], r["smoothed"]) for r in rows] == [("raw", False), ("raw", True), ("ema", False)]
    assert [r["f1"] for r in rows] == [plain["f1"], smoothed["f1"], plain["f1"]]
    assert all(not isinstance(r["smoothed"], dict) for r in rows)
    first, second = results_markdown(rows, CLASSES).split("\nTest scores")
    assert first.startswith("Test scores on 8 images. ")
    assert second.startswith(" on 8 images, smoothed over 5 frames. ")
    assert "| macro-F1       |     61.90 |     61.90 |" in first
    assert "| macro-F1       |     87.30 |" in second
    only = results_markdown([r for r in rows if not r["smoothed"]], CLASSES)
    assert only == first


def test_terminal_table_fits_80_columns_with_all_checkpoints() -> None:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    eight = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
    scores = scores_from_confusion(torch.eye(8, dtype=torch.int64))
    both = {w: {**scores, "smoothed": {"window": 31, **scores}} for w in ("raw", "ema")}
    rows = [*score_rows("last", 1_000_000, both), *score_rows("best", 1_000_000, both)]
    console.print(results_table(rows, eight))
    text = console.export_text()
    assert text.count("100.00") == 2 * 4 * (3 + 8)
    assert text.count("1,000,000") == 2 * 4
    assert "Test scores on 8 images, smoothed over 31 frames" in text
    assert "F1 Happiness" in text
    assert "balanced acc." in text
