"""``python -m ferbench``: the command line."""

from ferbench.cli import entry_point

raise SystemExit(entry_point())
