"""The fixed threshold."""

from __future__ import annotations

import pytest
import torch

PROBS = [[0.5, 0.25, 0.25], [0.25, 0.75, 0.0], [0.3, 0.3, 0.4]]


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [(0.5, [1, 1, 0]), (0.75, [0, 1, 0]), (0.76, [0, 0, 0]), (0.0, [1, 1, 1]), (1, [0, 0, 0])],
)
def test_mask_by_hand(threshold, expected, make_rule, evidence) -> None:
    rule = make_rule("FixedThreshold", threshold=threshold)
    for step in range(2):  # it has no memory
        assert rule(evidence(PROBS, iteration=step)).tolist() == expected
    torch.testing.assert_close(rule.thresholds(), torch.full((3,), float(threshold)), rtol=0, atol=0)


def test_default_is_that_of_fixmatch(make_rule) -> None:
    torch.testing.assert_close(make_rule("FixedThreshold").thresholds(), torch.full((3,), 0.95))


def test_it_needs_neither_state_nor_a_labeled_pass(make_rule) -> None:
    rule = make_rule("FixedThreshold")
    assert rule.state_dict() == {}
    assert rule.labeled_pass is None
