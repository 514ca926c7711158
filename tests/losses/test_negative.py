"""Terms that say what an item is not, against NumPy and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ferbench.algorithms import MatchingStep
from ferbench.contracts import Output
from ferbench.errors import UserError
from ferbench.functional.losses import complement_log_probs, keep_largest
from ferbench.lifecycle import RunContext
from ferbench.registry import LOSSES
from ferbench.testing import RecordedNetwork, make_step

CONTEXT = RunContext(4, num_labeled=4, num_unlabeled=9, max_iters=10, class_counts=(1, 1, 1, 1))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def term(name: str, **options):
    built = LOSSES.build(dict(type=name, **options))
    built.bind(CONTEXT)
    return built


def rows(seed: int, count: int, width: int = 4) -> torch.Tensor:
    return torch.from_numpy(2 * np.random.default_rng(seed).normal(size=(count, width))).float()


class TestComplement:
    """log(1 - p)."""

    def test_against_numpy(self) -> None:
        logits = rows(0, 20, 5)
        expected = np.log1p(-softmax(logits.numpy().astype(np.float64)))
        np.testing.assert_allclose(complement_log_probs(logits), expected, rtol=1e-5, atol=1e-6)

    def test_of_a_certain_class(self) -> None:
        """1 - p is 2 e^-50, which float32 takes for 0; the gradient still says where to go."""
        logits = torch.tensor([[50.0, 0.0, 0.0]], requires_grad=True)
        value = complement_log_probs(logits)[0, 0]
        assert value.item() == pytest.approx(np.log(2) - 50, rel=1e-6)
        value.backward()
        torch.testing.assert_close(logits.grad, torch.tensor([[-1.0, 0.5, 0.5]]))


def test_largest_entries() -> None:
    probs = torch.tensor([[0.1, 0.4, 0.2, 0.3], [0.25, 0.25, 0.25, 0.25]])
    assert keep_largest(probs, 2).tolist() == [[False, True, False, True], [True] * 4]


class TestSelectiveNegativeLearning:
    """Our reading of SNL."""

    def test_by_hand(self) -> None:
        """Level 0.1. Item 0 is selected; item 1 is hardly class 2 or 3; item 2 may be anything."""
        weak = torch.log(torch.tensor([[0.91, 0.03, 0.03, 0.03], [0.6, 0.28, 0.07, 0.05], [0.25] * 4]))
        strong = torch.log(torch.tensor([[0.25] * 4, [0.2, 0.1, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4]]))
        strong.requires_grad_()
        outputs = {
            view: Output(logits, torch.zeros(3, 1)) for view, logits in (("weak", weak), ("strong", strong))
        }
        value = term("SelectiveNegativeLearning", level=0.1)(make_step(outputs, [1.0, 0.0, 0.0]))
        assert value.item() == pytest.approx(-(np.log(0.7) + np.log(0.6)) / 2 / 3, abs=1e-6)
        value.backward()
        assert (strong.grad.abs().sum(dim=1) > 0).tolist() == [False, True, False]
        assert strong.grad[1, 2:].min() > 0 > strong.grad[1, :2].max()  # away from the negative classes

    def test_it_learns_from_the_judge_and_not_from_the_view(self) -> None:
        """Judged by other probabilities (those of the EMA model, or aligned ones)."""
        outputs = {view: Output(rows(i, 5), torch.zeros(5, 1)) for i, view in enumerate(("weak", "strong"))}
        judged = torch.tensor([0.9, 0.04, 0.03, 0.03]).repeat(5, 1)
        step = replace(make_step(outputs, [0.0] * 5), probs=judged)
        p = softmax(outputs["strong"].logits.numpy().astype(np.float64))
        value = term("SelectiveNegativeLearning", level=0.035)(step)
        assert value.item() == pytest.approx(-np.log(1 - p[:, 2:]).mean(), abs=1e-6)

    def test_views(self) -> None:
        built = term("SelectiveNegativeLearning")
        assert (built.name, built.weight, built.views, built.needs_gradient) == (
            "negative",
            1.0,
            ("strong",),
            ("strong",),
        )

    @pytest.mark.parametrize("level", [0.0, 0.26, -1])
    def test_level(self, level) -> None:
        with pytest.raises(UserError, match="SelectiveNegativeLearning got level") as caught:
            term("SelectiveNegativeLearning", level=level)
        assert "at most 1 / 4" in caught.value.expected


class TestTrueNegativeConsistency:
    """MutexMatch's second classifier."""

    SIZES = {"labeled": 2, "weak": 5, "strong": 5}

    @pytest.fixture
    def outputs(self) -> dict[str, Output]:
        made = {}
        for seed, (view, size) in enumerate(self.SIZES.items()):
            logits, features, negative = (rows(10 * seed + i, size, w) for i, w in enumerate((4, 3, 4)))
            made[view] = Output(
                logits.requires_grad_(),
                features.requires_grad_(),
                {"true_negative": negative.requires_grad_()},
            )
        return made

    @pytest.fixture
    def step(self, outputs) -> MatchingStep:
        """Two of five items selected, one half; the head is a linear layer."""
        torch.manual_seed(0)
        self.head = torch.nn.Linear(3, 4)
        network = RecordedNetwork(
            {v: o.logits for v, o in outputs.items()}, layers={"true_negative": self.head}
        )
        return replace(make_step(outputs, [1.0, 0.0, 0.0, 0.5, 1.0], labels=(0, 1)), network=network)

    @pytest.mark.parametrize("degree", [None, 2, 4])
    def test_against_numpy(self, degree, outputs, step) -> None:
        built = term("TrueNegativeConsistency", degree=degree)
        value = built(step)

        features = np.concatenate([outputs[v].features.detach().numpy() for v in self.SIZES])
        logits = np.concatenate([outputs[v].logits.detach().numpy() for v in self.SIZES])
        weight, bias = (p.detach().numpy().astype(np.float64) for p in self.head.parameters())
        r = softmax(features @ weight.T + bias)
        separation = -np.log(r[np.arange(12), logits.argmin(axis=1)]).mean()

        weak, strong = (
            outputs[v].heads["true_negative"].detach().numpy().astype(np.float64) for v in ("weak", "strong")
        )
        target = softmax(weak)
        if degree is not None:
            for i in range(5):
                for c in np.argsort(target[i])[: 4 - degree]:
                    target[i, c] = strong[i, c] = 0.0
        agreement = -(target * np.log(softmax(strong))).sum(axis=1) * np.array([0, 1, 1, 0.5, 0])
        assert value.item() == pytest.approx(separation + agreement.mean(), abs=1e-5)

    def test_gradients(self, outputs, step) -> None:
        """The head learns from every image and gives nothing back to the features, the strong view of the unselected
        items learns from the weak one, the first classifier learns nothing."""
        term("TrueNegativeConsistency")(step).backward()
        assert all(p.grad.abs().sum() > 0 for p in self.head.parameters())
        for output in outputs.values():
            assert output.logits.grad is None
            assert output.features.grad is None
        assert outputs["labeled"].heads["true_negative"].grad is None
        assert outputs["weak"].heads["true_negative"].grad is None
        moved = outputs["strong"].heads["true_negative"].grad.abs().sum(dim=1) > 0
        assert moved.tolist() == [False, True, True, True, False]

    def test_what_it_asks_for(self) -> None:
        built = term("TrueNegativeConsistency")
        head = built.heads(num_features=7, num_classes=4)["true_negative"]
        assert (head.in_features, head.out_features) == (7, 4)
        assert (built.views, built.needs_gradient) == (("weak", "strong"), ("strong",))

    @pytest.mark.parametrize("degree", [0, 5])
    def test_degree(self, degree) -> None:
        with pytest.raises(UserError, match="TrueNegativeConsistency got degree"):
            term("TrueNegativeConsistency", degree=degree)
