"""From a section of a config to the object it describes; errors name the section and the parameter."""

from __future__ import annotations

import errno
import inspect
import os
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferbench.core.instead import instead
from ferbench.errors import UserError, nearest, shortened

if TYPE_CHECKING:
    from mmengine import Registry


def build(registry: Registry, cfg: Any, where: str, **defaults: Any) -> Any:
    """Build a part from its section of the config, and explain what is wrong if it cannot be built.

    Args:
        registry: where ``cfg['type']`` is looked up.
        cfg: the section, a dict with ``type``.
        where: its dotted path in the config, for messages.
        defaults: parameters that the framework passes; the section's own win.

    Raises:
        UserError: see `check`; the part refuses an argument (names the section, if the part named no place).
    """
    check(registry, cfg, where, **defaults)
    try:
        return registry.build({**defaults, **cfg})
    except UserError as error:
        if error.where is not None:
            raise
        # A part knows what is wrong with its arguments, but not where it stands in the config.
        raise UserError(error.what, where=where, expected=error.expected, fix=error.fix) from error
    except (ValueError, AssertionError, ImportError) as error:
        raise _refused(cfg, where, error) from error
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        path = shortened(error.filename)
        raise UserError(f"a path is longer than a file's can be: {path}", where=where) from error
    except (TypeError, KeyError, AttributeError, IndexError) as error:
        # A class may hand **kwargs on to somebody who does not take them.
        refused = re.search(
            r"(unexpected keyword argument|multiple values for keyword argument) '(\w+)'", str(error)
        )
        if refused and refused[2] in {**defaults, **cfg}:
            does = "has no parameter" if refused[1].startswith("unexpected") else "sets by itself"
            what = f"{cfg['type']} {does} {refused[2]!r}"
            raise UserError(what, where=f"{where}.{refused[2]}", expected=str(error)) from error
        if _is_foreign(registry, cfg, where):
            raise _refused(cfg, where, error) from error
        if misfit := _misfit(registry, cfg, where):
            raise misfit from error
        raise


# Their constructors raise a TypeError or KeyError for a wrong argument; elsewhere it may be a mistake in the part itself.
_FOREIGN = ("torch", "timm", "mmengine", "mmcv", "mmpretrain")


def _is_foreign(registry: Registry, cfg: Any, where: str) -> bool:
    return getattr(kind_of(registry, cfg, where), "__module__", "").partition(".")[0] in _FOREIGN


def _refused(cfg: Mapping[str, Any], where: str, error: Exception) -> UserError:
    name = getattr(cfg["type"], "__name__", cfg["type"])
    said = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"{name} cannot be built: {said}", where=where, expected="arguments that it accepts")


def _misfit(registry: Registry, cfg: Mapping[str, Any], where: str) -> UserError | None:
    """What is wrong with an argument that is of another kind than its annotation, e.g. a number where names are expected."""
    target = kind_of(registry, cfg, where)
    try:
        signature = inspect.signature(target).parameters
        hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError, ValueError):  # annotations that cannot be resolved
        return None
    for key, value in cfg.items():
        if key in hints and key in signature and not _fits(value, hints[key]):
            name = getattr(target, "__name__", str(target))
            return UserError(
                f"{key} of {name} is {shortened(value)}",
                where=f"{where}.{key}",
                expected=str(signature[key].annotation),
            )
    return None


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value of a config is of the kind that ``hint`` names; yes where that cannot be told.

    Numbers of all types are one kind, and so are lists and tuples: which of them, and how large, is the part's to say.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in inner)
    wanted = origin or hint
    kind = next((asked for given, asked in _KINDS if isinstance(value, given)), None)
    if kind is None or not any(wanted in asked for _, asked in _KINDS):
        return True  # an object, in the config or asked for
    if wanted not in kind:
        return False
    if isinstance(value, (list, tuple)) and inner and origin is not tuple:
        return all(_fits(item, inner[0]) for item in value)
    return True


#: Kinds of values that a config holds, and the annotations that ask for one of them.
_KINDS: tuple[tuple[Any, tuple[Any, ...]], ...] = (
    (type(None), (type(None),)),
    ((bool, int, float), (bool, int, float)),
    (str, (str, os.PathLike, Path)),
    (bytes, (bytes,)),
    ((list, tuple), (list, tuple, set, frozenset, Sequence, Collection, Iterable)),
    (Mapping, (dict, Mapping)),
)


