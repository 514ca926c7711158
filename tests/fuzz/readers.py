"""Every reader of the project: what it reads, written small and whole, and how it is asked to read it.

A new reader is one line in `READERS`; a new data set is, too (a test compares them with the registry).
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmark"))  # records made by hand
import made_up_records

from ferbench import records
from ferbench.benchmark import store
from ferbench.benchmark.board import last_entries
from ferbench.benchmark.grid import read_grid, runs_of
from ferbench.benchmark.report.gather import gather
from ferbench.config import load_config, parse_options
from ferbench.data import content, manifest
from ferbench.data import datasets as sets
from ferbench.data.datasets.abaw import EXPR_CLASSES
from ferbench.data.datasets.abaw_places import TEST_LISTS
from ferbench.data.datasets.base import ClassMap, FaceDataset
from ferbench.data.datasets.fer2013_images import USAGES
from ferbench.data.datasets.ferplus_votes import FERPLUS_CLASSES, FOLDERS, NO_CLASS
from ferbench.data.io import UnreadableImage, decode
from ferbench.data.manifest import Listing
from ferbench.data.paths import IndexCache
from ferbench.data.recordio_file import rebuild_index, write_recordio
from ferbench.data.splits import BudgetSplit
from ferbench.engine import checkpoint, lock
from ferbench.engine.hooks.run_record import _results as results_of
from ferbench.engine.log_writer import LogWriter
from ferbench.errors import UserError
from ferbench.models.weights import load_weights
from ferbench.records.curves import Timeline, curves_of, to_targets
from ferbench.records.protocol import hash_of
from ferbench.viz import plots
from ferbench.viz.runlog import read_metrics

Load, Dump = Callable[[bytes], Any], Callable[[Any], bytes]


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        name: of the reader; of a data set, that in the registry, perhaps with a note after a blank.
        write: writes what is read into an empty folder.
        read: reads the folder.
        damage: patterns of the files to damage.
        tree: how a file is parsed and written again, hashes and all, for damage to its nodes; None: bytes only.
        share: of the mutations, in relation to the others.
    """

    name: str
    write: Callable[[Path], None]
    read: Callable[[Path], object]
    damage: tuple[str, ...] = ("**/*",)
    tree: tuple[Load, Dump] | None = None
    share: float = 1.0


def put(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def image(number: int, ending: str = ".jpg", side: int = 16) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 255, (side, side, 3), dtype=np.uint8)
    return cv2.imencode(ending, cv2.resize(pixels, (side, side)))[1].tobytes()


def use(dataset: FaceDataset) -> None:
    """All that a run does with a data set that was opened."""
    count = len(dataset)
    assert dataset.labels.dtype == np.int16
    assert dataset.labels.shape == (count,)
    assert count == 0 or -1 <= dataset.labels.min() <= dataset.labels.max() < max(len(dataset.classes), 1)
    assert all(isinstance(name, str) and name for name in dataset.classes)
    content.identity(dataset)
    Listing(dataset)
    for index in range(count):
        dataset.where(index).encode("utf-8", "surrogateescape")
        try:
            pixels = dataset.read(index)
        except UnreadableImage:
            continue
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 3
        assert pixels.shape[2] == 3


# -- data sets --


ENDINGS = (".jpg", ".png", ".bmp", ".webp", ".tif", ".ppm")


def folder(root: Path) -> None:
    for i, ending in enumerate(ENDINGS):
        put(root / f"{'ab'[i % 2]}/{i}{ending}", image(i, ending))


def listed(root: Path) -> None:
    for i in range(4):
        put(root / f"im/{i}.jpg", image(i))
    put(root / "list.csv", "path,label,subject\n" + "".join(f"im/{i}.jpg,{i % 2},s{i}\n" for i in range(4)))


def verification(root: Path) -> None:
    put(root / "lfw.bin", pickle.dumps(([image(i) for i in range(4)], [True, False])))


