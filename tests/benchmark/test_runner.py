"""The grid runner: every run is done once, whatever happens to some of them or to the runner."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from run_grid import FAKE, play
from test_grid import grid_file  # noqa: F401 - a fixture

from ferbench import cli, records
from ferbench.benchmark import board, execute, launchers, runner, store
from ferbench.benchmark.grid import Run, config_of, read_grid, runs_of
from ferbench.benchmark.store import Store
from ferbench.engine import api, lock
from ferbench.errors import DiskFull, ExitStatus, UserError
from ferbench.records.protocol import hash_of

TWO = "algorithms = {'A': dict(type='Supervised'), 'B': dict(type='FixMatch', threshold=0.4)}"
TUNED = """algorithms = {
    'A': dict(type='Supervised'), 'B': dict(type='FixMatch', threshold=0.4, search=dict(threshold=[0.1, 0.2, 0.3])),
}"""


@pytest.fixture
def stage(tmp_path, grid_file, images, make_record, monkeypatch):  # noqa: F811 - the fixture
    """A grid of two algorithms and two seeds, whose trainings are played."""
    monkeypatch.setattr(runner, "LOOK", 0.05)
    monkeypatch.setattr(runner, "train_command", None)
    plan = tmp_path / "plan" / "plan.json"
    plan.parent.mkdir()
    out = tmp_path / "out"
    play(str(plan))

    class Stage:
        folder, grid, data = out, grid_file(algorithms=TWO), images
        plan_file = plan

        def tell(self, *endings, scores=None, changes=None):
            """How runs end: pairs of words of the folder, and endings of one start after the other."""
            template = asdict(make_record())
            content = {
                "template": template,
                "endings": endings,
                "scores": scores or {},
                "changes": changes or {},
            }
            plan.write_text(json.dumps(content))

        def run(self, **options):
            """Exit code and what was printed."""
            printed = StringIO()
            defaults = {"grid": str(self.grid), "out": str(out), "data": str(images)}
            try:
                code = runner.benchmark(
                    runner.Options(**{**defaults, **options}), Console(file=printed, width=200)
                )
            finally:
                self.printed = printed.getvalue()
            return code, printed.getvalue()

        def starts(self):
            """Runs that were started, in order."""
            file = plan.with_name("starts")
            return file.read_text().split() if file.is_file() else []

        def records(self):
            """Run -> status and reason."""
            files = sorted(out.rglob("record.json"))
            found = [(f.parent, records.read(f)) for f in files]
            return {f"{f.parent.name}/{f.name}": (r.status, r.failure) for f, r in found}

    stage = Stage()
    stage.tell()
    return stage


ALL = ["A/seed0", "B/seed0", "A/seed1", "B/seed1"]


class TestAllIsWell:
    def test_every_run_once_seed_by_seed(self, stage):
        code, printed = stage.run(command="ferbench benchmark x.py")
        assert code == 0
        assert stage.starts() == ALL
        assert stage.records() == dict.fromkeys(ALL, ("finished", None))
        own = records.read(stage.folder / "runs" / "tiny" / "all" / "B" / "seed1" / "record.json")
        assert (own.label, own.seed, own.algorithm) == ("B", 1, {"type": "FixMatch", "threshold": 0.4})
        assert own.cell == records.Cell("grid", "tiny", {}, "ferbench benchmark x.py")
        assert "4 of 4 runs are finished" in printed
        assert "[4/4] finished: tiny · B · seed 1: macro-F1 74.96 (best EMA)" in printed
        assert not list(stage.folder.rglob(".lock"))

    def test_finished_runs_are_not_repeated(self, stage):
        stage.run()
        with pytest.raises(UserError, match="already holds this grid"):
            stage.run()
        assert stage.run(resume=True)[0] == 0
        assert stage.starts() == ALL

    def test_several_at_a_time(self, stage):
        assert stage.run(jobs=3)[0] == 0
        assert sorted(stage.starts()) == sorted(ALL)

    def test_a_part_first_and_the_rest_later(self, stage):
        code, printed = stage.run(only=("*/B/seed0", "*/seed1"))
        assert code == 0
        assert stage.starts() == ["B/seed0", "A/seed1", "B/seed1"]
        assert "3 of 4 runs are finished; 1 left out by --only" in printed
        [plan] = re.findall(r"│ tiny .*", printed)
        # What this command does, not the whole grid: runs, and how many of them are to be done.
        assert re.findall(r"\d+(?= +│| to do)", plan)[:2] == ["3", "3"]
        assert "1 of 4 runs are left out by --only" in printed
        assert stage.run(resume=True)[0] == 0
        assert stage.starts()[3:] == ["A/seed0"]

    @pytest.mark.parametrize(
        "pattern", ["*/B, as it is [1]/seed0", "*/B-as-it-is-1/seed0", "tiny/all/B, as*0"]
    )
    def test_a_part_by_its_name_or_its_folder(self, pattern, stage):
        stage.grid.write_text(stage.grid.read_text().replace("'B'", "'B, as it is [1]'"))
        assert stage.run(only=(pattern.replace("[", "[[]"),))[0] == 0
        assert stage.starts() == ["B-as-it-is-1/seed0"]

    def test_a_part_that_is_not_there(self, stage):
        with pytest.raises(UserError, match=r"--only '\*/C/\*' fits none of the 4 runs") as caught:
            stage.run(only=("*/A/*", "*/C/*"))
        assert "tiny/all/A/seed0" in str(caught.value)
        assert not stage.folder.exists()

    def test_a_dry_run_writes_nothing(self, stage):
        code, printed = stage.run(dry_run=True)
        assert code == 0
        assert not stage.folder.exists()
        assert "4 to do" in printed
        assert "48 steps, 768 images, ? h" in printed  # 2 x 12 x 8 and 2 x 12 x 24 images
        assert "each seed is a new draw of the split" in printed
        stage.run()
        assert "4 finished" in stage.run(dry_run=True)[1]
        assert stage.starts() == ALL

    def test_the_plan_knows_how_long_it_takes_by_what_has_finished(self, stage):
        """The template's run took 720 s for 2400 images."""
        stage.tell(["A/seed1", ["killed"]], ["B/seed1", ["killed"]])
        stage.run()
        plan = stage.run(dry_run=True, retry_failed=True)[1]
        assert "2 finished, 2 failed" in plan
        for seed in (0, 1):
            shutil.rmtree(stage.folder / "runs" / "tiny" / "all" / "B" / f"seed{seed}")
        plan = stage.run(dry_run=True)[1]
        assert "1 finished, 1 failed, 2 to do" in plan
        minutes = 2 * 12 * 24 * 720 / 2400 / 60
        assert f"24 steps, 576 images, {minutes:.1f} min of training" in plan

    @pytest.mark.parametrize(("keep", "names"), [
        ("all", ["best_ema.pth", "best_raw.pth", "last.pth"]), ("best", ["best_ema.pth", "best_raw.pth"]), ("none", []),
    ])  # fmt: skip
    def test_checkpoints_that_are_kept(self, keep, names, stage, grid_file):  # noqa: F811
        """Of finished runs only: an unfinished one needs its last."""
        stage.grid = grid_file(f"keep = {keep!r}", algorithms=TWO, seeds="seeds = [0]")
        stage.tell(["B/seed0", ["interrupt runner", "finish"]])
        with pytest.raises(KeyboardInterrupt):
            stage.run()
        found = sorted(f.name for f in (stage.folder / "runs/tiny/all/A/seed0").glob("*.pth"))
        assert found == names
        assert (stage.folder / "runs/tiny/all/B/seed0/last.pth").exists()
        assert stage.run(resume=True)[0] == 0

    def test_a_relative_folder(self, stage, tmp_path, monkeypatch):
        """Machines of a cluster may start their processes elsewhere."""
        monkeypatch.chdir(tmp_path)
        words = []
        played = runner.train_command
        monkeypatch.setattr(runner, "train_command", lambda *own: words.append(own) or played(*own))
        assert stage.run(out="out", data=os.path.relpath(stage.data))[0] == 0
        config, folder, data, plugins, _ = words[0]
        assert (config.is_absolute(), folder.is_absolute(), data.is_absolute(), plugins) == (
            True,
            True,
            True,
            (),
        )
        assert folder == stage.folder / "runs/tiny/all/A/seed0"

    @pytest.mark.parametrize("options", [{"jobs": 0}, {"trials": 0}])
    def test_wrong_numbers(self, options, stage):
        with pytest.raises(UserError, match="is 0"):
            stage.run(**options)


