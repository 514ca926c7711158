"""``python -m ferbench``: the command line."""

from ferbench.cli import main

raise SystemExit(main())
