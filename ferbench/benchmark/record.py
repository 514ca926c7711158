"""The record of a run: one JSON file that says what was run, on what, and what came out.

`Record` and the classes it is made of are the schema: each attribute is one key of the file, in this order. A file is
checked against them when it is read: a key that is missing, unknown or of another type, a number that is not finite, or
a record that contradicts itself (`ferbench.benchmark.consistency`), is refused by name. A key with a default may be
missing. ``schema`` counts the versions of this description. Older ones in `READABLE` are read, but never ranked with
newer ones; any other is refused.

1: the protocol knows the images by their names and labels. 2: also by what they hold (`ferbench.data.content`).

Numbers of scores are shares in [0, 1]. ``null`` inside a list is a number that does not exist (purity of a class of
which nothing was selected). No path of the machine is in a record: data lie below ``$FERBENCH_DATA``.
"""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ferbench.benchmark.consistency import (
    CHECKPOINTS,
    FAILED,
    FINISHED,
    RUNNING,
    STATUSES,
    WEIGHTS,
    check,
    dense,
)
from ferbench.errors import UserError, disk_full, nearest, shortened

SCHEMA = 2
READABLE = (1, SCHEMA)
NAME = "record.json"
LARGEST = 2**63 - 1

__all__ = [
    "CHECKPOINTS", "FAILED", "FINISHED", "NAME", "READABLE", "RUNNING", "SCHEMA", "STATUSES", "WEIGHTS", "Cell", "ClassCurves",
    "Code", "Cost", "Curves", "DataPart", "Hardware", "Record", "Result", "Skipped", "ToTarget", "ValidationCurve", "dense",
    "mark_failed", "read", "read_all", "reason_of", "recording_failure", "write",
]  # fmt: skip


@dataclass(frozen=True)
class Result:
    """Test scores of one checkpoint with one kind of weights.

    Attributes:
        checkpoint: ``last``, or ``best``: the one with the best validation macro-F1 of the same weights.
        weights: ``raw`` or ``ema``.
        iter: iterations done when the checkpoint was written.
        val_macro_f1: validation macro-F1 of that checkpoint and weights.
        macro_f1: mean of ``f1``.
        accuracy: share of test images that are right.
        balanced_accuracy: mean recall of the classes that occur.
        f1: F1 per class.
        confusion: [C][C] counts; rows are the truth.
        count: test images.
        smoothed: whether predictions were smoothed over the frames of a video before they were scored.
        groups: where the test images are frames of videos, and for the best EMA checkpoint only (smoothed and not):
            video -> the cells of its confusion matrix that are not 0, as [truth, prediction, count]; what intervals are
            bootstrapped over.
        metrics: further scores by name, those of custom metrics; null: not a number. Absent in older records.
    """

    checkpoint: str
    weights: str
    iter: int
    val_macro_f1: float | None
    macro_f1: float
    accuracy: float
    balanced_accuracy: float
    f1: list[float]
    confusion: list[list[int]]
    count: int
    smoothed: bool = False
    groups: dict[str, list[list[int]]] | None = None
    metrics: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class ValidationCurve:
    """Validation macro-F1 over the run, one entry per validation.

    Attributes:
        iter: iterations done.
        images: source images seen in training until then, labeled and unlabeled.
        hours: training time until then, without validation.
        macro_f1_raw: of the raw weights.
        macro_f1_ema: of the EMA weights.
    """

    iter: list[int]
    images: list[int]
    hours: list[float]
    macro_f1_raw: list[float | None]
    macro_f1_ema: list[float | None]


@dataclass(frozen=True)
class ClassCurves:
    """What became of the pseudo-labels of each class, at no more than about 200 times, evenly chosen.

    Attributes:
        iter: iterations done.
        threshold: [T][C]; None for a rule without thresholds.
        utilization: [T][C] mean weight of the items predicted as the class.
        purity: [T][C] share of the selected weight whose hidden label agrees.
        pseudo_label_share: [T][C] share of the class among all predictions.
        utilization_mean: [T] over all items.
        purity_mean: [T] over all items.
        purity_count: [T][C] selected weight whose hidden label is known, which `purity` is a share of; None in a record of
            before it was written down.
    """

    iter: list[int]
    threshold: list[list[float | None]] | None
    utilization: list[list[float | None]]
    purity: list[list[float | None]]
    pseudo_label_share: list[list[float | None]]
    utilization_mean: list[float | None]
    purity_mean: list[float | None]
    purity_count: list[list[float | None]] | None = None


@dataclass(frozen=True)
class Curves:
    """What happened over the run.

    Attributes:
        val: None before the first validation.
        classes: None for an algorithm without pseudo-labels.
    """

    val: ValidationCurve | None = None
    classes: ClassCurves | None = None


@dataclass(frozen=True)
class ToTarget:
    """What it took until the EMA weights first reached a validation macro-F1; None where they never did.

    Attributes:
        macro_f1: the target.
        iter: iterations.
        images: source images, labeled and unlabeled.
        seconds: training time, without validation.
    """

    macro_f1: float
    iter: int | None
    images: int | None
    seconds: float | None


