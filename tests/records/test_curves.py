"""From the log to curves and cost: numbers computed by hand."""

from __future__ import annotations

import pytest

from ferbench.records import ToTarget, ValidationCurve
from ferbench.records.curves import Timeline, curves_of, to_targets, val_macro_f1

PER_STEP = 10


def train(iteration, speed=50.0, wait=0.0, **more):
    return {"kind": "train", "iter": iteration, "images_per_s": speed, "data_wait": wait, **more}


def val(iteration, raw, ema):
    return {"kind": "val", "iter": iteration, "raw": {"macro_f1": raw}, "ema": {"macro_f1": ema}}


# 100 iterations at 50 images/s: 20 s; 100 at 100 images/s: 10 s.
LOG = [train(100, 50.0, 0.1), val(150, 0.2, 0.1), train(200, 100.0, 0.4), val(200, 0.3, 0.4)]


def labels(iteration, **changes):
    per_class = {
        "threshold": [0.9, 0.8],
        "utilization": [0.5, None],
        "purity": [None, None],
        "pseudo_label_share": [1, 0],
    }
    return train(iteration, **{**per_class, "utilization_mean": 0.5, "purity_mean": None, **changes})


class TestTime:
    def test_spent(self):
        seconds, images, speed, wait = Timeline(LOG, PER_STEP).spent()
        assert (seconds, images, speed) == (30.0, 2000, 75.0)
        assert wait == pytest.approx((0.1 * 20 + 0.4 * 10) / 30, rel=1e-4)

    def test_a_validation_between_two_entries(self):
        curve = curves_of(LOG, PER_STEP).val
        assert curve.iter == [150, 200]
        assert curve.images == [1500, 2000]
        assert curve.hours == pytest.approx([25 / 3600, 30 / 3600], rel=1e-4)
        assert (curve.macro_f1_raw, curve.macro_f1_ema) == ([0.2, 0.3], [0.1, 0.4])

    def test_one_after_the_last_entry(self):
        curve = curves_of([*LOG, val(250, 0.5, 0.5)], PER_STEP).val
        assert curve.hours[-1] == pytest.approx((30 + 5) / 3600, rel=1e-4)

    def test_iterations_done_twice_count_once(self):
        """A killed run does some iterations again; the last entry of an iteration counts."""
        again = [train(100, 1.0), val(150, 0.9, 0.9), *LOG]
        assert curves_of(again, PER_STEP) == curves_of(LOG, PER_STEP)
        assert Timeline(again, PER_STEP).spent() == Timeline(LOG, PER_STEP).spent()

    def test_before_the_first_entry(self):
        assert not Timeline([], PER_STEP)
        assert curves_of([val(50, 0.1, 0.1)], PER_STEP).val is None

    def test_validation_of_a_checkpoint(self):
        assert val_macro_f1(LOG, 200, "raw") == 0.3
        assert val_macro_f1(LOG, 150, "ema") == 0.1
        assert val_macro_f1(LOG, 100, "ema") is None


class TestTargets:
    CURVE = ValidationCurve([10, 20, 30], [100, 200, 300], [0.1, 0.2, 0.3], [0.9] * 3, [0.2, 0.5, 0.4])

    def test_first_time_of_the_ema_weights(self):
        assert to_targets(self.CURVE, [0.2, 0.4, 0.5, 0.6]) == [
            ToTarget(0.2, 10, 100, 360.0), ToTarget(0.4, 20, 200, 720.0), ToTarget(0.5, 20, 200, 720.0),
            ToTarget(0.6, None, None, None),
        ]  # fmt: skip

    def test_no_validation_yet(self):
        assert to_targets(None, [0.3]) == [ToTarget(0.3, None, None, None)]


class TestClasses:
    def test_values(self):
        curve = curves_of([labels(100), labels(200, purity_mean=0.123456789)], PER_STEP).classes
        assert curve.iter == [100, 200]
        assert curve.threshold == [[0.9, 0.8]] * 2
        assert curve.utilization == [[0.5, None]] * 2
        assert curve.purity == [[None, None]] * 2
        assert curve.pseudo_label_share == [[1, 0]] * 2
        assert curve.purity_mean == [None, 0.12346]

    def test_rounding_leaves_no_share_outside_0_to_1(self):
        """A weight may be off by it; a record with a share of 1.0004 would contradict itself."""
        line = labels(100, utilization=[1.0004, -0.0004], utilization_mean=1.0002)
        curve = curves_of([line], PER_STEP).classes
        assert (curve.utilization, curve.utilization_mean) == ([[1.0, 0.0]], [1.0])

    def test_a_rule_without_thresholds_and_an_algorithm_without_pseudo_labels(self):
        assert curves_of([labels(100, threshold=None)], PER_STEP).classes.threshold is None
        assert curves_of(LOG, PER_STEP).classes is None

    def test_long_runs_are_thinned(self):
        curve = curves_of([labels(100 * i) for i in range(1, 4501)], PER_STEP).classes
        assert len(curve.iter) == 200
        assert (curve.iter[0], curve.iter[-1]) == (100, 450_000)
        steps = [b - a for a, b in zip(curve.iter, curve.iter[1:], strict=False)]
        assert max(steps) - min(steps) <= 100