class TestFailures:
    @pytest.mark.parametrize(("ending", "reason", "has_protocol"), [
        ("own reason", "the loss became NaN (exit code 2)", True),
        ("fail at once", "the data folder does not exist (exit code 2)", False),
        ("traceback", "of two lines (exit code 1)", True),
        ("killed", "it said nothing (killed by SIGKILL, for lack of memory unless somebody did it)", True),
        ("killed at once", "it said nothing (killed by SIGKILL, for lack of memory unless somebody did it)", False),
    ])  # fmt: skip
    def test_one_run_fails_and_the_grid_goes_on(self, ending, reason, has_protocol, stage):
        stage.tell(["A/seed0", [ending, "finish"]])
        code, printed = stage.run()
        assert code == 1
        assert stage.starts() == ALL
        assert stage.records() == dict.fromkeys(ALL, ("finished", None)) | {"A/seed0": ("failed", reason)}
        assert "1 failed:" in printed
        assert f"tiny · A · seed 0 ({stage.folder / 'runs/tiny/all/A/seed0'}): {reason}" in printed
        own = records.read(stage.folder / "runs/tiny/all/A/seed0/record.json")
        assert (own.label, own.seed, own.cell.grid) == ("A", 0, "grid")
        assert bool(own.protocol) == has_protocol

        assert stage.run(resume=True)[0] == 1  # not repeated unless asked for
        assert stage.starts() == ALL
        assert stage.run(retry_failed=True)[0] == 0
        assert stage.starts() == [*ALL, "A/seed0"]
        assert stage.records() == dict.fromkeys(ALL, ("finished", None))

    def test_the_reason_of_a_second_failure_is_its_own(self, stage):
        stage.tell(["A/seed0", ["own reason", "killed"]])
        stage.run()
        stage.run(retry_failed=True)
        assert "SIGKILL" in stage.records()["A/seed0"][1]

    def test_what_a_run_printed_is_kept(self, stage):
        stage.tell(["A/seed0", ["traceback", "fail at once"]])
        stage.run()
        stage.run(retry_failed=True)
        console = (stage.folder / "runs/tiny/all/A/seed0/console.log").read_text()
        assert console.index("ZeroDivisionError") < console.index("error: the data folder")

    def test_a_damaged_record(self, stage):
        stage.run()
        file = stage.folder / "runs/tiny/all/B/seed0/record.json"
        file.write_text(file.read_text()[:100])
        code, printed = stage.run(resume=True)
        assert code == 0
        assert "the record is damaged" in printed
        assert str(file) in printed
        assert stage.starts() == [*ALL, "B/seed0"]

    def test_a_run_that_ends_well_without_a_record(self, stage):
        stage.tell(["B/seed0", ["finish"]])
        monkey = stage.plan_file.with_name("silent.py")
        monkey.write_text("print('nothing done')")
        runner.train_command = lambda *_: (sys.executable, str(monkey))
        assert stage.run()[0] == 1
        assert stage.records()["B/seed0"] == ("failed", "nothing done (exit code 0)")


