"""Names are any text: how they are written so that they can be seen, told apart, and are not taken for markup.

Names of classes, algorithms, data sets, videos and metrics come from configs and folders. What is written for a machine (JSON,
csv) has them as they are; what is written for a reader has them as `printable` gives them.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ferbench.errors import UserError

if TYPE_CHECKING:  # `--help` needs no tables
    from rich.text import Text

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
BLANK = "\N{OPEN BOX}"
LONGEST = 24  # columns of a name where there is little room
_JOINERS = "\u200c\u200d"  # belong to the spelling of words (Persian) and of emoji
_UNSEEN = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")
_MARKDOWN = re.compile(r"[`*~|<]|\](?=[(\[:])|\\(?=[!-/:-@\[-`{-~]|$)|&(?=#?\w+;)")
_TAG = re.compile(r"[^\w .:/()-]")


def require_names(names: Any, where: object) -> tuple[str, ...]:
    """The names, if they are some: a list of texts, none of them empty, each once.

    Args:
        names: what a config has.
        where: config key or file that an error names.

    Raises:
        UserError: it names the first that is none.
    """
    expected = "a list of names: texts, not blank, each once"
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise UserError(f"the names are {names!r}", where=where, expected=expected)
    seen: dict[str, int] = {}
    for i, name in enumerate(names):
        if not isinstance(name, str):
            fix = f"write {str(name)!r}" if isinstance(name, (int, float)) else None
            raise UserError(
                f"name {i} is {name!r}, which is no text", where=where, expected=expected, fix=fix
            )
        if not name.strip():
            raise UserError(f"name {i} is {name!r}, which is blank", where=where, expected=expected)
        if any("\ud800" <= c <= "\udfff" for c in name):
            raise UserError(
                f"name {i} is {name!a}, which no file in UTF-8 can hold", where=where, expected=expected
            )
        if seen.setdefault(name, i) != i:
            raise UserError(
                f"{name!r} is there twice, as name {seen[name]} and {i}", where=where, expected=expected
            )
    return tuple(names)


def printable(text: str) -> str:
    """The text in one line in which everything can be seen.

    Control characters become their pictures (a line break ␊), other characters without an image of their own (of other
    directions of writing, unassigned, half a pair) their number (``\\u202e``), blanks at the ends and unusual ones ␣. Any other
    text stays as it is.
    """
    shown = visible(text)
    inner = shown.strip(" ")
    if len(inner) == len(shown):
        return shown
    start = len(shown) - len(shown.lstrip(" "))
    return BLANK * start + inner + BLANK * (len(shown) - start - len(inner))


def visible(text: str) -> str:
    """As `printable`, but for the blanks at the ends, which lines of a message begin with."""
    return text if text.isprintable() else "".join(map(_seen, text))


def _seen(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\N{SYMBOL FOR DELETE}"
    if unicodedata.category(character) in _UNSEEN and character not in _JOINERS:
        return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return BLANK if character.isspace() and character != " " else character


def short_names(names: Sequence[str], longest: int = LONGEST) -> list[str]:
    """Names that fit where there is little room, no two of them alike.

    A name that is too long is cut in its middle. Where two of them are alike, they get their numbers in the list, from 1.

    Args:
        names: printable.
        longest: columns that a name may take (letters of some scripts take two), besides such a number.
    """
    cut = [_cut(name, longest) for name in names]
    counts = Counter(cut)
    numbered = [s if counts[s] == 1 else f"{s} ({i})" for i, s in enumerate(cut, start=1)]
    if len(set(numbered)) == len(numbered):
        return numbered
    return [f"{s} ({i})" for i, s in enumerate(cut, start=1)]  # some name looks like a numbered one


def _cut(name: str, longest: int) -> str:
    from rich.cells import cell_len

    if cell_len(name) <= longest:
        return name
    first, last = longest // 2, longest - longest // 2 - 1
    start, end = "", ""
    for character in name:
        if cell_len(start + character) > first:
            break
        start += character
    for character in reversed(name):
        if cell_len(character + end) > last:
            break
        end = character + end
    return f"{start}{ELLIPSIS}{end}"


def plain(text: str) -> Text:
    """A cell of a table for the terminal, in which nothing is taken for markup."""
    from rich.text import Text

    return Text(printable(text))


def markdown(text: str) -> str:
    """Text for Markdown, cells of tables included: what GitHub would take for markup or formulas is escaped."""
    text = _MARKDOWN.sub(_escaped, printable(text))
    text = text.replace("$", r"\$") if text.count("$") > 1 else text
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text) if text.count("_") > 1 else text


def _escaped(found: re.Match[str]) -> str:
    return {"<": "&lt;", "&": "&amp;"}.get(found[0], "\\" + found[0])


def tags(names: Sequence[str]) -> list[str]:
    """Names as parts of the tags of TensorBoard, MLflow and the like, not all of which allow any text.

    What is no letter, digit or one of ``_-. :/()`` becomes ``_``; where that makes two names alike, all of these but the first
    get a number.
    """
    found: list[str] = []
    for name in names:
        tag = _cut(_TAG.sub("_", printable(name)), 80).replace(ELLIPSIS, "..")
        others = (f"{tag}_{i}" for i in range(2, len(names) + 2))
        found.append(tag if tag not in found else next(other for other in others if other not in found))
    return found