def pixels(root: Path) -> None:
    np.savez(root / "faces.npz", images=np.zeros((4, 8, 8, 3), np.uint8), labels=["x", "y", "", "x"])


def affwild2(root: Path) -> None:
    for part in ("Train_Set", "Validation_Set"):
        for video in ("v1", "v2_left"):
            lines = [",".join(EXPR_CLASSES), "0", "-1", "4", "7"]
            put(
                root / "annotations" / "EXPR_Classification_Challenge" / part / f"{video}.txt",
                "\n".join(lines) + "\n",
            )
            for frame in (1, 2, 4):
                put(root / "cropped_aligned" / video / f"{frame:05d}.jpg", image(frame))


def affwild2_test(root: Path) -> None:
    affwild2(root)
    put(root / f"names_of_videos_in_each_test_set/{TEST_LISTS[0]}", "v1\nv2_left\n")


def clips(root: Path) -> None:
    put(root / "EmoLabel_DataSplit/train(single-labeled)/set_1.csv", "video_name,label\n1,1\n2,7\n3,3\n")
    put(root / "4_setups/All_scenes/train_All.csv", "00001 Sad\n00002 Happy\n00003 Fear\n")
    put(
        root / "Train & Test Set/single/no_caption/set_1/train.txt",
        "00001.mp4 anger\n00002.mp4 fear\n00003.mp4 neutral\n",
    )
    for clip in (1, 2, 3):
        for frame in (1, 2):
            put(root / f"frames/{clip:05d}/{frame}.jpg", image(clip + frame))


def affectnet(root: Path) -> None:
    header = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
    rows = [header]
    for i in range(4):
        put(root / f"Manually_Annotated_Images/7/{i}.jpg", image(i))
        rows.append(f"7/{i}.jpg,1,2,5,5,10.5;20.5,{i},-0.5,0.25")
    put(root / "training.csv", "\n".join(rows) + "\n")


def affectnet_reduced(root: Path) -> None:
    for i in range(4):
        put(root / f"train_set/images/{i}.jpg", image(i))
        stream = io.BytesIO()
        np.save(stream, np.array(str(i)))
        put(root / f"train_set/annotations/{i}_exp.npy", stream.getvalue())


def affectnet_plus(root: Path) -> None:
    for i in range(4):
        put(root / f"train_set/images/{i}.jpg", image(i))
        put(root / f"train_set/annotations/{i}.json", json.dumps({"Human-Label": i, "Soft-Label": [0.1] * 8}))


def rafdb(root: Path) -> None:
    names = [f"{part}_{i:05d}" for part in ("train", "test") for i in (1, 2, 3)]
    put(root / "EmoLabel/list_patition_label.txt", "".join(f"{n}.jpg {1 + i}\n" for i, n in enumerate(names)))
    for i, name in enumerate(names):
        put(root / f"Image/aligned/{name}_aligned.jpg", image(i))


def rafdb_kaggle(root: Path) -> None:
    names = [f"train_{i:05d}_aligned.jpg" for i in range(4)]
    put(
        root / "train_labels.csv",
        "image,label\n" + "".join(f"{n},{1 + i % 7}\n" for i, n in enumerate(names)),
    )
    for i, name in enumerate(names):
        put(root / f"DATASET/train/{1 + i % 7}/{name}", image(i))


def expw(root: Path) -> None:
    put(
        root / "data/label/label.lst",
        "a.jpg 0 2 2 10 10 76.6 0\na.jpg 1 3 3 12 12 12.5 3\nb c.jpg 0 1 1 9 9 99 6\n",
    )
    put(root / "data/image/origin/a.jpg", image(1))
    put(root / "data/image/origin/b c.jpg", image(2))


