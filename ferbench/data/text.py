"""Lines, cells and numbers of the text files that list or label images.

Python reads more into text than a data file means: `str.splitlines` ends lines at vertical tabs and at U+2028, `str.split`
parts cells at any blank of Unicode, and `int` takes ``+1``, ``0_1`` and digits of every script. Here lines end with ``\\n``,
``\\r\\n`` or ``\\r`` and nothing else, a number has ASCII digits, and what looks like a line end but is none is refused: each
would move or change labels without a word.
"""

from __future__ import annotations

import csv
import math
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from ferbench.errors import UserError

_WHOLE = re.compile(r"-?[0-9]{1,18}", re.ASCII)  # 18 digits fit into 64 bits
_DECIMAL = re.compile(r"-?[0-9]{1,18}(\.[0-9]{0,40})?([eE][+-]?[0-9]{1,3})?", re.ASCII)
# Control characters but the tab, what Unicode calls line and paragraph ends, and a byte order mark within a line.
_NOT_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_SHOWN = 80


def whole_number(text: str) -> int | None:
    """The integer that ``text`` is: ASCII digits, at most 18, perhaps after a minus sign; else None.

    Nothing is stripped: `` 1``, ``+1``, ``0_1``, ``1.0``, digits of other scripts and ``''`` are no whole numbers.
    """
    return int(text) if _WHOLE.fullmatch(text) else None


def decimal_number(text: str) -> float | None:
    """The finite number that ``text`` is, e.g. ``-76.6`` or ``1e-3``, in ASCII; else None (also for ``nan``)."""
    value = float(text) if _DECIMAL.fullmatch(text) else math.nan
    return value if math.isfinite(value) else None


def shown(text: str) -> str:
    """``text`` as an error message quotes it: escaped, and shortened where it is long."""
    if len(text) > _SHOWN:
        return f"{text[: _SHOWN // 2]!r} ... {text[-_SHOWN // 4 :]!r} ({len(text)} characters)"
    return repr(text)


def text_lines(path: Path, what: str = "the list file", fix: str | None = None) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of each line, without its end; empty lines included, a byte order mark skipped.

    Args:
        path: the file, in UTF-8.
        what: what it is, for messages.
        fix: what to do about a bad one, for messages.

    Raises:
        UserError: the file cannot be read or is no regular file; it is not UTF-8; a line with a control character or a
            Unicode line end (with its number).
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # to open a FIFO would wait for ever
            raise UserError(f"{what} is no file", where=path, expected="a text file", fix=fix)
        with open(path, encoding="utf-8-sig") as file:
            for number, text in enumerate(file, 1):
                text = text.removesuffix("\n")
                if not text.isprintable() and (found := _NOT_TEXT.search(text)):
                    raise UserError(
                        f"{what} has the character U+{ord(found[0]):04X} in a line: {shown(text)}",
                        where=f"{path}:{number}", expected="text, and no line ends but LF, CR LF or CR", fix=fix,
                    )  # fmt: skip
                yield number, text
    except OSError as error:
        raise UserError(f"{what} cannot be read: {error.strerror or error}", where=path, fix=fix) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{what} is not a text file in UTF-8", where=f"{path}:{_first_bad_line(path)}", fix=fix
        ) from error
    except ValueError as error:  # the name of the file holds a NUL
        raise UserError(f"{what} cannot be read: {error}", where=shown(str(path)), fix=fix) from error


def _first_bad_line(path: Path) -> int:
    """Line of the first byte that is not UTF-8 (reads the file again, on the way out)."""
    data = path.read_bytes()
    try:
        data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start]
        return before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n") + 1
    return 1


def csv_rows(
    path: Path, what: str = "the csv", fix: str | None = None, delimiter: str = ","
) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of each row that is not empty, the header included; see `text_lines`.

    A row that goes over several lines (a quoted cell with a line end in it) has the number of its last.

    Raises:
        UserError: as `text_lines`; a quote that is not closed.
    """
    rows = csv.reader(
        (text + "\n" for _, text in text_lines(path, what, fix)), delimiter=delimiter, strict=True
    )
    try:
        for row in rows:
            if row:
                yield rows.line_num, row
    except csv.Error as error:
        raise UserError(f"{what} is broken: {error}", where=f"{path}:{rows.line_num}", fix=fix) from error
