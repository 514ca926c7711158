"""What every test may rely on: the checkout is importable, by child processes too; one thread computes; no GPU is seen.

Nothing depends on how fast or how busy the machine is: Hypothesis has no deadline, and time limits of child processes
(1,200 s) only end what hangs.
"""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("ferbench", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ferbench")

ROOT = Path(__file__).resolve().parents[1]

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Started in the background by a shell, which ignores them: interruptions are tested, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def pytest_configure(config: pytest.Config) -> None:
    """Hide GPUs, from child processes too, unless tests of GPUs are asked for (``-m gpu``)."""
    if "gpu" not in (config.getoption("markexpr") or "").replace("not gpu", ""):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest test, so that no process waits for another at the end."""
    items.sort(key=lambda item: "test_readme.py::test_commands" not in item.nodeid)


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
