"""From the name of a config to a checked mmengine `Config`.

What a config may say stands in one place (`ferbench.core.keys`); anything else is a mistake and an error.
Parameters of parts are checked when the part is built (`build`), against the part's own signature.
"""

from __future__ import annotations

import ast
import logging
import os
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferbench.core.instead import instead
from ferbench.core.keys import IMPLIED_TYPE, TOP_LEVEL, section_keys
from ferbench.core.parts import build
from ferbench.core.plugins import absolute
from ferbench.core.plugins import load as load_plugin
from ferbench.core.text import require_names
from ferbench.errors import UserError, nearest, shortened

if TYPE_CHECKING:  # mmengine takes a second to import
    from mmengine import Config

DATA_VARIABLE = "FERBENCH_DATA"
CONFIGS_VARIABLE = "FERBENCH_CONFIGS"

__all__ = ["TOP_LEVEL", "build", "config_root", "find_config", "load_config", "parse_options", "read_file"]


def load_config(
    path_or_name: str | Path,
    options: Mapping[str, Any] | None = None,
    plugins: Sequence[str] = (),
    data: str | Path | None = None,
) -> Config:
    """Read, complete and check a config; import the plug-ins it needs.

    Configs write their data root as ``'{{$FERBENCH_DATA:data}}/fer2013'``. A config outside this project
    names one of its configs as base by ``'{{$FERBENCH_CONFIGS:}}/dtm/r18_fer2013.py'``.

    Args:
        path_or_name: a file, or one of this project's by its path inside ``configs/`` (``dtm/x.py``).
        options: dotted key -> value, as from ``--cfg-options``; see `parse_options`. A dict with a ``type`` replaces the
            section, another one changes some of its keys.
        plugins: what followed ``--plugin``; see `ferbench.core.plugins.load`.
        data: folder that holds the data sets; sets the environment variable FERBENCH_DATA of this process.

    Raises:
        UserError: no such config, a mistake in it, an unknown key, or a plug-in that cannot be imported.
    """
    path = find_config(path_or_name)
    if data is not None:
        os.environ[DATA_VARIABLE] = str(_data_folder(data))
    cfg = read_file(path)
    for key in [k for k in cfg if k.startswith("_")]:  # private helper variables of the config file
        cfg.pop(key)
    _check_keys(cfg)
    if options:
        _set_options(cfg, options)
        _check_keys(cfg, where="--cfg-options")
    if cfg.get("classes"):
        require_names(cfg.classes, "classes")
    imports = cfg.get("custom_imports") or {}
    given = _as_list(imports.get("imports"))
    for spec in plugins:
        load_plugin(spec)
    for spec in given:
        load_plugin(spec, required=not imports.get("allow_failed_imports", False))
    if plugins:  # so that the config that a run saves is whole
        specs = dict.fromkeys((*given, *map(absolute, plugins)))
        cfg.custom_imports = {**imports, "imports": list(specs)}
    return cfg


