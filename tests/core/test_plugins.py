"""Entry points, files and folders as plug-ins; whose fault a missing name is; where a part comes from."""

import hashlib
import subprocess
import sys
from functools import partial

import pytest

from ferbench.core import plugins
from ferbench.errors import UserError
from ferbench.registry import THRESHOLDS, Registry

RULE = """
from ferbench.registry import THRESHOLDS

@THRESHOLDS.register_module()
class {name}:
    \"\"\"Says nothing.\"\"\"
"""


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    """Leave no plug-in, no module, no path and no registered name behind."""
    monkeypatch.setattr(plugins, "_seen", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    plugins._distributions.cache_clear()
    modules, names = set(sys.modules), set(THRESHOLDS.module_dict)
    yield
    for name in set(sys.modules) - modules:
        if not name.startswith("ferbench."):
            del sys.modules[name]
    for name in set(THRESHOLDS.module_dict) - names:
        if THRESHOLDS.module_dict[name].__module__.partition(".")[0] != "ferbench":
            del THRESHOLDS.module_dict[name]


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a distribution with one entry point where Python finds it."""

    def put(name, code, entry=None):
        site = tmp_path / "site"
        info = site / f"{name}-1.2.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[ferbench.plugins]\n{name} = {entry or name}\n")
        (site / f"{name}.py").write_text(code)
        if str(site) not in sys.path:
            monkeypatch.syspath_prepend(str(site))

    return put


def test_a_name_of_an_installed_package_is_found(install):
    install("plug_good", RULE.format(name="GoodRule"))
    assert THRESHOLDS.get("GoodRule").__module__ == "plug_good"
    assert plugins.origin(THRESHOLDS.get("GoodRule")) == "plug_good 1.2"


def test_an_entry_point_may_name_a_function(install):
    body = RULE.format(name="LateRule").replace("\n", "\n    ")
    install("plug_late", "def register():\n    " + body, entry="plug_late:register")
    assert THRESHOLDS.get("LateRule").__module__ == "plug_late"


def test_each_entry_point_is_loaded_once(install):
    install("plug_once", "import sys\nsys.plug_once = getattr(sys, 'plug_once', 0) + 1\n")
    plugins.load_entry_points()
    del sys.modules["plug_once"]
    plugins.load_entry_points()
    assert sys.plug_once == 1
    del sys.plug_once


def test_a_built_in_name_does_not_wake_plugins(install):
    install("plug_asleep", "raise RuntimeError('woken')")
    assert THRESHOLDS.get("FixedThreshold").__name__ == "FixedThreshold"
    assert plugins.known() == ()


def test_a_broken_plugin_is_reported_with_its_traceback_only_when_something_is_missing(install):
    install("plug_broken", "def inner():\n    return {}['absent']\ninner()\n")
    install("plug_fine", RULE.format(name="FineRule"))
    assert THRESHOLDS.get("FineRule")  # found: nobody hears of the broken one
    with pytest.raises(UserError) as caught:
        THRESHOLDS.get("FineRul")
    message = str(caught.value)
    assert "there is no threshold named 'FineRul'" in message
    assert "did you mean 'FineRule'" in message
    assert "plug-in 'plug_broken' of plug_broken 1.2 failed to import" in message
    assert "return {}['absent']" in message
    assert "KeyError: 'absent'" in message


def test_a_plugin_that_exits_at_import_does_not_end_the_program(install):
    install("plug_exit", "raise SystemExit(3)")
    plugins.load_entry_points()
    assert "SystemExit: 3" in plugins.failure_report()


def test_no_broken_plugin_no_report():
    assert plugins.failure_report() == ""


def test_load_a_file(tmp_path):
    file = tmp_path / "my_rules.py"
    file.write_text(RULE.format(name="FileRule"))
    plugins.load(str(file))
    rule = THRESHOLDS.get("FileRule")
    assert plugins.origin(rule) == f"{file}:4"  # the decorator's line
    plugins.load(str(file))  # again: nothing happens


def test_load_a_package_folder_and_a_module_name(tmp_path):
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "__init__.py").write_text("from my_package import rule\n")
    (tmp_path / "my_package" / "rule.py").write_text(RULE.format(name="PackageRule"))
    plugins.load(f"{tmp_path}/my_package")
    assert THRESHOLDS.get("PackageRule").__module__ == "my_package.rule"
    plugins.load("my_package")


@pytest.mark.parametrize("spec", ["nowhere/absent.py", "absent_package", "json.absent_part"])
def test_a_plugin_that_does_not_exist(spec):
    with pytest.raises(UserError, match=r"plug-in .*does not exist|there is no plug-in"):
        plugins.load(spec)


def test_a_missing_dependency_is_not_taken_for_a_missing_plugin(tmp_path):
    file = tmp_path / "needs_more.py"
    file.write_text("import absent_dependency\n")
    with pytest.raises(UserError, match="failed to import") as caught:
        plugins.load(str(file))
    assert "No module named 'absent_dependency'" in str(caught.value)
    assert 'needs_more.py", line 1' in str(caught.value)


@pytest.mark.parametrize("mended", ["name='OwnFixedThreshold'", "name='FixedThreshold', force=True"])
def test_a_name_that_is_taken(tmp_path, mended):
    """Of a part of ferbench, or of the plug-in itself, twice; what the message proposes works."""
    text = """from ferbench.registry import THRESHOLDS
from ferbench.thresholds import ThresholdRule, FixedThreshold


@THRESHOLDS.register_module({})
class Mine(ThresholdRule):
    pass
"""
    file = tmp_path / f"takes_{len(mended)}.py"
    file.write_text(text.format("name='FixedThreshold'"))
    with pytest.raises(
        UserError, match="registers 'FixedThreshold', which is already the name of a threshold"
    ) as caught:
        plugins.load(str(file))
    assert caught.value.where == f"{file}:5"
    assert "OwnFixedThreshold" in caught.value.fix
    assert "force=True" in caught.value.fix
    assert "Traceback" not in str(caught.value)
    before = THRESHOLDS.get("FixedThreshold")
    right = tmp_path / f"takes_none_{len(mended)}.py"
    right.write_text(text.format(mended))
    try:
        plugins.load(str(right))
        assert THRESHOLDS.get(mended.split("'")[1]).__name__ == "Mine"
    finally:
        THRESHOLDS.register_module(name="FixedThreshold", force=True, module=before)


def test_a_file_must_not_hide_another_module(tmp_path):
    (tmp_path / "json.py").write_text("")
    with pytest.raises(UserError, match="already another module named 'json'"):
        plugins.load(str(tmp_path / "json.py"))


def test_a_file_name_must_be_importable(tmp_path):
    (tmp_path / "my-rule.py").write_text("")
    with pytest.raises(UserError, match="cannot be imported under its name"):
        plugins.load(str(tmp_path / "my-rule.py"))


def test_a_failure_that_is_allowed_is_remembered(tmp_path):
    file = tmp_path / "half_done.py"
    file.write_text("1 / 0\n")
    plugins.load(str(file), required=False)
    assert "ZeroDivisionError" in plugins.failure_report()


def test_origin_of_built_in_library_and_wrapped_parts():
    from ferbench import __version__

    assert plugins.origin(Registry) == f"ferbench {__version__}"
    assert plugins.origin(partial(Registry, "x")) == f"ferbench {__version__}"
    assert plugins.origin(pytest.fixture).startswith("pytest ")


def test_identities_tell_versions_of_a_plugin_apart(install, tmp_path):
    install("plug_versioned", RULE.format(name="VersionedRule"))
    package = tmp_path / "my_parts"
    (package / "deep").mkdir(parents=True)
    contents = {"__init__.py": "import my_parts.deep.rule\n", "deep/rule.py": RULE.format(name="DeepRule")}
    for name, content in contents.items():
        (package / name).write_text(content)
    (package / "notes.txt").write_text("no code")
    plugins.load(f"{package}")
    (tmp_path / "unused.py").write_text(RULE.format(name="UnusedRule"))
    plugins.load(f"{tmp_path}/unused.py")

    def sha256(files):
        told = b"".join(f"{n} {len(c)}\n{c}".encode() for n, c in sorted(files.items()))
        return hashlib.sha256(told).hexdigest()[:16]

    parts = [THRESHOLDS.get(name) for name in ("VersionedRule", "DeepRule", "FixedThreshold")]
    versioned = sha256({"plug_versioned": RULE.format(name="VersionedRule")})
    expected = {
        "plug_versioned": f"plug_versioned 1.2, sha256 {versioned}",
        "my_parts": f"sha256 {sha256(contents)}",
    }
    assert plugins.identities(parts) == expected
    edited = contents["deep/rule.py"] + "# edited\n"
    (package / "deep" / "rule.py").write_text(edited)
    assert plugins.identities(parts)["my_parts"] == f"sha256 {sha256({**contents, 'deep/rule.py': edited})}"


def test_the_module_imports_no_torch():
    code = "import sys; from ferbench.core import plugins; plugins.load_entry_points(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
