"""What a run writes about itself."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

import ferbench
from ferbench import cli, records
from ferbench.core import process
from ferbench.data.datasets.base import Concat
from ferbench.engine import api
from ferbench.engine.build import build_data
from ferbench.engine.protocol import protocol_of
from ferbench.errors import UserError
from ferbench.evaluation.table import score_rows
from ferbench.records import environment
from ferbench.records.portable import label_of, portable_config
from ferbench.records.protocol import difference, hash_of
from ferbench.registry import ALGORITHMS, MODELS
from tiny_experiment import CLASSES, PARTS

SHORT = {"train_cfg.max_iters": 8, "default_hooks.record.targets": [0.05, 2.0]}


@pytest.fixture
def run(make, tmp_path):
    api.train(make(SHORT), tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def protocol(make, tmp_path):
    """The protocol of the tiny config with changes; nothing is trained."""

    def protocol(options=None, **arguments):
        cfg = api.complete(make(options, **arguments), tmp_path / "unused")
        model = MODELS.build(cfg.model)
        return protocol_of(cfg, build_data(cfg), model)

    return protocol


@pytest.fixture
def videos(images, tmp_path):
    """Test set: the test images as frames of Aff-Wild2, the person of one video without frame 4."""
    root = tmp_path / "affwild2"
    (root / "Validation_Set").mkdir(parents=True)
    files = sorted((images / "test").rglob("*.*"))
    for number, name in enumerate(("v1", "v2_left")):
        frames = files[number::2]
        labels = [CLASSES.index(f.parent.name) for f in frames]
        lines = [",".join(CLASSES), *map(str, labels)]
        (root / "Validation_Set" / f"{name}.txt").write_text("\n".join(lines))
        (root / "cropped_aligned" / name).mkdir(parents=True)
        for i, file in enumerate(frames, 1):
            cv2.imwrite(str(root / "cropped_aligned" / name / f"{i:05d}.jpg"), cv2.imread(str(file)))
    (root / "cropped_aligned" / "v2_left" / "00004.jpg").unlink()
    return {"type": "AffWild2Expr", "root": str(root), "part": "Validation_Set"}


class TestFinished:
    def test_scores_are_those_of_the_log(self, run):
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        rows = lines[-1]["rows"]
        own = records.read(run / "record.json")
        assert own.status == "finished"
        assert [(r.checkpoint, r.weights) for r in own.results] == [
            ("last", "raw"), ("last", "ema"), ("best", "raw"), ("best", "ema"),
        ]  # fmt: skip
        vals = {line["iter"]: line for line in lines if line["kind"] == "val"}
        for row, result in zip(rows, own.results, strict=True):
            for key in ("iter", "macro_f1", "accuracy", "balanced_accuracy", "f1", "confusion", "count"):
                assert getattr(result, key) == row[key]
            assert result.val_macro_f1 == vals[row["iter"]][row["weights"]]["macro_f1"]
        best = own.result("best", "ema")
        assert best.val_macro_f1 == max(v["ema"]["macro_f1"] for v in vals.values())

    def test_the_rest(self, run):
        own = records.read(run / "record.json")
        assert own.label == "DTM floor=0.2 rule={'epoch_length': 2, 'init': 0.3}"
        assert own.algorithm == {"type": "DTM", "floor": 0.2, "rule": {"epoch_length": 2, "init": 0.3}}
        assert (own.seed, own.classes, own.cell) == (0, list(CLASSES), None)
        assert own.split_hash == json.loads((run / "split.json").read_text())["split_hash"]
        assert own.data["labeled"].class_counts == dict.fromkeys(CLASSES, 10)
        assert {k: v.images for k, v in own.data.items()} == {
            "labeled": 40,
            "unlabeled": 125,
            "val": 18,
            "test": 37,
        }
        assert own.curves.val.iter == [4, 8]
        assert own.curves.val.images == [4 * 24, 8 * 24]
        assert own.curves.classes.iter == [3, 6, 8]
        assert own.cost.images == 8 * 24
        assert [(t.macro_f1, t.iter) for t in own.cost.to_target][1] == (2.0, None)
        assert own.cost.to_target[0].iter in (4, 8)
        assert own.cost.peak_rss_mb > 50
        assert own.code.version == ferbench.__version__
        assert list(own.code.plugins) == ["tiny_parts"]  # which has the network
        assert own.libraries["torch"] == torch.__version__.split("+")[0]
        assert own.hardware.cores == process.available_cores()
        assert own.config["train_cfg"]["max_iters"] == 8

    def test_no_path_of_the_machine(self, run, images, tmp_path):
        text = (run / "record.json").read_text()
        for path in (images, tmp_path, PARTS.parent, Path.home()):
            assert str(path) not in text
        assert "{{$FERBENCH_DATA:data}}/train" in text

    def test_the_commit(self, repo):
        if not (repo / ".git").exists():
            pytest.skip("this is no checkout")
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=repo, capture_output=True, text=True, check=True
        )
        environment._own_code.cache_clear()
        assert environment.code().commit == done.stdout.strip()

    def test_videos(self, make, videos, tmp_path):
        """Frames of Aff-Wild2: the confusion matrix of each video, for the checkpoint that is reported."""
        cfg = make({**SHORT, "test_cfg.smoothing_window": None})
        cfg.test_dataloader.dataset = videos
        api.train(cfg, tmp_path / "run")
        own = records.read(tmp_path / "run" / "record.json")  # which checks that the groups sum to the whole
        assert {k: sum(c for _, _, c in v) for k, v in own.result().groups.items()} == {"v1": 19, "v2": 17}
        assert [r.groups is None for r in own.results] == [True, True, True, False]

    def test_smoothed_over_the_frames_of_a_video(self, make, videos, tmp_path):
        """Every row once more, with what a double loop over the network's own probabilities gives."""
        longer = {"train_cfg.max_iters": 40, "train_cfg.val_interval": 20}  # until it tells classes apart
        cfg = make({**longer, "test_cfg.smoothing_window": 5})
        cfg.test_dataloader.dataset = videos
        runner = api.train(cfg, tmp_path / "run")
        lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
        rows, own = lines[-1]["rows"], records.read(tmp_path / "run" / "record.json")
        names = [(c, w) for c in records.CHECKPOINTS for w in records.WEIGHTS]
        order = [(*name, smoothed) for smoothed in (False, True) for name in names]
        assert [(r["checkpoint"], r["weights"], r["smoothed"]) for r in rows] == order
        assert [(r.checkpoint, r.weights, r.smoothed) for r in own.results] == order
        assert [r.macro_f1 for r in own.results] == [r["macro_f1"] for r in rows]
        assert [r.groups is not None for r in own.results] == 2 * [False, False, False, True]
        assert {k: sum(c for _, _, c in v) for k, v in own.result(smoothed=True).groups.items()} == {
            "v1": 19,
            "v2": 17,
        }
        assert "smoothed over 5 frames" in (tmp_path / "run" / "results.md").read_text()

        test, model = runner.data.datasets["test"], runner.bare_model  # as last.pth has it
        images = np.stack([model.preprocess.prepare(test.read(i)) for i in range(len(test))])
        places = [test.item_id(i).removesuffix(".jpg").split("/") for i in range(len(test))]
        changed, smoothed = 0, {}
        for weights in records.WEIGHTS:
            probs = model.predict(torch.from_numpy(images), "student" if weights == "raw" else "ema").numpy()
            near = [
                [j for j, (b, f) in enumerate(places) if b == a and abs(int(f) - int(e)) <= 2]
                for a, e in places
            ]
            predicted = [int(probs[js].mean(axis=0, dtype=np.float64).argmax()) for js in near]
            expected = f1_score(test.labels, predicted, average="macro", labels=range(4), zero_division=0)
            assert own.result("last", weights, smoothed=True).macro_f1 == pytest.approx(expected, abs=1e-12)
            changed += int((probs.argmax(1) != predicted).sum())
            smoothed[weights] = [CLASSES[p] for p in predicted]
        assert changed  # or the test would show nothing

        api.test(cfg, tmp_path / "run" / "last.pth", out=tmp_path / "out")
        for weights in records.WEIGHTS:
            with open(tmp_path / "out" / f"predictions_{weights}.csv", encoding="utf-8", newline="") as file:
                lines = list(csv.DictReader(file))
            assert [line["id"].removesuffix(".jpg").split("/") for line in lines] == places
            assert [line["predicted_smoothed"] for line in lines] == smoothed[weights]

        files = {"last": ("raw", "ema"), "best_raw": ("raw",), "best_ema": ("ema",)}
        again = [
            (name.partition("_")[0], row)
            for name, weights in files.items()
            for row in score_rows("", 0, api.test(cfg, tmp_path / "run" / f"{name}.pth"))
            if row["weights"] in weights
        ]
        again.sort(key=lambda found: found[1]["smoothed"])
        of_the_log = [{**r, "checkpoint": "", "iter": 0} for r in rows]
        assert again == list(zip([r["checkpoint"] for r in rows], of_the_log, strict=True))


