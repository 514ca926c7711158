"""`ferbench list`: every registered name, what it is, and where it comes from."""

from __future__ import annotations

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
from ferbench.errors import UserError, nearest

PIPED_WIDTH = 500  # columns when nobody watches: rich would fold to 80


@dataclass(frozen=True)
class Row:
    """One registered name."""

    kind: str
    name: str
    help: str
    origin: str


def collect(kind: str | None = None) -> list[Row]:
    """Every registered name, built-in or from a plug-in, ordered by kind and name.

    Args:
        kind: only this kind (``threshold``, ``optim wrapper``).

    Raises:
        UserError: there is no such kind.
    """
    from ferbench.core import _torchvision_guard  # noqa: F401 - before a part imports torchvision
    from ferbench.registry import ALL

    plugins.load_entry_points()
    kinds = {registry.kind: registry for registry in ALL}
    if kind is not None:
        wanted = kind.replace("-", " ").replace("_", " ").lower()
        if wanted not in kinds:
            raise UserError(
                f"there is no kind {kind!r}",
                expected=nearest(wanted, kinds),
                fix="known: " + ", ".join(kinds),
            )
        kinds = {wanted: kinds[wanted]}
    return [
        Row(name_of_kind, name, first_line(part), plugins.origin(part))
        for name_of_kind, registry in kinds.items()
        for name in registry.names()
        for part in [registry.module_dict[name]]
    ]


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
