"""Methods of facial expression recognition: what each step's loss is made of, in NumPy, and how the relatives differ."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ferbench.algorithms import Batch, Matching
from ferbench.lifecycle import RunContext, bind
from ferbench.registry import ALGORITHMS
from ferbench.testing import RecordedNetwork

CLASSES, ITEMS, LABELED = 4, 10, 6
LABELS = np.arange(LABELED) % CLASSES
SIZES = {"labeled": LABELED, "weak": ITEMS, "weak2": ITEMS, "strong": ITEMS, "strong2": ITEMS}


def build(name: str, **options) -> Matching:
    algorithm = ALGORITHMS.build(dict(type=name, **options))
    bind(
        algorithm, RunContext(CLASSES, LABELED, num_unlabeled=ITEMS, max_iters=40, class_counts=(2, 2, 1, 1))
    )
    return algorithm


def step(algorithm: Matching, seed: int = 0, iteration: int = 0, teacher: bool = False) -> SimpleNamespace:
    """A step on random outputs, with its gradients: ``result``, ``network``, and float64 ``logits``, ``probs``."""
    rng = np.random.default_rng(seed)
    draws = {view: 2 * rng.normal(size=(n, CLASSES)).astype(np.float32) for view, n in SIZES.items()}
    features = {view: rng.normal(size=(n, 5)).astype(np.float32) for view, n in SIZES.items()}
    heads = {
        "true_negative": {
            view: rng.normal(size=(n, CLASSES)).astype(np.float32) for view, n in SIZES.items()
        },
        "projection": {view: unit(rng.normal(size=(n, 3))).astype(np.float32) for view, n in SIZES.items()},
    }
    judged = {view: 2 * rng.normal(size=x.shape).astype(np.float32) for view, x in draws.items()}
    layer = torch.nn.Linear(5, CLASSES)
    network = RecordedNetwork(
        tensors(draws),
        tensors(features),
        {head: tensors(views) for head, views in heads.items()},
        teacher=tensors(judged) if teacher else None,
        layers={"true_negative": layer},
    )
    labels = torch.from_numpy(LABELS)
    batch = Batch(
        labeled={"weak": torch.empty(LABELED, 0)},
        target=labels,
        labels=labels,
        unlabeled={view: torch.empty(ITEMS, 0) for view in algorithm.views.unlabeled},
        index=torch.arange(ITEMS),
        labeled_index=labels,
        iteration=iteration,
    )
    result = algorithm.step(network, batch)
    result.loss.backward()
    logits = {view: x.astype(np.float64) for view, x in draws.items()}
    return SimpleNamespace(
        result=result,
        network=network,
        logits=logits,
        probs={view: softmax(x) for view, x in logits.items()},
        judged={view: softmax(x.astype(np.float64)) for view, x in judged.items()},
        features={view: x.astype(np.float64) for view, x in features.items()},
        heads=heads,
        layer=layer,
    )


def tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(x) for name, x in arrays.items()}


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def cross_entropy(probs: np.ndarray, labels: np.ndarray, factors: np.ndarray | None = None) -> np.ndarray:
    losses = -np.log(probs[np.arange(len(probs)), labels])
    return losses if factors is None else losses * factors[labels]


def seen(probs: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Mask and labels; some pass and some do not."""
    mask = probs.max(axis=1) >= threshold
    assert 0 < mask.sum() < len(mask)
    return mask, probs.argmax(axis=1)


def contrast(first: np.ndarray, second: np.ndarray, positives: np.ndarray, temperature: float) -> float:
    """Supervised contrast of two views, as matrices."""
    rows = np.concatenate([first, second])
    similarity = np.exp(rows @ rows.T / temperature)
    np.fill_diagonal(similarity, 0)
    share = similarity / similarity.sum(axis=1, keepdims=True)
    pairs = np.tile(positives, (2, 2))
    np.fill_diagonal(pairs, 0)
    logs = np.log(np.where(pairs > 0, share, 1.0))
    return -((pairs * logs).sum(axis=1) / pairs.sum(axis=1)).mean()


@pytest.mark.parametrize(
    ("name", "views"),
    [
        ("AdaCM", ["weak", "weak2", "strong"]),
        ("EACM", ["weak", "weak2", "strong"]),
        ("SSMFAR", ["weak", "strong"]),
        ("OTX", ["weak", "strong"]),
        ("DTASNL", ["weak", "strong"]),
        ("MutexMatch", ["weak", "strong"]),
        ("CCSSL", ["weak", "strong", "strong2"]),
    ],
)
def test_views(name, views) -> None:
    assert list(build(name).views.unlabeled) == views


