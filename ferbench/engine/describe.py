"""What a run is: its protocol, data, code, libraries and hardware, as plain types without a path of the machine."""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import math
import os
import platform
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from ferbench.config import DATA_VARIABLE
from ferbench.core import plugins, process
from ferbench.data import content
from ferbench.data.datasets.base import FaceDataset, Subset
from ferbench.data.views import Views
from ferbench.distributed import world_size
from ferbench.engine.build import Data
from ferbench.evaluation.smoothing import has_frames
from ferbench.models.ssl import SSLModel
from ferbench.records import Code, DataPart, Hardware
from ferbench.registry import (
    ALL,
    DATASETS,
    HOOKS,
    LOOPS,
    METRICS,
    MODELS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
)
from ferbench.version import __version__

LIBRARIES = (
    "torch", "torchvision", "timm", "onedl-mmengine", "onedl-mmcv", "onedl-mmpretrain", "numpy", "opencv-python",
)  # fmt: skip
DATA_ROOT = "{{$FERBENCH_DATA:data}}"  # as configs write it
MAX_IDS = 1 << 16  # item ids that identify a dataset of millions

# The defaults of these packages' parts are not spelled out: another version with one option more is no other protocol.
_FOREIGN = ("torch", "mmengine", "mmpretrain", "timm")
_OF_A_RUN = ("work_dir", "launcher", "resume", "load_from", "experiment_name")
# Options that say where data lie, how they are called or how fast they are read, beside those whose type is a path.
_NO_PROTOCOL: Mapping[str, Collection[str]] = {
    "dataset": ("name", "classes", "refresh", "rebuild_index", "allow_outside"),
    "model": ("algorithm", "backbone", "head", "preprocess", "num_classes", "channels_last", "compile"),
    "backbone": ("weights", "sha256", "strip_prefix", "allow_missing", "ignore", "channel_order"),
    "train": ("max_unreadable",),
    "optimizer": ("fused", "foreach", "capturable", "differentiable"),
}


def protocol_of(cfg: Config, data: Data, model: SSLModel) -> dict[str, Any]:
    """Everything in a run but algorithm, seed and the draw of the split; see `ferbench.records.protocol`.

    Defaults are spelled out. ``unlabeled_dataloader`` counts for an algorithm that does not read it, too: the comparison
    is one.

    Args:
        cfg: the run's complete config.
        data: its datasets.
        model: its model, for the initial weights.
    """
    hooks = [*(cfg.get("custom_hooks") or ()), *filter(None, (cfg.get("default_hooks") or {}).values())]
    keeper = (cfg.get("default_hooks") or {}).get("checkpoint") or {}
    train = _spelled(LOOPS, cfg.train_cfg, _NO_PROTOCOL["train"])
    optimizer = dict(cfg.optim_wrapper)
    return {
        "classes": list(data.classes),
        "data": _data_identity(cfg, data),
        "split": _split_rule(data),
        "views": plain(Views(**cfg.views).as_dict()),
        "model": _model(cfg, model),
        "train": {
            **train, "batch_size": cfg.train_dataloader.batch_size,
            "sampler": cfg.train_dataloader.get("sampler", "shuffled"),
            "mu": (cfg.get("unlabeled_dataloader") or {}).get("mu"),
        },
        "optimizer": {
            **_spelled(OPTIMIZERS, optimizer.pop("optimizer"), _NO_PROTOCOL["optimizer"]),
            "wrapper": _spelled(OPTIM_WRAPPERS, optimizer),
        },
        "schedule": [_spelled(PARAM_SCHEDULERS, c) for c in listed(cfg.get("param_scheduler"))],
        "selection": {
            "on": "val", "metric": keeper.get("metric", "macro_f1"), "interval": train.get("val_interval"),
            "weights": "raw by raw, EMA by EMA",
        },
        "metrics": {p: [_spelled(METRICS, c) for c in listed(cfg[f"{p}_evaluator"])] for p in ("val", "test")},
        "hooks": [_spelled(HOOKS, c) for c in hooks if _changes_runs(c)],
        **_smoothing(cfg, data),
    }  # fmt: skip


