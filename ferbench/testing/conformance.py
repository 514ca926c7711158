"""One call that checks a rule or an algorithm against what the framework relies on; for your own tests.

    from ferbench.testing import check_algorithm, check_rule

    def test_conformance():
        check_rule(dict(type="TopShareThreshold", share=0.3))
        check_algorithm(dict(type="FixMatch", threshold=0.5))

A check that fails raises an AssertionError that says what is wrong and what to do about it.
"""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ferbench.contracts import Evidence, StepResult
from ferbench.core.parts import build
from ferbench.errors import UserError, described
from ferbench.lifecycle import Rule, RunContext, bind, parts_of
from ferbench.registry import ALIGNMENTS, TARGETS, THRESHOLDS
from ferbench.testing.evidence import make_evidence
from ferbench.testing.experiment import CLASSES, MAX_ITERS, Experiment
from ferbench.testing.gradients import check_gradients
from ferbench.testing.processes import RANKS, on_two_processes
from ferbench.testing.unsaved import alike, unsaved
from ferbench.testing.waits import Waits
from ferbench.thresholds.base import ThresholdRule

REGISTRIES = {"threshold": THRESHOLDS, "alignment": ALIGNMENTS, "target": TARGETS}
ITEMS, BATCH, LABELED = 30, 12, 8
STEPS = MAX_ITERS

Config = Mapping[str, Any]


def check_rule(config: Config, kind: str = "threshold") -> None:
    """Check a threshold, alignment or target rule.

    Shapes and dtypes, those of `ThresholdRule.thresholds` too; weights in [0, 1] or rows that sum to 1; no gradient;
    evidence left as it was; the same result twice, and after a checkpoint (``weights_only``), with no state outside it;
    rows that follow their items; a batch of one, certain, uniform and one-sided predictions; no reading back from the
    device at every step.

    Args:
        config: of the rule.
        kind: ``threshold``, ``alignment`` or ``target``.

    Raises:
        AssertionError: what is wrong, and what to do about it.
    """
    name = f"{kind} {config.get('type')}"
    first, second = _rule(config, kind), _rule(config, kind)
    waits = Waits(name)
    for step in range(4):
        given = _evidence(step)
        before = deepcopy(given)
        with waits.step():
            out = first(given)
            thresholds = first.thresholds() if isinstance(first, ThresholdRule) else None
        _check_output(out, given, kind, name)
        _check_thresholds(thresholds, name)
        for key, value in vars(before).items():
            assert alike(value, getattr(given, key)), (
                f"{name} changes evidence.{key} in place, which other parts see, too; work on a copy (.clone())"
            )
        _same(
            out,
            second(given),
            f"{name} gives another result the second time",
            "draw random numbers from seeds",
        )
    _pass(first)
    _pass(second)

    third = _rule(config, kind)
    third.load_state_dict(_through_a_file(first))
    given = _evidence(5)
    order = torch.randperm(BATCH, generator=torch.Generator().manual_seed(0))
    expected = _after_a_checkpoint(first, third, given, name)
    shuffled = Evidence(
        **{
            **vars(given),
            **{k: getattr(given, k)[order] for k in ("probs", "raw_probs", "index", "embedding")},
        }
    )
    _same(
        expected[order],
        second(shuffled),
        f"{name} gives an item another result when the rows of the batch change places",
        "treat items alike, whatever their place",
    )
    _pass(first)
    _pass(third)
    _after_a_checkpoint(first, third, _evidence(6), name)
    for what, edge in _edges():
        out = first(edge)
        _check_output(out, edge, kind, f"{name}, {what}")


def _after_a_checkpoint(first: Rule, third: Rule, given: Evidence, name: str) -> Tensor:
    """The next step of a rule, and of one that loaded its buffers."""
    out, other = first(given), third(given)
    _check_state(first, third, name)
    _same(out, other, f"{name} goes on differently after a checkpoint", "keep all state in buffers")
    return out


