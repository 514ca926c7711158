"""Split manifests: a JSON file that says which images are in which part, and proves it by hashes.

A part is written in the shortest of three ways: its item ids; the groups (videos) all of whose labeled items
it holds; or as the rest, i.e. all items that are in no other part. Whichever way, ``sha256`` is that of its
sorted item ids joined by newlines, ``labels_sha256`` that of their class names in the same order, so a
manifest holds for exactly one set of images and labels, wherever it lies and in whatever order it is listed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ferbench.core.files import atomic_write
from ferbench.core.hashing import canonical, sha256
from ferbench.data.datasets.base import FaceDataset
from ferbench.errors import UserError, shortened

FORMAT = "ferbench-split/1"
# The file may be that of a finished run, which it belongs to for good: nothing here may advise to delete it.
KEEP = (
    "go back to the data, config and file that belong together; another split is drawn for another split.file, "
    "or for a run in another folder (--work-dir)"
)
REST = "unlabeled"


class Listing:
    """The item ids of a dataset, sorted once: what splits are drawn over and hashes are taken of.

    Attributes:
        ids: id of each item, in the dataset's order.
        order: int64 [N], the items in the order of their ids.

    Raises:
        UserError: two items have the same id.
    """

    def __init__(self, dataset: FaceDataset):
        self.dataset = dataset
        self.ids = dataset.item_ids(np.arange(len(dataset)))
        self.order = np.array(sorted(range(len(self.ids)), key=self.ids.__getitem__), np.int64)
        previous = None
        for i in self.order.tolist():
            if self.ids[i] == previous:
                raise UserError(
                    f"two items of dataset {dataset.name!r} have the same id {previous!r}",
                    where=dataset.where(i),
                    expected="a different id for each item; a split could not tell them apart",
                )
            previous = self.ids[i]

    @cached_property
    def index_of(self) -> dict[str, int]:
        """Item id -> index."""
        return {name: i for i, name in enumerate(self.ids)}

    @cached_property
    def group_of(self) -> dict[str, int]:
        """Group name -> group number."""
        return {name: i for i, name in enumerate(self.dataset.group_names)}

    def sorted_by_id(self, indices: np.ndarray) -> np.ndarray:
        """int64: ``indices`` in the order of their ids."""
        mask = np.zeros(len(self.ids), bool)
        mask[indices] = True
        return self.order[mask[self.order]]

    def items_of_groups(self, groups: np.ndarray, labeled_only: bool) -> np.ndarray:
        """int64, ascending: the items of ``groups`` (numbers)."""
        assert self.dataset.groups is not None
        mask = np.isin(self.dataset.groups, groups)
        if labeled_only:
            mask &= self.dataset.labels >= 0
        return np.flatnonzero(mask)


def build(listing: Listing, parts: Mapping[str, np.ndarray], spec: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of ``parts`` (name -> indices), drawn as ``spec`` says."""
    dataset = listing.dataset
    entries: dict[str, Any] = {}
    for name in sorted(parts, key=lambda part: part == REST):  # the rest is told by the others
        entry = _encode_rest(listing, parts) if name == REST else _encode_groups(listing, parts[name])
        if entry is None:
            entry = {"ids": [listing.ids[i] for i in listing.sorted_by_id(parts[name])]}
        entries[name] = entry | _identity(listing, parts[name], labels=name != REST)
    manifest = {
        "format": FORMAT,
        "dataset": dataset.name,
        "items": len(dataset),
        "classes": list(dataset.classes),
        "spec": _plain(spec),
        "parts": entries,
        "split_hash": split_hash(entries),
    }
    return manifest | {"manifest_sha256": sha256(canonical(manifest))}


