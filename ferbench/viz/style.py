"""How the pictures look: one colour per expression everywhere, safe for colour-blind readers and in print."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter
from matplotlib.transforms import ScaledTranslation

from ferbench.data.io import replacing

GREY, BLACK, LIGHT = "#6E6E6E", "#000000", "#D9D9D9"
#: Okabe and Ito's colours for the expressions; yellow, which white paper swallows, is left out.
_BY_NAME = {
    "neutral": GREY,
    "anger": "#D55E00",
    "disgust": "#009E73",
    "fear": "#CC79A7",
    "happiness": "#E69F00",
    "sadness": "#0072B2",
    "surprise": "#56B4E9",
    "other": BLACK,
    "contempt": "#7A3E9D",
}
_SYNONYMS = {
    "angry": "anger", "disgusted": "disgust", "fearful": "fear", "happy": "happiness", "sad": "sadness",
    "surprised": "surprise", "others": "other",
}  # fmt: skip
#: A second code beside colour: lines stay apart in a black and white print.
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
PERCENT = FuncFormatter(lambda share, _: f"{round(100 * share, 4):g} %")
#: What matplotlib's SVG need not have: the turn of text that is not turned; digits beyond a hundredth of a point.
_TAG = re.compile(r"<[^>]+>")
_NO_TURN = re.compile(r' transform="rotate\(-0 [^"]*\)"')
_FINER = re.compile(r"(\d\.\d\d)\d+")
_RC: Any = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "axes.edgecolor": GREY,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "savefig.dpi": 150,
}


def class_styles(classes: Sequence[str]) -> list[dict[str, Any]]:
    """Colour and dashes of each class: by name for the usual expressions, whatever their order; others take
    what is left."""
    names = [_SYNONYMS.get(c.lower(), c.lower()) for c in classes]
    spare = [color for name, color in _BY_NAME.items() if name not in names] or [GREY]
    styles, unknown = [], 0
    for i, name in enumerate(names):
        color = _BY_NAME.get(name)
        if color is None:
            color, unknown = spare[unknown % len(spare)], unknown + 1
        styles.append({"color": color, "linestyle": _DASHES[i % len(_DASHES)]})
    return styles


def series_styles(names: Sequence[str]) -> list[dict[str, Any]]:
    """Colour and dashes of lines that are no classes, such as algorithms; 28 of them stay apart."""
    palette = [color for color in _BY_NAME.values() if color not in (GREY, BLACK)]
    count, kinds = len(palette), len(_DASHES)
    return [
        {"color": palette[i % count], "linestyle": _DASHES[(i % count + i // count) % kinds]}
        for i in range(len(names))
    ]


def in_style() -> AbstractContextManager[None]:
    """The parameters of our pictures, for what is put on axes after `new_figure` has returned."""
    return rc_context(_RC)


def new_figure(title: str, size: tuple[float, float] = (8.0, 4.5), **grid: Any) -> tuple[Figure, Any]:
    """A figure without global state, and its axes (see ``Figure.subplots``)."""
    with rc_context(_RC):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(**grid)
        first = axes.flat[0] if isinstance(axes, np.ndarray) else axes
        first.set_title(title)
    return figure, axes


def share_axis(axes: Axes) -> None:
    """The vertical axis from 0 to 100 %."""
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PERCENT)


def zoom_to_top(axes: Axes, shares: np.ndarray) -> None:
    """Show the upper part only where all values lie in it: thresholds often move between 0.8 and 1."""
    lowest = float(np.nanmin(shares))
    if lowest > 0.5:
        axes.set_ylim(lowest - 0.1 * (1 - lowest) - 0.01, 1)


def iteration_axis(axes: Axes, iterations: np.ndarray) -> None:
    """The horizontal axis from 0 to the last iteration."""
    axes.set_xlim(0, max(1, int(np.max(iterations))))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("iteration")


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG; `path` never holds half a picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream, rc_context(_RC):
        figure.savefig(stream, format="png")
    return path


def to_svg(figure: Figure) -> str:
    """The picture as SVG whose text is text; the same picture gives the same characters."""
    stream = io.StringIO()
    with rc_context({**_RC, "svg.fonttype": "none", "svg.hashsalt": "ferbench"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return _TAG.sub(lambda tag: _FINER.sub(r"\1", _NO_TURN.sub("", tag[0])), stream.getvalue())


def label_ends(axes: Axes, ends: Mapping[str, tuple[float, float]], colors: Mapping[str, str]) -> None:
    """Write each line's name at its right end, moved apart where names would cover each other.

    Call after the axes' limits are set.

    Args:
        ends: name (may have several lines) -> last point (x, y) of its line.
        colors: name -> colour.
    """
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    low, high = axes.get_ylim()
    line_height = 12.5 / (
        figure.get_size_inches()[1] * 72 * 0.75
    )  # of the axes, which fill about 3/4 of the figure
    names = list(ends)
    lines = max((name.count("\n") + 1 for name in names), default=1)
    margin = (lines - 1) / 2 * line_height
    wanted = np.clip([(ends[n][1] - low) / (high - low) for n in names], 0, 1)
    beside = axes.transAxes + ScaledTranslation(14 / 72, 0, figure.dpi_scale_trans)
    places = spread(wanted, lines * line_height, margin, 1 - margin)
    for name, place, at in zip(names, places, wanted, strict=True):
        axes.annotate(
            name,
            xy=(1.0, at),
            xytext=(1.0, place),
            xycoords="axes fraction",
            textcoords=beside,
            va="center",
            color=colors[name],
            fontweight="bold",
            fontsize=9,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "relpos": (0, 0.5),  # from the left of the name, not from its middle
                "color": colors[name],
                "linewidth": 0.7,
                "shrinkA": 1,
                "shrinkB": 0,
            },
        )


def spread(wanted: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Positions at least ``gap`` apart, in the same order, as near to the wanted ones as can be (least squares).

    Isotonic regression: subtracting ``i * gap`` turns "at least a gap apart" into "not decreasing", which pooling
    neighbours that violate it solves.

    Args:
        wanted: [N].
        gap: smallest distance of two neighbours.
        low, high: the places' limits; with too many for them the upper limit gives way.

    Returns:
        [N].
    """
    order = np.argsort(wanted, kind="stable")
    offsets = np.arange(len(wanted)) * gap
    pools: list[tuple[float, int]] = []  # mean, count
    for value in wanted[order] - offsets:
        mean, count = float(value), 1
        while pools and pools[-1][0] > mean:
            other, n = pools.pop()
            mean, count = (mean * count + other * n) / (count + n), count + n
        pools.append((mean, count))
    top = max(low, high - offsets[-1]) if len(offsets) else high
    result = np.empty(len(wanted))
    result[order] = np.clip(np.repeat([m for m, _ in pools], [n for _, n in pools]), low, top) + offsets
    return result
