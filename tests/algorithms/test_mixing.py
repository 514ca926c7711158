"""MixUp over the global batch, and the methods made of it. Recorded runs: tests/parity/test_replay.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from ferbench import distributed
from ferbench.algorithms import Batch, mixing
from ferbench.algorithms.mixing import Mixer, Rows
from ferbench.contracts import Output
from ferbench.core.parts import build
from ferbench.errors import UserError
from ferbench.lifecycle import RunContext, bind
from ferbench.registry import ALGORITHMS

CLASSES, DIM, LABELED, UNLABELED = 3, 4, 2, 3
CONTEXT = RunContext(CLASSES, 6, num_unlabeled=9, max_iters=64, class_counts=(3, 2, 1), seed=11)
LABELS = np.array([2, 0])
VIEWS = ("weak", "weak2", "strong", "strong2")


class LinearNetwork:
    """``logits = images @ weight``; the teacher has a weight of its own. Remembers its calls."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self.student, self.ema = (rng.normal(size=(DIM, CLASSES)) for _ in "12")
        self.weight = torch.from_numpy(self.student.astype(np.float32)).requires_grad_()
        self.calls: list[tuple[set[str], set[str], bool]] = []

    def __call__(self, views, needs_gradient, update_statistics=True) -> dict[str, Output]:
        if views:
            self.calls.append((set(views), set(needs_gradient) & set(views), update_statistics))
        outputs = {v: Output(x @ self.weight, x) for v, x in views.items()}
        return {v: o if v in needs_gradient else o.detach() for v, o in outputs.items()}

    def teacher(self, views, training=False) -> dict[str, Output]:
        weight = torch.from_numpy(self.ema.astype(np.float32))
        return {v: Output(x @ weight, x) for v, x in views.items()}


def images() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    sizes = {"labeled": LABELED, **dict.fromkeys(VIEWS, UNLABELED)}
    return {n: rng.normal(size=(s, DIM)).astype(np.float32) for n, s in sizes.items()}


def make(name: str, **options):
    algorithm = build(ALGORITHMS, dict(type=name, **options), "model.algorithm")
    bind(algorithm, CONTEXT)
    return algorithm


def step(algorithm, iteration: int = 32, labels: Tensor | None = None, sharpness: float = 1.0):
    x, network = images(), LinearNetwork()
    network.ema *= sharpness
    target = torch.from_numpy(LABELS) if labels is None else labels
    batch = Batch(
        labeled={"weak": torch.from_numpy(x["labeled"])},
        target=target,
        labels=torch.from_numpy(LABELS),
        unlabeled={v: torch.from_numpy(x[v]) for v in algorithm.views.unlabeled},
        index=torch.arange(UNLABELED),
        labeled_index=torch.arange(LABELED),
        iteration=iteration,
    )
    result = algorithm.step(network, batch)
    result.loss.backward()
    assert network.weight.grad.isfinite().all()
    return result, network


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def cross_entropy(logits: np.ndarray, target: np.ndarray) -> float:
    return float(-(target * np.log(softmax(logits))).sum(axis=1).mean())


def squares(p: np.ndarray) -> np.ndarray:
    return p**2 / (p**2).sum(axis=1, keepdims=True)


def drawn(beta: float, order: Sequence[int]) -> Callable:
    return lambda _rows, _iteration: (beta, np.array(order))


def test_lambda_and_partners_are_a_function_of_seed_and_iteration() -> None:
    mixer = Mixer(alpha=0.5)
    mixer.bind(CONTEXT)
    draws = [mixer.draw(50, iteration) for iteration in range(400)]
    for kept, order in draws:
        assert 0 <= kept <= 1
        assert sorted(order) == list(range(50))
    again = Mixer(alpha=0.5)
    again.bind(CONTEXT)
    assert again.draw(50, 7)[0] == draws[7][0]
    assert np.array_equal(again.draw(50, 7)[1], draws[7][1])
    assert len({kept for kept, _ in draws}) == 400
    # Beta(a, a): mean 1/2, variance 1 / (4 (2 a + 1)) = 1/8
    kept = np.array([kept for kept, _ in draws])
    assert kept.mean() == pytest.approx(0.5, abs=0.06)
    assert kept.var() == pytest.approx(0.125, abs=0.02)


