"""What holds for every alignment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ferbench.testing import make_evidence
from ferbench.thresholds import Evidence

RULES = {
    "ema, uniform": dict(name="EMAAlignment", momentum=0.7),
    "ema, model": dict(name="EMAAlignment", target="model", momentum=0.7),
    "ema, labeled": dict(name="EMAAlignment", target="labeled", momentum=0.7),
    "ema, progressive": dict(name="ProgressiveAlignment", generations=3, last=0.2),
    "queue": dict(name="QueueAlignment", length=3),
    "debiased": dict(name="DebiasedAlignment", momentum=0.7),
    "memory": dict(name="MemorySmoothing", batches=2, dim=5),
    "bank": dict(name="BankSmoothing", bank=dict(dim=5)),
    "bank as a ring": dict(name="BankSmoothing", bank=dict(dim=5, size=3)),
    "label shift": dict(name="LabelShiftAlignment", momentum=0.7, warmup=0.0),
    "prior": dict(name="PriorRemoval"),
}
COUNTS = (4, 2, 1, 1)


def shown(probs: Any, labeled: Any, labels: Any, index: Any = None, step: int = 5, seed: int = 0) -> Evidence:
    """Evidence with random embeddings, at a step at which everything is in use."""
    rng = np.random.default_rng(seed)
    embedding, of_labeled = (
        F.normalize(torch.from_numpy(rng.normal(size=(len(rows), 5)).astype(np.float32)), dim=1)
        for rows in (probs, labels)
    )
    further = dict(iteration=step, embedding=embedding, labeled_embedding=of_labeled)
    return make_evidence(probs, index, labeled, labels, **further)


def random_evidence(rng: np.random.Generator, size: int) -> Evidence:
    probs, labeled = (rng.dirichlet(np.full(4, 0.3), n).astype(np.float32) for n in (size, 5))
    index = rng.permutation(30)[:size]
    return shown(probs, labeled, labeled.argmax(1), index, seed=int(rng.integers(2**32)))


@pytest.mark.parametrize("options", RULES.values(), ids=RULES)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 20))
@settings(max_examples=30)
def test_rows_are_distributions_and_follow_the_rows(options, seed, size, make_alignment) -> None:
    rng = np.random.default_rng(seed)
    first, second = (make_alignment(counts=COUNTS, **options) for _ in "12")
    for rule in (first, second):
        for step in range(3):
            rule(random_evidence(np.random.default_rng((seed, step)), 8))
    evidence = random_evidence(rng, size)
    order = torch.from_numpy(rng.permutation(size))

    probs = first(evidence)
    assert probs.shape == (size, 4)
    assert probs.dtype == torch.float32
    assert (probs >= 0).all()
    torch.testing.assert_close(probs.sum(dim=1), torch.ones(size))
    moved = {name: getattr(evidence, name)[order] for name in ("probs", "index", "embedding")}
    permuted = second(replace(evidence, **moved))
    torch.testing.assert_close(permuted, probs[order], rtol=1e-5, atol=1e-6)  # sums in another order
    for name, state in first.state_dict().items():
        # A memory holds the rows in the order of the batch.
        torch.testing.assert_close(second.state_dict()[name].sort(dim=0).values, state.sort(dim=0).values)


@pytest.mark.parametrize("options", RULES.values(), ids=RULES)
def test_state_survives_a_file(options, make_alignment, tmp_path) -> None:
    rng = np.random.default_rng(3)
    rule, fresh = (make_alignment(counts=COUNTS, **options) for _ in "12")
    for _ in range(4):
        rule(random_evidence(rng, 7))
    torch.save(rule.state_dict(), tmp_path / "rule.pth")
    fresh.load_state_dict(torch.load(tmp_path / "rule.pth", weights_only=True))
    for _ in range(4):
        evidence = random_evidence(rng, 7)
        assert torch.equal(rule(evidence), fresh(evidence))


@pytest.mark.parametrize("options", RULES.values(), ids=RULES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_types_of_the_probabilities(options, dtype, make_alignment) -> None:
    rule = make_alignment(counts=(1, 1), **options)
    probs = torch.tensor([[0.75, 0.25], [0.5, 0.5]], dtype=dtype)
    for _ in "12":
        assert rule(shown(probs, probs, [0, 1])).dtype == dtype
    assert {state.dtype for state in rule.state_dict().values()} <= {torch.float32, torch.int64}


@pytest.mark.parametrize("options", RULES.values(), ids=RULES)
def test_no_gradient(options, make_alignment) -> None:
    probs = torch.full((2, 3), 1 / 3, requires_grad=True)
    rule = make_alignment(**options)
    assert not rule(shown(probs * 1.0, None, [0])).requires_grad
    assert not any(state.requires_grad for state in rule.state_dict().values())
    assert rule.margin() is None or not rule.margin().requires_grad


@pytest.mark.parametrize("options", RULES.values(), ids=RULES)
def test_a_class_that_is_never_predicted(options, make_alignment) -> None:
    """Its mean is 0: finite, and without probability it gets none."""
    rule = make_alignment(counts=(2, 2, 0), **options)
    probs = torch.tensor([[0.75, 0.25, 0.0], [0.5, 0.5, 0.0]])
    for _ in range(3):
        aligned = rule(shown(probs, probs, [0, 1]))
        assert aligned.isfinite().all()
        assert not aligned[:, 2].any()
