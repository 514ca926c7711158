"""Replay reference vectors through the registered algorithms: ``python tools/replay_vectors.py FOLDER -o OUT``."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not tools/, whose names would shadow others

from ferbench.testing.replay_folder import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
