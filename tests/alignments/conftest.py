"""Alignments built from config."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ferbench.alignments import AlignRule
from ferbench.lifecycle import RunContext
from ferbench.registry import ALIGNMENTS

MakeAlignment = Callable[..., AlignRule]


@pytest.fixture(scope="session")
def make_alignment() -> MakeAlignment:
    """A bound alignment: ``make_alignment('EMAAlignment', counts=(2, 1, 1), target='labeled')``."""

    def make(name: str, counts: tuple[int, ...] = (2, 2, 2), **options: Any) -> AlignRule:
        rule = ALIGNMENTS.build(dict(type=name, **options))
        rule.bind(
            RunContext(
                len(counts), num_labeled=sum(counts), num_unlabeled=30, max_iters=100, class_counts=counts
            )
        )
        return rule

    return make
