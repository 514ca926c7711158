"""Scripts and grid on a real Slurm: nothing is lost by a preemption, a job that is killed, or another job on the node."""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path

import pytest
import torch
from one_machine import until

from ferbench import records
from ferbench.engine import checkpoint, lock
from ferbench.engine import slurm as ours
from ferbench.errors import ExitStatus

pytestmark = pytest.mark.heavy
TOOLS = Path(__file__).resolve().parents[2] / "tools"
SETTINGS = {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
LENGTH = 48  # iterations of runs whose results are compared
LONG = 300  # iterations that do not end before something has happened to them
#: After iteration 30 the training waits until it is told to stop.
UNTIL_TOLD = [f"custom_hooks.0.{setting}" for setting in ("iteration=30", "signum=0", "whom=parent")]
NO_DROPOUT = "model.head.dropout=0.0"


@pytest.fixture
def words(images, config_file):
    """Of a training, after the name of its script: ``words(folder, iterations)``."""

    def words(folder, iterations, *options):
        own = [f"train_cfg.max_iters={iterations}", "train_cfg.val_interval=20", NO_DROPOUT, *options]
        return [config_file, "--data", images, "--work-dir", folder, "--cfg-options", *own]

    return words


@pytest.fixture
def submit(slurm, tmp_path):
    """Submit a training by the sbatch script; the number of its job. Its output: `output`."""

    def submit(name, *words, partition="main", **settings):
        arguments = f"--output={tmp_path / name}.out {settings.pop('SBATCH_ARGS', '')}"
        script = ["bash", TOOLS / "sbatch_train.sh", partition, name, *words]
        done = slurm.run(*script, SBATCH_ARGS=arguments, **SETTINGS, **settings)
        return re.search(r"Submitted batch job (\d+)", done.stdout)[1]

    return submit


@pytest.fixture(scope="module")
def finished():
    """Folders of runs that nobody disturbed, by their number of processes."""
    return {}


@pytest.fixture
def undisturbed(finished, slurm, words, tmp_path):
    """Folder of a run of some processes that nobody disturbs."""

    def run(processes):
        if processes not in finished:
            folder, count = tmp_path / "quiet", str(processes)
            command = ["bash", TOOLS / "slurm_train.sh", "main", "quiet", *words(folder, LENGTH)]
            slurm.run(*command, GPUS=count, CPUS_PER_TASK="1", **SETTINGS)
            finished[processes] = folder
        return finished[processes]

    return run


def over(slurm, job):
    return lambda: slurm.shown(job).over


def begun(folder):
    return lambda: (folder / "last.pth").is_file()


def same_result(one: Path, other: Path) -> None:
    """Scores and all weights, bit for bit."""
    first, second = records.read(one / "record.json"), records.read(other / "record.json")
    assert first.status == second.status == "finished"
    assert [r.confusion for r in first.results] == [r.confusion for r in second.results]
    a, b = (checkpoint.load(folder / "last.pth")["model"] for folder in (one, other))
    assert a.keys() == b.keys()
    torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def test_two_tasks_without_gpus(slurm, words, tmp_path):
    """By the script that waits; the partition has no GPUs, and its nodes fewer CPUs than the script's defaults ask for."""
    done = slurm.run(
        "bash", TOOLS / "slurm_train.sh", "main", "two", *words(tmp_path / "two", 12), GPUS="2", **SETTINGS
    )
    assert "partition main has no GPUs: 2 process(es) on CPUs" in done.stderr
    own = records.read(tmp_path / "two" / "record.json")
    assert (own.status, own.hardware.processes) == ("finished", 2)
    assert not (tmp_path / "two" / ".lock").exists()


def test_two_jobs_at_once_on_one_node(slurm, words, submit, tmp_path):
    """Each of two processes, which meet at a port of their job's own."""
    jobs = [submit(name, *words(tmp_path / name, 60), GPUS="2", CPUS_PER_TASK="1") for name in ("a", "b")]
    for name, job in zip(("a", "b"), jobs, strict=True):
        until(over(slurm, job), f"job {job} does not end")
        assert slurm.shown(job).state == "COMPLETED", (tmp_path / f"{name}.out").read_text()
        assert records.read(tmp_path / name / "record.json").status == "finished"
    assert ours.port_of(int(jobs[0])) != ours.port_of(int(jobs[1]))


@pytest.mark.parametrize(
    ("how", "processes"), [("signal", 1), ("signal", 2), ("requeue", 1), ("partition", 1)]
)
def test_a_job_that_is_preempted_goes_on_by_itself(
    how, processes, slurm, words, submit, undisturbed, tmp_path
):
    """By the signal that comes before the end of its time, by an order, and by a job of a partition that goes first.

    The result is that of a job that nobody disturbed.
    """
    command = words(tmp_path / "run", LENGTH, "log_level=INFO", *UNTIL_TOLD)
    job = submit("run", *command, GPUS=str(processes), CPUS_PER_TASK="1")
    until((tmp_path / "run" / "waits").exists, "the training does not begin")
    if how == "signal":
        slurm.run("scancel", "--signal=USR1", job)
    elif how == "requeue":
        slurm.run("scontrol", "requeue", job)
    else:
        slurm.run("srun", "-p", "urgent", "--ntasks=4", "--exclusive", "true")
    until(lambda: slurm.shown(job).restarts == 1, "the job is not started again")
    until(over(slurm, job), "the job does not end")
    said = (tmp_path / "run.out").read_text()
    assert slurm.shown(job) == ours.Shown("COMPLETED", 1), said
    assert "resumed from" in said

    same_result(tmp_path / "run", undisturbed(processes))


@pytest.mark.parametrize(
    ("option", "state"), [("custom_hooks.1.iteration=2", "FAILED"), ("custom_hooks=[]", "COMPLETED")]
)
def test_a_run_that_has_failed_or_finished_is_not_started_again(
    option, state, slurm, words, submit, tmp_path
):
    job = submit("run", *words(tmp_path / "run", 12, option))
    until(over(slurm, job), "the job does not end")
    assert slurm.shown(job) == ours.Shown(state, 0), (tmp_path / "run.out").read_text()


def test_a_job_that_is_cancelled_is_not_started_again(slurm, words, submit, tmp_path):
    job = submit("run", *words(tmp_path / "run", 100_000))
    until(begun(tmp_path / "run"), "the training does not begin")
    slurm.run("scancel", job)
    until(over(slurm, job), "the job does not end")
    assert slurm.shown(job) == ours.Shown("CANCELLED", 0), (tmp_path / "run.out").read_text()
    until(lambda: not (tmp_path / "run" / ".lock").exists(), "the training lives on")


def test_a_folder_that_a_job_trains_in_is_refused(slurm, words, submit, tmp_path):
    job = submit("run", *words(tmp_path / "run", 100_000))
    until(begun(tmp_path / "run"), "the training does not begin")
    again = [sys.executable, TOOLS / "train.py", *words(tmp_path / "run", 100_000), "--resume"]
    done = slurm.run(*again, check=False, **SETTINGS)
    assert done.returncode == ExitStatus.TAKEN
    assert f"(Slurm job {job})" in done.stderr
    slurm.run("scancel", job)
    until(over(slurm, job), "the job does not end")


def test_a_grid_one_of_whose_jobs_is_killed(slurm, images, config_file, tmp_path):
    """Slurm keeps no accounts here, which submitit asks alone. The grid ends, says what is left, and --resume does it."""
    pytest.importorskip("submitit")
    grid, out = tmp_path / "grid.py", tmp_path / "out"
    grid.write_text(
        f"name = 'grid'\nbase = dict(tiny={str(config_file)!r})\nseeds = [0, 1]\n"
        "algorithms = dict(A=dict(type='Supervised'))\n"
        f"options = {{'train_cfg.max_iters': {LONG}, 'train_cfg.val_interval': 20}}\n"
        "slurm = dict(slurm_partition='main', timeout_min=60, cpus_per_task=1)\n"
    )
    words = [
        sys.executable,
        "-m",
        "ferbench",
        "benchmark",
        grid,
        "--data",
        images,
        "--out",
        out,
        "--launcher",
        "slurm",
    ]
    folders = [out / "runs" / "tiny" / "all" / "A" / f"seed{seed}" for seed in (0, 1)]

    def kill_the_first() -> None:
        until(begun(folders[0]), "the run does not begin")
        owner = lock.owner_of(folders[0] / lock.NAME)
        slurm.run("scancel", owner.job.id)

    killer = threading.Thread(target=kill_the_first)
    killer.start()
    done = slurm.run(*words, check=False, **SETTINGS)
    killer.join()
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 of 2 runs are finished; 1 are still to be done: --resume" in done.stdout, done.stdout
    assert records.read(folders[0] / "record.json").status == "running"
    done = slurm.run(*words, "--resume", **SETTINGS)
    assert "2 of 2 runs are finished" in done.stdout
