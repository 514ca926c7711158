"""Plug-ins: other people's packages and files that register parts of their own.

Three ways in: the entry-point group `ferbench.plugins` of an installed package, ``--plugin FILE|PACKAGE`` and
``custom_imports`` of a config. A plug-in that fails to import disturbs nobody until something is asked for
that does not exist; then, and only then, its traceback is shown (`failure_report`), because it is the
likely reason.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from ferbench.errors import UserError
from ferbench.version import __version__

GROUP = "ferbench.plugins"


@dataclass
class Plugin:
    """One plug-in that was asked for or found.

    Attributes:
        name: its entry-point name, or what followed ``--plugin``.
        module: the module that registers its parts.
        source: ``<distribution> <version>``, or the file.
        error: traceback of its failed import, or None.
    """

    name: str
    module: str
    source: str
    error: str | None = None


_seen: dict[tuple[str, str], Plugin] = {}


def load_entry_points() -> None:
    """Import every plug-in that installed packages announce; each one once.

    An entry point names a module (importing it registers its parts) or a function, which is then called
    without arguments. Failures are remembered, not raised.
    """
    for entry in importlib.metadata.entry_points(group=GROUP):
        source = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown distribution"
        key = (source, entry.name)
        if key in _seen:
            continue
        plugin = _seen[key] = Plugin(entry.name, entry.module, source)
        try:
            found = entry.load()
            if entry.attr:
                found()
        except (Exception, SystemExit):  # what a stranger's code does at import must not stop this program
            plugin.error = traceback.format_exc()


def load(spec: str, *, required: bool = True) -> None:
    """Import one plug-in: a file (``rules/mine.py``), a package folder, or the name of an importable module.

    Args:
        spec: file, folder or module name.
        required: whether a failed import is an error now (otherwise it is remembered for `failure_report`).

    Raises:
        UserError: nothing of that name exists, or its import failed (with the whole traceback).
    """
    if _is_path(spec):
        module, source = _make_importable(Path(absolute(spec)))
    else:
        module, source = spec, spec
    plugin = _seen[("", spec)] = Plugin(spec, module, source)
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:
        plugin.error = traceback.format_exc()
        if required:
            raise (_name_taken(plugin, error) or _cannot_import(plugin, error)) from error


def _name_taken(plugin: Plugin, error: BaseException) -> UserError | None:
    """The message for a name that the registry has already, if that is what ended the import."""
    said = re.fullmatch(
        r"(\S+) is already registered in (.*) at (.*)", str(error.args[0]) if error.args else ""
    )
    if said is None or not isinstance(error, KeyError):
        return None
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == plugin.source
    ]
    name, registry, owner = said.groups()
    return UserError(
        f"the plug-in registers {name!r}, which is already the name of a {registry} of {owner}",
        where=":".join([plugin.source, *map(str, lines[:1])]), expected="a name of its own",
        fix=f"register_module(name='Own{name}'), or register_module(force=True) if it is to stand in for the other one",
    )  # fmt: skip


def absolute(spec: str) -> str:
    """What `load` takes, from any folder: a file or folder by its whole path."""
    return str(Path(spec).expanduser().resolve()) if _is_path(spec) else spec


def known() -> tuple[Plugin, ...]:
    """Every plug-in that was looked at so far, broken ones included."""
    return tuple(_seen.values())


def failure_report() -> str:
    """One paragraph per plug-in that failed to import, with its traceback; empty if all are well."""
    reports = [f"plug-in {p.name!r} of {p.source} failed to import:\n{p.error}" for p in known() if p.error]
    if not reports:
        return ""
    return "it may be part of a plug-in that is broken; mend that first\n" + "\n".join(reports)


def origin(obj: Any) -> str:
    """Where a registered class or function comes from.

    Returns:
        ``ferbench <version>``, ``<distribution> <version>`` of an installed plug-in, or ``<file>:<line>``.
    """
    obj = _unwrapped(obj)
    module = _module(obj)
    package = module.partition(".")[0]
    if package == "ferbench":
        return f"ferbench {__version__}"
    installed = _installed(package)
    if installed:
        return installed
    try:
        return f"{inspect.getsourcefile(obj)}:{inspect.getsourcelines(obj)[1]}"
    except (OSError, TypeError):  # made at run time: there is no file
        return f"module {module}"


def identities(parts: Iterable[Any]) -> dict[str, str]:
    """What identifies the code of the plug-ins that registered some parts.

    Args:
        parts: registered classes or functions, of any origin.

    Returns:
        Package or module of each plug-in -> distribution and version, if it is installed, and the sha256 of its Python
        files, e.g. ``my-rules 1.2, sha256 0f343b0931126a20``.
    """
    packages = {_module(_unwrapped(part)).partition(".")[0] for part in parts}
    own = sorted(packages & {plugin.module.partition(".")[0] for plugin in known()})
    return {
        package: ", ".join(filter(None, (_installed(package), f"sha256 {_sha256(package)}")))
        for package in own
    }


def _installed(package: str) -> str | None:
    """``<distribution> <version>`` of an installed package."""
    for (distribution, _), plugin in _seen.items():
        if distribution and plugin.module.partition(".")[0] == package:
            return distribution
    owners = _distributions().get(package)
    return f"{owners[0]} {importlib.metadata.version(owners[0])}" if owners else None


def _sha256(package: str) -> str:
    """Of the names and contents of a package's Python files, or of a module's one file; 16 digits."""
    module = sys.modules[package]
    folders = [Path(folder) for folder in getattr(module, "__path__", ())]
    files = [(file, file.relative_to(folder)) for folder in folders for file in sorted(folder.rglob("*.py"))]
    if not folders and module.__file__:
        files = [(Path(module.__file__), Path(package))]
    digest = hashlib.sha256()
    for file, name in files:
        content = file.read_bytes()
        digest.update(f"{name.as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def _unwrapped(part: Any) -> Any:
    return inspect.unwrap(part.func if isinstance(part, partial) else part)


def _module(part: Any) -> str:
    return getattr(part, "__module__", None) or type(part).__module__


@lru_cache(maxsize=1)
def _distributions() -> Any:
    return importlib.metadata.packages_distributions()


def _is_path(spec: str) -> bool:
    return spec.endswith(".py") or "/" in spec or "\\" in spec


def _make_importable(path: Path) -> tuple[str, str]:
    """Name under which ``path`` can be imported, by worker processes too; its folder joins `sys.path`."""
    target = path / "__init__.py" if path.is_dir() else path
    if not target.is_file():
        raise UserError(
            "the plug-in does not exist", where=target, expected="a Python file, or a folder with __init__.py"
        )
    name = path.stem
    if not name.isidentifier():
        raise UserError(
            f"{path.name} cannot be imported under its name", where=path, fix="use letters, digits and _ only"
        )
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
        importlib.invalidate_caches()
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None or Path(spec.origin).resolve() != target:
        raise UserError(
            f"there is already another module named {name!r}",
            where=spec.origin if spec else None,
            fix=f"give {path} another name",
        )
    return name, str(path)


def _cannot_import(plugin: Plugin, error: BaseException) -> UserError:
    if isinstance(error, ModuleNotFoundError) and error.name and plugin.module.startswith(error.name):
        return UserError(
            f"there is no plug-in {plugin.name!r}",
            expected="a Python file, a folder with __init__.py, or a package that Python can import",
            fix="install the package, or give the path of its file (./mine.py)",
        )
    return UserError(f"plug-in {plugin.name!r} failed to import:\n{plugin.error}", where=plugin.source)
