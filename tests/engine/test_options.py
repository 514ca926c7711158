"""What the options of training do to its numbers, and what a run writes down."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torch import nn

from ferbench import cli
from ferbench.algorithms.mixing import Mixer
from ferbench.engine import api
from ferbench.errors import UserError

CLASSES = ["blank", "cross", "disc", "stripes"]
SUPERVISED = {
    "model.algorithm._delete_": True, "model.algorithm.type": "Supervised", "model.head.dropout": 0.0,
    "train_cfg.max_iters": 4,
}  # fmt: skip

MIXMATCH = {"model.algorithm._delete_": True, "model.algorithm.type": "MixMatch"}


def log_of(folder):
    return next(folder.glob("*/*.log")).read_text()


class TestMicroBatches:
    def test_two_halves_are_the_whole(self, make, read, tmp_path):
        api.train(make(SUPERVISED), tmp_path / "whole")
        api.train(make({**SUPERVISED, "train_cfg.micro_batches": 2}), tmp_path / "halves")
        whole, halves = read(tmp_path / "whole"), read(tmp_path / "halves")
        for key, value in whole.checkpoint["model"].items():
            torch.testing.assert_close(halves.checkpoint["model"][key], value, rtol=0, atol=1e-6)
        for a, b in zip(whole.metrics[:2], halves.metrics[:2], strict=True):
            assert a.get("losses", {}) == pytest.approx(b.get("losses", {}), abs=1e-6)

    def test_no_two_parts_draw_the_same_numbers(self, make, tmp_path, monkeypatch):
        """Neither those of one step, nor those of two."""
        draw, seen = Mixer.draw, []

        def spy(mixer, rows, number):
            seen.append((rows, number, *draw(mixer, rows, number)))
            return seen[-1][2:]

        monkeypatch.setattr(Mixer, "draw", spy)
        cfg = make({**MIXMATCH, "train_cfg.micro_batches": 2, "train_cfg.max_iters": 3})
        api.train(cfg, tmp_path)
        assert [number for _, number, *_ in seen] == list(range(6))
        assert len({rows for rows, *_ in seen}) == 1
        assert len({kept for _, _, kept, _ in seen}) == 6
        assert len({tuple(order) for *_, order in seen}) == 6

    def test_it_shows_each_part_to_the_rule(self, make, read, tmp_path):
        cfg = make({"train_cfg.micro_batches": 4, "train_cfg.max_iters": 3})
        api.train(cfg, tmp_path)
        [line] = [m for m in read(tmp_path).metrics if m["kind"] == "train"]
        assert sum(line["pseudo_label_share"]) == pytest.approx(1)


class TestClipping:
    def test_the_step_is_as_long_as_allowed(self, make, tmp_path):
        options = {
            **SUPERVISED, "train_cfg.max_iters": 1, "optim_wrapper.clip_grad.max_norm": 0.01, "param_scheduler": None,
            "optim_wrapper.optimizer.momentum": 0, "optim_wrapper.optimizer.nesterov": False,
            "optim_wrapper.optimizer.weight_decay": 0, "optim_wrapper.optimizer.lr": 2.0,
        }  # fmt: skip
        cfg = make({**options, "optim_wrapper.clip_grad": {"max_norm": 0.01}})
        before = {}
        start = api.SSLRunner.prepare

        def prepare(runner, source):
            start(runner, source)
            before.update({k: v.clone() for k, v in runner.bare_model.network.named_parameters()})

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(api.SSLRunner, "prepare", prepare)
            after = dict(api.train(cfg, tmp_path).bare_model.network.named_parameters())
        length = torch.stack([(after[k] - before[k]).detach().norm() for k in before]).norm()
        assert float(length) == pytest.approx(2.0 * 0.01, rel=1e-4)


class TestPrecision:
    def test_bf16(self, make, read, tmp_path):
        api.train(make(SUPERVISED), tmp_path / "fp32")
        api.train(make({**SUPERVISED, "model.precision": "bf16"}), tmp_path / "bf16")
        fp32, bf16 = read(tmp_path / "fp32"), read(tmp_path / "bf16")
        a, b = (r.checkpoint["model"]["network.head.fc.weight"] for r in (fp32, bf16))
        assert b.dtype == torch.float32
        assert not torch.equal(a, b)
        losses = [[m["losses"]["loss"] for m in r.metrics if m["kind"] == "train"] for r in (fp32, bf16)]
        assert losses[0] == pytest.approx(losses[1], rel=0.05)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="fp16 with loss scaling is for GPUs")
    def test_fp16_resumes_with_its_loss_scale(self, make, read, tmp_path):
        cfg = make({"model.precision": "fp16"})
        api.train(cfg, tmp_path)
        assert read(tmp_path).checkpoint["optimizer"]["loss_scaler"]["scale"] > 0
        api.train(cfg, tmp_path, resume=True)


class TestScores:
    @pytest.mark.parametrize("name", ["last", "best_ema", "best_raw"])
    def test_testing_gives_the_numbers_of_the_log(
        self, name, make, config_file, images, read, tmp_path, capsys
    ):
        folder = tmp_path / "run"
        api.train(make({"train_cfg.max_iters": 8}), folder)
        rows = read(folder).metrics[-1]["rows"]
        kind, _, weights = name.partition("_")
        wanted = [
            r for r in rows if r["checkpoint"] == kind and r["weights"] in (weights or "raw ema").split()
        ]
        before = sorted(f.name for f in folder.iterdir())

        scores = api.test(make(), folder / f"{name}.pth")
        for row in wanted:
            own = scores[row["weights"]]
            assert own == {k: row[k] for k in own}
            assert own.keys() == row.keys() - {"checkpoint", "weights", "iter", "smoothed"}
        assert sorted(f.name for f in folder.iterdir()) == sorted([*before, "test"])

        capsys.readouterr()
        assert cli.main(["test", str(config_file), str(folder / f"{name}.pth"), "--data", str(images)]) == 0
        assert f"{100 * wanted[0]['macro_f1']:.2f}" in capsys.readouterr().out

    def test_predictions_are_what_the_scores_are_of(self, make, config_file, images, tmp_path, capsys):
        """The csv, scored by scikit-learn; a second call does not replace it."""
        run, out = tmp_path / "run", tmp_path / "new" / "out"
        api.train(make({"train_cfg.max_iters": 4}), run)
        words = ["test", str(config_file), str(run / "last.pth"), "--data", str(images), "--out", str(out)]
        assert cli.main(words) == 0
        told = json.loads((out / "scores.json").read_text())
        assert (told["checkpoint"], told["classes"]) == ("last.pth", CLASSES)
        for row in told["rows"]:
            with open(out / f"predictions_{row['weights']}.csv", encoding="utf-8", newline="") as file:
                lines = list(csv.DictReader(file))
            assert len(lines) == row["count"] == 37
            assert {line["id"].split("/")[0] == line["label"] for line in lines} == {True}
            probs = np.array([[float(line[f"p({name})"]) for name in CLASSES] for line in lines])
            np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-5)
            truth, predicted = ([line[key] for line in lines] for key in ("label", "predicted"))
            score = f1_score(truth, predicted, average="macro", labels=CLASSES, zero_division=0)
            assert row["macro_f1"] == pytest.approx(score)
        before = {f.name: f.read_bytes() for f in out.iterdir()}
        assert cli.main(words) == 2
        assert "the folder already holds scores.json" in capsys.readouterr().err
        assert {f.name: f.read_bytes() for f in out.iterdir()} == before

    @pytest.mark.parametrize("window", [30, 1, 0, -3, 3.0, "31"])
    def test_a_window_of_smoothing_that_is_none(self, window, make, tmp_path):
        with pytest.raises(UserError, match="smoothing_window is") as error:
            api.train(make({"test_cfg.smoothing_window": window}), tmp_path)
        assert error.value.where == "test_cfg"
        assert not (tmp_path / "metrics.jsonl").exists()


class TestWarnings:
    def test_nothing_passes(self, make, read, tmp_path):
        options = {
            "model.algorithm._delete_": True, "model.algorithm.type": "FixMatch", "model.algorithm.threshold": 1.0,
            "default_hooks.monitor.interval": 2, "default_hooks.monitor.patience": 2, "train_cfg.max_iters": 6,
            "optim_wrapper.optimizer.lr": 0.01,
        }  # fmt: skip
        api.train(make(options), tmp_path)
        warnings = [line for line in log_of(tmp_path).splitlines() if "no pseudo-label has passed" in line]
        assert len(warnings) == 1  # after two records of three
        quantiles = [m for m in read(tmp_path).metrics if m["kind"] == "train"][1]["confidence_quantiles"]
        assert "for 4 iterations" in warnings[0]
        assert str(quantiles) in warnings[0]
        assert "[1.0, 1.0, 1.0, 1.0]" in warnings[0]

    def test_a_good_run_is_silent(self, make, tmp_path):
        api.train(make({"train_cfg.max_iters": 4}), tmp_path)
        assert "WARNING" not in log_of(tmp_path)


def test_compiled(make, read, tmp_path, monkeypatch):
    """By the backend "eager": compiling C++ for the tiny network takes 40 s, and finds what this finds."""
    compiled, original = [], nn.Module.compile
    monkeypatch.setattr(
        nn.Module, "compile", lambda self: compiled.append(self) or original(self, backend="eager")
    )
    api.train(make({**SUPERVISED, "model.compile": True}), tmp_path / "compiled")
    api.train(make(SUPERVISED), tmp_path / "eager")
    assert [type(module).__name__ for module in compiled] == ["Classifier"]
    own, plain = (read(tmp_path / n).checkpoint["model"] for n in ("compiled", "eager"))
    assert own.keys() == plain.keys()  # no prefix of the compiler: either kind of run can load the other's
    for key in own:
        torch.testing.assert_close(own[key], plain[key])