def fer2013(root: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = [" ".join(map(str, rng.integers(0, 255, 48 * 48))) for _ in range(3)]
    rows = [f"{i % 7},{pixels[i % 3]},{USAGES[i % 3]}" for i in range(6)]
    put(root / "fer2013.csv", "\n".join(["emotion,pixels,Usage", *rows]) + "\n")


def fer2013_folder(root: Path) -> None:
    for i, name in enumerate(("Angry", "Fear", "Happy")):
        for usage in ("Training", "test"):
            put(root / usage / name / f"{i}.png", image(i + 3 * (usage == "test"), ".png", 48))


def ferplus(root: Path) -> None:
    fer2013(root)
    header = ["Usage", "Image name", *FERPLUS_CLASSES, *NO_CLASS]
    rows = [
        f"{USAGES[i % 3]},fer{i:07d}.png,{','.join(str(8 * (c == i) + (c == 9)) for c in range(10))}"
        for i in range(6)
    ]
    put(root / "fer2013new.csv", "\n".join([",".join(header), *rows]) + "\n")


def ferplus_folders(root: Path) -> None:
    for number, folder in enumerate(FOLDERS):
        rows = ""
        for i in range(3):
            votes = ",".join(str(8 * (c == i) + (c == 9)) for c in range(10))
            rows += f'fer{i:07d}.png,"(0, 0, 48, 48)",{votes}\n'
            put(root / f"{folder}/fer{i:07d}.png", image(i + 3 * number, ".png", 48))
        put(root / f"{folder}/label.csv", rows)


def recordio(root: Path) -> None:
    write_recordio(root / "train.rec", [image(i) for i in range(5)], identities=[0, 0, 1, 1, 2])


def kept_index(root: Path) -> None:
    folder(root / "data")
    sets.ImageFolder(root / "data", cache=root / "cache")


# -- other files --


def encoded(root: Path) -> None:
    for i, ending in enumerate(ENDINGS):
        put(root / f"{i}{ending}", image(i, ending))


def decoded(root: Path) -> None:
    for file in sorted(root.iterdir()):
        if file.is_file():
            for grayscale in (False, True):
                try:
                    decode(file.read_bytes(), str, 0, grayscale)
                except UnreadableImage:
                    continue


def arrays(root: Path) -> None:
    IndexCache(root / "data", "numbers", root).save({"size": 1}, {"a": np.arange(9), "b": np.eye(3)}, 9)


def indexed(root: Path) -> None:
    [place] = root.iterdir()
    IndexCache(root / "data", "numbers", root).load({"size": 1})
    assert place.is_dir()


SPLIT = BudgetSplit(per_class=1, val=2, seed=0)


def split(root: Path) -> None:
    folder(root / "data")
    BudgetSplit(per_class=1, val=2, seed=0, file=root / "split.json")(
        sets.ImageFolder(root / "data", labeled=True)
    )


def resolved(root: Path) -> None:
    parts = manifest.resolve(sets.ImageFolder(root / "data", labeled=True), root / "split.json", SPLIT.spec)
    every = np.concatenate(list(parts.values()))
    assert len(np.unique(every)) == len(every)


def sealed_manifest(value: Any) -> bytes:
    """Its hash is right, whatever its content."""
    if isinstance(value, dict):
        value = {k: v for k, v in value.items() if k != "manifest_sha256"}
        text = json.dumps(value, sort_keys=True, separators=(",", ":")).encode("utf-8", "surrogatepass")
        value |= {"manifest_sha256": hashlib.sha256(text).hexdigest()}
    return json.dumps(value).encode()


def sealed_record(value: Any) -> bytes:
    if isinstance(value, dict) and isinstance(value.get("protocol"), dict) and value["protocol"]:
        value = value | {"protocol_hash": hash_of(value["protocol"])}
    return json.dumps(value).encode()


def record_files(root: Path) -> None:
    root.mkdir(exist_ok=True)
    records.write(made_up_records.make("FixMatch", 25, 0, videos=2), root / "record.json")


def read_record(root: Path) -> None:
    records.read(root / "record.json")
    gather([root])


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))


def checkpoints(root: Path) -> None:
    root.mkdir(exist_ok=True)
    model = network().state_dict()
    meta = {"classes": ["a"], "preprocess": {"size": 24}, "seed": 0}
    checkpoint.save({"meta": meta, "iter": 5, "model": model, "hooks": {}}, root / "last.pth")


