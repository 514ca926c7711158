"""No folder imports upwards, and no two folders import each other: read from the sources, imports inside functions included."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "ferbench"
#: From the bottom to the top; a folder imports from its own layer and from those before it. "" are the modules of the root.
LAYERS = (
    ("", "core"),
    ("functional",),
    ("viz",),
    ("alignments", "thresholds", "targets", "losses"),
    ("algorithms",),
    ("models", "data"),
    ("evaluation", "synthetic", "scaffold"),
    ("records",),
    ("engine",),
    ("testing",),
    ("benchmark", "deploy"),
    ("cli",),
)
LAYER = {folder: number for number, layer in enumerate(LAYERS) for folder in layer}


def folder_of(module: str) -> str:
    """``cli`` and ``__main__`` stand at the top; the other modules of the root at the bottom."""
    name = module.split(".")[1] if "." in module else ""
    if name in ("cli", "__main__"):
        return "cli"
    return name if (ROOT / name).is_dir() else ""


def imports(source: str, modules: frozenset[str]) -> Iterator[str]:
    """The modules of ferbench that a source names in its import statements, wherever they stand."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "ferbench")
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "an import with dots hides its folder"
            if (node.module or "").split(".")[0] == "ferbench":
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    yield inner if inner in modules else str(node.module)


@cache
def arrows() -> Mapping[tuple[str, str], list[str]]:
    """(importing folder, imported folder) -> the imports."""
    files = {
        ".".join(("ferbench", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in ROOT.rglob("*.py")
    }
    found = defaultdict(list)
    for module, path in files.items():
        for imported in imports(path.read_text(encoding="utf-8"), frozenset(files)):
            pair = folder_of(module), folder_of(imported)
            if pair[0] != pair[1] and imported != "ferbench":
                found[pair].append(f"{module} imports {imported}")
    return dict(found)


def test_every_folder_has_a_layer():
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and list(path.glob("*.py"))}
    assert folders <= set(LAYER)


def test_no_folder_imports_upwards():
    upwards = [found for pair, found in arrows().items() if LAYER[pair[0]] < LAYER[pair[1]]]
    assert not upwards


def test_no_folders_import_each_other():
    """Nor in a longer circle: folders of which each imports only from some that are done can all be put in a row."""
    below = defaultdict(set)
    for importing, imported in arrows():
        if "" not in (importing, imported):
            below[importing].add(imported)
    left = set(LAYER)
    while ready := {folder for folder in left if not below[folder] & left}:
        left -= ready
    assert not left, {folder: sorted(below[folder] & left) for folder in left}


@pytest.mark.parametrize(
    "source",
    [
        "import ferbench.engine.api",
        "from ferbench.engine import api",
        "def f():\n    from ferbench.engine.api import train",
        "if TYPE_CHECKING:\n    from ferbench.engine.api import train",
    ],
)
def test_imports_are_seen_wherever_they_stand(source):
    assert list(imports(source, frozenset({"ferbench.engine.api"}))) == ["ferbench.engine.api"]