@dataclass(frozen=True)
class Cost:
    """What the run took.

    Attributes:
        train_seconds: training time, summed over the starts of a resumed run; without validation, tests and start-up.
        images: source images seen in training, labeled and unlabeled.
        images_per_s: median over the intervals of the log.
        data_wait: share of ``train_seconds`` spent waiting for data.
        peak_rss_mb: largest resident memory of the first process (10^6 bytes), data-loading processes apart.
        peak_cuda_mb: largest allocated memory of its GPU; None without one.
        to_target: one entry per target.
        load: the machine's load average (of a minute) per core: the highest one at a validation. Above 1, processes waited
            for cores, this run's or others'. None: not known.
    """

    train_seconds: float
    images: int
    images_per_s: float | None
    data_wait: float | None
    peak_rss_mb: float
    peak_cuda_mb: float | None
    to_target: list[ToTarget]
    load: float | None = None


@dataclass(frozen=True)
class DataPart:
    """One stream or set of a run, as it was drawn (unlike the protocol, which is the same for all seeds).

    Attributes:
        name: of the dataset.
        images: how many.
        class_counts: class -> images with this label. For ``unlabeled`` the hidden labels where they are known: a
            diagnostic, which no algorithm sees; empty where none is.
    """

    name: str
    images: int
    class_counts: dict[str, int]


@dataclass(frozen=True)
class Code:
    """Which code ran.

    Attributes:
        version: of ferbench.
        commit: of its checkout; None for an installed package.
        dirty: whether tracked files differed from the commit.
        plugins: of whose parts the run was made -> version and content (`ferbench.plugins.identities`); a record without
            it is from before it was written down.
    """

    version: str
    commit: str | None = None
    dirty: bool | None = None
    plugins: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Hardware:
    """What it ran on.

    Attributes:
        cpu: model.
        cores: cores that a process might use.
        gpu: model, or None.
        processes: training processes (with a GPU each, if there is one).
    """

    cpu: str
    cores: int
    gpu: str | None
    processes: int


@dataclass(frozen=True)
class Cell:
    """Where a run stands in its grid.

    Attributes:
        grid: name of the grid.
        dataset: name of the base config.
        budget: dotted config key -> value, e.g. ``{'split.per_class': 25}``.
        command: that ran the grid.
        trial: number of the tuning trial that this run is, from 0; None for a run of the comparison.
        trials: tuning trials that each algorithm was given; None: not tuned.
    """

    grid: str
    dataset: str
    budget: dict[str, Any]
    command: str
    trial: int | None = None
    trials: int | None = None


@dataclass(frozen=True)
class Record:
    """One run.

    Attributes:
        schema: version of this description.
        status: ``finished``; ``failed``, see `failure`; ``running``: begun and neither, so it runs, or was interrupted or
            killed and can be resumed.
        failure: why it failed.
        label: name of the algorithm in tables; unique in a grid.
        algorithm: its config: type and parameters.
        seed: of the run.
        split_hash: equal exactly when the same images with the same labels are labeled, unlabeled and validation; None
            where no split is drawn.
        protocol: everything in the run but algorithm, seed and draw of the split (`ferbench.benchmark.protocol`); empty
            for a run that failed before it was known.
        protocol_hash: of `protocol`; None where that is empty.
        classes: names, in the order of every list of C.
        data: ``labeled``, ``unlabeled``, ``val``, ``test``.
        results: test scores; empty unless finished.
        curves: see `Curves`.
        cost: None before the first entry of the log.
        code: see `Code`.
        libraries: package -> version.
        hardware: see `Hardware`.
        command: that started the run.
        config: the complete config.
        cell: None for a run of its own.
        written: when this file was written (ISO 8601, UTC).
    """

    schema: int
    status: str
    failure: str | None
    label: str
    algorithm: dict[str, Any]
    seed: int
    split_hash: str | None
    protocol: dict[str, Any]
    protocol_hash: str | None
    classes: list[str]
    data: dict[str, DataPart]
    results: list[Result]
    curves: Curves
    cost: Cost | None
    code: Code
    libraries: dict[str, str]
    hardware: Hardware | None
    command: str
    config: dict[str, Any]
    cell: Cell | None
    written: str

    @property
    def is_trial(self) -> bool:
        """Whether this is a tuning trial, which is no result of the comparison."""
        return self.cell is not None and self.cell.trial is not None

    def result(self, checkpoint: str = "best", weights: str = "ema", smoothed: bool = False) -> Result:
        """The scores of one checkpoint.

        Raises:
            KeyError: the record has none such (the run is not finished, or nothing was smoothed).
        """
        for row in self.results:
            if (row.checkpoint, row.weights, row.smoothed) == (checkpoint, weights, smoothed):
                return row
        raise KeyError(
            f"{self.label}, seed {self.seed}: no {checkpoint} {weights} scores, smoothed={smoothed}"
        )


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
    from ferbench.data.io import replacing

    path = Path(path)
    entries = (
        f'"{k}":{json.dumps(v, allow_nan=False, separators=(",", ":"))}' for k, v in asdict(record).items()
    )
    text = "{\n" + ",\n".join(entries) + "\n}\n"  # a line per key: readable, and kind to version control
    try:
        with replacing(path) as stream:
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
