"""What `pip install .` installs: every module, every config, the command; and what may be given away."""

import configparser
import os
import shutil
import subprocess
import sys
import zipfile

import pytest

SOURCES = (
    "ferbench",
    "configs",
    "setup.py",
    "setup.cfg",
    "pyproject.toml",
    "LICENSE",
    "README.md",
    "MANIFEST.in",
)


@pytest.fixture(scope="module")
def sources(repo, tmp_path_factory):
    """A copy: building leaves files beside the sources."""
    folder = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        source = repo / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, folder / name)
    probe = folder / "configs" / "dtm" / "probe.py"  # there is one, whatever the project ships
    probe.parent.mkdir(exist_ok=True)
    probe.write_text("_base_ = '../_base_/probe.py'\n")
    (folder / "configs" / "_base_" / "probe.py").write_text("log_level = 11\n")
    return folder


@pytest.fixture(scope="module")
def wheel(sources, tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*command, "--wheel-dir", str(out), str(sources)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    [file] = out.glob("ferbench-*.whl")
    return zipfile.ZipFile(file)


def test_every_module_and_config_is_in_the_wheel(wheel, sources):
    names = set(wheel.namelist())
    for source, target in (("ferbench", "ferbench"), ("configs", "ferbench/configs")):
        for file in (sources / source).rglob("*.py"):
            assert f"{target}/{file.relative_to(sources / source).as_posix()}" in names
    for file in (sources / "ferbench" / "benchmark" / "report" / "templates").iterdir():
        assert f"ferbench/benchmark/report/templates/{file.name}" in names
    assert "ferbench/py.typed" in names
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"ferbench"}


def test_the_wheel_has_the_command_the_licence_and_the_version(wheel):
    from ferbench import __version__

    info = f"ferbench-{__version__}.dist-info"
    parser = configparser.ConfigParser()
    parser.read_string(wheel.read(f"{info}/entry_points.txt").decode())
    assert parser["console_scripts"]["ferbench"] == "ferbench.cli:entry_point"
    metadata = wheel.read(f"{info}/METADATA").decode()
    assert "\nRequires-Python: >=3.10\n" in metadata
    assert "\nLicense-File: LICENSE\n" in metadata
    [licence] = [n for n in wheel.namelist() if n.endswith("/LICENSE")]
    assert b"Apache License" in wheel.read(licence)


def test_an_installed_package_finds_its_configs_from_anywhere(wheel, tmp_path):
    site = tmp_path / "site"
    wheel.extractall(site)
    code = (
        "import ferbench\nfrom ferbench.config import load_config\n"
        "cfg = load_config('dtm/probe.py')\n"
        "print(ferbench.__file__, cfg.filename, cfg.log_level, sep='\\n')"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    package, config, interval = done.stdout.splitlines()
    assert package == str(site / "ferbench" / "__init__.py")
    assert config == str(site / "ferbench" / "configs" / "dtm" / "probe.py")
    assert interval == "11"


def test_what_setup_cfg_requires_is_locked(repo):
    parser = configparser.ConfigParser()
    parser.read(repo / "setup.cfg")
    wanted = parser["options"]["install_requires"] + parser["options.extras_require"]["test"]
    lock = (repo / "requirements" / "lock.txt").read_text()
    locked = {
        line.split("==")[0] for line in lock.splitlines() if "==" in line and not line.startswith((" ", "#"))
    }
    for line in wanted.split():
        name = line.split(">")[0].split("<")[0].split("=")[0]
        assert name in locked, f"{name} is not in requirements/lock.txt; run: make lock"
    assert lock.count("--hash=sha256:") > len(locked)


WITHOUT_OPERATORS = """
import sys
sys.path.insert(0, {site!r})
{guard}
import torchvision
assert torchvision.__file__.startswith({site!r})
assert not torchvision.extension._has_ops()
print("imported")
"""


@pytest.mark.parametrize("guarded", [False, True])
def test_a_torchvision_whose_library_does_not_load(tmp_path, guarded):
    """A CUDA torchvision beside a CPU torch, played by a torchvision without its compiled library."""
    from importlib.util import find_spec

    real = os.path.dirname(find_spec("torchvision").origin)
    fake = tmp_path / "torchvision"
    fake.mkdir()
    for name in os.listdir(real):
        if not name.startswith("_C"):
            (fake / name).symlink_to(os.path.join(real, name))
    guard = "import ferbench.core._torchvision_guard" if guarded else ""
    code = WITHOUT_OPERATORS.format(site=str(tmp_path), guard=guard)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if guarded:
        assert done.stdout.strip() == "imported", done.stderr
    else:
        assert "operator torchvision::nms does not exist" in done.stderr


def test_the_guard_leaves_a_whole_torchvision_alone():
    from ferbench.core import _torchvision_guard

    if _torchvision_guard._KEPT_ALIVE is not None:
        pytest.skip("this environment's torchvision has no compiled library")
    import torch
    import torchvision

    boxes = torch.tensor([[0, 0, 2, 2], [0, 0, 2, 2.1], [5, 5, 6, 6]])
    assert torchvision.ops.nms(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.5).tolist() == [1, 2]


def test_make_says_what_it_can_do(repo):
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    done = subprocess.run(["make", "-s", "help"], cwd=repo, capture_output=True, text=True, check=True)
    assert "make demo" in done.stdout
    assert "make test" in done.stdout


@pytest.mark.parametrize("target", ["demo", "test", "check", "bench"])
def test_a_second_make_installs_nothing(repo, tmp_path, target):
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    for name in ("Makefile", "setup.cfg", "setup.py", "pyproject.toml", "requirements"):
        (tmp_path / name).symlink_to(repo / name)
    first = subprocess.run(["make", "-n", target], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "requirements/lock.txt" in first.stdout
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".installed").touch()
    second = subprocess.run(["make", "-n", target], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "requirements/lock.txt" not in second.stdout
    assert second.stdout
