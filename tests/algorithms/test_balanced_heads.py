"""ABC, TRAS, CoSSL, DASO, logit adjustment and re-weighting: what they add to a base, and what they leave alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ferbench.algorithms import Algorithm, Batch, Matching, StepResult, Supervised
from ferbench.errors import UserError
from ferbench.lifecycle import RunContext, bind, parts_of
from ferbench.models.ssl import SSLModel
from ferbench.registry import ALGORITHMS
from ferbench.testing import RecordedNetwork
from ferbench.testing.experiment import SIZE, SmallNet

COUNTS = (6, 3, 1)
CONTEXT = RunContext(3, num_labeled=10, num_unlabeled=20, max_iters=40, class_counts=COUNTS, seed=1)
FIXMATCH = dict(type="FixMatch", threshold=0.5)
LABELED, UNLABELED, DIM = 4, 8, 5
HEADS = {"ABC": "abc", "TRAS": "tras", "CoSSL": "cossl"}
METHODS = [*HEADS, "DASO", "LogitAdjustment", "Reweighting"]


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def build(name: str, base: dict | Algorithm = FIXMATCH, **options) -> Algorithm:
    algorithm = ALGORITHMS.build(dict(type=name, base=base, **options))
    for part in parts_of(algorithm):
        part.heads(DIM, 3)
    bind(algorithm, CONTEXT)
    return algorithm


class Given:
    """Random outputs of every view and head, of the student and of the EMA model."""

    def __init__(self, sure: float = 2.0):
        rng = np.random.default_rng(0)
        views = {"labeled": LABELED, "weak": UNLABELED, "weak2": UNLABELED, "strong": UNLABELED}

        def draw(columns: int) -> dict[str, np.ndarray]:
            return {
                view: rng.normal(size=(n, columns)).astype(np.float32) * sure for view, n in views.items()
            }

        self.logits, self.teacher, self.features = draw(3), draw(3), draw(DIM)
        self.heads = {head: draw(3) for head in HEADS.values()} | {"features": self.features}
        layer = torch.nn.Linear(DIM, 3)
        tensors = [
            {view: torch.from_numpy(x) for view, x in given.items()}
            for given in (self.logits, self.features, self.teacher)
        ]
        heads = {
            head: {v: torch.from_numpy(x) for v, x in given.items()} for head, given in self.heads.items()
        }
        self.network = RecordedNetwork(
            tensors[0], tensors[1], heads, tensors[2], dict.fromkeys(HEADS.values(), layer)
        )
        self.labels = torch.tensor([0, 0, 1, 2])

    def step(self, algorithm: Algorithm, iteration: int = 0) -> StepResult:
        images = {view: torch.empty(UNLABELED, 0) for view in algorithm.views.unlabeled}
        index = torch.arange(UNLABELED) if images else None
        weak = {"weak": torch.empty(LABELED, 0)}
        return algorithm.step(
            self.network, Batch(weak, self.labels, self.labels, images, index, self.labels, iteration)
        )


def plain(config: dict = FIXMATCH) -> Algorithm:
    algorithm = ALGORITHMS.build(dict(config))
    bind(algorithm, CONTEXT)
    return algorithm


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("base", ["FixMatch", "FlexMatch", "PseudoLabel", "DTM"])
def test_a_method_keeps_the_views_of_its_base(name, base) -> None:
    """So that "base" and "base with the method" see the same data."""
    assert build(name, dict(type=base)).views == plain(dict(type=base)).views


@pytest.mark.parametrize("name", HEADS)
def test_its_own_head_predicts(name) -> None:
    algorithm = build(name)
    assert algorithm.prediction_head == HEADS[name]
    heads = [head for part in parts_of(algorithm) for head in part.heads(DIM, 3)]
    assert heads == [HEADS[name]]
    outer = build("Reweighting", dict(type=name, base=FIXMATCH))
    assert outer.prediction_head == HEADS[name]


@pytest.mark.parametrize("name", ["DASO", "LogitAdjustment", "Reweighting"])
def test_the_classifiers_own_head_predicts(name) -> None:
    assert build(name).prediction_head is None


@pytest.mark.parametrize(("name", "iteration"), [("ABC", 3), ("CoSSL", 3)])
def test_what_is_added_is_one_term(name, iteration) -> None:
    """Pseudo-labels and losses of the base stay what they are (CoSSL: during its warm-up)."""
    ours, theirs = Given().step(build(name, weight=0.3), iteration), Given().step(plain(), iteration)
    assert ours.parts.keys() == {*theirs.parts, HEADS[name]}
    for part, value in theirs.parts.items():
        assert torch.equal(ours.parts[part], value)
    torch.testing.assert_close(ours.loss, theirs.loss + 0.3 * ours.parts[HEADS[name]])
    assert ours.parts[HEADS[name]] > 0
    assert torch.equal(ours.pseudo_labels.weight, theirs.pseudo_labels.weight)


def test_abc_gets_the_views_it_is_told() -> None:
    algorithm = build("ABC", dict(type="DTM"), prediction_views=("strong", "strong2"))
    assert set(algorithm.views.unlabeled) == {"weak", "weak2", "strong", "strong2"}


def test_tras_pseudo_labels_are_without_the_prior() -> None:
    given = Given()
    found = given.step(build("TRAS", tau=1.0), iteration=30).pseudo_labels
    probs = softmax(given.logits["weak"] - np.log(np.array(COUNTS) / 10))
    np.testing.assert_allclose(found.probs, probs, atol=1e-5)
    np.testing.assert_array_equal(found.weight, probs.max(1) >= 0.5)
    assert (found.label.numpy() != given.logits["weak"].argmax(1)).any()


def test_cossl_judges_by_the_ema_model_and_its_own_head_after_the_warm_up() -> None:
    algorithm = build("CoSSL", warmup=0.5)
    given = Given()
    before = given.step(algorithm, iteration=19).pseudo_labels
    np.testing.assert_allclose(before.probs, softmax(given.logits["weak"]), atol=1e-6)
    assert algorithm.evidence_head is None
    after = given.step(algorithm, iteration=20).pseudo_labels
    np.testing.assert_allclose(after.probs, softmax(given.heads["cossl"]["weak"]), atol=1e-6)
    assert algorithm.evidence_head == "cossl"
    # The student is no longer asked for the weak view.
    assert given.network.asked[-1][0] == {"labeled", "strong"}


def test_daso_uses_the_prototypes_of_this_step() -> None:
    """Class means of the EMA features of the step's labeled items (two of class 0), weights 1 of every class."""
    algorithm, given = build("DASO", warmup=0.0, interval=1, temperature=0.5, blend_temperature=1.0), Given()
    given.step(algorithm, 0)
    algorithm.matching.alignments[-1].counts.copy_(torch.tensor([1.0, 1.0, 1.0]))
    found = given.step(algorithm, 1).pseudo_labels

    features = given.features["labeled"]
    centres = np.stack([features[:2].mean(0), features[2], features[3]])  # both steps brought the same items
    weak = given.features["weak"]
    cosine = weak @ centres.T / np.linalg.norm(weak, axis=1)[:, None] / np.linalg.norm(centres, axis=1)
    np.testing.assert_allclose(found.probs, softmax(cosine / 0.5), atol=1e-5)
    assert given.network.asked[-1][0] == {"labeled", "weak", "strong"}


