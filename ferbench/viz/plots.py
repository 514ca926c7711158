"""Pictures of a run: what the thresholds, the pseudo-labels, the losses and the scores did over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ferbench.viz.runlog import FEWEST, WEIGHT_NAMES, RunLog, read_metrics, thin
from ferbench.viz.style import (
    BLACK,
    GREY,
    PERCENT,
    End,
    class_styles,
    draw_line,
    drawable,
    in_style,
    iteration_axis,
    label_ends,
    new_figure,
    root_share_axis,
    save,
    share_axis,
    zoom_to_top,
)

FOLDER = "plots"
FAINT = f"faint: fewer than {FEWEST} selected pseudo-labels behind a point"


@dataclass(frozen=True)
class _Run:
    """What the pictures are drawn from; `names` are the classes as pictures write them, and the last that of their mean."""

    classes: Sequence[str]
    names: Sequence[str]
    train: RunLog
    val: RunLog
    test: RunLog
    hidden_share: Sequence[float] | None


def plot_run(
    work_dir: str | Path, classes: Sequence[str], hidden_share: Sequence[float] | None = None
) -> list[Path]:
    """Draw every picture that the log of a run allows.

    ``thresholds.png``, ``utilization.png``, ``purity.png``, ``pseudo_labels.png``, ``confidence.png``,
    ``losses.png``, ``validation.png`` and ``confusion.png``; those whose numbers a run does not have (a
    supervised run has no threshold) are left out.

    Args:
        work_dir: folder of the run, with ``metrics.jsonl``.
        classes: names, in the order of the network's outputs.
        hidden_share: [C] true share of each class among the unlabeled images where it is known (a diagnostic;
            no algorithm sees it), or None.

    Returns:
        The pictures, in ``work_dir/plots``.

    Raises:
        UserError: there is no ``metrics.jsonl``.
    """
    entries = read_metrics(work_dir, len(classes))
    train, val, test = (RunLog(entries, kind) for kind in ("train", "val", "test"))
    run = _Run(classes, drawable([*classes, "all classes"]), train, val, test, hidden_share)
    pictures = []
    for name, draw in _PICTURES.items():
        with in_style():
            figure = draw(run)
        if figure is not None:
            pictures.append(save(figure, Path(work_dir) / FOLDER / f"{name}.png"))
    return pictures


def _per_class(key: str, title: str, mean_key: str | None = None) -> Callable[[_Run], Figure | None]:
    """A picture with one line per class of a [C] series in [0, 1], and the mean over all classes if it is
    logged."""

    def draw(run: _Run) -> Figure | None:
        series = run.train.series(key)
        if series is None:
            return None
        counts = run.train.series("purity_count") if key == "purity" else None
        faint = counts is not None and len(counts[0]) == len(series[0])
        figure, axes = new_figure(f"{title}\n{FAINT}" if faint else title)
        x, values = thin(*series)
        enough = np.ones(values.shape, dtype=bool)
        if counts is not None and faint:
            enough = thin(*counts)[1] * (len(series[0]) / len(x)) >= FEWEST  # in all lines that a point is of
        ends = []
        for i, (name, style) in enumerate(zip(run.names, class_styles(run.classes), strict=False)):
            end = draw_line(axes, x, values[:, i], enough[:, i], **style)
            if end is not None:
                ends.append(End(name, *end, style["color"]))
        mean = run.train.series(mean_key) if mean_key else None
        if mean is not None:
            end = draw_line(axes, *thin(*mean), color=BLACK, linewidth=3.2, alpha=0.3, solid_capstyle="round")
            if end is not None:
                ends.append(End(run.names[-1], *end, GREY))
        if key == "utilization":
            root_share_axis(axes, float(np.nanmax(values, initial=0.0)))
        else:
            share_axis(axes)
        iteration_axis(axes, series[0])
        if key == "threshold":
            zoom_to_top(axes, values)
        label_ends(axes, ends)
        return figure

    return draw


def _pseudo_labels(run: _Run) -> Figure | None:
    series = run.train.series("pseudo_label_share")
    if series is None:
        return None
    hidden = run.hidden_share
    figure, axes = new_figure(
        "Pseudo-labels: share of each class", ncols=2 if hidden is not None else 1, squeeze=False,
        sharey=True, width_ratios=[8, 1] if hidden is not None else [1],
    )  # fmt: skip
    left, right = axes[0, 0], axes[0, -1]
    x, values = thin(*series)
    if len(x) == 1:  # an area needs two points; the line's shares are those since the start
        x, values = np.array([0.0, x[0]]), np.repeat(values, 2, axis=0)
    shares = np.nan_to_num(values / np.maximum(values.sum(axis=1, keepdims=True), 1e-12))
    colors = [style["color"] for style in class_styles(run.classes)]
    left.stackplot(x, shares.T, colors=colors, edgecolor="white", linewidth=0.6)
    share_axis(left)
    iteration_axis(left, series[0])
    last = shares[-1]
    if hidden is not None:
        last = np.asarray(hidden, dtype=np.float64) / max(sum(hidden), 1e-12)
        right.bar(
            0, last, bottom=np.cumsum(last) - last, color=colors, edgecolor="white", linewidth=0.6, width=1
        )
        right.set_xlim(-0.5, 0.5)
        right.set_xticks([0], ["truth"])
        right.spines["left"].set_visible(False)
        right.tick_params(left=False, labelleft=False)
        right.grid(False)
    middles = np.cumsum(last) - last / 2
    label_ends(right, [End(n, 0.0, m, c) for n, m, c in zip(run.names, middles, colors, strict=False)])
    return figure


def _confidence(run: _Run) -> Figure | None:
    quantiles = sorted(run.train.keys("confidence_quantiles"), key=float)
    series = {q: run.train.series("confidence_quantiles", q) for q in quantiles}
    drawn = {float(q): s for q, s in series.items() if s is not None}
    if not drawn:
        return None
    figure, axes = new_figure("Confidence on weak views of unlabeled images")
    levels, color = sorted(drawn), "#0072B2"
    for low, high in zip(levels[: len(levels) // 2], levels[::-1], strict=False):
        x, lower = thin(*drawn[low])
        axes.fill_between(x, lower, np.interp(x, *thin(*drawn[high])), color=color, alpha=0.22, linewidth=0)
    ends = []
    for level in levels:
        end = draw_line(axes, *thin(*drawn[level]), color=color, linewidth=2.2 if level == 0.5 else 0.8)
        if end is not None:
            ends.append(End("median" if level == 0.5 else f"{100 * level:g} %", *end, color))
    share_axis(axes)
    iteration_axis(axes, next(iter(drawn.values()))[0])
    label_ends(axes, ends)
    return figure


def _losses(run: _Run) -> Figure | None:
    series = {name: run.train.series("losses", name) for name in run.train.keys("losses")}
    drawn = {name: s for name, s in series.items() if s is not None and np.isfinite(s[1]).any()}
    if not drawn:
        return None
    figure, axes = new_figure("Losses")
    ends = []
    for (name, points), style in zip(drawn.items(), class_styles(list(drawn)), strict=True):
        if name == "loss":
            style = {"color": BLACK, "linewidth": 2.4}
        label = "total" if name == "loss" else drawable([name.replace("_", " ")])[0]
        end = draw_line(axes, *thin(*points), **style)
        if end is not None:
            ends.append(End(label, *end, style["color"]))
    axes.set_ylim(bottom=min(0.0, *(float(np.nanmin(y)) for _, y in drawn.values())))
    iteration_axis(axes, np.concatenate([x for x, _ in drawn.values()]))
    label_ends(axes, ends)
    return figure


def _validation(run: _Run) -> Figure | None:
    series = {weights: run.val.series(weights, "macro_f1") for weights in ("raw", "ema")}
    drawn = {w: s for w, s in series.items() if s is not None and np.isfinite(s[1]).any()}
    if not drawn:
        return None
    figure, axes = new_figure("Validation: macro-F1")
    styles: dict[str, dict[str, Any]] = {
        "raw": {"color": "#D55E00", "linestyle": (0, (5, 1.5)), "marker": "o"},
        "ema": {"color": "#0072B2", "linestyle": "-", "marker": "s"},
    }
    ends = []
    for weights, (x, y) in drawn.items():
        style = {**styles[weights], "markersize": 4 if len(x) <= 60 else 0, "clip_on": False}
        end = draw_line(axes, x, y, **style)
        best = int(np.nanargmax(y))
        star = {**style, "marker": "*", "markersize": 15, "markeredgecolor": "white", "zorder": 3}
        axes.plot(x[best], y[best], **star)
        label = f"{WEIGHT_NAMES[weights]}\nbest {100 * y[best]:.2f} %\nat {x[best]:,}"
        if end is not None:
            ends.append(End(label, *end, style["color"]))
    axes.yaxis.set_major_formatter(PERCENT)
    iteration_axis(axes, np.concatenate([x for x, _ in drawn.values()]))
    label_ends(axes, ends)
    return figure


def _confusion(run: _Run) -> Figure | None:
    row = _final_scores(run)
    if row is None:
        return None
    counts = np.array(row["confusion"], dtype=np.int64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = len(run.classes)
    figure, axes = new_figure(row["title"], size=(max(0.95 * size + 2.2, 7.0), max(0.8 * size + 1.6, 4.0)))
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.grid(False)
    axes.set_xticks(range(size), run.names[:-1], rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(
        range(size), [f"{c}\n(n = {n:,})" for c, n in zip(run.names, counts.sum(axis=1), strict=False)]
    )
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    for i, j in np.ndindex(size, size):
        axes.text(
            j, i, f"{100 * shares[i, j]:.1f}\n{counts[i, j]:,}", ha="center", va="center", fontsize=8,
            color="white" if shares[i, j] > 0.55 else "black", fontweight="bold" if i == j else "normal",
        )  # fmt: skip
    bar = figure.colorbar(picture, ax=axes, fraction=0.04, pad=0.02)
    bar.ax.yaxis.set_major_formatter(PERCENT)
    bar.set_label("share of the class's images (recall on the diagonal)")
    bar.outline.set_visible(False)
    return figure


def _final_scores(run: _Run) -> dict[str, Any] | None:
    """The scores whose confusion is drawn, with a title that says which they are: tested if there was a
    test."""
    rows: list[Mapping[str, Any]] = run.test.entries[-1]["rows"] if run.test.entries else []
    if rows := [r for r in rows if not r["smoothed"]]:
        order = {("best", "ema"): 0, ("last", "ema"): 1, ("best", "raw"): 2}
        row = min(rows, key=lambda r: order.get((r["checkpoint"], r["weights"]), 3))
        weights = WEIGHT_NAMES[row["weights"]]
        what = f"Test, {row['checkpoint']} checkpoint, {weights} weights, iteration {row['iter']:,}"
    else:
        if not run.val.entries:
            return None
        last = run.val.entries[-1]
        row, what = last["ema"], f"Validation, {WEIGHT_NAMES['ema']} weights, iteration {last['iter']:,}"
    return {
        **row,
        "title": f"{what}\nmacro-F1 {100 * row['macro_f1']:.2f} %, accuracy {100 * row['accuracy']:.2f} %",
    }


_PICTURES: dict[str, Callable[[_Run], Figure | None]] = {
    "thresholds": _per_class("threshold", "Threshold of each class"),
    "utilization": _per_class(
        "utilization",
        "Utilization: share of pseudo-labels used (axis by the square root)",
        "utilization_mean",
    ),
    "purity": _per_class("purity", "Purity: share of used pseudo-labels that are right", "purity_mean"),
    "pseudo_labels": _pseudo_labels,
    "confidence": _confidence,
    "losses": _losses,
    "validation": _validation,
    "confusion": _confusion,
}
