"""What makes runs comparable, and the guard that keeps others from being ranked together.

A protocol is a nested dict of plain types: everything in a run but the algorithm, the seed and the draw of the split
that the seed decides. Runs with the same `hash_of` it, in records of one schema, form one comparison. Among them, two
runs of the same seed must have the same split (same labeled, unlabeled and validation images): that is what pairs them.

`ferbench.engine.protocol` makes the protocol of a run; this module only compares, and imports nothing heavy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ferbench.core.hashing import canonical, sha256
from ferbench.errors import UserError

if TYPE_CHECKING:
    from ferbench.records.schema import Record

ABSENT = "(absent)"
SHOWN = 12  # differing keys that a message lists


class Difference(NamedTuple):
    """One key in which two protocols differ; `ABSENT` stands for a key that one of them lacks."""

    key: str
    first: Any
    second: Any

    def __str__(self) -> str:
        return f"{self.key}: {_short(self.first)} and {_short(self.second)}"


def hash_of(protocol: Mapping[str, Any]) -> str:
    """sha256 of the protocol as canonical JSON: keys sorted, no blanks, 1.0 written as 1, infinity as "inf".

    Raises:
        ValueError: it holds an object that is no plain type.
    """
    try:
        text = _canonical(protocol)
    except TypeError as error:
        raise ValueError(f"the protocol holds no plain types only: {error}") from error
    return sha256(text)


def difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    """Every key in which two protocols differ, dotted (``views.strong.2.num_ops``), in alphabetical order."""
    a, b = flat(first), flat(second)
    return [
        Difference(key, a.get(key, ABSENT), b.get(key, ABSENT))
        for key in sorted({*a, *b})
        if key not in a or key not in b or _canonical(a[key]) != _canonical(b[key])
    ]


def flat(protocol: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value of a nested protocol; empty lists and dicts stay values."""
    if isinstance(protocol, Mapping):
        items: Iterable[tuple[Any, Any]] = protocol.items()
    elif isinstance(protocol, (list, tuple)):
        items = enumerate(protocol)
    else:
        return {prefix: protocol}
    found: dict[str, Any] = {}
    for key, value in items:
        found |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return found or ({prefix: protocol} if prefix else {})


def group_by_protocol(records: Iterable[Record]) -> dict[tuple[int, str] | None, list[Record]]:
    """Schema and protocol hash -> records, in the order of their first; None: failed before a protocol was known."""
    groups: dict[tuple[int, str] | None, list[Record]] = {}
    for record in records:
        key = None if record.protocol_hash is None else (record.schema, record.protocol_hash)
        groups.setdefault(key, []).append(record)
    return groups


def require_one_protocol(records: Iterable[Record]) -> str:
    """Refuse records that must not be ranked together.

    Args:
        records: at least one with a protocol; those without (failed before it was known) are not looked at.

    Returns:
        The hash of their common protocol.

    Raises:
        UserError: more than one protocol (names the keys that differ), or runs of one seed with different splits.
    """
    groups = group_by_protocol(r for r in records if r.protocol_hash is not None)
    if not groups:
        raise UserError(
            "there is no run whose protocol is known", expected="runs that got as far as training"
        )
    first, *others = groups.values()
    if others:
        found = [line for group in others for line in _differing(first[0], group[0])]
        raise UserError(
            f"the runs have {len(groups)} protocols and must not be ranked together; they differ in\n"
            + "\n".join(f"    {line}" for line in found),
            where=" / ".join(_names(group) for group in groups.values()),
            expected="runs in which only the algorithm and the seed differ",
            fix="compare each protocol by itself, or run the others anew under the same protocol",
        )
    require_paired_splits(first)
    assert first[0].protocol_hash is not None
    return first[0].protocol_hash


def require_paired_splits(records: Sequence[Record]) -> None:
    """Refuse runs of one protocol and one seed that were given different images.

    Raises:
        UserError: names the seed and the runs.
    """
    by_seed: dict[int, dict[str | None, list[Record]]] = {}
    for record in records:
        by_seed.setdefault(record.seed, {}).setdefault(record.split_hash, []).append(record)
    for seed, splits in by_seed.items():
        if len(splits) > 1:
            raise UserError(
                f"the runs of seed {seed} have {len(splits)} different splits and cannot be paired",
                where="; ".join(f"{_names(group)}: split {str(name)[:12]}" for name, group in splits.items()),
                expected="the same labeled, unlabeled and validation images for every algorithm of a seed",
                fix="draw all with the same split.seed (a grid sets it to the run's seed), or use one split.file",
            )


def _differing(first: Record, second: Record) -> list[str]:
    found = difference(first.protocol, second.protocol)
    if first.schema != second.schema:
        found = [Difference("schema of the record", first.schema, second.schema), *found]
    lines = [str(d) for d in found[:SHOWN]]
    return lines + ([f"... and {len(found) - SHOWN} more keys"] if len(found) > SHOWN else [])


def _names(records: Sequence[Record]) -> str:
    labels = list(dict.fromkeys(r.label for r in records))
    return ", ".join(labels[:4]) + (f", ... ({len(labels)} algorithms)" if len(labels) > 4 else "")


def _short(value: Any) -> str:
    text = value if value is ABSENT else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _canonical(value: Any) -> str:
    return canonical(_whole(value))


def _whole(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _whole(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_whole(v) for v in value]
    if isinstance(value, float):
        return int(value) if value.is_integer() else value if math.isfinite(value) else str(value)
    return value
