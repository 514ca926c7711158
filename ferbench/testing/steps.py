"""A matching step from the outputs of a few views."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ferbench.contracts import Batch, MatchingStep, Output
from ferbench.testing.evidence import make_evidence
from ferbench.testing.recorded import RecordedNetwork


def make_step(
    outputs: Mapping[str, Output], weight: Any, target: Any = None, labels: Any = (0,), **further: Any
) -> MatchingStep:
    """What an extra term is given.

    Args:
        outputs: view -> output; ``weak`` must be among them, its logits make the evidence.
        weight: [B].
        target: [B] or [B, C]; None: the weak view's top class.
        labels: [L] of the labeled items.
        further: arguments of `make_evidence`.
    """
    weight, labels = torch.as_tensor(weight), torch.as_tensor(labels)
    probs = outputs["weak"].logits.detach().softmax(dim=1)
    evidence = make_evidence(probs, labels=labels, **further)
    batch = Batch({}, labels, labels, {}, evidence.index, evidence.labeled_index, evidence.iteration)
    target = probs.argmax(dim=1) if target is None else torch.as_tensor(target)
    network = RecordedNetwork({view: output.logits for view, output in outputs.items()})
    return MatchingStep(dict(outputs), batch, evidence, probs, target, weight, network)
