"""Replay reference vectors through the registered algorithms: ``python tools/replay_vectors.py FOLDER -o OUT``."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(ROOT), str(ROOT / "tests")]  # not tools/, whose names would shadow others

from parity.replay_folder import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
