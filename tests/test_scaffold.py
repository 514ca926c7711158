"""``ferbench new-plugin``: what it writes passes its own tests and trains, untouched."""

from __future__ import annotations

import os
import re

import pytest

from child import run_script
from ferbench import cli
from ferbench.errors import UserError
from ferbench.scaffold.write import KINDS, new_plugin


def run(folder, repo, *words):
    return run_script(words, folder, {**os.environ, "PYTHONPATH": str(repo), "OMP_NUM_THREADS": "1"})


@pytest.mark.parametrize("kind", KINDS)
def test_its_own_tests_pass(kind, repo, tmp_path) -> None:
    assert cli.main(["new-plugin", f"my-{kind}", "--kind", kind, "--out", str(tmp_path)]) == 0
    folder = tmp_path / f"my-{kind}"
    done = run(folder, repo, "-m", "pytest", "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    text = "".join(p.read_text() for p in folder.rglob("*") if p.suffix in (".py", ".cfg", ".md", ".toml"))
    assert "$" not in text.replace("{{$FERBENCH_CONFIGS:}}", "")
    assert not re.search(r"\bA [aeiou]", text)


def test_the_howto_shows_the_tests_as_they_are(repo, tmp_path) -> None:
    page = (repo / "docs" / "howto" / "plugin.md").read_text("utf-8")
    (shown,) = (b for b in re.findall(r"```python\n(.*?)```", page, flags=re.S) if "check_rule" in b)
    folder = new_plugin("calm-threshold", "threshold", tmp_path)
    assert (folder / "tests" / "test_threshold.py").read_text("utf-8").startswith(shown)


def test_their_configs_use_them(repo, tmp_path) -> None:
    kinds = [kind for kind in KINDS if kind != "dataset"]
    for kind in kinds:
        new_plugin(f"my-{kind}", kind, tmp_path)
    code = (
        "from ferbench.config import load_config\n"
        "from ferbench.core.parts import build\n"
        "from ferbench.registry import ALGORITHMS\n"
        f"for kind in {kinds}:\n"
        "    cfg = load_config('tiny_synthetic', {}, [f'my-{kind}/my_{kind}'], '.', f'my-{kind}/configs/my_{kind}.py')\n"
        "    algorithm = build(ALGORITHMS, cfg.model.algorithm, 'model.algorithm')\n"
        "    assert 'My' + kind.title() in {type(part).__name__ for part in algorithm.modules()}, kind\n"
    )
    done = run(tmp_path, repo, "-c", code)
    assert done.returncode == 0, done.stderr


def test_its_config_trains(repo, tmp_path) -> None:
    folder = new_plugin("calm", "threshold", tmp_path)
    drawn = ["--small", "--videos", "24", "--frames", "8", "--workers", "1"]
    assert cli.main(["make-synthetic", str(tmp_path / "data" / "synthetic"), *drawn]) == 0
    options = [
        "train_cfg.max_iters=2",
        "train_cfg.val_interval=2",
        "split.per_class=2",
        "train_dataloader.batch_size=4",
    ]
    loaders = [f"{part}_dataloader.num_workers=0" for part in ("train", "unlabeled", "val", "test")]
    words = [
        "--algorithm",
        "configs/calm.py",
        "--plugin",
        "./calm",
        "--data",
        "../data",
        "--work-dir",
        "../run",
    ]
    done = run(
        folder, repo, str(repo / "tools" / "train.py"), "tiny_synthetic", *words, "--cfg-options", *options, *loaders
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "run" / "results.md").is_file()


def test_a_name_that_is_taken_and_one_that_cannot_be(tmp_path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="already something of that name"):
        new_plugin("mine", "threshold", tmp_path)
    for name in ("1st", "my rule", "class", "../up", ""):
        with pytest.raises(UserError, match="cannot be named"):
            new_plugin(name, "threshold", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_nothing_half_written_is_left(tmp_path, monkeypatch) -> None:
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(OSError, match="No space"):
        new_plugin("mine", "dataset", tmp_path)
    assert list(tmp_path.iterdir()) == []
