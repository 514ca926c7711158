"""Pictures of a run: which are drawn, from which numbers, and that bad logs do not stop them."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ferbench.errors import UserError
from ferbench.functional.metrics import scores_from_confusion
from ferbench.viz.plots import plot_run
from ferbench.viz.runlog import RunLog, read_metrics, thin
from ferbench.viz.style import class_styles, series_styles, spread

CLASSES = ("Neutral", "Anger", "Happiness")
ALL = {
    f"{name}.png"
    for name in (
        *("thresholds", "utilization", "purity", "pseudo_labels"),
        *("confidence", "losses", "validation", "confusion"),
    )
}


def scores(right: int) -> dict[str, Any]:
    return scores_from_confusion(torch.tensor([[right, 1, 2], [3, right, 1], [0, 0, 0]]))


def train_line(iteration: int) -> dict[str, Any]:
    return {
        "kind": "train", "iter": iteration, "losses": {"loss": 1.5, "supervised": 1.2, "unsupervised": 0.3},
        "lr": 0.03, "images_per_s": 90.0, "data_wait": 0.1,
        "threshold": [0.9, 0.8, 0.85], "utilization": [0.5, 0.2, 0.0], "purity": [0.9, 0.5, None],
        "pseudo_label_share": [0.6, 0.4, 0.0], "utilization_mean": 0.3, "purity_mean": 0.8,
        "confidence_quantiles": {"0.05": 0.3, "0.5": 0.6, "0.95": 0.99},
    }  # fmt: skip


def full_log() -> list[dict[str, Any]]:
    row = {"iter": 20, "weights": "ema", "smoothed": False, **scores(7)}
    return [
        *(train_line(i) for i in (10, 20)),
        {"kind": "val", "iter": 20, "raw": scores(4), "ema": scores(5)},
        {"kind": "test", "iter": 20, "rows": [{"checkpoint": c, **row} for c in ("last", "best")]},
    ]


def write(folder: Path, entries: list[dict[str, Any]], tail: str = "") -> None:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(e) + "\n" for e in entries) + tail)


def test_a_full_run_has_every_picture(tmp_path: Path) -> None:
    write(tmp_path, full_log())
    pictures = plot_run(tmp_path, CLASSES, hidden_share=[0.5, 0.3, 0.2])
    assert {p.name for p in pictures} == ALL
    assert {p.name for p in (tmp_path / "plots").iterdir()} == ALL  # and no temporary file
    for picture in pictures:
        image = cv2.imread(str(picture))
        assert image is not None
        assert image.min() < 120
        assert image.max() == 255


def test_a_supervised_run_has_only_its_own_pictures(tmp_path: Path) -> None:
    write(
        tmp_path,
        [
            {"kind": "train", "iter": 10, "losses": {"loss": 1.0}, "images_per_s": 90.0, "data_wait": 0.1},
            {"kind": "val", "iter": 10, "raw": scores(3), "ema": scores(4)},
        ],
    )
    assert {p.name for p in plot_run(tmp_path, CLASSES)} == {"losses.png", "validation.png", "confusion.png"}


def test_an_empty_log_draws_nothing(tmp_path: Path) -> None:
    write(tmp_path, [])
    assert plot_run(tmp_path, CLASSES) == []


def test_values_that_are_never_known_do_not_fail(tmp_path: Path) -> None:
    line = {**train_line(10), "purity": [None] * 3, "purity_mean": None, "losses": {"loss": None}}
    write(tmp_path, [line])
    names = {p.name for p in plot_run(tmp_path, CLASSES)}
    assert "purity.png" in names
    assert "losses.png" not in names


@pytest.mark.parametrize("value", [0.0, None, 1.0])
def test_a_run_in_which_nothing_or_all_is_used_draws_without_a_warning(
    value: float | None, tmp_path: Path
) -> None:
    """Runs of few steps: one line of log, and every share at an end of its axis or unknown."""
    per_class = dict.fromkeys(("threshold", "utilization", "purity", "pseudo_label_share"), [value] * 3)
    means = dict.fromkeys(("utilization_mean", "purity_mean"), value)
    confidence = {"0.05": value, "0.5": value, "0.95": value}
    line = {
        **train_line(1),
        **per_class,
        **means,
        "confidence_quantiles": confidence,
        "losses": {"loss": value},
    }
    write(tmp_path, [line])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plot_run(tmp_path, CLASSES)


def test_pictures_show_the_class_colours(tmp_path: Path) -> None:
    write(tmp_path, full_log())
    plot_run(tmp_path, CLASSES)
    image = cv2.imread(str(tmp_path / "plots" / "pseudo_labels.png"))[..., ::-1]
    shares = []
    for style in class_styles(CLASSES):
        color = [int(style["color"][i : i + 2], 16) for i in (1, 3, 5)]
        shares.append(float((image == color).all(axis=2).sum()))
    assert shares[0] / shares[1] == pytest.approx(0.6 / 0.4, rel=0.03)
    assert shares[2] < 0.02 * shares[1]  # a class without pseudo-labels has no area, only its name


def test_damaged_lines_are_skipped_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, full_log(), tail='{"kind": "train", "it')
    with caplog.at_level(logging.WARNING):
        assert read_metrics(tmp_path) == full_log()
    assert "1 of 5 lines are damaged and were skipped: line 5" in caplog.text
    (tmp_path / "metrics.jsonl").write_bytes(b"\xff\xfe\n" + json.dumps(train_line(1)).encode() + b"\n")
    assert read_metrics(tmp_path) == [train_line(1)]


def edited(*path: Any, to: Any = None) -> list[dict[str, Any]]:
    """The log with one value of its lines changed, or removed where no new one is given."""
    entries = json.loads(json.dumps(full_log()))
    node: Any = entries
    for key in path[:-1]:
        node = node[key]
    if to is None:
        del node[path[-1]]
    else:
        node[path[-1]] = to
    return entries


HUGE = 10**400
ODD = [
    *(edited(1, key, to=v) for key in ("iter", "images_per_s", "losses", "utilization") for v in ("10", [3], {"": {}}, HUGE)),
    *(edited(1, key) for key in ("kind", "iter", "losses", "images_per_s", "data_wait", "utilization")),
    *(edited(1, "threshold", to=v) for v in ([0.9, 0.8], [0.9, "0.8", 0.7], [[0.9, 0.8, 0.7]], [True] * 3)),
    edited(1, "iter", to=0), edited(1, "images_per_s", to=0), edited(1, "images_per_s", to=-5.0),
    edited(1, "images_per_s", to=float("nan")), edited(1, "data_wait", to=float("inf")),
    edited(1, "losses", "loss", to=1e300), edited(1, "utilization_mean", to=7.5), edited(1, "purity", 0, to=-1),
    edited(1, "confidence_quantiles", to={"half": 0.5}), edited(1, "kind", to=["train"]),
    *(edited(2, "ema", to=v) for v in (0.5, [], {"macro_f1": 0.5})), edited(2, "raw"), edited(2, "iter", to=2**70),
    edited(2, "ema", "macro_f1", to="0.5"), edited(2, "ema", "f1", to=[0.5]), edited(2, "ema", "confusion", 0, to=[1, 2]),
    *(edited(3, "rows", to=v) for v in ([], {}, [[]], ["best"])), edited(3, "rows", 0, "smoothed"),
    edited(3, "rows", 0, "weights", to="student"), edited(3, "rows", 1, "groups", to={"a": 3}),
]  # fmt: skip


@pytest.mark.parametrize("entries", ODD)
def test_lines_that_were_edited_are_skipped_like_those_cut_short(
    entries: list[dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Any key of a line missing, of another type, nested, NaN, out of range, or of another number of classes."""
    write(tmp_path, entries)
    [changed] = [i for i, (own, whole) in enumerate(zip(entries, full_log(), strict=True)) if own != whole]
    with caplog.at_level(logging.WARNING):
        assert read_metrics(tmp_path, len(CLASSES)) == full_log()[:changed] + full_log()[changed + 1 :]
    assert f"1 of 4 lines are damaged and were skipped: line {changed + 1}" in caplog.text


