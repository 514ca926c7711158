"""Where the processes of a Slurm job meet."""

from __future__ import annotations

import pytest

from ferbench.engine import slurm
from ferbench.errors import UserError

TASK = {"PROCID": "3", "NTASKS": "4", "LOCALID": "1", "JOB_ID": "4711", "STEP_ID": "2"}


@pytest.fixture
def task(monkeypatch):
    """The environment of a task: ``task(JOB_NUM_NODES="2")``."""
    for name in ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)

    def set_variables(**more):
        for name, value in {**TASK, **more}.items():
            monkeypatch.setenv(f"SLURM_{name}", value)

    return set_variables


@pytest.mark.parametrize(("nodes", "first"), [
    ("vm", "vm"), ("a,b", "a"), ("n[3,5-7]", "n3"), ("n[007-120],x[1-2]", "n007"), ("rack[2-3]n[07,09-12],login", "rack2n07"),
    ("gpu-[1-2]-ib", "gpu-1-ib"), ("", ""),
])  # fmt: skip
def test_the_first_of_a_list_of_nodes(nodes, first):
    assert slurm.first_host(nodes) == first


def test_jobs_and_steps_meet_at_ports_of_their_own():
    """Those that can be at work on one node at a time: 480 jobs with numbers in a row, of 31 steps each."""
    ports = [slurm.port_of(job, step) for job in range(70_000, 70_480) for step in range(31)]
    assert len(set(ports)) == len(ports)
    assert min(ports) >= 1024
    assert max(ports) < 32768  # where Linux takes the ports of outgoing connections from


def test_process_0_is_on_the_first_node_of_the_step(task, monkeypatch):
    """Not where srun was typed: on a login node no process of the job listens."""
    task(
        JOB_NODELIST="n[1-4]",
        JOB_NUM_NODES="4",
        STEP_NODELIST="n[3-4]",
        STEP_NUM_NODES="2",
        LAUNCH_NODE_IPADDR="10.0.0.1",
    )
    slurm.set_environment()
    found = {
        name: slurm.os.environ[name]
        for name in ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK")
    }
    assert found == {
        "MASTER_ADDR": "n3", "MASTER_PORT": str(slurm.port_of(4711, 2)), "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1",
    }  # fmt: skip


def test_on_one_node_no_name_must_be_known(task):
    task(STEP_NODELIST="n7", STEP_NUM_NODES="1")
    slurm.set_environment()
    assert slurm.os.environ["MASTER_ADDR"] == "127.0.0.1"


def test_what_the_user_sets_stays(task, monkeypatch):
    task()
    monkeypatch.setenv("MASTER_PORT", "1234")
    monkeypatch.setenv("MASTER_ADDR", "here")
    slurm.set_environment()
    assert (slurm.os.environ["MASTER_PORT"], slurm.os.environ["MASTER_ADDR"]) == ("1234", "here")


def test_outside_slurm(task, monkeypatch):
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    with pytest.raises(UserError, match=r"SLURM_PROCID is not set(.|\n)*tools/slurm_train.sh"):
        slurm.set_environment()