class TestUnfinished:
    def test_killed(self, command, make, tmp_path):
        options = {"custom_hooks.0.iteration": 6}
        done = command("--work-dir", tmp_path / "run", "--seed", 3, options=options)
        assert done.returncode == -signal.SIGKILL
        own = records.read(tmp_path / "run" / "record.json")
        assert (own.status, own.failure, own.results, own.seed) == ("running", None, [], 3)
        assert own.curves.val.iter == [4]
        assert own.command.startswith("ferbench train tiny.py --work-dir run --seed 3 --data $FERBENCH_DATA ")

    def test_failed_then_resumed(self, make, tmp_path):
        with pytest.raises(UserError, match="is broken"):
            api.train(make({"custom_hooks.1.iteration": 6}), tmp_path / "run")
        own = records.read(tmp_path / "run" / "record.json")
        assert (own.status, own.failure) == ("failed", "the data of this process is broken")
        api.train(make(), tmp_path / "run", resume=True)
        api.train(make(), tmp_path / "whole")
        resumed, whole = (records.read(tmp_path / n / "record.json") for n in ("run", "whole"))
        assert resumed.curves.val.images == whole.curves.val.images
        timeless = {"cost": None, "written": "", "curves": replace(whole.curves, val=None)}
        assert resumed.curves.classes == whole.curves.classes
        assert replace(resumed, **timeless) == replace(whole, **timeless)

    def test_nan(self, make, tmp_path):
        with pytest.raises(UserError):
            api.train(make({"custom_hooks.2.iteration": 6}), tmp_path / "run")
        assert "NaN" in records.read(tmp_path / "run" / "record.json").failure

    def test_an_interruption_is_no_failure(self, make, tmp_path):
        options = {"custom_hooks.0.iteration": 6, "custom_hooks.0.signum": int(signal.SIGINT)}
        with pytest.raises(KeyboardInterrupt):
            api.train(make(options), tmp_path / "run")
        assert records.read(tmp_path / "run" / "record.json").status == "running"

    def test_the_reason_of_a_failure_is_one_line(self, run):
        records.mark_failed(run / "record.json", "too late")
        assert records.read(run / "record.json").status == "finished"
        records.mark_failed(run / "nowhere.json", "no record")
        assert not (run / "nowhere.json").exists()
        assert records.reason_of(torch.OutOfMemoryError("CUDA out of memory.\n Tried")) == (
            "OutOfMemoryError: CUDA out of memory. Tried"
        )
        assert records.reason_of(UserError("what\nand", where="where")) == "what and"

    def test_overwriting_a_run_removes_its_record(self, run, make):
        with pytest.raises(UserError):
            api.train(make({"custom_hooks.1.iteration": 1, "model.head.dropout": 0.0}), run, overwrite=True)
        assert records.read(run / "record.json").protocol["model"]["head"]["dropout"] == 0.0


