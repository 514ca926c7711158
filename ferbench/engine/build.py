"""From a config to datasets, split and streams."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from mmengine.config import Config

from ferbench.core.parts import build
from ferbench.core.plain import listed
from ferbench.core.text import require_names
from ferbench.data.content import described
from ferbench.data.datasets.base import UNLABELED, Concat, FaceDataset, Subset
from ferbench.data.datasets.opening import opened
from ferbench.data.splits import Split
from ferbench.errors import UserError
from ferbench.registry import DATASETS, SPLITS


@dataclass
class Data:
    """Every dataset of a run.

    Attributes:
        classes: the target classes, in the order of the network's outputs.
        datasets: ``labeled``, ``unlabeled`` (if any), ``val``, ``test`` -> dataset.
        split: of the training dataset, or None where all of it is labeled.
        oracle: labeled and unlabeled part of the training dataset together, all labels known.
    """

    classes: tuple[str, ...]
    datasets: dict[str, FaceDataset]
    split: Split | None
    oracle: FaceDataset
    sources: dict[str, FaceDataset] = field(default_factory=dict)

    def labeled(self, all_labels: bool) -> FaceDataset:
        """The labeled stream's dataset: the budget, or all labels for the oracle."""
        return self.oracle if all_labels else self.datasets["labeled"]

    def as_dict(self, cfg: Config) -> dict[str, Any]:
        """What the protocol of a run says of its data: the data sets, and the rule (without its seed) that splits them.

        Args:
            cfg: the config that they were built from.
        """
        unlabeled = cfg.get("unlabeled_dataloader") or {}
        own_parts = {key: bool(unlabeled.get(key, False)) for key in ("rest", "include_labeled")}
        added: list[dict[str, Any]] = []
        if unlabeled.get("dataset"):
            own = self.datasets["unlabeled"]
            parts = getattr(own, "parts", (own,))[1 if any(own_parts.values()) else 0 :]
            configs = listed(unlabeled["dataset"])
            added = [described(c, _source(d), labeled=False) for c, d in zip(configs, parts, strict=True)]
        val = (cfg.get("val_dataloader") or {}).get("dataset")
        spec = self.split.manifest["spec"] if self.split else None
        return {
            "data": {
                "train": _described(cfg.train_dataloader.dataset, self.sources["train"]),
                "unlabeled": {**own_parts, "datasets": added},
                "val": _described(val, self.datasets["val"]) if val else "split",
                "test": _described(cfg.test_dataloader.dataset, self.datasets["test"]),
            },
            "split": spec and {k: v for k, v in spec.items() if k != "seed"},
        }


def build_data(cfg: Config) -> Data:
    """Build the datasets of a config and draw, or verify, its split.

    ``train_dataloader.dataset`` (one config or a list) is the training dataset; ``split`` cuts it into labeled, unlabeled
    and val. The unlabeled stream is ``unlabeled_dataloader``: the split's rest (``rest=True``) and/or other datasets
    (``dataset``), and the labeled images once more with ``include_labeled=True``. ``val_dataloader.dataset`` replaces the
    split's val.

    Raises:
        UserError: something is missing or does not fit.
    """
    classes = _classes(cfg)
    data, parts = _training(cfg, classes)
    unlabeled = _unlabeled(cfg.get("unlabeled_dataloader"), parts, classes)
    if unlabeled is not None:
        data.datasets["unlabeled"] = unlabeled
    data.datasets["val"] = _evaluation(cfg, "val_dataloader", parts, classes)
    data.datasets["test"] = _evaluation(cfg, "test_dataloader", parts, classes)
    return data


def dataset_builders(cfg: Config) -> dict[str, Callable[[], FaceDataset]]:
    """What builds each dataset of `build_data` alone, for a checker that goes on after one that cannot be built.

    Raises:
        UserError: the config has no classes.
    """
    classes, loader = _classes(cfg), cfg.get("unlabeled_dataloader")

    @cache
    def parts() -> dict[str, FaceDataset]:
        return _training(cfg, classes)[1]

    def unlabeled() -> FaceDataset:
        found = _unlabeled(loader, parts() if _of_training(loader) else {}, classes)
        assert found is not None
        return found

    def val() -> FaceDataset:
        own = (cfg.get("val_dataloader") or {}).get("dataset")
        return _evaluation(cfg, "val_dataloader", {} if own else parts(), classes)

    return {
        "labeled": lambda: parts()["labeled"],
        **({"unlabeled": unlabeled} if loader else {}),
        "val": val,
        "test": lambda: _evaluation(cfg, "test_dataloader", {}, classes),
    }


def _classes(cfg: Config) -> tuple[str, ...]:
    classes = cfg.get("classes")
    if not classes:
        raise UserError(
            "the config has no classes", where="classes", expected="the target classes, e.g. ('Neutral', ...)"
        )
    return require_names(classes, "classes")


def _training(cfg: Config, classes: tuple[str, ...]) -> tuple[Data, dict[str, FaceDataset]]:
    """The labeled dataset, and the parts of the split, ``labeled`` at least."""
    train = _labeled(cfg.train_dataloader.get("dataset"), classes, "train_dataloader.dataset")
    parts: dict[str, FaceDataset] = {}
    split = None
    oracle = train
    if cfg.get("split"):
        rule = build(SPLITS, cfg.split, "split")
        split = rule(train)
        parts.update(split.subsets(train))
        rest = split.parts["unlabeled"]
        labeled_rest = rest[train.labels[rest] >= 0]
        oracle = Subset(train, np.union1d(split.parts["labeled"], labeled_rest), f"{train.name}/all labels")
    else:
        parts["labeled"] = oracle = _with_label(train)
    return Data(classes, {"labeled": parts["labeled"]}, split, oracle, {"train": train}), parts


