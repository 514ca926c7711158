"""A message can be read and printed, whatever the file held that it quotes."""

from __future__ import annotations

import pickle

import pytest

from ferbench.errors import UserError, shortened


@pytest.mark.parametrize("part", ["what", "where", "expected", "fix"])
def test_any_quoted_text_becomes_presentable(part):
    """Control characters are escaped, endless lines lose their middle; line breaks that the message has stay."""
    arguments = {"what": "wrong", part: "first line\nx" + "\0\x1b[31m\x85\r" + "y" * 100_000 + "end"}
    error = UserError(arguments.pop("what"), **arguments)
    text = str(error)
    assert "first line\nx\\x00\\x1b[31m\\x85\\ryyy" in text
    assert "end (100,022 characters)" in text
    assert len(text) < 1200
    assert str(pickle.loads(pickle.dumps(error))) == text


def test_usual_messages_stay_as_they_are():
    error = UserError("label 'é' is\n  odd\t1", where="a.csv:3", expected="x" * 1000, fix="do")
    assert (
        str(error)
        == "label 'é' is\n  odd\t1\n  where:    a.csv:3\n  expected: " + "x" * 1000 + "\n  to do:    do"
    )


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(("value", "says"), [
    ("abc", "'abc'"), (3, "3"), ("x" * 58, repr("x" * 58)), ("x" * 61, repr("x" * 60) + "... (61 characters)"),
    (b"\0" * 99, repr(bytes(60)) + "... (99 bytes)"), (list(range(1000)), str(list(range(1000)))[:57] + "..."),
    (10**6000, "a very long int"), (nested(100_000), "a very long list"),
], ids=range(8))  # fmt: skip
def test_a_value_is_shortened(value, says):
    assert shortened(value) == says
