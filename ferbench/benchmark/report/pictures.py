"""The pictures of a section: small panels, one per algorithm, side by side, and the curves of all algorithms in one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import EngFormatter, MaxNLocator

from ferbench.benchmark.record import ClassCurves
from ferbench.benchmark.report.gather import Row, Section
from ferbench.benchmark.report.pseudo_labels import TAIL, hidden_shares, tail_mean
from ferbench.benchmark.report.table import join_labels, time_unit
from ferbench.viz.runlog import WEIGHT_NAMES, thin
from ferbench.viz.style import (
    BLACK,
    GREY,
    PERCENT,
    class_styles,
    in_style,
    label_ends,
    new_figure,
    series_styles,
)

#: Colours that a page may replace by those of its theme: ink, and white that stays white on a dark ground.
WHITE_TEXT = "#fefefe"
BLUE = "#0072b2"
POINTS = 60  # of a line in a small panel
NAMED_BY_COLOUR = 6  # lines that the colour of their names tells apart
ALL_IN_COLOUR = 14  # lines of one picture that colours and dashes tell apart, and whose names fit beside it
BEST_IN_COLOUR = 6  # of more lines: the best ones and the reference, which have a colour each
LONGEST_NAME = 22  # letters at the end of a line; the legend has the whole name
NARROW = 12  # panels that stand in three columns; more of them stand in four
PANEL = (3.4, 2.3)  # inches


@dataclass(frozen=True)
class Panel:
    """One small picture.

    Attributes:
        title: whose it is.
        alt: what it shows, in words.
        draw: puts it on axes.
    """

    title: str
    alt: str
    draw: Callable[[Axes], None]


@dataclass(frozen=True)
class Picture:
    """Panels of one kind.

    Attributes:
        name: of its file.
        title: what it is about.
        note: how it is to be read.
        panels: side by side.
        legend: name -> line style, where lines are not named in the panels.
        size: of a panel, inches.
        columns: of the panels where they are one picture.
    """

    name: str
    title: str
    note: str
    panels: Sequence[Panel]
    legend: Mapping[str, Mapping[str, Any]] | None = None
    size: tuple[float, float] = PANEL
    columns: int = 3


class Band(NamedTuple):
    """A series over seeds: iterations [T], mean, lowest and highest [T] or [T, C] of the seeds that got so far; whether all
    seeds got so far [T]."""

    iterations: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    whole: np.ndarray


def over_seeds(series: Sequence[tuple[np.ndarray, np.ndarray]]) -> Band:
    """Bring the series of several seeds together.

    Args:
        series: iterations [T_s] and values [T_s] or [T_s, C] of each seed; NaN where there is no value. Other iterations
            than those of the longest one are interpolated.
    """
    grid = max((iterations for iterations, _ in series), key=lambda i: (i[-1], len(i)))
    stack = np.array([_at(grid, *own) for own in series])
    known = np.isfinite(stack)
    count = known.sum(axis=0)
    with np.errstate(invalid="ignore"):
        mean = np.where(known, stack, 0).sum(axis=0) / count
    low = np.where(known, stack, np.inf).min(axis=0)
    high = np.where(known, stack, -np.inf).max(axis=0)
    nothing = count == 0
    low[nothing], high[nothing] = np.nan, np.nan
    whole = grid <= min(iterations[-1] for iterations, _ in series)
    return Band(grid, mean, low, high, whole)


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
    for label in section.labels:
        curves = [run.curves.val for run in section.of(label) if run.curves.val and run.curves.val.iter]
        if curves:
            at = [np.array(c.iter) for c in curves]
            scores = over_seeds(
                [(i, _floats(getattr(c, f"macro_f1_{row.weights}"))) for i, c in zip(at, curves, strict=True)]
            )
            axes = {
                k: over_seeds([(i, _floats(getattr(c, k))) for i, c in zip(at, curves, strict=True)]).mean
                for k in ("images", "hours")
            }
            bands[label] = scores, axes
    if not bands:
        return []
    last = {label: float(_last(b.mean[:, None])[0]) for label, (b, _) in bands.items()}
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


def class_pictures(section: Section) -> list[Picture]:
    """Threshold, utilization and purity of each class over time, and the pseudo-labels' classes against the truth."""
    curves = {
        label: [
            run.curves.classes for run in section.of(label) if run.curves.classes and run.curves.classes.iter
        ]
        for label in section.labels
    }
    curves = {label: found for label, found in curves.items() if found}
    if not curves:
        return []
    pictures = [
        _over_time(section, curves, key, title, note)
        for key, title, note in (
            ("threshold", "Threshold of each class", "The confidence that a pseudo-label must reach"),
            ("utilization", "Utilization of each class", "Mean weight of the images predicted as the class; thick: of all"),
            ("purity", "Purity of each class", "Share of the selected pseudo-labels whose hidden label agrees; thick: of all"),
        )
    ]  # fmt: skip
    return [p for p in (*pictures, _distribution(section, curves)) if p is not None]