def _unlabeled(
    loader: Mapping[str, Any] | None, parts: Mapping[str, FaceDataset], classes: tuple[str, ...]
) -> FaceDataset | None:
    if not loader:
        return None
    names = _of_training(loader)
    if "unlabeled" in names and "unlabeled" not in parts:
        raise UserError(
            "the unlabeled stream is to be the rest of the training dataset, but there is no split",
            where="unlabeled_dataloader.rest",
            fix="add a split, or name other images in unlabeled_dataloader.dataset",
        )
    sources: list[FaceDataset] = [_together([parts[name] for name in names])] if names else []
    extra = loader.get("dataset") or []
    for i, config in enumerate([extra] if isinstance(extra, Mapping) else extra):
        where = f"unlabeled_dataloader.dataset[{i}]"
        sources.append(_comparable(opened(build(DATASETS, config, where), where), classes))
    if not sources:
        raise UserError(
            "the unlabeled stream has no source",
            where="unlabeled_dataloader",
            expected="rest=True, dataset=... and/or include_labeled=True",
        )
    return sources[0] if len(sources) == 1 else Concat(sources)


def _of_training(loader: Mapping[str, Any]) -> list[str]:
    """Parts of the training dataset that the unlabeled stream reads."""
    for key in ("rest", "include_labeled"):
        if not isinstance(loader.get(key, False), bool):
            raise UserError(f"unlabeled_dataloader.{key} is {loader[key]!r}", expected="True or False")
    names = {"include_labeled": "labeled", "rest": "unlabeled"}
    return [name for key, name in names.items() if loader.get(key, False)]


def _together(parts: Sequence[FaceDataset]) -> FaceDataset:
    """Parts of one split, as one; an item of both is in it once."""
    if len(parts) == 1:
        return parts[0]
    first, second = (part for part in parts if isinstance(part, Subset))
    items = np.union1d(first.indices, second.indices)
    return Subset(first.parent, items, f"{first.parent.name}/labeled+unlabeled")


def _comparable(dataset: FaceDataset, classes: tuple[str, ...]) -> FaceDataset:
    """Labels of other classes than the target's say nothing of a pseudo-label's purity: forget them."""
    if dataset.classes in ((), classes):
        return dataset
    forgetful = Subset(dataset, np.arange(len(dataset)))
    forgetful.labels = np.full(len(dataset), UNLABELED, np.int16)
    forgetful.classes, forgetful.targets = (), None
    return forgetful


def _labeled(config: Any, classes: tuple[str, ...], where: str) -> FaceDataset:
    if not config:
        raise UserError("there is no dataset", where=where, expected="dict(type=..., ...)")
    configs = [config] if isinstance(config, Mapping) else list(config)
    built = [
        _with_classes(c, classes, where if len(configs) == 1 else f"{where}[{i}]")
        for i, c in enumerate(configs)
    ]
    return built[0] if len(built) == 1 else Concat(built)


def _with_classes(config: Mapping[str, Any], classes: tuple[str, ...], where: str) -> FaceDataset:
    """Give the target classes to every dataset that maps names (all of ours do)."""
    kind = DATASETS.get(config["type"]) if isinstance(config.get("type"), str) else config.get("type")
    accepts = kind is not None and "classes" in inspect.signature(kind).parameters
    given = {"classes": classes} if accepts and "classes" not in config else {}
    return opened(build(DATASETS, config, where, **given), where, classes)


def _evaluation(
    cfg: Config, key: str, parts: Mapping[str, FaceDataset], classes: tuple[str, ...]
) -> FaceDataset:
    config = (cfg.get(key) or {}).get("dataset")
    if config:
        dataset = _labeled(config, classes, f"{key}.dataset")
    elif key == "val_dataloader" and "val" in parts:
        dataset = parts["val"]
    else:
        raise UserError(
            f"there is no {key.split('_')[0]} dataset", where=key,
            expected="dataset=dict(...)" + (", or a split with val > 0" if key == "val_dataloader" else ""),
        )  # fmt: skip
    scored = _with_label(dataset)
    if len(scored) == 0:
        raise UserError(
            "there is no evaluation image, or none of them has a label",
            where=f"{key}: {dataset.name}",
            fix="if it is the val part of a split: the data may be too few for it, choose a larger split.val",
        )
    return scored


def _with_label(dataset: FaceDataset) -> FaceDataset:
    """Without the items (unannotated frames) that can neither be learnt from nor scored."""
    keep = np.flatnonzero(dataset.labels >= 0)
    return dataset if len(keep) == len(dataset) else Subset(dataset, keep)


def _described(configs: Any, dataset: FaceDataset) -> list[dict[str, Any]]:
    configs, source = listed(configs), _source(dataset)
    parts = source.parts if len(configs) > 1 and isinstance(source, Concat) else (source,)
    return [described(c, d, labeled=True) for c, d in zip(configs, parts, strict=True)]


def _source(dataset: FaceDataset) -> FaceDataset:
    """What lies under the subsets that leave out items without a label, or hide labels of other classes."""
    while isinstance(dataset, Subset):
        dataset = dataset.parent
    return dataset
