"""Checkpoints: plain types and tensors only, written to a temporary file, flushed, then renamed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ferbench.core.files import atomic_write
from ferbench.errors import DiskFull, UserError, disk_full, shortened
from ferbench.models.weight_files import read_fault, read_torch
from ferbench.models.weights import kind_of

FORMAT = 1


def save(content: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that ``path`` holds either the old or the new one, never a part.

    Raises:
        UserError: no space, or the folder cannot be written; the old file is untouched.
    """
    try:
        with atomic_write(path) as stream:
            torch.save({"format": FORMAT, **content}, stream)
            stream.flush()
            os.fsync(stream.fileno())
    except (OSError, RuntimeError) as error:  # torch reports a failed write as a RuntimeError
        raise _not_written(path, error) from error


def _not_written(path: Path, error: Exception) -> UserError:
    """What became of a checkpoint, and what is left."""
    if not path.parent.is_dir():
        return UserError(
            "the run's folder was removed while the run went on, and what was in it is lost",
            where=path.parent,
            expected="the folder to stay until the run has ended",
            fix="restore it and go on with --resume; without it --resume starts from the beginning",
        )
    kept = "the checkpoint before this one is intact" if path.is_file() else "there is none from before"
    kind = DiskFull if disk_full(error) is not None else UserError
    return kind(
        f"the checkpoint could not be written: {disk_full(error) or error}",
        where=path,
        expected="a writable folder with free space",
        fix=f"free some space and go on with --resume; {kept}",
    )


def load(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint (``weights_only``: it can run no code).

    Raises:
        UserError: missing, damaged, not of ferbench, or of another format.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            "there is no checkpoint", where=path, expected="a file that tools/train.py wrote (last.pth, ...)"
        )
    try:
        content = read_torch(path)
    except Exception as error:  # a damaged file can make the unpickler fail in any way
        raise _damaged(path, read_fault(error)) from error
    if not isinstance(content, dict) or not {"format", "meta", "iter", "model"} <= content.keys():
        raise UserError(
            "the file is no checkpoint of ferbench", where=path, expected="a file that tools/train.py wrote",
            fix="weights of other programs are named as model.backbone.weights",
        )  # fmt: skip
    if type(content["format"]) is not int or content["format"] != FORMAT:
        newer = type(content["format"]) is int and content["format"] > FORMAT
        raise UserError(
            f"the checkpoint has format {shortened(content['format'])}",
            where=path,
            expected=f"format {FORMAT}",
            fix="update ferbench"
            if newer
            else "use the version of ferbench that wrote it, or start anew with --overwrite",
        )
    if type(content["iter"]) is not int or content["iter"] < 0:
        raise _damaged(path, f"its iteration is {shortened(content['iter'])}")
    for key in ("meta", "model"):
        if not isinstance(content[key], dict) or not all(isinstance(name, str) for name in content[key]):
            raise _damaged(path, f"{key!r} is no table of names")
    wrong = [name for name, value in content["model"].items() if not isinstance(value, torch.Tensor)]
    if wrong:
        raise _damaged(path, f"{shortened(wrong[0])} of the model is no tensor")
    return content


def _damaged(path: Path, why: str) -> UserError:
    return UserError(
        "the checkpoint is damaged or not a checkpoint of ferbench",
        where=f"{path} ({path.stat().st_size} bytes): {why}",
        fix="use another checkpoint of the run (best_ema.pth, best_raw.pth), or start anew with --overwrite",
    )


def load_model_state(model: nn.Module, state: dict[str, torch.Tensor], path: str | Path) -> None:
    """Load weights strictly; nothing is changed when they do not fit.

    Raises:
        UserError: the weights are those of another model; names the first keys that differ.
    """
    own = model.state_dict()
    missing = [k for k in own if k not in state]
    unexpected = [k for k in state if k not in own]
    reshaped = [
        f"{k} {tuple(state[k].shape)} instead of {tuple(own[k].shape)}"
        for k in own
        if k in state and kind_of(state[k]) != kind_of(own[k])
    ]
    if missing or unexpected or reshaped:
        found = [
            f"{len(keys)} {what} ({', '.join(shortened(k, 200)[1:-1] for k in keys[:3])}{', ...' if len(keys) > 3 else ''})"
            for what, keys in (
                ("missing", missing),
                ("unexpected", unexpected),
                ("of another shape", reshaped),
            )
            if keys
        ]
        raise UserError(
            "the checkpoint is of another model than the config's: tensors " + "; ".join(found),
            where=path,
            expected="the config (backbone, head, algorithm, data) that the checkpoint was trained with",
            fix="compare with the config file saved beside the checkpoint",
        )
    model.load_state_dict(state)


def load_networks(model: nn.Module, state: dict[str, torch.Tensor], path: str | Path) -> None:
    """Load the classifier and its average, and leave the algorithm as it is.

    Args:
        model: an `SSLModel`.
        state: a checkpoint's ``model``.
        path: where it is from, for messages.

    Raises:
        UserError: see `load_model_state`.
    """
    for name in ("network", "ema_network"):
        prefix = f"{name}."
        part = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        load_model_state(model.get_submodule(name), part, path)
