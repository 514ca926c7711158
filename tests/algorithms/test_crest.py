"""CReST: what joins the labeled set, the loss over it, generations, and CReST+'s alignment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ferbench.algorithms import Batch
from ferbench.errors import UserError
from ferbench.lifecycle import RunContext, bind
from ferbench.registry import ALGORITHMS
from ferbench.testing import RecordedNetwork, make_evidence

# Sampling rates 1/4, 1/2 and 1 for alpha = 1.
CONTEXT = RunContext(
    3,
    num_labeled=7,
    num_unlabeled=12,
    max_iters=20,
    class_counts=(4, 2, 1),
    labeled_batch=7,
    unlabeled_batch=4,
)


def build(name: str = "CReST", context: RunContext = CONTEXT, base: dict | None = None, **options):
    base = dict(type="FixMatch", threshold=0.6) | (base or {})
    algorithm = ALGORITHMS.build(dict(type=name, base=base, **{"generations": 3, "alpha": 1.0, **options}))
    bind(algorithm, context)
    return algorithm


def look_at_all(algorithm, probs: np.ndarray) -> None:
    term = algorithm.matching.terms[0]
    for rows in torch.arange(12).split(5):
        term.see_unlabeled(torch.from_numpy(probs)[rows], rows)
    term.finish_unlabeled_pass()


@pytest.fixture
def predictions() -> np.ndarray:
    """Eight items of class 0, three of class 1 and one of class 2, the surer the later."""
    probs = np.zeros((12, 3), np.float32)
    for i, c in enumerate([0] * 8 + [1] * 3 + [2]):
        probs[i] = (0.5 - 0.02 * i) / 2
        probs[i, c] = 0.5 + 0.02 * i
    return probs


def test_picks(predictions) -> None:
    algorithm = build()
    term = algorithm.matching.terms[0]
    assert term.label.tolist() == [-1] * 12
    assert term.share == 1
    look_at_all(algorithm, predictions)
    assert term.label.tolist() == [-1] * 6 + [0, 0] + [-1] * 2 + [1, 2]
    assert term.share.item() == pytest.approx(7 / 11)
    look_at_all(algorithm, np.eye(3, dtype=np.float32)[[2] * 12])  # new picks replace the old ones
    assert term.label.tolist() == [2] * 12
    assert term.share.item() == pytest.approx(7 / 19)


@pytest.mark.parametrize("view", ["weak", "strong"])
def test_loss_is_the_mean_over_labeled_and_picked_items(view, predictions) -> None:
    """Averaged over the steps of an epoch of the unlabeled stream: the exact mean cross-entropy of all eleven items."""
    rng = np.random.default_rng(0)
    algorithm = build(base=dict(threshold=1.0, lambda_x=3.0), picks=dict(view=view))  # no pseudo-label passes
    look_at_all(algorithm, predictions)
    labels = np.array([0, 0, 0, 0, 1, 1, 2])
    labeled, items = rng.normal(size=(7, 3)), rng.normal(size=(12, 3))
    losses, gradients = [], []
    for rows in (np.arange(0, 4), np.arange(4, 8), np.arange(8, 12)):
        other = rng.normal(size=(4, 3))
        logits = {"labeled": labeled, "weak": other, "strong": other, view: items[rows]}
        network = RecordedNetwork({name: torch.tensor(x, dtype=torch.float32) for name, x in logits.items()})
        y, images = torch.from_numpy(labels), torch.empty(4, 0)
        unlabeled = dict.fromkeys(("weak", "strong"), images)
        result = algorithm.step(
            network, Batch({"weak": images}, y, y, unlabeled, torch.from_numpy(rows), torch.arange(7), 7)
        )
        result.loss.backward()
        assert not network.gradient("strong" if view == "weak" else "weak").any()
        losses.append(result.loss.item())
        gradients.append(network.gradient(view).numpy())
        assert result.loss.item() == pytest.approx(
            3 * (result.parts["supervised"] + result.parts["picked"]).item()
        )

    def cross_entropy(x: np.ndarray, label: np.ndarray) -> np.ndarray:
        return np.log(np.exp(x).sum(axis=1)) - x[np.arange(len(x)), label]

    picked, as_class = np.array([6, 7, 10, 11]), np.array([0, 0, 1, 2])
    total = cross_entropy(labeled, labels).sum() + cross_entropy(items[picked], as_class).sum()
    assert np.mean(losses) == pytest.approx(3 * total / 11, rel=1e-5)
    moved = np.concatenate(gradients).any(axis=1)
    assert np.flatnonzero(moved).tolist() == picked.tolist()


def test_before_the_first_picks_it_is_the_base() -> None:
    rng = np.random.default_rng(1)
    logits = {
        name: torch.tensor(rng.normal(size=(4, 3)), dtype=torch.float32)
        for name in ("labeled", "weak", "strong")
    }
    y, images = torch.tensor([0, 1, 2, 0]), torch.empty(4, 0)
    batch = Batch(
        {"weak": images}, y, y, dict.fromkeys(("weak", "strong"), images), torch.arange(4), torch.arange(4), 0
    )
    fixmatch = ALGORITHMS.build(dict(type="FixMatch", threshold=0.6))
    bind(fixmatch, CONTEXT)
    expected, found = (
        fixmatch.step(RecordedNetwork(logits), batch),
        build().step(RecordedNetwork(logits), batch),
    )
    assert found.loss.item() == expected.loss.item()
    assert found.parts["picked"] == 0


def test_generations() -> None:
    """20 iterations in three generations: 7, 7 and 6; no pass at the end of the last."""
    algorithm = build()
    request = algorithm.matching.terms[0].unlabeled_pass
    assert algorithm.generation == 7
    assert [i for i in range(1, 21) if request.due(i)] == [7, 14]
    assert (request.weights, request.view, request.max_items) == ("ema", "eval", None)
    exact = build(context=replace(CONTEXT, max_iters=21)).matching.terms[0].unlabeled_pass
    assert [i for i in range(1, 22) if exact.due(i)] == [7, 14]
    assert build(restart=False).generation is None
    assert algorithm.matching.terms[0].lasting


def test_progressive_alignment_by_hand() -> None:
    """t = 1, 0.75, 0.5 in three generations."""
    algorithm = build("CReSTPlus", t_min=0.5)
    rule = algorithm.matching.alignments[0]
    shares = np.array([4, 2, 1]) / 7
    mean = np.array([0.5, 0.3, 0.2])
    for iteration, t in ((0, 1.0), (6, 1.0), (7, 0.75), (13, 0.75), (14, 0.5), (19, 0.5)):
        probs = rule(make_evidence([mean.tolist()], iteration=iteration)).numpy()
        np.testing.assert_allclose(probs[0], shares**t / (shares**t).sum(), atol=1e-5)  # p_model = mean = p
    np.testing.assert_allclose(rule.p_target, shares, atol=1e-6)
    single = build("CReSTPlus", generations=1).matching.alignments[0]
    np.testing.assert_allclose(single.aim(3), shares, atol=1e-6)


def test_mistakes() -> None:
    with pytest.raises(UserError, match="CReST works on pseudo-labels, but Supervised makes none"):
        ALGORITHMS.build(dict(type="CReST", base=dict(type="Supervised")))
    with pytest.raises(UserError, match="CReST restarts the classifier, and so does its base") as caught:
        _ = build(base=dict(type="NoisyStudent", threshold=0.3)).generation
    assert caught.value.where == "model.algorithm.base"
    with pytest.raises(UserError, match="got rates='mirored'"):
        build(picks=dict(rates="mirored"))
