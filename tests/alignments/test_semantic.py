"""DASO: prototypes, blended pseudo-labels, and the alignment of the views, on paper and against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ferbench.alignments import Prototypes, SemanticBlend
from ferbench.contracts import Output
from ferbench.lifecycle import RunContext
from ferbench.losses import SemanticAlignment
from ferbench.testing import make_evidence, make_step

CONTEXT = RunContext(3, num_labeled=9, num_unlabeled=20, max_iters=100, class_counts=(5, 3, 1))


def make_prototypes(length: int = 3, dim: int = 2, temperature: float = 0.05, classes: int = 3) -> Prototypes:
    prototypes = Prototypes(length, temperature)
    assert prototypes.heads(dim, classes) == {}
    prototypes.bind(RunContext(classes, 9, 20, 100, (3,) * classes))
    return prototypes


def means(prototypes: Prototypes) -> np.ndarray:
    """[C, D], from the similarity to the axes, which is the direction; only for unit means."""
    dim = prototypes.features.shape[1]
    return (prototypes.logits(torch.eye(dim)) * prototypes.temperature).T.numpy()


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a @ b.T / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)


@given(
    batches=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=6),
    length=st.integers(1, 4),
)
@settings(max_examples=60)
def test_prototypes_are_means_of_the_last_items_of_each_class(batches, length) -> None:
    """Also where one batch brings more items of a class than it has places."""
    rng = np.random.default_rng(0)
    prototypes = make_prototypes(length)
    lists: list[list[np.ndarray]] = [[], [], []]
    for labels in batches:
        features = rng.normal(size=(len(labels), 2)).astype(np.float32)
        prototypes.add(torch.from_numpy(features), torch.tensor(labels))
        for row, label in zip(features, labels, strict=True):
            lists[label].append(row)
    for c, rows in enumerate(lists):
        own = means(prototypes)[c]
        if rows:
            mean = np.mean(rows[-length:], axis=0)
            np.testing.assert_allclose(own, mean / np.linalg.norm(mean), atol=1e-4)
        else:
            assert (own < -100).all()  # never the answer


def test_prototypes_survive_a_file(tmp_path) -> None:
    first, second = make_prototypes(), make_prototypes()
    generator = torch.Generator().manual_seed(0)
    first.add(torch.randn(7, 2, generator=generator), torch.tensor([0, 1, 1, 1, 1, 2, 0]))
    torch.save(first.state_dict(), tmp_path / "state.pth")
    second.load_state_dict(torch.load(tmp_path / "state.pth", weights_only=True))
    for prototypes in (first, second):
        prototypes.add(torch.ones(2, 2), torch.tensor([1, 1]))
    assert torch.equal(first.features, second.features)
    assert torch.equal(first.seen, second.seen)
    assert first.features.shape == (3 * 3 + 1, 2)


def make_blend(**options) -> SemanticBlend:
    """Semantic labels are the embeddings themselves (as logits)."""
    rule = SemanticBlend(lambda embedding: embedding, **options)
    rule.bind(CONTEXT)
    return rule


def test_blending_by_hand() -> None:
    """Refreshed every second step; T 1.

    Steps 0 and 1: nothing is known of the shares, so nothing is blended; classes 0, 0, 1 and 0, 0, 2 are counted.
    Step 2: strengths 1, 1/4, 1/4. The first item (class 0) becomes wholly semantic, the second (class 1) by a quarter."""
    rule = make_blend(temperature=1.0, interval=2, warmup=0.0)
    zeros = torch.zeros(3, 3)
    peak = {c: [0.1 + 0.7 * (c == k) for k in range(3)] for c in range(3)}
    for step, classes in enumerate([(0, 0, 1), (0, 0, 2)]):
        probs = torch.tensor([peak[c] for c in classes])
        assert torch.equal(rule(make_evidence(probs, embedding=zeros, iteration=step)), probs)
    semantic = np.array([[0.2, 0.2, 0.6], [0.2, 0.2, 0.6], [0.2, 0.2, 0.6]], np.float32)
    probs = torch.tensor([peak[0], peak[1], peak[2]])
    blended = rule(make_evidence(probs, embedding=torch.from_numpy(np.log(semantic)), iteration=2)).numpy()
    expected = [
        [0.2, 0.2, 0.6],
        0.75 * np.array(peak[1]) + 0.25 * semantic[1],
        0.75 * np.array(peak[2]) + 0.25 * semantic[2],
    ]
    np.testing.assert_allclose(blended, expected, atol=1e-6)
    assert rule.counts.tolist() == [0, 1, 2]  # of the blended labels: the first item went from class 0 to 2


def test_shares_are_looked_at_once_per_interval_however_a_step_is_cut() -> None:
    rule = make_blend(interval=2, warmup=0.0)
    probs = torch.eye(3)[[0, 0, 1]]
    for step in (0, 0, 1, 1):
        rule(make_evidence(probs, embedding=torch.zeros(3, 3), iteration=step))
    for _ in range(2):
        rule(make_evidence(probs, embedding=probs, iteration=2))
        assert rule.shares.tolist() == [8, 4, 0]
    assert rule.counts.tolist() == [4, 2, 0]


def test_warm_up_counts_but_does_not_blend() -> None:
    rule = make_blend(interval=1, warmup=0.05)
    probs, embedding = torch.eye(3)[[0, 0, 1]], 9 * torch.eye(3)[[2, 2, 2]]
    for step in range(5):
        assert torch.equal(rule(make_evidence(probs, embedding=embedding, iteration=step)), probs)
    assert not torch.equal(rule(make_evidence(probs, embedding=embedding, iteration=5)), probs)


def test_alignment_of_the_views_against_numpy() -> None:
    rng = np.random.default_rng(3)
    prototypes = make_prototypes(length=1, dim=4)
    centres = rng.normal(size=(3, 4)).astype(np.float32)
    prototypes.add(torch.from_numpy(centres), torch.arange(3))
    features = {view: rng.normal(size=(6, 4)).astype(np.float32) for view in ("weak", "strong")}
    leaves = {view: torch.from_numpy(x).requires_grad_() for view, x in features.items()}
    step = make_step(
        {view: Output(torch.zeros(6, 3), f) for view, f in leaves.items()}, [1.0] * 6, iteration=2
    )
    term = SemanticAlignment(prototypes.logits, warmup=0.02)
    term.bind(CONTEXT)
    value = term(step)

    target = softmax(cosine(features["weak"], centres) / 0.05)
    prediction = softmax(cosine(features["strong"], centres) / 0.05)
    assert value.item() == pytest.approx(-(target * np.log(prediction)).sum(1).mean(), rel=1e-4)
    value.backward()
    assert leaves["weak"].grad is None
    assert leaves["strong"].grad.any()


def test_no_alignment_during_the_warm_up() -> None:
    term = SemanticAlignment(make_prototypes().logits, warmup=0.02)
    term.bind(CONTEXT)
    views = {view: Output(torch.zeros(2, 3), torch.ones(2, 2)) for view in ("weak", "strong")}
    assert term(make_step(views, [1.0] * 2, iteration=1)) == 0
