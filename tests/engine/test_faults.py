"""Mistakes and accidents: exit code, one message without a traceback, nothing lost or half-written."""

from __future__ import annotations

import errno
import json
import os
import select
import shlex
import shutil
import signal
from multiprocessing import resource_sharer
from pathlib import Path

import numpy as np
import pytest
import torch

from ferbench import cli
from ferbench.data.loader import TrainBatches, explaining_dead_workers
from ferbench.engine import api, checkpoint
from ferbench.engine.accidents import out_of_memory
from ferbench.engine.loops import SemiTrainLoop
from ferbench.engine.loops.evaluation import EvaluationLoop
from ferbench.errors import ExitStatus, UserError


@pytest.fixture
def ferbench(images, config_file, capsys, monkeypatch):
    """The command line in this process: exit code and stderr of ``ferbench train`` on the tiny config."""
    monkeypatch.setattr(cli, "tune_process", lambda: None)

    def run(*arguments, options=None, data=images):
        words = ["train", str(config_file), *map(str, arguments), "--data", str(data)]
        words += ["--cfg-options", *(f"{k}={v}" for k, v in options.items())] if options else []
        capsys.readouterr()
        code = cli.main(words)
        return code, capsys.readouterr().err

    return run


@pytest.fixture
def finished(make, tmp_path):
    """A folder with a run of four iterations."""
    api.train(make({"train_cfg.max_iters": 4}), tmp_path / "run")
    return tmp_path / "run"


SHORT = {"train_cfg.max_iters": 4}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a run but mmengine's logs."""
    return {f.name: f.read_bytes() for f in folder.iterdir() if f.is_file()}


def refused(result, *sentences, status=ExitStatus.USER_ERROR):
    code, message = result
    assert code == status, message
    assert message.startswith("error: ")
    assert message.count("error: ") == 1
    assert "Traceback" not in message
    for sentence in sentences:
        assert sentence in message


class TestConfig:
    def test_missing_data(self, command, tmp_path):
        """In a process of its own: nothing else may reach stderr."""
        (tmp_path / "empty").mkdir()
        done = command("--work-dir", tmp_path / "run", data=tmp_path / "empty")
        refused((done.returncode, done.stderr), str(tmp_path / "empty" / "train"), "tools/make_synthetic.py")
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(("options", "sentences"), [
        ({"trian_cfg.max_iters": 3}, ["'trian_cfg'", "did you mean 'train_cfg'"]),
        ({"train_cfg.max_iter": 3}, ["'max_iter'", "did you mean 'max_iters'"]),
        ({"model.algorithm.type": "DMT"}, ["no algorithm named 'DMT'", "did you mean 'DTM'"]),
        ({"model.algorithm.flor": 0.5}, ["DTM has no parameter 'flor'", "'floor'"]),
        ({"model.backbone.type": "TinyPlane"}, ["no model named 'TinyPlane'", "'TinyPlain'"]),
        ({"model.backbone.type": "IResNet"}, ["IResNet needs 'depth'", "model.backbone=dict(type='IResNet', depth=...)"]),
        ({"model.algorithm": "dict(type='FixMatch', threshold=95)"}, ["got threshold=95", "did you mean 0.95?"]),
        ({"default_hooks.monitor.intervall": 3}, ["no parameter 'intervall'", "'interval'"]),
        ({"optim_wrapper.optimizer.type": "SDG"}, ["no optimizer named 'SDG'"]),
        ({"test_evaluator.type": "ExpresionMetrics"}, ["ExpressionMetrics"]),
        ({"model.algorithm.prediction_view": "stronger"}, ["algorithm 'DTM' asks for the view(s) stronger", "weak2"]),
        ({"views.size": 32}, ["views of 32 px", "24 px"]),
        ({"train_dataloader.batch_size": 0}, ["the global batch of the labeled stream is 0"]),
        ({"train_dataloader.batch_size": "many"}, ["the global batch of the labeled stream is 'many'"]),
        ({"train_dataloader.batch_size": 100_000}, ["labeled stream is 100000 images", "at most 16384 for each process"]),
        ({"unlabeled_dataloader.mu": 0}, ["unlabeled_dataloader.mu is 0", "a whole number, at least 1"]),
        ({"unlabeled_dataloader.mu": 2.5}, ["unlabeled_dataloader.mu is 2.5", "a whole number, at least 1"]),
        ({"unlabeled_dataloader.mu": "seven"}, ["unlabeled_dataloader.mu is 'seven'", "a whole number, at least 1"]),
        ({"unlabeled_dataloader.mu": 70_000}, ["unlabeled stream is 560000 images", "times unlabeled_dataloader.mu"]),
        ({"unlabeled_dataloader": None}, ["'DTM' needs unlabeled images"]),
        ({"val_dataloader.batch_size": 0}, ["val_dataloader.batch_size is 0"]),
        ({"train_cfg.val_interval": 0}, ["train_cfg.val_interval is 0"]),
        ({"train_cfg.micro_batches": 3}, ["cannot be cut into 3 equal parts"]),
        ({"model.precision": "fp8"}, ["model.precision is 'fp8'", "bf16"]),
        ({"model": None}, ["the config has no 'model'"]),
        ({"views": None}, ["the config has no 'views'"]),
        ({"split.per_class": 0}, ["the labeled stream has no images"]),
    ])  # fmt: skip
    def test_mistakes(self, options, sentences, ferbench, tmp_path):
        refused(ferbench("--work-dir", tmp_path / "run", options=options), *sentences)
        assert not list((tmp_path / "run").glob("*.pth")), "nothing half-written"

    def test_a_mistake_does_not_cost_the_run_that_was_to_be_overwritten(self, ferbench, finished):
        before = contents(finished)
        refused(ferbench("--work-dir", finished, "--overwrite", options={"views.size": 32}), "views of 32 px")
        assert contents(finished) == before

    def test_a_process_launcher_that_is_not_there(self, ferbench, tmp_path, monkeypatch):
        monkeypatch.delenv("RANK", raising=False)
        result = ferbench("--work-dir", tmp_path / "run", "--launcher", "pytorch")
        refused(result, "--launcher pytorch, but RANK", "tools/dist_train.sh")


