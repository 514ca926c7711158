"""SimMatch's bank of labeled embeddings, step by step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ferbench.testing import make_evidence

CLASSES, DIM = 3, 4


def unit(rng: np.random.Generator, rows: int) -> torch.Tensor:
    return F.normalize(torch.from_numpy(rng.normal(size=(rows, DIM)).astype(np.float32)), dim=1)


def evidence(rng: np.random.Generator, index: list[int], labels: list[int], step: int = 5):
    probs = rng.dirichlet(np.ones(CLASSES), 6).astype(np.float32)
    return make_evidence(
        probs,
        labels=labels,
        iteration=step,
        embedding=unit(rng, 6),
        labeled_embedding=unit(rng, len(index)),
        labeled_index=torch.tensor(index),
    )


def test_only_what_was_seen_is_a_neighbour(make_alignment) -> None:
    """Items 0 and 4 of six were seen in the first step; the second step reads them, then writes 1 and 4."""
    rng = np.random.default_rng(0)
    options = dict(temperature=0.4, momentum=0.6, start=0, dim=DIM)
    rule = make_alignment("BankSmoothing", alpha=0.8, bank=options)
    first = evidence(rng, [0, 4], [2, 1])
    untouched = rule.bank.keys.clone()
    assert torch.equal(rule(first), first.probs)  # nothing in it yet: an item keeps all of its own
    expected = F.normalize(0.6 * untouched[[0, 4]] + 0.4 * first.labeled_embedding, dim=1)
    torch.testing.assert_close(rule.bank.keys[[0, 4]], expected)
    assert rule.bank.labels.tolist() == [2, -1, -1, -1, 1, -1, -1]

    second = evidence(rng, [1, 4], [0, 1])
    out = rule(second).numpy()
    e = np.exp(second.embedding.numpy() @ expected.numpy().T / 0.4)
    totals = np.zeros((6, CLASSES))
    totals[:, [2, 1]] = e / e.sum(1, keepdims=True)
    np.testing.assert_allclose(out, 0.8 * second.probs.numpy() + 0.2 * totals, atol=1e-6)
    assert torch.equal(rule.bank.keys[[2, 3, 5]], untouched[[2, 3, 5]])
    assert rule.bank.labels.tolist() == [2, 0, -1, -1, 1, -1, -1]


def test_rows_are_unit_vectors_of_the_embedding(make_alignment) -> None:
    rng = np.random.default_rng(1)
    rule = make_alignment("BankSmoothing", bank=dict(dim=DIM))
    for _ in range(3):
        rule(evidence(rng, [0, 2, 5], [0, 1, 2]))
    torch.testing.assert_close(rule.bank.keys[:-1].norm(dim=1), torch.ones(6))


def test_an_item_that_is_twice_in_a_batch_is_written_once(make_alignment) -> None:
    """As its last row: on a GPU, two writes to one row have no order."""
    rng = np.random.default_rng(2)
    rule = make_alignment("BankSmoothing", bank=dict(dim=DIM, momentum=0.0))
    seen = evidence(rng, [3, 1, 3], [0, 1, 0])
    rule(seen)
    torch.testing.assert_close(rule.bank.keys[[1, 3]], seen.labeled_embedding[[1, 2]])
    assert rule.bank.labels.tolist() == [-1, 1, -1, 0, -1, -1, -1]


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_a_smaller_bank_keeps_the_last_ones(momentum, make_alignment) -> None:
    rng = np.random.default_rng(3)
    rule = make_alignment("BankSmoothing", bank=dict(dim=DIM, size=4, momentum=momentum))
    assert rule.bank.start == 1  # 5 labeled images of a step fill it
    batches = [evidence(rng, [i, i + 1, 5 - i], [i, 1, 2]) for i in range(3)]
    for batch in batches:
        rule(batch)
    rows = torch.cat([batch.labeled_embedding for batch in batches])[[8, 5, 6, 7]]
    torch.testing.assert_close(rule.bank.keys[:-1], rows)
    assert rule.bank.labels.tolist() == [2, 2, 2, 1, -1]
    assert rule.bank.pointer.item() == 1


def test_the_default_start_is_one_pass_over_the_labeled_set(make_alignment) -> None:
    """Six items, five a step: two steps; the rule changes nothing until then, but the bank is filled."""
    rule = make_alignment("BankSmoothing", alpha=0.5, bank=dict(dim=DIM))
    assert rule.bank.start == 2
    rng = np.random.default_rng(4)
    for step in range(3):
        seen = evidence(rng, [0, 1, 2, 3, 4], [0, 1, 2, 0, 1], step)
        assert torch.equal(rule(seen), seen.probs) == (step < 2)


def test_a_bank_as_large_as_the_set_has_a_row_per_item(make_alignment) -> None:
    for size in (6, 100):
        rule = make_alignment("BankSmoothing", bank=dict(dim=DIM, size=size))
        assert len(rule.bank.labels) == 7
        assert not hasattr(rule.bank, "pointer")
