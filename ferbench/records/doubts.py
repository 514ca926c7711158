"""What makes a run doubtful, by its own log: one that has learned nothing looks like any other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

BEGUN = 0.1  # of the steps, after which a loss should be below that of guessing
TRIAL = 100  # runs of fewer steps try something out, and are not to learn


def doubts(entries: Sequence[Mapping[str, Any]], classes: Sequence[str], max_iters: int) -> list[str]:
    """Sentences about a run that has not begun to learn.

    Args:
        entries: of its log, as `ferbench.viz.runlog.read_metrics` returns them.
        classes: names, C.
        max_iters: steps of the run.

    Returns:
        One where the last validation predicts the same class for every image, and one where the supervised loss has stayed
        above ln C, that of guessing, since a tenth of the steps. None of a run of fewer than 100 steps.

    Example:
        >>> doubts([{"kind": "train", "iter": 90, "losses": {"supervised": 0.8}}], ("a", "b"), 100)
        ['the supervised loss is 0.80 after 90 of 100 steps, no better than guessing (ln 2 = 0.69)']
    """
    if max_iters < TRIAL:
        return []
    found = []
    last = next((e for e in reversed(entries) if e.get("kind") == "val"), None)
    confusion = ((last or {}).get("raw") or {}).get("confusion")
    if last is not None and confusion:
        predicted = [i for i, column in enumerate(zip(*confusion, strict=True)) if any(column)]
        if len(predicted) == 1:
            found.append(
                f"validation after {last['iter']} steps predicts {classes[predicted[0]]!r} for every image"
            )
    guessing = math.log(len(classes))
    losses = [
        (e["iter"], e["losses"].get("supervised", e["losses"].get("loss")))
        for e in entries
        if e.get("kind") == "train" and e["iter"] >= BEGUN * max_iters
    ]
    if losses and all(loss is not None and loss > guessing for _, loss in losses):
        step, loss = losses[-1]
        found.append(
            f"the supervised loss is {loss:.2f} after {step} of {max_iters} steps, no better than guessing "
            f"(ln {len(classes)} = {guessing:.2f})"
        )
    return found