class TestFolder:
    def test_it_holds_a_run(self, ferbench, finished):
        before = contents(finished)
        refused(
            ferbench("--work-dir", finished, options=SHORT), "already holds a run", "--resume", "--overwrite"
        )
        assert contents(finished) == before

    @pytest.mark.parametrize("kept", ["best", "none"])
    def test_it_holds_a_finished_run_whose_checkpoints_were_removed(self, kept, ferbench, finished):
        for file in finished.glob("*.pth" if kept == "none" else "last.pth"):
            file.unlink()
        before = contents(finished)
        refused(ferbench("--work-dir", finished, options=SHORT), "already holds a run", "--overwrite")
        refused(
            ferbench("--work-dir", finished, "--resume", options=SHORT), "last.pth is gone", "--overwrite"
        )
        assert contents(finished) == before
        assert ferbench("--work-dir", finished, "--overwrite", options=SHORT)[0] == 0
        assert (finished / "last.pth").is_file()

    def test_resume_says_that_it_starts_from_the_beginning(self, ferbench, tmp_path):
        assert ferbench("--work-dir", tmp_path, "--resume", options={**SHORT, "log_level": "INFO"})[0] == 0
        assert "no last.pth" in next(tmp_path.glob("*/*.log")).read_text()

    def test_overwrite_leaves_nothing_of_the_old_run(self, ferbench, finished, make, read, tmp_path, differ):
        for name in ("unreadable.txt", ".last.pth.abc.tmp"):
            (finished / name).write_text("of the old run")
        new = {**SHORT, "split.per_class": 7}
        code, _ = ferbench("--work-dir", finished, "--overwrite", options=new)
        assert code == 0
        api.train(make(new), tmp_path / "other")
        assert contents(finished).keys() == contents(tmp_path / "other").keys()
        a, b = read(finished), read(tmp_path / "other")
        assert differ(a.checkpoint["model"], b.checkpoint["model"]) == []
        assert a.metrics == b.metrics

    @pytest.mark.parametrize("below", ["", "/deeper/still"])
    def test_a_file_stands_in_its_place(self, below, ferbench, tmp_path):
        file = tmp_path / "run"
        file.write_text("mine")
        refused(ferbench("--work-dir", f"{file}{below}", options=SHORT), str(file), "name another place")
        assert file.read_text() == "mine"

    @pytest.mark.parametrize("again", [False, True])
    def test_it_goes_while_the_run_lasts(self, again, ferbench, tmp_path, monkeypatch):
        """Removed, or removed and replaced by a file."""
        folder, validate = tmp_path / "run", EvaluationLoop.run

        def run(loop):
            shutil.rmtree(folder)
            if again:
                folder.write_text("mine")
            return validate(loop)

        monkeypatch.setattr(EvaluationLoop, "run", run)
        refused(ferbench("--work-dir", folder, options=SHORT), str(folder), "--resume")


