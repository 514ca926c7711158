"""Does every trainable tensor learn? A tensor without a gradient fails no step and shows in no loss."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

from ferbench.models.ssl import PRECISIONS
from ferbench.testing.experiment import Experiment

STEPS = 3


def check_gradients(config: Mapping[str, Any], learn_later: Collection[str] = ()) -> None:
    """Check that all that an algorithm trains gets a finite gradient, and one that is not zero within three steps.

    In every precision that the CPU can compute with. Low precisions have a fault of their own: autocast's cache of cast
    weights may return one that was cast without a graph (torch 2.6 to 2.10).

    Args:
        config: of the algorithm.
        learn_later: names of trainable tensors, or their beginnings, that by definition start later than that.

    Raises:
        AssertionError: names the tensor and the precision.
    """
    for precision in PRECISIONS:
        if precision != "fp16" or _half_runs():
            _check(config, tuple(learn_later), precision)


def _check(config: Mapping[str, Any], learn_later: tuple[str, ...], precision: str) -> None:
    experiment = Experiment(config, precision=precision, batch_norm=True)
    trained = {n: p for n, p in experiment.model.named_parameters() if p.requires_grad}
    name = experiment.name
    unknown = [k for k in learn_later if not any(n.startswith(k) for n in trained)]
    assert not unknown, (
        f"{name}: learn_later names {unknown[0]}, which is not trained; known: {', '.join(trained)}"
    )
    learned: set[str] = set()
    for step in range(STEPS):
        experiment.step()
        for key, tensor in trained.items():
            if tensor.grad is None:
                continue
            finite = bool(tensor.grad.isfinite().all())
            # In fp16 a gradient may overflow once: the scale is halved, and the update left out.
            assert finite or precision == "fp16", (
                f"{name}, step {step}: the gradient of {key} is NaN or infinite; guard divisions, roots and logarithms"
            )
            if finite and tensor.grad.any():
                learned.add(key)
    starved = [key for key in trained if key not in learned and not key.startswith(learn_later)]
    assert not starved, (
        f"{name}: {', '.join(starved)} got no finite gradient but 0 in {STEPS} steps; name the view that needs one, detach "
        "less, let a loss use the head, guard divisions; or name in learn_later what by definition starts later"
    )
    early = [key for key in learn_later if any(n.startswith(key) for n in learned)]
    assert not early, f"{name}: {early[0]} gets a gradient at once; take it out of learn_later"


@cache
def _half_runs() -> bool:
    """Whether this CPU has convolutions in float16, forward and backward."""
    image, weight = (torch.ones(1, 1, 3, 3, dtype=torch.float16, requires_grad=True) for _ in "12")
    try:
        F.conv2d(image, weight).sum().backward()
    except RuntimeError:
        return False
    return True