def check(registry: Registry, cfg: Any, where: str, **defaults: Any) -> None:
    """Whether a section of the config describes a part that can be built.

    Raises:
        UserError: no ``type``, an unknown name, an unknown parameter (names the nearest), or a missing one.
    """
    target = kind_of(registry, cfg, where)
    given = {k: v for k, v in {**defaults, **cfg}.items() if k not in ("type", "_scope_")}
    name = getattr(target, "__name__", str(target))
    _require_whole(target, where, needs_forward=registry.name == "model")
    names, takes_any, required = parameters(target)
    for key in given:
        if not takes_any and key not in names:
            same = instead(f"{where}.{key}")
            raise UserError(
                f"{name} has no parameter {key!r}",
                where=f"{where}.{key}",
                expected=None if same else nearest(key, names),
                fix=same
                or "correct it, or replace the whole section if its type is new"
                + _section_as_option(cfg["type"], where),
            )
    if missing := [n for n in required if n not in given]:
        option = _section_as_option(cfg["type"], where, ", ".join(f"{n}=..." for n in missing))
        raise UserError(
            f"{name} needs {' and '.join(map(repr, missing))}",
            where=where,
            fix=f"add it to the section{option}",
        )


def kind_of(registry: Registry, cfg: Any, where: str, wanted: type | None = None) -> Any:
    """The class or function that a section of the config names.

    Args:
        registry: where ``cfg['type']`` is looked up.
        cfg: the section.
        where: its dotted path in the config, for messages.
        wanted: what it must be a subclass of; None: anything.

    Raises:
        UserError: no ``type``, an unknown name, or something else than `wanted`.
    """
    if not isinstance(cfg, Mapping) or "type" not in cfg:
        raise UserError(
            f"the section has no 'type' but is {cfg!r}",
            where=where,
            expected="dict(type=..., ...)",
            fix=instead(where),
        )
    with registry.switch_scope_and_registry(cfg.get("_scope_")) as scoped:
        target = scoped.get(cfg["type"]) if isinstance(cfg["type"], str) else cfg["type"]
    if not callable(target):
        raise UserError(
            f"there is no part named {cfg['type']!r}",
            where=f"{where}.type",
            expected=nearest(str(cfg["type"]), registry.module_dict),
        )
    if wanted is not None and not (inspect.isclass(target) and issubclass(target, wanted)):
        usable = [n for n, t in registry.module_dict.items() if inspect.isclass(t) and issubclass(t, wanted)]
        abstract = inspect.isabstract(wanted)
        kinds = f"a class that extends {wanted.__name__}"
        raise UserError(
            f"{getattr(target, '__name__', target)} cannot be used here",
            where=f"{where}.type",
            expected=kinds if abstract else f"{wanted.__name__}, or {kinds}",
            fix=nearest("", usable) if abstract else f"{where} = dict(type={wanted.__name__!r}, ...)",
        )
    return target


def _require_whole(target: Any, where: str, needs_forward: bool) -> None:
    """Refuse a class that lacks a method which its base leaves to it; a run would only trip over it at the first step."""
    lacking = sorted(getattr(target, "__abstractmethods__", ()))
    unwritten = (
        getattr(getattr(target, "forward", None), "__name__", "") == "_forward_unimplemented"
    )  # of `nn.Module`
    if needs_forward and unwritten:
        lacking.append("forward")
    if lacking:
        raise UserError(
            f"{target.__name__} has no {' and no '.join(lacking)}",
            where=f"{where}.type",
            expected="a class with every method that its base asks for",
            fix=f"write {' and '.join(f'`def {name}`' for name in lacking)} in it, see docs/howto/plugin.md",
        )


def _section_as_option(name: Any, where: str, parameters: str = "...") -> str:
    """How the whole section is written on the command line; nothing if it has no key path."""
    if not isinstance(name, str) or not re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", where):
        return ""
    return f", e.g. --cfg-options \"{where}=dict(type='{name}', {parameters})\""


def parameters(target: Any) -> tuple[set[str], bool, list[str]]:
    """What ``target(...)`` takes (``**kwargs``: the base's too), whether it takes any name, what it needs."""
    chain: list[Callable[..., Any]] = [target]
    if inspect.isclass(target):
        chain = [vars(c)["__init__"] for c in target.__mro__ if c is not object and "__init__" in vars(c)]
    names: set[str] = set()
    required: list[str] = []
    for position, function in enumerate(chain):
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except ValueError:  # written in C, without a signature
            return names, True, required
        named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        if inspect.isclass(target):
            named = named[1:] if parameters[0].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD else named
        if position == 0:  # what a base needs, its subclass may provide
            required = [p.name for p in named if p.default is p.empty]
        names.update(p.name for p in named)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return names, False, required
    return names, bool(chain), required
