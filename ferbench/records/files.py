"""Reads and writes records, each of them whole or not at all."""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import MISSING, asdict, fields, is_dataclass, replace
from functools import cache, partial
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
        record: Record = _reader(Record)(content)
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


class _Misfit(ValueError):
    """What does not fit the schema: the key, which is put together on the way out, and the words before and after it."""

    def __init__(self, after: str, key: str = "", before: str = ""):
        super().__init__()
        self.before, self.key, self.after = before, key, after

    def below(self, key: str) -> _Misfit:
        """The same, seen from one level above."""
        self.key = key + self.key
        return self

    def __str__(self) -> str:
        return f"{self.before}{self.key.removeprefix('.')}{self.after}"


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """The function that turns a value of a JSON file into an object of an annotated type; it raises `_Misfit`."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if is_dataclass(kind):
        required = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
        readers = {name: _reader(hint) for name, hint in typing.get_type_hints(kind).items()}
        return partial(_object, kind, readers, required)
    if origin in (types.UnionType, typing.Union):
        own = _reader(next(a for a in inner if a is not type(None)))
        return lambda value: None if value is None else own(value)
    if origin is list:
        return partial(_list, _reader(inner[0]))
    if origin is dict:
        own = _reader(inner[1])
        return partial(_dict, lambda key: own)
    return (lambda value: value) if kind is Any else partial(_scalar, kind)


def _scalar(kind: Any, value: Any) -> Any:
    if kind is float and type(value) is int and abs(value) <= LARGEST:
        value = float(value)
    if type(value) is not kind:
        raise _Misfit(f" is {shortened(value)} instead of a {kind.__name__}")
    if (kind is float and not math.isfinite(value)) or (kind is int and abs(value) > LARGEST):
        raise _Misfit(f" is {shortened(value)}, which is no number to work with")
    return value


def _list(reader: Callable[[Any], Any], value: Any) -> list[Any]:
    found: list[Any] = []
    if not isinstance(value, list):
        raise _Misfit(f" is {shortened(value)} instead of a list")
    try:
        for item in value:
            found.append(reader(item))
    except _Misfit as error:
        raise error.below(f"[{len(found)}]") from None
    return found


def _dict(reader: Callable[[str], Callable[[Any], Any]], value: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if not isinstance(value, dict):
        raise _Misfit(f" is {shortened(value)} instead of a dict")
    for key, item in value.items():
        try:
            found[key] = reader(key)(item)
        except _Misfit as error:
            raise error.below(f".{key}") from None
    return found


def _object(kind: Any, readers: Mapping[str, Any], required: Iterable[str], value: Any) -> Any:
    if not isinstance(value, dict):
        raise _Misfit(f" is {shortened(value)} instead of an object")
    for key in value:
        if key not in readers:
            raise _Misfit(f" ({nearest(key, readers)})", f".{key}", "unknown key ")
    for key in readers:
        if key in required and key not in value:
            raise _Misfit(" is missing", f".{key}")
    return kind(**_dict(readers.__getitem__, value))
