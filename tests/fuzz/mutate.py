"""Seeded damage to files: bytes, lines, tokens, encodings, and the nodes of parsed files."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random
from typing import Any

#: What stands in a file in place of a word or a number.
TOKENS = (
    "", " ", "0", "-1", "-0", "+1", "0_1", "1.5", "1e400", "-1e-400", "nan", "NaN", "inf", "-Infinity", "32768", "65536",
    "2147483648", "4294967296", "9223372036854775808", "18446744073709551616", "9" * 20, "9" * 400, "9" * 5000, "0x10",
    "٣", "²", "\uff11", "\x00", "a\x00b", "\v", "1\v2", "\f", "\x1c", "\x85", "\u2028", "\u200b", "\ufeff", "é", "e\u0301",
    "\U0001f600", "\r", "\n", "\n\n", "\t", ",", ",,", ";", '"', '""', "'", "\\", "\\n", "/", "//", ".", "..", "./a.jpg",
    "../../../../etc/passwd", "/etc/passwd", "/dev/zero", "~", "*", "%s", "{}", "{0}", "$x^{$", "[/red]", "[fear]", "<b>",
    "x" * 300, "x" * 100_000, "true", "null", "None", "[]", "{}", "()", "[" * 100_000, '{"a":' * 100_000, "(" * 300,
    "-" * 5000, "1" + "+1" * 3000, "lambda: 0", "__import__", "type", "\\ud800", '"\\ud800"',
)  # fmt: skip
#: What stands in a parsed file in place of a node.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, 1.5, -0.0, 1e308, float("inf"), float("nan"), "", "x", "0",
    "\x00", "\ud800", "../..", "x" * 100_000, [], {}, [[]], [None], {"": 0}, {"type": "x"}, [0] * 1000, {"a": {"b": {}}},
    [[[]]], ["a", "a"],
)  # fmt: skip
_WORDS = re.compile(rb"[-+.\w]+")
_EXTREMES = (0, 1, 2**7, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)


def damaged(data: bytes, random: Random) -> bytes:
    """``data`` with one to three kinds of damage, a pure function of both arguments."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        data = random.choice(_DAMAGES)(data, random)
    return data


def _flip(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8)) if data else 0):
        changed[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _overwrite(data: bytes, random: Random) -> bytes:
    at, size = random.randrange(len(data) + 1), random.choice((1, 2, 4, 8))
    number = random.choice(_EXTREMES) % (1 << 8 * size)
    return data[:at] + number.to_bytes(size, random.choice(("little", "big"))) + data[at + size :]


def _cut(data: bytes, random: Random) -> bytes:
    return data[
        : random.choice((random.randrange(len(data) + 1), max(len(data) - random.randrange(1, 9), 0)))
    ]


def _splice(data: bytes, random: Random) -> bytes:
    """Some bytes removed, repeated, moved or made up."""
    start, size = random.randrange(len(data) + 1), random.choice((1, 2, 7, 64, 1000))
    piece, at = data[start : start + size], random.randrange(len(data) + 1)
    return random.choice((
        data[:start] + data[start + size :],
        data[:at] + piece + data[at:],
        data[:at] + piece * 50 + data[at:],
        data[:at] + random.randbytes(size) + data[at:],
        data[:at] + bytes(size) + data[at:],
    ))  # fmt: skip


def _word(data: bytes, random: Random) -> bytes:
    """A word or a number gives way to an odd one, or to another word of the file."""
    words = list(_WORDS.finditer(data))
    if not words:
        return data + random.choice(TOKENS).encode()
    at = random.choice(words)
    new = random.choice(TOKENS).encode() if random.random() < 0.8 else random.choice(words).group()
    beside = random.choice((b"", b"", b"", at.group()))  # mostly in its place
    return data[: at.start()] + beside + new + data[at.end() :]


def _lines(data: bytes, random: Random) -> bytes:
    lines = data.splitlines(keepends=True) or [b""]
    at, other = random.randrange(len(lines)), random.randrange(len(lines))
    return b"".join(random.choice((
        [*lines[:at], *lines[at + 1 :]],
        [*lines, lines[at]],
        [*lines[:at], lines[other], *lines[at:]],
        [*lines[:at], *lines[at:][::-1]],
        [*lines[:at], lines[at].rstrip(b"\r\n"), *lines[at + 1 :]],
        [*lines[:at], b"\n" * random.choice((1, 3)), *lines[at:]],
        [*lines[:at], lines[at].rstrip(b"\r\n"), random.choice((b"\v", b"\f", b"\r", b"\x85", b"\x1e")), *lines[at + 1 :]],
        [line.replace(b"\n", b"\r\n") for line in lines],
        [line.replace(b"\n", b"\r") for line in lines],
        [line.replace(b",", random.choice((b";", b"\t", b" , "))) for line in lines],
    )))  # fmt: skip


def _encoding(data: bytes, random: Random) -> bytes:
    text = data.decode("utf-8", "replace")
    name = random.choice(("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "utf-7", "cp037"))
    return text.encode(name, "replace")


def _whole(data: bytes, random: Random) -> bytes:
    return random.choice((
        b"", b"\n", bytes(64), data + data, random.randbytes(200), data[::-1], b"\xef\xbb\xbf" + data, b"[" * 100_000,
        b'{"a":' * 100_000, b"PK\x03\x04" + data, b"\x93NUMPY" + data, b"\x80\x04" + data,
    ))  # fmt: skip


_DAMAGES: tuple[Callable[[bytes, Random], bytes], ...] = (
    _flip, _flip, _overwrite, _cut, _splice, _splice, _word, _word, _word, _lines, _lines, _encoding, _whole,
)  # fmt: skip


def damaged_tree(value: Any, random: Random, odd: tuple[Any, ...] = VALUES) -> Any:
    """A parsed file with one to three nodes changed: replaced, removed, repeated, renamed or made up.

    Args:
        value: dicts, lists and leaves; copied where it is changed.
        random: decides.
        odd: what may stand in place of a node.
    """
    for _ in range(random.choice((1, 1, 2, 3))):
        value = _changed(value, random, odd)
    return value


def _changed(value: Any, random: Random, odd: tuple[Any, ...]) -> Any:
    if not isinstance(value, (dict, list)) or not value or random.random() < 0.1:
        return _leaf(value, random, odd)
    items = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    at = random.randrange(len(items))
    key, own = items[at]
    how = random.random()
    if how < 0.75:
        items[at] = (key, _changed(own, random, odd))
    elif how < 0.85:
        del items[at]
    elif how < 0.92:
        items.append((random.choice(("x", "", "type", 0, -1, "\x00", 2.5, None)), random.choice((own, *odd))))
    else:
        items[at] = (random.choice((f"{key} ", str(key).upper(), 0)), own)
    return dict(items) if isinstance(value, dict) else [v for _, v in items]


def _leaf(value: Any, random: Random, odd: tuple[Any, ...]) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and random.random() < 0.5:
        return random.choice((value + 1, -value, value * 1000, str(value), float(value), [value]))
    return random.choice(odd)
