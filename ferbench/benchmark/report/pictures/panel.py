"""What a picture of a report is made of: panels side by side, series over seeds, small helpers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from ferbench.viz.style import in_style, new_figure

PANEL = (3.4, 2.3)  # inches
NARROW = 12  # panels that stand in three columns; more of them stand in four


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


def figure_of(picture: Picture, panel: Panel, place: Bbox | None = None) -> Figure:
    """One panel as a figure, without its title.

    Args:
        picture, panel: what to draw.
        place: of the axes in the figure; None: as much as their labels leave, which takes as long to measure as to draw.
    """
    figure, axes = new_figure("", picture.size)
    if place is not None:
        figure.set_layout_engine("none")
        axes.set_position(place)
    with in_style():
        panel.draw(axes)
    return figure


def columns_for(panels: Sequence[Panel]) -> int:
    """Columns of a picture of these panels."""
    return 3 if len(panels) <= NARROW else 4


def small_ticks(axes: Axes, locate: bool = True) -> None:
    """Tick labels of a small panel, and few of them unless they have their places already."""
    axes.tick_params(labelsize=8)
    if locate:
        axes.xaxis.set_major_locator(MaxNLocator(4))


def last_known(values: np.ndarray) -> np.ndarray:
    """[C] the last known value of each column of [T, C]."""
    known = np.isfinite(values)
    last = len(values) - 1 - known[::-1].argmax(axis=0)
    return values[last, np.arange(values.shape[1])]


def percent(share: float) -> str:
    """A share in words."""
    if not np.isfinite(share):
        return "none"
    return f"{100 * share:.1g} %" if 0 < share < 0.01 else f"{100 * share:.0f} %"


def floats(values: Any) -> np.ndarray:
    """null becomes NaN."""
    return np.array(values, dtype=np.float64)


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