def _check_state(first: nn.Module, resumed: nn.Module, name: str) -> None:
    # First of all, for it says where the state is. A mask may be the same though the state is not.
    lost = unsaved(first, resumed)
    assert not lost, (
        f"{name} goes on differently after a checkpoint: {' and '.join(lost)} hold{'s' * (len(lost) == 1)} state that no "
        "checkpoint has; keep all state in buffers (register_buffer in bind, copy_ in forward)"
    )


def check_algorithm(*configs: Config, processes: bool = True, learn_later: Collection[str] = ()) -> None:
    """Check algorithms by a few steps of a small run each.

    Finite loss; detached log parts and pseudo-labels; weights in [0, 1]; the same run twice; exact continuation from a
    checkpoint (``weights_only``), with no state outside it; a batch of one, nothing selected, a class without labels;
    float32, bfloat16 and float16, and in each a finite gradient that is not zero for every trainable tensor within three
    steps; no reading back from the device at every step; the same weights and rule states from 1 and 2 processes.

    Args:
        configs: of the algorithms; several share the two processes, which take some seconds to start. These import the
            modules of the algorithms' parts, which need not be installed; a class of the program itself (``__main__``)
            or of a function cannot be imported.
        processes: whether to compare with two processes.
        learn_later: trainable tensors that by definition start later than in three steps, see
            `ferbench.testing.gradients.check_gradients`.

    Raises:
        AssertionError: what is wrong, and what to do about it.
        UserError: a part cannot be built, or a rule returned what `Matching` refuses in every run.
    """
    for config in configs:
        _check_steps(config)
        _check_edges(config)
        check_gradients(config, learn_later)
    if processes:
        check_processes(*configs)


