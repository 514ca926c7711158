"""The tables at the end of a run: one column per checkpoint and kind of weights, one line per score; smoothed ones apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Group
from rich.table import Table

from ferbench.core.text import markdown, plain, printable, short_names
from ferbench.evaluation.metrics import further_scores
from ferbench.viz.runlog import WEIGHT_NAMES

_SCORES = (("macro-F1", "macro_f1"), ("accuracy", "accuracy"), ("balanced acc.", "balanced_accuracy"))


def score_rows(
    checkpoint: str, iteration: int, scores: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """What the evaluation of a checkpoint gave, as rows of a ``test`` line of ``metrics.jsonl``.

    Args:
        checkpoint: its name.
        iteration: iterations done when it was written.
        scores: kind of weights -> scores, as the evaluation loop gives them; those under ``smoothed`` become a row, too.
    """
    rows = []
    for weights, own in scores.items():
        plain = {k: v for k, v in own.items() if k != "smoothed"}
        head = {"checkpoint": checkpoint, "weights": weights, "iter": iteration}
        rows.append({**head, "smoothed": False, **plain})
        if "smoothed" in own:
            rows.append({**head, "smoothed": True, **own["smoothed"]})
    return rows


def results_table(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> Group:
    """The summary for the terminal: a table, and one of the smoothed scores where there are any.

    Args:
        rows: see `score_rows`.
        classes: names, in the order of the scores.
    """
    names = short_names([printable(name) for name in classes], 40)  # a terminal has little room
    return Group(*(_table(part, names) for part in _parts(rows)))


def results_markdown(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> str:
    """The same as plain Markdown, columns aligned.

    Args:
        rows: see `score_rows`.
        classes: names, in the order of the scores.
    """
    names = [printable(name) for name in classes]
    return "\n".join(_markdown(part, names) for part in _parts(rows))


def _parts(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Rows of one table each: eight columns would be too wide for a terminal."""
    parts = ([r for r in rows if r["smoothed"] == smoothed] for smoothed in (False, True))
    return [part for part in parts if part]


def _table(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> Table:
    head, *lines = _cells(rows, classes)
    table = Table(title=_title(rows), caption=_caption(rows), title_style="bold", caption_style="dim")
    table.add_column(head[0])
    for cell in head[1:]:
        table.add_column(cell, justify="right")
    for i, line in enumerate(lines):
        table.add_row(
            *map(plain, line),
            style="bold" if i == 1 else None,
            end_section=i in (0, len(lines) - len(classes) - 1),
        )
    return table


def _markdown(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> str:
    cells = [[markdown(c) for c in line] for line in _cells(rows, classes)]
    widths = [max(3, *(cell_len(line[i]) for line in cells)) for i in range(len(cells[0]))]

    def row(line: Sequence[str]) -> str:
        padded = [
            (w - cell_len(c)) * " " + c if i else c + (w - cell_len(c)) * " "
            for i, (c, w) in enumerate(zip(line, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (w + 1) + (":" if i else "-") for i, w in enumerate(widths)) + "|"
    return "\n".join(
        [f"{_title(rows)}. {_caption(rows)}", "", row(cells[0]), rule, *(row(line) for line in cells[1:]), ""]
    )


_CAPTION = "Percent. 'best' was chosen on validation data."
_CAPTION_FURTHER = (
    "Percent, but for further scores, as their metrics give them. 'best' was chosen on validation data."
)


def _caption(rows: Sequence[Mapping[str, Any]]) -> str:
    return _CAPTION_FURTHER if further_scores(rows[0]) else _CAPTION


def _title(rows: Sequence[Mapping[str, Any]]) -> str:
    smoothed = f", smoothed over {rows[0]['window']} frames" if rows[0]["smoothed"] else ""
    return f"Test scores on {rows[0]['count']:,} images{smoothed}"


def _cells(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> list[list[str]]:
    """Header and lines; the first column names the score."""
    head = ["", *(f"{r['checkpoint']}, {WEIGHT_NAMES[r['weights']]}" for r in rows)]
    iterations = ["iteration", *(f"{r['iter']:,}" for r in rows)]
    overall = [[name, *(_percent(r[key]) for r in rows)] for name, key in _SCORES]
    further = [[name, *(_number(r.get(name)) for r in rows)] for name in further_scores(rows[0])]
    per_class = [[f"F1 {name}", *(_percent(r["f1"][i]) for r in rows)] for i, name in enumerate(classes)]
    return [head, iterations, *overall, *further, *per_class]


def _number(value: float | None) -> str:
    """Of a custom metric, of which nobody knows whether it is a share."""
    return "-" if value is None or value != value else f"{value:,.4g}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"
