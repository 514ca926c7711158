"""Records: what a run was, and what came out; written by the engine, compared by the benchmark."""

from ferbench.records.consistency import dense
from ferbench.records.files import (
    NAME,
    Skipped,
    mark_failed,
    read,
    read_all,
    reason_of,
    recording_failure,
    write,
)
from ferbench.records.schema import (
    CHECKPOINTS,
    FAILED,
    FINISHED,
    READABLE,
    RUNNING,
    SCHEMA,
    STATUSES,
    WEIGHTS,
    Cell,
    ClassCurves,
    Code,
    Cost,
    Curves,
    DataPart,
    Hardware,
    Record,
    Result,
    ToTarget,
    ValidationCurve,
)

__all__ = [
    "CHECKPOINTS", "FAILED", "FINISHED", "NAME", "READABLE", "RUNNING", "SCHEMA", "STATUSES", "WEIGHTS", "Cell", "ClassCurves",
    "Code", "Cost", "Curves", "DataPart", "Hardware", "Record", "Result", "Skipped", "ToTarget", "ValidationCurve", "dense",
    "mark_failed", "read", "read_all", "reason_of", "recording_failure", "write",
]  # fmt: skip
