"""The command line: what it hands on, what it answers to mistakes, and that it starts at once."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import types
from pathlib import Path

import cv2
import numpy as np
import pytest

import ferbench.engine
from ferbench import cli
from ferbench.cli import main
from ferbench.core import plugins, process
from ferbench.errors import DiskFull, ExitStatus, UserError

CONFIG = "classes = ('a', 'b')\nmodel = dict(algorithm=dict(type='DTM'))\nrandomness = dict(seed=5)\n"


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path):
    monkeypatch.setattr(cli, "tune_process", lambda: None)
    monkeypatch.setattr(cli, "SECONDS_FOR_FIRST_RANK", 0.0)
    monkeypatch.setattr(plugins, "_seen", {})
    monkeypatch.setenv("FERBENCH_CONFIGS", "")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "my_configs" / "tiny.py"
    file.parent.mkdir()
    file.write_text(CONFIG)
    return str(file)


@pytest.fixture
def api(monkeypatch):
    """Stands in for the engine: remembers what it is called with, or raises what it is told to."""
    fake = types.SimpleNamespace(calls=[], error=None)

    def record(name):
        def call(cfg, *args, **options):
            fake.calls.append((name, cfg, args, options))
            if fake.error:
                raise fake.error

        return call

    fake.train, fake.test = record("train"), record("test")
    monkeypatch.setattr(ferbench.engine, "api", fake, raising=False)
    return fake


class TestTrain:
    def test_defaults(self, api, config):
        assert main(["train", config]) == 0
        [(_, cfg, _, options)] = api.calls
        assert options == {
            "work_dir": "work_dirs/my_configs/tiny/seed5",
            "resume": False,
            "overwrite": False,
            "take_over": False,
        }
        assert cfg.launcher == "none"
        assert cfg.randomness == {"seed": 5}

    def test_everything_is_handed_on(self, api, config, tmp_path):
        words = ["--work-dir", "w", "--resume", "--seed", "7", "--launcher", "pytorch", "--overwrite"]
        more = ["--cfg-options", "model.algorithm.floor=0.5", "--cfg-options", "log_level=ERROR"]
        assert main(["train", config, *words, *more]) == 0
        [(_, cfg, _, options)] = api.calls
        assert options == {"work_dir": "w", "resume": True, "overwrite": True, "take_over": False}
        assert (cfg.launcher, cfg.randomness.seed) == ("pytorch", 7)
        assert (cfg.model.algorithm.floor, cfg.log_level) == (0.5, "ERROR")

    def test_the_seed_is_in_the_default_folder(self, api, config):
        main(["train", config, "--seed", "0"])
        assert api.calls[0][3]["work_dir"] == "work_dirs/my_configs/tiny/seed0"

    def test_other_options_are_in_the_default_folder(self, api, config, tmp_path, monkeypatch):
        """Two runs that differ in what they compute, or in their data, do not meet; the same command finds its folder."""
        monkeypatch.setenv("FERBENCH_DATA", "")
        monkeypatch.delenv("FERBENCH_DATA")
        for name in ("data", "other", "p.py", "q.py"):
            Path(name).touch() if name.endswith(".py") else Path(name).mkdir()
        one, two = "model.algorithm.floor=0.5", "log_level=ERROR"
        commands = [
            ([], ["--data", "data"]),
            (["--cfg-options", one], ["--cfg-options", one]),
            (["--cfg-options", two], ["--cfg-options", two]),
            (["--cfg-options", one, two], ["--cfg-options", two, "--cfg-options", one]),
            (["--data", "other"], ["--data", "other/"]),
            (["--plugin", "./p.py"], ["--plugin", str(tmp_path / "p.py")]),
            (["--plugin", "./q.py"], ["--plugin", "./q.py", "--resume"]),
        ]
        folders = []
        for words, again in commands:
            for own in (words, again):
                monkeypatch.delenv("FERBENCH_DATA", raising=False)
                assert main(["train", config, *own]) == 0
            first, second = (call[3]["work_dir"] for call in api.calls[-2:])
            assert first == second
            folders.append(first)
        assert folders[0] == "work_dirs/my_configs/tiny/seed5"
        assert all(re.fullmatch(r"work_dirs/my_configs/tiny/seed5-[0-9a-f]{8}", f) for f in folders[1:])
        assert len(set(folders)) == len(folders)

    def test_the_algorithm_is_in_the_default_folder(self, api, config, tmp_path):
        """An algorithm's file that is not shipped may share its name with another one."""
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "mine.py").write_text("model = dict(algorithm=dict(type='Mine'))")
        for words in (
            [config, "SoftMatch"],
            [config, "one/mine.py"],
            [config, "two/mine.py"],
            ["r18_ferplus", "softmatch"],
        ):
            assert main(["train", words[0], "--algorithm", words[1], "--seed", "1"]) == 0
        folders = [call[3]["work_dir"] for call in api.calls]
        assert [call[1].model.algorithm.type for call in api.calls] == [
            "SoftMatch",
            "Mine",
            "Mine",
            "SoftMatch",
        ]
        assert folders[0] == "work_dirs/softmatch/tiny/seed1"
        assert all(re.fullmatch(r"work_dirs/mine/tiny/seed1-[0-9a-f]{8}", f) for f in folders[1:3])
        assert folders[1] != folders[2]
        assert folders[3] == "work_dirs/softmatch/r18_ferplus/seed1"

    def test_resume_from_a_path(self, api, config):
        main(["train", config, "--resume", "runs/last.pth"])
        assert api.calls[0][3]["resume"] == "runs/last.pth"

    def test_a_plugin_file_is_imported(self, api, config, tmp_path, monkeypatch):
        monkeypatch.setattr(sys, "path", list(sys.path))
        (tmp_path / "cli_plugin.py").write_text("raise RuntimeError('imported')\n")
        assert main(["train", config, "--plugin", "./cli_plugin.py"]) == 2
        assert not api.calls


