"""FixMatch's sharpened targets against NumPy; everything else of it is in the replayed runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ferbench.algorithms import Batch
from ferbench.lifecycle import RunContext, bind
from ferbench.registry import ALGORITHMS
from ferbench.testing import RecordedNetwork

VIEWS = {"labeled": "lb", "weak": "ulb_w", "strong": "ulb_s"}  # -> name of the recorded logits


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_soft_target_is_sharpened_where_the_reference_forgets_to(vectors) -> None:
    """Targets softmax(weak logits / 0.5), mask from unsharpened probabilities: NumPy in float64."""
    given = vectors("inputs")
    algorithm = ALGORITHMS.build(dict(type="FixMatch", threshold=0.8, temperature=0.5))
    bind(algorithm, RunContext(8, num_labeled=64, num_unlabeled=512, max_iters=60, class_counts=(8,) * 8))
    for step in range(20, 60, 7):  # nothing passes 0.8 in the first steps
        arrays = {v: given[f"logits_{n}"][step] for v, n in VIEWS.items()}
        network = RecordedNetwork({view: torch.from_numpy(x) for view, x in arrays.items()})
        labels = torch.from_numpy(given["y_lb"][step].astype(np.int64))
        index = torch.from_numpy(given["idx_ulb"][step].astype(np.int64))
        images = {view: torch.empty(len(index), 0) for view in ("weak", "strong")}
        batch = Batch(
            {"weak": torch.empty(len(labels), 0)},
            labels,
            labels,
            images,
            index,
            torch.arange(len(labels)),
            step,
        )
        result = algorithm.step(network, batch)
        weak, strong = (arrays[view].astype(np.float64) for view in ("weak", "strong"))
        mask = softmax(weak).max(axis=1) >= 0.8
        per_item = -(softmax(weak / 0.5) * np.log(softmax(strong))).sum(axis=1)
        assert mask.any()
        assert float(result.parts["unsupervised"]) == pytest.approx((per_item * mask).mean(), abs=1e-5)
        result.loss.backward()
        gradient = (softmax(strong) - softmax(weak / 0.5)) * mask[:, None] / len(mask)
        np.testing.assert_allclose(network.gradient("strong"), gradient, atol=1e-6)
