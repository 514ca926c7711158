"""Alignments built from config."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ferbench.alignments import AlignRule
from ferbench.lifecycle import RunContext, bind
from ferbench.registry import ALIGNMENTS

MakeAlignment = Callable[..., AlignRule]


@pytest.fixture(scope="session")
def make_alignment() -> MakeAlignment:
    """A bound alignment: ``make_alignment('EMAAlignment', counts=(2, 1, 1), target='labeled')``."""

    def make(name: str, counts: tuple[int, ...] = (2, 2, 2), **options: Any) -> AlignRule:
        rule = ALIGNMENTS.build(dict(type=name, **options))
        bind(
            rule,
            RunContext(
                len(counts),
                num_labeled=sum(counts),
                num_unlabeled=30,
                max_iters=100,
                class_counts=counts,
                labeled_batch=5,
                unlabeled_batch=20,
            ),
        )
        return rule

    return make
