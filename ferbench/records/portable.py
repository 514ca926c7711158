"""A run's config as its record keeps it: plain types, and no path of the machine."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ferbench.core.plain import data_root, defaults_of, plain, resolved, type_name

DATA_ROOT = "{{$FERBENCH_DATA:data}}"  # as configs write it
_OF_A_RUN = ("work_dir", "launcher", "resume", "load_from", "experiment_name")


def portable_config(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """A config as plain types, without what belongs to the machine: data lie below ``{{$FERBENCH_DATA:data}}``, other
    absolute paths are cut to their last part."""
    return {
        str(k): _portable(plain(v)) for k, v in cfg.items() if k not in _OF_A_RUN and not k.startswith("_")
    }


def with_data_variable(value: Any) -> Any:
    """A plain value in which the data folder is called ``{{$FERBENCH_DATA:data}}``, as configs write it."""
    if isinstance(value, dict):
        return {k: with_data_variable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [with_data_variable(v) for v in value]
    root = data_root()
    if isinstance(value, str) and (value == root or value.startswith(root + "/")):
        return DATA_ROOT + value[len(root) :]
    return value


def label_of(registry: Any, algorithm: Mapping[str, Any]) -> str:
    """Type of an algorithm and the parameters that differ from its defaults: ``FixMatch threshold=0.8``."""
    kind = resolved(registry, algorithm)
    defaults = defaults_of(kind) if kind is not None else {}
    given = {k: v for k, v in algorithm.items() if k != "type" and (k not in defaults or defaults[k] != v)}
    return " ".join([type_name(algorithm), *(f"{k}={_brief(plain(v))}" for k, v in given.items())])


def _portable(value: Any) -> Any:
    value = with_data_variable(value)
    if isinstance(value, dict):
        return {k: _portable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_portable(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):  # which JSON cannot say
        return str(value)
    return Path(value).name if isinstance(value, str) and os.path.isabs(value) else value


def _brief(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
