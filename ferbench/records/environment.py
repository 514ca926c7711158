"""Where and with what a run was made: code, plug-ins, libraries, hardware."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from ferbench.core import plugins, process
from ferbench.core.plain import plain
from ferbench.distributed import world_size
from ferbench.records.schema import Code, Hardware
from ferbench.registry import ALL
from ferbench.version import __version__

LIBRARIES = (
    "torch", "torchvision", "timm", "onedl-mmengine", "onedl-mmcv", "onedl-mmpretrain", "numpy", "opencv-python",
)  # fmt: skip


def code(config: Mapping[str, Any] | None = None) -> Code:
    """Which code runs: of this package as at the first call; of the plug-ins whose parts a plain config names, as it is
    now."""
    used = set(_types(config or {}))
    parts = [p for r in ALL for name, p in r.module_dict.items() if name in used or plain(p) in used]
    return replace(_own_code(), plugins=plugins.identities(parts))


def _types(value: Any) -> Iterator[str]:
    """Every ``type`` in a plain config."""
    if isinstance(value, dict):
        if isinstance(value.get("type"), str):
            yield value["type"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _types(item)


@lru_cache(maxsize=1)
def _own_code() -> Code:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return Code(__version__)
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return Code(__version__, commit or None, bool(changes) if changes is not None else None)


def libraries() -> dict[str, str]:
    """Version of Python, of CUDA if there is a GPU, and of every library that computes."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if torch.cuda.is_available() and torch.version.cuda:
        found["cuda"] = torch.version.cuda
    return found


def hardware() -> Hardware:
    """What this process runs on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return Hardware(_cpu_model(), process.available_cores(), gpu, world_size())


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@lru_cache(maxsize=1)
def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:  # not Linux
        pass
    return platform.processor() or platform.machine()