class TestProtocol:
    @pytest.mark.parametrize("options", [
        {"randomness.seed": 5}, {"split.seed": 5}, {"train_dataloader.num_workers": 2}, {"log_level": "ERROR"},
        {"model.algorithm._delete_": True, "model.algorithm.type": "Supervised"}, {"model.channels_last": False},
        {"val_dataloader.batch_size": 4}, {"default_hooks.monitor.interval": 5}, {"test_dataloader.num_workers": 1},
        {"unlabeled_dataloader.dataset.name": "people"}, {"unlabeled_dataloader.dataset.cache": "auto"},
        {"test_dataloader.dataset.grayscale": False}, {"optim_wrapper.optimizer.fused": True},
        {"default_hooks.record.label": "mine"}, {"views.weak": [{"type": "PadCrop"}, {"type": "HorizontalFlip"}]},
        {"train_cfg.micro_batches": 1}, {"optim_wrapper.optimizer.momentum": 0.90}, {"train_cfg.max_unreadable": 0.5},
    ])  # fmt: skip
    def test_what_is_not_part_of_it(self, options, protocol):
        assert difference(protocol(), protocol(options)) == []

    @pytest.mark.parametrize(("options", "keys"), [
        ({"unlabeled_dataloader.mu": 3}, ["train.mu"]),
        ({"train_dataloader.batch_size": 4}, ["train.batch_size"]),
        ({"train_cfg.max_iters": 13}, ["train.max_iters"]),
        ({"train_cfg.val_interval": 6}, ["selection.interval", "train.val_interval"]),
        ({"train_cfg.micro_batches": 2}, ["train.micro_batches"]),
        ({"model.ema_decay": 0.99}, ["model.ema_decay"]),
        ({"model.forward_mode": "joint"}, ["model.forward_mode"]),
        ({"model.precision": "bf16"}, ["model.precision"]),
        ({"model.batch_norm": "synchronized"}, ["model.batch_norm"]),
        ({"model.head.dropout": 0.0}, ["model.head.dropout"]),
        ({"model.preprocess": {"mean": [1.0, 2.0, 3.0]}}, [f"model.preprocess.mean.{i}" for i in range(3)]),
        ({"views.weak": [{"type": "PadCrop", "padding": 0.25}, {"type": "HorizontalFlip"}]},
         ["views.medium.0.padding", "views.weak.0.padding"]),
        ({"optim_wrapper.optimizer.lr": 0.1}, ["optimizer.lr"]),
        ({"optim_wrapper.clip_grad.max_norm": 1.0}, ["optimizer.wrapper.clip_grad", "optimizer.wrapper.clip_grad.max_norm"]),
        ({"param_scheduler.warmup": 0}, ["schedule.0.warmup"]),
        ({"split.per_class": 5}, ["split.per_class"]),
        ({"split.val": 0.3}, ["split.val"]),
        ({"unlabeled_dataloader.rest": False}, ["data.unlabeled.rest"]),
        ({"unlabeled_dataloader.include_labeled": True}, ["data.unlabeled.include_labeled"]),
        ({"model.ema_warmup": False}, ["model.ema_warmup"]),
        ({"unlabeled_dataloader.dataset.grayscale": True}, ["data.unlabeled.datasets.0.grayscale"]),
        ({"default_hooks.checkpoint.metric": "accuracy"}, ["selection.metric"]),
        ({"custom_hooks.0.iteration": 99}, ["hooks.0.iteration"]),
    ])  # fmt: skip
    def test_what_is_part_of_it(self, options, keys, protocol):
        if "optim_wrapper.clip_grad.max_norm" in options:
            options = {"optim_wrapper.clip_grad": {"max_norm": 1.0}}
        assert [d.key for d in difference(protocol(), protocol(options))] == keys

    def test_another_network(self, protocol):
        found = difference(protocol(), protocol({"model.backbone.type": "TinyBatchNorm"}))
        assert [d.key for d in found] == [
            "model.backbone.type",
            "model.batch_norm_processes",
            "model.parameters",
        ]

    def test_batch_norm_depends_on_the_number_of_processes(self, protocol, monkeypatch):
        plain, normed = protocol(), protocol({"model.backbone.type": "TinyBatchNorm"})
        monkeypatch.setattr("ferbench.engine.protocol.world_size", lambda: 2)
        assert difference(plain, protocol()) == []
        [found] = difference(normed, protocol({"model.backbone.type": "TinyBatchNorm"}))
        assert found == ("model.batch_norm_processes", 1, 2)

    def test_another_place_of_the_same_data(self, protocol, images, tmp_path):
        shutil.copytree(images, tmp_path / "elsewhere")
        assert difference(protocol(), protocol(data=tmp_path / "elsewhere")) == []

    @pytest.mark.parametrize(("change", "keys"), [
        ("a face more", ["data.unlabeled.datasets.0.ids_sha256", "data.unlabeled.datasets.0.images",
                         "data.unlabeled.datasets.0.images_sha256"]),
        ("other pixels of a face", ["data.unlabeled.datasets.0.images_sha256"]),
        ("other pixels of a training image", ["data.train.0.images_sha256"]),
        ("other pixels of a test image", ["data.test.0.images_sha256"]),
        ("a face cut short", ["data.unlabeled.datasets.0.images_sha256"]),
        ("a face renamed", ["data.unlabeled.datasets.0.ids_sha256"]),
        ("a test image of another class", ["data.test.0.class_counts.cross", "data.test.0.class_counts.disc",
                                           "data.test.0.ids_sha256", "data.test.0.images_sha256",
                                           "data.test.0.labels_sha256"]),
    ])  # fmt: skip
    def test_other_data(self, change, keys, protocol, images, tmp_path):
        root = tmp_path / "changed"
        shutil.copytree(images, root)
        face = sorted((root / "faces").rglob("*.png"))[0]
        if change == "a face more":
            shutil.copy(face, face.with_name("more.png"))
        elif change == "a face renamed":
            face.rename(face.with_name("0001b.png"))
        elif change.startswith("other pixels"):
            part = {"face": "faces", "training image": "train", "test image": "test"}[
                change.split(" of a ")[1]
            ]
            file = sorted((root / part).rglob("*.png"))[-1]
            assert cv2.imwrite(str(file), 255 - cv2.imread(str(file)))
        elif change == "a face cut short":
            face.write_bytes(face.read_bytes()[:20])
        else:
            file = sorted((root / "test" / "cross").iterdir())[0]
            file.rename(root / "test" / "disc" / file.name)
        assert [d.key for d in difference(protocol(), protocol(data=root))] == keys

    def test_initial_weights_count_by_their_content(self, make, tmp_path):
        """By name they may be called anything."""
        protocols = []
        for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
            torch.manual_seed(seed)
            (tmp_path / folder).mkdir()
            file = tmp_path / folder / "w.pth"
            options = {"model.backbone._delete_": True, "model.backbone.type": "TimmBackbone",
                       "model.backbone.name": "resnet10t", "model.backbone.channels": (8, 8, 8, 8)}  # fmt: skip
            cfg = api.complete(make(options), tmp_path / "unused")
            torch.save(MODELS.build(cfg.model).network.backbone.network.state_dict(), file)
            file = file.rename(file.with_stem(folder))  # torch writes the first name into the file
            cfg.model.backbone.weights = str(file)
            model = MODELS.build(cfg.model)
            protocols.append(protocol_of(cfg, build_data(cfg), model))
        assert difference(protocols[0], protocols[1]) == []
        assert [d.key for d in difference(protocols[0], protocols[2])] == ["model.initial_weights.sha256"]

    def test_several_training_sets(self, make, images, tmp_path):
        cfg = make()
        train = dict(cfg.train_dataloader.dataset)
        cfg.train_dataloader.dataset = [train, {**train, "root": str(images / "test"), "name": "more"}]
        cfg = api.complete(cfg, tmp_path)
        data = build_data(cfg)
        assert isinstance(data.sources["train"], Concat)
        own = protocol_of(cfg, data, MODELS.build(cfg.model))
        assert [d["images"] for d in own["data"]["train"]] == [122, 37]
        assert own["data"]["train"][1]["ids_sha256"] == own["data"]["test"][0]["ids_sha256"]

    def test_the_smoothing_of_videos(self, make, videos, protocol, tmp_path):
        """Is part of it where there is something to smooth, and only there."""
        assert "smoothing" not in protocol()
        assert difference(protocol(), protocol({"test_cfg.smoothing_window": 5})) == []
        found = []
        for window in ({}, {"test_cfg.smoothing_window": 31}, {"test_cfg.smoothing_window": 5}):
            cfg = make(window)
            cfg.test_dataloader.dataset = videos
            cfg = api.complete(cfg, tmp_path / "unused")
            found.append(protocol_of(cfg, build_data(cfg), MODELS.build(cfg.model)))
        assert difference(found[0], found[1]) == []
        assert difference(found[0], found[2]) == [("smoothing.window", 31, 5)]

    def test_it_survives_json(self, protocol):
        own = protocol()
        assert json.loads(json.dumps(own)) == own
        assert hash_of(own) == hash_of(json.loads(json.dumps(own)))


