"""Keeps a CUDA build of torchvision importable beside a CPU-only torch.

timm and mmpretrain import torchvision at top level. The registry's torchvision is a CUDA build; beside a
CPU-only torch its compiled library does not load, and the import dies with ``operator torchvision::nms does
not exist``, because torchvision then attaches a fake kernel to an operator that nobody declared. Declaring
the two operators (their schema, no kernel) is enough: nothing here calls them, and whoever does gets
torch's "not implemented" error.

Importing this module does it; import it before anything that may import torchvision.
"""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

import torch

SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def declare_missing_operators() -> torch.library.Library | None:
    """Declare torchvision's operators if its compiled library does not load.

    Returns:
        What keeps the declarations alive; None where torchvision is whole or absent.
    """
    spec = find_spec("torchvision")  # finds without importing
    folders = spec.submodule_search_locations if spec else None
    if not folders or _loads(Path(folders[0])):
        return None
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name, schema in SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)
    return library


def _loads(folder: Path) -> bool:
    """Whether torch can load torchvision's compiled operators (loading them twice does no harm)."""
    for suffix in EXTENSION_SUFFIXES:
        compiled = folder / f"_C{suffix}"
        if compiled.is_file():
            try:
                torch.ops.load_library(str(compiled))
            except OSError:  # a symbol or a CUDA library that this torch does not have
                return False
            return True
    return False


_KEPT_ALIVE = declare_missing_operators()
