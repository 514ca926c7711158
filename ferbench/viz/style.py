"""How the pictures look: one colour per expression everywhere, safe for colour-blind readers and in print."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager, get_font
from matplotlib.ticker import EngFormatter, FuncFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation

from ferbench.core.files import atomic_write
from ferbench.core.text import printable, short_names

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
FAINT = 0.3  # opacity of what little is known of
_SHARES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
PERCENT = FuncFormatter(lambda share, _: f"{round(100 * share, 4):g} %")
#: What matplotlib's SVG need not have: the turn of text that is not turned; digits beyond a hundredth of a point.
_TAG = re.compile(r"<[^>]+>")
_NO_TURN = re.compile(r' transform="rotate\(-0 [^"]*\)"')
_FINER = re.compile(r"(\d\.\d\d)\d+")
FONT = "DejaVu Sans"
#: Fonts with more scripts, of which those that are installed are asked for what `FONT` lacks.
_OTHER_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR", "Source Han Sans",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei", "Droid Sans Fallback", "Microsoft YaHei", "SimHei", "MS Gothic", "Malgun Gothic", "PingFang HK",
    "Hiragino Sans", "IPAGothic", "NanumGothic", "Noto Sans", "Noto Sans Devanagari", "Noto Sans Thai", "Noto Emoji", "Symbola",
    "Arial Unicode MS", "Unifont",
)  # fmt: skip
_RC: Any = {
    "font.size": 10,
    "font.family": FONT,
    "text.parse_math": False,  # names are any text: a dollar sign is no formula
    "text.usetex": False,
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
        color = _BY_NAME.get(name) if name not in names[:i] else None  # "Fear" and "fear" are two classes
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


@contextmanager
def in_style() -> Iterator[None]:
    """The parameters of our pictures, for what is put on axes after `new_figure` has returned."""
    with rc_context({**_RC, "font.family": [FONT, *_more_fonts()]}), warnings.catch_warnings():
        # A browser has other fonts for the text of an SVG; of a PNG, `drawable` has taken care.
        warnings.filterwarnings(
            "ignore", message=r"Glyph .* missing from|Matplotlib currently does not support"
        )
        yield


def drawable(names: Sequence[str]) -> list[str]:
    """Names as they stand in a picture: short, in one line, in letters that the installed fonts have.

    A letter that none of them has is written as its number (``\\u6050``). No two are alike.

    Args:
        names: any texts.
    """
    known = _letters()
    whole = ["".join(c if ord(c) in known else _number_of(c) for c in printable(name)) for name in names]
    return short_names(whole)


def _number_of(character: str) -> str:
    if "\u2400" <= character <= "\u241f":  # the picture of a control character
        character = chr(ord(character) - 0x2400)
    return character.encode("unicode_escape").decode()


@cache
def _more_fonts() -> tuple[str, ...]:
    installed = {font.name for font in fontManager.ttflist}
    return tuple(name for name in _OTHER_FONTS if name in installed)


@cache
def _letters() -> frozenset[int]:
    """The characters that the fonts of `in_style` have."""
    files = {fontManager.findfont(FontProperties(family=name)) for name in (FONT, *_more_fonts())}
    return frozenset().union(*(get_font(file).get_charmap() for file in files))


def new_figure(title: str, size: tuple[float, float] = (8.0, 4.5), **grid: Any) -> tuple[Figure, Any]:
    """A figure without global state, and its axes (see ``Figure.subplots``)."""
    with in_style():
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
    known = shares[np.isfinite(shares)]
    lowest = min(float(known.min()), 1.0) if len(known) else 0.0
    if lowest > 0.5:
        axes.set_ylim(lowest - 0.1 * (1 - lowest) - 0.01, 1)


def root_share_axis(axes: Axes, highest: float) -> None:
    """A vertical axis by the square root, on which shares of a few percent can be read beside large ones.

    Args:
        axes: whose axis it is.
        highest: share that must be on it; NaN: any.
    """
    wanted = max(
        1.02 * np.nan_to_num(highest, nan=1.0), _SHARES[1]
    )  # nothing used at all: the axis has a height still
    top = next((tick for tick in _SHARES if tick >= wanted), 1.0)
    axes.set_yscale("function", functions=(lambda y: np.sqrt(np.maximum(y, 0)), np.square))
    axes.set_ylim(0, top)
    axes.set_yticks([tick for tick in _SHARES if tick <= top])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(PERCENT)


def draw_line(
    axes: Axes, x: np.ndarray, y: np.ndarray, enough: np.ndarray | None = None, **style: Any
) -> tuple[float, float] | None:
    """Draw the known points of a line, joined over the unknown ones; a single one is a dot.

    Args:
        axes: where to.
        x, y: [T]; NaN is not known.
        enough: [T] whether so much is behind a point that it is drawn in full; else it is faint. None: it is.
        style: of the line.

    Returns:
        The last known point; None where there is none.
    """
    known = np.isfinite(y)
    if not known.any():
        return None
    x, y = x[known], y[known]
    full = np.ones(len(x), dtype=bool) if enough is None else np.asarray(enough)[known]
    if len(x) == 1:
        style.setdefault("marker", "o")
    if full.all():
        axes.plot(x, y, **style)
    else:
        axes.plot(x, y, **{**style, "alpha": FAINT, "linewidth": 0.8})
        beside = np.zeros_like(full)
        beside[1:] |= full[:-1]
        beside[:-1] |= full[1:]
        lone = full & ~beside
        axes.plot(x[lone], y[lone], color=style.get("color"), linestyle="", marker="o", markersize=2)
        if (full & beside).any():
            axes.plot(x, np.where(full, y, np.nan), **style)
    return float(x[-1]), float(y[-1])


def iteration_axis(axes: Axes, iterations: np.ndarray) -> None:
    """The horizontal axis from 0 to the last iteration."""
    axes.set_xlim(0, max(1, int(np.max(iterations))))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("iteration")


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG; `path` never holds half a picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as stream, in_style():
        figure.savefig(stream, format="png")
    return path


def to_svg(figure: Figure) -> str:
    """The picture as SVG whose text is text; the same picture gives the same characters."""
    stream = io.StringIO()
    with in_style(), rc_context({"font.family": FONT, "svg.fonttype": "none", "svg.hashsalt": "ferbench"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return _TAG.sub(lambda tag: _FINER.sub(r"\1", _NO_TURN.sub("", tag[0])), stream.getvalue())


class End(NamedTuple):
    """The right end of a line: its name (may have several lines), its last point, its colour."""

    name: str
    x: float
    y: float
    color: str


def label_ends(axes: Axes, ends: Sequence[End]) -> None:
    """Write each line's name at its right end, moved apart where names would cover each other.

    Call after the axes' limits are set.

    Args:
        axes: with the lines.
        ends: of the lines; names need not differ.
    """
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    line_height = 12.5 / (
        figure.get_size_inches()[1] * 72 * 0.75
    )  # of the axes, which fill about 3/4 of the figure
    lines = max((end.name.count("\n") + 1 for end in ends), default=1)
    margin = (lines - 1) / 2 * line_height
    wanted = np.clip([_height(axes, end.y) for end in ends], 0, 1)
    beside = axes.transAxes + ScaledTranslation(14 / 72, 0, figure.dpi_scale_trans)
    places = spread(wanted, lines * line_height, margin, 1 - margin)
    for end, place, at in zip(ends, places, wanted, strict=True):
        axes.annotate(
            end.name,
            xy=(1.0, at),
            xytext=(1.0, place),
            xycoords="axes fraction",
            textcoords=beside,
            va="center",
            color=end.color,
            fontweight="bold",
            fontsize=9,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "relpos": (0, 0.5),  # from the left of the name, not from its middle
                "color": end.color,
                "linewidth": 0.7,
                "shrinkA": 1,
                "shrinkB": 0,
            },
        )


def _height(axes: Axes, y: float) -> float:
    """Where a value stands between the ends of the vertical axis, in [0, 1] unless it lies outside."""
    scale = axes.yaxis.get_transform()
    low, high, at = (float(v) for v in scale.transform(np.array([*axes.get_ylim(), y])))
    return (at - low) / (high - low)


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
