"""Records made by hand, as fixtures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ferbench import records
from ferbench.records import protocol

CLASSES = ["Happy", "Sad", "Neutral"]
CONFUSION = [[6, 2, 0], [1, 4, 0], [0, 2, 5]]
# 2 TP / (row + column): 12 / (8 + 7), 8 / (5 + 8), 10 / (7 + 5)
F1 = [12 / 15, 8 / 13, 10 / 12]


def result(checkpoint: str, weights: str, confusion=CONFUSION, f1=F1, **changes) -> records.Result:
    values = {
        "checkpoint": checkpoint, "weights": weights, "iter": 100, "val_macro_f1": 0.5, "macro_f1": sum(f1) / 3,
        "accuracy": 15 / 20, "balanced_accuracy": (6 / 8 + 4 / 5 + 5 / 7) / 3, "f1": f1, "confusion": confusion,
        "count": sum(map(sum, confusion)),
    }  # fmt: skip
    return records.Result(**{**values, **changes})


def example(**changes) -> records.Record:
    own = {
        "schema": records.SCHEMA, "status": "finished", "failure": None, "label": "FixMatch", "algorithm": {"type": "FixMatch"},
        "seed": 0, "split_hash": "ab" * 32, "protocol": {"mu": 2, "data": {"test": {"images": 20}}},
        "classes": CLASSES, "data": {"test": records.DataPart("faces", 20, dict(zip(CLASSES, (8, 5, 7), strict=True)))},
        "results": [result(c, w) for c in ("last", "best") for w in ("raw", "ema")],
        "curves": records.Curves(
            records.ValidationCurve([50, 100], [1200, 2400], [0.1, 0.2], [0.3, 0.4], [0.25, 0.5]),
            records.ClassCurves(
                [50, 100], None, [[0.1, 0.2, None]] * 2, [[0.9, None, None]] * 2, [[0.5, 0.25, 0.25]] * 2,
                [0.1, 0.2], [None, 0.9],
            ),
        ),
        "cost": records.Cost(720.0, 2400, 3.3, 0.01, 500.0, None, [records.ToTarget(0.5, 100, 2400, 720.0)]),
        "code": records.Code("0.1.0", "c0ffee", False), "libraries": {"torch": "2.9.0"},
        "hardware": records.Hardware("a CPU", 2, None, 1), "command": "ferbench train x.py", "config": {"mu": 2},
        "cell": None, "written": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    own |= changes
    own.setdefault("protocol_hash", protocol.hash_of(own["protocol"]) if own["protocol"] else None)
    return records.Record(**own)


@pytest.fixture
def make_record():
    """A record with changes: ``make_record(label="DTM", seed=1, protocol={...})``."""
    return example


@pytest.fixture
def make_result():
    """Test scores with changes: ``make_result("best", "ema", iter=50)``."""
    return result


@pytest.fixture
def cell():
    """A place in a grid."""
    return records.Cell("tiny", "faces", {"split.per_class": 25}, "ferbench benchmark tiny.py")


@pytest.fixture
def failed_record(make_record):
    """A run that failed before it trained."""
    nothing = {"results": [], "curves": records.Curves(), "cost": None, "hardware": None, "data": {}}
    return replace(
        make_record(protocol={}, split_hash=None, **nothing), status="failed", failure="out of memory"
    )
