"""``metrics.jsonl``: what happened in a run, one JSON object a line; the source of every picture and report."""

from __future__ import annotations

import json
import logging
import math
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ferbench.core.files import atomic_write
from ferbench.distributed import rank
from ferbench.errors import disk_full
from ferbench.viz.runlog import read_metrics

NAME = "metrics.jsonl"


class LogWriter:
    """Appends records; after a resume, drops those of iterations that will be done again.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: str | Path):
        self.path = Path(folder) / NAME

    def append(self, record: dict[str, Any]) -> None:
        """Write one record (rank 0 only); NaN becomes null, so that every JSON reader can read it."""
        if rank() == 0:
            with open(self.path, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(_finite(record), allow_nan=False) + "\n")

    def rewind(self, iteration: int) -> None:
        """Keep the records of iterations up to ``iteration``, except a final test, which will be done again."""
        if rank() != 0 or not self.path.is_file():
            return
        kept = [r for r in read_metrics(self.path.parent) if r["iter"] <= iteration and r["kind"] != "test"]
        with atomic_write(self.path) as stream:
            stream.write("".join(json.dumps(r) + "\n" for r in kept).encode())


def stop_on_full_disk(logger: logging.Logger) -> None:
    """Let the handlers of the text log raise the error of a full disk, which Python's would print and forget.

    A thread that meets one prints nothing: TensorBoard's hands it on to the next call of its writer.
    """

    def handle(record: logging.LogRecord, own: Callable[[logging.LogRecord], None]) -> None:
        if disk_full(error := sys.exc_info()[1]):
            assert error is not None
            raise error
        own(record)

    threading.excepthook = _of_thread
    for handler in logger.handlers:
        handler.handleError = partial(handle, own=handler.handleError)  # type: ignore[method-assign]


def _of_thread(told: threading.ExceptHookArgs) -> None:
    if disk_full(told.exc_value) is None:
        threading.__excepthook__(told)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
