"""What error messages advise exists: options of the command line, files, config keys, parameters.

Covers every `UserError` of the package by reading its source; whether an advice also helps is tested where the error is.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ferbench import cli
from ferbench.config import load_config
from ferbench.core.keys import TOP_LEVEL, section_keys
from ferbench.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
ERRORS = {"UserError", "DiskFull", "FolderTaken"}
CONFIG = "dtm/tiny_synthetic.py"


def spoken(node: ast.AST) -> Iterator[str]:
    """The constant texts in a call or an assignment; ``{}`` where a value is filled in."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.JoinedStr):
            yield "".join(v.value if isinstance(v, ast.Constant) else "{}" for v in inner.values)
        elif isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            yield inner.value


def messages() -> Iterator[tuple[str, str]]:
    """Place and text of what `UserError`s say, with the constants that they name."""
    for path in sorted((ROOT / "ferbench").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = {
            target.id: node.value
            for node in tree.body if isinstance(node, ast.Assign)
            for target in node.targets if isinstance(target, ast.Name)
        }  # fmt: skip
        for call in ast.walk(tree):
            if not (isinstance(call, ast.Call) and getattr(call.func, "id", None) in ERRORS):
                continue
            names = [n.id for n in ast.walk(call) if isinstance(n, ast.Name)]
            for node in (call, *(constants[name] for name in names if name in constants)):
                for text in spoken(node):
                    yield f"{path.relative_to(ROOT)}:{call.lineno}", text


MESSAGES = list(messages())


def found(pattern: str) -> list[tuple[str, str]]:
    """Place and match, each match once."""
    matches = {m: place for place, text in MESSAGES for m in re.findall(pattern, text)}
    return sorted((place, match) for match, place in matches.items())


def options(parser: argparse.ArgumentParser) -> set[str]:
    own = {word for action in parser._actions for word in action.option_strings}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            own |= {word for sub in action.choices.values() for word in options(sub)}
    return own


def parameters() -> set[str]:
    """Names of the arguments of all functions of the package."""
    trees = [ast.parse(p.read_text(encoding="utf-8")) for p in (ROOT / "ferbench").rglob("*.py")]
    return {node.arg for tree in trees for node in ast.walk(tree) if isinstance(node, ast.arg)}


OF_OTHERS = {"--head", "--shm-size"}  # of Ray and Docker
#: Of all its parts, its schedules, its hooks, its registries.
OF_MMENGINE = {"type", "init_cfg", "by_epoch", "profile_times", "force"}


def test_options_exist():
    known = set().union(
        *(
            options(cli._parser([c]))
            for c in ("train", "benchmark", "report", "test", "make-synthetic", "new-plugin", "check-data")
        )
    )
    unknown = [(p, o) for p, o in found(r"(?<![\w-])--[a-z][a-z-]+") if o not in known | OF_OTHERS]
    assert not unknown


def test_files_exist():
    named = found(r"\b(?:docs|tools|configs|examples)/[\w./-]*\w")
    assert len(named) > 5
    assert not [(place, name) for place, name in named if not (ROOT / name).exists()]


def test_parameters_exist():
    """``name=value`` in a message is an argument, or a key of a config."""
    known = parameters() | TOP_LEVEL | set().union(*section_keys().values()) | OF_MMENGINE
    unknown = [
        (place, name)
        for place, name in found(r"(?<![\w.{-])([a-z_]{3,})=(?=[\w'\"({\[])")
        if name not in known
    ]
    assert not unknown


@pytest.mark.parametrize(
    ("place", "key"),
    [(p, k) for p, k in found(r"\b((?:views|model|train_cfg|optim_wrapper|split|randomness|env_cfg|"
                              r"(?:train|unlabeled|val|test)_dataloader|(?:val|test)_cfg)(?:\.[a-z_]+)+)\b")
     if k.rpartition(".")[2] not in ("py", "csv", "json")],
    ids=lambda value: value,
)  # fmt: skip
def test_keys_are_accepted(place, key):
    """A key that a message names can be set: it is not refused as unknown."""
    said = ""
    try:
        load_config(CONFIG, {key: None})
    except UserError as error:
        said = str(error)
    assert "unknown" not in said, place
