"""Adsh: the recorded run with the start that the paper means, in NumPy; the rule by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ferbench.errors import UserError
from ferbench.lifecycle import RunContext, bind
from ferbench.registry import ALGORITHMS, THRESHOLDS
from ferbench.testing import make_evidence
from parity.recipes import RECIPES
from parity.replay import Folder, replay

EPOCH = 15
RUN = "usb_adsh_on_fixmatch"


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def scales(logits: np.ndarray, s: np.ndarray, head: int) -> np.ndarray:
    """s after a pass over all unlabeled items."""
    probs = np.exp(log_softmax(logits))
    label, confidence = probs.argmax(axis=1), probs.max(axis=1)
    of_head = confidence[label == head]
    share = ((of_head >= 0.95).sum() - 1) / len(of_head)
    new = s.copy()
    for c in range(len(s)):
        descending = np.sort(confidence[label == c])[::-1]
        new[c] = -np.log(descending[int(share * len(descending)) - 1])
    return new


def test_recorded_run_from_the_right_start(vectors, repo: Path) -> None:
    """s starts at -ln(0.95); the recorded one at 0.95, so that in the first epoch everything above 0.39 passes."""
    given, recorded = vectors("inputs"), vectors(RUN)
    ours = replay(Folder.open(repo / "tests/data/vectors"), RUN, RECIPES["fixmatch", "adsh"])
    counts = np.bincount(given["lb_targets_all"], minlength=8)
    s = np.full(8, -np.log(0.95))
    for step in range(60):
        weak, strong = log_softmax(given["logits_ulb_w"][step]), log_softmax(given["logits_ulb_s"][step])
        label = weak.argmax(axis=1)
        mask = np.exp(weak.max(axis=1)) >= np.exp(-s[label])
        unsupervised = -(strong[np.arange(64), label] * mask).mean()
        np.testing.assert_allclose(ours["adsh_s"][step], s, atol=1e-5)
        np.testing.assert_array_equal(ours["mask"][step], mask)
        np.testing.assert_allclose(ours["util_ratio"][step], mask.mean(), atol=1e-6)
        np.testing.assert_allclose(ours["unsup_loss"][step], unsupervised, atol=1e-5)
        np.testing.assert_allclose(
            ours["total_loss"][step], recorded["sup_loss"][step] + unsupervised, atol=1e-5
        )
        if step in (0, 20, 40, 59):
            gradient = (np.exp(strong) - np.eye(8)[label]) * mask[:, None] / 64
            np.testing.assert_allclose(ours["grad_x_ulb_s"][(0, 20, 40, 59).index(step)], gradient, atol=1e-6)
        if step % EPOCH == EPOCH - 1:
            s = scales(given["full_ulb_logits"][step // EPOCH], s, counts.argmax())
    for name in ("adsh_s", "mask", "unsup_loss"):  # from the second epoch on the start is forgotten
        np.testing.assert_allclose(ours[name][EPOCH:], recorded[name][EPOCH:], atol=1e-5)
        assert not np.allclose(ours[name][:EPOCH], recorded[name][:EPOCH])


def test_the_head_is_the_class_with_most_labels() -> None:
    rule = THRESHOLDS.build(dict(type="AdshThreshold", threshold=0.8))
    bind(rule, RunContext(3, num_labeled=6, num_unlabeled=7, max_iters=100, class_counts=(1, 2, 3)))
    assert (rule.unlabeled_pass.interval, rule.unlabeled_pass.weights) == (5, "ema")
    assert rule.thresholds().tolist() == pytest.approx([0.8] * 3)
    probs = torch.tensor([
        [0.05, 0.05, 0.9], [0.05, 0.1, 0.85], [0.1, 0.1, 0.8], [0.1, 0.2, 0.7],
        [0.2, 0.6, 0.2], [0.1, 0.7, 0.2], [0.5, 0.3, 0.2],
    ])  # fmt: skip
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    for rows in order.split(3):  # the pass comes in batches
        rule.see_unlabeled(probs[rows], rows)
    rule.finish_unlabeled_pass()
    # Three of the head's four reach 0.8, one less counts: half of each class. Of one item, its only one.
    assert rule.thresholds().tolist() == pytest.approx([0.5, 0.7, 0.85], abs=1e-6)
    assert rule(make_evidence([[0.51, 0.3, 0.19], [0.3, 0.69, 0.01], [0.1, 0.0, 0.9]])).tolist() == [1, 0, 1]
    rule.finish_unlabeled_pass()  # nothing seen: nothing learnt
    assert rule.thresholds().tolist() == pytest.approx([0.5, 0.7, 0.85], abs=1e-6)


def test_the_base_keeps_all_but_its_threshold() -> None:
    flex = ALGORITHMS.build(dict(type="FlexMatch", lambda_u=2.0))
    adsh = ALGORITHMS.build(dict(type="Adsh", base=flex, threshold=0.7, rule=dict(max_items=5)))
    assert adsh.matching is flex
    assert (flex.threshold.threshold, flex.threshold.max_items, flex.lambda_u) == (0.7, 5, 2.0)
    assert adsh.views == flex.views


def test_mistakes() -> None:
    with pytest.raises(UserError, match="Supervised makes none"):
        ALGORITHMS.build(dict(type="Adsh", base=dict(type="Supervised")))
    with pytest.raises(UserError, match="has no parameter 'max_item'"):
        ALGORITHMS.build(dict(type="Adsh", base=dict(type="FixMatch"), rule=dict(max_item=5)))
