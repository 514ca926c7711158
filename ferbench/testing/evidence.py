"""One step's evidence from a few numbers."""

from __future__ import annotations

from typing import Any

import torch

from ferbench.contracts import Evidence


def make_evidence(
    probs: Any,
    index: Any = None,
    labeled_probs: Any = None,
    labels: Any = (0,),
    iteration: int = 0,
    raw_probs: Any = None,
    **further: Any,
) -> Evidence:
    """Evidence of one step; what is not given is uninteresting.

    Args:
        probs: [B, C], an array or nested lists.
        index: [B]; None: 0, 1, ...
        labeled_probs: [L, C]; None: uniform.
        labels: [L].
        iteration: 0 at the first step.
        raw_probs: [B, C]; None: as ``probs``.
        further: other attributes of `Evidence`.
    """
    probs, labels = torch.as_tensor(probs), torch.as_tensor(labels)
    if labeled_probs is None:
        labeled_probs = torch.full((len(labels), probs.shape[1]), 1 / probs.shape[1])
    return Evidence(
        probs=probs,
        raw_probs=probs if raw_probs is None else torch.as_tensor(raw_probs),
        index=torch.arange(len(probs)) if index is None else torch.as_tensor(index),
        labeled_probs=torch.as_tensor(labeled_probs),
        labels=labels,
        labeled_index=further.pop("labeled_index", torch.arange(len(labels))),
        iteration=iteration,
        **further,
    )