class TestGuard:
    """Runs of one data set and budget that cannot be ranked together are said to be so at the end."""

    @pytest.mark.parametrize(("keys", "sentence"), [
        ({"protocol": {"mu": 7}, "protocol_hash": hash_of({"mu": 7})}, "the runs have 2 protocols"),
        ({"split_hash": "00"}, "the runs of seed 1 have 2 different splits"),
    ])  # fmt: skip
    def test_it_speaks(self, keys, sentence, stage):
        stage.tell(changes={"B/seed1": keys})
        code, printed = stage.run()
        assert code == 1
        assert "4 of 4 runs are finished" in printed
        assert sentence in printed


class TestMistakes:
    def test_a_mistyped_algorithm_fails_before_anything_runs(self, stage, grid_file):  # noqa: F811
        stage.grid = grid_file(algorithms=TWO.replace("FixMatch", "FixMach"))
        with pytest.raises(UserError, match=r"B · seed 0(.|\n)*did you mean 'FixMatch'"):
            stage.run()
        assert stage.starts() == []
        assert not stage.folder.exists()

    def test_two_grids_do_not_mix(self, stage, grid_file):  # noqa: F811
        stage.run()
        stage.grid = grid_file("options = {'train_cfg.max_iters': 13}", algorithms=TWO)
        with pytest.raises(UserError, match=r"train_cfg\.max_iters: 12 and 13"):
            stage.run(resume=True)
        assert stage.starts() == ALL

    def test_a_grid_may_grow(self, stage, grid_file):  # noqa: F811
        stage.run()
        stage.grid = grid_file(algorithms=TWO, seeds="seeds = [0, 1, 2]")
        assert stage.run(resume=True)[0] == 0
        assert stage.starts() == [*ALL, "A/seed2", "B/seed2"]


class TestFullDisk:
    """It is known by the exit status of a run, whatever that printed, and stops the grid; no run has failed by it."""

    def test_a_word_of_it_is_none(self, stage):
        stage.tell(["A/seed0", ["talk of a full disk"]])
        assert stage.run()[0] == 1
        assert stage.starts() == ALL
        assert stage.records()["A/seed0"][0] == "failed"

    def test_of_one_of_several_processes(self, stage):
        """The one that writes the record has only lost its connection."""
        stage.tell(["A/seed0", ["disk full for another process", "finish"]])
        with pytest.raises(DiskFull):
            stage.run()
        assert stage.records() == {"A/seed0": ("running", None)}
        assert stage.run(resume=True)[0] == 0

    def test_of_the_lock(self, stage, monkeypatch):
        def pwrite(*_):
            raise OSError(lock.errno.EDQUOT, "Disk quota exceeded")

        monkeypatch.setattr(lock.os, "pwrite", pwrite)
        with pytest.raises(DiskFull):
            stage.run()
        assert stage.starts() == []
        assert not list(stage.folder.rglob(".lock"))

    def test_of_a_run(self, stage):
        stage.tell(["A/seed1", ["disk full", "finish"]])
        with pytest.raises(DiskFull, match=r"no space is left on the disk(.|\n)*--resume"):
            stage.run()
        assert stage.starts() == ALL[:3]
        found = stage.records()
        assert found == {
            "A/seed0": ("finished", None),
            "B/seed0": ("finished", None),
            "A/seed1": ("running", None),
        }
        assert stage.run(resume=True)[0] == 0
        assert stage.starts() == [*ALL[:3], "A/seed1", "B/seed1"]

    def test_of_the_runner(self, stage, monkeypatch):
        def mark_failed(task, reason):
            raise UserError("cannot be written") from OSError(lock.errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(execute, "mark_failed", mark_failed)
        stage.tell(["A/seed0", ["killed"]])
        with pytest.raises(DiskFull, match="no space is left on the disk"):
            stage.run()
        assert stage.records() == {"A/seed0": ("running", None)}


class TestInterruptions:
    def test_a_run_that_was_told_to_stop(self, stage):
        """By somebody else than the grid: it is left, not failed."""
        stage.tell(["B/seed0", ["stopped", "finish"]])
        code, printed = stage.run()
        assert code == 1
        assert "3 of 4 runs are finished; 1 are still to be done: --resume" in printed
        assert stage.records()["B/seed0"] == ("running", None)
        assert stage.run(resume=True)[0] == 0

    @pytest.mark.parametrize("jobs", [1, 2])
    def test_sigterm(self, jobs, stage):
        """One run tells its runner to end, which asks all runs to end, and waits for them."""
        handler = signal.getsignal(signal.SIGTERM)
        stage.tell(["B/seed0", ["interrupt runner", "finish"]])
        with pytest.raises(KeyboardInterrupt):
            stage.run(jobs=jobs)
        assert "stopping the runs, which can go on later" in stage.printed
        assert stage.records()["B/seed0"] == ("running", None)
        assert all(status != "failed" for status, _ in stage.records().values())
        assert not list(stage.folder.rglob(".lock"))
        assert signal.getsignal(signal.SIGTERM) is handler
        assert stage.run(resume=True)[0] == 0
        assert stage.records() == dict.fromkeys(ALL, ("finished", None))
        assert stage.starts().count("B/seed0") == 2

    def test_a_run_that_does_not_end_is_killed(self, stage, monkeypatch):
        monkeypatch.setattr(execute, "GRACE", 2 * execute.POLL)
        stage.tell(["A/seed0", ["stubborn"]])
        with pytest.raises(KeyboardInterrupt):
            stage.run()
        assert stage.records() == {"A/seed0": ("running", None)}
        assert not list(stage.folder.rglob(".lock"))

    def test_who_is_in_a_hurry_interrupts_again_and_again(self, stage, monkeypatch):
        """The run is killed at the second signal, and no further one ends the runner before the run."""
        monkeypatch.setattr(execute, "GRACE", 1e9 * execute.POLL)
        stage.tell(["A/seed0", ["impatient"]])
        with pytest.raises(KeyboardInterrupt):
            stage.run()
        assert stage.records() == {"A/seed0": ("running", None)}
        assert not list(stage.folder.rglob(".lock"))  # which a training that lives keeps

    def test_a_killed_runner(self, stage, images):
        """Its training goes on by itself, keeps its lock, and is not started again."""
        stage.tell(["B/seed0", ["kill runner"]])
        words = [
            sys.executable,
            FAKE.with_name("run_grid.py"),
            stage.plan_file,
            stage.grid,
            stage.folder,
            images,
        ]
        done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=1200)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert stage.starts() == ALL[:2]
        # Wait for the orphan as its lock tells: the kernel gives it up when the process ends.
        with open(stage.folder / "runs/tiny/all/B/seed0/.lock", "rb") as left_over:
            lock.fcntl.flock(left_over, lock.fcntl.LOCK_EX)
        assert stage.run(resume=True)[0] == 0
        assert stage.starts() == ALL
        assert stage.records() == dict.fromkeys(ALL, ("finished", None))

    def test_the_command_line_says_how_to_go_on(self, stage, images, capsys):
        stage.tell(["A/seed0", ["interrupt runner", "finish"]])
        words = [
            "benchmark",
            str(stage.grid),
            "--out",
            str(stage.folder),
            "--data",
            str(images),
            "--jobs",
            "1",
        ]
        assert cli.main(words) == ExitStatus.INTERRUPTED
        told = capsys.readouterr().err
        assert told.startswith("error: interrupted; go on with: ferbench benchmark ")
        assert told.rstrip().endswith(f"--out {stage.folder} --data {images} --jobs 1 --resume")
        assert cli.main([*words, "--resume"]) == 0


