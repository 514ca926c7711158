"""Finds state that no checkpoint holds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

INTERNAL = frozenset(vars(nn.Module()))


def unsaved(first: nn.Module, second: nn.Module) -> list[str]:
    """Names of attributes that are neither parameters nor saved buffers and differ between two modules of one class.

    After the second one loaded the first one's `state_dict` and both made the same step, these hold state. What a step
    only keeps for itself is computed anew, and therefore equal.

    Args:
        first, second: two modules built alike; those within them are compared, too.
    """
    theirs = dict(_attributes(second))
    return [
        name for name, value in _attributes(first) if name not in theirs or not alike(value, theirs[name])
    ]


def _attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for path, part in module.named_modules():
        unsaved_buffers = {k: part._buffers[k] for k in part._non_persistent_buffers_set}
        for name, value in {**vars(part), **unsaved_buffers}.items():
            if name not in INTERNAL:
                yield f"{path}.{name}".removeprefix("."), value


def alike(first: Any, second: Any) -> bool:
    """Whether two values are equal, whatever they are; tensors to the bit, NaN as itself, unknown objects by their parts."""
    if first is second:
        return True
    if type(first) is not type(second):
        return False
    if isinstance(first, Tensor):
        comparable = first.shape == second.shape and first.dtype == second.dtype
        return comparable and torch.allclose(first, second, rtol=0, atol=0, equal_nan=True)
    if isinstance(first, torch.Generator):
        return torch.equal(first.get_state(), second.get_state())
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second, equal_nan=first.dtype.kind == "f")
    if isinstance(first, Mapping):
        return first.keys() == second.keys() and all(alike(v, second[k]) for k, v in first.items())
    if isinstance(first, (list, tuple, deque)):
        return len(first) == len(second) and all(map(alike, first, second))
    if callable(first):
        return True  # code; and modules, which are compared by themselves
    if hasattr(first, "__dict__"):
        return alike(vars(first), vars(second))
    if type(first).__eq__ is object.__eq__:
        return True  # nothing is known of it
    return bool(first == second or first != first)  # NaN
