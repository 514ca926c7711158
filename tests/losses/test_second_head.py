"""What the second heads of ABC, TRAS and CoSSL learn, against NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ferbench.contracts import Output
from ferbench.errors import UserError
from ferbench.functional.randomness import uniforms
from ferbench.lifecycle import RunContext, bind
from ferbench.registry import LOSSES
from ferbench.testing import RecordedNetwork, make_step

COUNTS = (60, 30, 6)
CONTEXT = RunContext(3, num_labeled=96, num_unlabeled=500, max_iters=200, class_counts=COUNTS, seed=11)
LABELED, UNLABELED = 40, 80


def log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(log_softmax(x))


def build(name: str, context: RunContext = CONTEXT, **options):
    term = LOSSES.build(dict(type=name, **options))
    bind(term, context)
    return term


class Recorded:
    """A step of random outputs; what a head says of a view is ``own[view]``.

    Args:
        head: its name.
        sure: factor on the head's logits, so that some weak views pass 0.95.
    """

    def __init__(self, head: str, iteration: int = 0, labels: np.ndarray | None = None, sure: float = 3.0):
        rng = np.random.default_rng(5)
        sizes = {"labeled": LABELED, "weak": UNLABELED, "strong": UNLABELED, "strong2": UNLABELED}

        def draw(rows: int, columns: int) -> np.ndarray:
            return rng.normal(size=(rows, columns)).astype(np.float32)

        self.labels = np.arange(LABELED) % 3 if labels is None else labels
        self.own = {view: sure * draw(n, 3) for view, n in sizes.items()}
        self.classifier = {view: draw(n, 3) for view, n in sizes.items()}
        self.features = {view: draw(n, 5) for view, n in sizes.items()}
        self.leaves = {
            view: tuple(
                torch.from_numpy(x[view]).requires_grad_() for x in (self.classifier, self.features, self.own)
            )
            for view in sizes
        }
        outputs = {view: Output(z, f, {head: a}) for view, (z, f, a) in self.leaves.items()}
        step = make_step(outputs, np.ones(UNLABELED, np.float32), labels=self.labels, iteration=iteration)
        self.step = replace(step, teacher=step.outputs)

    def gradient(self, view: str, which: str) -> torch.Tensor | None:
        return self.leaves[view][("classifier", "features", "own").index(which)].grad


def draws(head: str, what: str, iteration: int, rows: int, count: int = 1) -> np.ndarray:
    """The documented draws: a function of seed, iteration and the row's place in the global batch."""
    return uniforms(CONTEXT.seed, np.full(rows, iteration), np.arange(rows), f"{head} {what}", count)


@pytest.mark.parametrize("iteration", [0, 50, 199])
def test_abc_against_numpy(iteration) -> None:
    given = Recorded("abc", iteration)
    term = build("AuxiliaryBalancedLoss", prediction_views=("strong", "strong2"))
    value = term(given.step)

    rate = np.array([0.1, 0.2, 1.0])  # 6 over 60, 30 and 6
    kept = draws("abc", "labeled", iteration, LABELED)[:, 0] < rate[given.labels]
    supervised = -(kept * log_softmax(given.own["labeled"])[np.arange(LABELED), given.labels]).mean()
    q = softmax(given.own["weak"])
    rate = 1 - iteration / 200 * (1 - rate)
    kept = draws("abc", "unlabeled", iteration, UNLABELED)[:, 0] < rate[q.argmax(1)]
    kept &= q.max(1) >= 0.95
    assert 0 < kept.sum() < UNLABELED
    consistency = sum(-(kept * (q * log_softmax(given.own[v])).sum(1)).mean() for v in ("strong", "strong2"))
    assert value.item() == pytest.approx(supervised + consistency, abs=1e-5)

    value.backward()
    assert given.gradient("weak", "own") is None
    assert all(given.gradient(view, "own").any() for view in ("labeled", "strong", "strong2"))
    assert all(given.gradient(view, "classifier") is None for view in given.own)


def test_abc_balances_the_labeled_items() -> None:
    """Of 30,000 items of each class, a tenth, a fifth and all are kept; at the start all unlabeled ones are."""
    term = build("AuxiliaryBalancedLoss")
    labels = torch.arange(90_000) % 3
    (draw,) = term.draws("labeled", 3, labels)
    kept = torch.stack([(draw < term.labeled_rate[labels])[labels == c].float().mean() for c in range(3)])
    np.testing.assert_allclose(kept, [0.1, 0.2, 1.0], atol=5 * np.sqrt(0.16 / 30_000))
    balanced = build("AuxiliaryBalancedLoss", replace(CONTEXT, sampler="class_balanced"))
    assert balanced.labeled_rate.tolist() == [
        1,
        1,
        1,
    ]  # the stream is balanced already; the unlabeled one is not
    assert balanced.rate.tolist() == pytest.approx([0.1, 0.2, 1.0])


def test_draws_of_two_processes_are_those_of_one(monkeypatch) -> None:
    term = build("AuxiliaryBalancedLoss")
    (whole,) = term.draws("labeled", 7, torch.empty(10))
    halves = []
    for rank in range(2):
        monkeypatch.setattr("ferbench.losses.second_head.rank", lambda rank=rank: rank)
        halves += term.draws("labeled", 7, torch.empty(5))
    assert torch.equal(torch.cat(halves), whole)
    for other in (("labeled", 8), ("unlabeled", 7)):
        assert not torch.equal(term.draws(*other, torch.empty(5))[0], halves[1])


