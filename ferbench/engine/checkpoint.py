"""Checkpoints: plain types and tensors only, written to a temporary file, flushed, then renamed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ferbench.data.io import replacing
from ferbench.errors import UserError

FORMAT = 1


def save(content: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that ``path`` holds either the old or the new one, never a part.

    Raises:
        UserError: no space, or the folder cannot be written; the old file is untouched.
    """
    try:
        with replacing(path) as stream:
            torch.save({"format": FORMAT, **content}, stream)
            stream.flush()
            os.fsync(stream.fileno())
    except (OSError, RuntimeError) as error:  # torch reports a failed write as a RuntimeError
        raise UserError(
            f"the checkpoint could not be written: {error}",
            where=path,
            expected="a writable folder with free space",
            fix="free some space and go on with --resume; the checkpoint before this one is intact",
        ) from error


def load(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint (``weights_only``: it can run no code).

    Raises:
        UserError: missing, damaged, not of ferbench, or of a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            "there is no checkpoint", where=path, expected="a file that tools/train.py wrote (last.pth, ...)"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can make the unpickler fail in any way
        raise UserError(
            "the checkpoint is damaged or not a checkpoint of ferbench",
            where=f"{path} ({path.stat().st_size} bytes): {_first_line(error)}",
            fix="use another checkpoint of the run (best_ema.pth, best_raw.pth), or start anew with --overwrite",
        ) from error
    if not isinstance(content, dict) or not {"format", "meta", "iter", "model"} <= content.keys():
        raise UserError(
            "the file is no checkpoint of ferbench", where=path, expected="a file that tools/train.py wrote"
        )
    if content["format"] > FORMAT:
        raise UserError(
            f"the checkpoint has format {content['format']}",
            where=path,
            expected=f"at most {FORMAT}",
            fix="update ferbench",
        )
    return content


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


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
        if k in state and state[k].shape != own[k].shape
    ]
    if missing or unexpected or reshaped:
        found = [
            f"{len(keys)} {what} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
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
