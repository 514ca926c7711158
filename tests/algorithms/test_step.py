"""The shared step: which model is the teacher, what aligns, which margins are added, what a term may bring along."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from ferbench.algorithms import Batch, Matching, MatchingStep, Supervised
from ferbench.alignments import AlignRule
from ferbench.errors import UserError
from ferbench.lifecycle import RunContext, bind
from ferbench.losses import ExtraTerm
from ferbench.losses.base import Consistency, SupervisedLoss
from ferbench.testing import RecordedNetwork
from ferbench.thresholds import Evidence, ThresholdRule

ITEMS, CLASSES = 4, 3


class Power(AlignRule):
    """``p^k`` renormalised, and a margin."""

    def __init__(self, k: float, margin: list[float] | None = None):
        super().__init__()
        self.k, self.own = k, margin

    def forward(self, evidence: Evidence) -> Tensor:
        raised = evidence.probs**self.k
        return raised / raised.sum(dim=1, keepdim=True)

    def margin(self) -> Tensor | None:
        return None if self.own is None else torch.tensor(self.own)


class Swap(AlignRule):
    """The first two classes change places."""

    def forward(self, evidence: Evidence) -> Tensor:
        return evidence.probs[:, [1, 0, 2]]


class Flipped(ExtraTerm):
    """Reads a view of its own making, and the labeled strong one."""

    name, weight = "flipped", 10.0
    labeled_views = ("strong",)
    needs_gradient = ("flipped",)

    def derived_views(self, batch: Batch) -> dict[str, Tensor]:
        return {"flipped": batch.unlabeled["strong"].flip(0)}

    def forward(self, step: MatchingStep) -> Tensor:
        assert "labeled_strong" in step.outputs
        return step.outputs["flipped"].logits.square().mean()


def make(**parts) -> Matching:
    algorithm = Matching(
        threshold=parts.pop("threshold", dict(type="FixedThreshold", threshold=0.0)), **parts
    )
    bind(algorithm, RunContext(CLASSES, num_labeled=2, num_unlabeled=9, max_iters=10, class_counts=(1, 1, 0)))
    return algorithm


def draw(*names: str, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {n: 2 * torch.randn(2 if "labeled" in n else ITEMS, CLASSES, generator=generator) for n in names}


def step(algorithm: Matching, network: RecordedNetwork):
    batch = Batch(
        labeled={view: torch.zeros(2, 1) for view in algorithm.views.labeled},
        target=torch.tensor([0, 1]),
        labels=torch.tensor([0, 1]),
        unlabeled={view: torch.zeros(ITEMS, 1) for view in algorithm.views.unlabeled},
        index=torch.arange(ITEMS),
        labeled_index=torch.arange(2),
        iteration=0,
    )
    return algorithm.step(network, batch)


def test_the_ema_model_judges() -> None:
    logits, teacher = draw("labeled", "weak", "strong"), draw("labeled", "weak", seed=1)
    algorithm = make(judge="ema")
    network = RecordedNetwork(logits, teacher=teacher)
    result = step(algorithm, network)
    torch.testing.assert_close(result.pseudo_labels.probs, teacher["weak"].softmax(dim=1))
    assert result.pseudo_labels.target.tolist() == teacher["weak"].argmax(dim=1).tolist()
    assert network.asked == [({"labeled", "strong"}, {"labeled", "strong"})]  # the student sees no weak view
    assert network.asked_teacher == [({"labeled", "weak"}, False)]
    expected = nn.functional.cross_entropy(logits["strong"], teacher["weak"].argmax(dim=1))
    torch.testing.assert_close(result.parts["unsupervised"], expected)


def test_who_else_judges() -> None:
    with pytest.raises(UserError, match="Matching got judge='teacher'"):
        make(judge="teacher")


def test_alignments_follow_each_other_and_the_raw_probabilities_stay() -> None:
    logits = draw("labeled", "weak", "strong")
    algorithm = make(alignment=[Power(2.0), Swap()])
    seen: list[Evidence] = []
    algorithm.threshold.register_forward_hook(lambda _module, args, _out: seen.append(args[0]))
    result = step(algorithm, RecordedNetwork(logits))
    raw = logits["weak"].softmax(dim=1)
    squared = raw.square() / raw.square().sum(dim=1, keepdim=True)
    torch.testing.assert_close(result.pseudo_labels.probs, squared[:, [1, 0, 2]])
    torch.testing.assert_close(seen[0].raw_probs, raw)
    assert result.pseudo_labels.target.tolist() == squared[:, [1, 0, 2]].argmax(dim=1).tolist()


def test_margins_are_added_to_the_logits_that_learn() -> None:
    logits = draw("labeled", "weak", "strong")
    margins = [[0.5, -1.0, 0.0], [0.0, 0.25, 2.0]]
    result = step(make(alignment=[Power(1.0, m) for m in margins]), RecordedNetwork(logits))
    shifted = logits["strong"] + torch.tensor([0.5, -0.75, 2.0])
    expected = nn.functional.cross_entropy(shifted, logits["weak"].argmax(dim=1))
    torch.testing.assert_close(result.parts["unsupervised"], expected)


def test_a_term_brings_views_of_its_own() -> None:
    logits = draw("labeled", "labeled_strong", "weak", "strong", "flipped")
    algorithm = make(terms=[Flipped()])
    assert algorithm.views.labeled == ("weak", "strong")
    assert algorithm.views.unlabeled == ("weak", "strong")
    network = RecordedNetwork(logits)
    result = step(algorithm, network)
    asked, learning = network.asked[0]
    assert asked == set(logits)
    assert learning == {"labeled", "strong", "flipped"}
    torch.testing.assert_close(result.parts["flipped"], logits["flipped"].square().mean())
    total = sum(result.parts[k] for k in ("supervised", "unsupervised")) + 10 * result.parts["flipped"]
    torch.testing.assert_close(result.loss.detach(), total)


def test_rules_see_the_embedding_that_is_named() -> None:
    logits = draw("labeled", "weak", "strong")
    vectors = {"weak": torch.rand(ITEMS, 5), "labeled": torch.rand(2, 5), "strong": torch.rand(ITEMS, 5)}
    algorithm = make(embedding="projection")
    seen: list[Evidence] = []
    algorithm.threshold.register_forward_hook(lambda _module, args, _out: seen.append(args[0]))
    step(algorithm, RecordedNetwork(logits, heads={"projection": vectors}))
    torch.testing.assert_close(seen[0].embedding, vectors["weak"])
    torch.testing.assert_close(seen[0].labeled_embedding, vectors["labeled"])
    assert not seen[0].embedding.requires_grad


class Statistics(RecordedNetwork):
    """Remembers which views counted in batch-norm's statistics."""

    def __call__(self, views, needs_gradient, update_statistics=True):
        self.counted = getattr(self, "counted", []) + [(set(views), update_statistics)]
        return super().__call__(views, needs_gradient, update_statistics)


