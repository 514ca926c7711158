"""The live panel in TensorBoard: one chart for all classes, under "Custom Scalars"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ferbench.core.text import tags

BACKEND = "TensorboardVisBackend"
Layout = dict[str, dict[str, list[Any]]]


def layout(classes: Sequence[str]) -> Layout:
    """Charts of the scalars that `ferbench.engine.hooks.monitor.PseudoLabelMonitor` writes.

    Args:
        classes: names, in the order of the network's outputs.

    Returns:
        Category -> chart -> [kind, tags], as ``SummaryWriter.add_custom_scalars`` takes it; tags are regular expressions.
    """

    def per_class(key: str, *more: str) -> list[Any]:
        return [
            "Multiline",
            [*(f"^{key}/{re.escape(name)}$" for name in tags(classes)), *(f"^{m}$" for m in more)],
        ]

    return {
        "Pseudo-labels": {
            "threshold": per_class("threshold"),
            "utilization": per_class("utilization", "utilization_mean"),
            "purity": per_class("purity", "purity_mean"),
            "share of each class": per_class("pseudo_label_share"),
            "confidence": ["Multiline", [r"^confidence/.*"]],
        },
        "Scores": {"validation macro-F1": ["Multiline", [r"^val/raw/macro_f1$", r"^val/ema/macro_f1$"]]},
    }


def add_layout(visualizer: Any, classes: Sequence[str]) -> None:
    """Tell the run's TensorBoard back-end, if it has one, how to lay out its charts.

    Args:
        visualizer: mmengine's.
        classes: see `layout`.
    """
    backend = visualizer.get_backend(BACKEND)
    if backend is not None:
        backend.experiment.add_custom_scalars(layout(classes))