def confusion_pictures(section: Section, row: Row) -> list[Picture]:
    """Confusion matrices, rows normalised, mean over seeds."""
    panels = []
    for label in section.labels:
        matrices = [np.array(r.confusion, dtype=np.float64) for r in section.results(label, row).values()]
        if matrices:
            shares = np.mean([m / np.maximum(m.sum(axis=1, keepdims=True), 1) for m in matrices], axis=0)
            recalls = ", ".join(
                f"{c} {100 * v:.0f} %" for c, v in zip(section.classes, shares.diagonal(), strict=True)
            )
            panels.append(Panel(label, f"{label}: recall {recalls}.", _matrix(shares, section.classes)))
    if not panels:
        return []
    size = len(section.classes)
    note = (
        "Rows: truth, columns: prediction; percent of the row, mean over seeds. The diagonal is the recall."
    )
    shape = (1.3 + 0.36 * size, 1.0 + 0.33 * size)
    title = f"Confusion matrices, {row.title}"
    return [Picture("confusion", title, note, panels, size=shape, columns=_columns(panels))]


def figure_of(picture: Picture, panel: Panel) -> Figure:
    """One panel as a figure, without its title."""
    figure, axes = new_figure("", picture.size)
    with in_style():
        panel.draw(axes)
    return figure


