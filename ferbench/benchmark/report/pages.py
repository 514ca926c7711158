"""From tables, pictures and notes to pages: HTML that needs nothing beside it, Markdown with its pictures, LaTeX tables."""

from __future__ import annotations

import multiprocessing
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from ferbench.benchmark.report.notes import Note
from ferbench.benchmark.report.pictures import Panel, Picture, figure_of
from ferbench.benchmark.report.table import MINUS, NONE, TIMES, Cell, Table
from ferbench.core.process import available_cores
from ferbench.core.text import BLANK, ELLIPSIS, markdown, printable, short_names
from ferbench.viz.style import FONT, in_style, to_svg

MARKDOWN, HTML, LATEX = "report.md", "report.html", "table.tex"
LONGEST_TITLE, LONGEST_SLUG = 60, 80
MANY = 24  # pictures from which on processes that draw them are worth their start
_FORKED: list[Picture] = []  # what forked processes draw
_TAG = re.compile(r"<[^>]+>")
#: Colours of the pictures that follow the page's theme, light or dark.
_THEMED = {
    "#ffffff": "var(--paper)",
    "#000000": "var(--ink)",
    "#e6e6e6": "var(--line)",
    "#6e6e6e": "var(--muted)",
}
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$", "±": r"$\pm$", MINUS: r"$-$", NONE: "--",
    TIMES: r"$\times$", "★": r"$\star$", BLANK: r"\textvisiblespace{}", ELLIPSIS: r"\dots{}",
}  # fmt: skip


@dataclass(frozen=True)
class Block:
    """A part of a section, under its own heading."""

    title: str
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True)
class SectionPage:
    """A section as it is shown.

    Attributes:
        anchor: unique, for links and file names.
        title: data set and budget.
        facts: what it is about, in a line.
        lead: the outcome.
        notes: how it is to be read, warnings first.
        blocks: in order.
        folded: tables that are shown on demand.
    """

    anchor: str
    title: str
    facts: str
    lead: Note
    notes: Sequence[Note]
    blocks: Sequence[Block]
    folded: Sequence[Table]


@dataclass(frozen=True)
class Report:
    """All that a report shows.

    Attributes:
        title: of the page.
        state: how many runs there are, and in which state.
        made: when the newest of its records was written.
        version: of ferbench.
        overview: tables over all sections.
        overview_notes: what may be said of them.
        sections: see `SectionPage`.
        commands: that made the records and the report.
        paper: tables for a paper.
        reload: seconds after which the page loads itself again; None: never.
    """

    title: str
    state: str
    made: str
    version: str
    overview: Sequence[Table]
    overview_notes: Sequence[str]
    sections: Sequence[SectionPage]
    commands: Sequence[str]
    paper: Sequence[Table]
    reload: float | None = None