class TestTest:
    def test_the_checkpoint_is_handed_on(self, api, config, tmp_path):
        (tmp_path / "last.pth").write_bytes(b"")
        assert main(["test", config, "last.pth"]) == 0
        [(name, _, args, options)] = api.calls
        assert (name, args, options) == ("test", ("last.pth",), {"out": None})

    def test_a_missing_checkpoint(self, api, config, capsys):
        assert main(["test", config, "absent.pth"]) == 2
        assert "the checkpoint does not exist" in capsys.readouterr().err
        assert not api.calls


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("how", ["message", "cause", "error"])
def test_a_full_disk_is_an_exit_status_whoever_met_it(how, api, config, monkeypatch):
    """Also where the output goes to the same disk, so that nothing can be said; and for a quota that is used up."""
    full = OSError(errno.EDQUOT, "Disk quota exceeded")
    caused = UserError("the record cannot be written")
    caused.__cause__ = full
    api.error = {"message": DiskFull("no space"), "cause": caused, "error": full}[how]
    with open("/dev/full", "w") as out, open("/dev/full", "w") as err:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        print("what was to be said before")
        assert main(["train", config]) == ExitStatus.DISK_FULL
        out.flush()  # as Python does at its end, with a status of its own if it fails
        err.flush()


class TestMistakes:
    def test_a_user_error_is_a_message_and_code_2(self, api, config, capsys):
        api.error = UserError("label 9 is out of range", where="train.csv:3")
        assert main(["train", config]) == 2
        out, err = capsys.readouterr()
        assert err == "error: label 9 is out of range\n  where:    train.csv:3\n"
        assert out == ""

    def test_an_unknown_option_of_the_config(self, api, config, capsys):
        assert main(["train", config, "--cfg-options", "modle.x=1"]) == 2
        assert "did you mean 'model'" in capsys.readouterr().err

    def test_a_bug_keeps_its_traceback(self, api, config):
        api.error = ZeroDivisionError("a bug")
        with pytest.raises(ZeroDivisionError):
            main(["train", config])

    def test_interrupted(self, api, config, capsys):
        api.error = KeyboardInterrupt()
        assert main(["train", config, "--work-dir", "my runs", "--overwrite", "--seed", "3"]) == 130
        assert capsys.readouterr().err == (
            f"error: interrupted; go on with: ferbench train {config} --work-dir 'my runs' --seed 3 --resume\n"
        )

    @pytest.mark.parametrize("wrapped", [False, True])
    def test_a_full_disk(self, api, config, capsys, wrapped):
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/runs/last.pth.tmp")
        api.error = full
        if wrapped:
            api.error = RuntimeError("the writer failed")
            api.error.__cause__ = full
        assert main(["train", config]) == 74  # ExitStatus.DISK_FULL
        err = capsys.readouterr().err
        assert "no space is left on the disk" in err
        assert "/runs/last.pth.tmp" in err
        assert "--resume" in err

    @pytest.mark.parametrize(
        ("number", "says"),
        [
            (errno.EACCES, "no permission"),
            (errno.EPERM, "no permission"),
            (errno.EROFS, "read-only"),
            (errno.ENOTDIR, "a file stands where a folder is expected"),
            (errno.EEXIST, "something else stands where a folder is to be made"),
            (errno.EISDIR, "a folder stands where a file is expected"),
            (errno.ENOENT, "the folder of this file does not exist"),
        ],
    )
    @pytest.mark.parametrize("wrapped", [False, True])
    def test_a_path_that_cannot_be_used(self, api, config, capsys, number, says, wrapped):
        api.error = refused = OSError(number, os.strerror(number), "/no such folder/metrics.jsonl")
        if wrapped:
            api.error = RuntimeError("the writer failed")
            api.error.__cause__ = refused
        assert main(["train", config, "--work-dir", "runs"]) == 2
        err = capsys.readouterr().err
        assert says in err
        assert "/no such folder/metrics.jsonl" in err
        assert f"go on with: ferbench train {config} --work-dir runs --resume" in err

    @pytest.mark.parametrize(
        "error",
        [
            PermissionError(errno.EACCES, "denied"),
            FileNotFoundError(errno.ENOENT, "missing", os.path.abspath("a file")),
            OSError(errno.EIO, "input/output error", "a file"),
        ],
        ids=["no file name", "a file that is missing in its folder", "of another kind"],
    )
    def test_another_os_error_keeps_its_traceback(self, api, config, error):
        api.error = error
        with pytest.raises(OSError, match=re.escape(error.strerror)):
            main(["train", config])

    def test_a_bug_after_a_path_was_tried_keeps_its_traceback(self, api, config):
        api.error = ZeroDivisionError("a bug")
        api.error.__context__ = PermissionError(errno.EACCES, "denied", "a file")
        with pytest.raises(ZeroDivisionError):
            main(["train", config])

    @pytest.mark.parametrize("below", ["", "/below"])
    @pytest.mark.parametrize(
        "command",
        [
            "new-plugin mine --kind threshold --out {}",
            "make-synthetic {} --small",
            "report {records} -o {}",
        ],
    )
    def test_a_file_in_place_of_a_folder(self, command, below, tmp_path, capsys):
        file = tmp_path / "a_file"
        file.write_text("mine")
        records = Path(__file__).parents[1] / "docs" / "results" / "fer2013" / "dtm" / "records"
        assert main(command.format(f"{file}{below}", records=records).split()) == 2
        err = capsys.readouterr().err
        assert str(file) in err
        assert file.read_text() == "mine"

    @pytest.mark.parametrize(("launcher", "variable"), [("pytorch", "RANK"), ("slurm", "SLURM_PROCID")])
    def test_other_processes_let_the_first_one_speak(
        self, api, config, capsys, monkeypatch, launcher, variable
    ):
        waited = []
        monkeypatch.setattr(cli.time, "sleep", waited.append)
        api.error = UserError("no data")
        monkeypatch.setenv(variable, "0")
        assert main(["train", config, "--launcher", launcher]) == 2
        assert (waited, capsys.readouterr().err) == ([], "error: no data\n")
        monkeypatch.setenv(variable, "3")
        assert main(["train", config, "--launcher", launcher]) == 2
        assert (len(waited), capsys.readouterr().err) == (1, "error (process 3): no data\n")


