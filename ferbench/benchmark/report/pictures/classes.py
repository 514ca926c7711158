"""What happens to each class: thresholds, utilization and purity over time, and the pseudo-labels at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

from ferbench.benchmark.report.gather import Section
from ferbench.benchmark.report.pictures.panel import (
    Band,
    Panel,
    Picture,
    columns_for,
    floats,
    last_known,
    over_seeds,
    percent,
    small_ticks,
)
from ferbench.benchmark.report.pseudo_labels import (
    TAIL,
    hidden_shares,
    purity_counts,
    runs_with_pseudo_labels,
    tail_mean,
)
from ferbench.benchmark.report.table import join_labels
from ferbench.core.text import printable, short_names
from ferbench.records import ClassCurves
from ferbench.viz.runlog import FEWEST, thin
from ferbench.viz.style import BLACK, PERCENT, class_styles, draw_line, root_share_axis

POINTS = 60  # of a line in a small panel


def class_pictures(section: Section) -> list[Picture]:
    """Threshold, utilization and purity of each class over time, and the pseudo-labels' classes against the truth."""
    runs = runs_with_pseudo_labels(section, finished=False)
    if not runs:
        return []
    curves = {label: [run.curves.classes for run in found] for label, found in runs.items()}
    counts = {label: _counts(found) for label, found in runs.items()}
    pictures = [
        _over_time(section, curves, key, title, note, counts if key == "purity" else {})
        for key, title, note in (
            ("threshold", "Threshold of each class", "The confidence that a pseudo-label must reach"),
            ("utilization", "Utilization of each class",
             "Mean weight of the images predicted as the class (square-root axis); thick: of all"),
            ("purity", "Purity of each class", "Share of the selected pseudo-labels whose hidden label agrees; thick: of all"),
        )
    ]  # fmt: skip
    return [p for p in (*pictures, _distribution(section, curves)) if p is not None]


def _over_time(
    section: Section,
    curves: Mapping[str, Sequence[ClassCurves]],
    key: str,
    title: str,
    note: str,
    counts: Mapping[str, np.ndarray | None],
) -> Picture | None:
    bands = {}
    for label, found in curves.items():
        series = [(np.array(c.iter), floats(getattr(c, key))) for c in found if getattr(c, key) is not None]
        if any(np.isfinite(values).any() for _, values in series):  # no purity where no hidden label is known
            means = [(np.array(c.iter), floats(getattr(c, f"{key}_mean", None) or [])) for c in found]
            bands[label] = over_seeds(series), over_seeds(means) if len(means[0][1]) else None
    if not bands:
        return None
    styles = class_styles(section.classes)
    end = max(float(b.iterations[-1]) for b, _ in bands.values())
    lowest = float(np.nanmin([np.nanmin(b.mean, initial=1.0) for b, _ in bands.values()]))
    bottom = lowest - 0.1 * (1 - lowest) - 0.01 if key == "threshold" and lowest > 0.5 else 0.0
    highest = float(np.nanmax([np.nanmax(b.mean, initial=0.0) for b, _ in bands.values()]))

    alike = [label for label, (band, _) in bands.items() if _alike(band.mean)]

    def drawing(band: Band, mean: Band | None, one: bool, count: np.ndarray | None) -> Callable[[Axes], None]:
        def draw(axes: Axes) -> None:
            x, values = thin(band.iterations, band.mean, POINTS)
            behind = np.full(values.shape, np.inf)
            if count is not None:
                behind = thin(band.iterations, count, POINTS)[1] * (len(count) / len(x))
            if mean is not None:
                of_all = behind.sum(axis=1) >= FEWEST
                shown = thin(mean.iterations, mean.mean, POINTS)
                draw_line(axes, *shown, of_all, color=BLACK, linewidth=3, alpha=0.3)
            for c, style in enumerate([{"color": BLACK}] if one else styles):
                draw_line(axes, x, values[:, c], behind[:, c] >= FEWEST, **{**style, "linewidth": 1.4})
            axes.set_xlim(0, end)
            axes.set_ylim(bottom, 1)
            axes.yaxis.set_major_formatter(PERCENT)
            if key == "utilization":
                root_share_axis(axes, highest)
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            small_ticks(axes)
            axes.set_xlabel("iteration", fontsize=8)

        return draw

    panels = []
    for label, (band, mean) in bands.items():
        last = ", ".join(
            f"{c} {percent(v)}" for c, v in zip(section.classes, last_known(band.mean), strict=True)
        )
        panels.append(
            Panel(
                label,
                f"{label}: {title.lower()} over the run; at the end {last}.",
                drawing(band, mean, label in alike, counts.get(label)),
            )
        )
    without = [label for label in section.labels if label not in bands]
    said = f"{note}; mean over seeds."
    if counts:
        said += f" Faint: fewer than {FEWEST} selected pseudo-labels, of all seeds together, behind a point."
        unknown = [label for label in bands if counts[label] is None]
        said += f" How many there were is not known of {join_labels(unknown)}." if unknown else ""
    said += " One black line: the same for all classes." if alike else ""
    said += f" Without any: {join_labels(without)}." if without else ""
    legend = dict(zip(section.classes, styles, strict=True))
    return Picture(key, title, said, panels, legend, columns=columns_for(panels))


def _counts(runs: Sequence[Any]) -> np.ndarray | None:
    """[T, C] selected pseudo-labels behind the mean purity over seeds, of all of them together; None: not known."""
    found = [purity_counts(run) for run in runs]
    at = [np.array(run.curves.classes.iter) for run in runs]
    known = [(i, count) for i, count in zip(at, found, strict=True) if count is not None]
    return over_seeds(known).mean * len(known) if len(known) == len(runs) else None


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
            axes.set_yticks(places, short_names([printable(c) for c in section.classes]))
            axes.invert_yaxis()
            axes.set_xlim(0, top)
            axes.xaxis.set_major_formatter(PERCENT)
            axes.grid(False, axis="y")
            small_ticks(axes)

        return draw

    panels = []
    for label, own in shares.items():
        off = (
            ""
            if truth is None
            else f" {100 * np.abs(own - truth).sum() / 2:.1f} % of them would have to change class."
        )
        listed = ", ".join(f"{c} {percent(v)}" for c, v in zip(section.classes, own, strict=True))
        panels.append(Panel(label, f"{label}: pseudo-labels by class: {listed}.{off}", drawing(own)))
    note = f"Bars: share of each class among all pseudo-labels, selected or not, in the last {100 * TAIL:g} % of the run"
    note += (
        "; strokes: the hidden labels, which no algorithm sees."
        if truth is not None
        else "; the truth is not known."
    )
    title = "Classes of the pseudo-labels" + (" against the truth" if truth is not None else "")
    return Picture("pseudo_labels", title, note, panels, columns=columns_for(panels))


def _alike(values: np.ndarray) -> bool:
    """Whether the columns of [T, C] are one and the same."""
    return values.shape[1] > 1 and bool(np.allclose(values, values[:, :1], rtol=0, atol=1e-6, equal_nan=True))
