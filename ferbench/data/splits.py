"""Which images of a training dataset are labeled, unlabeled and validation: drawn once, then verified."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ferbench.arguments import COUNT_OR_0, POSITIVE, SHARE_BELOW_1, Numbers, check_numbers
from ferbench.data import manifest as manifests
from ferbench.data import split_draws
from ferbench.data.datasets.base import FaceDataset, Subset
from ferbench.data.manifest import Listing, resolve
from ferbench.errors import UserError, described, shortened
from ferbench.registry import SPLITS

PARTS = frozenset({"labeled", "unlabeled", "val"})
PERCENT = Numbers("a number above 0, at most 100", POSITIVE.low, 100)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """A dataset's parts.

    Attributes:
        parts: ``labeled``, ``unlabeled`` and, where asked for, ``val`` -> int64 indices, ascending.
        manifest: what a manifest file holds (see `ferbench.data.manifest`).
    """

    parts: dict[str, np.ndarray]
    manifest: dict[str, Any]

    @property
    def hash(self) -> str:
        """Equal exactly when the parts hold the same images with the same labels; part of the protocol."""
        return self.manifest["split_hash"]

    def subsets(self, dataset: FaceDataset) -> dict[str, Subset]:
        """Each part as a dataset. `Subset.labels` of the unlabeled part are for diagnostics (purity) only."""
        return {name: Subset(dataset, idx, f"{dataset.name}/{name}") for name, idx in self.parts.items()}


class SplitRule(ABC):
    """Base of the registry SPLITS.

    Args:
        file: the manifest. Read and verified if it exists, else drawn and written. None: drawn each time, not
            written.
    """

    def __init__(self, file: str | Path | None = None):
        self.file = None if file is None else Path(file).expanduser()

    @property
    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """All that the draw depends on besides the dataset, in JSON types. Another spec is refused."""

    @abstractmethod
    def draw(self, listing: Listing) -> dict[str, np.ndarray]:
        """The parts (int64 indices, ascending): a pure function of `spec`, ids, labels and groups."""

    def _checked(self, parts: Any, items: int) -> dict[str, np.ndarray]:
        """What `draw` returned, if it is parts of ``items`` items."""

        def refuse(what: str) -> UserError:
            return UserError(
                f"{type(self).__name__}.draw() {what}", where="split",
                expected="labeled, unlabeled and, where there is one, val: each the different numbers of its items, ascending; "
                "no validation item in another part",
            )  # fmt: skip

        if not isinstance(parts, Mapping) or not {"labeled", "unlabeled"} <= parts.keys() <= PARTS:
            what = list(parts) if isinstance(parts, Mapping) else shortened(parts)
            raise refuse(f"returned {what} instead of the parts by name")
        found = {name: np.asarray(values) for name, values in parts.items()}
        for name, values in found.items():
            if values.ndim != 1 or (values.dtype.kind not in "iu" and len(values)):
                raise refuse(f"returned {name} as {described(values)}")
            if len(values) and (values.min() < 0 or values.max() >= items or (np.diff(values) <= 0).any()):
                raise refuse(
                    f"returned for {name} numbers that are not ascending from 0 to {items - 1}, each once"
                )
        others = np.concatenate([found["labeled"], found["unlabeled"]])
        if "val" in found and (shared := len(np.intersect1d(found["val"], others))):
            raise refuse(f"put {shared} items of val into another part, too")
        return {name: values.astype(np.int64, copy=False) for name, values in found.items()}

    def __call__(self, dataset: FaceDataset) -> Split:
        """The split of ``dataset``.

        Raises:
            UserError: it cannot be drawn, or the manifest does not match (see `ferbench.data.manifest`).
        """
        listing = Listing(dataset)
        if self.file is not None and self.file.exists():
            manifest = manifests.read(self.file)
            return Split(manifests.expand(listing, manifest, self.file, self.spec), manifest)
        parts = self._checked(self.draw(listing), len(dataset))
        manifest = manifests.build(listing, parts, self.spec)
        if self.file is not None:
            manifests.write(manifest, self.file)
        return Split(parts, manifest)


@SPLITS.register_module()
class BudgetSplit(SplitRule):
    """A budget of labels, drawn at random and stratified by class; the rest loses its labels.

    What is drawn are *units*: items, or whole groups. Copies of one image (`FaceDataset.groups_are_copies`)
    are always one unit. ``val`` is always drawn in whole groups where the dataset has groups: no video is on
    two sides of validation.

    - Units that are items or copies: in random order, each is taken that fits the budget still open; the
      result is exact. (Where copies leave a gap so, they are taken before single images.) For one seed the
      classes' first N stay the first N: budget 10 is part of budget 25, and neither changes ``val``.
    - Units that are videos: of a few random videos, the one that brings the class counts nearest to
      the budget (least sum over classes of squared relative deviation) is taken, until none improves it; then
      videos are exchanged as long as that improves it. Counts are near, not exact.

    The draw uses raw PCG64 numbers seeded by ``seed`` and the part's name, assigned to units in the order of
    their item ids: it depends neither on the order on disk, nor on other users of random numbers, nor on the
    NumPy version.

    Args:
        per_class: labeled images of each class, one number or ``{class: number}`` for all classes.
        total: labeled images in all, classes as frequent as in the data, at least one of each.
        percent: the same, as percent of the labeled images that are not in ``val``. None of the three: all of
            them.
        val: validation images: a number of images (int) or a share of the labeled images (float below 1),
            classes as frequent as in the data. 0: no such part.
        seed: of the draw.
        by: ``item`` or ``group``: whether ``labeled`` may take part of a group (video) or takes whole ones.
        labeled_in_unlabeled: of earlier versions; only False. ``unlabeled_dataloader.include_labeled`` is the option.
        file: see `SplitRule`.

    Items without a label are ``unlabeled``, except those that share a unit with ``val`` or ``labeled`` (other
    frames of a validation video): these are in no part.
    """

    def __init__(
        self,
        per_class: int | Mapping[str, int] | None = None,
        total: int | None = None,
        percent: float | None = None,
        val: int | float = 0,
        seed: int = 0,
        by: str = "item",
        labeled_in_unlabeled: bool = False,
        file: str | Path | None = None,
    ):
        super().__init__(file)
        if sum(budget is not None for budget in (per_class, total, percent)) > 1:
            raise UserError("a split has more than one budget", expected="one of per_class, total, percent")
        if by not in ("item", "group"):
            raise UserError(f"a split cannot be drawn by {by!r}", expected="by='item' or by='group'")
        if val not in (SHARE_BELOW_1 if isinstance(val, float) else COUNT_OR_0):
            raise UserError(
                f"val={val!r}", expected="a number of images (int) or a share of them (float below 1)"
            )
        if labeled_in_unlabeled is not False:
            raise UserError(
                f"labeled_in_unlabeled is {labeled_in_unlabeled!r}",
                expected="the labeled images in the unlabeled stream as an option of the stream, not of the split",
                fix="write in the config: unlabeled_dataloader = dict(include_labeled=True)",
            )
        check_numbers(self, PERCENT, or_none=True, percent=percent)
        check_numbers(self, COUNT_OR_0, or_none=True, total=total)
        if isinstance(per_class, Mapping):
            budgets: dict[str, Any] = {f"per_class[{name!r}]": count for name, count in per_class.items()}
            check_numbers(self, COUNT_OR_0, **budgets)
        else:
            check_numbers(self, COUNT_OR_0, or_none=True, per_class=per_class)
        self.per_class = dict(per_class) if isinstance(per_class, Mapping) else per_class
        self.total, self.percent, self.val = total, percent, val
        self.seed, self.by = seed, by

    @property
    def spec(self) -> dict[str, Any]:
        """See `SplitRule.spec`."""
        return {
            "type": type(self).__name__,
            "per_class": self.per_class,
            "total": self.total,
            "percent": self.percent,
            "val": self.val,
            "seed": self.seed,
            "by": self.by,
            "labeled_in_unlabeled": False,  # as in the manifests and the protocols of earlier versions
        }

    def draw(self, listing: Listing) -> dict[str, np.ndarray]:
        """See `SplitRule.draw`.

        Raises:
            UserError: a class has fewer images than asked for, or whole videos leave it without any labeled one;
                ``by='group'`` for a dataset without groups.
        """
        dataset, order = listing.dataset, listing.order
        if not dataset.classes:
            raise UserError(
                f"dataset {dataset.name!r} has no classes: there are no labels to draw a budget from"
            )
        if self.by == "group" and dataset.groups is None:
            raise UserError(
                f"dataset {dataset.name!r} has no groups (videos)", where="split.by", expected="by='item'"
            )
        labels = dataset.labels[order]
        by_item = np.arange(len(order))
        by_group = (
            by_item if dataset.groups is None else split_draws.number_by_appearance(dataset.groups[order])
        )
        videos = dataset.groups is not None and not dataset.groups_are_copies
        free = np.ones(len(order), bool)

        parts: dict[str, np.ndarray] = {}
        if self.val:
            chosen, free = self._take("val", listing, labels, by_group, free, exact=not videos)
            parts["val"] = np.sort(order[chosen])
        units = by_item if videos and self.by == "item" else by_group
        chosen, free = self._take(
            "labeled", listing, labels, units, free, exact=not videos or self.by == "item"
        )
        parts["labeled"] = np.sort(order[chosen])
        parts["unlabeled"] = np.sort(order[free])
        return parts

    def _take(
        self,
        part: str,
        listing: Listing,
        labels: np.ndarray,
        units: np.ndarray,
        free: np.ndarray,
        exact: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Masks [N]: the labeled items taken for ``part``; the items still free (of no unit taken)."""
        classes = listing.dataset.classes
        usable = free & (labels >= 0)
        have = np.bincount(labels[usable], minlength=len(classes))
        want = self._want(part, classes, have)
        short = np.flatnonzero(want > have)
        if len(short):
            c = int(short[0])
            raise UserError(
                f"class {classes[c]!r} has too few images for part {part!r} of the split: "
                f"{have[c]} found, {want[c]} asked",
                where=f"dataset {listing.dataset.name!r}"
                + (" (what val left over)" if self.val and part != "val" else ""),
                fix="ask for fewer, or give {class: number} as per_class",
            )
        table = split_draws.class_table(units, labels, usable, len(classes))
        keys = split_draws.random_keys(self.seed, part, len(table))
        taken: np.ndarray
        if np.array_equal(want, have):
            taken = table.sum(axis=1) > 0
        elif exact:
            taken = split_draws.take_exactly(table, want, keys)
        else:
            taken = split_draws.take_nearest(table, want, keys)
        got: np.ndarray = table[taken].sum(axis=0)
        if exact and not np.array_equal(got, want):
            c = int(np.flatnonzero(got != want)[0])
            raise UserError(
                f"class {classes[c]!r}: exactly {want[c]} images cannot be drawn without parting copies",
                where=f"dataset {listing.dataset.name!r}", fix="ask for fewer images of this class",
            )  # fmt: skip
        absent = np.flatnonzero((want > 0) & (got == 0))
        if part == "labeled" and len(absent):
            names = ", ".join(repr(classes[c]) for c in absent)
            raise UserError(
                f"the labeled part of the split has no image of class {names}: whole videos come no nearer to the budget",
                where="split",
                expected="a labeled image of every class that is asked for",
                fix="ask for more, choose another seed, or label single frames (by='item')",
            )
        for c in np.flatnonzero((want > 0) & (np.abs(got - want) * 2 > want)).tolist():
            _log.warning(
                "part %r of the split holds %d images of class %r, asked %d: whole videos come no nearer",
                part, got[c], classes[c], want[c],
            )  # fmt: skip
        of_taken = taken[units]
        return of_taken & usable, free & ~of_taken

    def _want(self, part: str, classes: tuple[str, ...], have: np.ndarray) -> np.ndarray:
        """int64 [C]: images of each class that ``part`` shall hold."""
        if part == "val":
            return split_draws.proportional(
                round(self.val * int(have.sum())) if isinstance(self.val, float) else self.val, have
            )
        if isinstance(self.per_class, dict):
            if set(self.per_class) != set(classes):
                raise UserError(
                    f"per_class names {sorted(self.per_class)}",
                    where="split.per_class",
                    expected=f"each of {list(classes)}",
                )
            return np.array([self.per_class[name] for name in classes], np.int64)
        if self.per_class is not None:
            return np.full(len(classes), self.per_class, np.int64)
        if self.total is not None:
            return split_draws.proportional(self.total, have)
        if self.percent is not None:
            return split_draws.proportional(round(int(have.sum()) * self.percent / 100), have)
        return have


__all__ = ["BudgetSplit", "Listing", "Split", "SplitRule", "resolve"]