@pytest.mark.parametrize("views", [("strong",), ("strong", "strong2")])
def test_tras_against_numpy(views) -> None:
    given = Recorded("tras", iteration=4)  # the first one after 2 % of 200
    term = build("TransferLoss", tau=1.5, scale=3.0, offset=1.0, prediction_views=views)
    value = term(given.step)

    prior = 1.5 * np.log(np.array(COUNTS) / 96)
    supervised = -log_softmax(given.own["labeled"] + prior)[np.arange(LABELED), given.labels].mean()
    q = softmax(given.own["weak"])
    mask, strength = q.max(1) >= 0.95, 3.0 * softmax(-prior[None])[0] + 1.0
    assert 0 < mask.sum() < UNLABELED
    losses = []
    for view in views:
        target = softmax((given.classifier[view] - strength[q.argmax(1)][:, None] * prior) / 2)
        losses.append(-(mask * (target * log_softmax(given.own[view])).sum(1)).mean())
    assert value.item() == pytest.approx(supervised + np.mean(losses), abs=1e-5)

    value.backward()
    assert given.gradient("weak", "own") is None
    assert given.gradient("strong", "own").any()
    assert given.gradient("strong", "classifier") is None  # what is transferred does not learn


def test_tras_waits_for_its_warm_up() -> None:
    given = Recorded("tras", iteration=3)
    value = build("TransferLoss")(given.step)
    assert value == 0
    value.backward()
    assert not given.gradient("labeled", "own").any()


def test_a_prior_of_a_balanced_stream_is_refused() -> None:
    with pytest.raises(UserError, match="balanced already"):
        build("TransferLoss", replace(CONTEXT, sampler="class_balanced"))


class Teacher(RecordedNetwork):
    """Features of the EMA model, and a head of known weights."""

    def __init__(self, features: dict[str, np.ndarray]):
        rng = np.random.default_rng(6)
        self.weight, self.bias = (
            rng.normal(size=(3, 5)).astype(np.float32),
            rng.normal(size=3).astype(np.float32),
        )
        layer = torch.nn.Linear(5, 3)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(self.weight))
            layer.bias.copy_(torch.from_numpy(self.bias))
        views = {view: torch.from_numpy(x) for view, x in features.items()}
        super().__init__(
            {v: torch.zeros(len(x), 3) for v, x in views.items()}, views, layers={"cossl": layer}
        )
        self.layer = layer


@pytest.mark.parametrize("sampler", ["shuffled", "class_balanced"])
@pytest.mark.parametrize("judged_by_ema", [False, True])
def test_cossl_against_numpy(sampler, judged_by_ema) -> None:
    given = Recorded("cossl", iteration=9)
    rng = np.random.default_rng(8)
    features = {
        v: rng.normal(size=(n, 5)).astype(np.float32) for v, n in (("labeled", LABELED), ("weak", UNLABELED))
    }
    network = Teacher(features)
    images = {"weak": torch.empty(LABELED, 0)}, {"weak": torch.empty(UNLABELED, 0)}
    batch = replace(given.step.batch, labeled=images[0], unlabeled=images[1])
    step = replace(given.step, network=network, batch=batch)
    if judged_by_ema:  # then its outputs are there already
        step = replace(
            step, teacher=network.teacher({"labeled": images[0]["weak"], "weak": images[1]["weak"]})
        )
        network.teacher = None
    value = build("TailEnhancedLoss", replace(CONTEXT, sampler=sampler), low=0.6)(step)

    choice, position = draws("cossl", "mixing", 9, LABELED, 2).T
    mixed = choice < (60 - np.array(COUNTS)[given.labels]) / 60
    assert 0 < mixed.sum() < LABELED
    assert not mixed[given.labels == 0].any()  # the largest class is never enhanced
    ratio = np.where(mixed, 0.6 + 0.4 * position, 1.0)[:, None]
    enhanced = ratio * features["labeled"] + (1 - ratio) * features["weak"][::2]
    log_prob = log_softmax(enhanced @ network.weight.T + network.bias)[np.arange(LABELED), given.labels]
    weight = np.ones(3) if sampler == "class_balanced" else 96 / (3 * np.array(COUNTS))
    assert value.item() == pytest.approx(-(weight[given.labels] * log_prob).mean(), abs=1e-5)

    value.backward()
    assert network.layer.weight.grad.any()
    assert all(
        x.grad is None for leaves in given.leaves.values() for x in leaves
    )  # decoupled from the features


def test_cossl_pairs_rows_alike_on_any_number_of_processes() -> None:
    """Labeled row j of the global batch meets unlabeled row j * mu; each process holds equal slices of both."""
    for labeled, unlabeled in ((4, 12), (6, 6), (3, 1)):
        alone = np.arange(2 * labeled) * (2 * unlabeled) // (2 * labeled)
        own = np.arange(labeled) * unlabeled // labeled
        np.testing.assert_array_equal(np.concatenate([own, own + unlabeled]), alone)


@pytest.mark.parametrize("name", ["AuxiliaryBalancedLoss", "TransferLoss"])
def test_what_they_ask_for(name) -> None:
    term = build(name, weak_views=("weak", "weak2"))
    assert term.views == ("weak", "weak2", "strong")
    assert term.needs_gradient == ("strong",)
    ((head, layer),) = term.heads(num_features=7, num_classes=3).items()
    assert head == term.name
    assert (layer.in_features, layer.out_features) == (7, 3)


def test_two_weak_views_are_averaged_as_probabilities() -> None:
    rng = np.random.default_rng(0)
    said = {view: rng.normal(size=(4, 3)).astype(np.float32) for view in ("weak", "weak2")}
    outputs = {
        v: Output(torch.empty(4, 3), torch.empty(4, 1), {"abc": torch.from_numpy(x)}) for v, x in said.items()
    }
    probs = build("AuxiliaryBalancedLoss", weak_views=("weak", "weak2")).own_probs(outputs)
    np.testing.assert_allclose(probs, (softmax(said["weak"]) + softmax(said["weak2"])) / 2, atol=1e-6)
