"""`ferbench list`: every registered name, what it is, and where it comes from."""

from __future__ import annotations

import ast
import contextlib
import inspect
import json
import sys
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ferbench.core import plugins
from ferbench.core.config_files import ALGORITHMS, SETTINGS, config_root, names_in
from ferbench.errors import UserError, nearest

FILES = {
    "algorithm config": ALGORITHMS,
    "setting": SETTINGS,
}  # kind -> folder of what a command line may name
PIPED_WIDTH = 500  # columns when nobody watches: rich would fold to 80


@dataclass(frozen=True)
class Row:
    """One registered part, or one shipped file that a command line may name."""

    kind: str
    name: str
    help: str
    origin: str


def collect(kind: str | None = None) -> list[Row]:
    """Every registered name, built-in or from a plug-in, by kind and name; then algorithms and settings by their files.

    Args:
        kind: only this kind (``threshold``, ``optim wrapper``, ``algorithm config``).

    Raises:
        UserError: there is no such kind.
    """
    wanted = kind.replace("-", " ").replace("_", " ").lower() if kind is not None else None
    if wanted in FILES:
        return _shipped(wanted)
    from ferbench.core import _torchvision_guard  # noqa: F401 - before a part imports torchvision
    from ferbench.registry import ALL

    plugins.load_entry_points()
    kinds = {registry.kind: registry for registry in ALL}
    if wanted is not None:
        if wanted not in kinds:
            raise UserError(
                f"there is no kind {kind!r}",
                expected=nearest(wanted, [*kinds, *FILES]),
                fix="known: " + ", ".join([*kinds, *FILES]),
            )
        kinds = {wanted: kinds[wanted]}
    rows = [
        Row(name_of_kind, name, first_line(part), plugins.origin(part))
        for name_of_kind, registry in kinds.items()
        for name in registry.names()
        for part in [registry.module_dict[name]]
    ]
    return rows if wanted is not None else rows + [row for files in FILES for row in _shipped(files)]


def _shipped(kind: str) -> list[Row]:
    """Shipped files of a kind, by the name that ``--algorithm`` or a command takes."""
    rows = []
    for name in names_in(FILES[kind]):
        path = config_root() / FILES[kind] / f"{name}.py"
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        rows.append(Row(kind, name, text.partition("\n")[0], f"configs/{FILES[kind]}/{name}.py"))
    return rows


def first_line(part: Any) -> str:
    """First line of a part's own docstring; a class does not borrow its parent's."""
    text = inspect.cleandoc(part.__doc__ or "")
    return text.partition("\n")[0]


def show(kind: str | None = None, as_json: bool = False) -> None:
    """Print the list (and the plug-ins that are broken, with their errors) as a table or as JSON."""
    with contextlib.redirect_stdout(sys.stderr):  # some libraries print while they are imported
        rows = collect(kind)
    broken = [p for p in plugins.known() if p.error]
    if as_json:
        report = {"parts": [asdict(row) for row in rows], "broken_plugins": [asdict(p) for p in broken]}
        print(json.dumps(report, indent=2))
        return
    console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
    table = Table("kind", "name", "what it is", "from", box=None, header_style="bold", pad_edge=False)
    for column in table.columns[:2]:
        column.no_wrap = True
    for row in rows:
        table.add_row(row.kind, row.name, escape(row.help), escape(row.origin))
    console.print(table)
    for plugin in broken:
        console.print(f"\n[bold red]broken plug-in[/] {escape(plugin.name)} of {escape(plugin.source)}")
        console.print(escape(plugin.error or ""), highlight=False)
