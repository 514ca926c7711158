"""Processes of a training: how they are connected, and what is said when they cannot be."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from ferbench.engine import group
from ferbench.engine.accidents import is_lost_connection
from ferbench.errors import ExitStatus, UserError
from tiny_experiment import TESTS


@pytest.fixture
def gpus(monkeypatch):
    """A machine with so many GPUs, on which torchrun has started so many processes."""
    told = SimpleNamespace(device=None, group=None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: setattr(told, "device", device))
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda *a, **k: setattr(told, "group", (a, k))
    )
    for name, value in {"RANK": 1, "LOCAL_RANK": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))

    def given(count, processes):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setenv("WORLD_SIZE", str(processes))
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        return told

    return given


def config(**settings) -> Config:
    return Config(dict(launcher="pytorch", env_cfg=dict(dist_cfg=settings)))


def test_a_gpu_each(gpus):
    told = gpus(2, 2)
    group.start_processes(config(timeout=120))
    assert told.device == 1
    (backend,), settings = told.group
    assert (backend, settings["timeout"].total_seconds()) == ("nccl", 120 + group.MARGIN)


def test_more_processes_than_gpus(gpus):
    told = gpus(2, 3)
    with pytest.raises(UserError, match="3 processes on a machine with 2 usable GPUs") as caught:
        group.start_processes(config())
    assert told.group is None
    assert "CUDA_VISIBLE_DEVICES=" in caught.value.fix
    assert caught.value.fix.endswith("env_cfg.dist_cfg.backend=gloo")
    group.start_processes(config(backend="gloo"))  # as the message says
    assert told.group[0] == ("gloo",)
    assert told.device is None


@pytest.mark.parametrize("seconds", [0, -1, "600", True, float("nan"), float("inf"), None])
def test_a_timeout_that_is_none(seconds):
    with pytest.raises(UserError, match=r"env_cfg.dist_cfg.timeout is"):
        group.process_timeout(config(timeout=seconds))


def test_the_timeout():
    assert group.process_timeout(Config(dict())) == 600
    assert group.process_timeout(config(timeout=30)) == 30


@pytest.mark.parametrize(("error", "lost"), [
    (RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1"), True),
    (torch.distributed.DistBackendError("NCCL error in: ProcessGroupNCCL.cpp"), True),
    (RuntimeError("shapes cannot be multiplied"), False),
    (ValueError("Connection closed by peer"), False),
])  # fmt: skip
def test_which_errors_are_the_others_fault(error, lost, monkeypatch):
    monkeypatch.setattr("ferbench.engine.accidents.world_size", lambda: 2)
    assert is_lost_connection(error) is lost


@pytest.mark.heavy
@pytest.mark.parametrize(
    "hangs", [1, 0]
)  # the first one keeps the store in which they tell each other where they are
def test_a_process_that_hangs_is_named(hangs, images, config_file, tmp_path):
    """Two gloo processes, one of which is stopped in iteration 5; the other ends by itself, with one message."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    words = [
        sys.executable, TESTS.parent / "tools" / "train.py", config_file, "--work-dir", tmp_path, "--data", images,
        "--launcher", "pytorch", "--cfg-options", "env_cfg.dist_cfg.timeout=3", "custom_hooks.0.iteration=5",
        "custom_hooks.0.signum=19", f"custom_hooks.0.rank={hangs}",
    ]  # fmt: skip
    common = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            words,
            stderr=subprocess.PIPE,
            text=True,
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    try:
        _, said = processes[1 - hangs].communicate(timeout=300)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert processes[1 - hangs].returncode == ExitStatus.USER_ERROR, said
    assert said.count("error") == 1
    assert f"process {hangs} of 2 " in said
    assert "Traceback" not in said
