"""What a line of ``metrics.jsonl`` must hold (docs/outputs.md), so that those who read one need not doubt it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

LARGEST = 1e50  # of a number, so that sums and quotients stay finite
SLACK = 1e-3  # by which rounding may bring a weight out of [0, 1]

_Check = Callable[[Any], bool]


def entry_of(line: bytes, classes: int | None = None) -> dict[str, Any] | None:
    """The entry that a line of ``metrics.jsonl`` holds, or None: it is no JSON, or lacks what a line of its kind has.

    Further keys and lines of other kinds than ``train``, ``val`` and ``test`` are left as they are.

    Args:
        line: as in the file.
        classes: number of classes; None: lists with one entry per class need only be of one length.

    >>> entry_of(b'{"kind": "train", "iter": 10, "losses": {"loss": 1.5}, "images_per_s": 90.0, "data_wait": 0.1}')["iter"]
    10
    >>> entry_of(b'{"kind": "train", "iter": "10"}') is None
    True
    """
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):  # also bytes that are not UTF-8, and numbers of thousands of digits
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("kind"), str):
        return None
    keys = _KINDS.get(entry["kind"], {})
    if any(name in entry for name in _PSEUDO_LABELS):
        keys = {**keys, **_PSEUDO_LABELS}
    if not _is_count(entry.get("iter")) or not _holds(entry, keys):
        return None
    lengths = set(_lengths(entry)) if entry["kind"] in _KINDS else set()
    return None if len(lengths) > 1 or (lengths and classes not in (None, *lengths)) else entry


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**40


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -LARGEST < value < LARGEST


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 1e-9


def _is_share(value: Any) -> bool:
    return _is_number(value) and -SLACK <= value <= 1 + SLACK


def _is_level(name: str) -> bool:
    try:
        return 0 <= float(name) <= 1
    except ValueError:
        return False


def _or_null(check: _Check) -> _Check:
    return lambda value: value is None or check(value)


def _list_of(check: _Check) -> _Check:
    return lambda value: isinstance(value, list) and bool(value) and all(map(check, value))


def _dict_of(check: _Check, key: _Check = lambda name: True) -> _Check:
    return lambda value: isinstance(value, dict) and all(key(k) and check(v) for k, v in value.items())


def _holds(value: Any, keys: Mapping[str, _Check]) -> bool:
    """Whether it is a dict of which each of the keys has a right value; one that is missing counts as null."""
    return isinstance(value, dict) and all(check(value.get(name)) for name, check in keys.items())


_PSEUDO_LABELS: Mapping[str, _Check] = {
    "threshold": _or_null(_list_of(_or_null(_is_number))),
    **dict.fromkeys(("utilization", "purity", "pseudo_label_share"), _list_of(_or_null(_is_share))),
    "purity_count": _or_null(_list_of(_is_number)),
    **dict.fromkeys(("utilization_mean", "purity_mean"), _or_null(_is_share)),
    "confidence_quantiles": _or_null(_dict_of(_or_null(_is_share), _is_level)),
}
_SCORES: Mapping[str, _Check] = {
    **dict.fromkeys(("macro_f1", "accuracy", "balanced_accuracy"), _is_share),
    "f1": _list_of(_is_share),
    "confusion": _list_of(_list_of(_is_count)),
    "count": _is_count,
}
_ROW: Mapping[str, _Check] = {
    **_SCORES,
    "checkpoint": lambda value: value in ("last", "best"),
    "weights": lambda value: value in ("raw", "ema"),
    "iter": _is_count,
    "smoothed": lambda value: isinstance(value, bool),
    "groups": _or_null(_dict_of(_list_of(_list_of(_is_count)))),
}
_KINDS: Mapping[str, Mapping[str, _Check]] = {
    "train": {
        "iter": _is_positive,
        "losses": _dict_of(_or_null(_is_number)),
        "images_per_s": _is_positive,
        "data_wait": _is_number,
    },
    "val": dict.fromkeys(("raw", "ema"), lambda value: _holds(value, _SCORES)),
    "test": {"rows": _list_of(lambda row: _holds(row, _ROW))},
}


def _lengths(entry: Mapping[str, Any]) -> Iterator[int]:
    """The lengths of what has one item per class."""
    for name in _PSEUDO_LABELS:
        if isinstance(entry.get(name), list):
            yield len(entry[name])
    for scores in (entry["raw"], entry["ema"]) if entry["kind"] == "val" else entry.get("rows") or ():
        yield from map(len, (scores["f1"], scores["confusion"], *scores["confusion"]))