class TestTwoRunners:
    def test_a_run_that_another_one_does(self, stage):
        folder = stage.folder / "runs/tiny/all/B/seed0"
        stage.run(dry_run=True)
        folder.mkdir(parents=True)
        shutil.copy(stage.plan_file, folder)  # so that the folder is not empty
        held = lock.take(folder / lock.NAME)
        (stage.folder / "grid.json").write_text(grid_json(stage))
        code, printed = stage.run(resume=True)
        held.release()
        assert code == 0
        assert stage.starts() == ["A/seed0", "A/seed1", "B/seed1"]
        assert f"tiny · B · seed 0: done by process {os.getpid()}" in printed
        assert "1 are done by another runner" in printed

    @pytest.mark.parametrize("advice", ["--take-over", "remove"])
    def test_a_run_that_is_locked_by_a_lost_machine(self, advice, stage):
        """Nothing can be known of it: that is said, the exit code is not 0, and what is proposed works."""
        stage.run(dry_run=True)
        leave_lock(stage.folder / "runs/tiny/all/B/seed0")
        (stage.folder / "grid.json").write_text(grid_json(stage))
        code, printed = stage.run(resume=True)
        assert code == 1
        assert stage.starts() == ["A/seed0", "A/seed1", "B/seed1"]
        assert "3 of 4 runs are finished; 1 are locked" in printed
        [line] = [line for line in printed.splitlines() if line.startswith("  tiny · B · seed 0 (")]
        assert line.endswith("): by process 1 on node7 since 2026-01-01T00:00:00+00:00")
        assert "--resume --take-over does these runs (or remove the files, and --resume)" in printed
        if advice == "remove":
            Path(line.split("(", 1)[1].rsplit("): by", 1)[0]).unlink()
        code, printed = stage.run(resume=True, take_over=advice == "--take-over")
        assert code == 0
        assert "4 of 4 runs are finished" in printed
        assert stage.starts()[3:] == ["B/seed0"]
        assert not list(stage.folder.rglob(".lock"))

    def test_a_finished_run_is_finished_whoever_locked_it(self, stage):
        stage.run()
        leave_lock(stage.folder / "runs/tiny/all/B/seed0")
        code, printed = stage.run(resume=True)
        assert code == 0
        assert "4 of 4 runs are finished" in printed

    def test_one_that_is_taken_or_finished_in_the_meantime(self, stage, make_record):
        task = task_in(stage.folder / "run", make_record())
        task.folder.mkdir(parents=True)
        held = lock.take(task.folder / lock.NAME)
        assert execute.execute(task).word == execute.TAKEN
        held.release()
        records.write(make_record(), task.folder / "record.json")
        assert execute.execute(task) == execute.Outcome("finished")
        assert not (task.folder / "console.log").exists()

    def test_threads_that_want_the_same_runs(self, stage, make_record, tmp_path):
        """Each is started once, whoever gets it."""
        config = tmp_path / "c.py"
        config.write_text(
            "model = dict(algorithm={})\nrandomness = dict(seed=0)\n"
            "default_hooks = dict(record=dict(label='A', cell=None))"
        )
        tasks = []
        for i in range(4):
            folder = tmp_path / "r" / f"seed{i}"
            command = (
                sys.executable,
                str(FAKE),
                str(stage.plan_file),
                str(config),
                "--work-dir",
                str(folder),
            )
            tasks.append(task_in(folder, make_record(), command))
        outcomes: list[str] = []
        barrier = threading.Barrier(3)

        def work():
            for task in tasks:
                barrier.wait()
                outcomes.append(execute.execute(task).word)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(stage.starts()) == [f"r/seed{i}" for i in range(4)]
        assert set(outcomes) <= {"finished", "taken"}


def grid_json(stage):
    """What the folder of the stage's grid would say."""
    own = runner.Runner(runner.Options(str(stage.grid)), Console(file=StringIO()))
    runs = runner.runs_of(own.grid)
    checked = runner.check_runs(own.grid, runs, os.environ["FERBENCH_DATA"])
    return json.dumps({"format": 1, "name": "grid", "runs": {c.run.id: c.identity for c in checked}})


def task_in(folder: Path, blank: records.Record, command=("false",)) -> execute.Task:
    return execute.Task("a run", folder, tuple(command), blank, iterations=10, images=240)


