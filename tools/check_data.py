"""Check the data of a config: ``ferbench check-data``, from a checkout that need not be installed."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not tools/, whose names would shadow others

from ferbench.cli import entry_point  # noqa: E402

if __name__ == "__main__":
    sys.exit(entry_point(["check-data", *sys.argv[1:]]))
