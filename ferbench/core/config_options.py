"""``--cfg-options``: reading ``KEY=VALUE`` and setting the values in a config."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from ferbench.core.instead import instead
from ferbench.core.keys import IMPLIED_TYPE, IN_FILES, TOP_LEVEL, section_keys
from ferbench.errors import UserError, nearest, shortened

if TYPE_CHECKING:  # mmengine takes a second to import
    from mmengine import Config


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


def set_options(cfg: Config, options: Mapping[str, Any]) -> None:
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
    if parts[0] in IN_FILES:
        raise UserError(
            f"--cfg-options cannot set {dotted!r}, which only a file says",
            fix="--algorithm NAME chooses another algorithm; model.algorithm.KEY=VALUE changes a parameter",
        )
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
