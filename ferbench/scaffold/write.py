"""Writes a new plug-in package from the templates beside this file."""

from __future__ import annotations

import keyword
import re
import shutil
from pathlib import Path
from string import Template

from ferbench.errors import UserError

KINDS = ("threshold", "alignment", "target", "loss", "algorithm", "dataset")
TEMPLATES = Path(__file__).with_name("templates")
ENDING = ".template"


def new_plugin(name: str, kind: str, parent: str | Path = ".") -> Path:
    """Write the package ``name`` into a new folder of that name.

    File names and texts of the templates hold ``$package`` (importable name), ``$Class`` (name of its part), ``$name``,
    ``$kind`` and its article ``$A``. The folder appears whole or not at all.

    Args:
        name: of the distribution: letters, digits, ``-`` and ``_``.
        kind: what its part is, one of `KINDS`.
        parent: folder to write it into.

    Returns:
        The new folder.

    Raises:
        UserError: a name that cannot be imported, or that is taken.
    """
    package = re.sub(r"[-_]+", "_", name)
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", package) or keyword.iskeyword(package):
        raise UserError(
            f"a package cannot be named {name!r}", expected="a letter, then letters, digits, - and _"
        )
    folder = Path(parent).expanduser() / name
    if folder.exists():
        raise UserError("there is already something of that name", where=folder, fix="choose another name")
    class_name = "".join(word[:1].upper() + word[1:] for word in package.split("_"))
    article = "An" if kind[0] in "aeiou" else "A"
    words = {"name": name, "package": package.lower(), "Class": class_name, "kind": kind, "A": article}
    unfinished = folder.with_name(f".{folder.name}.tmp")
    try:
        for source in ("common", kind):
            for template in sorted((TEMPLATES / source).rglob(f"*{ENDING}")):
                relative = template.relative_to(TEMPLATES / source).as_posix().removesuffix(ENDING)
                target = unfinished / relative.replace("PACKAGE", words["package"])
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(Template(template.read_text("utf-8")).substitute(words), encoding="utf-8")
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder
