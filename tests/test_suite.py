"""The suite itself: no test depends on the machine's speed, or sees a GPU by accident."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

TESTS = Path(__file__).parent
SOURCES = sorted(p for p in TESTS.rglob("*.py") if p != Path(__file__))


def test_hypothesis_has_no_deadline():
    assert settings().deadline is None
    assert HealthCheck.too_slow in settings().suppress_health_check


def test_gpus_are_hidden(request):
    if "gpu" not in request.config.getoption("markexpr"):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(TESTS)))
def test_no_test_sets_a_deadline(path):
    """`settings(deadline=...)` of one test would undo the profile of all."""
    assert "deadline=" not in path.read_text(encoding="utf-8") or path.name == "conftest.py"
