"""The terms of CoMatch and SimMatch on a step of their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ferbench import testing
from ferbench.algorithms import MatchingStep
from ferbench.contracts import Output
from ferbench.lifecycle import RunContext, bind
from ferbench.losses import ExtraTerm
from ferbench.registry import LOSSES

ITEMS, LABELED, CLASSES, DIM = 5, 3, 4, 6


def make(name: str, **options) -> ExtraTerm:
    term = LOSSES.build(dict(type=name, **options))
    context = RunContext(
        CLASSES, num_labeled=4, num_unlabeled=9, max_iters=10, class_counts=(1,) * 4, labeled_batch=LABELED
    )
    bind(term, context)
    return term


def draw(seed: int, rows: int = ITEMS) -> torch.Tensor:
    """Embeddings."""
    return F.normalize(torch.randn(rows, DIM, generator=torch.Generator().manual_seed(seed)), dim=1)


def make_step(iteration: int = 0, seed: int = 0) -> MatchingStep:
    views = ("weak", "strong", "strong2")
    logits = torch.randn(3, ITEMS, CLASSES, generator=torch.Generator().manual_seed(seed))
    heads = [draw(10 * seed + i).requires_grad_() for i in range(3)]
    outputs = {
        view: Output(logits[i], torch.zeros(ITEMS, 1), {"projection": heads[i]})
        for i, view in enumerate(views)
    }
    further = dict(embedding=heads[0].detach(), labeled_embedding=draw(99 + seed, LABELED))
    return testing.make_step(outputs, [1.0] * ITEMS, labels=[0, 1, 2], iteration=iteration, **further)


def test_graph_contrast_against_numpy() -> None:
    step = make_step()
    term = make("GraphContrast", threshold=0.3, temperature=0.5, dim=DIM)
    probs = step.evidence.probs.double().numpy()
    graph = probs @ probs.T
    np.fill_diagonal(graph, 1)
    graph[graph < 0.3] = 0
    assert ITEMS < (graph > 0).sum() < ITEMS**2
    first, second = (step.outputs[v].heads["projection"].detach().double().numpy() for v in term.views)
    e = np.exp(first @ second.T / 0.5)
    expected = -(graph / graph.sum(1, keepdims=True) * np.log(e / e.sum(1, keepdims=True))).sum(1).mean()
    value = term(step)
    assert value.item() == pytest.approx(expected, abs=1e-5)
    value.backward()
    assert step.outputs["weak"].heads["projection"].grad is None
    for view in ("strong", "strong2"):
        assert step.outputs[view].heads["projection"].grad.abs().sum() > 0


def test_instance_similarity_against_numpy() -> None:
    """Its own bank: filled by the first step, used from the second on, with the probabilities as they came."""
    term = make("InstanceSimilarity", bank=dict(temperature=0.5, momentum=0.0, dim=DIM, start=1))
    first, second = make_step(0), make_step(1, seed=1)
    assert term(first).item() == 0
    value = term(second)

    keys, labels = first.evidence.labeled_embedding.double().numpy(), [0, 1, 2]
    weak, strong = (
        second.outputs[v].heads["projection"].detach().double().numpy() for v in ("weak", "strong")
    )
    target = np.exp(weak @ keys.T / 0.5) * second.evidence.probs.double().numpy()[:, labels]
    target /= target.sum(1, keepdims=True)
    e = np.exp(strong @ keys.T / 0.5)
    expected = -(target * np.log(e / e.sum(1, keepdims=True))).sum(1).mean()
    assert value.item() == pytest.approx(expected, abs=1e-5)
    value.backward()  # although the bank was written meanwhile
    assert second.outputs["strong"].heads["projection"].grad.abs().sum() > 0
    assert second.outputs["weak"].heads["projection"].grad is None
    assert term.bank.labels.tolist() == [0, 1, 2, -1, -1]


def test_instance_target_is_of_the_probabilities_before_smoothing() -> None:
    term = make("InstanceSimilarity", bank=dict(momentum=0.0, dim=DIM, start=0))
    other = make("InstanceSimilarity", bank=dict(momentum=0.0, dim=DIM, start=0))
    for each in (term, other):
        each(make_step(0))
    step = make_step(1, seed=1)
    smoothed = step.evidence.probs.flip(1)
    term.bank.neighbours(step.evidence)  # as the smoothing rule does first
    value = term(replace(step, evidence=replace(step.evidence, probs=smoothed)))
    assert value.item() == pytest.approx(other(step).item(), abs=1e-6)


@pytest.mark.parametrize("name", ["GraphContrast", "InstanceSimilarity"])
def test_one_item(name) -> None:
    options = dict(bank=dict(dim=DIM, start=0)) if name == "InstanceSimilarity" else dict(dim=DIM)
    term = make(name, **options)
    outputs = {
        view: Output(torch.zeros(1, CLASSES), torch.zeros(1, 1), {"projection": draw(i, 1).requires_grad_()})
        for i, view in enumerate(("weak", "strong", "strong2"))
    }
    further = dict(embedding=draw(0, 1), labeled_embedding=draw(1, 1))
    value = term(testing.make_step(outputs, [0.0], labels=[1], **further))
    assert value.isfinite()
    value.backward()
    assert outputs["strong"].heads["projection"].grad.isfinite().all()