class TestList:
    def test_json(self, capsys):
        assert main(["list", "--kind", "threshold", "--json"]) == 0
        parts = {p["name"]: p for p in json.loads(capsys.readouterr().out)["parts"]}
        assert {"FixedThreshold", "DynamicThreshold", "FlexThreshold"} <= set(parts)
        assert parts["FixedThreshold"]["kind"] == "threshold"
        assert parts["FixedThreshold"]["help"].startswith("``mask = [max p >= threshold]``")
        assert parts["FixedThreshold"]["origin"] == f"ferbench {ferbench.__version__}"

    def test_table_and_broken_plugins(self, capsys, tmp_path, monkeypatch):
        info = tmp_path / "plug_torn-2.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug_torn\nVersion: 2.0\n")
        (info / "entry_points.txt").write_text("[ferbench.plugins]\ntorn = plug_torn\n")
        (tmp_path / "plug_torn.py").write_text("[][1]\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        assert main(["list", "--kind", "THRESHOLD"]) == 0
        out = capsys.readouterr().out
        assert "FlexThreshold" in out
        assert "broken plug-in torn of plug_torn 2.0" in out
        assert "IndexError: list index out of range" in out

    def test_an_unknown_kind(self, capsys):
        assert main(["list", "--kind", "treshold"]) == 2
        assert "did you mean 'threshold'" in capsys.readouterr().err


class TestCheckData:
    @pytest.fixture
    def faces(self, tmp_path):
        for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
            (tmp_path / "faces" / name).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "faces" / name), np.zeros((8, 8, 3), np.uint8))
        dataset = f"dict(dataset=dict(type='ImageFolder', root='{tmp_path}/faces', labeled=True))"
        config = tmp_path / "faces.py"
        lines = [f"{loader}_dataloader = {dataset}" for loader in ("train", "val", "test")]
        config.write_text("\n".join(["classes = ('a', 'b')", *lines]))
        return tmp_path / "faces"

    def test_good_data(self, faces, capsys):
        assert main(["check-data", "faces.py"]) == 0

    def test_a_broken_image_is_named_and_the_code_is_1(self, faces, capsys):
        (faces / "b" / "2.png").write_bytes(b"")
        assert main(["check-data", "faces.py"]) == 1
        out = capsys.readouterr().out
        assert str(faces / "b" / "2.png") in out
        assert "train_cfg.max_unreadable" in out

    def test_lines_are_whole_where_no_window_bounds_them(self, faces, capsys, monkeypatch):
        """Piped into a file they were broken after 80 columns."""
        monkeypatch.setenv("COLUMNS", "40")
        (faces / "b" / "2.png").write_bytes(b"")
        assert main(["check-data", "faces.py"]) == 1
        lines = capsys.readouterr().out.splitlines()
        assert f"unreadable (labeled): {faces / 'b' / '2.png'}: the file is empty" in lines
        [heading] = [line for line in lines if "unreadable" in line and "no label" in line]
        assert heading.split()[0] == "part"
        assert "height x width" in heading

    def test_a_missing_folder_is_a_defect_of_each_part_that_needs_it(self, faces, capsys):
        shutil.rmtree(faces)
        assert main(["check-data", "faces.py"]) == 1
        out = capsys.readouterr().out
        assert "DEFECT: labeled: " in out
        assert str(faces) in out

    def test_it_goes_on_after_a_dataset_that_cannot_be_built(self, faces, tmp_path, capsys):
        with open(tmp_path / "faces.py", "a") as config:
            config.write(
                "\nval_dataloader = dict(dataset=dict(type='ImageFolder', root='no_val', labeled=True))"
            )
            config.write(
                "\ntest_dataloader = dict(dataset=dict(type='ImageFolder', root='no_test', labeled=True))"
            )
            config.write("\nunlabeled_dataloader = dict(rest=True)")
        (faces / "b" / "2.png").write_bytes(b"")
        assert main(["check-data", "faces.py"]) == 1
        out = capsys.readouterr().out
        for defect in (
            "labeled: 1 of 4 images cannot be read",
            "val: ",
            "test: ",
            "unlabeled: the unlabeled stream",
        ):
            assert f"DEFECT: {defect}" in out
        assert "no_val" in out
        assert "no_test" in out

    def test_what_several_parts_lack_is_said_once(self, faces, tmp_path, capsys):
        with open(tmp_path / "faces.py", "a") as config:
            config.write(
                "\ntrain_dataloader = dict(dataset=dict(type='ImageFolder', root='gone', labeled=True))"
            )
            config.write("\nsplit = dict(type='BudgetSplit', val=2)\nval_dataloader = dict(batch_size=2)")
            config.write("\nunlabeled_dataloader = dict(rest=True)")
        assert main(["check-data", "faces.py"]) == 1
        out = capsys.readouterr().out
        assert out.count("gone") == 1
        assert "DEFECT: unlabeled: the same as of labeled" in out
        assert "DEFECT: val: the same as of labeled" in out


