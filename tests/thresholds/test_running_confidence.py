"""Rules that follow the model's confidence (FreeMatch, SoftMatch, AdaMatch): two steps on paper each."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ferbench.errors import UserError


def test_self_adaptive_threshold(make_rule, evidence, with_confidence) -> None:
    """Two classes, momentum 1/2: tau from 1/2 to 0.65 to 0.725, updated before it is used."""
    rule = make_rule("SelfAdaptiveThreshold", classes=2, momentum=0.5)
    weight = rule(evidence(with_confidence([0, 0, 1], [0.9, 0.8, 0.7], classes=2)))
    # Means: confidence 0.8, predictions (2/3, 1/3); p = (7/12, 5/12).
    assert rule.level.item() == pytest.approx(0.65)
    assert rule.p_model.tolist() == pytest.approx([7 / 12, 5 / 12])
    assert rule.thresholds().tolist() == pytest.approx([0.65, 0.65 * 5 / 7])
    assert weight.tolist() == [1, 1, 1]
    weight = rule(evidence(with_confidence([1, 1, 0], [0.6, 0.95, 0.85], classes=2)))
    # Means: 0.8 and (0.4333, 0.5667); p = (0.50833, 0.49167).
    assert rule.level.item() == pytest.approx(0.725)
    assert rule.thresholds().tolist() == pytest.approx([0.725, 0.725 * 0.49166667 / 0.50833333], abs=1e-6)
    assert weight.tolist() == [0, 1, 1]


def test_self_adaptive_quantile_and_cap(make_rule, evidence, with_confidence) -> None:
    """Of 0.5, 0.6, 0.7, 0.8, 0.9, 1.0 the 0.8-quantile is 0.9; tau = (1/3 + 3 * 0.9) / 4."""
    probs = with_confidence([0] * 6, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    rule = make_rule("SelfAdaptiveThreshold", momentum=0.25, quantile=0.8)
    rule(evidence(probs))
    assert rule.level.item() == pytest.approx((1 / 3 + 3 * 0.9) / 4)
    capped = make_rule("SelfAdaptiveThreshold", momentum=0.25, quantile=0.8, cap=0.7)
    capped(evidence(probs))
    assert capped.level.item() == pytest.approx(0.7)  # the stored value is capped
    capped(evidence(with_confidence([0], [0.5])))
    assert capped.level.item() == pytest.approx((0.7 + 3 * 0.5) / 4)


def test_truncated_gaussian(make_rule, evidence, with_confidence) -> None:
    """Momentum 3/4, raw confidences 0.9 and 0.5 (mean 0.7, variance 0.08), aligned ones 0.9 and 0.36."""
    rule = make_rule("TruncatedGaussian", momentum=0.75)
    raw, aligned = with_confidence([0, 1], [0.9, 0.5]), with_confidence([0, 1], [0.9, 0.36])
    weight = rule(evidence(aligned, raw_probs=raw))
    mean, variance = 0.75 / 3 + 0.25 * 0.7, 0.75 + 0.25 * 0.08
    assert rule.mean.item() == pytest.approx(mean)
    assert rule.variance.item() == pytest.approx(variance)
    assert rule.thresholds().tolist() == pytest.approx([mean] * 3)
    assert weight.tolist() == pytest.approx([1, math.exp(-((0.36 - mean) ** 2) * 4 / (2 * variance))])

    rule = make_rule("TruncatedGaussian", momentum=0.75, statistics="aligned", n_sigma=3)
    weight = rule(evidence(aligned, raw_probs=raw))
    mean, variance = 0.75 / 3 + 0.25 * 0.63, 0.75 + 0.25 * 0.1458
    assert weight.tolist() == pytest.approx([1, math.exp(-((0.36 - mean) ** 2) * 9 / (2 * variance))])
    # A single item says nothing of a variance, and leaves both.
    rule(evidence(with_confidence([0], [0.9])))
    assert rule.mean.item() == pytest.approx(mean)
    assert rule.variance.item() == pytest.approx(variance)


def test_truncated_gaussian_per_class(make_rule, evidence, with_confidence) -> None:
    """Class 0 has 0.9 and 0.5, class 1 a single item, class 2 none: only class 0 moves."""
    rule = make_rule("TruncatedGaussian", momentum=0.5, per_class=True)
    weight = rule(evidence(with_confidence([0, 1, 0], [0.9, 0.6, 0.51])))
    mean = (1 / 3 + 0.705) / 2
    assert rule.mean.tolist() == pytest.approx([mean, 1 / 3, 1 / 3])
    variance = (1 + np.var([0.9, 0.51], ddof=1)) / 2
    assert rule.variance.tolist() == pytest.approx([variance, 1, 1], abs=1e-6)
    assert weight.tolist() == pytest.approx([1, 1, math.exp(-((0.51 - mean) ** 2) * 2 / variance)], abs=1e-6)


def test_unknown_statistics_are_named(make_rule) -> None:
    with pytest.raises(UserError, match="TruncatedGaussian got statistics='align'") as caught:
        make_rule("TruncatedGaussian", statistics="align")
    assert "aligned" in caught.value.fix


def test_relative_threshold(make_rule, evidence, with_confidence) -> None:
    """Labeled confidences 0.9 and 0.7: half of their mean, 0.4, passes; the next step has a threshold of its own."""
    rule = make_rule("RelativeThreshold", threshold=0.5)
    probs = torch.tensor([[0.4, 0.35, 0.25], [0.39, 0.31, 0.3]])
    labeled = with_confidence([0, 1], [0.9, 0.7])
    assert rule(evidence(probs, labeled_probs=labeled, labels=[2, 1])).tolist() == [1, 0]
    assert rule.thresholds().tolist() == pytest.approx([0.4] * 3)
    labeled = with_confidence([0, 1], [0.6, 0.5])
    assert rule(evidence(probs, labeled_probs=labeled, labels=[0, 1])).tolist() == [1, 1]
    assert rule.thresholds().tolist() == pytest.approx([0.275] * 3)