def split_hash(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """sha256 that is equal exactly when the parts hold the same images with the same labels.

    Args:
        parts: the ``parts`` of a manifest.
    """
    keys = ("sha256", "labels_sha256")
    return sha256(canonical({name: {k: part.get(k) for k in keys} for name, part in parts.items()}))


def write(manifest: Mapping[str, Any], path: str | Path) -> None:
    """Write atomically: processes that race write the same bytes, and none sees half of them.

    Raises:
        UserError: the file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(json.dumps(manifest, indent=1).encode() + b"\n")
    except OSError as error:
        raise UserError(f"the split manifest cannot be written: {error.strerror}", where=path) from error


def read(path: str | Path) -> dict[str, Any]:
    """A manifest as it was written.

    Raises:
        UserError: no such file, not a manifest, of another format, changed since it was written, or with a content that
            no split has.
    """
    path = Path(path)
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"the split manifest cannot be read: {error.strerror}", where=path) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"the split manifest is not JSON: {error}", where=path, fix=KEEP) from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != FORMAT:
        raise UserError(
            f"not a split manifest of this version (format {shortened(found)})", where=path, expected=FORMAT
        )
    stated = manifest.pop("manifest_sha256", None)
    if stated != sha256(canonical(manifest)):
        raise UserError(
            "the split manifest was edited after it was written", where=path,
            expected=f"content with sha256 {shortened(stated, 70)}", fix=KEEP,
        )  # fmt: skip
    try:
        _check_structure(manifest)
    except ValueError as error:
        raise UserError(f"the split manifest is damaged: {error}", where=path, fix=KEEP) from error
    return manifest | {"manifest_sha256": stated}


def _check_structure(manifest: Mapping[str, Any]) -> None:
    """What the hash does not say: that `build` can have written this; ValueError."""
    for key, kind in (("dataset", str), ("items", int), ("spec", dict), ("parts", dict), ("split_hash", str)):
        if type(manifest.get(key)) is not kind:
            raise ValueError(f"{key} is {shortened(manifest.get(key))}")
    _check_names(manifest.get("classes"), "classes")
    parts = manifest["parts"]
    for name, entry in parts.items():
        if not isinstance(entry, dict):
            raise ValueError(f"part {shortened(name)} is {shortened(entry)}")
        held = entry.keys() & {"ids", "groups", "rest"}
        if len(held) != 1 or (held == {"rest"} and name != REST):
            raise ValueError(f"part {shortened(name)} is not told by ids, by groups or as the rest")
        lists = [("without_groups_of", "also"), tuple(held)][held != {"rest"}]
        for key in lists:
            _check_names(entry.get(key), f"{key} of part {shortened(name)}")
        if held == {"rest"} and not {*entry["without_groups_of"], *entry["also"]} <= parts.keys() - {REST}:
            raise ValueError("the rest names a part that the split does not have")
        if type(entry.get("count")) is not int or type(entry.get("sha256")) is not str:
            raise ValueError(f"part {shortened(name)} has no count and hash")
    if manifest["split_hash"] != split_hash(parts):
        raise ValueError("split_hash is not that of the parts")


def _check_names(names: Any, what: str) -> None:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{what} is no list of names: {shortened(names)}")
    if len(set(names)) < len(names):
        raise ValueError(f"{what} has a name twice")


def expand(
    listing: Listing, manifest: Mapping[str, Any], path: str | Path, spec: Mapping[str, Any] | None = None
) -> dict[str, np.ndarray]:
    """The parts of ``manifest`` as indices (int64, ascending), after proving that it is the dataset's.

    Args:
        listing: the dataset.
        manifest: see `read`.
        path: named in errors.
        spec: what the config asks for; None where only the file decides.

    Raises:
        UserError: another spec, other classes, ids missing or added, other labels; says which.
    """
    _same_spec(manifest, spec, path)
    classes = list(listing.dataset.classes)
    if manifest["classes"] != classes:
        raise UserError(
            f"the split manifest is for the classes {shortened(manifest['classes'], 300)}, "
            f"the dataset has {shortened(classes, 300)}",
            where=path,
            fix=KEEP,
        )
    parts: dict[str, np.ndarray] = {}
    for name, entry in sorted(
        manifest["parts"].items(), key=lambda item: item[0] == REST
    ):  # told by the others
        parts[name] = _decode(listing, entry, parts, name, path)
        _same_content(listing, entry, parts[name], name, path)
    _require_disjoint(listing, parts, path)
    return {name: parts[name] for name in manifest["parts"]}


def resolve(
    dataset: FaceDataset, path: str | Path, spec: Mapping[str, Any] | None = None
) -> dict[str, np.ndarray]:
    """Read the manifest at ``path``, verify it against ``dataset``; part name -> indices (int64, ascending).

    Raises:
        UserError: see `read` and `expand`.
    """
    return expand(Listing(dataset), read(path), path, spec)


def _require_disjoint(listing: Listing, parts: Mapping[str, np.ndarray], path: str | Path) -> None:
    """No image is in two parts, but for labeled ones that are unlabeled, too, where that was asked for."""
    for first, second in combinations(sorted(parts), 2):
        both = np.intersect1d(parts[first], parts[second])
        if len(both) and {first, second} != {"labeled", REST}:
            raise UserError(
                f"{len(both)} images are in part {first!r} and in part {second!r} of the split, "
                f"e.g. {shortened(listing.ids[both[0]])}",
                where=path, expected="every image in one part", fix=KEEP,
            )  # fmt: skip


def _encode_groups(listing: Listing, indices: np.ndarray) -> dict[str, Any] | None:
    dataset = listing.dataset
    if (
        dataset.groups is None
        or dataset.groups_are_copies
        or len(listing.group_of) != len(dataset.group_names)
    ):
        return None
    numbers = np.unique(dataset.groups[indices])
    if not len(numbers) or not np.array_equal(
        listing.items_of_groups(numbers, labeled_only=True), np.sort(indices)
    ):
        return None
    return {"groups": sorted(str(dataset.group_names[g]) for g in numbers)}


def _encode_rest(listing: Listing, parts: Mapping[str, np.ndarray]) -> dict[str, Any] | None:
    others = sorted(name for name in parts if name != REST)
    without_choices = (
        [[], [n for n in others if n == "val"], others] if listing.dataset.groups is not None else [[]]
    )
    for also in ([], ["labeled"] if "labeled" in parts else []):
        for without in without_choices:
            entry = {"rest": True, "without_groups_of": without, "also": also}
            if np.array_equal(_rest(listing, entry, parts), np.sort(parts[REST])):
                return entry
    return None


def _rest(listing: Listing, entry: Mapping[str, Any], parts: Mapping[str, np.ndarray]) -> np.ndarray:
    mask = np.ones(len(listing.ids), bool)
    for name, indices in parts.items():
        if name != REST:
            mask[indices] = False
    for name in entry["without_groups_of"]:
        assert listing.dataset.groups is not None
        numbers = np.unique(listing.dataset.groups[parts[name]])
        mask[listing.items_of_groups(numbers, labeled_only=False)] = False
    for name in entry["also"]:
        mask[parts[name]] = True
    return np.flatnonzero(mask)


def _decode(
    listing: Listing, entry: Mapping[str, Any], parts: Mapping[str, np.ndarray], name: str, path: str | Path
) -> np.ndarray:
    if "rest" in entry:
        if entry["without_groups_of"] and listing.dataset.groups is None:
            raise UserError(
                "the split manifest needs groups (videos), which the dataset does not have", where=path
            )
        return _rest(listing, entry, parts)
    what, known = ("groups", listing.group_of) if "groups" in entry else ("ids", listing.index_of)
    missing = [n for n in entry[what] if n not in known]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(entry[what])} {what} of part {name!r} are not in dataset "
            f"{listing.dataset.name!r}, "
            f"e.g. {', '.join(map(shortened, missing[:3]))}",
            where=path, expected="the data that the split was drawn from", fix=KEEP,
        )  # fmt: skip
    numbers = np.array([known[n] for n in entry[what]], np.int64)
    return listing.items_of_groups(numbers, labeled_only=True) if what == "groups" else np.sort(numbers)


def _same_spec(manifest: Mapping[str, Any], spec: Mapping[str, Any] | None, path: str | Path) -> None:
    if spec is None or manifest["spec"] == _plain(spec):
        return
    asked, written = _plain(spec), manifest["spec"]
    differing = [
        f"{shortened(k)[1:-1]}: {shortened(written.get(k))} in the file, {shortened(asked.get(k))} in the config"
        for k in sorted(asked.keys() | written.keys())
        if written.get(k) != asked.get(k)
    ]
    more = f"; ... ({len(differing)} in all)" if len(differing) > 12 else ""
    raise UserError(
        "the split manifest was drawn for another config: " + "; ".join(differing[:12]) + more,
        where=path, fix=KEEP,
    )  # fmt: skip


def _same_content(
    listing: Listing, entry: Mapping[str, Any], indices: np.ndarray, name: str, path: str | Path
) -> None:
    found = _identity(listing, indices, labels=name != REST)
    for key, what in (
        ("count", "number of images"),
        ("sha256", "ids"),
        ("class_counts", "images per class"),
        ("labels_sha256", "labels"),
    ):
        if found.get(key) != entry.get(key):
            raise UserError(
                f"part {name!r} of the split does not match dataset {listing.dataset.name!r}: other {what} "
                f"({shortened(entry.get(key), 200)} in the file, {shortened(found.get(key), 200)} now)",
                where=path, expected="the data that the split was drawn from", fix=KEEP,
            )  # fmt: skip


def _identity(listing: Listing, indices: np.ndarray, labels: bool) -> dict[str, Any]:
    """Count and hashes of a part; of its labels only where they are not hidden."""
    ordered = listing.sorted_by_id(indices)
    identity: dict[str, Any] = {
        "count": len(indices),
        "sha256": sha256("\n".join([listing.ids[i] for i in ordered.tolist()])),
    }
    if labels:
        names = [*listing.dataset.classes, ""]  # -1 picks the last
        own = listing.dataset.labels[ordered]
        counts = np.bincount(own[own >= 0], minlength=len(listing.dataset.classes))
        identity["class_counts"] = dict(zip(listing.dataset.classes, counts.tolist(), strict=True))
        identity["labels_sha256"] = sha256("\n".join([names[label] for label in own.tolist()]))
    return identity


def _plain(spec: Mapping[str, Any]) -> dict[str, Any]:
    """``spec`` as it comes back from JSON, so that it can be compared."""
    return json.loads(json.dumps(dict(spec)))