def data_parts(data: Data, all_labels: bool) -> dict[str, DataPart]:
    """What was drawn for this run.

    Args:
        data: its datasets.
        all_labels: whether its labeled stream is the whole training part (the oracle).
    """
    return {
        name: DataPart(own.name, len(own), _counts(own, data.classes))
        for name, own in {**data.datasets, "labeled": data.labeled(all_labels)}.items()
    }


def label_of(registry: Any, algorithm: Mapping[str, Any]) -> str:
    """Type of an algorithm and the parameters that differ from its defaults: ``FixMatch threshold=0.8``."""
    kind = _resolve(registry, algorithm)
    defaults = _defaults(kind) if kind is not None else {}
    given = {k: v for k, v in algorithm.items() if k != "type" and (k not in defaults or defaults[k] != v)}
    return " ".join([_type_name(algorithm), *(f"{k}={_short(plain(v))}" for k, v in given.items())])


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
    root = _data_root()
    if isinstance(value, str) and (value == root or value.startswith(root + "/")):
        return DATA_ROOT + value[len(root) :]
    return value


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


def _data_identity(cfg: Config, data: Data) -> dict[str, Any]:
    unlabeled = cfg.get("unlabeled_dataloader") or {}
    own_parts = {key: bool(unlabeled.get(key, False)) for key in ("rest", "include_labeled")}
    identity: dict[str, Any] = {
        "train": _identities(cfg.train_dataloader.dataset, data.sources["train"]),
        "unlabeled": {**own_parts, "datasets": []},
        "val": "split",
        "test": _identities(cfg.test_dataloader.dataset, data.datasets["test"]),
    }
    if unlabeled.get("dataset"):
        own = data.datasets["unlabeled"]
        extra = getattr(own, "parts", (own,))[1 if any(own_parts.values()) else 0 :]
        configs = listed(unlabeled["dataset"])
        identity["unlabeled"]["datasets"] = [
            _identity(c, _source(d), labeled=False) for c, d in zip(configs, extra, strict=True)
        ]
    if (cfg.get("val_dataloader") or {}).get("dataset"):
        identity["val"] = _identities(cfg.val_dataloader.dataset, data.datasets["val"])
    return identity


def _identities(configs: Any, dataset: FaceDataset) -> list[dict[str, Any]]:
    configs, source = listed(configs), _source(dataset)
    parts = source.parts if len(configs) > 1 and hasattr(source, "parts") else (source,)
    return [_identity(c, d, labeled=True) for c, d in zip(configs, parts, strict=True)]


def _identity(config: Mapping[str, Any], dataset: FaceDataset, labeled: bool) -> dict[str, Any]:
    """Type and options of a dataset without places, and hashes of what it holds, in its order."""
    count = len(dataset)
    chosen = (
        np.arange(count) if count <= MAX_IDS else np.linspace(0, count - 1, MAX_IDS).round().astype(np.int64)
    )
    identity = {
        **_spelled(DATASETS, config, _NO_PROTOCOL["dataset"]),
        "images": count,
        "ids_sha256": _sha256("\n".join(dataset.item_ids(chosen)).encode("utf-8", "surrogatepass")),
        **content.identity(dataset),
    }
    if labeled:
        identity["class_counts"] = _counts(dataset, dataset.classes)
        identity["labels_sha256"] = _sha256(np.ascontiguousarray(dataset.labels, "<i2").tobytes())
        if dataset.targets is not None:  # rounded: the last bit of a quotient is the machine's
            identity["targets_sha256"] = _sha256(np.round(dataset.targets * 1e4).astype("<i4").tobytes())
    return identity


def _split_rule(data: Data) -> dict[str, Any] | None:
    if data.split is None:
        return None
    return {k: v for k, v in data.split.manifest["spec"].items() if k != "seed"}


def _smoothing(cfg: Config, data: Data) -> dict[str, Any]:
    """Over how many frames predictions are smoothed; no key where the test set is not of numbered frames."""
    if not has_frames(data.datasets["test"]):
        return {}
    return {"smoothing": {"window": _spelled(LOOPS, cfg.test_cfg).get("smoothing_window")}}