def test_lines_of_other_kinds_and_further_keys_are_left_alone(tmp_path: Path) -> None:
    entries = [
        {"kind": "own", "iter": 3, "raw": 3},
        {**train_line(3), "own": [1]},
        {"kind": "val", "iter": 3, "raw": {**scores(3), "ece": 0.1}, "ema": scores(3)},
    ]
    write(tmp_path, entries)
    assert read_metrics(tmp_path, len(CLASSES)) == entries
    assert read_metrics(tmp_path, 8) == entries[:1]  # the log of a run with other classes


def test_missing_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no log of the run"):
        plot_run(tmp_path, CLASSES)


def test_after_a_resume_the_last_line_of_an_iteration_counts() -> None:
    entries = [{"kind": "train", "iter": i, "lr": v} for i, v in ((1, 0.1), (2, 0.2), (3, 0.3), (2, 0.5))]
    series = RunLog(entries, "train").series("lr")
    assert series is not None
    assert [s.tolist() for s in series] == [[1, 2, 3], [0.1, 0.5, 0.3]]
    assert RunLog(entries, "val").series("lr") is None


def test_null_becomes_nan() -> None:
    series = RunLog([train_line(5)], "train").series("purity")
    assert series is not None
    np.testing.assert_array_equal(series[1], [[0.9, 0.5, np.nan]])