class TestResume:
    def test_another_seed(self, ferbench, finished):
        before = contents(finished)
        refused(
            ferbench("--work-dir", finished, "--resume", "--seed", 1, options=SHORT),
            "another seed: 0 instead of 1",
        )
        assert contents(finished) == before

    @pytest.mark.parametrize(("options", "sentence"), [
        ({"model.backbone.type": "TinyBatchNorm"}, "model.backbone.type = 'TinyPlain' instead of 'TinyBatchNorm'"),
        ({"train_dataloader.batch_size": 4}, "train_dataloader.batch_size = 8 instead of 4"),
        ({"unlabeled_dataloader.mu": 3}, "unlabeled_dataloader.mu = 2 instead of 3"),
        ({"unlabeled_dataloader.rest": False}, "another images: unlabeled = "),
        ({"train_dataloader.sampler": "class_balanced"},
         "another protocol: train.sampler = 'shuffled' instead of 'class_balanced'"),
    ])  # fmt: skip
    def test_another_experiment(self, options, sentence, ferbench, finished):
        before = contents(finished)
        refused(ferbench("--work-dir", finished, "--resume", options={**SHORT, **options}), sentence)
        assert contents(finished) == before

    def test_weights_of_another_model(self, ferbench, finished):
        content = checkpoint.load(finished / "last.pth")
        content["model"].pop("network.head.fc.bias")
        checkpoint.save(content, finished / "last.pth")
        refused(
            ferbench("--work-dir", finished, "--resume", options=SHORT), "1 missing (network.head.fc.bias)"
        )

    def test_the_best_checkpoint_holds_only_weights(self, ferbench, finished):
        result = ferbench("--work-dir", finished, "--resume", finished / "best_ema.pth", options=SHORT)
        refused(result, "holds only weights", "last.pth")

    @pytest.mark.parametrize("damage", [0.5, 0.0, "text", "foreign"])
    def test_a_damaged_file(self, damage, ferbench, finished):
        file = finished / "last.pth"
        whole = file.read_bytes()
        if damage == "foreign":
            torch.save({"state_dict": {}}, file)
        else:
            file.write_bytes(b"not a checkpoint" if damage == "text" else whole[: int(len(whole) * damage)])
        before = contents(finished)
        refused(ferbench("--work-dir", finished, "--resume", options=SHORT), "last.pth")
        assert contents(finished) == before

    def test_a_checkpoint_that_is_not_there(self, ferbench, tmp_path):
        refused(ferbench("--work-dir", tmp_path / "run", "--resume", tmp_path / "no.pth"), "no.pth")
        assert not (tmp_path / "run").exists()

    def test_an_edited_split(self, ferbench, finished):
        split = finished / "split.json"
        split.write_text(split.read_text().replace('"count": ', '"count": 1', 1))
        before = contents(finished)
        refused(
            ferbench("--work-dir", finished, "--resume", options=SHORT),
            "edited after it was written",
            "split.json",
        )
        assert contents(finished) == before

    def test_a_checkpoint_does_not_run_code(self, finished):
        class Evil:
            def __reduce__(self):
                return os.mkdir, (str(finished / "evil"),)

        torch.save({"format": 1, "meta": Evil(), "iter": 0, "model": {}}, finished / "last.pth")
        with pytest.raises(UserError, match="damaged"):
            checkpoint.load(finished / "last.pth")
        assert not (finished / "evil").exists()


