"""Rules built from config, and one step's evidence from a few numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ferbench.registry import THRESHOLDS
from ferbench.testing import make_evidence
from ferbench.thresholds import Evidence, RunContext, ThresholdRule

MakeRule = Callable[..., ThresholdRule]
MakeEvidence = Callable[..., Evidence]


@pytest.fixture(scope="session")
def make_rule() -> MakeRule:
    """A bound rule: ``make_rule('FixedThreshold', classes=3, items=10, threshold=0.8)``."""

    def make(
        name: str, classes: int = 3, items: int = 10, max_iters: int = 100, **options: Any
    ) -> ThresholdRule:
        rule = THRESHOLDS.build(dict(type=name, **options))
        rule.bind(
            RunContext(
                classes, num_labeled=6, num_unlabeled=items, max_iters=max_iters, class_counts=(2,) * classes
            )
        )
        return rule

    return make


@pytest.fixture(scope="session")
def evidence() -> MakeEvidence:
    """One step; what is not given is uninteresting: items 0, 1, ... and one labeled item."""
    return make_evidence


@pytest.fixture(scope="session")
def with_confidence() -> Callable[[Any, Any, int], Tensor]:
    """[B, C] probabilities with the given classes on top at the given confidences (above 1/2), the rest shared evenly."""

    def make(labels: Any, confidences: Any, classes: int = 3) -> Tensor:
        labels, top = torch.as_tensor(labels), torch.as_tensor(confidences, dtype=torch.float32)
        probs = ((1 - top) / (classes - 1))[:, None].repeat(1, classes)
        return probs.scatter(1, labels[:, None], top[:, None])

    return make


@pytest.fixture
def round_trip(tmp_path) -> Callable[[ThresholdRule, ThresholdRule], ThresholdRule]:
    """Carry the state of one rule to a fresh one through a file that is loaded with ``weights_only=True``."""

    def carry(source: ThresholdRule, fresh: ThresholdRule) -> ThresholdRule:
        torch.save(source.state_dict(), tmp_path / "rule.pth")
        fresh.load_state_dict(torch.load(tmp_path / "rule.pth", weights_only=True))
        return fresh

    return carry