def test_thin_averages_what_is_known() -> None:
    values = np.array([[1.0, np.nan], [3.0, np.nan], [5.0, 2.0], [np.nan, 4.0]])
    x, y = thin(np.array([1, 2, 3, 4]), values, points=2)
    assert x.tolist() == [1.5, 3.5]
    np.testing.assert_array_equal(y, [[2.0, np.nan], [5.0, 3.0]])
    assert thin(np.array([1, 2]), np.array([7.0, 8.0]))[1].tolist() == [7.0, 8.0]


def test_colours_follow_the_name_not_the_position() -> None:
    colors = {n: s["color"] for n, s in zip(CLASSES, class_styles(CLASSES), strict=True)}
    shuffled = ("happy", "NEUTRAL", "Angry")
    assert [s["color"] for s in class_styles(shuffled)] == [
        colors[n] for n in ("Happiness", "Neutral", "Anger")
    ]
    unknown = [s["color"] for s in class_styles(("Neutral", "Boredom", "Pain"))]
    assert len(set(unknown)) == 3


def test_spread_stays_within_its_limits() -> None:
    np.testing.assert_allclose(spread(np.array([0.9, 1.0, 0.0]), 0.2, 0.05, 0.95), [0.75, 0.95, 0.05])
    np.testing.assert_allclose(spread(np.zeros(3), 0.6, 0.0, 1.0), [0, 0.6, 1.2])


@given(st.lists(st.floats(0, 1), max_size=9), st.floats(0.01, 0.3))
def test_spread_keeps_distance_order_and_place(wanted: list[float], gap: float) -> None:
    places = spread(np.array(wanted), gap, -10, 10)
    order = np.argsort(wanted, kind="stable")
    assert (np.diff(places[order]) >= gap - 1e-9).all()
    if (np.diff(np.sort(wanted)) >= gap).all():
        np.testing.assert_allclose(places, wanted, atol=1e-9)
    assert np.sum(places) == pytest.approx(np.sum(wanted), abs=1e-6)  # least squares keeps the mean


def test_lines_of_many_algorithms_stay_apart():
    styles = [tuple(style.values()) for style in series_styles([str(i) for i in range(28)])]
    assert len(set(styles)) == 28
    assert len({color for color, _ in styles[:7]}) == 7
