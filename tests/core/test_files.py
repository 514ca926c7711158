import errno
import os
import subprocess
import sys
import time

import pytest

from ferbench.core import files
from ferbench.core.files import atomic_write, remove_unfinished


def test_a_failed_write_keeps_the_old_file(tmp_path):
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with pytest.raises(TypeError), atomic_write(target) as file:
        file.writelines([b"half", "not bytes"])
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert target.read_bytes() == b"old"
    with atomic_write(target) as file:
        file.write(b"new")
    assert target.read_bytes() == b"new"


class TestUnfinishedFiles:
    """Temporary files of writers that were killed go; those of writers that live stay."""

    def test_of_the_same_file(self, tmp_path):
        for left in (".a.json.0123abcd.tmp", ".a.json.77.tmp"):
            (tmp_path / left).write_text("half")
        (tmp_path / ".b.json.0123abcd.tmp").write_text("half of another file")
        with atomic_write(tmp_path / "a.json") as stream:
            stream.write(b"whole")
        assert sorted(f.name for f in tmp_path.iterdir()) == [".b.json.0123abcd.tmp", "a.json"]

    def test_a_writer_that_lives_keeps_its_file(self, tmp_path):
        with atomic_write(tmp_path / "a.json") as slow:
            slow.write(b"slow")
            with atomic_write(tmp_path / "a.json") as fast:  # two that race for one name
                fast.write(b"fast")
            remove_unfinished(tmp_path)
            assert len(list(tmp_path.glob(".*.tmp"))) == 1
        assert (tmp_path / "a.json").read_bytes() == b"slow"
        assert len(list(tmp_path.iterdir())) == 1

    def test_a_writer_in_another_process(self, tmp_path):
        """It is killed: then, and only then, its file goes."""
        code = (
            "import sys, signal; from pathlib import Path; from ferbench.core.files import atomic_write\n"
            "with atomic_write(Path(sys.argv[1])) as f: f.write(b'x'); f.flush(); print('now', flush=True); signal.pause()"
        )
        writer = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "last.pth")], stdout=subprocess.PIPE
        )
        assert writer.stdout.readline() == b"now\n"
        remove_unfinished(tmp_path)
        assert len(list(tmp_path.glob(".last.pth.*.tmp"))) == 1
        writer.kill()
        writer.wait()
        writer.stdout.close()
        remove_unfinished(tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_without_locks_only_old_ones_go(self, tmp_path, monkeypatch):
        """Of a file system that has none."""

        def none(*_):
            raise OSError(errno.ENOLCK, "no locks")

        monkeypatch.setattr(files.fcntl, "flock", none)
        for name, age in ((".a.1.tmp", 10.0), (".a.2.tmp", 1e6)):
            (tmp_path / name).write_text("half")
            then = time.time() - age
            os.utime(tmp_path / name, (then, then))
        with atomic_write(tmp_path / "a"):
            pass
        assert sorted(f.name for f in tmp_path.iterdir()) == [".a.1.tmp", "a"]
