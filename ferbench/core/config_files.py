"""The files of configs: finding and reading them, and errors that say what is wrong, and where."""

from __future__ import annotations

import ast
import logging
import os
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ferbench.core.instead import instead
from ferbench.core.keys import IN_FILES, TOP_LEVEL, section_keys
from ferbench.errors import UserError, nearest

if TYPE_CHECKING:  # mmengine takes a second to import
    from mmengine import Config

CONFIGS_VARIABLE = "FERBENCH_CONFIGS"
ALGORITHMS, SETTINGS = "_base_/algorithms", "_base_/settings"  # inside the folder of configs


def config_root() -> Path:
    """The folder of this project's configs: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def names_in(folder: str) -> list[str]:
    """Names of the shipped files in a folder of ``configs/``: `ALGORITHMS` or `SETTINGS`."""
    return sorted(path.stem for path in (config_root() / folder).glob("*.py"))


def find_config(path_or_name: str | Path) -> Path:
    """The config file: an existing path, else a shipped one by its path inside ``configs/``, else a setting by its name.

    Raises:
        UserError: there is none; names the nearest ones, and what replaces a file of an earlier version.
    """
    found = _existing(path_or_name)
    if found is not None:
        return found
    root = config_root()
    shipped = [p.relative_to(root).as_posix() for p in sorted(root.rglob("*.py")) if "_base_" not in p.parts]
    raise UserError(
        f"there is no config {str(path_or_name)!r}",
        where=f"{Path.cwd()} and {root}",
        expected=nearest(_inside(path_or_name).as_posix(), [*shipped, *names_in(SETTINGS)]),
        fix=_command_instead(Path(path_or_name)),
    )


def find_algorithm(name: str, beside: Path | None = None) -> Path:
    """The file of an algorithm: a shipped one by its name (``softmatch``), any other by its path.

    Args:
        name: what followed ``--algorithm``, or what a file says as ``algorithm``.
        beside: folder in which paths are looked up first.

    Raises:
        UserError: there is none; names the nearest ones.
    """
    folder = config_root() / ALGORITHMS
    if "/" in name or name.endswith(".py"):
        found = (_existing(beside / name) if beside is not None else None) or _existing(name)
        what, where = "algorithm file", f"{Path.cwd()} and {config_root()}"
    else:
        found = _existing(folder / f"{name.lower()}.py")
        what, where = "algorithm", str(folder)
    if found is not None:
        return found
    command = _command_instead(Path(name))
    raise UserError(
        f"there is no {what} {name!r}",
        where=where,
        expected=None if command else nearest(Path(name).stem.lower(), names_in(ALGORITHMS)),
        fix=command
        or "see all: ferbench list --kind algorithm-config; a file of your own is named by its path: ./mine.py",
    )


def _inside(path_or_name: str | Path) -> Path:
    asked = Path(path_or_name)
    return Path(*asked.parts[1:]) if asked.parts[:1] == ("configs",) else asked


def _existing(path_or_name: str | Path) -> Path | None:
    asked, inside, root = Path(path_or_name).expanduser(), _inside(path_or_name), config_root()
    for candidate in (asked, root / inside, root / SETTINGS / inside):
        for path in (candidate, candidate.with_name(candidate.name + ".py")):
            if path.is_file():
                return path.resolve()
    return None


def _parts_of(path: Path) -> tuple[str, str] | None:
    """Algorithm and setting of ``softmatch/r50_abaw5.py``, which was a file of its own in earlier versions."""
    algorithm, setting = path.parent.name, path.name.removesuffix(".py")
    if setting.endswith("_full"):
        algorithm, setting = f"{algorithm}_full", setting.removesuffix("_full")
    known = algorithm in names_in(ALGORITHMS) and setting in names_in(SETTINGS)
    return (algorithm, setting) if known else None


def _command_instead(path: Path) -> str | None:
    parts = _parts_of(path)
    return parts and (
        f"name setting and algorithm: python tools/train.py configs/{SETTINGS}/{parts[1]}.py --algorithm {parts[0]} (in a "
        f"grid: {parts[0]!r})"
    )


def _base_instead(error: Exception) -> str | None:
    """What to write in a config for a base that was shipped in earlier versions."""
    missing = re.search(r"[^\s'\"]+\.py", str(error)) if isinstance(error, FileNotFoundError) else None
    parts = _parts_of(Path(missing[0])) if missing else None
    return parts and (
        f"_base_ = '{{{{${CONFIGS_VARIABLE}:}}}}/{SETTINGS}/{parts[1]}.py' and algorithm = {parts[0]!r}"
    )


def read_checked(path: Path) -> Config:
    """A file without its private variables; its keys are known ones."""
    cfg = read_file(path)
    for key in [k for k in cfg if k.startswith("_")]:  # private helper variables of the config file
        cfg.pop(key)
    check_keys(cfg)
    return cfg


def read_file(path: Path) -> Config:
    """A file in the syntax of configs, with its bases; nothing of its content is checked.

    Raises:
        UserError: a mistake in it (with file and line).
    """
    from mmengine import Config

    os.environ[CONFIGS_VARIABLE] = str(config_root())
    try:
        with _no_info_messages():
            return Config.fromfile(path, import_custom_modules=False)
    except Exception as error:  # a config is a program: it can fail in any way
        raise _mistake_in_config(path, error) from error


@contextmanager
def _no_info_messages() -> Iterator[None]:
    """mmengine announces each substituted environment variable, once per file and use."""
    previous = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(previous)


def _mistake_in_config(path: Path, error: Exception) -> UserError:
    file, line, what = str(path), None, f"{type(error).__name__}: {error}"
    for frame, number in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "_file2dict":  # mmengine reads bases by recursion: the deepest is at fault
            file = frame.f_locals.get("filename", file)
        if frame.f_code.co_filename == file:
            line = number
    if isinstance(error, SyntaxError):  # mmengine parses a temporary copy
        try:
            ast.parse(Path(file).read_text(encoding="utf-8"))
        except SyntaxError as original:
            line, what = original.lineno, f"SyntaxError: {original.msg}"
    return UserError(
        f"the config cannot be read: {what}",
        where=f"{file}:{line}" if line else file,
        fix=_base_instead(error),
    )


def check_keys(cfg: Config, where: str | None = None) -> None:
    """Refuse unknown keys at top level and in the sections that are read key by key.

    Args:
        cfg: the config.
        where: named in messages; None: the file and the line.
    """
    names = [key for key in cfg if key not in cfg._imported_names]  # names that a pure-Python config imported
    for key in names:
        if key not in TOP_LEVEL | IN_FILES:
            raise UserError(
                f"the config has an unknown key {key!r}",
                where=where or _assignment(cfg, key),
                expected=None if instead(key) else nearest(key, TOP_LEVEL | IN_FILES),
                fix=instead(key) or "correct it; a helper variable of your own begins with _",
            )
    for section, known in section_keys().items():
        found = cfg.get(section) or {}
        if not isinstance(found, Mapping):
            raise UserError(
                f"{section} is {found!r}", where=where or _assignment(cfg, section), expected="a dict"
            )
        for key in found:
            if key not in known and key != "_scope_":
                raise UserError(
                    f"{section} has an unknown key {key!r}",
                    where=where or _assignment(cfg, section),
                    expected=nearest(key, known),
                    fix=instead(f"{section}.{key}"),
                )


def _assignment(cfg: Config, key: str) -> str:
    """``file:line`` of the last top-level assignment to ``key`` in the config or its bases."""
    file, first, place = cfg.filename, 0, str(cfg.filename)
    for number, line in enumerate(cfg.text.splitlines()):  # every file is its own path, then its text
        if os.path.isabs(line) and os.path.isfile(line):
            file, first = line, number
        elif re.match(rf"{re.escape(key)}\s*=", line):
            place = f"{file}:{number - first}"
    return place
