"""A grid that nobody ran: plausible records for tests of the report, drawn from a seed. Its numbers mean nothing.

python tests/benchmark/made_up_records.py FOLDER    # to look at a report of them
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ferbench import records
from ferbench.functional.metrics import scores_from_confusion
from ferbench.records.consistency import SCORES
from ferbench.records.protocol import hash_of

CLASSES = ["Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral"]
SHARES = np.array([0.14, 0.02, 0.14, 0.25, 0.17, 0.11, 0.17])
HARD = np.array([-0.06, -0.10, -0.13, 0.18, -0.07, 0.12, 0.01])
TEST_IMAGES, ITERATIONS = 2000, 6000
#: Final accuracy at 25 labels per class, seconds per iteration, config.
ALGORITHMS: dict[str, tuple[float, float, dict[str, Any]]] = {
    "Supervised": (0.36, 0.10, {"type": "Supervised"}),
    "FixMatch": (0.46, 0.34, {"type": "FixMatch", "threshold": 0.95}),
    "FlexMatch": (0.47, 0.35, {"type": "FlexMatch", "threshold": 0.95}),
    "DTM": (0.51, 0.36, {"type": "DTM", "beta": 0.97, "floor": 0.8}),
    "UDA": (0.42, 0.34, {"type": "UDA", "temperature": 0.4}),
}
BUDGETS = (25, 100)
GRID = "ferbench benchmark made_up.py"


def protocol_of(per_class: int) -> dict[str, Any]:
    return {
        "data": {
            "labeled": {"type": "FER2013", "usage": "Training"}, "unlabeled": [{"type": "ImageFolder"}],
            "test": {"type": "FER2013", "images": TEST_IMAGES},
        },
        "split": {"type": "BudgetSplit", "per_class": per_class, "val": 0.1},
        "model": {"backbone": "resnet18", "weights": None, "forward_mode": "split", "ema": 0.999},
        "views": {"size": 48, "strong": ["RandAugment", "Cutout"]},
        "batch_size": 16, "mu": 2, "max_iters": ITERATIONS, "precision": "fp32",
        "optimizer": {"type": "SGD", "lr": 0.03, "momentum": 0.9}, "selection": "best validation macro-F1",
    }  # fmt: skip


def make(
    label: str, per_class: int, seed: int, videos: int = 0, algorithms: dict[str, Any] = ALGORITHMS
) -> records.Record:
    """A finished run.

    Args:
        label: of the algorithm.
        per_class: labels of each class.
        seed: of the run.
        videos: the test images are frames of so many videos; 0: of none.
        algorithms: see `ALGORITHMS`.
    """
    level, pace, algorithm = algorithms[label]
    names = sorted(algorithms)
    rng = np.random.default_rng([names.index(label), per_class, seed])
    level += 0.08 * (per_class == 100) + 0.012 * np.random.default_rng(seed).normal() + 0.006 * rng.normal()
    results = []
    for checkpoint in records.CHECKPOINTS:
        for weights in records.WEIGHTS:
            gain = 0.012 * (weights == "ema") + 0.006 * (checkpoint == "best")
            with_groups = videos if (checkpoint, weights) == ("best", "ema") else 0
            results.append(_result(rng, level + gain, checkpoint, weights, with_groups))
    protocol = protocol_of(per_class)
    seconds, images = pace * ITERATIONS, ITERATIONS * (16 if label == "Supervised" else 48)
    curves = _curves(rng, label, level, seconds, images)
    hidden = (SHARES * 24000).astype(int).tolist()
    counts = {
        "labeled": [per_class] * 7, "unlabeled": hidden, "val": (SHARES * 2000).astype(int).tolist(),
        "test": np.array(results[-1].confusion).sum(axis=1).tolist(),
    }  # fmt: skip
    return records.Record(
        schema=records.SCHEMA,
        status=records.FINISHED,
        failure=None,
        label=label,
        algorithm=algorithm,
        seed=seed,
        split_hash=hash_of({"per_class": per_class, "seed": seed}),
        protocol=protocol,
        protocol_hash=hash_of(protocol),
        classes=CLASSES,
        data={
            part: records.DataPart("FER2013", sum(c), dict(zip(CLASSES, c, strict=True)))
            for part, c in counts.items()
        },
        results=results,
        curves=curves,
        cost=_cost(curves, seconds, images),
        code=records.Code("0.1.0", "0" * 40, False),
        libraries={"torch": "2.13.0", "numpy": "2.4.6"},
        hardware=records.Hardware("made-up CPU", 2, None, 1),
        command=f"ferbench train {label.lower()}/r18_fer2013.py --seed {seed} "
        f"--cfg-options split.per_class={per_class}",
        config={"train_cfg": {"max_iters": ITERATIONS}},
        cell=records.Cell("made_up", "fer2013", {"split.per_class": per_class}, GRID),
        written="2026-01-01T00:00:00+00:00",
    )


def grid(seeds: int = 3, videos: int = 0, algorithms: dict[str, Any] = ALGORITHMS) -> list[records.Record]:
    """Five algorithms, two budgets, finished."""
    return [make(a, b, s, videos, algorithms) for b in BUDGETS for a in algorithms for s in range(seeds)]


def lifted(run: records.Record, by: float) -> records.Record:
    """The run, had its test scores been about ``by`` higher (or lower): images change from wrong to right, or back."""
    return replace(run, results=[_lifted(r, r.macro_f1 + by) for r in run.results])


def _lifted(result: records.Result, wanted: float) -> records.Result:
    """The scores nearest to a macro-F1 when each class gains, or loses, about the same share."""
    counts = np.array(result.confusion)

    def changed(share: float) -> dict[str, Any]:
        off = counts - np.diag(counts.diagonal())
        moved = np.rint(share * off).astype(int) if share > 0 else np.zeros_like(off)
        lost = (
            np.rint(-share * counts.diagonal()).astype(int) if share < 0 else np.zeros(len(counts), dtype=int)
        )
        new = counts - moved + np.diag(moved.sum(axis=1) - lost) + np.roll(np.diag(lost), 1, axis=1)
        return scores_from_confusion(torch.from_numpy(new))

    low, high = -1.0, 1.0  # the score rises with the share
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (middle, high) if changed(middle)["macro_f1"] < wanted else (low, middle)
    best = changed(high)
    return replace(result, groups=None, **{k: best[k] for k in (*SCORES, "f1", "confusion", "count")})


def failed(run: records.Record, reason: str) -> records.Record:
    """The run, had it failed on its way."""
    return replace(run, status=records.FAILED, failure=reason, results=[], cost=None)


def running(run: records.Record, share: float = 0.5) -> records.Record:
    """The run, had it got as far as ``share`` of its iterations."""
    val, classes = run.curves.val, run.curves.classes
    curves = records.Curves(_cut(val, share), classes and _cut(classes, share))
    return replace(run, status=records.RUNNING, results=[], curves=curves)


def _cut(curve: Any, share: float) -> Any:
    count = sum(i <= share * ITERATIONS for i in curve.iter)
    return type(curve)(**{k: v and v[:count] for k, v in vars(curve).items()})


def write_grid(folder: Path, seeds: int = 3, videos: int = 0) -> list[records.Record]:
    """The folder of the grid: all finished but one that failed, one that goes on, and a damaged record.

    Returns:
        The finished ones.
    """
    done = []
    for run in grid(seeds, videos):
        assert run.cell is not None
        budget = run.cell.budget["split.per_class"]
        place = folder / f"{budget}" / run.label.lower() / f"seed{run.seed}"
        place.mkdir(parents=True)
        if (run.label, budget, run.seed) == ("UDA", 100, 1):
            records.write(failed(run, "the loss or the weights became NaN"), place / records.NAME)
        elif (run.label, budget, run.seed) == ("UDA", 100, 2):
            records.write(running(run), place / records.NAME)
        else:
            records.write(run, place / records.NAME)
            done.append(run)
    damaged = folder / "damaged"
    damaged.mkdir()
    (damaged / records.NAME).write_text('{"schema": 1, "status": "fini')
    return done


def _result(
    rng: np.random.Generator, level: float, checkpoint: str, weights: str, videos: int
) -> records.Result:
    size = len(CLASSES)
    groups: dict[str, list[list[int]]] = {}
    total = np.zeros((size, size), dtype=int)
    for video in range(videos or 1):
        images = rng.multinomial(TEST_IMAGES // (videos or 1), SHARES)
        shift = 0.05 * rng.normal() if videos else 0.0
        table = np.stack([rng.multinomial(n, _row(i, level + shift)) for i, n in enumerate(images)])
        total += table
        groups[f"video{video:02d}"] = [
            [int(i), int(j), int(table[i, j])] for i, j in zip(*table.nonzero(), strict=True)
        ]
    scores = scores_from_confusion(torch.from_numpy(total))
    kept = {k: scores[k] for k in ("macro_f1", "accuracy", "balanced_accuracy", "f1", "confusion", "count")}
    return records.Result(
        checkpoint, weights, ITERATIONS, level, **kept, smoothed=False, groups=groups if videos else None
    )


def _row(truth: int, level: float) -> np.ndarray:
    right = float(np.clip(level + 0.12 + HARD[truth], 0.05, 0.95))
    others = SHARES.copy()
    others[truth] = 0
    row = (1 - right) * others / others.sum()
    row[truth] = right
    return row


def _curves(
    rng: np.random.Generator, label: str, level: float, seconds: float, images: int
) -> records.Curves:
    at = np.arange(500, ITERATIONS + 1, 500)
    rise = 1 - np.exp(-at / 1500)
    raw = level * rise + 0.006 * rng.normal(size=len(at))
    ema = (level + 0.012) * (1 - np.exp(-at / 1900)) + 0.002 * rng.normal(size=len(at))
    val = records.ValidationCurve(
        at.tolist(), (at / ITERATIONS * images).astype(int).tolist(), (at / ITERATIONS * seconds / 3600).tolist(),
        raw.tolist(), ema.tolist(),
    )  # fmt: skip
    return records.Curves(val, None if label == "Supervised" else _class_curves(rng, label))


def _class_curves(rng: np.random.Generator, label: str) -> records.ClassCurves:
    at = np.arange(100, ITERATIONS + 1, 100)
    rise = (1 - np.exp(-at / 1200))[:, None]
    threshold: np.ndarray | None = None
    if label == "FixMatch":
        threshold = np.full((len(at), 7), 0.95)
    elif label == "FlexMatch":
        threshold = 0.95 * rise * (0.75 + 0.25 * (HARD + 0.14) / 0.32)
    elif label == "DTM":
        threshold = np.maximum(0.8, 0.97 * (0.80 + 0.2 * rise) - 0.25 * np.maximum(-HARD, 0))
    limit = threshold if threshold is not None else 0.5
    used = np.clip(rise * (1.5 - limit + HARD) + 0.02 * rng.normal(size=(len(at), 7)), 0, 1)
    purity = np.clip(0.55 + 0.25 * rise + HARD + 0.02 * rng.normal(size=(len(at), 7)), 0, 1)
    share = SHARES * (1 + 2.5 * HARD * rise)
    share = share / share.sum(axis=1, keepdims=True)
    holes = [
        [None if u < 0.01 else p for u, p in zip(*rows, strict=True)]
        for rows in zip(used, purity, strict=True)
    ]
    return records.ClassCurves(
        at.tolist(), None if threshold is None else threshold.tolist(), used.tolist(),
        [[None if p is None else float(p) for p in row] for row in holes], share.tolist(),
        (used * share).sum(axis=1).tolist(), ((used * share * purity).sum(axis=1) / (used * share).sum(axis=1)).tolist(),
    )  # fmt: skip


def _cost(curves: records.Curves, seconds: float, images: int) -> records.Cost:
    val, targets = curves.val, []
    assert val is not None
    for target in (0.3, 0.5):
        reached = [i for i, f1 in enumerate(val.macro_f1_ema) if f1 >= target]
        k = reached[0] if reached else None
        targets.append(
            records.ToTarget(
                target, None if k is None else val.iter[k], None if k is None else val.images[k],
                None if k is None else 3600 * val.hours[k],
            )
        )  # fmt: skip
    return records.Cost(seconds, images, images / seconds, 0.02, 900.0, None, targets)


if __name__ == "__main__":
    write_grid(Path(sys.argv[1]))
