"""What holds for every threshold rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

RULES = {
    "fixed": dict(name="FixedThreshold", threshold=0.6),
    "flex": dict(name="FlexThreshold", threshold=0.6),
    "flex without warm-up": dict(name="FlexThreshold", threshold=0.6, warmup=False),
    "dtm": dict(name="DynamicThreshold", floor=0.4, epoch_length=2),
    "dtm, held out": dict(name="HeldOutThreshold", share=0.5, floor=0.4, epoch_length=2),
    "adsh": dict(name="AdshThreshold", threshold=0.6),
    "dtm per iteration": dict(
        name="DynamicThreshold", floor=0.3, scope="iteration", epoch_length=2, momentum=0.5
    ),
    "otx": dict(name="OTXMargin", minimum=0.3),
    "dash": dict(name="DashThreshold", rho_init=0.7, interval=2, temperature=0.8),
    "dash, measured": dict(name="DashThreshold", warmup=3, interval=2),
    "freematch": dict(name="SelfAdaptiveThreshold", momentum=0.5),
    "freematch, quantile": dict(name="SelfAdaptiveThreshold", momentum=0.5, quantile=0.7, cap=0.8),
    "softmatch": dict(name="TruncatedGaussian", momentum=0.5),
    "softmatch per class": dict(name="TruncatedGaussian", momentum=0.5, per_class=True, statistics="aligned"),
    "adamatch": dict(name="RelativeThreshold", threshold=0.9),
}
CLASSES, ITEMS, LABELED = 4, 30, 6


def warmed_up(rule, evidence, rng) -> None:
    """A few random steps and a labeled pass, so that thresholds differ between classes."""
    for step in range(4):
        rule(random_evidence(evidence, rng, 12, step))
    if rule.labeled_pass is not None:
        rule.see_labeled(*random_labeled(rng), torch.arange(20) % LABELED)
        rule.finish_labeled_pass()


def random_labeled(rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    probs = torch.from_numpy(rng.dirichlet(np.full(CLASSES, 0.2), 20).astype(np.float32))
    return probs, probs.argmax(dim=1)


def random_evidence(evidence, rng: np.random.Generator, size: int, step: int = 0):
    probs = rng.dirichlet(np.full(CLASSES, 0.3), size).astype(np.float32)
    labeled, labels = random_labeled(rng)
    return evidence(probs, rng.permutation(ITEMS)[:size], labeled, labels, step)


@pytest.mark.parametrize("options", RULES.values(), ids=RULES)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 20))
@settings(max_examples=30)
def test_weights_lie_in_0_1_and_follow_the_rows(options, seed, size, make_rule, evidence) -> None:
    rng = np.random.default_rng(seed)
    first, second = (make_rule(classes=CLASSES, items=ITEMS, **options) for _ in "12")
    warmed_up(first, evidence, np.random.default_rng(seed))
    second.load_state_dict(first.state_dict())
    given_ = random_evidence(evidence, rng, size, 5)
    order = torch.from_numpy(rng.permutation(size))

    weight = first(given_)
    assert weight.shape == (size,)
    assert weight.dtype == torch.float32
    assert ((weight >= 0) & (weight <= 1)).all()
    permuted = second(replace(given_, probs=given_.probs[order], index=given_.index[order]))
    torch.testing.assert_close(permuted, weight[order], rtol=0, atol=1e-6)  # a mean's sum in another order
    for name, state in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], state, equal_nan=True)


@pytest.mark.parametrize("options", RULES.values(), ids=RULES)
@given(seed=st.integers(0, 2**32 - 1), label=st.integers(0, CLASSES - 1))
@settings(max_examples=20)
def test_more_confidence_never_weighs_less(
    options, seed, label, make_rule, evidence, with_confidence
) -> None:
    rule = make_rule(classes=CLASSES, items=ITEMS, **options)
    warmed_up(rule, evidence, np.random.default_rng(seed))
    confidences = np.sort(np.random.default_rng(seed).uniform(0.26, 1.0, 15)).astype(np.float32)
    weight = rule(evidence(with_confidence([label] * 15, confidences, CLASSES)))
    assert (weight[1:] >= weight[:-1]).all()


@pytest.mark.parametrize("options", RULES.values(), ids=RULES)
def test_state_survives_a_file(options, make_rule, evidence, round_trip) -> None:
    rng = np.random.default_rng(3)
    rule, fresh = (make_rule(classes=CLASSES, items=ITEMS, **options) for _ in "12")
    warmed_up(rule, evidence, rng)
    if rule.labeled_pass is not None:  # saved in the middle of a pass
        rule.see_labeled(*random_labeled(rng), torch.arange(20) % LABELED)
    round_trip(rule, fresh)
    for step in range(5, 9):
        seen = random_evidence(evidence, rng, 10, step)
        assert torch.equal(rule(seen), fresh(seen))
    if rule.labeled_pass is not None:
        rule.finish_labeled_pass()
        fresh.finish_labeled_pass()
    assert torch.equal(rule.thresholds(), fresh.thresholds())


@pytest.mark.parametrize("options", RULES.values(), ids=RULES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_types_of_the_probabilities(options, dtype, make_rule, evidence) -> None:
    rule = make_rule(classes=2, items=4, **options)
    probs = torch.tensor([[0.75, 0.25], [0.5, 0.5]], dtype=dtype)
    weight = rule(evidence(probs, labeled_probs=probs, labels=[0, 1]))
    assert weight.shape == (2,)
    assert weight.dtype == dtype
    assert rule.thresholds().dtype == torch.float32


@pytest.mark.parametrize("options", RULES.values(), ids=RULES)
def test_no_gradient(options, make_rule, evidence) -> None:
    probs = torch.full((2, 3), 1 / 3, requires_grad=True)
    rule = make_rule(**options)
    assert not rule(evidence(probs * 1.0)).requires_grad
    assert not list(rule.parameters())


@pytest.mark.parametrize("options", RULES.values(), ids=RULES)
def test_thresholds_are_reported_per_class_and_in_float(options, make_rule) -> None:
    assert make_rule(classes=5, **options).thresholds().shape == (5,)


def test_a_rule_that_asks_for_a_pass_must_take_it(make_rule) -> None:
    with pytest.raises(NotImplementedError, match="FixedThreshold asks for a labeled pass"):
        make_rule("FixedThreshold").see_labeled(torch.ones(1, 3), *torch.zeros(2, 1, dtype=torch.int64))