def _model(cfg: Config, model: SSLModel) -> dict[str, Any]:
    network = model.network
    loaded = network.initial_weights
    found = {
        **_spelled(MODELS, cfg.model, _NO_PROTOCOL["model"]),
        "backbone": _spelled(MODELS, cfg.model.backbone, _NO_PROTOCOL["backbone"]),
        "head": _spelled(
            MODELS, cfg.model.get("head") or {"type": "LinearHead"}, ("in_features", "num_classes")
        ),
        "preprocess": model.preprocess.as_dict(),
        "parameters": sum(p.numel() for part in (network.backbone, network.head) for p in part.parameters()),
        "initial_weights": "random" if loaded is None else {k: v for k, v in loaded.items() if k != "file"},
    }
    has_batch_norm = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in network.modules())
    if has_batch_norm and found.get("batch_norm") == "per_process":
        found["batch_norm_processes"] = world_size()  # each normalises its own share of a batch
    return found


def _spelled(registry: Any, config: Mapping[str, Any], without: Collection[str] = ()) -> dict[str, Any]:
    """A part's config with its defaults filled in, without places (parameters that are paths) and those named."""
    kind = _resolve(registry, config)
    defaults = {} if _package(registry, config) in _FOREIGN else _defaults(kind)
    places = _places(kind)
    options = {k: v for k, v in {**defaults, **config}.items() if k not in ("type", "_scope_")}
    kept = {k: plain(v) for k, v in options.items() if k not in places and k not in without}
    found = {k: v for k, v in kept.items() if not (isinstance(v, str) and _is_place(v))}
    return {"type": _type_name(config), **found} if "type" in config else found


def _resolve(registry: Any, config: Mapping[str, Any]) -> Any:
    kind = config.get("type")
    return registry.get(kind) if isinstance(kind, str) else kind


def _package(registry: Any, config: Mapping[str, Any]) -> str:
    return (getattr(_resolve(registry, config), "__module__", None) or "").partition(".")[0]


def _changes_runs(hook: Mapping[str, Any]) -> bool:
    """Whether a hook may change what comes out: those of ferbench and mmengine do not, but for one."""
    name = getattr(_resolve(HOOKS, hook), "__name__", "")
    return _package(HOOKS, hook) not in ("ferbench", "mmengine") or name == "EarlyStoppingHook"


def _type_name(config: Mapping[str, Any]) -> str:
    kind = config.get("type")
    return kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))


def parameters(kind: Any) -> Mapping[str, inspect.Parameter]:
    """What calling ``kind`` takes; nothing where that cannot be known."""
    try:
        return inspect.signature(kind).parameters if callable(kind) else {}
    except ValueError:  # written in C, without a signature
        return {}


def _defaults(kind: Any) -> dict[str, Any]:
    return {n: p.default for n, p in parameters(kind).items() if p.default is not p.empty}


def _places(kind: Any) -> set[str]:
    return {name for name, p in parameters(kind).items() if "Path" in str(p.annotation)}


def _data_root() -> str:
    return os.environ.get(DATA_VARIABLE) or "data"


def _is_place(value: str) -> bool:
    return os.path.isabs(value) or value == _data_root() or value.startswith(_data_root() + "/")


def _portable(value: Any) -> Any:
    value = with_data_variable(value)
    if isinstance(value, dict):
        return {k: _portable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_portable(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):  # which JSON cannot say
        return str(value)
    return Path(value).name if isinstance(value, str) and os.path.isabs(value) else value


def listed(value: Any) -> list[Any]:
    """A section that may be None, one config or several, as a list."""
    return [] if value is None else [value] if isinstance(value, Mapping) else list(value)


def _source(dataset: FaceDataset) -> FaceDataset:
    """What lies under the subsets that leave out items without a label, or hide labels of other classes."""
    while isinstance(dataset, Subset):
        dataset = dataset.parent
    return dataset


def _counts(dataset: FaceDataset, classes: Sequence[str]) -> dict[str, int]:
    known = dataset.labels[dataset.labels >= 0]
    if not len(known):
        return {}
    return dict(zip(classes, np.bincount(known, minlength=len(classes)).tolist(), strict=True))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


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
