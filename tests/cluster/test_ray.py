"""A grid on a real Ray of this one machine: a worker that is killed, and a training that outlives its worker."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest
from one_machine import until

from ferbench import records
from ferbench.engine import lock
from ferbench.errors import ExitStatus

ray = pytest.importorskip("ray", reason="needs Ray (see CONTRIBUTING.md)")
pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def address():
    """Of a cluster that this module starts and stops."""
    own = ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield own.address_info["gcs_address"]
    ray.shutdown()


@pytest.fixture
def grid(address, images, config_file, tmp_path):
    """Start a grid of two runs: the process, whose output is read at its end. Folders of its runs: ``grid.folders``."""
    file, out = tmp_path / "grid.py", tmp_path / "out"
    file.write_text(
        f"name = 'grid'\nbase = dict(tiny={str(config_file)!r})\nseeds = [0, 1]\n"
        "algorithms = dict(A=dict(type='Supervised'))\n"
        "options = {'train_cfg.max_iters': 150, 'train_cfg.val_interval': 20}\n"
        f"ray = dict(address={address!r}, num_cpus=1)\n"
    )

    def start(*more):
        words = [
            sys.executable,
            "-m",
            "ferbench",
            "benchmark",
            file,
            "--data",
            images,
            "--out",
            out,
            "--launcher",
            "ray",
        ]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "RAY_DEDUP_LOGS": "0",
        }
        return subprocess.Popen(
            list(map(str, [*words, *more])),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    start.folders = [out / "runs" / "tiny" / "all" / "A" / f"seed{seed}" for seed in (0, 1)]
    return start


def training_and_worker(folder):
    """Numbers of the process that trains in a folder, and of the one that started it."""
    until((folder / "last.pth").is_file, "the run does not begin")
    pid = json.loads((folder / lock.NAME).read_text())["pid"]
    with open(f"/proc/{pid}/status") as status:
        return pid, int(re.search(r"^PPid:\s*(\d+)", status.read(), re.MULTILINE)[1])


def test_a_worker_and_its_training_that_are_killed(grid):
    first = grid()
    for process in training_and_worker(grid.folders[0]):
        os.kill(process, signal.SIGKILL)
    said = first.communicate()[0]
    assert first.returncode == ExitStatus.SOME_FAILED, said
    all_is_done_by(grid)


def test_a_training_that_outlives_its_worker(grid):
    """It keeps its lock, and no other training is started in its folder."""
    first = grid()
    training, worker = training_and_worker(grid.folders[0])
    os.kill(training, signal.SIGSTOP)  # so that it is not over before the worker is missed
    try:
        os.kill(worker, signal.SIGKILL)
        said = first.communicate()[0]
        state = lock.look(grid.folders[0] / lock.NAME)[0]
        status = records.read(grid.folders[0] / "record.json").status
    finally:
        os.kill(training, signal.SIGCONT)
    assert (state, status) == (lock.State.HELD, "running")
    assert first.returncode == ExitStatus.OK, said
    assert f"process {training} on" in said
    assert "1 of 2 runs are finished; 1 are done by another runner" in said
    until(lambda: lock.look(grid.folders[0] / lock.NAME)[0] is lock.State.FREE, "the training does not end")
    all_is_done_by(grid)


def all_is_done_by(grid):
    again = grid("--retry-failed")
    said = again.communicate()[0]
    assert again.returncode == ExitStatus.OK, said
    assert "2 of 2 runs are finished" in said