class TestUnreadable:
    @pytest.fixture
    def damaged(self, images, tmp_path):
        """The images, some of whose unlabeled faces are cut short, empty, or no images."""

        def damage(count):
            root = tmp_path / "images"
            for file in sorted(images.rglob("*.*")):
                copy = root / file.relative_to(images)
                copy.parent.mkdir(parents=True, exist_ok=True)
                os.link(file, copy)
            for i, file in enumerate(sorted((root / "faces").rglob("*.*"))[:count]):
                data = file.read_bytes()
                file.unlink()
                file.write_bytes([data[: len(data) // 2], b"", b"no image"][i % 3])
            return root

        return damage

    def test_few_are_replaced_and_named(self, damaged, make, read, tmp_path):
        root = damaged(2)
        api.train(make({"train_cfg.max_iters": 12}, root), tmp_path / "run")
        lines = (tmp_path / "run" / "unreadable.txt").read_text().splitlines()
        assert len(lines) == len(set(lines)) == 2
        assert all(line.startswith("unlabeled\t") and "faces/people/000" in line for line in lines)
        assert (
            "unreadable images in the unlabeled data" in next((tmp_path / "run").glob("*/*.log")).read_text()
        )
        assert [m["kind"] for m in read(tmp_path / "run").metrics].count("test") == 1
        own = [m["losses"]["loss"] for m in read(tmp_path / "run").metrics if m["kind"] == "train"]
        assert np.isfinite(own).all()

    def test_a_resumed_run_names_each_once(self, damaged, make, tmp_path):
        root = damaged(2)
        with pytest.raises(UserError, match="is broken"):
            api.train(make({"custom_hooks.1.iteration": 11}, root), tmp_path / "run")
        api.train(make({}, root), tmp_path / "run", resume=True)
        lines = (tmp_path / "run" / "unreadable.txt").read_text().splitlines()
        assert len(lines) == len(set(lines)) == 2

    def test_many_stop_the_run(self, damaged, ferbench, tmp_path):
        result = ferbench("--work-dir", tmp_path / "run", data=damaged(30))
        refused(
            result,
            "unlabeled images could not be read",
            "at most 0.01",
            "check_data.py",
            "unreadable.txt",
            "raise train_cfg.max_unreadable",
        )

    def test_a_worker_that_finds_no_replacement(self, damaged, ferbench, tmp_path):
        options = {"unlabeled_dataloader.num_workers": 1, "unlabeled_dataloader.rest": False}
        result = ferbench(
            "--work-dir", tmp_path / "run", data=damaged(60), options=options
        )  # all but the last
        refused(result, "16 images of 'faces' in a row could not be read", "check_data.py")

    def test_a_set_of_which_nothing_can_be_read_does_not_start(self, damaged, ferbench, tmp_path):
        result = ferbench("--work-dir", tmp_path / "run", data=damaged(61))
        refused(result, "no image can be read: 8 of 61 were tried", "check_data.py")

    def test_one_of_the_test_set_stops_it(self, images, make, tmp_path, damaged):
        root = damaged(0)
        broken = sorted((root / "test").rglob("*.png"))[0]
        broken.unlink()
        broken.write_bytes(b"")
        with pytest.raises(UserError, match=r"1 of .* test images could not be read") as caught:
            api.train(make(SHORT, root), tmp_path / "run")
        assert caught.value.fix.endswith("raise test_dataloader.max_unreadable")
        api.train(make({**SHORT, "test_dataloader.max_unreadable": 0.1}, root), tmp_path / "run", resume=True)


class TestDivergence:
    def test_a_huge_learning_rate(self, ferbench, tmp_path):
        result = ferbench("--work-dir", tmp_path / "run", options={"optim_wrapper.optimizer.lr": 1e30})
        refused(
            result, "became NaN or infinite", "lower the learning rate", "no checkpoint had been written yet"
        )
        assert "healthy" not in result[1]
        assert not list((tmp_path / "run").glob("*.pth"))

    @pytest.mark.parametrize(
        "iteration", [6, 8]
    )  # in the middle, and in the update right before a checkpoint
    def test_the_last_checkpoint_is_healthy(self, iteration, ferbench, make, tmp_path):
        options = {"custom_hooks.2.iteration": iteration}
        code, message = ferbench("--work-dir", tmp_path / "run", options=options)
        refused((code, message), "NaN", "last.pth in the folder is from before and healthy")
        content = checkpoint.load(tmp_path / "run" / "last.pth")
        assert content["iter"] == 4
        tensors = [v for k, v in content["model"].items() if "network" in k]
        assert all(t.isfinite().all() for t in tensors)
        api.train(make(), tmp_path / "run", resume=True)


class TestWeights:
    """A threshold rule that breaks its promise."""

    @pytest.fixture
    def train(self, make, tmp_path):
        def run(**rule):
            algorithm = dict(_delete_=True, type="Matching", threshold=dict(type="OddWeights", **rule))
            api.train(make({**SHORT, "model.algorithm": algorithm}), tmp_path / "run")

        return run

    def test_outside_0_1(self, train, tmp_path):
        """Their mean is 0: the utilization looks like that of a rule which selects nothing."""
        with pytest.raises(UserError) as error:
            train(numbers=[2.5, -2.5, 1.0, -1.0])
        # 3 steps of 16 images, of which every fourth has a weight of 1.
        assert "OddWeights gave 36 pseudo-labels a weight outside [0, 1] or NaN before iteration 3" in str(
            error.value
        )
        assert not list((tmp_path / "run").glob("*.pth"))

    def test_nan_is_the_rule_s_and_not_a_diverged_training(self, train, tmp_path):
        """16 weights of the first step; after it the network is NaN, and so is what the rule is given."""
        with pytest.raises(UserError, match=r"OddWeights gave 16 pseudo-labels a weight .* or NaN"):
            train(numbers=[float("nan")])
        assert not list((tmp_path / "run").glob("*.pth"))

    def test_rounding_is_no_mistake(self, train, tmp_path):
        train(numbers=[1.000001, -0.000001])
        assert (tmp_path / "run" / "results.md").is_file()

    def test_a_column(self, train):
        with pytest.raises(UserError, match=r"OddWeights returned torch.float32 of shape \(16, 1\)"):
            train(numbers=[1.0], column=True)


class TestDisk:
    @pytest.mark.parametrize("where", ["replace", "write"])
    def test_no_space_while_saving(self, where, ferbench, make, tmp_path, monkeypatch):
        folder = tmp_path / "run"
        with pytest.raises(UserError, match="is broken"):
            api.train(make({"custom_hooks.1.iteration": 6}), folder)
        before = (folder / "last.pth").read_bytes()
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def save(content, stream):
            stream.write(b"half of a checkpoint")
            raise RuntimeError("[enforce fail at inline_container.cc:603]") from full

        def replace(source, target):
            raise full

        with monkeypatch.context() as patch:
            if where == "write":
                patch.setattr(torch, "save", save)
            else:
                original = os.replace
                patch.setattr(
                    os, "replace", lambda a, b: (replace if str(b).endswith("pth") else original)(a, b)
                )
            result = ferbench("--work-dir", folder, "--resume")
        refused(result, "could not be written", ".pth", "--resume", "is intact", status=ExitStatus.DISK_FULL)
        assert (folder / "last.pth").read_bytes() == before
        assert list(folder.glob(".*.tmp")) == []
        api.train(make(), folder, resume=True)


class TestAccidents:
    def test_a_worker_is_killed(self, command, make, tmp_path):
        """In a process of its own: torch tells of a dead worker in whatever line of the main thread comes next."""
        options = {
            "custom_hooks.0.iteration": 6, "custom_hooks.0.whom": "child",
            "unlabeled_dataloader.num_workers": 1,
        }  # fmt: skip
        done = command("--work-dir", tmp_path / "run", options=options)
        refused((done.returncode, done.stderr), "a data-loading process died", "--resume", "num_workers")
        api.train(make(), tmp_path / "run", resume=True)

    def test_a_batch_of_a_dead_worker(self, tmp_path):
        """It may be gone before torch knows that its maker is."""
        with pytest.raises(UserError, match="a data-loading process died"), explaining_dead_workers():
            resource_sharer._resource_sharer.get_connection((str(tmp_path / "gone"), 0))

    @pytest.mark.parametrize("error", [FileNotFoundError("x"), RuntimeError("x"), EOFError()])
    def test_other_errors_stay_what_they_are(self, error):
        with pytest.raises(type(error)), explaining_dead_workers():
            raise error

    @pytest.mark.parametrize(
        ("signum", "workers"), [(signal.SIGINT, 0), (signal.SIGTERM, 1), (signal.SIGUSR1, 0)]
    )
    def test_stopped_by_a_signal(self, signum, workers, ferbench, read, tmp_path, capsys):
        """One line, a status of its own, and a command that goes on; that all is as if nothing had happened is proved in
        test_resume.py."""
        handler = signal.getsignal(signum)
        options = {
            "custom_hooks.0.iteration": 6, "custom_hooks.0.signum": int(signum),
            "unlabeled_dataloader.num_workers": workers, "train_cfg.max_iters": 8,
        }  # fmt: skip
        code, message = ferbench("--work-dir", tmp_path / "run", options=options)
        assert code == ExitStatus.STOPPED
        assert message.count("\n") == 1
        said, _, advice = message.rstrip().partition("; go on with: ferbench ")
        assert (
            said == f"stopped by {signal.Signals(signum).name} after iteration 6 of 8, which last.pth holds"
        )
        assert signal.getsignal(signum) is handler
        assert read(tmp_path / "run").checkpoint["iter"] == 6
        assert cli.main(shlex.split(advice)) == 0
        assert read(tmp_path / "run").metrics[-1]["kind"] == "test"

    def test_told_to_end_before_there_is_anything_to_save(self, ferbench, tmp_path, monkeypatch):
        monkeypatch.setattr(api, "build_data", lambda cfg: signal.raise_signal(signal.SIGTERM))
        code, message = ferbench("--work-dir", tmp_path / "run", options=SHORT)
        assert code == ExitStatus.INTERRUPTED
        assert message.startswith("error: interrupted; go on with: ferbench train ")
        assert "Traceback" not in message

    def test_a_second_signal_ends_it_at_once(self, command, make, read, tmp_path):
        """In a process of its own, with data-loading processes, none of which outlives it or says a word."""
        options = {
            "custom_hooks.0.iteration": 6, "custom_hooks.0.signum": int(signal.SIGTERM), "custom_hooks.0.times": 2,
            "unlabeled_dataloader.num_workers": 2,
        }  # fmt: skip
        done = command("--work-dir", tmp_path / "run", options=options)
        assert done.returncode == ExitStatus.INTERRUPTED
        assert done.stderr == (
            "interrupted by a second signal; --resume goes on from the checkpoint before\n"
        )
        children = (tmp_path / "run" / "children.txt").read_text().split()
        assert len(children) >= 2
        assert all(has_ended(pid) for pid in children)
        assert read(tmp_path / "run").checkpoint["iter"] == 4
        api.train(make(), tmp_path / "run", resume=True)

    def test_a_group_s_signals_do_not_end_workers(self, command, read, tmp_path):
        """A terminal and a batch system send a signal to all processes of a job."""
        options = {
            "custom_hooks.0.iteration": 6, "custom_hooks.0.signum": int(signal.SIGTERM), "custom_hooks.0.whom": "child",
            "unlabeled_dataloader.num_workers": 1, "train_cfg.max_iters": 8,
        }  # fmt: skip
        done = command("--work-dir", tmp_path / "run", options=options)
        assert (done.returncode, done.stderr) == (0, "")
        assert read(tmp_path / "run").checkpoint["iter"] == 8


def has_ended(pid: str) -> bool:
    """Wait for the end of a process that was killed, which the kernel does in its own time."""
    try:
        process = os.pidfd_open(int(pid))
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], 60)[0])
    finally:
        os.close(process)


