"""What needs Slurm is skipped by name where it is not installed."""

from __future__ import annotations

import os
import shutil

import pytest
from one_machine import PROGRAMS, Slurm

from tiny_experiment import config_file, images, make, process_state  # noqa: F401 - fixtures


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing or os.getuid() != 0:
        pytest.skip(f"needs Slurm, as root: {', '.join(missing) or 'not root'} (see CONTRIBUTING.md)")
    own = Slurm(tmp_path_factory.mktemp("slurm"))
    try:
        own.start()
        yield own
    finally:
        own.stop()


@pytest.fixture
def slurm(cluster, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    return cluster