def _check_steps(config: Config) -> None:
    name = f"algorithm {config.get('type')}"
    watched, waits = Experiment(config), Waits(name)
    for step in range(STEPS // 2):
        with waits.step():
            result = watched.loss()
        _check_result(result, f"{name}, step {step}")
        watched.step()

    first, second = _stepped(config, STEPS // 2), _stepped(config, STEPS // 2)
    _same_state(
        first.state(), second.state(), f"{name} gives another result the second time", "draw from seeds"
    )
    resumed = Experiment(config)
    resumed.model.load_state_dict(_through_a_file(first.model))
    resumed.optimizer.load_state_dict(deepcopy(first.optimizer.state_dict()))  # it would share its tensors
    resumed.iteration = first.iteration
    while first.iteration < STEPS:
        first.step()
        resumed.step()
    _check_state(first.model.algorithm, resumed.model.algorithm, name)
    _same_state(
        first.state(),
        resumed.state(),
        f"{name} goes on differently after a checkpoint",
        "keep all state in buffers",
    )


def _stepped(config: Config, steps: int) -> Experiment:
    experiment = Experiment(config)
    for _ in range(steps):
        experiment.step()
    return experiment


def _check_edges(config: Config) -> None:
    name = f"algorithm {config.get('type')}"
    edges = {
        "batch of one": Experiment(config, labeled_batch=1, unlabeled_batch=1),
        "nothing selected": Experiment(config, sharpness=0.0),
        "certain predictions": Experiment(config, sharpness=200.0),
        "bfloat16": Experiment(config, precision="bf16"),
    }
    for what, experiment in edges.items():
        for _ in range(3):
            _check_result(experiment.step(), f"{name}, {what}")
        bad = [k for k, p in experiment.model.network.named_parameters() if not p.isfinite().all()]
        assert not bad, f"{name}, {what}: the weights became NaN or infinite ({bad[0]})"
    experiment = Experiment(config)
    _check_result(
        experiment.loss(labels=torch.zeros_like(experiment.labels)), f"{name}, a class without labels"
    )


def _check_result(result: Any, name: str) -> None:
    assert isinstance(result, StepResult), (
        f"{name}: a step returned {described(result)}; a StepResult is expected"
    )
    assert result.loss.ndim == 0, (
        f"{name}: the loss has shape {tuple(result.loss.shape)}; reduce it to a scalar"
    )
    assert result.loss.isfinite(), f"{name}: the loss is {result.loss.item()}; guard divisions and logarithms"
    assert result.loss.requires_grad, f"{name}: the loss carries no gradient; name the views that need one"
    for part, value in result.parts.items():
        assert not value.requires_grad, f"{name}: part {part!r} of the log carries a gradient; detach it"
    found = result.pseudo_labels
    if found is None:
        return
    for what, value in (("target", found.target), ("weight", found.weight), ("probs", found.probs)):
        assert not value.requires_grad, f"{name}: the {what} of the pseudo-labels carries a gradient"
        assert value.isfinite().all(), f"{name}: the {what} of the pseudo-labels is NaN or infinite"
    assert found.weight.shape == found.probs.shape[:1], f"{name}: one weight per unlabeled item is expected"
    assert ((found.weight >= 0) & (found.weight <= 1)).all(), f"{name}: a weight lies outside [0, 1]"
    _check_thresholds(found.thresholds, name)


def check_processes(*configs: Config) -> None:
    """The part of `check_algorithm` that compares 1 and 2 processes."""
    modules = sorted({module for config in configs for module in _modules(config)})
    with on_two_processes(_train, [dict(c) for c in configs], modules) as folder:
        for number, config in enumerate(configs):
            expected = _stepped(config, STEPS).state()
            for rank in range(RANKS):
                state = torch.load(folder / f"{number}-{rank}.pth", weights_only=True)
                _same_state(
                    expected,
                    state,
                    f"algorithm {config.get('type')} gives another result on 2 processes than on 1",
                    "update state from the gathered batch; gather what a loss compares over rows (ferbench.distributed)",
                    exact=False,
                )


def _modules(config: Config) -> Iterator[str]:
    """The modules that register an algorithm's parts.

    Raises:
        AssertionError: a new process cannot import one of them.
    """
    for part in parts_of(Experiment(config).model.algorithm):
        module, name = type(part).__module__, type(part).__qualname__
        top = module.partition(".")[0]
        # Not importlib.util.find_spec: it knows what was imported, however that was done.
        importable = any(finder.find_spec(top, None) for finder in sys.meta_path)
        importable = importable and module != "__main__" and "<locals>" not in name
        assert importable, (
            f"two new processes cannot import {name} of {module}; move it into a module that they can import, or check "
            "without them (processes=False)"
        )
        yield module


def _train(rank: int, folder: Path, configs: list[dict[str, Any]], modules: list[str]) -> None:
    """What one of the processes does."""
    for module in modules:
        importlib.import_module(module)
    for number, config in enumerate(configs):
        state = {k: v.clone() for k, v in _stepped(config, STEPS).state().items()}
        torch.save(state, folder / f"{number}-{rank}.pth")


def _rule(config: Config, kind: str) -> Rule:
    if kind not in REGISTRIES:
        raise UserError(f"there is no kind of rule named {kind!r}", expected=" or ".join(REGISTRIES))
    rule = build(REGISTRIES[kind], dict(config), kind)
    bind(
        rule,
        RunContext(
            num_classes=CLASSES,
            num_labeled=LABELED,
            num_unlabeled=ITEMS,
            max_iters=100,
            class_counts=(4, 2, 1, 1),
            labeled_batch=LABELED,
            unlabeled_batch=BATCH,
        ),
    )
    return rule


def _pass(rule: Rule) -> None:
    """The passes over the data sets that the rule asks for."""
    probs = _evidence(9).probs
    if rule.labeled_pass is not None:
        rule.see_labeled(probs[:LABELED], probs[:LABELED].argmax(dim=1), torch.arange(LABELED))
        rule.finish_labeled_pass()
    if rule.unlabeled_pass is not None:
        rule.see_unlabeled(probs, torch.arange(len(probs)))
        rule.finish_unlabeled_pass()


def _evidence(step: int, size: int = BATCH, scale: float = 3.0) -> Evidence:
    generator = torch.Generator().manual_seed(step)
    logits = scale * torch.randn(size, CLASSES, generator=generator)
    labeled = scale * torch.randn(LABELED, CLASSES, generator=generator)
    return make_evidence(
        logits.softmax(dim=1),
        index=torch.randperm(ITEMS, generator=generator)[:size],
        labeled_probs=labeled.softmax(dim=1),
        labels=torch.arange(8) % CLASSES,
        iteration=step,
        embedding=nn.functional.normalize(torch.randn(size, 5, generator=generator), dim=1),
        labeled_embedding=nn.functional.normalize(torch.randn(8, 5, generator=generator), dim=1),
    )


def _edges() -> Iterator[tuple[str, Evidence]]:
    yield "a batch of one", _evidence(10, size=1)
    yield "certain predictions", _evidence(11, scale=1e4)
    yield "uniform predictions", _evidence(12, scale=0.0)
    one_sided = _evidence(13)
    only = torch.zeros(BATCH, CLASSES)
    only[:, 1] = 1.0
    yield "all items of one class", Evidence(**{**vars(one_sided), "probs": only, "raw_probs": only})


def _check_thresholds(found: Any, name: str) -> None:
    good = isinstance(found, Tensor) and found.shape == (CLASSES,) and found.is_floating_point()
    assert found is None or good, (
        f"{name}: thresholds() returned {described(found)}; a floating-point number per class is expected, "
        f"{(CLASSES,)} here (scalar.expand(C)), or None"
    )


def _check_output(out: Any, given: Evidence, kind: str, name: str) -> None:
    size = len(given.probs)
    assert isinstance(out, Tensor), (
        f"{name} returned {described(out)}; a tensor with a row per item is expected"
    )
    assert out.ndim, f"{name} returned a scalar; a row per item is expected, here {size}"
    assert len(out) == size, f"{name}: {len(out)} rows for {size} items"
    assert not out.requires_grad, f"{name}: the result carries a gradient"
    assert out.isfinite().all(), f"{name}: the result is NaN or infinite; guard divisions and logarithms"
    if kind == "threshold":
        assert out.shape == (size,), f"{name}: shape {tuple(out.shape)}, one weight per item is expected"
        assert out.is_floating_point(), f"{name}: {out.dtype}, weights are floating-point numbers"
        assert ((out >= 0) & (out <= 1)).all(), f"{name}: a weight lies outside [0, 1]"
        return
    if kind == "target" and not out.is_floating_point():
        assert out.shape == (size,), f"{name}: shape {tuple(out.shape)}, one class per item is expected"
        assert out.dtype == torch.int64, f"{name}: {out.dtype}, classes are int64"
        assert ((out >= 0) & (out < CLASSES)).all(), f"{name}: a class lies outside [0, {CLASSES})"
        return
    assert out.shape == (size, CLASSES), f"{name}: shape {tuple(out.shape)}, expected {(size, CLASSES)}"
    sums = out.sum(dim=1)
    assert ((sums - 1).abs() < 1e-4).all(), (
        f"{name}: rows sum to {sums.min():.4f} .. {sums.max():.4f}, not to 1"
    )


def _through_a_file(module: nn.Module) -> dict[str, Tensor]:
    stream = io.BytesIO()
    torch.save(module.state_dict(), stream)
    stream.seek(0)
    return torch.load(stream, weights_only=True)


def _same(first: Tensor, second: Tensor, what: str, fix: str) -> None:
    assert first.shape == second.shape, (
        f"{what} (shapes {tuple(first.shape)} and {tuple(second.shape)}); {fix}"
    )
    assert torch.allclose(first.float(), second.float(), atol=1e-6, equal_nan=True), f"{what}; {fix}"


def _same_state(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], what: str, fix: str, exact: bool = True
) -> None:
    assert first.keys() == second.keys(), f"{what}: other tensors; {fix}"
    tolerance = 0.0 if exact else 1e-5
    for key, ours in first.items():
        same = torch.allclose(
            ours.float(), second[key].float(), rtol=tolerance, atol=tolerance, equal_nan=True
        )
        assert same, f"{what}: {key}; {fix}"
