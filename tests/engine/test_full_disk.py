"""A disk that is full at any moment of a run: one exit status, no traceback, no failed record, and --resume goes on."""

from __future__ import annotations

import os
import subprocess
from collections import OrderedDict

import pytest
from mmengine.logging import MMLogger

from ferbench import cli, records
from ferbench.errors import ExitStatus


@pytest.fixture
def disk(tmp_path):
    """A file system of its own: ``disk(kib)`` makes it, or gives it another size."""
    place = tmp_path / "disk"
    place.mkdir()

    def size(kib: int):
        options = ["-o", f"{'remount,' if os.path.ismount(place) else ''}size={kib}k"]
        done = subprocess.run(
            ["mount", "-t", "tmpfs", *options, "tmpfs", place], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"no small file system can be mounted here: {done.stderr.strip()}")
        return place

    yield size
    if os.path.ismount(place):
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("kib", [4, 12, 24, 72, 200])
def test_it_is_met_by_one_writer_or_another(kib, disk, images, config_file, capsys, monkeypatch):
    """Text log, TensorBoard's events, split, record, checkpoints, pictures: by the size of the disk."""
    monkeypatch.setattr(cli, "tune_process", lambda: None)
    monkeypatch.setattr(
        MMLogger, "_instance_dict", OrderedDict()
    )  # those of other runs write to files that are gone
    folder = disk(kib) / "run"
    words = ["train", str(config_file), "--data", str(images), "--work-dir", str(folder), "--cfg-options"]
    words += ["train_cfg.max_iters=6", "log_level=INFO", "default_hooks.report.pictures=True"]
    words += ["visualizer.vis_backends=[dict(type='TensorboardVisBackend')]"]
    assert cli.main(words) == ExitStatus.DISK_FULL
    said = capsys.readouterr().err
    assert said.count("error") == 1 or "Errno" in said, said
    assert "Traceback" not in said
    assert "space" in said
    assert not (folder / ".lock").exists()
    file = folder / "record.json"
    assert not file.exists() or records.read(file).status == records.RUNNING
    if kib < 200:
        return
    disk(8192)
    assert cli.main([*words, "--resume"]) == ExitStatus.OK
    assert records.read(file).status == records.FINISHED
