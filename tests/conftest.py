"""What every test may rely on: the checkout is importable, by child processes too; one thread computes."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Started in the background by a shell, which ignores them: interruptions are tested, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


@pytest.fixture(scope="session")
def repo() -> Path:
    """The top of the checkout."""
    return ROOT


@pytest.fixture(autouse=True)
def no_leftover_scope() -> Iterator[None]:
    """A run sets mmengine's default scope for the whole process; the next test starts without one."""
    yield
    if "mmengine" in sys.modules:
        from mmengine.registry import DefaultScope

        DefaultScope._instance_dict.clear()
