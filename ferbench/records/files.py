"""Reads and writes records, each of them whole or not at all."""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import MISSING, asdict, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ferbench.errors import UserError, disk_full, nearest, shortened
from ferbench.records.consistency import check
from ferbench.records.schema import FAILED, FINISHED, READABLE, Record

NAME = "record.json"
LARGEST = 2**63 - 1


class Skipped(NamedTuple):
    """A file that is no usable record, and why."""

    path: Path
    reason: str


def read(path: str | Path) -> Record:
    """A record, checked.

    Raises:
        UserError: it cannot be read, is damaged, was edited, or is of another schema.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"the record cannot be read: {error.strerror}", where=path) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"it is not JSON ({error})") from error
    if not isinstance(content, dict) or type(content.get("schema")) is not int:
        raise _damaged(path, "it has no schema")
    if content["schema"] not in READABLE:
        raise UserError(
            f"the record has schema {shortened(content['schema'])}",
            where=path,
            expected=f"schema {' or '.join(map(str, READABLE))}",
            fix="read it with the version of ferbench that wrote it, or run it anew",
        )
    try:
        record: Record = _typed(Record, content, "")
        check(record)
    except (ValueError, OverflowError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    return record


def read_all(places: Iterable[str | Path]) -> tuple[list[Record], list[Skipped]]:
    """Every record in files and folders (at any depth), in the order of their paths; damaged ones apart, with reasons.

    Any JSON file that is named is taken for a record; in a folder, those called ``record.json``, and, where there are none,
    all of its ``*.json`` files that have a ``schema`` (records that were collected into one folder).

    Raises:
        UserError: a place that does not exist.
    """
    records: list[Record] = []
    skipped: list[Skipped] = []
    for file in dict.fromkeys(f for place in places for f in _files(Path(place))):
        try:
            records.append(read(file))
        except UserError as error:
            skipped.append(Skipped(file, error.what))
    return records, skipped


def write(record: Record, path: str | Path) -> None:
    """Write a record, so that the file holds either the old or the new one, never a part.

    Raises:
        UserError: the file cannot be written.
    """
    from ferbench.core.files import atomic_write

    path = Path(path)
    entries = (
        f'"{k}":{json.dumps(v, allow_nan=False, separators=(",", ":"))}' for k, v in asdict(record).items()
    )
    text = "{\n" + ",\n".join(entries) + "\n}\n"  # a line per key: readable, and kind to version control
    try:
        with atomic_write(path) as stream:
            stream.write(text.encode())
    except OSError as error:
        raise UserError(f"the record cannot be written: {error.strerror}", where=path) from error


@contextmanager
def recording_failure(folder: Path) -> Iterator[None]:
    """Mark the record of a run as failed, with the reason, when an error ends the run.

    An interruption and a full disk leave it as it is: the run can go on.

    Args:
        folder: of the run.
    """
    try:
        yield
    except Exception as error:
        if not disk_full(error):
            with suppress(UserError):  # the error that ended the run is the one to be heard of
                mark_failed(folder / NAME, reason_of(error))
        raise


def mark_failed(path: Path, reason: str) -> None:
    """Give the record of a run that has ended the status ``failed``, unless there is none or it is finished.

    Raises:
        UserError: the record is damaged, or cannot be written.
    """
    if path.is_file() and (found := read(path)).status != FINISHED:
        write(replace(found, status=FAILED, failure=reason), path)


def reason_of(error: BaseException) -> str:
    """An error in one line."""
    text = error.what if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise UserError("there are no records", where=place, expected=f"a {NAME}, or a folder with some")
    return sorted(place.rglob(NAME)) or sorted(place.glob("*.json"))


def _damaged(path: Path, why: str) -> UserError:
    return UserError(f"the record is damaged: {why}", where=path, fix="run it anew, or restore the file")


def _typed(kind: Any, value: Any, at: str) -> Any:
    """``value`` of a JSON file as an object of the annotated type ``kind``; ValueError names the key that does not fit."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if is_dataclass(kind):
        return _dataclass(kind, value, at)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _typed(next(a for a in arguments if a is not type(None)), value, at)
    if origin is list and isinstance(value, list):
        return [_typed(arguments[0], item, f"{at}[{i}]") for i, item in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {k: _typed(arguments[1], item, f"{at}.{k}") for k, item in value.items()}
    if kind is Any:
        return value
    if kind is float and type(value) is int and abs(value) <= LARGEST:
        return float(value)
    if origin is None and type(value) is kind:
        if (kind is float and not math.isfinite(value)) or (kind is int and abs(value) > LARGEST):
            raise ValueError(f"{at} is {shortened(value)}, which is no number to work with")
        return value
    wanted = origin.__name__ if origin else kind.__name__
    raise ValueError(f"{at} is {shortened(value)} instead of a {wanted}")


_hints = cache(typing.get_type_hints)


def _dataclass(kind: Any, value: Any, at: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{at} is {shortened(value)} instead of an object")
    hints = _hints(kind)
    prefix = f"{at}." if at else ""
    for key in value:
        if key not in hints:
            raise ValueError(f"unknown key {prefix}{key} ({nearest(key, hints)})")
    for own in fields(kind):
        if own.name not in value and own.default is MISSING and own.default_factory is MISSING:
            raise ValueError(f"{prefix}{own.name} is missing")
    return kind(**{key: _typed(hints[key], item, f"{prefix}{key}") for key, item in value.items()})