def test_unlabeled_images_may_stay_out_of_batch_norm_statistics() -> None:
    logits = draw("labeled", "labeled_strong", "weak", "strong", "flipped")
    together, apart = Statistics(logits), Statistics(logits)
    expected = step(make(terms=[Flipped()]), together)
    result = step(make(terms=[Flipped()], unlabeled_statistics=False), apart)
    assert together.counted == [(set(logits), True)]
    assert apart.counted == [({"labeled", "labeled_strong"}, True), ({"weak", "strong", "flipped"}, False)]
    torch.testing.assert_close(result.loss, expected.loss)


def test_a_view_that_nobody_reads_is_not_passed() -> None:
    """A subclass may use its images otherwise."""
    algorithm = make()
    network = RecordedNetwork(draw("labeled", "weak", "strong"))
    batch = Batch(
        labeled={"weak": torch.zeros(2, 1)},
        target=torch.tensor([0, 1]),
        labels=torch.tensor([0, 1]),
        unlabeled={view: torch.zeros(ITEMS, 1) for view in ("weak", "strong", "strong2")},
        index=torch.arange(ITEMS),
        labeled_index=torch.arange(2),
        iteration=0,
    )
    algorithm.step(network, batch)
    assert network.asked == [({"labeled", "weak", "strong"}, {"labeled", "strong"})]


class Returning(ThresholdRule):
    """Whatever it is told to return."""

    def __init__(self, value) -> None:
        super().__init__()
        self.value = value

    def forward(self, evidence: Evidence) -> Tensor:
        return self.value

    margin = AlignRule.margin