def test_daso_lets_the_threshold_judge_the_blended_pseudo_label() -> None:
    algorithm, given = build("DASO", warmup=0.0, interval=1), Given()
    for iteration in range(3):
        found = given.step(algorithm, iteration).pseudo_labels
    blended = found.probs.numpy()
    np.testing.assert_array_equal(found.weight, blended.max(1) >= 0.5)
    np.testing.assert_array_equal(found.target, blended.argmax(1))


def test_daso_refuses_a_base_that_shows_its_rules_something_else() -> None:
    base = dict(type="Matching", threshold=dict(type="FixedThreshold"), embedding="projection")
    with pytest.raises(UserError, match="shows the rules its head 'projection'"):
        build("DASO", base)


@pytest.mark.parametrize("name", ["DASO", "TRAS", "CReSTPlus", "LabelShift"])
def test_a_target_that_an_alignment_would_not_reach_is_refused(name) -> None:
    with pytest.raises(
        UserError, match=f"{name} changes pseudo-labels by an alignment, but those of SoftMatch"
    ):
        build(name, dict(type="SoftMatch"))
    build(name, dict(type="SoftMatch", target=dict(type="HardTarget")))


@pytest.mark.parametrize("base", [dict(type="Supervised"), FIXMATCH])
@pytest.mark.parametrize("name", ["LogitAdjustment", "Reweighting"])
def test_corrections_of_the_labeled_loss_change_nothing_else(name, base) -> None:
    given = Given()
    ours, theirs = given.step(build(name, base)), Given().step(plain(base))
    log_prob = given.logits["labeled"].astype(np.float64)
    if name == "LogitAdjustment":
        log_prob = log_prob + np.log(np.array(COUNTS) / 10)
    log_prob -= np.log(np.exp(log_prob).sum(1, keepdims=True))
    effective = (1 - 0.999 ** np.array(COUNTS)) / (1 - 0.999)
    weight = np.ones(3) if name == "LogitAdjustment" else 3 / effective / (1 / effective).sum()
    expected = -(weight * log_prob)[np.arange(LABELED), given.labels].mean()
    assert ours.parts["supervised"].item() == pytest.approx(expected, abs=1e-5)
    assert ours.parts.keys() == theirs.parts.keys()
    for part in theirs.parts.keys() - {"supervised"}:
        assert torch.equal(ours.parts[part], theirs.parts[part])


