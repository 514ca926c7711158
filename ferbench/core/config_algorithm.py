"""An algorithm that a config names: ``algorithm = "softmatch"``, or ``--algorithm softmatch``.

The file of an algorithm says type and parameters, ``model = dict(algorithm=dict(type="SoftMatch", ...))``, and what is
different where a condition holds, ``overrides = dict(short_run=dict(momentum=0.99))``. A setting (data set, network, schedule)
says which `ferbench.core.keys.CONDITIONS` hold in it, ``conditions = ["short_run"]``. Neither has to know the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferbench.core.config_files import find_algorithm, find_config, read_checked
from ferbench.core.keys import CONDITIONS
from ferbench.errors import UserError

if TYPE_CHECKING:  # mmengine takes a second to import
    from mmengine import Config


def algorithm_of(name: str, conditions: Sequence[str] = ()) -> tuple[dict[str, Any], list[str]]:
    """Type and parameters of a named algorithm, and what its file imports; see `find_algorithm`.

    Args:
        name: of a shipped algorithm, or a file with ``model.algorithm``. The config of a run has its own conditions.
        conditions: that hold in the setting, of `ferbench.core.keys.CONDITIONS`.

    Raises:
        UserError: there is none, or a mistake in its file.

    >>> algorithm_of("softmatch")[0]["momentum"], algorithm_of("softmatch", ["short_run"])[0]["momentum"]
    (0.999, 0.99)
    """
    cfg = _read_algorithm(find_algorithm(name), conditions, ())
    return cfg.to_dict()["model"]["algorithm"], imports_of(cfg)


def conditions_of(path_or_name: str | Path) -> list[str]:
    """The conditions that a setting, or the config of a run, says to hold."""
    path = find_config(path_or_name)
    return _conditions(read_checked(path), path)


def _read_algorithm(path: Path, conditions: Sequence[str], seen: tuple[Path, ...]) -> Config:
    """A file with an algorithm, resolved for a setting in which ``conditions`` hold."""
    if path in seen:
        raise UserError("the file of an algorithm names itself as its algorithm", where=path)
    cfg = read_checked(path)
    if "train_dataloader" in cfg:  # the config of a run: its algorithm is for its own setting
        conditions = _conditions(cfg, path)
    resolve_algorithm(cfg, path, conditions, seen=(*seen, path))
    if not isinstance((cfg.get("model") or {}).get("algorithm"), Mapping):
        raise UserError(
            "the file has no model.algorithm",
            where=path,
            expected="model = dict(algorithm=dict(type=...)), or the config of a run",
        )
    return cfg


def resolve_algorithm(
    cfg: Config,
    path: Path,
    conditions: Sequence[str] | None = None,
    given: str | None = None,
    seen: tuple[Path, ...] = (),
) -> None:
    """Turn ``algorithm``, ``overrides`` and ``conditions`` of a file into ``model.algorithm``.

    Args:
        cfg: content of the file.
        path: the file.
        conditions: that hold; None: as the file says.
        given: an algorithm in place of the file's own.
        seen: files whose algorithm this is.

    Raises:
        UserError: a mistake in the file.
    """
    conditions = _conditions(cfg, path) if conditions is None else conditions
    own = {key: cfg.pop(key, None) for key in ("algorithm", "conditions", "overrides")}
    name, overrides = (given, None) if given is not None else (own["algorithm"], own["overrides"])
    model = cfg.get("model") if isinstance(cfg.get("model"), Mapping) else {}
    changes = model.get("algorithm") if given is None else None
    if name is not None:
        if not isinstance(name, str):
            raise UserError(
                f"algorithm is {name!r}",
                where=path,
                expected="the name of a shipped algorithm, or the path of a file that has one",
                fix="type and parameters are written as model = dict(algorithm=dict(type=...))",
            )
        file = find_algorithm(name, beside=path.parent if given is None else None)
        named = _read_algorithm(file, conditions, seen)
        _add_imports(cfg, named)
        cfg.model = {**model, "algorithm": _changed(named.model.algorithm, changes, name, path)}
    elif isinstance(changes, Mapping):
        cfg.model.algorithm.pop("_delete_", None)
    for changed in _overrides_for(conditions, overrides, path):
        cfg.model.algorithm = _merged(cfg.model.get("algorithm") or {}, changed, path)


def _changed(named: Mapping[str, Any], changes: Any, name: str, path: Path) -> Any:
    """A named algorithm with what the file says as ``model.algorithm``."""
    if changes is None:
        return named
    if not isinstance(changes, Mapping):
        return changes  # refused when it is built
    changes = dict(changes)
    if changes.pop("_delete_", False):
        return changes
    if "type" in changes:
        raise UserError(
            f"model.algorithm has a type, {changes['type']!r}, and the algorithm {name!r} is named, too",
            where=path,
            expected="one of them",
            fix="leave the type out to change parameters of the named algorithm, or write algorithm = None",
        )
    return _merged(named, changes, path)


def _merged(named: Mapping[str, Any], changes: Mapping[str, Any], path: Path) -> Any:
    from mmengine import Config

    try:
        return Config._merge_a_into_b(deepcopy(changes), named)
    except (TypeError, KeyError) as error:
        raise UserError(f"the algorithm cannot be changed: {error}", where=path) from error


def _overrides_for(conditions: Sequence[str], overrides: Any, path: Path) -> list[Mapping[str, Any]]:
    """What an algorithm changes where ``conditions`` hold, in the order of `CONDITIONS`."""
    if overrides is None:
        return []
    if not isinstance(overrides, Mapping) or not all(isinstance(v, Mapping) for v in overrides.values()):
        raise UserError(
            f"overrides is {overrides!r}",
            where=path,
            expected="dicts of parameters by condition, e.g. {'short_run': {'momentum': 0.99}}",
        )
    _require_conditions(list(overrides), "overrides", path)
    return [overrides[c] for c in CONDITIONS if c in conditions and c in overrides]


def _conditions(cfg: Config, path: Path) -> list[str]:
    conditions = cfg.get("conditions") or []
    if not isinstance(conditions, list | tuple):
        raise UserError(f"conditions is {conditions!r}", where=path, expected="a list, e.g. ['short_run']")
    _require_conditions(conditions, "conditions", path)
    return list(conditions)


def _require_conditions(names: Sequence[Any], key: str, path: Path) -> None:
    for name in names:
        if not isinstance(name, str) or name not in CONDITIONS:
            known = "; ".join(f"{c}: {meaning}" for c, meaning in CONDITIONS.items())
            raise UserError(f"{key} has an unknown condition {name!r}", where=path, expected=known)


def _add_imports(cfg: Config, named: Config) -> None:
    """Let a config import what the file of its algorithm imports."""
    if imports := imports_of(named):
        own = cfg.get("custom_imports") or {}
        cfg.custom_imports = {**own, "imports": list(dict.fromkeys((*imports_of(cfg), *imports)))}


def imports_of(cfg: Mapping[str, Any]) -> list[str]:
    """What a config says as ``custom_imports.imports``."""
    imports = (cfg.get("custom_imports") or {}).get("imports")
    return [] if imports is None else [imports] if isinstance(imports, str) else list(imports)
