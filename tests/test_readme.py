"""Every command of the README runs, in its order. Long ones are shortened by options that are appended to them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from child import run_script

SHORT = {
    "make_synthetic.py": shlex.split("--videos 48 --frames 12 --unlabeled 40 --train 2 --test 2 --size 48"),
    "train": ["--cfg-options", "train_cfg.max_iters=4", "train_cfg.val_interval=2", "split.per_class=2"],
    "test.py": ["--cfg-options", "split.per_class=2"],
    "check_data.py": ["--cfg-options", "split.per_class=2"],
    "benchmark.py": ["--dry-run"],
}


def commands(text: str) -> list[str]:
    """The lines of the README's bash blocks, without comments."""
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.S)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [re.sub(r"\s+# .*", "", line) for line in lines if line and not line.startswith("#")]


def shortened(command: str) -> list[str]:
    words = shlex.split(command)
    for mark, extra in SHORT.items():
        if any(mark in Path(word).name for word in words[:2]):
            return words + extra
    return words


@pytest.fixture(scope="module")
def desk(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like the top of a checkout, so that nothing is written into the real one."""
    folder = tmp_path_factory.mktemp("desk")
    for name in (
        "tools",
        "configs",
        "examples",
        "Makefile",
        "requirements",
        "setup.cfg",
        "setup.py",
        "pyproject.toml",
    ):
        (folder / name).symlink_to(repo / name)
    return folder


def test_commands(repo: Path, desk: Path) -> None:
    found = commands((repo / "README.md").read_text(encoding="utf-8"))
    assert len(found) >= 9
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "OMP_NUM_THREADS": "1",
    }
    for command in found:
        # What make does is the rest of this test, and all the others; here: that these are targets.
        words = (
            shlex.split(command.replace("make", "make --dry-run", 1))
            if command[:4] == "make"
            else shortened(command)
        )
        if (
            words[0] == "python" and "test.py" not in words[1]
        ):  # one, and what shells start, in new interpreters
            result = run_script(words[1:], desk, environment)
        else:
            result = subprocess.run(
                words, cwd=desk, env=environment, capture_output=True, text=True, check=False
            )
        assert result.returncode == 0, f"{command}\n{result.stdout[-2000:]}\n{result.stderr[-2000:]}"
    run = desk / "work_dirs" / "demo"
    assert (run / "results.md").is_file()
    assert (desk / "work_dirs" / "report" / "report.html").is_file()
    assert list((run / "plots").glob("*.png"))


def test_links_lead_somewhere(repo: Path) -> None:
    for page in (repo / "README.md", *sorted((repo / "docs").rglob("*.md"))):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_map_names_files_that_are_there(repo: Path) -> None:
    """In its pictures, too, which have no links."""
    text = re.sub(r"\]\([^)]*\)", "]", (repo / "docs" / "map.md").read_text(encoding="utf-8"))
    named = set(re.findall(r"\w+(?:/\w+)*\.py", text))
    assert len(named) > 20
    assert not [name for name in named if not any((repo / top / name).is_file() for top in ("", "ferbench"))]