def test_help_needs_nothing_heavy():
    code = (
        "import sys\nfrom ferbench.cli import main\n"
        "try: main(['train', '--help'])\nexcept SystemExit as end: assert end.code == 0\n"
        "print([m for m in ('torch', 'mmengine', 'cv2', 'numpy', 'rich', 'timm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: ferbench train")
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("tool", ["train", "test", "list", "check_data", "make_synthetic", "benchmark"])
def test_tools_are_doors_to_the_commands(repo, tool, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, str(repo / "tools" / f"{tool}.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: ferbench {tool.replace('_', '-')}")


@pytest.fixture
def fake_bin(tmp_path):
    """Programs that print the words they are called with, one a line."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("python", "srun", "sbatch"):
        (folder / name).write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        (folder / name).chmod(0o755)
    (folder / "sinfo").write_text('#!/bin/sh\nprintf "%s" "$OFFER"\n')
    (folder / "sinfo").chmod(0o755)
    return folder


def shell(script, *words, **environment):
    path = f"{environment.pop('bin')}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", str(script), *words]
    env = {**os.environ, "PATH": path, **environment}
    return subprocess.run(command, capture_output=True, text=True, env=env)


class TestShellScripts:
    def test_dist_train(self, repo, fake_bin):
        script = repo / "tools" / "dist_train.sh"
        done = shell(script, "c.py", "2", "--seed", "3", "--work-dir", "a b", bin=fake_bin, PYTHON="python")
        assert done.stdout.splitlines() == [
            "-m", "ferbench.core.torchrun", "--standalone", "--nproc_per_node", "2",
            str(repo / "tools/train.py"), "c.py", "--launcher", "pytorch", "--seed", "3", "--work-dir", "a b",
        ]  # fmt: skip

    def test_slurm_train(self, repo, fake_bin):
        script = repo / "tools" / "slurm_train.sh"
        settings = {
            "GPUS": "16",
            "GPUS_PER_NODE": "4",
            "CPUS_PER_TASK": "6",
            "SRUN_ARGS": "--time=1 --exclusive",
        }
        done = shell(script, "part", "job", "c.py", "--resume", bin=fake_bin, PYTHON="py", **settings)
        assert done.stdout.splitlines() == [
            "-p", "part", "--job-name=job", "--gres=gpu:4", "--ntasks=16", "--ntasks-per-node=4",
            "--cpus-per-task=6", "--kill-on-bad-exit=1", "--time=1", "--exclusive",
            "py", "-u", str(repo / "tools/train.py"), "c.py", "--launcher", "slurm", "--resume",
        ]  # fmt: skip

    def test_one_gpu_takes_one_node_s_worth(self, repo, fake_bin):
        done = shell(repo / "tools" / "slurm_train.sh", "p", "j", "c.py", bin=fake_bin, GPUS="1", PYTHON="py")
        assert "--gres=gpu:1" in done.stdout
        assert "--ntasks-per-node=1" in done.stdout

    @pytest.mark.parametrize(("offer", "settings", "asked"), [
        ("64 gpu:8\n", {}, ["--gres=gpu:8", "--ntasks=8", "--ntasks-per-node=8", "--cpus-per-task=5"]),
        ("16 gpu:a100:4(S:0-1)\n16 (null)\n", {"GPUS": "4"}, ["--gres=gpu:4", "--ntasks=4", "--cpus-per-task=4"]),
        ("2 (null)\n", {}, ["--ntasks=1", "--ntasks-per-node=1", "--cpus-per-task=2"]),
        ("64 (null)\n2+ (null)\n", {"GPUS": "2"}, ["--ntasks=2", "--cpus-per-task=1"]),
        ("2 (null)\n", {"GPUS": "8", "GPUS_PER_NODE": "4"}, ["--ntasks=8", "--ntasks-per-node=4", "--cpus-per-task=1"]),
        ("2 (null)\n", {"CPUS_PER_TASK": "7"}, ["--cpus-per-task=7"]),
    ])  # fmt: skip
    @pytest.mark.parametrize("script", ["slurm_train.sh", "sbatch_train.sh"])
    def test_what_is_asked_of_slurm_is_what_the_partition_has(
        self, script, offer, settings, asked, repo, fake_bin
    ):
        """GPUs only where there are some; the CPUs that the smallest node has for its share of the processes."""
        done = shell(
            repo / "tools" / script, "p", "j", "c.py", bin=fake_bin, OFFER=offer, PYTHON="py", **settings
        )
        said = done.stdout.splitlines()
        assert set(asked) <= set(said)
        assert any(word.startswith("--gres") for word in said) == ("gpu" in offer)
        assert ("has no GPUs" in done.stderr) == ("gpu" not in offer)

    def test_sbatch_train(self, repo, fake_bin):
        script = repo / "tools" / "sbatch_train.sh"
        settings = {"GPUS": "1", "SECONDS_BEFORE_END": "60", "SBATCH_ARGS": "--time=9 --exclusive"}
        done = shell(
            script, "part", "job", "c.py", "--work-dir", "a b", bin=fake_bin, PYTHON="py", **settings
        )
        assert done.stdout.splitlines() == [
            "-p", "part", "--job-name=job", "--gres=gpu:1", "--ntasks=1", "--ntasks-per-node=1", "--cpus-per-task=5",
            "--signal=USR1@60", "--requeue", "--open-mode=append", "--time=9", "--exclusive",
            str(script), "--in-the-job", str(repo), "c.py", "--work-dir", "a b",
        ]  # fmt: skip

    @pytest.mark.parametrize("words", [["c.py"], ["c.py", "two"], ["c.py", "--resume"]])
    def test_wrong_words(self, repo, fake_bin, words):
        done = shell(repo / "tools" / "dist_train.sh", *words, bin=fake_bin)
        assert done.returncode == 2
        assert "dist_train.sh CONFIG GPUS" in done.stderr


class TestProcess:
    def test_the_user_s_settings_win(self, monkeypatch):
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
        process.tune_process()
        assert (os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"]) == ("3", "ACTIVE")

    def test_cores_are_shared_by_the_processes_of_a_machine(self, monkeypatch):
        monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
        monkeypatch.setattr(process, "available_cores", lambda: 8)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
        monkeypatch.setenv("OMP_NUM_THREADS", "")
        monkeypatch.delenv("OMP_NUM_THREADS")
        process.tune_process()
        assert os.environ["OMP_NUM_THREADS"] == "2"

    @pytest.mark.parametrize(
        ("files", "cores"),
        [
            ({"cpu.max": "150000 100000"}, 2),
            ({"cpu.max": "max 100000"}, None),
            ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
            ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
            ({}, None),
        ],
    )
    def test_a_container_s_quota(self, tmp_path, files, cores):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        assert process._cgroup_quota(tmp_path) == cores

    def test_large_blocks_are_not_mapped_afresh(self):
        code = (
            "import resource, numpy\nfrom ferbench.core.process import keep_large_blocks\n"
            "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
            "def steps():\n    before = faults()\n"
            "    for _ in range(20): numpy.ones(6 << 20)\n    return faults() - before\n"
            "steps(); plain = steps(); kept = keep_large_blocks(); steps(); print(kept, plain, steps())"
        )
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
        )
        kept, plain, tuned = done.stdout.split()
        if kept == "False":
            pytest.skip("the C library is not glibc")
        assert int(tuned) < int(plain) / 10

    def test_signals_interrupt_unless_they_are_ignored(self):
        before = signal.signal(
            signal.SIGHUP, signal.SIG_DFL
        )  # ignored where the tests themselves are run by nohup
        try:
            with pytest.raises(KeyboardInterrupt), process.interrupted_by(signal.SIGTERM, signal.SIGHUP):
                signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
            with process.interrupted_by(signal.SIGTERM, signal.SIGHUP):
                signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        finally:
            signal.signal(signal.SIGHUP, before)

    def test_noted_signals_interrupt_nothing(self):
        before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
        with process.noted(signal.SIGTERM, signal.SIGINT) as came:
            assert came == []
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            assert came == [signal.SIGTERM, signal.SIGINT]
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before

    @pytest.mark.parametrize("name", process.ENDING)
    def test_a_signal_after_the_end_of_a_command_changes_nothing(self, name, tmp_path):
        """Neither the exit status nor what was said: at exit, and while the interpreter is taken down."""
        code = (
            "import atexit, os, signal, sys\nfrom ferbench.cli import entry_point\n"
            f"send = lambda kill=os.kill, pid=os.getpid(), number=signal.{name}: kill(pid, number)\n"
            "class Late:\n    def __del__(self, send=send, write=os.write): send(); write(1, b'late')\n"
            "late = Late()\natexit.register(send)\n"
            "sys.exit(entry_point(['train', 'nothing.py']))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (ExitStatus.USER_ERROR, "late"), done.stderr
        assert "Traceback" not in done.stderr

    def test_a_signal_that_the_command_does_not_hear_is_no_traceback(self, monkeypatch):
        before = {number: signal.getsignal(number) for number in process.ending_signals()}
        monkeypatch.setattr("ferbench.cli.main", lambda argv: signal.raise_signal(signal.SIGINT))
        try:
            assert cli.entry_point([]) == ExitStatus.INTERRUPTED
            assert {signal.getsignal(number) for number in before} == {signal.SIG_IGN}
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def test_without_glibc_nothing_is_done(self, monkeypatch):
        monkeypatch.setattr(process.ctypes, "CDLL", lambda _: object())
        assert process.keep_large_blocks() is False