def test_a_correction_keeps_the_loss_of_its_base() -> None:
    base = dict(type="Matching", threshold=dict(type="FixedThreshold"))
    weighted = dict(type="SupervisedCrossEntropy", class_weight=[2.0, 2.0, 2.0])
    twice = Given().step(build("LogitAdjustment", {**base, "supervised_loss": weighted}))
    once = Given().step(build("LogitAdjustment", base))
    torch.testing.assert_close(twice.parts["supervised"], 2 * once.parts["supervised"])


def test_methods_nest() -> None:
    """The outermost head predicts; corrections reach the bottom, terms are added once each."""
    algorithm = build("ABC", dict(type="LogitAdjustment", base=dict(type="DASO", base=FIXMATCH, warmup=0.0)))
    assert isinstance(algorithm.matching, Matching)
    result = Given().step(algorithm, iteration=2)
    assert result.parts.keys() == {"supervised", "unsupervised", "semantic", "abc"}
    total = sum(result.parts.values())
    torch.testing.assert_close(result.loss.detach(), total)


def test_the_same_method_twice_is_refused() -> None:
    twice = dict(type="ABC", base=dict(type="ABC", base=FIXMATCH))
    with pytest.raises(UserError, match="two parts of the algorithm want a head named 'abc'"):
        SSLModel(SmallNet(), twice, dict(size=SIZE), num_classes=3)


@pytest.mark.parametrize("name", ["ABC", "TRAS", "CoSSL", "DASO", "LabelShift"])
def test_a_base_without_pseudo_labels_is_refused(name) -> None:
    with pytest.raises(UserError, match=f"{name} works on pseudo-labels, but Supervised makes none"):
        build(name, dict(type="Supervised"))


@pytest.mark.parametrize("name", ["ABC", "TRAS", "CoSSL", "DASO", "LabelShift"])
def test_a_base_whose_pseudo_labels_were_made_before_is_refused(name) -> None:
    with pytest.raises(
        UserError, match=f"{name} works on the weak views of each step, but NoisyStudent has none"
    ):
        build(name, dict(type="NoisyStudent"))


def test_a_base_without_a_supervised_loss_is_refused() -> None:
    base = Supervised()
    base.supervised_loss = torch.nn.Identity()
    with pytest.raises(UserError, match="corrects the supervised loss, but Supervised has none"):
        build("LogitAdjustment", base)


@pytest.mark.parametrize("name", [*HEADS, "DASO"])
def test_no_gradient_reaches_the_weak_view(name) -> None:
    given = Given()
    given.step(build(name, **({} if name == "ABC" else dict(warmup=0.0))), iteration=5).loss.backward()
    for leaf in (
        given.network.logits["weak"],
        given.network.features["weak"],
        *(h["weak"] for h in given.network.heads.values()),
    ):
        assert leaf.grad is None or not leaf.grad.any()