def rows(values: Sequence[float], weights: Sequence[float]) -> Rows:
    """Rows of one pixel; the target is (value, 1 - value)."""
    x = torch.tensor(values)[:, None]
    return Rows(x, torch.cat([x, 1 - x], dim=1), torch.tensor(weights))


@pytest.mark.parametrize(("dominant", "kept"), [(True, 0.75), (False, 0.25)])
def test_rows_of_two_groups_by_hand(dominant, kept) -> None:
    """The third row has weight 1/2, so that it is mixed into the first with half the partner's share."""
    mixer = Mixer(alpha=1.0, dominant=dominant)
    mixer.draw = drawn(0.25, [2, 1, 0])
    first, second = mixer([rows([0.0, 0.5], [1.0, 1.0]), rows([1.0], [0.5])], number=0)
    expected = [[(1 - kept) / 2], [0.5]], [[kept]]
    for mixed, values in zip((first, second), expected, strict=True):
        torch.testing.assert_close(mixed.images, torch.tensor(values))
        torch.testing.assert_close(mixed.target[:, :1], torch.tensor(values))
        torch.testing.assert_close(mixed.target.sum(dim=1), torch.ones(len(values)))
    assert first.weight.tolist() == [1.0, 1.0]
    assert second.weight.tolist() == [0.5]


