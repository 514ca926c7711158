"""Extra terms on the items that no pseudo-label is trusted for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from ferbench import testing
from ferbench.algorithms import MatchingStep
from ferbench.contracts import Output
from ferbench.registry import LOSSES


@pytest.fixture
def make_step() -> Callable[..., MatchingStep]:
    """A step of the given views ``name -> (logits, features)`` and weights."""

    def make(weight: list[float], **views: tuple[torch.Tensor, torch.Tensor]) -> MatchingStep:
        return testing.make_step({name: Output(*pair) for name, pair in views.items()}, weight)

    return make


def random_view(seed: int, size: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits, features = torch.randn(size, 4, generator=generator), torch.randn(size, 6, generator=generator)
    return logits.requires_grad_(), features.requires_grad_()


def test_contrast_of_unselected_items(make_step) -> None:
    """Two items kept (1 and 3); features are normalised here, so their length does not matter."""
    weak, weak2 = random_view(0), random_view(1)
    term = LOSSES.build(dict(type="LowConfidenceContrast", temperature=0.5))
    assert (term.name, term.weight) == ("low_confidence", 0.1)
    assert set(term.views) == set(term.needs_gradient) == {"weak", "weak2"}
    value = term(make_step([1.0, 0.0, 1.0, 0.0, 1.0], weak=weak, weak2=weak2))

    rows = torch.cat([weak[1][[1, 3]], weak2[1][[1, 3]]]).detach().numpy().astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    sim = np.exp(rows @ rows.T / 0.5)
    np.fill_diagonal(sim, 0)
    expected = np.mean([-np.log(sim[i, (i + 2) % 4] / sim[i].sum()) for i in range(4)])
    assert value.item() == pytest.approx(expected, abs=1e-5)
    value.backward()
    for logits, features in (weak, weak2):
        assert logits.grad is None
        assert (features.grad.abs().sum(dim=1) > 0).tolist() == [False, True, False, True, False]


def test_contrast_treats_partly_weighted_items_as_selected(make_step) -> None:
    """ "Unselected" is weight 0; a rule with soft weights has few such items."""
    weak, weak2 = random_view(0), random_view(1)
    term = LOSSES.build(dict(type="LowConfidenceContrast"))
    soft = term(make_step([0.5, 0.0, 0.01, 0.0, 1.0], weak=weak, weak2=weak2))
    hard = term(make_step([1.0, 0.0, 1.0, 0.0, 1.0], weak=weak, weak2=weak2))
    assert torch.equal(soft, hard)


def test_contrast_is_exact_for_bfloat16_features_under_autocast(make_step) -> None:
    weak, weak2 = (
        (logits, features.detach().bfloat16()) for logits, features in (random_view(0), random_view(1))
    )
    term = LOSSES.build(dict(type="LowConfidenceContrast"))
    step = make_step([0.0] * 5, weak=weak, weak2=weak2)
    with torch.autocast("cpu", torch.bfloat16):
        value = term(step)
    exact = term(make_step([0.0] * 5, weak=(weak[0], weak[1].float()), weak2=(weak2[0], weak2[1].float())))
    torch.testing.assert_close(value, exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("over", "divisor"), [("weight", 2.75), ("batch", 5)])
def test_symmetric_kl_against_numpy(over, divisor, make_step) -> None:
    """The weights of the unselected items, 1 - w, sum to 2.75."""
    weak, strong = random_view(0), random_view(1)
    weight = np.array([1.0, 0.0, 0.25, 0.0, 1.0])
    term = LOSSES.build(dict(type="LowConfidenceKL", over=over))
    assert (term.name, term.weight) == ("low_confidence", 0.5)
    assert set(term.views) == set(term.needs_gradient) == {"weak", "strong"}
    value = term(make_step(weight.tolist(), weak=weak, strong=strong))

    p, q = (view[0].detach().softmax(dim=1).double().numpy() for view in (weak, strong))
    both = (p * np.log2(p / q)).sum(1) + (q * np.log2(q / p)).sum(1)
    assert value.item() == pytest.approx(((1 - weight) * both).sum() / divisor, abs=1e-6)
    value.backward()
    for logits, _ in (weak, strong):
        assert (logits.grad.abs().sum(dim=1) > 0).tolist() == [False, True, True, True, False]


def test_symmetric_kl_by_hand(make_step) -> None:
    """(3/4, 1/4) against its mirror image: 2 * (3/4 - 1/4) * log2 3 bits, of the one item that is not selected."""
    logits = torch.tensor([[np.log(3.0), 0.0]] * 2, dtype=torch.float32)
    features = torch.zeros(2, 1)
    value = LOSSES.build(dict(type="LowConfidenceKL"))(
        make_step([0.0, 1.0], weak=(logits, features), strong=(logits.flip(1), features))
    )
    assert value.item() == pytest.approx(np.log2(3), abs=1e-6)


@pytest.mark.parametrize("name", ["LowConfidenceContrast", "LowConfidenceKL"])
@pytest.mark.parametrize("size", [1, 4])
def test_everything_selected_is_zero_with_finite_gradient(name, size, make_step) -> None:
    views = {view: random_view(seed, size) for seed, view in enumerate(("weak", "weak2", "strong"))}
    value = LOSSES.build(dict(type=name))(make_step([1.0] * size, **views))
    assert value.item() == 0
    value.backward()
    for logits, features in views.values():
        for leaf in (logits, features):
            assert leaf.grad is None or not leaf.grad.any()
