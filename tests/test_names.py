"""Names are any text, and every writer shows each of them whole, as text, apart from any other.

Covers the class of inputs "any Unicode text": markup of the terminal, Markdown, HTML, LaTeX and formulas; blanks, line ends and
control characters; other scripts and emoji; long names. Each writer is read back by somebody else's reader.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
import warnings
from html.parser import HTMLParser
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from ferbench.benchmark.report.pages import Pages, inline_svg, latex
from ferbench.core.text import markdown, plain, printable, require_names, short_names, tags
from ferbench.data.check import CheckReport, PartReport, print_report
from ferbench.errors import UserError
from ferbench.evaluation.predictions import write_predictions
from ferbench.evaluation.table import results_markdown, results_table
from ferbench.viz import style

NASTY = [
    "$x^{$", "[/red]", "[fear]", "<b>bold</b>", "x" * 120, "x" * 119 + "y", "恐怖", "الخوف", "😀", "a|b", "a\nb", "a\r",
    "a\\|b", "a\\", "\"q\"'", "100 %", "a & b", "&amp;", "a_b", "_a_", "*a*", "`a`", "~~a~~", "[a](b)", " a ", "a", "A",
    "count", "macro_f1", "all classes", "\x1b[31m", "\x00", "\u202eabc", "#ffffff", 'href="#a"', "url(#a)", "{{ a }}",
    "{% raw %}", "--", "a\u00a0b",
]  # fmt: skip
SVG = "http://www.w3.org/2000/svg"
names = st.one_of(st.sampled_from(NASTY), st.text(min_size=1).filter(str.strip))
lists = st.lists(names, min_size=2, max_size=6, unique_by=printable)


@given(names)
def test_everything_in_a_printable_name_is_seen(name):
    shown = printable(name)
    assert len(shown.splitlines()) == 1
    assert shown == shown.strip()
    assert all(c in "\u200c\u200d" or not unicodedata.category(c).startswith("C") for c in shown)
    assert printable(shown) == shown
    if name.isascii() and name.isprintable() and name == name.strip():
        assert shown == name


@given(lists, st.integers(8, 30))
def test_short_names_are_short_and_differ(found, longest):
    shown = [printable(name) for name in found]
    short = short_names(shown, longest)
    assert len(set(short)) == len(short)
    for name, own in zip(shown, short, strict=True):
        assert cell_len(own) <= longest + len(" (6)")
        if cell_len(name) <= longest:
            assert own.startswith(name)


def test_long_names_that_are_cut_alike_get_their_numbers():
    assert short_names(["x" * 40, "y", "x" * 41], 9) == ["xxxx…xxxx (1)", "y", "xxxx…xxxx (3)"]
    assert short_names(["恐怖恐怖恐怖", "b"], 7) == ["恐…怖", "b"]


@given(names, names)
def test_markdown_shows_the_text(one, two):
    """By a parser of Markdown, as the cells of a table."""
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    html = parser.render(f"| a | b |\n|---|---:|\n| {markdown(one)} | {markdown(two)} |\n")
    cells = re.findall(r"<td[^>]*>(.*?)</td>", html, flags=re.DOTALL)
    assert [TextOf(cell).text for cell in cells] == [printable(one).strip(), printable(two).strip()]
    assert not re.search(r"(?<!\\)\$.*(?<!\\)\$", markdown(one))  # GitHub's formulas


class TextOf(HTMLParser):
    """The text of a page, and the values of attributes."""

    def __init__(self, page: str):
        super().__init__()
        self.text, self.values, self.opened = "", [], []
        self.feed(page)
        self.close()

    def handle_data(self, data):
        self.text += data

    def handle_starttag(self, tag, attributes):
        self.opened.append(tag)
        self.values += [value for _, value in attributes]


@given(names)
def test_html_shows_the_text(name):
    template = Pages()._html.from_string('<p title="{{ n }}" data-sort="{{ n }}">{{ n }}</p>')
    page = TextOf(template.render(n=name))
    assert page.text == printable(name)
    assert page.values == 2 * [printable(name)]
    assert page.opened == ["p"]


@given(names)
def test_latex_takes_nothing_for_a_command(name):
    left = re.sub(
        r"\\[a-z]+\{\}|\\[&%$#_{}]|\$(<|>|-|\\pm|\\times|\\star)\$|(?<=-)\{\}(?=-)", "", latex(name)
    )
    assert not set(left) & set("\\&%$#_{}~^")


@given(names)
def test_the_terminal_shows_the_text(name):
    console = Console(file=io.StringIO(), width=2000, color_system=None)
    table = Table("class")
    table.add_row(plain(name))
    console.print(table)
    assert printable(name) in console.file.getvalue()


@given(lists)
def test_tags_differ_and_are_letters_all_back_ends_take(found):
    known = tags(found)
    assert len(set(known)) == len(found)
    assert not re.search(r"[^\w .:/()-]", "".join(known))
    assert tags(["Neutral", "Other (unsure)"]) == ["Neutral", "Other (unsure)"]
    assert tags(["[a]", "<a>"]) == ["_a_", "_a__2"]


@settings(max_examples=15)
@example(["x" * 120, "\x8a\x97\U000dfaaf\x1d(\x11"])
@given(lists)
def test_a_picture_has_each_name_once_and_no_warning(found):
    """In a PNG by the letters of the installed fonts; in an SVG as text."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        short = style.drawable(found)
        figure, axes = style.new_figure(short[0])
        with style.in_style():
            style.label_ends(axes, [style.End(name, 0.0, i / 10, "#000000") for i, name in enumerate(short)])
            figure.savefig(io.BytesIO(), format="png", dpi=20)
        figure, axes = style.new_figure("")
        figure.set_layout_engine("none")  # whole names of 120 letters leave no room for axes
        with style.in_style():
            axes.set_xticks(range(len(found)), [printable(name) for name in found])
        text = style.to_svg(figure)
    assert len(set(short)) == len(short)
    letters = style._letters()
    assert all(ord(c) in letters for name in short for c in name)
    wanted = {" ".join(printable(name).split()) for name in found}  # XML's readers fold blanks
    for root in (
        ElementTree.fromstring(text),
        ElementTree.fromstring(str(inline_svg(text, "p", "")).replace("<svg ", f'<svg xmlns="{SVG}" ', 1)),
    ):
        shown = {" ".join("".join(e.itertext()).split()) for e in root.iter(f"{{{SVG}}}text")}
        assert wanted <= shown


