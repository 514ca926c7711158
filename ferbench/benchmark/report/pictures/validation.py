"""Validation scores of all algorithms in one picture, against images and against time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

from ferbench.benchmark.report.gather import Row, Section
from ferbench.benchmark.report.pictures.panel import Band, Panel, Picture, floats, last_known, over_seeds
from ferbench.benchmark.report.table import join_labels, time_unit
from ferbench.core.text import printable, short_names
from ferbench.viz.runlog import WEIGHT_NAMES
from ferbench.viz.style import GREY, PERCENT, End, label_ends, series_styles

NAMED_BY_COLOUR = 6  # lines that the colour of their names tells apart
ALL_IN_COLOUR = 14  # lines of one picture that colours and dashes tell apart, and whose names fit beside it
BEST_IN_COLOUR = 6  # of more lines: the best ones and the reference, which have a colour each
LONGEST_NAME = 22  # letters at the end of a line; the legend has the whole name


def validation_pictures(
    section: Section, row: Row, labels: Sequence[str], reference: str | None = None
) -> list[Picture]:
    """Validation macro-F1 of the chosen weights against images and against time.

    Of more than `ALL_IN_COLOUR` algorithms only the best and the reference have colours; the others are grey, and the note
    names them.

    Args:
        section: its runs, finished or not.
        row: whose weights.
        labels: all algorithms of the report, so that each has the same colour in every section; of more than
            `ALL_IN_COLOUR` the colours are given out anew in each.
        reference: the algorithm that always has a colour.
    """
    bands = {}
    for label, own in section.runs.groupby("label", sort=False):
        curves = [curves.val for curves in own.curves if curves.val and curves.val.iter]
        if curves:
            at = [np.array(c.iter) for c in curves]
            scores = over_seeds(
                [(i, floats(getattr(c, f"macro_f1_{row.weights}"))) for i, c in zip(at, curves, strict=True)]
            )
            axes = {
                k: over_seeds([(i, floats(getattr(c, k))) for i, c in zip(at, curves, strict=True)]).mean
                for k in ("images", "hours")
            }
            bands[label] = scores, axes
    if not bands:
        return []
    last = {label: float(last_known(b.mean[:, None])[0]) for label, (b, _) in bands.items()}
    ends = join_labels(
        f"{label} {100 * v:.1f} %" if np.isfinite(v) else f"{label} none" for label, v in last.items()
    )
    coloured = _coloured(last, reference)
    named = labels if len(labels) <= ALL_IN_COLOUR else coloured
    styles = dict(zip(named, series_styles(named), strict=True))
    grey = [label for label in bands if label not in coloured]
    what = f"Validation macro-F1, {WEIGHT_NAMES[row.weights]} weights"

    unit, per_hour = time_unit(float(np.nanmax(x["hours"])) for _, x in bands.values())

    def panel(key: str, against: str, words: str, factor: float = 1.0) -> Panel:
        def draw(axes: Axes) -> None:
            _curves(axes, {label: (factor * x[key], b) for label, (b, x) in bands.items()}, styles, grey)
            axes.set_xlabel(words)
            if key == "images":
                axes.xaxis.set_major_formatter(EngFormatter(sep=""))

        return Panel(f"against {against}", f"{what} against {against}; at the end: {ends}.", draw)

    panels = [
        panel("images", "images", "source images seen, labeled and unlabeled"),
        panel("hours", "time", f"{unit} of training, without validation", per_hour),
    ]
    note = "Mean over seeds; band: lowest to highest seed; pale: where some seeds have not got so far."
    if grey:
        besides = f" and {reference}, the reference" if reference in coloured else ""
        note += (
            f" In colour: the {BEST_IN_COLOUR} algorithms with the highest last value{besides}; grey and without a band: "
            f"{join_labels(grey)}."
        )
    if len(labels) > ALL_IN_COLOUR:
        note += " Colours are this picture's own."
    legend: dict[str, Mapping[str, Any]] = {label: styles[label] for label in coloured}
    if grey:
        legend[f"{len(grey)} others"] = {"color": GREY, "linestyle": "-"}
    told = len(coloured) <= NAMED_BY_COLOUR and all(k == v for k, v in _end_names(coloured).items())
    shown = None if told and not grey else legend
    return [Picture("validation", what, note, panels, shown, size=(6.4, 3.8), columns=2)]


def _coloured(last: Mapping[str, float], reference: str | None) -> list[str]:
    """The algorithms whose lines have a colour, of all with their last value, in the same order."""
    if len(last) <= ALL_IN_COLOUR:
        return list(last)
    best = sorted(last, key=lambda label: -np.nan_to_num(last[label], nan=-np.inf))[:BEST_IN_COLOUR]
    return [label for label in last if label in best or label == reference]


def _end_names(labels: Sequence[str]) -> dict[str, str]:
    """Label -> what stands at the end of its line; a long one is cut in its middle, where it stays unlike the others."""
    return dict(zip(labels, short_names([printable(label) for label in labels], LONGEST_NAME), strict=True))


def _curves(
    axes: Axes,
    lines: Mapping[str, tuple[np.ndarray, Band]],
    styles: Mapping[str, Mapping[str, Any]],
    grey: Sequence[str],
) -> None:
    for label in grey:
        x, band = lines[label]
        axes.plot(x, band.mean, color=GREY, linewidth=0.7, alpha=0.5, marker="." if len(x) == 1 else "")
    names = _end_names([label for label in lines if label not in grey])
    ends: list[End] = []
    for label, (x, band) in lines.items():
        if label in grey:
            continue
        style = styles[label]
        axes.fill_between(x, band.low, band.high, color=style["color"], alpha=0.15, linewidth=0)
        axes.plot(x[band.whole], band.mean[band.whole], **style, marker="o" if band.whole.sum() == 1 else "")
        begun = np.flatnonzero(~band.whole)
        if len(begun):
            rest = slice(max(begun[0] - 1, 0), None)
            axes.plot(x[rest], band.mean[rest], **style, alpha=0.35)
        known = np.flatnonzero(np.isfinite(band.mean))
        if len(known):
            last = known[-1]
            ends.append(End(names[label], float(x[last]), float(band.mean[last]), style["color"]))
    axes.set_xlim(0, max(float(x[-1]) for x, _ in lines.values()))
    axes.yaxis.set_major_formatter(PERCENT)
    label_ends(axes, ends)
