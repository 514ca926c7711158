"""CoMatch's memory, step by step against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ferbench.errors import UserError
from ferbench.testing import make_evidence

LABELED, UNLABELED, DIM, CLASSES = 5, 20, 4, 3  # batch sizes of the fixture's run


def unit(rng: np.random.Generator, rows: int) -> np.ndarray:
    x = rng.normal(size=(rows, DIM))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def steps(count: int):
    rng = np.random.default_rng(0)
    for step in range(count):
        probs = rng.dirichlet(np.ones(CLASSES), UNLABELED).astype(np.float32)
        yield step, probs, unit(rng, UNLABELED), unit(rng, LABELED), rng.integers(0, CLASSES, LABELED)


def given(step, probs, embedding, of_labeled, labels):
    return make_evidence(
        probs,
        labels=labels,
        iteration=step,
        embedding=torch.from_numpy(embedding),
        labeled_embedding=torch.from_numpy(of_labeled),
    )


@pytest.mark.parametrize("start", [None, 0, 1])
def test_it_is_read_before_it_is_written_and_forgets_the_oldest(start, make_alignment) -> None:
    """Two steps fit into it; what is not yet written is no neighbour."""
    rule = make_alignment("MemorySmoothing", batches=2, alpha=0.7, temperature=0.3, dim=DIM, start=start)
    assert rule.keys.shape == (2 * (LABELED + UNLABELED), DIM)
    memory: list[tuple[np.ndarray, np.ndarray]] = []
    for step, probs, embedding, of_labeled, labels in steps(5):
        out = rule(given(step, probs, embedding, of_labeled, labels)).numpy()
        expected = probs.astype(np.float64)
        if memory and step >= (2 if start is None else start):
            keys, values = (np.concatenate(x).astype(np.float64) for x in zip(*memory, strict=True))
            shares = np.exp(embedding @ keys.T / 0.3)
            shares /= shares.sum(1, keepdims=True)
            expected = 0.7 * expected + 0.3 * shares @ values
        np.testing.assert_allclose(out, expected, atol=1e-6)
        values = np.concatenate([probs, np.eye(CLASSES)[labels]])  # as they were before smoothing
        memory = [*memory, (np.concatenate([embedding, of_labeled]), values)][-2:]
        assert rule.pointer.item() == (step + 1) % 2 * (LABELED + UNLABELED)
        assert (rule.values.sum(dim=1) > 0).sum() == len(memory) * (LABELED + UNLABELED)


def test_a_batch_that_does_not_end_with_the_memory_goes_on_at_its_start(make_alignment) -> None:
    rule = make_alignment("MemorySmoothing", batches=1, dim=DIM)
    for step, probs, embedding, of_labeled, labels in steps(2):
        rule(given(step, probs[:12], embedding[:12], of_labeled, labels))  # 17 of 25 rows, twice
    assert rule.pointer.item() == 34 - 25
    np.testing.assert_array_equal(rule.keys[17:], embedding[:8])
    np.testing.assert_array_equal(rule.keys[:9], np.concatenate([embedding[8:12], of_labeled]))


def test_without_embeddings_it_says_what_to_set(make_alignment) -> None:
    with pytest.raises(UserError, match="MemorySmoothing looks at the output of a head") as caught:
        make_alignment("MemorySmoothing", dim=DIM)(make_evidence(np.full((2, 3), 1 / 3, np.float32)))
    assert caught.value.where == "model.algorithm.embedding"
