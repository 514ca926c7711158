"""The example plug-in, installed as a user would install it, found without touching ferbench."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from ferbench.errors import UserError
from ferbench.registry import THRESHOLDS


@pytest.fixture(scope="module")
def plugin(repo, tmp_path_factory):
    """A copy: building leaves files beside the sources."""
    folder = tmp_path_factory.mktemp("plugin") / "plugin"
    ignored = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    return shutil.copytree(repo / "examples" / "plugin", folder, ignore=ignored)


@pytest.fixture(scope="module")
def site(plugin, tmp_path_factory):
    """Where pip put the built package."""
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*command, "--target", str(target), str(plugin)], capture_output=True, text=True, cwd=target
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return target


@pytest.fixture
def run(repo, site, tmp_path):
    """Runs Python with the plug-in installed, away from every checkout's folder."""

    def call(*words):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(repo)])}
        done = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, cwd=tmp_path, env=environment
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return call


def test_its_names_and_their_origin_are_found_by_the_entry_point_alone(run):
    code = (
        "import sys\nfrom ferbench.core.plugins import origin\n"
        "from ferbench.registry import DATASETS, THRESHOLDS\n"
        "assert 'ferbench_example' not in sys.modules\n"
        "for part in THRESHOLDS.get('TopShareThreshold'), DATASETS.get('Jaffe'):\n"
        "    print(part.__module__, origin(part), sep='; ')"
    )
    assert run("-c", code).splitlines() == [
        "ferbench_example.top_share; ferbench-example 0.1.0",
        "ferbench_example.jaffe; ferbench-example 0.1.0",
    ]


def test_its_own_tests_pass_where_it_is_installed(run, plugin):
    words = [
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(plugin / "tests"),
        str(plugin / "tests"),
    ]
    assert " passed" in run(*words)


def test_it_works_uninstalled_as_a_folder(repo, plugin, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(repo)}
    words = ["list", "--kind", "threshold", "--json", "--plugin", str(plugin / "ferbench_example")]
    done = subprocess.run(
        [sys.executable, "-m", "ferbench", *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "TopShareThreshold" in [part["name"] for part in json.loads(done.stdout)["parts"]]


def test_without_it_its_name_is_unknown():
    with pytest.raises(UserError, match="there is no threshold named 'TopShareThreshold'"):
        THRESHOLDS.get("TopShareThreshold")
