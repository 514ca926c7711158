"""Initial weights from a local file: verified, loaded whole or not at all, and stated.

Nothing here downloads. A file is named by its path and, so that a run can be repeated, by its sha256.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ferbench.errors import UserError

_log = logging.getLogger(__name__)
_SHOWN = 3
#: Where the usual trainers put the weights inside their checkpoints.
_CONTAINERS = ("state_dict", "model", "model_state_dict", "state_dict_ema")


@dataclass(frozen=True)
class LoadedWeights:
    """What came from where.

    Attributes:
        path: the file.
        sha256: its hash.
        loaded: how many tensors came from it.
        kept: names of the network's tensors that the file did not give; they keep their initial values.
        left_out: names in the file that the network has no use for.
    """

    path: Path
    sha256: str
    loaded: int
    kept: tuple[str, ...]
    left_out: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For the run record: the file by name and hash, not by its place on this machine."""
        return {"file": self.path.name, "sha256": self.sha256, "loaded": self.loaded, "kept": list(self.kept)}

    def __str__(self) -> str:
        text = f"loaded {self.loaded} tensors from {self.path} (sha256 {self.sha256[:12]}...)"
        if self.kept:
            text += f"; not in the file in this shape, so as initialised: {_few(self.kept)}"
        if self.left_out:
            text += f"; in the file, not used: {_few(self.left_out)}"
        return text


def load_weights(
    module: nn.Module,
    path: str | Path,
    sha256: str | None = None,
    strip_prefix: str = "",
    allow_missing: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> LoadedWeights:
    """Load a state dict into a module. On an error the module is as it was.

    Args:
        module: the network.
        path: a ``.safetensors`` file or one written by ``torch.save``: a state dict, or a checkpoint that
            holds one as ``state_dict`` or ``model``. Read with ``weights_only``: it can run no code.
        sha256: hash the file must have, in full or its first digits (at least 8); None: any.
        strip_prefix: use only the tensors whose name begins so, without it (``'backbone.'``, ``'module.'``).
        allow_missing: beginnings of names of the network's tensors that may stay as initialised when the file
            lacks them or has them in another shape.
        ignore: beginnings of names (after the prefix) in the file to leave out, e.g. the classifier of
            another task.

    Returns:
        What was loaded, with the file's sha256 for the run record; also logged.

    Raises:
        UserError: no such file, another hash, not a weight file, or weights of another network (names the
            first tensors that are missing, unexpected or of another shape).
    """
    path = Path(path).expanduser()
    found_hash = _verify(path, sha256)
    content = _read(path)
    state = _select(content, strip_prefix, path)
    ignored = {name for name in state if name.startswith(tuple(ignore))}
    own = module.state_dict()
    fits, reshaped = _split_by_shape({n: t for n, t in state.items() if n not in ignored and n in own}, own)
    unexpected = [n for n in state if n not in own and n not in ignored]
    absent = [n for n in own if n not in fits]
    # PyTorch before 0.4.1 had no such counter; it only matters for batch-norm without momentum
    kept = [n for n in absent if n.startswith(tuple(allow_missing)) or n.endswith("num_batches_tracked")]
    missing = [n for n in absent if n not in kept]
    if missing or unexpected:
        raise _misfit(module, path, state, own, missing, unexpected, reshaped)
    module.load_state_dict(fits, strict=False)
    left_out = [n for n in content if not n.startswith(strip_prefix) or n[len(strip_prefix) :] in ignored]
    loaded = LoadedWeights(path, found_hash, len(fits), tuple(kept), tuple(left_out))
    _log.info("%s: %s", type(module).__name__, loaded)
    return loaded


def _verify(path: Path, sha256: str | None) -> str:
    if not path.is_file():
        raise UserError(
            "the weight file does not exist",
            where=path,
            expected="a .pth, .pt or .safetensors file",
            fix="correct `weights`, or leave it out to start from random weights (nothing is downloaded)",
        )
    with open(path, "rb") as file:
        found = (
            hashlib.file_digest(file, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else _digest(file)
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
    """What `hashlib.file_digest` does, for Python 3.10."""
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _read(path: Path) -> dict[str, Tensor]:
    try:
        content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise UserError(
            f"the weight file cannot be read: {_first_line(error)}",
            where=f"{path} ({path.stat().st_size} bytes)",
            expected="tensors only, as torch.save(network.state_dict(), path) writes them",
            fix="get the file again; if you trust it and it holds more, save its state dict alone",
        ) from error
    for key in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    tensors = (
        {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    )
    if not tensors:
        raise UserError("the weight file holds no named tensors", where=path, expected="a state dict")
    return tensors


def _read_torch(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise UserError(
            "reading a .safetensors file needs the package safetensors",
            where=path,
            fix="pip install safetensors",
        ) from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _select(state: dict[str, Tensor], prefix: str, path: Path) -> dict[str, Tensor]:
    chosen = {name[len(prefix) :]: tensor for name, tensor in state.items() if name.startswith(prefix)}
    if not chosen:
        raise UserError(
            f"no tensor in the weight file has a name that begins with {prefix!r}",
            where=path,
            expected=f"names like {_few(state)}",
            fix="correct `strip_prefix` (strip_prefix='' takes the names as they are)",
        )
    return chosen


def _split_by_shape(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors that fit, and those of another shape with both shapes in words."""
    fits = {n: t for n, t in state.items() if t.shape == own[n].shape}
    reshaped = {
        n: f"{n} {list(t.shape)} instead of {list(own[n].shape)}" for n, t in state.items() if n not in fits
    }
    return fits, reshaped


def _misfit(
    module: nn.Module,
    path: Path,
    state: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    missing: Sequence[str],
    unexpected: Sequence[str],
    reshaped: Mapping[str, str],
) -> UserError:
    absent = [n for n in missing if n not in reshaped]
    wrong = [reshaped[n] for n in missing if n in reshaped]
    lines = [f"the weights are not those of this {type(module).__name__}"]
    for what, names in (
        ("of another shape", wrong),
        ("missing in the file", absent),
        ("unknown to the network", unexpected),
    ):
        if names:
            lines.append(f"  {len(names)} {what}: {_few(names)}")
    prefix = _common_prefix(state, own)
    if prefix:
        fix = f"the names in the file begin with {prefix!r}: set strip_prefix={prefix!r}"
    elif len(missing) + len(unexpected) <= _SHOWN:
        fix = (
            "name what may stay as initialised in `allow_missing` and what the file has too much in `ignore`"
        )
    else:
        fix = "use the file made for this architecture, or the architecture it was made for"
    return UserError("\n".join(lines), where=path, expected=f"{len(own)} tensors like {_few(own)}", fix=fix)


def _common_prefix(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """The prefix that turns every name of the network into one of the file, or ''."""
    first = next(iter(own), "")
    for name in state:
        prefix = name[: -len(first)] if first and name.endswith(first) else ""
        if prefix and all(prefix + n in state or n.endswith("num_batches_tracked") for n in own):
            return prefix
    return ""


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:_SHOWN]) + (f", ... ({len(names)} in all)" if len(names) > _SHOWN else "")