def scores_of(classes):
    size = len(classes)
    row = {
        "checkpoint": "best",
        "weights": "ema",
        "iter": 9,
        "smoothed": False,
        "count": 7,
        "f1": [i / 100 for i in range(size)],
    }
    return [{**row, "macro_f1": 0.5, "accuracy": 0.5, "balanced_accuracy": 0.5}]


@given(lists)
def test_the_table_at_the_end_of_a_run_has_every_class(classes):
    rows = scores_of(classes)
    console = Console(file=io.StringIO(), width=2000, color_system=None)
    console.print(results_table(rows, classes))
    html = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(results_markdown(rows, classes))
    cells = [TextOf(cell).text for cell in re.findall(r"<td[^>]*>(.*?)</td>", html, flags=re.DOTALL)]
    lines, short = console.file.getvalue().splitlines(), short_names([printable(c) for c in classes], 40)
    for i, name in enumerate(classes):
        assert any(f"F1 {short[i]} " in line and f" {i}.00 " in line for line in lines)
        assert cells[cells.index(f"F1 {printable(name)}") + 1] == f"{i}.00"


@given(lists)
@example(["none", "-"])  # as others write that there is nothing
def test_the_checker_names_every_class(classes):
    console = Console(file=io.StringIO(), width=2000, color_system=None)
    counts = {name: 1000 + i for i, name in enumerate(classes)}
    part = PartReport("labeled", classes[0], images=9, read=9, class_counts=counts, unlabeled=3)
    print_report(CheckReport([part], {classes[0]: {"found": 1}}), console)
    lines = console.file.getvalue().splitlines()
    for i, name in enumerate(classes):
        assert any(printable(name) in line and str(1000 + i) in line for line in lines)


@given(lists)
def test_the_table_of_predictions_is_read_back(tmp_path_factory, classes):
    path = tmp_path_factory.mktemp("predictions") / "p.csv"
    size = len(classes)
    data = SimpleNamespace(
        classes=classes, labels=np.arange(size), item_ids=lambda index: [f"{i}" for i in index]
    )
    write_predictions(path, data, np.arange(size), np.eye(size))
    with open(path, newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head == ["id", "label", "predicted", *(f"p({name})" for name in classes)]
    assert [row[1:3] for row in rows] == [[name, name] for name in classes]


@pytest.mark.parametrize(("given_names", "words"), [
    (["a", 1], "name 1 is 1, which is no text"), ([None, "a"], "name 0 is None, which is no text"),
    (["a", "b", "a"], "'a' is there twice, as name 0 and 2"), (["a", ""], "name 1 is '', which is blank"),
    (["a", " \t"], "which is blank"), ("abc", "the names are 'abc'"), ({"a": 1}, "the names are {'a': 1}"),
    (["a", ["b"]], "name 1 is ['b']"), (["a", "\ud800"], "no file in UTF-8 can hold"), ([True, "a"], "name 0 is True"),
])  # fmt: skip
def test_what_is_no_list_of_names_is_one_message(given_names, words):
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        require_names(given_names, "classes")
    assert caught.value.where == "classes"
    assert "each once" in str(caught.value)


@pytest.mark.parametrize("value", ["classes=[1,2]", "classes=[a,a]", "classes=abc", "classes=['',a]"])
def test_a_config_with_other_classes_is_refused_when_it_is_loaded(value, tmp_path):
    from ferbench.config import load_config, parse_options

    with pytest.raises(UserError) as caught:
        load_config("supervised/r18_fer2013.py", parse_options([value]), (), tmp_path)
    assert caught.value.where == "classes"


def test_names_that_differ_only_in_case_have_colours_of_their_own():
    styles = style.class_styles(["fear", "Fear", "joy"])
    assert len({s["color"] for s in styles}) == 3
