"""Finds out on a CPU where a GPU would make the host wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

#: Calls that read values; on a CPU some of them run no operation, so that `_Operations` alone would miss them.
READ = {
    "tolist": ".tolist()",
    "numpy": ".numpy()",
    "__array__": "NumPy",
    "__repr__": "printing it",
    "cpu": ".cpu()",
}
#: Operations whose result, or its shape, the host needs.
WAIT = {
    "_local_scalar_dense": ".item(), if tensor:, float(), int(), x[index] by a single index",
    "equal": "torch.equal",
    "allclose": "torch.allclose",
    "nonzero": "torch.nonzero, torch.where(condition), a boolean index",
    "masked_select": "torch.masked_select",
    "unique_consecutive": "torch.unique_consecutive",
    "unique_dim": "torch.unique",
    "_unique2": "torch.unique",
    "bincount": "torch.bincount",
}
MASKS = (torch.bool, torch.uint8)


class Waits:
    """Watches steps, and refuses what makes the host wait for the device in two steps running.

    Once in a while a part may read back, for something that the device cannot do (`RefinedTarget`).

    Args:
        name: of what is checked, for the message.
    """

    def __init__(self, name: str):
        self.name = name
        self.before = self.now = False

    @contextmanager
    def step(self) -> Iterator[None]:
        """Watch a step.

        Raises:
            AssertionError: in the context, where it waits; says for what, and what to use instead.
        """
        self.before, self.now = self.now, False
        with _Operations(self) as operations, _Calls(operations):
            yield

    def refuse(self, why: str) -> None:
        """The step does what a step should not."""
        self.now = True
        if self.before:
            raise AssertionError(f"{self.name} {why}")


class _Operations(TorchDispatchMode):
    """Finds operations for which a GPU would make the host wait."""

    def __init__(self, waits: Waits):
        super().__init__()
        self.waits = waits
        self.ignored = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        operation = func.overloadpacket.__name__
        if not self.ignored:
            if operation in WAIT:
                self.read(WAIT[operation])
            if operation == "repeat_interleave" and kwargs.get("output_size") is None:
                self.read("repeat_interleave without output_size")
            indices = args[1] if operation in ("index", "index_put", "index_put_") else ()
            if any(isinstance(i, Tensor) and i.dtype in MASKS for i in indices):
                self.waits.refuse(
                    "indexes by a mask, whose shape depends on data; use torch.where or weights"
                )
        return func(*args, **kwargs)

    def read(self, how: str) -> None:
        self.waits.refuse(
            f"waits for the device ({how}) at every step; use masks, torch.where and index_add instead"
        )


class _Calls(TorchFunctionMode):
    """Finds calls that read values, and lets pass what waits on a CPU only."""

    def __init__(self, operations: _Operations):
        super().__init__()
        self.operations = operations

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        call = getattr(func, "__name__", "")
        if call in READ:
            self.operations.read(READ[call])
        if call == "to" and "cpu" in (v for v in (*args, *kwargs.values()) if isinstance(v, str)):
            self.operations.read(".to('cpu')")
        if call != "one_hot" or kwargs.get("num_classes", (*args, -1)[1]) == -1:
            return func(*args, **kwargs)
        # With num_classes, it looks for classes outside them on a CPU; a GPU leaves that to its kernel.
        self.operations.ignored = True
        try:
            return func(*args, **kwargs)
        finally:
            self.operations.ignored = False