class TestMemory:
    @pytest.mark.parametrize(("error", "which"), [
        (RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: ..."), "main"),
        (MemoryError("Unable to allocate 8.00 GiB for an array"), "main"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "main"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "GPU"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "GPU"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None),
        (ValueError("out of memory"), None),
    ])  # fmt: skip
    def test_which_errors_say_so(self, error, which):
        assert out_of_memory(error) == which

    def test_one_message_and_the_record_says_so(self, ferbench, tmp_path, monkeypatch):
        """Followed: the finer steps that the message proposes are accepted."""
        step = SemiTrainLoop._step

        def full(self, batch):
            if self._iter == 2 and self.micro_batches < 2:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return step(self, batch)

        monkeypatch.setattr(SemiTrainLoop, "_step", full)
        run = ("--work-dir", tmp_path / "run")
        result = ferbench(*run, options=SHORT)
        refused(result, "out of GPU memory", "train_cfg.micro_batches=2", "num_workers", "--overwrite")
        record = json.loads((tmp_path / "run" / "record.json").read_text())
        assert (record["status"], record["failure"][:17]) == ("failed", "out of GPU memory")
        assert ferbench(*run, "--overwrite", options={**SHORT, "train_cfg.micro_batches": 2})[0] == 0

    def test_in_a_worker(self, ferbench, tmp_path, monkeypatch):
        monkeypatch.setattr(TrainBatches, "_make", lambda *_: np.empty(1 << 60, np.uint8))
        options = {**SHORT, "unlabeled_dataloader.num_workers": 1}
        refused(
            ferbench("--work-dir", tmp_path / "run", options=options), "out of main memory: ", "num_workers"
        )