class TestAdaCM:
    """Two weak views, margin, contrast of the rest."""

    def test_loss(self) -> None:
        made = step(build("AdaCM", rule=dict(init=0.6)))
        mask, labels = seen((made.probs["weak"] + made.probs["weak2"]) / 2, 0.6)
        rest = [unit(made.features[view][~mask]) for view in ("weak", "weak2")]
        expected = {
            "supervised": cross_entropy(made.probs["labeled"], LABELS).mean(),
            "unsupervised": (cross_entropy(made.probs["strong"], labels) * mask).mean(),
            "low_confidence": contrast(*rest, np.eye(len(rest[0])), 0.07),
        }
        for part, value in expected.items():
            assert float(made.result.parts[part]) == pytest.approx(value, abs=1e-5), part
        total = 0.5 * expected["supervised"] + expected["unsupervised"] + 0.1 * expected["low_confidence"]
        assert made.result.loss.item() == pytest.approx(total, abs=1e-5)

        # Nothing pulls at the weak logits, and at the weak features only where nothing is selected.
        for view in ("weak", "weak2"):
            assert not made.network.gradient(view).any()
            pulled = made.network.features[view].grad.abs().sum(dim=1).numpy() > 0
            np.testing.assert_array_equal(pulled, ~mask)

    def test_dtm_is_the_same_recipe_today(self) -> None:
        """Bit for bit, over a change of the threshold."""
        pair = [build(name, rule=dict(epoch_length=2)) for name in ("AdaCM", "DTM")]
        for seed in range(4):
            first, second = (step(algorithm, seed).result for algorithm in pair)
            assert torch.equal(first.loss, second.loss)
            for algorithm in pair:
                algorithm.threshold.see_labeled(
                    torch.full((4, 4), 0.01).fill_diagonal_(0.97), torch.arange(4), torch.arange(4)
                )
                algorithm.threshold.finish_labeled_pass()
        first, second = (algorithm.threshold.thresholds() for algorithm in pair)
        assert torch.equal(first, second)
        assert (first > 0.9).all()

    def test_a_constant_that_is_given_twice(self) -> None:
        """Neither of the two wins."""
        with pytest.raises(TypeError, match="multiple values for keyword argument 'floor'"):
            build("DTM", floor=0.8, rule=dict(floor=0.6))

    def test_dtm_alone_has_another_short_form(self) -> None:
        assert list(build("DTM", threshold_only=True).views.unlabeled) == ["weak", "strong"]
        assert step(build("DTM", threshold_only=True)).result.parts.keys() == {"supervised", "unsupervised"}


class TestEACM:
    """The margin of every iteration."""

    def test_two_steps(self) -> None:
        """mu_c: mean confidence of the right labeled items, then a running mean with momentum 0.75; e = 1."""
        algorithm = build("EACM", momentum=0.75, floor=0.1, beta=0.9)
        assert algorithm.threshold.labeled_pass is None
        margin = np.full(CLASSES, np.nan)
        for seed in (0, 1):
            probs = step(algorithm, seed, iteration=seed).probs["labeled"]
            right = probs.argmax(axis=1) == LABELS
            for c in set(LABELS[right]):
                mean = probs[right & (c == LABELS)].max(axis=1).mean()
                margin[c] = mean if np.isnan(margin[c]) else 0.75 * margin[c] + 0.25 * mean
        assert 0 < np.isnan(margin).sum() < CLASSES  # one that was never right stays at the floor
        expected = np.maximum(0.1, np.nan_to_num(0.9 * margin / (1 + np.exp(-1)), nan=0.1))
        np.testing.assert_allclose(algorithm.threshold.thresholds(), expected, atol=1e-6)

    def test_the_rest_is_ada_cm(self) -> None:
        first, second = (step(build(name)).result for name in ("EACM", "AdaCM"))
        assert torch.equal(first.loss, second.loss)


class TestSSMFAR:
    """One weak view, class weights, symmetric KL of the rest, no average for the statistic."""

    @pytest.mark.parametrize("factors", [None, [1.0, 3.0, 2.0, 5.0]])
    def test_loss(self, factors) -> None:
        made = step(build("SSMFAR", class_weight=factors, rule=dict(init=0.6)))
        weights = np.array(factors or [1.0] * CLASSES)
        mask, labels = seen(made.probs["weak"], 0.6)
        p, q = (made.probs[view][~mask] for view in ("weak", "strong"))
        both = (p * np.log2(p / q) + q * np.log2(q / p)).sum(axis=1).mean()  # of the unselected items alone
        labeled = cross_entropy(made.probs["labeled"], LABELS, weights).mean()
        unlabeled = (cross_entropy(made.probs["strong"], labels, weights) * mask).mean()
        assert made.result.loss.item() == pytest.approx(0.5 * (labeled + unlabeled) + 0.5 * both, abs=1e-5)
        # The weak logits learn from the KL term, hence only where nothing is selected: the rows are the right ones.
        moved = made.network.gradient("weak").abs().sum(dim=1).numpy() > 0
        np.testing.assert_array_equal(moved, ~mask)

    def test_statistic_of_the_student(self) -> None:
        wanted = build("SSMFAR").threshold.labeled_pass
        assert (wanted.weights, wanted.view, wanted.interval) == ("student", "weak", 2)
        assert build("SSMFAR", rule=dict(weights="ema")).threshold.labeled_pass.weights == "ema"


