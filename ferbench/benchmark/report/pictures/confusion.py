"""Confusion matrices."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from rich.cells import cell_len

from ferbench.benchmark.report.gather import Row, Section
from ferbench.benchmark.report.pictures.panel import Panel, Picture, columns_for, small_ticks
from ferbench.core.text import printable, short_names
from ferbench.viz.style import BLACK

#: Colours that a page may replace by those of its theme: ink, and white that stays white on a dark ground.
WHITE_TEXT = "#fefefe"
BLUE = "#0072b2"


def confusion_pictures(section: Section, row: Row) -> list[Picture]:
    """Confusion matrices, rows normalised, mean over seeds."""
    if row not in section.results:
        return []
    panels, names = [], short_names([printable(c) for c in section.classes])
    for label, own in section.results[row].groupby("label", sort=False):
        matrices = np.array(own.confusion.tolist(), dtype=np.float64)
        shares = np.mean(matrices / np.maximum(matrices.sum(axis=2, keepdims=True), 1), axis=0)
        recalls = ", ".join(
            f"{c} {100 * v:.0f} %" for c, v in zip(section.classes, shares.diagonal(), strict=True)
        )
        panels.append(Panel(label, f"{label}: recall {recalls}.", _matrix(shares, names)))
    size = len(section.classes)
    note = (
        "Rows: truth, columns: prediction; percent of the row, mean over seeds. The diagonal is the recall."
    )
    room = max(0.0, 0.07 * (max(map(cell_len, names)) - 9))  # for names longer than "Happiness"
    shape = (1.3 + 0.36 * size + room, 1.0 + 0.33 * size + 0.6 * room)
    title = f"Confusion matrices, {row.title}"
    return [Picture("confusion", title, note, panels, size=shape, columns=columns_for(panels))]


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
        small_ticks(axes, locate=False)

    return draw
