"""Pseudo-labels by another head than the classifier's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ferbench.algorithms import Batch
from ferbench.lifecycle import RunContext, bind
from ferbench.models.ssl import SSLModel
from ferbench.registry import ALGORITHMS
from ferbench.testing import RecordedNetwork
from ferbench.testing.experiment import SIZE, SmallNet

CONTEXT = RunContext(3, num_labeled=4, num_unlabeled=8, max_iters=10, class_counts=(2, 1, 1))


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("judge", ["student", "ema"])
def test_evidence_is_what_the_head_says_of_weak_and_labeled_views(judge) -> None:
    rng = np.random.default_rng(0)
    draws = {
        (head, view): rng.normal(size=(4, 3)).astype(np.float32)
        for head in "ab"
        for view in ("labeled", "weak", "strong")
    }
    recorded = [{v: torch.from_numpy(x) for (h, v), x in draws.items() if h == head} for head in "ab"]
    network = RecordedNetwork(recorded[0], heads={"second": recorded[1]})
    algorithm = ALGORITHMS.build(dict(type="FixMatch", threshold=0.0, judge=judge, judge_head="second"))
    bind(algorithm, CONTEXT)
    seen = {}
    algorithm.threshold.register_forward_hook(lambda _rule, args, _out: seen.update(vars(args[0])))
    y = torch.tensor([0, 1, 2, 0])
    images = torch.empty(4, 0)
    algorithm.step(network, Batch({"weak": images}, y, y, {"weak": images, "strong": images}, y, y, 0))
    np.testing.assert_allclose(seen["probs"], softmax(draws["b", "weak"]), atol=1e-6)
    np.testing.assert_allclose(seen["labeled_probs"], softmax(draws["b", "labeled"]), atol=1e-6)


def test_passes_over_data_sets_show_the_predictions_that_become_pseudo_labels(monkeypatch) -> None:
    """`predict` has two callers: the evaluation, and the rules; each may have a head of its own."""
    kind = type(ALGORITHMS.build(dict(type="FixMatch")))
    monkeypatch.setattr(kind, "heads", lambda *_: {"judge": nn.Linear(6, 3), "scored": nn.Linear(6, 3)})
    monkeypatch.setattr(kind, "prediction_head", "scored")
    config = dict(type="FixMatch", judge_head="judge")
    model = SSLModel(SmallNet(), config, dict(size=SIZE), num_classes=3, channels_last=False)
    images = torch.randint(0, 256, (5, SIZE, SIZE, 3), dtype=torch.uint8)
    features = model.network.backbone(model.preprocess.normalize(images))
    for for_rules, head in ((False, "scored"), (True, "judge")):
        expected = model.network.heads[head](features).softmax(dim=1)
        torch.testing.assert_close(model.predict(images, "ema", for_rules=for_rules), expected)