class TestOTX:
    """A margin per iteration, and a mean over the selected items."""

    def test_loss(self) -> None:
        algorithm = build("OTX", minimum=0.6)
        made = step(algorithm)
        mask, labels = seen(made.probs["weak"], 0.6)
        unlabeled = cross_entropy(made.probs["strong"], labels)[mask].mean()
        expected = cross_entropy(made.probs["labeled"], LABELS).mean() + unlabeled
        assert made.result.loss.item() == pytest.approx(expected, abs=1e-5)
        assert (algorithm.threshold.thresholds() > 0.6).any()
        assert not made.network.gradient("weak").any()


class TestDTASNL:
    """The average judges; the rest learns what it is not."""

    def test_loss(self) -> None:
        made = step(build("DTASNL", level=0.1, negative_weight=3.0, rule=dict(init=0.6)), teacher=True)
        mask, labels = seen(made.judged["weak"], 0.6)
        negative = made.judged["weak"] < 0.1
        own = -np.log(1 - made.probs["strong"]) * negative
        per_item = own.sum(axis=1) / np.maximum(negative.sum(axis=1), 1)
        expected = {
            "supervised": cross_entropy(made.probs["labeled"], LABELS).mean(),
            "unsupervised": (cross_entropy(made.probs["strong"], labels) * mask).mean(),
            "negative": (per_item * ~mask).mean(),
        }
        for part, value in expected.items():
            assert float(made.result.parts[part]) == pytest.approx(value, abs=1e-5), part
        total = expected["supervised"] + expected["unsupervised"] + 3 * expected["negative"]
        assert made.result.loss.item() == pytest.approx(total, abs=1e-5)
        assert made.network.asked == [({"labeled", "strong"}, {"labeled", "strong"})]


class TestMutexMatch:
    """Two classifiers."""

    def test_loss(self) -> None:
        made = step(build("MutexMatch", threshold=0.6))
        mask, labels = seen(made.probs["weak"], 0.6)
        used = ("labeled", "weak", "strong")
        weight, bias = (p.detach().numpy().astype(np.float64) for p in made.layer.parameters())
        negative = softmax(np.concatenate([made.features[v] for v in used]) @ weight.T + bias)
        least = np.concatenate([made.logits[v] for v in used]).argmin(axis=1)
        target, other = (softmax(made.heads["true_negative"][v].astype(float)) for v in ("weak", "strong"))
        agreement = -(target * np.log(other)).sum(axis=1) * ~mask
        expected = (
            cross_entropy(made.probs["labeled"], LABELS).mean()
            + (cross_entropy(made.probs["strong"], labels) * mask).mean()
            + cross_entropy(negative, least).mean()
            + agreement.mean()
        )
        assert made.result.loss.item() == pytest.approx(expected, abs=1e-5)
        assert not made.network.gradient("weak").any()

    def test_with_the_dynamic_threshold(self) -> None:
        """MutexMatch-T, as its docstring says."""
        algorithm = build("DTM", threshold_only=True, terms=[dict(type="TrueNegativeConsistency")])
        assert step(algorithm).result.parts.keys() == {"supervised", "unsupervised", "true_negative"}


class TestCCSSL:
    """FixMatch and the contrast of classes."""

    @pytest.mark.parametrize("own_view", ["one", "confidence"])
    def test_loss(self, own_view) -> None:
        options = {} if own_view == "one" else {"own_view": own_view}
        made = step(build("CCSSL", threshold=0.7, contrast_threshold=0.5, contrast_weight=2.0, **options))
        mask, labels = seen(made.probs["weak"], 0.7)
        top = made.probs["weak"].max(axis=1)
        alike = (labels[:, None] == labels) & (top >= 0.5)[:, None] & (top >= 0.5)
        assert alike.sum() > (top >= 0.5).sum()  # some items have partners
        positives = np.outer(top, top) * (alike | np.eye(ITEMS, dtype=bool))
        if own_view == "one":
            np.fill_diagonal(positives, 1.0)
        views = (made.heads["projection"][view].astype(np.float64) for view in ("strong", "strong2"))
        expected = (
            cross_entropy(made.probs["labeled"], LABELS).mean()
            + (cross_entropy(made.probs["strong"], labels) * mask).mean()
            + 2 * contrast(*views, positives, 0.07)
        )
        assert made.result.loss.item() == pytest.approx(expected, abs=1e-5)
        assert not made.network.gradient("weak").any()
        assert not made.network.gradient("strong2").any()  # its embedding learns, its logits do not
