"""Checks of the arguments of parts: a number out of range or an unknown name is refused before the first step."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from ferbench.errors import UserError, nearest

_ABOVE_0, _BELOW_1 = math.nextafter(0, 1), math.nextafter(1, 0)


@dataclass(frozen=True)
class Numbers:
    """A range of numbers that an argument accepts; never NaN, infinite or a bool.

    Attributes:
        words: the range in words, for messages.
        low, high: the smallest and the largest.
        whole: only integers.
    """

    words: str
    low: float = -math.inf
    high: float = math.inf
    whole: bool = False

    def __contains__(self, value: Any) -> bool:
        if not isinstance(value, Integral if self.whole else Real) or isinstance(value, bool):
            return False
        return math.isfinite(value) and self.low <= float(value) <= self.high


FINITE = Numbers("a number")
SHARE = Numbers("a number from 0 to 1", 0, 1)
INNER_SHARE = Numbers("a number above 0 and below 1", _ABOVE_0, _BELOW_1)
SHARE_BELOW_1 = Numbers("a number, at least 0 and below 1", 0, _BELOW_1)
POSITIVE_SHARE = Numbers("a number above 0, at most 1", _ABOVE_0, 1)
POSITIVE = Numbers("a number above 0", _ABOVE_0)
NONNEGATIVE = Numbers("a number, at least 0", 0)
FACTOR = Numbers("a number, at least 1", 1)
COUNT = Numbers("a whole number, at least 1", 1, whole=True)
COUNT_OR_0 = Numbers("a whole number, at least 0", 0, whole=True)


def check_numbers(part: object, allowed: Numbers, *, or_none: bool = False, **values: Any) -> None:
    """Check that the values of a part's arguments, by name, lie in the range ``allowed``.

    Raises:
        UserError: one is not; names the part and the argument, and the number that was perhaps meant.
    """
    for name, value in values.items():
        if value not in allowed and not (or_none and value is None):
            raise UserError(
                f"{type(part).__name__} got {name}={value!r}",
                expected=allowed.words + (", or None" if or_none else ""),
                fix=_perhaps_meant(value, allowed),
            )


def check_choice(part: object, allowed: Collection[str], **values: Any) -> None:
    """Check that the values of a part's arguments, by name, are among the names ``allowed``.

    Raises:
        UserError: one is not; names the part, the argument and the nearest name.
    """
    for name, value in values.items():
        if value not in allowed:
            raise UserError(
                f"{type(part).__name__} got {name}={value!r}",
                expected=" or ".join(allowed),
                fix=nearest(str(value), allowed),
            )


def _perhaps_meant(value: Any, allowed: Numbers) -> str | None:
    """The number in a string, a float that should be an integer, or a percentage as a share."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    for guess in (number, number / 100) if allowed.high <= 1 else (number,):
        exact = int(guess) if guess.is_integer() else guess
        if exact in allowed:
            return f"did you mean {exact}?"
    return None
