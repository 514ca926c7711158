"""Pseudo-labels under the estimated class shares of the unlabeled images."""

from __future__ import annotations

import numpy as np
import pytest

from ferbench.errors import UserError
from ferbench.testing import make_evidence


def test_two_steps_by_hand(make_alignment) -> None:
    rule = make_alignment("LabelShiftAlignment", counts=(3, 3), momentum=0.5, warmup=0.0)
    evidence = make_evidence([[0.9, 0.1], [0.4, 0.6]])
    # As many of each class among the labels: at first nothing changes, then the shares move half way to the mean.
    np.testing.assert_allclose(rule(evidence), [[0.9, 0.1], [0.4, 0.6]], rtol=1e-5)
    np.testing.assert_allclose(rule.shares, [0.575, 0.425], rtol=1e-5)
    np.testing.assert_allclose(rule.margin(), np.log([0.575 / 0.5, 0.425 / 0.5]), rtol=1e-4)
    # 0.9 * 0.575 = 0.5175 against 0.1 * 0.425 = 0.0425; 0.4 * 0.575 = 0.23 against 0.6 * 0.425 = 0.255.
    expected = [[0.5175 / 0.56, 0.0425 / 0.56], [0.23 / 0.485, 0.255 / 0.485]]
    np.testing.assert_allclose(rule(evidence), expected, rtol=1e-4)


def test_what_the_labels_are_not_even_in_is_taken_out(make_alignment) -> None:
    rule = make_alignment("LabelShiftAlignment", counts=(6, 3, 1))
    rule.shares.fill_(1 / 3)
    np.testing.assert_allclose(rule(make_evidence([[0.6, 0.3, 0.1]])), np.full((1, 3), 1 / 3), rtol=1e-4)


def test_nothing_is_learnt_about_the_shares_during_the_warm_up(make_alignment) -> None:
    rule = make_alignment("LabelShiftAlignment", counts=(5, 5), momentum=0.5, warmup=0.1)  # of 100 iterations
    for iteration, share in ((9, 0.5), (10, 0.7)):
        rule(make_evidence([[0.9, 0.1]], iteration=iteration))
        assert float(rule.shares[0]) == pytest.approx(share)


def test_a_class_without_labels_is_left_alone(make_alignment) -> None:
    rule = make_alignment("LabelShiftAlignment", counts=(1, 1, 0), momentum=0.0, warmup=0.0)
    for _ in range(3):
        aligned = rule(make_evidence([[0.5, 0.5, 0.0]]))
    np.testing.assert_allclose(aligned, [[0.5, 0.5, 0.0]], atol=1e-6)
    assert rule.margin()[2] == 0


@pytest.mark.parametrize("true_share", [0.05, 0.5, 0.9])
def test_finds_the_shares_that_expectation_maximisation_finds(true_share, make_alignment) -> None:
    rng = np.random.default_rng(0)
    is_first = rng.random(4000) < true_share
    x = rng.normal(np.where(is_first, 1.0, -1.0))
    # Bayes' posterior of two normals of unit variance at +1 and -1 that are seen equally often.
    first = 1 / (1 + np.exp(-2 * x))
    probs = np.stack([first, 1 - first], axis=1)

    share = 0.5
    for _ in range(500):  # on the whole set at once
        weighted = probs * [share, 1 - share]
        share = float((weighted[:, 0] / weighted.sum(axis=1)).mean())
    assert share == pytest.approx(true_share, abs=0.03)

    rule = make_alignment("LabelShiftAlignment", counts=(5, 5), momentum=0.99, warmup=0.0)
    for step in range(1000):
        batch = probs[rng.integers(0, len(probs), 100)]
        rule(make_evidence(batch.astype(np.float32), iteration=step))
    assert float(rule.shares[0]) == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("options", [dict(momentum=1.0), dict(momentum=-0.1), dict(warmup=1.0)])
def test_refuses_what_cannot_work(options, make_alignment) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        make_alignment("LabelShiftAlignment", **options)
