"""Which registered algorithm reproduces which recorded run; one entry per algorithm (and plug-in) of ``meta.json``."""

from __future__ import annotations

from typing import Any

from ferbench.testing.replay import Recipe

Hyper = dict[str, Any]


def _fixmatch(hp: Hyper) -> dict[str, Any]:
    # The recorded library drops the temperature of soft targets.
    return dict(type="FixMatch", threshold=hp["p_cutoff"], temperature=None if hp["hard_label"] else 1.0)


def _flexmatch(hp: Hyper) -> dict[str, Any]:
    return dict(type="FlexMatch", threshold=hp["p_cutoff"], warmup=hp["thresh_warmup"])


def _pseudolabel(hp: Hyper) -> dict[str, Any]:
    return dict(type="PseudoLabel", threshold=hp["p_cutoff"], ramp=hp["unsup_warm_up"])


#: (algorithm, plug-in on top of it or None) -> recipe.
RECIPES: dict[tuple[str, str | None], Recipe] = {
    ("fixmatch", None): Recipe(_fixmatch),
    ("flexmatch", None): Recipe(
        _flexmatch,
        state={
            "classwise_acc": lambda a: a.threshold.status,
            "selected_label": lambda a: a.threshold.record[:-1],
        },
    ),
    ("pseudolabel", None): Recipe(_pseudolabel),
}
