"""Which parts each algorithm is made of, what it asks for, and the edges of a step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from ferbench.algorithms import Algorithm, Batch, StepResult
from ferbench.errors import UserError
from ferbench.lifecycle import RunContext, bind
from ferbench.registry import ALGORITHMS
from ferbench.testing import RecordedNetwork

CONTEXT = RunContext(4, num_labeled=8, num_unlabeled=20, max_iters=40, class_counts=(2, 2, 2, 2))
RunStep = Callable[..., StepResult]


def build(name: str, **options) -> Algorithm:
    algorithm = ALGORITHMS.build(dict(type=name, **options))
    bind(algorithm, CONTEXT)
    return algorithm


@pytest.fixture
def run_step() -> RunStep:
    """A step on random logits and features: ``run_step(algorithm, unlabeled=6, labeled=3, iteration=0, sure=1.0)``."""

    def run(
        algorithm: Algorithm, unlabeled: int = 6, labeled: int = 3, iteration: int = 0, sure: float = 1.0
    ):
        rng = np.random.default_rng(0)

        names = ("labeled", "weak", "strong", "weak2")
        sizes = {name: labeled if name == "labeled" else unlabeled for name in names}
        draws = {n: torch.from_numpy(rng.normal(size=(s, 9)).astype(np.float32)) for n, s in sizes.items()}
        network = RecordedNetwork(
            {n: x[:, :4] * sure for n, x in draws.items()}, {n: x[:, 4:] for n, x in draws.items()}
        )
        labels = torch.arange(labeled) % 4
        images = {name: torch.empty(unlabeled, 0) for name in algorithm.views.unlabeled}
        batch = Batch(
            labeled={"weak": torch.empty(labeled, 0)},
            target=labels,
            labels=labels,
            unlabeled=images,
            index=torch.arange(unlabeled) if images else None,
            labeled_index=labels,
            iteration=iteration,
        )
        result = algorithm.step(network, batch)
        result.loss.backward()
        for leaf in (*network.logits.values(), *network.features.values()):
            assert leaf.grad is None or leaf.grad.isfinite().all()
        return result

    return run


@pytest.mark.parametrize(
    ("config", "views"),
    [
        (dict(name="FixMatch"), ["weak", "strong"]),
        (dict(name="FlexMatch"), ["weak", "strong"]),
        (dict(name="PseudoLabel"), ["weak"]),
        (dict(name="DTM", threshold_only=True), ["weak", "strong"]),
        (dict(name="DTM"), ["weak", "weak2", "strong"]),
        (dict(name="DTM", weak_views=["weak"], terms=[]), ["weak", "strong"]),
        (dict(name="FixMatch", terms=[dict(type="LowConfidenceContrast")]), ["weak", "strong", "weak2"]),
        (dict(name="FixMatch", prediction_view="strong2"), ["weak", "strong2"]),
        (dict(name="Supervised"), []),
        (dict(name="SupervisedOracle"), []),
    ],
)
def test_views_that_are_asked_for(config, views) -> None:
    algorithm = build(**config)
    assert algorithm.views.labeled == ("weak",)
    assert list(algorithm.views.unlabeled) == views
    assert algorithm.all_labels == (config["name"] == "SupervisedOracle")


def test_threshold_only_dtm_is_fixmatch_until_its_threshold_moves(run_step) -> None:
    """The comparison isolates the threshold: same views, same terms, same weights."""
    dtm = build("DTM", threshold_only=True, floor=0.5, rule=dict(init=0.6, epoch_length=2))
    fixmatch = build("FixMatch", threshold=0.6)
    ours, theirs = run_step(dtm), run_step(fixmatch)
    assert theirs.pseudo_labels.weight.sum() not in (0, 6)
    assert torch.equal(ours.pseudo_labels.weight, theirs.pseudo_labels.weight)
    assert torch.equal(ours.loss, theirs.loss)
    assert ours.parts.keys() == theirs.parts.keys() == {"supervised", "unsupervised"}
    assert dtm.threshold.labeled_pass.interval == 2
    dtm.threshold.see_labeled(torch.eye(4), torch.arange(4), torch.arange(4))
    dtm.threshold.finish_labeled_pass()
    assert (dtm.threshold.thresholds() > 0.7).all()


def test_total_is_the_weighted_sum_of_its_parts(run_step) -> None:
    terms = [dict(type="LowConfidenceKL", weight=7.0)]
    weights = dict(lambda_x=2.0, lambda_u=3.0, ramp=0.5)
    algorithm = build("DTM", floor=0.3, rule=dict(init=0.4), terms=terms, **weights)
    result = run_step(algorithm, iteration=5)  # a quarter of the ramp over half of 40 iterations
    parts = result.parts
    expected = 2.0 * parts["supervised"] + 0.75 * parts["unsupervised"] + 7.0 * parts["low_confidence"]
    assert all(part > 0 for part in parts.values())
    torch.testing.assert_close(result.loss.detach(), expected)
    assert not any(part.requires_grad for part in parts.values())


def test_two_weak_views_are_averaged_as_probabilities(run_step) -> None:
    one, two = build("DTM", weak_views=["weak"]), build("DTM")
    assert not torch.equal(run_step(one).pseudo_labels.confidence, run_step(two).pseudo_labels.confidence)
    rng = np.random.default_rng(0)
    draws = [rng.normal(size=(n, 9)).astype(np.float32)[:, :4] for n in (3, 6, 6, 6)]
    weak, weak2 = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (draws[1], draws[3]))
    result = run_step(two)
    np.testing.assert_allclose(result.pseudo_labels.confidence, ((weak + weak2) / 2).max(1), atol=1e-6)


@pytest.mark.parametrize("name", ["FixMatch", "FlexMatch", "PseudoLabel", "DTM"])
@pytest.mark.parametrize(("unlabeled", "labeled"), [(1, 1), (5, 1), (1, 3)])
def test_batches_of_one(name, unlabeled, labeled, run_step) -> None:
    for sure in (0.0, 50.0):
        result = run_step(build(name), unlabeled, labeled, sure=sure)
        assert result.loss.isfinite()
        assert result.pseudo_labels.weight.shape == (unlabeled,)


@pytest.mark.parametrize("name", ["FixMatch", "PseudoLabel", "DTM"])
def test_nothing_selected_is_supervised_training(name, run_step) -> None:
    result = run_step(build(name), iteration=39, sure=0.01)
    assert not result.pseudo_labels.weight.any()
    assert result.parts["unsupervised"] == 0
    extra = 0.1 * result.parts.get("low_confidence", torch.tensor(0.0))
    factor = 0.5 if name == "DTM" else 1.0
    torch.testing.assert_close(result.loss.detach(), factor * result.parts["supervised"] + extra)


def test_flexmatch_selects_everything_at_the_start(run_step) -> None:
    result = run_step(build("FlexMatch"), sure=0.01)
    assert result.pseudo_labels.weight.all()
    assert result.parts["unsupervised"] > 0


@pytest.mark.parametrize("name", ["Supervised", "SupervisedOracle"])
def test_supervised_loss(name, run_step) -> None:
    result = run_step(build(name))
    logits = np.random.default_rng(0).normal(size=(3, 9)).astype(np.float32)[:, :4]
    expected = (np.log(np.exp(logits).sum(1)) - logits[np.arange(3), [0, 1, 2]]).mean()
    assert result.loss.item() == pytest.approx(expected, abs=1e-6)
    assert result.parts.keys() == {"supervised"}
    assert result.pseudo_labels is None
    weighted = run_step(
        build(name, supervised_loss=dict(type="SupervisedCrossEntropy", class_weight=[2.0] * 4))
    )
    assert weighted.loss.item() == pytest.approx(2 * expected, abs=1e-6)


@pytest.mark.parametrize(
    ("config", "where"),
    [
        (dict(name="DTM", rule=dict(momentun=0.5)), "model.algorithm.threshold.momentun"),
        (dict(name="DTM", terms=[dict(type="LowConfidenceKL", wait=1)]), "model.algorithm.terms[0].wait"),
        (
            dict(name="Supervised", supervised_loss=dict(type="SupervisedCrossEntropy", class_wait=[1])),
            "model.algorithm.supervised_loss.class_wait",
        ),
    ],
)
def test_a_mistyped_parameter_of_a_part_is_found(config, where) -> None:
    with pytest.raises(UserError, match="has no parameter") as caught:
        build(**config)
    assert caught.value.where == where