class TestPortable:
    def test_a_command_line(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        words = [
            "train",
            str(tmp_path / "a b.py"),
            "--data",
            "/big/disk",
            "--work-dir",
            "/elsewhere/run",
            "--seed",
            "1",
        ]
        assert process.portable_command(words) == (
            "ferbench train 'a b.py' --data $FERBENCH_DATA --work-dir run --seed 1"
        )
        assert process.portable_command([]) == ""

    def test_the_command_line_is_known_while_it_runs_only(self, monkeypatch):
        seen = []
        monkeypatch.setattr(cli, "_list", lambda args: seen.append(process.command()) or 0)
        assert cli.main(["list", "--kind", "threshold"]) == 0
        assert seen == ["ferbench list --kind threshold"]
        assert process.command() == ""

    def test_a_config(self, monkeypatch):
        monkeypatch.setenv("FERBENCH_DATA", "/big/disk")
        cfg = {"a": {"root": "/big/disk/x", "w": "/home/me/weights.pth", "n": (1, np.float64(2.0))}, "work_dir": "w",
               "resume": False, "b": "/big/diskette"}  # fmt: skip
        assert portable_config(cfg) == {
            "a": {"root": "{{$FERBENCH_DATA:data}}/x", "w": "weights.pth", "n": [1, 2.0]}, "b": "diskette",
        }  # fmt: skip

    def test_the_default_data_folder(self, monkeypatch):
        monkeypatch.delenv("FERBENCH_DATA", raising=False)
        assert portable_config({"root": "data/x", "name": "database"}) == {
            "root": "{{$FERBENCH_DATA:data}}/x", "name": "database",
        }  # fmt: skip


@pytest.mark.parametrize(("algorithm", "label"), [
    ({"type": "Supervised"}, "Supervised"),
    ({"type": "FixMatch", "threshold": 0.8}, "FixMatch threshold=0.8"),
    ({"type": "DTM", "threshold_only": True}, "DTM threshold_only=True"),
    ({"type": "DTM", "threshold_only": False}, "DTM"),
])  # fmt: skip
def test_labels(algorithm, label):
    assert label_of(ALGORITHMS, algorithm) == label


def test_records_do_not_slow_a_step(make, tmp_path, monkeypatch):
    """Nothing is read or written between validations."""
    writes = []
    monkeypatch.setattr(records, "write", lambda own, path: writes.append((own.status, os.fspath(path))))
    api.train(make({"train_cfg.max_iters": 12}), tmp_path / "run")
    assert [status for status, _ in writes] == ["running"] * 4 + ["finished"]