class TestTuning:
    @pytest.fixture
    def tuned(self, stage, grid_file):  # noqa: F811
        stage.grid = grid_file(algorithms=TUNED)
        # the best on validation is the worst on the test set
        stage.tell(scores={"trial00": [0.2, 1], "trial01": [0.6, 0]})
        return stage

    def test_the_best_on_validation_is_used(self, tuned):
        code, printed = tuned.run(trials=2)
        assert code == 0
        assert tuned.starts() == ["B/trial00", "B/trial01", "A/seed0", "A/seed1", "B/seed0", "B/seed1"]
        files = {
            n: tuned.folder / "runs/tiny/all/B" / n / "record.json"
            for n in ("trial00", "trial01", "seed0", "seed1")
        }
        own = {n: records.read(f) for n, f in files.items()}
        assert own["seed0"].algorithm == own["seed1"].algorithm == own["trial01"].algorithm
        assert own["seed0"].algorithm != own["trial00"].algorithm
        assert [(r.seed, r.cell.trial, r.cell.trials) for r in own.values()] == [
            (1000, 0, 2), (1000, 1, 2), (0, None, 2), (1, None, 2),
        ]  # fmt: skip
        report = json.loads((tuned.folder / "tuning.json").read_text())["tiny//B"]
        assert report["chosen"] == 1
        assert report["points"] == 3
        assert [t["val_macro_f1"] for t in report["trials"]] == [0.2, 0.6]
        assert report["trials"][1]["parameters"]["threshold"] == own["seed0"].algorithm["threshold"]
        assert "tuning: 2 trials for each algorithm, at seed 1000" in printed
        assert "A: nothing to tune" in printed
        assert tuned.run(trials=2, resume=True)[0] == 0
        assert len(tuned.starts()) == 6

    def test_a_space_of_fewer_points_is_said(self, tuned):
        code, printed = tuned.run(trials=9)
        assert code == 0
        assert len([s for s in tuned.starts() if "trial" in s]) == 3
        assert "B: only 3 trials, which is its whole search space" in printed

    def test_a_failed_trial(self, tuned):
        tuned.tell(["trial01", ["killed"]])
        code, _ = tuned.run(trials=2)
        assert code == 1
        report = json.loads((tuned.folder / "tuning.json").read_text())["tiny//B"]
        assert report["chosen"] == 0
        assert "SIGKILL" in report["trials"][1]["failure"]
        assert tuned.records()["B/seed1"] == ("finished", None)

        # Done again it is the best; but the runs of the comparison were done with what was chosen then.
        tuned.tell(scores={"trial01": [0.99, 1]})
        shutil.rmtree(tuned.folder / "runs/tiny/all/B/seed1")
        assert tuned.run(trials=2, retry_failed=True)[0] == 0
        assert tuned.records()["B/trial01"] == ("finished", None)
        files = [tuned.folder / "runs/tiny/all/B" / n / "record.json" for n in ("trial00", "seed0", "seed1")]
        assert len({json.dumps(records.read(f).algorithm) for f in files}) == 1

    def test_no_trial_finishes(self, tuned):
        tuned.tell(["trial", ["killed"]])
        code, printed = tuned.run(trials=2)
        assert code == 1
        assert "B: no trial has finished: not run" in printed
        assert tuned.starts() == ["B/trial00", "B/trial01", "A/seed0", "A/seed1"]
        tuned.tell()
        assert tuned.run(trials=2, retry_failed=True)[0] == 0
        assert tuned.records()["B/seed1"] == ("finished", None)

    def test_trials_that_another_runner_does(self, tuned):
        """The runs that wait for them are left for later."""
        folder = tuned.folder / "runs/tiny/all/B/trial01"
        tuned.tell(["trial01", ["killed"]])
        tuned.run(trials=2)
        shutil.rmtree(folder)
        shutil.rmtree(folder.with_name("seed0"))
        folder.mkdir()
        held = lock.take(folder / lock.NAME)
        code, printed = tuned.run(trials=2, resume=True)
        held.release()
        assert code == 1
        assert "1 trials are not done yet" in printed
        assert "B/seed0" not in tuned.records()


