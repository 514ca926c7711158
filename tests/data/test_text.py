"""Lines and numbers of data files: what Python would take for one and a data file does not mean."""

from __future__ import annotations

import os

import pytest

from ferbench.data.text import csv_rows, decimal_number, shown, text_lines, whole_number
from ferbench.errors import UserError


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0), ("7", 7), ("-1", -1), ("007", 7), ("9" * 18, 10**18 - 1)]
)
def test_whole_numbers(text, value):
    assert whole_number(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "+1",
        "0_1",
        "1.0",
        " 1",
        "1 ",
        "1\n",
        "\u0661",
        "\uff11",
        "\u00b2",
        "1e3",
        "0x1",
        "9" * 19,
        "9" * 5000,
    ],
)
def test_what_python_takes_for_a_number_or_crashes_on_is_none(text):
    assert whole_number(text) is None


def test_decimal_numbers():
    assert [decimal_number(t) for t in ("76.6", "-3", "5.", "1e-3")] == [76.6, -3.0, 5.0, 0.001]
    for text in ("", ".", "nan", "inf", "1e999", "+1", "1_0", "\u0661.5", "1,5", " 1"):
        assert decimal_number(text) is None


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_in_three_ways_and_a_mark_is_skipped(tmp_path, end):
    (tmp_path / "a").write_bytes(("\ufeff" + end.join(["a", "", "b\tc\xa0d", "\u6050"])).encode())
    assert list(text_lines(tmp_path / "a")) == [(1, "a"), (2, ""), (3, "b\tc\xa0d"), (4, "\u6050")]


@pytest.mark.parametrize(
    "char", ["\0", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\ufeff", "\x1b"]
)
def test_characters_that_some_take_for_a_line_end_are_refused_with_their_line(tmp_path, char):
    (tmp_path / "a").write_bytes(f"a\nb\n1{char}2\n".encode())
    with pytest.raises(UserError, match=rf"U\+{ord(char):04X}(.|\n)*a:3"):
        list(text_lines(tmp_path / "a"))
    with pytest.raises(UserError, match=rf"U\+{ord(char):04X}(.|\n)*a:3"):
        list(csv_rows(tmp_path / "a"))


@pytest.mark.parametrize(
    "data", ["a\nb\u00e9".encode("latin-1"), "a\nb".encode("utf-16"), b"a\n\xed\xa0\x80"]
)
def test_other_encodings_are_one_message_with_a_line(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(UserError, match=r"(not a text file in UTF-8|U\+0000)(.|\n)*a:[12]"):
        list(text_lines(tmp_path / "a"))


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(UserError, match="the votes is no file"):
            list(text_lines(path, "the votes"))
    for path in (tmp_path / "none", tmp_path / "a\0b", tmp_path / ("x" * 300)):
        with pytest.raises(UserError, match="cannot be read"):
            list(text_lines(path))


def test_rows_and_quotes(tmp_path):
    (tmp_path / "a").write_text('a,b\n\n"1,2","x\ny"\n3,4\n')
    assert list(csv_rows(tmp_path / "a")) == [(1, ["a", "b"]), (4, ["1,2", "x\ny"]), (5, ["3", "4"])]
    (tmp_path / "a").write_text('a,b\n1,"2\n3,4\n')  # an open quote would swallow all that follows
    with pytest.raises(UserError, match=r"is broken(.|\n)*a:3"):
        list(csv_rows(tmp_path / "a"))


def test_long_cells_are_shortened():
    assert shown("a\tb") == "'a\\tb'"
    assert len(shown("x" * 10_000)) < 120