def test_two_processes_mix_as_one(monkeypatch) -> None:
    """Each holds half of every group; partners come from both."""
    rng = np.random.default_rng(0)
    groups = [rows(rng.random(n).tolist(), rng.random(n).tolist()) for n in (4, 6, 6)]
    mixer = Mixer(alpha=1.0)
    mixer.bind(CONTEXT)
    whole = mixer(groups, number=3)

    def half(tensor: Tensor, rank: int) -> Tensor:
        return tensor.chunk(2)[rank]

    everything = [column for name in Rows._fields for column in (getattr(g, name) for g in groups)]
    for rank in range(2):
        pending = iter(everything)
        monkeypatch.setattr(distributed, "world_size", lambda: 2)
        monkeypatch.setattr(mixing, "world_size", lambda: 2)
        monkeypatch.setattr(mixing, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(mixing, "gather_rows", lambda _local, pending=pending: next(pending))
        mixed = mixer([Rows(*(half(c, rank) for c in group)) for group in groups], number=3)
        for ours, theirs in zip(mixed, whole, strict=True):
            for a, b in zip(ours, theirs, strict=True):
                torch.testing.assert_close(a, half(b, rank), rtol=0, atol=0)


def test_mixmatch_against_numpy() -> None:
    """T = 1/2 squares the mean guess; lambda = max(0.3, 0.7); the labels are distributions over classes."""
    votes = np.array([[0.0, 0.25, 0.75], [1.0, 0.0, 0.0]])
    order = [5, 2, 0, 7, 1, 6, 4, 3]
    algorithm = make("MixMatch", lambda_u=10.0, ramp=1.0)
    algorithm.mixer.draw = drawn(0.3, order)
    result, network = step(algorithm, labels=torch.from_numpy(votes.astype(np.float32)))

    x, w = {n: a.astype(np.float64) for n, a in images().items()}, network.student
    guess = squares((softmax(x["weak"] @ w) + softmax(x["weak2"] @ w)) / 2)
    inputs = np.concatenate([x["labeled"], x["weak"], x["weak2"]])
    targets = np.concatenate([votes, guess, guess])
    inputs, targets = (0.7 * a + 0.3 * a[order] for a in (inputs, targets))
    supervised = cross_entropy(inputs[:2] @ w, targets[:2])
    unsupervised = ((softmax(inputs[2:] @ w) - targets[2:]) ** 2).mean()
    assert result.parts["supervised"].item() == pytest.approx(supervised, abs=1e-5)
    assert result.parts["unsupervised"].item() == pytest.approx(unsupervised, abs=1e-5)
    assert result.loss.item() == pytest.approx(supervised + 10.0 * 0.5 * unsupervised, abs=1e-5)
    np.testing.assert_allclose(result.pseudo_labels.target, guess, atol=1e-5)
    assert result.pseudo_labels.weight.tolist() == [1.0] * UNLABELED
    assert network.calls == [  # the guesses stay out of batch-norm's statistics
        ({"labeled", "weak", "weak2"}, set(), False),
        ({"labeled", "mixed"}, {"labeled", "mixed"}, True),
    ]


def test_an_unselected_item_is_neither_learnt_nor_mixed_into_others() -> None:
    threshold = dict(type="FixedThreshold", threshold=0.6)
    algorithm = make("MixMatch", ramp=0.0, lambda_u=1.0, threshold=threshold)
    order = [2, 3, 0, 4, 7, 6, 5, 1]
    algorithm.mixer.draw = drawn(0.8, order)
    result, network = step(algorithm)
    x, w = {n: a.astype(np.float64) for n, a in images().items()}, network.student
    mean = (softmax(x["weak"] @ w) + softmax(x["weak2"] @ w)) / 2
    mask = mean.max(axis=1) >= 0.6
    assert 0 < mask.sum() < UNLABELED
    weight = np.concatenate([[1, 1], mask, mask])
    share = 0.2 * weight[order][:, None]
    inputs = np.concatenate([x["labeled"], x["weak"], x["weak2"]])
    targets = np.concatenate([np.eye(CLASSES)[LABELS], squares(mean), squares(mean)])
    inputs, targets = ((1 - share) * a + share * a[order] for a in (inputs, targets))
    per_item = ((softmax(inputs[2:] @ w) - targets[2:]) ** 2).mean(axis=1)
    supervised = cross_entropy(inputs[:2] @ w, targets[:2])
    assert result.parts["supervised"].item() == pytest.approx(supervised, abs=1e-5)
    assert result.parts["unsupervised"].item() == pytest.approx((per_item * weight[2:]).mean(), abs=1e-5)


def test_remixmatch_against_numpy() -> None:
    """The first step aligns by the batch's own mean; the class shares of the labeled set are 3/6, 2/6, 1/6."""
    order = [10, 1, 0, 4, 3, 2, 9, 8, 5, 7, 6]
    algorithm = make("ReMixMatch", ramp=1.0, rotation=0.0, lambda_u=2.0, unmixed=0.25)
    algorithm.mixer.draw = drawn(0.6, order)
    result, network = step(algorithm)
    x, w = {n: a.astype(np.float64) for n, a in images().items()}, network.student
    p = softmax(x["weak"] @ w)
    aligned = p * np.array([3, 2, 1]) / 6 / p.mean(axis=0)
    aligned /= aligned.sum(axis=1, keepdims=True)
    guess = squares(aligned)
    inputs = np.concatenate([x["labeled"], x["strong"], x["strong2"], x["weak"]])
    targets = np.concatenate([np.eye(CLASSES)[LABELS], guess, guess, guess])
    inputs, targets = (0.6 * a + 0.4 * a[order] for a in (inputs, targets))
    supervised = cross_entropy(inputs[:2] @ w, targets[:2])
    mixed = cross_entropy(inputs[2:] @ w, targets[2:])
    unmixed = cross_entropy(x["strong"] @ w, guess)
    assert result.parts["unsupervised"].item() == pytest.approx(mixed, abs=1e-4)
    assert result.parts["consistency_strong"].item() == pytest.approx(0.5 * unmixed, abs=1e-4)
    assert result.loss.item() == pytest.approx(supervised + 0.5 * (2 * mixed + 0.25 * unmixed), abs=1e-4)
    assert network.calls == [
        ({"labeled", "weak", "strong"}, {"strong"}, False),
        ({"labeled", "mixed"}, {"labeled", "mixed"}, True),
    ]


def test_remixmatch_has_a_rotation_head_if_it_is_to_turn_images() -> None:
    def heads(algorithm) -> list[str]:
        return [head for term in algorithm.terms for head in term.heads(8, CLASSES)]

    assert heads(make("ReMixMatch")) == ["rotation"]
    assert [term.weight for term in make("ReMixMatch", rotation=0.3).terms] == [0.5, 0.3]
    assert heads(make("ReMixMatch", rotation=0.0)) == []


@pytest.mark.parametrize("mixed", ["logits", "probabilities"])
def test_ict_against_numpy(mixed) -> None:
    """The teacher's predictions are mixed as the images are; lambda is not made the larger share; labels stay apart."""
    order = [1, 2, 0]
    algorithm = make("ICT", ramp=1.0, lambda_u=8.0, **({} if mixed == "logits" else {"mix_targets": mixed}))
    algorithm.mixer.draw = drawn(0.3, order)
    result, network = step(algorithm)
    x, w = {n: a.astype(np.float64) for n, a in images().items()}, network.student
    logits = x["weak"] @ network.ema
    guess = softmax(logits)
    given = logits if mixed == "logits" else guess
    inputs, targets = (0.3 * a + 0.7 * a[order] for a in (x["weak"], given))
    targets = softmax(targets) if mixed == "logits" else targets
    supervised = cross_entropy(x["labeled"] @ w, np.eye(CLASSES)[LABELS])
    unsupervised = ((softmax(inputs @ w) - targets) ** 2).mean()
    assert result.parts["unsupervised"].item() == pytest.approx(unsupervised, abs=1e-5)
    assert result.loss.item() == pytest.approx(supervised + 8.0 * 0.5 * unsupervised, abs=1e-5)
    np.testing.assert_allclose(result.pseudo_labels.target, guess, atol=1e-5)
    assert network.calls == [({"labeled"}, {"labeled"}, True), ({"mixed"}, {"mixed"}, False)]

    # d/dz of mean_ic (p - t)^2 is 2 p * ((p - t) - sum_c p (p - t)) / (b C).
    p = softmax(inputs @ w)
    slope = 2 * p * ((p - targets) - (p * (p - targets)).sum(axis=1, keepdims=True)) / p.size
    of_labels = (softmax(x["labeled"] @ w) - np.eye(CLASSES)[LABELS]) / LABELED
    expected = x["labeled"].T @ of_labels + 8.0 * 0.5 * inputs.T @ slope
    np.testing.assert_allclose(network.weight.grad, expected, atol=1e-5)


def test_logits_of_certain_predictions_are_mixed_without_nan() -> None:
    """Probabilities that float32 rounds to 0 and 1."""
    algorithm = make("ICT", ramp=0.0)
    algorithm.mixer.draw = drawn(0.5, [1, 2, 0])
    result, _ = step(algorithm, sharpness=1e4)
    assert result.pseudo_labels.probs.max() == 1
    assert result.loss.isfinite()


def test_labels_have_no_logits_to_mix() -> None:
    with pytest.raises(UserError, match="labels have no logits"):
        make("ICT", mix_labeled=True)
    make("ICT", mix_labeled=True, mix_targets="probabilities")
    with pytest.raises(UserError, match="mix_targets='logit'"):
        make("ICT", mix_targets="logit")


@pytest.mark.parametrize("name", ["MixMatch", "ICT"])
def test_mixed_unlabeled_images_may_stay_out_of_batch_norm_statistics(name) -> None:
    _, network = step(make(name, unlabeled_statistics=False))
    assert [(views, counts) for views, _, counts in network.calls if counts] == [({"labeled"}, True)]
    assert network.calls[-1] == ({"mixed"}, {"mixed"}, False)


def test_views() -> None:
    assert make("MixMatch").views.unlabeled == ("weak", "weak2")
    assert set(make("ReMixMatch").views.unlabeled) == {"weak", "strong", "strong2"}
    assert make("ICT").views.unlabeled == ("weak",)
    assert set(make("ICT", mixed_views=["weak", "strong"]).views.unlabeled) == {"weak", "strong"}


def test_what_learns_cannot_be_named() -> None:
    with pytest.raises(UserError, match="MixMatch sets by itself 'prediction_view'") as caught:
        make("MixMatch", prediction_view="strong")
    assert caught.value.where == "model.algorithm.prediction_view"