class TestLaunchers:
    @pytest.mark.parametrize(("jobs", "own", "shares", "threads"), [
        (1, {0, 1, 2, 3}, [{0, 1, 2, 3}], "4"),
        (2, {4, 5, 6, 7}, [{4, 5}, {6, 7}], "2"),
        (4, {0, 1, 2, 3}, [{0}, {1}, {2}, {3}], "1"),
        (8, {0, 1}, [None] * 8, "1"),
    ])  # fmt: skip
    def test_cores_are_divided(self, jobs, own, shares, threads, monkeypatch):
        monkeypatch.setattr(launchers, "available_cores", lambda: len(own))
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: own, raising=False)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        slots = launchers.slots(jobs)
        assert [s["cores"] for s in slots] == shares
        assert {s["environment"]["OMP_NUM_THREADS"] for s in slots} == {threads}
        assert all("CUDA_VISIBLE_DEVICES" not in s["environment"] for s in slots)

    def test_three_cores_for_two(self, monkeypatch):
        monkeypatch.setattr(launchers, "available_cores", lambda: 3)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        one, two = launchers.slots(2)
        assert (one["cores"], two["cores"]) == ({0}, {1, 2})
        assert (one["environment"]["OMP_NUM_THREADS"], two["environment"]["OMP_NUM_THREADS"]) == ("1", "2")

    def test_a_container_s_quota_binds_nobody_to_a_core(self, monkeypatch):
        monkeypatch.setattr(launchers, "available_cores", lambda: 4)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        assert [(s["cores"], s["environment"]["OMP_NUM_THREADS"]) for s in launchers.slots(2)] == [
            (None, "2")
        ] * 2

    def test_gpus_in_turn(self, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
        assert [s["environment"]["CUDA_VISIBLE_DEVICES"] for s in launchers.slots(3)] == ["3", "5", "3"]

    def test_several_processes_share_a_run_s_cores_and_have_gpus_in_a_row(self, monkeypatch):
        monkeypatch.setattr(launchers, "available_cores", lambda: 8)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2,3,5,7")
        found = launchers.slots(3, processes=2)
        assert [s["environment"]["CUDA_VISIBLE_DEVICES"] for s in found] == ["0,2", "3,5", "0,2"]
        assert [len(s["cores"]) for s in found] == [2, 3, 3]
        assert {s["environment"]["OMP_NUM_THREADS"] for s in found} == {"1"}
        assert launchers.slots(1, processes=2)[0]["environment"]["OMP_NUM_THREADS"] == "4"

    @pytest.mark.parametrize(("line", "kind", "gpus", "sentence"), [
        ("processes = 2", "slurm", "", "only the local launcher starts"),
        ("processes = 2", "ray", "", "only the local launcher starts"),
        ("processes = 4", "local", "0,1", "4 processes, but 2 GPUs are visible"),
        ("processes = 3", "local", "", "batch of 8 labeled images cannot be split over 3 processes"),
    ])  # fmt: skip
    def test_processes_that_cannot_be(self, line, kind, gpus, sentence, stage, grid_file, monkeypatch):  # noqa: F811
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
        with pytest.raises(UserError, match=sentence):
            stage.run(grid=str(grid_file(line, algorithms=TWO)), launcher=kind)
        assert not stage.folder.exists()

    def test_the_command_of_several_processes(self):
        one, two = (
            execute.train_command(Path("c.py"), Path("f"), None, ["p"], processes) for processes in (1, 2)
        )
        torchrun = ["-m", "ferbench.core.torchrun", "--standalone", "--nproc_per_node", "2"]
        assert list(two) == [one[0], *torchrun, *one[1:], "--launcher", "pytorch"]

    def test_the_user_s_number_of_threads_wins(self, monkeypatch):
        monkeypatch.setenv("OMP_NUM_THREADS", "7")
        assert launchers.slots(2)[0]["environment"]["OMP_NUM_THREADS"] == "7"

    @pytest.mark.skipif(
        not hasattr(os, "sched_getaffinity"), reason="processes cannot be bound to cores here"
    )
    def test_trainings_have_their_share(self, stage, monkeypatch):
        monkeypatch.delenv("OMP_NUM_THREADS")
        before = os.sched_getaffinity(0)
        shares = [{"cores": {core}, "environment": {"OMP_NUM_THREADS": "1"}} for core in sorted(before)[:2]]
        monkeypatch.setattr(launchers, "slots", lambda jobs, processes: shares[:jobs])
        stage.run(jobs=len(shares))
        assert os.sched_getaffinity(0) == before
        seen = [records.read(f).config for f in stage.folder.rglob("record.json")]
        assert all(len(c["cores"]) == 1 and c["OMP_NUM_THREADS"] == "1" for c in seen)

    @pytest.mark.parametrize(("kind", "package"), [("slurm", "submitit"), ("ray", "ray")])
    def test_an_extra_that_is_not_installed(self, kind, package, stage, monkeypatch):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(
            UserError, match=rf"needs the package {package}(.|\n)*pip install 'ferbench\[{kind}\]'"
        ):
            stage.run(launcher=kind)
        assert stage.starts() == []


def leave_lock(folder, **changes):
    """As a process on a machine that is gone leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    own = {"host": "node7", "pid": 1, "since": "2026-01-01T00:00:00+00:00", **changes}
    (folder / lock.NAME).write_text(json.dumps(own))


class FakeSubmitit:
    """submitit as far as the launcher knows it: jobs are done as soon as they are submitted, in this process."""

    def __init__(self, broken=()):
        self.broken, self.parameters, self.arrays, self.cancelled = broken, {}, [], []

    def AutoExecutor(self, folder, cluster):
        assert cluster == "slurm"
        self.folder = folder
        return SimpleNamespace(update_parameters=self.update, batch=self.batch, submit=self.submit)

    def update(self, **parameters):
        if "partitoin" in parameters:
            raise NameError("Unknown argument 'partitoin'")
        self.parameters.update(parameters)

    def batch(self):
        self.arrays.append(0)
        return threading.Lock()  # any context manager

    def submit(self, function, task):
        self.arrays[-1] += 1
        state, outcome = "COMPLETED", None
        for words, own in self.broken:
            if words in str(task.folder):
                state = own
                if own == "TIMEOUT":  # the others ended before they began
                    leave_lock(task.folder)
        if state == "COMPLETED":
            outcome = function(task)

        def result():
            if outcome is None:
                raise RuntimeError("Job 12 (task 0) was lost\nits output:\n...")
            return outcome

        return SimpleNamespace(
            done=lambda: True, result=result, state=state, cancel=lambda: self.cancelled.append(task)
        )


class TestSlurm:
    @pytest.fixture
    def submitit(self, monkeypatch):
        def install(**options):
            fake = FakeSubmitit(**options)
            monkeypatch.setitem(sys.modules, "submitit", fake)
            return fake

        return install

    def test_one_array_of_jobs(self, stage, submitit, grid_file):  # noqa: F811
        fake = submitit()
        stage.grid = grid_file("slurm = dict(slurm_partition='gpu', timeout_min=60)", algorithms=TWO)
        code, printed = stage.run(launcher="slurm", jobs=3)
        assert code == 0
        assert "by slurm, 3 at a time" in printed
        assert fake.arrays == [4]
        assert fake.folder == stage.folder / "slurm"
        assert fake.parameters == {"slurm_array_parallelism": 3, "slurm_partition": "gpu", "timeout_min": 60}
        assert stage.records() == dict.fromkeys(ALL, ("finished", None))

    def test_jobs_that_are_lost(self, stage, submitit):
        submitit(broken=[("A/seed0", "TIMEOUT"), ("B/seed0", "OUT_OF_MEMORY"), ("A/seed1", "CANCELLED by 0")])
        code, printed = stage.run(launcher="slurm")
        assert code == 1
        assert stage.records() == {
            "B/seed0": ("failed", "OUT_OF_MEMORY RuntimeError: Job 12 (task 0) was lost"), "B/seed1": ("finished", None),
        }  # fmt: skip
        assert "taken: tiny · A · seed 0: process 1 on node7" in printed
        submitit()
        assert stage.run(launcher="slurm", retry_failed=True)[0] == 1
        assert stage.run(launcher="slurm", resume=True, take_over=True)[0] == 0

    @pytest.mark.parametrize(("state", "outcome"), [
        ("NODE_FAIL", execute.INTERRUPTED), ("CANCELLED", execute.INTERRUPTED), ("", execute.INTERRUPTED),
        ("OUT_OF_MEMORY", execute.FAILED), ("RUNNING", None), ("PENDING", None),
    ])  # fmt: skip
    def test_a_job_that_left_no_result_where_there_is_no_sacct(
        self, state, outcome, tmp_path, make_record, monkeypatch
    ):
        """submitit would wait for ever; the controller knows. What it has put back into the queue is not over."""
        monkeypatch.setattr(launchers, "SECONDS_BETWEEN_QUESTIONS", 0)
        monkeypatch.setattr(launchers.slurm, "shown", lambda number: launchers.slurm.Shown(state, 0))
        job = SimpleNamespace(done=lambda: False, job_id="12_3", result=None, state="UNKNOWN")
        task = task_in(tmp_path, make_record())
        handle = launchers._SlurmHandle(task, job)
        assert handle.done() == (outcome is not None)
        if outcome:
            assert handle.result().word == outcome
            assert (tmp_path / "record.json").exists() == (outcome == execute.FAILED)

    def test_a_parameter_that_it_does_not_know(self, stage, submitit, grid_file):  # noqa: F811
        submitit()
        stage.grid = grid_file("slurm = dict(partitoin='gpu')", algorithms=TWO)
        with pytest.raises(UserError, match="submitit refuses the parameters: Unknown argument 'partitoin'"):
            stage.run(launcher="slurm")

    def test_an_interruption_cancels_the_jobs(self, stage, submitit, monkeypatch):
        fake = submitit()
        monkeypatch.setattr(runner, "_wait_for_one", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            stage.run(launcher="slurm")
        assert len(fake.cancelled) >= 4


class FakeRay:
    """Ray as far as the launcher knows it."""

    def __init__(self):
        self.options, self.cancelled, self.most = {}, [], 0
        self.open: list = []

    def init(self, address, ignore_reinit_error):
        if address == "nowhere":
            raise ConnectionError("no address")
        self.address = address

    def remote(self, **options):
        self.options = options

        def wrap(function):
            def start(task):
                reference = SimpleNamespace(outcome=function(task))
                self.open.append(reference)
                self.most = max(self.most, len(self.open))
                return reference

            return SimpleNamespace(remote=start)

        return wrap

    def wait(self, references, timeout):
        assert timeout == 0
        return references, []

    def get(self, reference):
        if reference in self.open:
            self.open.remove(reference)
        return reference.outcome

    def cancel(self, reference, force):
        self.cancelled.append(force)

    def shutdown(self):
        self.address = None


class TestRay:
    @pytest.fixture
    def ray(self, monkeypatch):
        fake = FakeRay()
        monkeypatch.setitem(sys.modules, "ray", fake)
        return fake

    def test_one_task_per_run(self, stage, ray, grid_file):  # noqa: F811
        stage.grid = grid_file("ray = dict(address='head:6379', num_gpus=1)", algorithms=TWO)
        code, printed = stage.run(launcher="ray", jobs=2)
        assert code == 0
        assert "by ray, 2 at a time" in printed
        assert ray.options == {"max_retries": 0, "num_cpus": 1, "num_gpus": 1}
        assert ray.most == 2
        assert ray.address is None  # shut down
        assert stage.records() == dict.fromkeys(ALL, ("finished", None))

    @pytest.mark.parametrize("lives", [True, False])
    def test_a_worker_that_is_lost(self, lives, tmp_path, make_record):
        """Its training may go on without it: its lock stays, and it is not marked as failed, unless it is known to be dead."""

        def result():
            raise RuntimeError("the worker died")

        held = lock.take(tmp_path / lock.NAME)
        if not lives:
            os.close(held.descriptor)
            held._open.discard(held.descriptor)
        outcome = launchers._RemoteHandle(task_in(tmp_path, make_record()), None, result).result()
        assert outcome.word == (execute.TAKEN if lives else execute.FAILED)
        assert (tmp_path / "record.json").exists() == (not lives)
        assert (lock.take(tmp_path / lock.NAME) is None) == lives

    def test_no_cluster(self, stage, ray, grid_file):  # noqa: F811
        stage.grid = grid_file("ray = dict(address='nowhere')", algorithms=TWO)
        with pytest.raises(UserError, match=r"there is no Ray cluster: no address(.|\n)*ray start --head"):
            stage.run(launcher="ray")

    def test_an_interruption_cancels_the_tasks(self, stage, ray, monkeypatch):
        monkeypatch.setattr(runner, "_wait_for_one", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            stage.run(launcher="ray", jobs=2)
        assert ray.cancelled[:2] == [False, False]


class TestBoard:
    def test_hours(self):
        assert board._hours([1.0, 2.25]) == "3.2 h of training"
        assert board._hours([1.0, None]) == "> 1.0 h of training"
        assert board._hours([None]) == "? h"

    def task(self, folder, images=240):
        return execute.Task("a run", folder, (), None, iterations=10, images=images)  # type: ignore[arg-type]

    def log(self, folder, *lines, cut=""):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + cut)

    def training(self, iteration, **more):
        return {
            "kind": "train",
            "iter": iteration,
            "losses": {},
            "images_per_s": 9.0,
            "data_wait": 0.0,
            **more,
        }

    def validation(self, iteration, score):
        shares = dict.fromkeys(("macro_f1", "accuracy", "balanced_accuracy"), score)
        scores = {**shares, "f1": [score, score], "confusion": [[1, 0], [0, 1]], "count": 2}
        return {"kind": "val", "iter": iteration, "raw": scores, "ema": scores}

    def test_last_entries(self, tmp_path):
        val = self.validation(4, 0.5)
        edited = {"kind": "train", "iter": "8"}
        self.log(tmp_path, self.training(2), val, self.training(6), edited, cut='{"kind": "tr')
        assert board.last_entries(tmp_path) == {"train": self.training(6), "val": val}
        assert board.last_entries(tmp_path / "nowhere") == {}

    def test_only_the_end_of_a_long_log_is_read(self, tmp_path):
        self.log(tmp_path, *(self.training(i, filler="x" * 100) for i in range(1, 1000)))
        assert board.last_entries(tmp_path)["train"]["iter"] == 999

    def test_time_left(self, tmp_path, monkeypatch):
        """Two runs of 240 images; a quarter of the first was done before; 60 s later a half of it and a third of it more."""
        clock = SimpleNamespace(now=100.0)
        monkeypatch.setattr(board.time, "monotonic", lambda: clock.now)
        one, two = self.task(tmp_path / "one"), self.task(tmp_path / "two", images=480)
        self.log(one.folder, self.training(2))
        shown = board.Board(Console(file=StringIO()), [one, two])
        assert shown.seconds_left() is None
        clock.now += 60
        self.log(one.folder, self.training(7))  # 120 images in 60 s; 72 + 480 are left
        assert shown.seconds_left() == pytest.approx((72 + 480) / 2)
        shown.end(one, execute.Outcome("finished"))  # 192 images in 60 s
        assert shown.seconds_left() == pytest.approx(480 * 60 / 192)

    def test_a_terminal_shows_what_is_under_way(self, tmp_path):
        one, two = self.task(tmp_path / "one"), self.task(tmp_path / "two")
        self.log(one.folder, self.validation(7, 0.123))
        printed = StringIO()
        console = Console(file=printed, force_terminal=True, width=120, color_system=None)
        held = lock.take(one.folder / lock.NAME)
        with board.Board(console, [one, two]) as shown:
            shown.show()
        held.release()
        assert "7/10" in printed.getvalue()
        assert "val macro-F1 12.3" in printed.getvalue()
        assert "0 of 2 runs ended" in printed.getvalue()


@pytest.mark.parametrize("below", ["", "/below"])
def test_a_file_in_place_of_the_folder(below, images, grid_file, tmp_path, capsys):  # noqa: F811
    file = tmp_path / "out"
    file.write_text("mine")
    assert cli.main(["benchmark", str(grid_file()), "--data", str(images), "--out", f"{file}{below}"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert str(file) in message
    assert file.read_text() == "mine"


class TestForReal:
    def test_a_grid_of_real_trainings(self, images, grid_file, tmp_path):  # noqa: F811
        """By the command line. One of its runs gets NaN; all of the others are compared under one protocol."""
        poison = "{'custom_hooks.2.iteration': 0, 'train_cfg.max_iters': 4}"
        algorithms = "algorithms = {'A': dict(type='Supervised'), 'NaN': dict(type='FixMatch', threshold=0.4, lambda_u=1e38)}"
        grid = grid_file(f"options = {poison}", "budgets = [5]", algorithms=algorithms, seeds="seeds = [3]")
        words = ["benchmark", grid, "--data", images, "--out", tmp_path / "out", "--jobs", "2"]
        assert cli.main(list(map(str, words))) == runner.SOME_FAILED
        own = {r.label: r for r in records.read_all([tmp_path / "out"])[0]}
        good, bad = own["A"], own["NaN"]
        assert (good.status, good.seed, good.cell.budget) == ("finished", 3, {"split.per_class": 5})
        assert good.data["labeled"].class_counts == dict.fromkeys(good.classes, 5)
        assert good.command.startswith("ferbench train ")
        assert good.cell.command == "ferbench benchmark grid.py --data $FERBENCH_DATA --out out --jobs 2"
        assert bad.status == "failed"
        assert "NaN" in bad.failure
        assert (good.protocol_hash, good.split_hash) == (bad.protocol_hash, bad.split_hash)
        assert str(tmp_path) not in json.dumps(asdict(good))

    def test_runs_of_two_processes(self, images, grid_file, tmp_path):  # noqa: F811
        """One has the results of one process; in the other one a process fails, and its reason is the run's."""
        broken = "{'split.per_class': 5, 'custom_hooks.1.iteration': 2, 'custom_hooks.1.rank': 1}"
        file = grid_file(
            "options = {'train_cfg.max_iters': 4, 'model.head.dropout': 0.0}",
            f"processes = 2; budgets = [5, {broken}]",
            algorithms="algorithms = {'A': dict(type='FixMatch', threshold=0.3)}",
            seeds="seeds = [3]",
        )
        words = ["benchmark", file, "--data", images, "--out", tmp_path / "two"]
        assert cli.main(list(map(str, words))) == runner.SOME_FAILED
        found = {r.status: r for r in records.read_all([tmp_path / "two"])[0]}
        assert found["failed"].failure == "the data of this process is broken (process 1: exit code 2)"

        grid = read_grid(file)
        api.train(config_of(runs_of(grid)[0], grid, images), str(tmp_path / "one"))
        two, one = found["finished"], records.read(tmp_path / "one" / "record.json")
        assert (two.hardware.processes, one.hardware.processes) == (2, 1)
        assert (two.protocol_hash, two.split_hash) == (one.protocol_hash, one.split_hash)
        assert [r.confusion for r in two.results] == [r.confusion for r in one.results]


def test_states_have_words():
    assert {store.TODO, store.UNFINISHED, store.DONE, store.FAILED, store.TAKEN, store.LOCKED} == set(
        store.WORDS
    )
    assert Store(Path("x")).run_folder(Run("d", {}, "A", {}, 1)) == Path("x/runs/d/all/A/seed1")
