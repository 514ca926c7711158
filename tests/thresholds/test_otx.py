"""OTX's margin: three steps on paper."""

from __future__ import annotations

import pytest


def test_three_steps_by_hand(make_rule, evidence) -> None:
    rule = make_rule("OTXMargin", minimum=0.5)
    assert rule.thresholds().tolist() == [0.5] * 3

    # Labeled: class 0 right at 0.8 and 0.6 (mean 0.7), class 1 taken for class 2. Unlabeled: 0.9 and 0.52 of class 0 and
    # 0.75 of class 1 pass 0.5, 0.45 of class 2 does not: class 0 (0.7 + 0.71) / 2, class 1 0.75 alone, class 2 as it was.
    unlabeled = [[0.9, 0.05, 0.05], [0.52, 0.3, 0.18], [0.05, 0.75, 0.2], [0.3, 0.25, 0.45]]
    labeled, labels = [[0.8, 0.1, 0.1], [0.6, 0.2, 0.2], [0.05, 0.05, 0.9]], [0, 0, 1]
    assert rule(evidence(unlabeled, labeled_probs=labeled, labels=labels)).tolist() == [1, 1, 1, 0]
    assert rule.thresholds().tolist() == pytest.approx([0.705, 0.75, 0.5], abs=1e-6)

    # The mask comes first: 0.7 of class 0 misses 0.705. Class 1 passes at 0.8; class 2, labeled, is right at 0.6.
    unlabeled = [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]
    assert rule(evidence(unlabeled, labeled_probs=[[0.2, 0.2, 0.6]], labels=[2])).tolist() == [0, 1]
    assert rule.thresholds().tolist() == pytest.approx([0.705, 0.8, 0.6], abs=1e-6)

    # No memory: class 1 falls from 0.8 to what this batch says, but not below the minimum.
    labeled, labels = [[0.3, 0.4, 0.3]], [1]
    rule(evidence([[0.6, 0.3, 0.1]], labeled_probs=labeled, labels=labels))
    assert rule.thresholds().tolist() == pytest.approx([0.705, 0.5, 0.6], abs=1e-6)


def test_nothing_right_and_nothing_selected_changes_nothing(make_rule, evidence) -> None:
    rule = make_rule("OTXMargin", minimum=0.8)
    assert rule(evidence([[0.4, 0.3, 0.3]], labeled_probs=[[0.9, 0.1, 0.0]], labels=[1])).tolist() == [0]
    assert rule.thresholds().tolist() == pytest.approx([0.8] * 3)


def test_it_needs_no_pass_over_the_labeled_set(make_rule) -> None:
    assert make_rule("OTXMargin").labeled_pass is None
