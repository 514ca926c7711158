"""What a config says, as plain types and with its defaults spelled out: for protocols, records and hashes."""

from __future__ import annotations

import inspect
import os
from collections.abc import Collection, Mapping
from enum import Enum
from typing import Any

import numpy as np

from ferbench.config import DATA_VARIABLE

# The defaults of these packages' parts are not spelled out: another version with one option more is no other protocol.
_FOREIGN = ("torch", "mmengine", "mmpretrain", "timm")


def plain(value: Any) -> Any:
    """Lists, dicts and scalars in place of configs, tuples and NumPy numbers; a class by its import path."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [plain(v) for v in value]
        return sorted(items, key=str) if isinstance(value, (set, frozenset)) else items
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Enum):  # some are numbers, too
        return plain(value.value)
    if isinstance(value, type) or inspect.isfunction(value):
        return f"{value.__module__}.{value.__qualname__}"
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def listed(value: Any) -> list[Any]:
    """A section that may be None, one config or several, as a list."""
    return [] if value is None else [value] if isinstance(value, Mapping) else list(value)


def spelled_out(registry: Any, config: Mapping[str, Any], without: Collection[str] = ()) -> dict[str, Any]:
    """A part's config with its defaults filled in, without places (parameters that are paths) and the options named.

    Args:
        registry: of the part.
        config: type and parameters.
        without: options that change no result.
    """
    kind = resolved(registry, config)
    defaults = {} if package_of(registry, config) in _FOREIGN else defaults_of(kind)
    places = _places(kind)
    options = {k: v for k, v in {**defaults, **config}.items() if k not in ("type", "_scope_")}
    kept = {k: plain(v) for k, v in options.items() if k not in places and k not in without}
    found = {k: v for k, v in kept.items() if not (isinstance(v, str) and _is_place(v))}
    return {"type": type_name(config), **found} if "type" in config else found


def resolved(registry: Any, config: Mapping[str, Any]) -> Any:
    """The class or function that a config names; None if it names none."""
    kind = config.get("type")
    return registry.get(kind) if isinstance(kind, str) else kind


def package_of(registry: Any, config: Mapping[str, Any]) -> str:
    """The package that a part comes from."""
    return (getattr(resolved(registry, config), "__module__", None) or "").partition(".")[0]


def type_name(config: Mapping[str, Any]) -> str:
    """Name of a part's type."""
    kind = config.get("type")
    return kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))


def parameters(kind: Any) -> Mapping[str, inspect.Parameter]:
    """What calling ``kind`` takes; nothing where that cannot be known."""
    try:
        return inspect.signature(kind).parameters if callable(kind) else {}
    except ValueError:  # written in C, without a signature
        return {}


def defaults_of(kind: Any) -> dict[str, Any]:
    """Parameter -> default."""
    return {n: p.default for n, p in parameters(kind).items() if p.default is not p.empty}


def _places(kind: Any) -> set[str]:
    return {name for name, p in parameters(kind).items() if "Path" in str(p.annotation)}


def data_root() -> str:
    """The folder of the data sets, as paths in a config begin with it."""
    return os.environ.get(DATA_VARIABLE) or "data"


def _is_place(value: str) -> bool:
    return os.path.isabs(value) or value == data_root() or value.startswith(data_root() + "/")
