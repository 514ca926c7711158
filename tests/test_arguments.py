"""A number or a name that a part has no meaning for is refused, whatever the part."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest

from ferbench import lifecycle
from ferbench.algorithms.rebalancing import Rebalancing
from ferbench.arguments import COUNT, POSITIVE, SHARE, check_choice, check_numbers
from ferbench.errors import UserError
from ferbench.lifecycle import RunContext
from ferbench.registry import ALGORITHMS, ALIGNMENTS, LOSSES, TARGETS, THRESHOLDS

KINDS = (THRESHOLDS, ALIGNMENTS, TARGETS, LOSSES, ALGORITHMS)
CONTEXT = RunContext(
    4, num_labeled=8, num_unlabeled=16, max_iters=1000, class_counts=(2,) * 4, labeled_batch=4
)
#: Arguments that are shares wherever they occur.
SHARES = {
    "cap", "contrast_threshold", "floor", "init", "low", "momentum", "quantile", "ramp", "share", "smoothing",
    "threshold", "minimum",
}  # fmt: skip
#: `LabeledConsistency` is subtracted; TRAS' target is made with any A and B.
MAY_BE_NEGATIVE = {("LabeledConsistency", "weight")} | {
    (name, argument) for name in ("TRAS", "TransferLoss") for argument in ("scale", "offset")
}
#: Weights of a term that an algorithm has only if the weight is not 0; None is 0 here.
OPTIONAL_TERMS = {"entropy", "fairness", "rotation"}


def needed(cls: type) -> dict:
    """Arguments that it cannot do without."""
    if issubclass(cls, Rebalancing):
        return dict(base=dict(type="FixMatch"))
    return dict(threshold=dict(type="FixedThreshold")) if cls.__name__ == "Matching" else {}


def numeric_arguments() -> list:
    """Every argument of a shipped part that is annotated as a number."""
    return [
        pytest.param(registry, cls, argument.name, id=f"{cls.__name__}.{argument.name}")
        for registry in KINDS
        for name in registry.names()
        if (cls := registry.get(name)).__module__.startswith("ferbench.")
        for argument in inspect.signature(cls).parameters.values()
        if str(argument.annotation).split(" | ")[0] in ("float", "int")
    ]


def make(registry, cls: type, **options) -> None:
    """Build and bind it, as a run does before its first step."""
    part = registry.build(dict(type=cls.__name__, **needed(cls), **options))
    for inner in lifecycle.parts_of(part):
        inner.heads(3, CONTEXT.num_classes)
    lifecycle.bind(part, CONTEXT)


@pytest.mark.parametrize(("registry", "cls", "argument"), numeric_arguments())
def test_every_numeric_argument_refuses_what_has_no_meaning(registry, cls, argument) -> None:
    bad = [math.nan, math.inf, "0.5", True]
    if (cls.__name__, argument) not in MAY_BE_NEGATIVE:
        bad.append(-1)
    if argument in SHARES:
        bad += [1.5, 95]
    if inspect.signature(cls).parameters[argument].default is not None and argument not in OPTIONAL_TERMS:
        bad.append(None)
    for value in bad:
        with pytest.raises(UserError, match="got ") as caught:
            make(registry, cls, **{argument: value})
        assert caught.value.expected


@pytest.mark.parametrize(
    "name", ["SupervisedCrossEntropy", "ConsistencyCrossEntropy", "AnnealedCrossEntropy"]
)
@pytest.mark.parametrize(
    ("class_weight", "says"),
    [
        (2.0, r"class_weight=2\.0"),
        ("1234", "class_weight='1234'"),
        ([1, 1, -1, 1], r"class_weight\[2\]=-1"),
        ([1, math.nan, 1, 1], r"class_weight\[1\]=nan"),
        ([1, 1, 1, "1"], r"class_weight\[3\]='1'"),
        ([1, 1, 1], "a class_weight of 3 numbers"),
    ],
)
def test_factors_of_the_classes(name, class_weight, says) -> None:
    with pytest.raises(UserError, match=says):
        make(LOSSES, LOSSES.get(name), class_weight=class_weight)


@pytest.mark.parametrize("name", ["SAW", "SSMFAR"])
def test_factors_of_other_classes_in_a_method(name) -> None:
    loss = dict(type="SupervisedCrossEntropy", class_weight=[1, 2, 3])
    options = dict(supervised_loss=loss)
    config = (
        dict(type="SAW", base=dict(type="FixMatch", **options))
        if name == "SAW"
        else dict(type=name, **options)
    )
    algorithm = ALGORITHMS.build(config)
    with pytest.raises(UserError, match="SupervisedCrossEntropy got a class_weight of 3 numbers"):
        lifecycle.bind(algorithm, CONTEXT)


def test_many_arguments_are_covered() -> None:
    names = {param.id for param in numeric_arguments()}
    assert {"FixedThreshold.threshold", "DynamicThreshold.cap", "EMAAlignment.momentum"} <= names
    assert {
        "FixMatch.threshold",
        "MixMatch.lambda_u",
        "EntropyTerm.weight",
        "SoftTarget.temperature",
    } <= names


@pytest.mark.parametrize(
    ("allowed", "value", "meant"),
    [
        (SHARE, 95, "did you mean 0.95?"),
        (SHARE, "0.95", "did you mean 0.95?"),
        (SHARE, "95", "did you mean 0.95?"),
        (SHARE, "high", None),
        (SHARE, math.nan, None),
        (SHARE, -0.5, None),
        (COUNT, 5.0, "did you mean 5?"),
        (COUNT, "7", "did you mean 7?"),
        (COUNT, 2.5, None),
        (COUNT, [1], None),
        (POSITIVE, 0, None),
    ],
)
def test_message(allowed, value, meant) -> None:
    with pytest.raises(UserError) as caught:
        check_numbers(object(), allowed, x=value)
    assert caught.value.what == f"object got x={value!r}"
    assert caught.value.expected == allowed.words
    assert caught.value.fix == meant


def test_numbers_of_any_type_within_the_bounds_are_allowed() -> None:
    check_numbers(object(), SHARE, a=0, b=1, c=0.5, d=np.float32(0.5), e=np.int64(1))
    check_numbers(object(), COUNT, a=1, b=np.int64(3), c=10**9)
    check_numbers(object(), POSITIVE, a=1e9, b=5e-324)
    check_numbers(object(), COUNT, or_none=True, a=None)


def test_choice() -> None:
    check_choice(object(), ("soft", "hard"), x="hard")
    with pytest.raises(UserError, match="object got x='sotf'") as caught:
        check_choice(object(), ("soft", "hard"), x="sotf")
    assert (caught.value.expected, caught.value.fix) == ("soft or hard", "did you mean 'soft'?")


@pytest.mark.parametrize("options", [dict(weights="teacher"), dict(view="strong"), dict(max_items=0)])
@pytest.mark.parametrize("name", ["DynamicThreshold", "AdshThreshold", "DashThreshold"])
def test_pass_over_a_data_set_that_nobody_can_make(name, options) -> None:
    """Any other name of a model was taken for the student."""
    with pytest.raises(UserError, match="got "):
        make(THRESHOLDS, THRESHOLDS.get(name), **options)
