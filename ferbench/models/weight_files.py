"""Reads files of weights: verified, and without running what is in them."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ferbench.errors import UserError, shortened
from ferbench.models.dlib_file import read_dlib

_SHOWN = 3
#: Where the usual trainers put the weights inside their checkpoints.
_CONTAINERS = ("state_dict", "model", "model_state_dict", "state_dict_ema")
#: What a checkpoint of ferbench has at least.
_OF_FERBENCH = {"format", "meta", "iter", "model"}


def verified(path: Path, sha256: str | None) -> str:
    """The sha256 of a file.

    Args:
        path: the file.
        sha256: what it must be, or its first digits (at least 8); None: anything.

    Raises:
        UserError: the file is missing, cannot be read, or is another one.
    """
    if not path.is_file():
        raise UserError(
            "the weight file does not exist",
            where=path,
            expected="a file of weights, or a name that `ferbench weights list` shows",
            fix="correct `weights` or `load_from`, or leave it out to start from random weights (nothing is downloaded)",
        )
    try:
        with open(path, "rb") as file:
            found = _digest(file)
    except OSError as error:
        raise UserError(f"the weight file cannot be read: {error.strerror}", where=path) from error
    if sha256 is not None and not isinstance(sha256, str):
        raise UserError(
            f"sha256 is {shortened(sha256)}, not text", where=path, fix=f"write it in quotes: '{found[:12]}'"
        )
    if sha256 is not None and (len(sha256) < 8 or not found.startswith(sha256.lower())):
        raise UserError(
            f"the weight file has sha256 {found}",
            where=path,
            expected=f"sha256 {sha256}" + (" (at least 8 digits)" if len(sha256) < 8 else ""),
            fix="get the file the config means, or state the hash of the one you mean",
        )
    return found


def _digest(file: Any) -> str:
    if hasattr(hashlib, "file_digest"):
        return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()  # Python 3.10
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


class Content(NamedTuple):
    """What a file of weights holds.

    Attributes:
        tensors: by name.
        meta: of a checkpoint of ferbench; None: it is none.
        folded: whether batch-norm was folded into the weights, so that its layers have no statistics yet.
    """

    tensors: dict[str, Tensor]
    meta: Mapping[str, Any] | None = None
    folded: bool = False


def read_weights(path: Path) -> Content:
    """The named tensors of a file.

    Raises:
        UserError: it is damaged, of another kind, or holds no tensors.
    """
    try:
        content = _READERS.get(path.suffix, read_torch)(path)
    except UserError:
        raise
    except Exception as error:  # a damaged file can make the reader fail in any way
        raise UserError(
            f"the weight file cannot be read: {read_fault(error)}",
            where=f"{path} ({path.stat().st_size} bytes)",
            expected="tensors only, as torch.save(network.state_dict(), path) writes them",
            fix="get the file again; if you trust it and it holds more, save its state dict alone",
        ) from error
    meta = None
    if isinstance(content, Mapping) and content.keys() >= _OF_FERBENCH and isinstance(content["meta"], dict):
        meta = content["meta"]
    for key in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    tensors = {}
    if isinstance(content, Mapping):
        tensors = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if not tensors:
        raise UserError(
            f"the weight file holds no named tensors, but {_held(content)}", where=path,
            expected="a state dict (name -> tensor), alone or as " + ", ".join(map(repr, _CONTAINERS)),
            fix="save the network's state dict alone: torch.save(network.state_dict(), path)",
        )  # fmt: skip
    return Content(tensors, meta, folded=path.suffix == ".dat")


def _held(content: Any) -> str:
    """What a file holds in place of a state dict."""
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    items = list(content.items())[:_SHOWN]
    shown = ", ".join(f"{shortened(k, 30)}: {type(v).__name__}" for k, v in items)
    return (
        f"{len(content)} entries ({shown}{', ...' if len(content) > _SHOWN else ''})" if items else "nothing"
    )


def read_torch(path: Path) -> Any:
    """What ``torch.save`` wrote, without running code; any exception for a damaged file."""
    return torch.load(path, map_location="cpu", weights_only=True)


def read_fault(error: Exception) -> str:
    """Why `read_torch` failed, in one short line, without torch's advice to read the file in a way that may run its code."""
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in str(error):
        return "it is damaged, or holds other objects than tensors and plain types, which could run code when read"
    first = next(iter(str(error).splitlines()), "") or type(error).__name__
    return first if len(first) <= 200 else shortened(first, 200)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise UserError(
            "reading a .safetensors file needs the package safetensors",
            where=path,
            fix="pip install safetensors",
        ) from error
    return load_file(path)


def _read_npz(path: Path) -> dict[str, Tensor]:
    """Arrays of numbers; ``a/b`` is called ``a.b``, as PyTorch would."""
    with np.load(path, allow_pickle=False) as arrays:
        return {name.replace("/", "."): torch.from_numpy(arrays[name]) for name in arrays.files}


def _read_onnx(path: Path) -> dict[str, Tensor]:
    """The initialisers of a graph."""
    try:
        import onnx
    except ImportError as error:
        raise UserError(
            "reading an .onnx file needs the package onnx", where=path, fix="pip install onnx"
        ) from error
    initialisers = onnx.load(str(path)).graph.initializer
    return {t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in initialisers}


_READERS: Mapping[str, Callable[[Path], Any]] = {
    ".safetensors": _read_safetensors, ".npz": _read_npz, ".onnx": _read_onnx, ".dat": read_dlib
}  # fmt: skip