def loaded(root: Path) -> None:
    content = checkpoint.load(root / "last.pth")
    checkpoint.load_model_state(network(), content["model"], root / "last.pth")


def torch_tree(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), weights_only=True)


def torch_bytes(value: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def legacy_bytes(value: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def weights(root: Path) -> None:
    put(root / "w.pth", torch_bytes({"state_dict": network().state_dict()}))


def legacy_weights(root: Path) -> None:
    put(root / "w.pth", legacy_bytes({"model": network().state_dict()}))


def safetensors(root: Path) -> None:
    from safetensors.torch import save

    put(root / "w.safetensors", save(network().state_dict()))


def load_any(root: Path) -> None:
    load_weights(network(), next(iter(sorted(root.glob("w.*"))), root / "w.pth"))


CONFIG = """
classes = ("a", "b")
train_dataloader = dict(batch_size=8, dataset=dict(type="ImageFolder", root="{{$FERBENCH_DATA:data}}/x", labeled=True))
split = dict(type="BudgetSplit", per_class=10, val=0.15, seed=0)
model = dict(backbone=dict(type="IResNet", depth=18), algorithm=dict(type="DTM", floor=0.2))
views = dict(size=24)
train_cfg = dict(type="SemiTrainLoop", max_iters=12, val_interval=4)
"""
OPTIONS = """train_cfg.max_iters=8
model.algorithm=dict(type=FixMatch,threshold=0.8)
classes=[a,b]
train_dataloader.dataset.root="x y"
optim_wrapper.optimizer.lr=0.03
"""
GRID = """
base = "supervised/r18_fer2013.py"
algorithms = {
    "Supervised": dict(type="Supervised"),
    "FixMatch": dict(type="FixMatch", threshold=0.95, search=dict(threshold=[0.8, 0.9, 0.95])),
}
budgets = [25, {"split.per_class": 100}]
seeds = [0, 1]
options = {"train_cfg.max_iters": 3000}
keep = "best"
"""


def options(root: Path) -> None:
    put(root / "c.py", CONFIG)
    put(root / "options.txt", OPTIONS)


def read_options(root: Path) -> None:
    file = root / "options.txt"
    lines = file.read_bytes().decode("utf-8", "replace").split("\n") if file.is_file() else []
    load_config(root / "c.py", parse_options([line for line in lines if line]))


def log(root: Path) -> None:
    entries: list[dict[str, Any]] = []
    scores = {
        "macro_f1": 0.5,
        "f1": [0.4, 0.6],
        "accuracy": 0.5,
        "balanced_accuracy": 0.5,
        "confusion": [[1, 2], [3, 4]],
        "count": 10,
    }
    for i in (10, 20):
        entries.append({
            "kind": "train", "iter": i, "images_per_s": 100.0, "data_wait": 0.1, "lr": 0.03, "losses": {"supervised": 1.5},
            "threshold": [0.5, 0.6], "utilization": [0.1, None], "purity": [0.9, None], "pseudo_label_share": [0.5, 0.5],
            "utilization_mean": 0.1, "purity_mean": None, "purity_count": [3.0, 0.0],
            "confidence_quantiles": {"0.5": 0.7, "0.95": 0.9},
        })  # fmt: skip
        entries.append({"kind": "val", "iter": i, "raw": scores, "ema": {**scores, "ece": 0.1}})
    row = {
        "checkpoint": "best",
        "weights": "ema",
        "iter": 20,
        "groups": {"v": [[0, 1, 2]]},
        "ece": 0.1,
        **scores,
    }
    rows = [{**row, "smoothed": False}, {**row, "smoothed": True, "window": 31}]
    entries.append({"kind": "test", "iter": 20, "rows": rows})
    put(root / "metrics.jsonl", "".join(json.dumps(e) + "\n" for e in entries))


def read_log(root: Path) -> None:
    """All that is made of a log but its pictures: when a run goes on, in the record, and where a grid shows how far it is."""
    LogWriter(root).rewind(15)
    last_entries(root)
    entries = read_metrics(root, 2)
    timeline, curves = Timeline(entries, 64), curves_of(entries, 64)
    if timeline:
        timeline.spent()
    to_targets(curves.val, (0.3, 0.5))
    if any(e["kind"] == "test" for e in entries):
        results_of(entries)
    records.write(replace(running(), curves=curves), root / "record.json")
    try:
        assert records.read(root / "record.json").curves == curves
    except UserError as error:
        raise AssertionError("the record of the log contradicts itself") from error


@cache
def running() -> records.Record:
    own = made_up_records.make("FixMatch", 25, 0)
    return replace(own, status=records.RUNNING, results=[], classes=["a", "b"], data={}, cost=None)


def draw_log(root: Path) -> None:
    """The pictures, but for writing them, which takes a second each."""
    with patch.object(plots, "save", lambda figure, path: path):
        plots.plot_run(root, ("a", "b"))


def json_lines(data: bytes) -> Any:
    return [json.loads(line) for line in data.splitlines()]


def lines_of_json(value: Any) -> bytes:
    return "".join(json.dumps(v) + "\n" for v in (value if isinstance(value, list) else [value])).encode()


def grid_file(root: Path) -> None:
    runs = {"fer2013/fixmatch/seed0": {"model": {"ema_decay": 0.9}}}
    put(root / "grid.json", json.dumps({"format": store.FORMAT, "name": "g", "runs": runs}))
    put(root / ".lock", json.dumps({"host": "h", "pid": 3, "since": "2026-01-01", "job": ["1", 0, "x"]}))


def read_grid_file(root: Path) -> None:
    kept = store.Store(root)
    known = kept._known()
    if known is not None:
        kept._require_same(
            SimpleNamespace(name="g"), known, {"fer2013/fixmatch/seed0": {"model": {"ema_decay": 0.9}}}
        )
    if not (root / ".lock").is_dir() and not (root / ".lock").is_symlink():
        lock.owner_of(root / ".lock")


def names(root: Path) -> None:
    put(
        root / "names.json",
        json.dumps(["$x^{$", "[/red]", "[fear]", "<b>bold</b>", "x" * 120, "恐怖", "a|b"]),
    )


def read_names(root: Path) -> None:
    try:
        found = json.loads((root / "names.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return
    ClassMap(
        ("a", "b"),
        found,
        {"a": found[0] if isinstance(found, list) and found else found, "b": None},
        where="names",
    )


JSON: tuple[Load, Dump] = (json.loads, lambda value: json.dumps(value).encode())
LISTS = ("**/*.csv", "**/*.txt", "**/*.lst", "**/*.idx", "**/*.npy", "**/*.json")

READERS = (
    Reader("ImageFolder", folder, lambda r: use(sets.ImageFolder(r, cache=None))),
    Reader("ImageFolder labeled", folder, lambda r: use(sets.ImageFolder(r, labeled=True, cache=None))),
    Reader(
        "ImageFolder kept",
        kept_index,
        lambda r: use(sets.ImageFolder(r / "data", cache=r / "cache")),
        ("cache/**/*",),
    ),
    Reader(
        "CsvList",
        listed,
        lambda r: use(sets.CsvList(r / "list.csv", source_classes=("x", "y"))),
        LISTS,
        share=2,
    ),
    Reader(
        "CsvList names", listed, lambda r: use(sets.CsvList(r / "list.csv", label_column="subject")), LISTS
    ),
    Reader(
        "CsvList unlabeled", listed, lambda r: use(sets.CsvList(r / "list.csv", label_column=None)), LISTS
    ),
    Reader("InsightFaceBin", verification, lambda r: use(sets.InsightFaceBin(r / "lfw.bin"))),
    Reader("NpzImages", pixels, lambda r: use(sets.NpzImages(r / "faces.npz"))),
    Reader("AffWild2Expr", affwild2, lambda r: use(sets.AffWild2Expr(r)), LISTS, share=2),
    Reader("AffWild2Expr unlabeled", affwild2, lambda r: use(sets.AffWild2Expr(r, unlabeled="all")), LISTS),
    Reader("AffWild2Expr test", affwild2_test, lambda r: use(sets.AffWild2Expr(r, part="Test_Set")), LISTS),
    Reader("DFEW", clips, lambda r: use(sets.DFEW(r, images=r / "frames")), LISTS),
    Reader("FERV39k", clips, lambda r: use(sets.FERV39k(r, images=r / "frames")), LISTS),
    Reader("MAFW", clips, lambda r: use(sets.MAFW(r)), LISTS),
    Reader("AffectNet", affectnet, lambda r: use(sets.AffectNet(r, cache=None)), LISTS, share=2),
    Reader(
        "AffectNet reduced", affectnet_reduced, lambda r: use(sets.AffectNet(r, cache=None)), LISTS, share=2
    ),
    Reader("AffectNet json", affectnet_plus, lambda r: use(sets.AffectNet(r, cache=None)), LISTS, JSON),
    Reader("RAFDB", rafdb, lambda r: use(sets.RAFDB(r)), LISTS, share=2),
    Reader("RAFDB kaggle", rafdb_kaggle, lambda r: use(sets.RAFDB(r)), LISTS),
    Reader("ExpW", expw, lambda r: use(sets.ExpW(r)), LISTS, share=2),
    Reader("FER2013", fer2013, lambda r: use(sets.FER2013(r, cache=None)), share=2),
    Reader("FER2013 folder", fer2013_folder, lambda r: use(sets.FER2013(r, cache=None))),
    Reader("FERPlus", ferplus, lambda r: use(sets.FERPlus(r, cache=None)), share=2),
    Reader("FERPlus folders", ferplus_folders, lambda r: use(sets.FERPlus(r, cache=None))),
    Reader("FERPlus shares", ferplus, lambda r: use(sets.FERPlus(r, mode="probability", cache=None))),
    Reader("RecordIO", recordio, lambda r: use(sets.RecordIO(r, cache=None)), share=2),
    Reader("RecordIO scanned", recordio, lambda r: use(sets.RecordIO(r, cache=None, rebuild_index=True))),
    Reader("rebuild_index", recordio, lambda r: rebuild_index(r / "train.rec"), ("*.rec",)),
    Reader("images", encoded, decoded, share=2),
    Reader("index", arrays, indexed, share=2),
    Reader("manifest", split, resolved, ("split.json",), (json.loads, sealed_manifest), share=3),
    Reader("record", record_files, read_record, tree=(json.loads, sealed_record), share=3),
    Reader("checkpoint", checkpoints, loaded, tree=(torch_tree, torch_bytes), share=3),
    Reader("weights", weights, load_any, tree=(torch_tree, torch_bytes), share=2),
    Reader("weights legacy", legacy_weights, load_any, tree=(torch_tree, legacy_bytes), share=2),
    Reader("weights safetensors", safetensors, load_any),
    Reader("config", lambda r: put(r / "c.py", CONFIG), lambda r: load_config(r / "c.py"), share=2),
    Reader("--cfg-options", options, read_options, ("options.txt",), share=2),
    Reader("grid", lambda r: put(r / "g.py", GRID), lambda r: runs_of(read_grid(r / "g.py")), share=2),
    Reader("grid folder", grid_file, read_grid_file, tree=JSON),
    Reader("log", log, read_log, tree=(json_lines, lines_of_json), share=2),
    Reader("log drawn", log, draw_log, tree=(json_lines, lines_of_json), share=0.2),
    Reader("names", names, read_names, tree=JSON),
)

#: Data sets of optional packages. Parquet files are damaged in tests/data/test_packed.py; LMDB's library trusts its pages,
#: and damage within them may end the process.
OPTIONAL = {"LmdbImages", "ParquetImages"}