@pytest.mark.parametrize(
    ("part", "value", "found", "expected"),
    [
        ("threshold", torch.ones(ITEMS, 1), "torch.float32 of shape (4, 1)", "numbers of shape (4,)"),
        ("threshold", torch.ones(()), "torch.float32 of shape ()", "numbers of shape (4,)"),
        ("threshold", torch.ones(ITEMS, dtype=torch.bool), "torch.bool of shape (4,)", "floating-point"),
        ("threshold", None, "NoneType", "numbers of shape (4,)"),
        ("alignment", torch.ones(ITEMS), "torch.float32 of shape (4,)", "numbers of shape (4, 3)"),
        ("alignment", torch.ones(ITEMS, CLASSES, dtype=torch.int64), "torch.int64 of shape (4, 3)", "floating"),
        ("target", torch.zeros(ITEMS, 1, dtype=torch.int64), "torch.int64 of shape (4, 1)", "shape (4,) or"),
        ("target", torch.zeros(ITEMS, dtype=torch.int32), "torch.int32 of shape (4,)", "int64"),
        ("target", torch.zeros(ITEMS), "torch.float32 of shape (4,)", "of shape (4, 3)"),
        ("target", [0] * ITEMS, "list", "int64"),
    ],
)  # fmt: skip
def test_what_a_rule_must_not_return(part, value, found, expected) -> None:
    with pytest.raises(UserError, match=f"Returning returned {re.escape(found)}") as caught:
        step(make(**{part: Returning(value)}), RecordedNetwork(draw("labeled", "weak", "strong")))
    assert f"model.algorithm.{part}" in str(caught.value)
    assert expected in caught.value.expected


@pytest.mark.parametrize(
    "target", [torch.zeros(ITEMS, dtype=torch.int64), torch.full((ITEMS, CLASSES), 1 / 3)]
)
def test_classes_and_shares_are_targets(target) -> None:
    result = step(make(target=Returning(target)), RecordedNetwork(draw("labeled", "weak", "strong")))
    assert result.pseudo_labels.target.equal(target)


def test_thresholds_that_are_not_per_class() -> None:
    rule = Returning(torch.ones(ITEMS))
    rule.thresholds = lambda: torch.tensor(0.5)
    network = RecordedNetwork(draw("labeled", "weak", "strong"))
    with pytest.raises(UserError, match=r"Returning\.thresholds\(\) returned torch.float32 of shape \(\)"):
        step(make(threshold=rule), network)
    rule.thresholds = lambda: torch.full((CLASSES,), 0.5)
    assert step(make(threshold=rule), network).pseudo_labels.thresholds.tolist() == [0.5] * CLASSES


def returning(base: type, value):
    """A part of a kind whose `forward` returns a value, whatever it is given."""

    class Odd(base):
        name, weight = "odd", 1.0

        def forward(self, *arguments):
            return value

    return Odd()


@pytest.mark.parametrize("place", ["supervised_loss", "consistency", "terms"])
@pytest.mark.parametrize(
    ("value", "says"),
    [
        (torch.ones(4), r"torch.float32 of shape \(4,\)"), (torch.ones(1), r"torch.float32 of shape \(1,\)"),
        (None, "NoneType"), (0.5, "float"), ((torch.tensor(1.0),), "tuple"), ({"loss": torch.tensor(1.0)}, "dict"),
        (torch.tensor(1), r"torch.int64 of shape \(\)"),
    ],
)  # fmt: skip
def test_a_loss_that_is_no_scalar_is_named(place, value, says) -> None:
    """A part of one's own that forgets the mean, or returns several things."""
    kind = {"supervised_loss": SupervisedLoss, "consistency": Consistency, "terms": ExtraTerm}[place]
    odd = returning(kind, value)
    algorithm = make(**{place: [odd] if place == "terms" else odd})
    with pytest.raises(UserError, match=f"Odd returned {says}") as error:
        step(algorithm, RecordedNetwork(draw("labeled", "weak", "strong")))
    assert error.value.where == f"model.algorithm.{place}"
    with pytest.raises(UserError, match="Odd returned"):
        step_of_supervised(returning(SupervisedLoss, value))


def step_of_supervised(loss: SupervisedLoss):
    algorithm = Supervised()
    algorithm.supervised_loss = loss
    bind(algorithm, RunContext(CLASSES, num_labeled=2, num_unlabeled=9, max_iters=10, class_counts=(1, 1, 0)))
    return step(algorithm, RecordedNetwork(draw("labeled")))