def _at(grid: np.ndarray, iterations: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values [T, ...] at the grid; NaN outside of the known ones."""
    if np.array_equal(grid, iterations):
        return values
    if values.ndim > 1:
        return np.stack([_at(grid, iterations, column) for column in values.T], axis=1)
    known = np.isfinite(values)
    if not known.any():
        return np.full(len(grid), np.nan)
    return np.interp(grid, iterations[known], values[known], left=np.nan, right=np.nan)


def _coloured(last: Mapping[str, float], reference: str | None) -> list[str]:
    """The algorithms whose lines have a colour, of all with their last value, in the same order."""
    if len(last) <= ALL_IN_COLOUR:
        return list(last)
    best = sorted(last, key=lambda label: -np.nan_to_num(last[label]))[:BEST_IN_COLOUR]
    return [label for label in last if label in best or label == reference]


def _end_names(labels: Sequence[str]) -> dict[str, str]:
    """Label -> what stands at the end of its line; a long one is cut in its middle, where it stays unlike the others."""
    half = LONGEST_NAME // 2
    cut = {
        label: label if len(label) <= LONGEST_NAME else f"{label[:half]}…{label[1 - half :]}"
        for label in labels
    }
    counts = Counter(cut.values())
    return {label: name if counts[name] == 1 else label for label, name in cut.items()}


def _columns(panels: Sequence[Panel]) -> int:
    return 3 if len(panels) <= NARROW else 4


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
    ends: dict[str, tuple[float, float]] = {}
    colors: dict[str, str] = {}
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
            ends[names[label]] = float(x[known[-1]]), float(band.mean[known[-1]])
            colors[names[label]] = style["color"]
    axes.set_xlim(0, max(float(x[-1]) for x, _ in lines.values()))
    axes.yaxis.set_major_formatter(PERCENT)
    label_ends(axes, ends, colors)


def _over_time(
    section: Section, curves: Mapping[str, Sequence[ClassCurves]], key: str, title: str, note: str
) -> Picture | None:
    bands = {}
    for label, found in curves.items():
        series = [(np.array(c.iter), _floats(getattr(c, key))) for c in found if getattr(c, key) is not None]
        if any(np.isfinite(values).any() for _, values in series):  # no purity where no hidden label is known
            means = [(np.array(c.iter), _floats(getattr(c, f"{key}_mean", None) or [])) for c in found]
            bands[label] = over_seeds(series), over_seeds(means) if len(means[0][1]) else None
    if not bands:
        return None
    styles = class_styles(section.classes)
    end = max(float(b.iterations[-1]) for b, _ in bands.values())
    lowest = float(np.nanmin([np.nanmin(b.mean, initial=1.0) for b, _ in bands.values()]))
    bottom = lowest - 0.1 * (1 - lowest) - 0.01 if key == "threshold" and lowest > 0.5 else 0.0

    alike = [label for label, (band, _) in bands.items() if _alike(band.mean)]

    def drawing(band: Band, mean: Band | None, one: bool) -> Callable[[Axes], None]:
        def draw(axes: Axes) -> None:
            x, values = thin(band.iterations, band.mean, POINTS)
            if mean is not None:
                _line(axes, *thin(mean.iterations, mean.mean, POINTS), color=BLACK, linewidth=3, alpha=0.3)
            for c, style in enumerate([{"color": BLACK}] if one else styles):
                _line(axes, x, values[:, c], **{**style, "linewidth": 1.4})
            axes.set_ylim(bottom, 1)
            axes.set_xlim(0, end)
            axes.yaxis.set_major_formatter(PERCENT)
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            _small(axes)
            axes.set_xlabel("iteration", fontsize=8)

        return draw

    panels = []
    for label, (band, mean) in bands.items():
        last = ", ".join(f"{c} {_percent(v)}" for c, v in zip(section.classes, _last(band.mean), strict=True))
        panels.append(
            Panel(
                label,
                f"{label}: {title.lower()} over the run; at the end {last}.",
                drawing(band, mean, label in alike),
            )
        )
    without = [label for label in section.labels if label not in bands]
    said = f"{note}; mean over seeds."
    said += " One black line: the same for all classes." if alike else ""
    said += f" Without any: {join_labels(without)}." if without else ""
    legend = dict(zip(section.classes, styles, strict=True))
    return Picture(key, title, said, panels, legend, columns=_columns(panels))


def _distribution(section: Section, curves: Mapping[str, Sequence[ClassCurves]]) -> Picture | None:
    truth = hidden_shares(section)
    shares = {
        label: np.mean([np.nan_to_num(tail_mean(c, c.pseudo_label_share)) for c in found], axis=0)
        for label, found in curves.items()
    }
    top = 1.05 * max(float(np.nanmax(s)) for s in (*shares.values(), *([truth] if truth is not None else [])))
    colors = [style["color"] for style in class_styles(section.classes)]

    def drawing(own: np.ndarray) -> Callable[[Axes], None]:
        def draw(axes: Axes) -> None:
            places = np.arange(len(section.classes))
            axes.barh(places, own, color=colors, height=0.62)
            if truth is not None:
                axes.plot(
                    truth, places, linestyle="", marker="|", markersize=15, markeredgewidth=2.2, color=BLACK
                )
            axes.set_yticks(places, section.classes)
            axes.invert_yaxis()
            axes.set_xlim(0, top)
            axes.xaxis.set_major_formatter(PERCENT)
            axes.grid(False, axis="y")
            _small(axes)

        return draw

    panels = []
    for label, own in shares.items():
        off = (
            ""
            if truth is None
            else f" {100 * np.abs(own - truth).sum() / 2:.1f} % of them would have to change class."
        )
        listed = ", ".join(f"{c} {_percent(v)}" for c, v in zip(section.classes, own, strict=True))
        panels.append(Panel(label, f"{label}: pseudo-labels by class: {listed}.{off}", drawing(own)))
    note = f"Bars: share of each class among all pseudo-labels, selected or not, in the last {100 * TAIL:g} % of the run"
    note += (
        "; strokes: the hidden labels, which no algorithm sees."
        if truth is not None
        else "; the truth is not known."
    )
    title = "Classes of the pseudo-labels" + (" against the truth" if truth is not None else "")
    return Picture("pseudo_labels", title, note, panels, columns=_columns(panels))


def _matrix(shares: np.ndarray, classes: Sequence[str]) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        size = len(classes)
        for i, j in np.ndindex(size, size):
            axes.add_patch(
                Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=BLUE, alpha=float(shares[i, j]), linewidth=0)
            )
            axes.text(
                j, i, f"{100 * shares[i, j]:.0f}", ha="center", va="center", fontsize=8,
                color=WHITE_TEXT if shares[i, j] > 0.6 else BLACK, fontweight="bold" if i == j else "normal",
            )  # fmt: skip
        axes.set_xlim(-0.5, size - 0.5)
        axes.set_ylim(size - 0.5, -0.5)
        axes.set_xticks(range(size), classes, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(size), classes)
        axes.grid(False)
        axes.tick_params(length=0)
        _small(axes, locate=False)

    return draw


def _alike(values: np.ndarray) -> bool:
    """Whether the columns of [T, C] are one and the same."""
    return values.shape[1] > 1 and bool(np.allclose(values, values[:, :1], rtol=0, atol=1e-6, equal_nan=True))


def _line(axes: Axes, x: np.ndarray, y: np.ndarray, **style: Any) -> None:
    known = np.isfinite(y)
    axes.plot(x[known], y[known], **style, marker="o" if known.sum() == 1 else "")


def _small(axes: Axes, locate: bool = True) -> None:
    axes.tick_params(labelsize=8)
    if locate:
        axes.xaxis.set_major_locator(MaxNLocator(4))


def _last(values: np.ndarray) -> np.ndarray:
    """[C] the last known value of each column of [T, C]."""
    known = np.isfinite(values)
    last = len(values) - 1 - known[::-1].argmax(axis=0)
    return values[last, np.arange(values.shape[1])]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if np.isfinite(share) else "none"


def _floats(values: Any) -> np.ndarray:
    """null becomes NaN."""
    return np.array(values, dtype=np.float64)