class Pages:
    """Renders reports; pictures that were in the last one are not drawn again."""

    def __init__(self) -> None:
        plain: dict[str, Any] = dict(
            loader=PackageLoader("ferbench.benchmark.report"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )  # fmt: skip
        self._html = Environment(autoescape=True, finalize=_in_one_line, **plain)
        self._html.globals |= {"svg": self._inline, "sample": _sample}
        self._html.globals |= {kind: Markup(_source(self._html, f"page.{kind}")) for kind in ("css", "js")}
        self._text = Environment(autoescape=False, keep_trailing_newline=True, **plain)
        self._text.filters |= {"md": markdown, "row": _markdown_row, "line": printable}
        self._paper = Environment(
            autoescape=False, block_start_string="<%", block_end_string="%>", variable_start_string="<<",
            variable_end_string=">>", comment_start_string="<#", comment_end_string="#>", **plain,
        )  # fmt: skip
        self._paper.filters |= {"tex": latex, "cells": _latex_row}
        # By the identity of what was drawn, which is kept with it so that no other object takes its place.
        self._drawn: dict[int, tuple[Any, str]] = {}
        self._last: dict[int, tuple[Any, str]] = {}
        self._panels = 0

    def render(self, report: Report, paper: bool = False) -> dict[str, str]:
        """All files of a report, pages last.

        Args:
            report: what to show.
            paper: whether to write the LaTeX tables (package booktabs), too.

        Returns:
            File name -> text.
        """
        self._last, self._drawn, self._panels = self._drawn, {}, 0
        pictures = [p for section in report.sections for block in section.blocks for p in block.pictures]
        self._draw_together([p for p in pictures if id(p.panels[0]) not in self._last])
        files = {
            picture_file(section, picture): sheet(picture, [self._draw(picture, p) for p in picture.panels])
            for section in report.sections
            for block in section.blocks
            for picture in block.pictures
        }
        files[MARKDOWN] = self._text.get_template("report.md.j2").render(report=report, file=picture_file)
        files[HTML] = self._html.get_template("page.html.j2").render(report=report)
        if paper:
            files[LATEX] = self._paper.get_template("table.tex.j2").render(report=report)
        return files

    def _draw_together(self, pictures: list[Picture]) -> None:
        """Draw many pictures on all cores, by forked processes: how a panel is drawn cannot be pickled."""
        cores = available_cores()
        if len(pictures) < MANY or cores < 2 or not hasattr(os, "fork"):
            return
        _FORKED[:] = pictures
        try:
            with multiprocessing.get_context("fork").Pool(cores) as pool:
                drawn = pool.map(_draw_forked, range(len(pictures)), chunksize=1)
        finally:
            _FORKED.clear()
        for picture, texts in zip(pictures, drawn, strict=True):
            self._keep(picture, texts)

    def _draw(self, picture: Picture, panel: Panel) -> str:
        kept = self._drawn.get(id(panel)) or self._last.get(id(panel))
        if kept is None:
            self._keep(picture, draw(picture))
            return self._drawn[id(panel)][1]
        self._drawn[id(panel)] = kept
        return kept[1]

    def _keep(self, picture: Picture, texts: Iterable[str]) -> None:
        self._drawn |= {id(own): (own, text) for own, text in zip(picture.panels, texts, strict=True)}

    def _inline(self, picture: Picture, panel: Panel) -> Markup:
        self._panels += 1
        return inline_svg(self._draw(picture, panel), f"p{self._panels}-", panel.alt)


def draw(picture: Picture) -> list[str]:
    """Each panel of a picture as an SVG file; all have the axes of the first, whose room is measured."""
    texts, place = [], None
    for panel in picture.panels:
        figure = figure_of(picture, panel, place)
        texts.append(to_svg(figure))
        place = figure.axes[0].get_position() if figure.axes else None
    return texts


def _draw_forked(i: int) -> list[str]:
    return draw(_FORKED[i])


def picture_file(section: SectionPage, picture: Picture) -> str:
    """Path of a picture beside the Markdown page."""
    return f"pictures/{section.anchor}-{picture.name}.svg"


def inline_svg(text: str, prefix: str, alt: str) -> Markup:
    """A picture of matplotlib's as it may stand in an HTML page, in the colours of the page's theme.

    Args:
        text: an SVG file.
        prefix: put before its ids, which must be unique in a page.
        alt: what it shows, for those who cannot see it.
    """
    view, body = _content(text, prefix)

    def themed(tag: re.Match[str]) -> str:
        text = tag[0].replace("xlink:href=", "href=")
        for color, own in _THEMED.items():
            text = text.replace(color, own)
        return text

    start = Markup('<svg viewBox="{}" role="img" aria-label="{}">').format(view, printable(alt))
    return start + Markup(_TAG.sub(themed, body))


def sheet(picture: Picture, drawn: Sequence[str]) -> str:
    """The panels of a picture side by side, with titles and legend, as an SVG file.

    Args:
        picture: whose panels.
        drawn: each panel as an SVG file.
    """
    width, height = (72 * inches for inches in picture.size)
    columns = min(picture.columns, len(drawn))
    total = max(columns * width, 12 + 9 * len(picture.title))
    y = 22.0
    parts = [_words(6, y - 4, picture.title, size=14, bold=True)]
    x = 6.0
    legend = picture.legend or {}
    for name, style in zip(_room_for(legend), legend.values(), strict=True):
        room = 40 + 7 * len(name)
        if x + room > total and x > 6:
            x, y = 6.0, y + 16
        line = f'<line x1="{x:g}" y1="{y + 8:g}" x2="{x + 26:g}" y2="{y + 8:g}" stroke="{style["color"]}" '
        dashes = f'stroke-dasharray="{_dashes(style)}"' if _dashes(style) else ""
        parts += [f'{line}stroke-width="2" {dashes}/>', _words(x + 31, y + 12, name, size=10)]
        x += room
    y += 20 if picture.legend else 0
    titles = _room_for([panel.title for panel in picture.panels])
    for i, (title, text) in enumerate(zip(titles, drawn, strict=True)):
        left, top = i % columns * width, y + i // columns * (height + 18)
        view, body = _content(text, f"p{i}-")
        parts.append(_words(left + 6, top + 13, title, _fitting(title, 11, width - 14), bold=True))
        place = f'x="{left:g}" y="{top + 18:g}" width="{width:g}" height="{height:g}" viewBox="{view}"'
        parts.append(f"<svg {place}>{body}")
    bottom = y + -(-len(drawn) // columns) * (height + 18)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{total:g}" '
        f'height="{bottom:g}" viewBox="0 0 {total:g} {bottom:g}">\n<rect width="100%" height="100%" fill="#ffffff"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _content(text: str, prefix: str) -> tuple[str, str]:
    """The viewBox of an SVG file of matplotlib's, and what follows its first tag, with ids that start with ``prefix``."""
    head, body = text[text.index("<svg") :].split(">", 1)
    view = head.split('viewBox="')[1].split('"')[0]
    body = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</defs>", "", body, flags=re.DOTALL)
    used = {name for tag in _TAG.findall(body) for name in re.findall(r'(?:href="|url\()#([^")]+)', tag)}

    def own_ids(tag: re.Match[str]) -> str:  # names of classes stand between tags, and are left alone
        text = re.sub(r' id="([^"]*)"', lambda m: f' id="{prefix}{m[1]}"' if m[1] in used else "", tag[0])
        return text.replace('href="#', f'href="#{prefix}').replace("url(#", f"url(#{prefix}")

    return view, _TAG.sub(own_ids, body).strip()


def _room_for(names: Iterable[str]) -> list[str]:
    """Titles and legends of a picture: one line each, none of them endless."""
    shown = [printable(name) for name in names]
    once = list(dict.fromkeys(shown))
    short = dict(zip(once, short_names(once, LONGEST_TITLE), strict=True))
    return [short[name] for name in shown]


def _words(x: float, y: float, text: str, size: float, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    font = f'font-family="DejaVu Sans, Verdana, sans-serif" font-size="{size:g}"{weight}'
    return f'<text x="{x:g}" y="{y:g}" {font}>{escape(text)}</text>'


def _fitting(text: str, size: float, room: float) -> float:
    """The size, or a smaller one, in which bold text is no wider than the room, both in points."""
    with in_style():
        font = FontProperties(family=FONT, weight="bold")
        width = TextPath((0, 0), text, size=size, prop=font).get_extents().width
    return size if width <= room else round(size * room / width, 1)


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def latex(text: str) -> str:
    """Text for LaTeX; letters of other scripts stay, for a LaTeX that has them (XeLaTeX, LuaLaTeX)."""
    hyphens = re.split(r"(?<=-)(?=-)", printable(text))  # which would be drawn as one dash
    return "{}".join("".join(_LATEX.get(c, c) for c in part) for part in hyphens)


def _in_one_line(value: Any) -> Any:
    """What stands in a page: text, but for what is HTML already, in one line in which everything can be seen."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def slug(text: str) -> str:
    """Letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.casefold())[:LONGEST_SLUG].strip("-") or "section"


def _sample(style: Mapping[str, Any]) -> Markup:
    """A stroke in a line's style, for a legend."""
    color = _THEMED.get(style["color"].casefold(), style["color"])
    return Markup(
        '<svg class="sample" viewBox="0 0 28 8" aria-hidden="true"><line x1="1" y1="4" x2="27" y2="4" '
        'style="stroke:{};stroke-dasharray:{}"/></svg>'
    ).format(color, _dashes(style) or "none")


def _dashes(style: Mapping[str, Any]) -> str:
    """Of a line 2 wide; empty: a whole line."""
    return (
        " ".join(f"{2 * d:g}" for d in style["linestyle"][1]) if isinstance(style["linestyle"], tuple) else ""
    )


def _markdown_row(cells: Sequence[Cell]) -> str:
    return "| " + " | ".join(_markdown_cell(cell) for cell in cells) + " |"


def _markdown_cell(cell: Cell) -> str:
    text = markdown(cell.text)
    if cell.mark == "best":
        text = f"**{text}**"
    return f"{text} {markdown(cell.small)}" if cell.small else text


def _latex_row(cells: Sequence[Cell]) -> str:
    shown = []
    for cell in cells:
        text = latex(cell.text)
        text = rf"\textbf{{{text}}}" if cell.mark == "best" else text
        shown.append(rf"{text} {{\scriptsize {latex(cell.small)}}}" if cell.small else text)
    line = " & ".join(shown)
    return (
        ("{}" if line[:1] in ("[", "*") else "") + line + r" \\"
    )  # else the \\ before it would take it for an argument