def config_root() -> Path:
    """The folder of this project's configs: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def find_config(path_or_name: str | Path) -> Path:
    """The config file: an existing path, else one of this project's by its path inside ``configs/``.

    Raises:
        UserError: there is none; names the nearest ones.
    """
    asked = Path(path_or_name).expanduser()
    inside = Path(*asked.parts[1:]) if asked.parts[:1] == ("configs",) else asked
    for candidate in (asked, config_root() / inside):
        for path in (candidate, candidate.with_name(candidate.name + ".py")):
            if path.is_file():
                return path.resolve()
    shipped = [p.relative_to(config_root()).as_posix() for p in sorted(config_root().rglob("*.py"))]
    raise UserError(
        f"there is no config {str(path_or_name)!r}",
        where=f"{Path.cwd()} and {config_root()}",
        expected=nearest(inside.as_posix(), (name for name in shipped if not name.startswith("_base_"))),
    )


LONGEST_OPTION = (
    10_000  # characters: mmengine's `DictAction` takes the square of their number, minutes from a million on
)


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """``['a.b=1', 'c=[x,y]', 'd=dict(type=X)']`` as ``{'a.b': 1, 'c': ['x', 'y'], 'd': {'type': 'X'}}``.

    By the rules of mmengine's ``DictAction``, which knows no dicts; values with a dict are read as Python, in which a bare word
    is a string.

    Raises:
        UserError: a pair has no ``=``, unbalanced brackets, a dict that cannot be read, or over `LONGEST_OPTION` characters.
    """
    from argparse import ArgumentParser, Namespace

    from mmengine.config import DictAction

    action = DictAction(["--cfg-options"], "options")
    found = Namespace(options=None)
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise UserError(
                f"--cfg-options got {pair!r}", expected="KEY=VALUE, e.g. model.algorithm.floor=0.9"
            )
        if len(pair) > LONGEST_OPTION:
            raise UserError(
                f"--cfg-options got an option of {len(pair):,} characters: {shortened(pair)}",
                expected=f"at most {LONGEST_OPTION:,}",
                fix="write the value in a config whose _base_ is this one",
            )
        if _HOLDS_DICT.match(value):
            found.options = {**(found.options or {}), key: _read_literal(pair, value)}
            continue
        try:
            action(ArgumentParser(), found, [pair])
        except (AssertionError, RecursionError) as error:
            raise UserError(
                f"--cfg-options got {pair!r}", expected="balanced brackets, not too many"
            ) from error
    return found.options or {}


_HOLDS_DICT = re.compile(r"\s*(dict\s*\(|\{|[\[(].*(\bdict\s*\(|\{))", re.DOTALL)


def _read_literal(pair: str, text: str) -> Any:
    """The value of a Python literal, which may have calls of ``dict`` and bare words in it; nothing is executed.

    Raises:
        UserError: it is none.
    """
    from mmengine.config import DictAction

    def read(node: ast.AST) -> Any:
        match node:
            case ast.Constant():
                return node.value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -number
            case ast.Name():
                return DictAction._parse_int_float_bool(node.id)
            case ast.List():
                return [read(item) for item in node.elts]
            case ast.Tuple():
                return tuple(read(item) for item in node.elts)
            case ast.Dict() if None not in node.keys:
                return {
                    read(k): read(v) for k, v in zip(node.keys, node.values, strict=True) if k is not None
                }
            case ast.Call(func=ast.Name(id="dict"), args=[]) if all(k.arg for k in node.keywords):
                return {str(k.arg): read(k.value) for k in node.keywords}
        raise ValueError(f"{ast.unparse(node)!r} is no value")

    try:
        return read(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        # Of brackets in brackets in brackets, Python's parser says that the memory is full.
        too_deep = isinstance(error, (RecursionError, MemoryError))
        what = "too many brackets" if too_deep else getattr(error, "msg", error)
        raise UserError(
            f"--cfg-options got {pair!r}: {what}",
            expected="a dict as in a config, e.g. \"model.algorithm=dict(type='FixMatch', threshold=0.9)\"",
        ) from error


def _as_list(value: Any) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def _data_folder(data: str | Path) -> Path:
    folder = Path(data).expanduser().resolve()
    if not folder.is_dir():
        raise UserError(
            "the data folder does not exist",
            where=folder,
            fix="correct --data, or draw synthetic faces: python tools/make_synthetic.py OUT",
        )
    if set(str(folder)) & set("'\"\\"):
        raise UserError(
            "the data folder's path has a quote or a backslash", where=folder, fix="rename or link the folder"
        )
    return folder


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
    return UserError(f"the config cannot be read: {what}", where=f"{file}:{line}" if line else file)


def _check_keys(cfg: Config, where: str | None = None) -> None:
    """Refuse unknown keys at top level and in the sections that are read key by key.

    Args:
        cfg: the config.
        where: named in messages; None: the file and the line.
    """
    names = [key for key in cfg if key not in cfg._imported_names]  # names that a pure-Python config imported
    for key in names:
        if key not in TOP_LEVEL:
            raise UserError(
                f"the config has an unknown key {key!r}",
                where=where or _assignment(cfg, key),
                expected=None if instead(key) else nearest(key, TOP_LEVEL),
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


def _set_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Set key paths to values; a dict with a ``type`` is a part of its own, and inherits nothing of the one it replaces."""
    replaced = []
    for key, value in options.items():
        old = _check_option(cfg, key)
        if isinstance(value, Mapping) and ("type" in value or not isinstance(old, Mapping)):
            replaced.append(key)
    for key in replaced:
        *path, last = key.split(".")
        node: Any = cfg
        for part in path:
            node = node[int(part)] if isinstance(node, list) else node.get(part, {})
        node[last] = {}
    cfg.merge_from_dict(deepcopy(dict(options)))


def _check_option(cfg: Config, dotted: str) -> Any:
    """Refuse a key path that does not exist, unless it adds a parameter that is checked when built.

    Returns:
        what the config has there; None: nothing yet.
    """
    parts = dotted.split(".")
    node: Any = cfg
    for depth, part in enumerate(parts):
        if depth == 0 and part not in TOP_LEVEL:
            raise _unknown_option(dotted, depth, TOP_LEVEL)
        if isinstance(node, list):
            known = [str(i) for i in range(len(node))]
        elif isinstance(node, Mapping) or node is cfg:
            known = list(node)
            addable = section_keys().get(parts[0], frozenset()) if depth == 1 else frozenset()
            checked_later = "type" in node or (depth == 1 and parts[0] in IMPLIED_TYPE)
            if part not in known and (depth == 0 or checked_later or part in addable):
                return None
            known += addable
        else:
            known = []
        at = ".".join(parts[:depth])
        # mmengine replaces no list item.
        if not known or (isinstance(node, list) and depth == len(parts) - 1):
            raise UserError(
                f"--cfg-options {dotted}: {at} is {node!r}, {part!r} of it cannot be set",
                fix=f"set {at} itself",
            )
        if part not in known:
            raise _unknown_option(dotted, depth, known)
        node = node[int(part) if isinstance(node, list) else part]
    return node


def _unknown_option(dotted: str, depth: int, known: Iterable[str]) -> UserError:
    parts = dotted.split(".")
    fix = instead(".".join(parts[: depth + 1]))
    return UserError(
        f"--cfg-options {dotted}: there is no key {parts[depth]!r}",
        expected=None if fix else nearest(parts[depth], known),
        fix=fix,
    )
