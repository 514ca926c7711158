"""Every plug point of ferbench on one page.

Each registry is a child of mmengine's registry of the same kind, with scope ``ferbench``; siblings are reached by their
scope (``type='mmpretrain.ResNet'``). Built-in parts are imported on the first look-up, plug-ins of installed packages
when a name is not found among them (see `ferbench.core.plugins`).
"""

from __future__ import annotations

from typing import Any

import mmengine.registry as mm

from ferbench.core import plugins
from ferbench.errors import UserError, nearest


class Registry(mm.Registry):
    """mmengine's registry, whose failed look-up says what would have been right."""

    def get(self, key: str) -> Any:
        """The class or function registered as ``key``.

        Raises:
            UserError: nothing of that name exists; names the nearest ones and the plug-ins that failed to import.
        """
        found = super().get(key)
        if found is None:
            plugins.load_entry_points()
            found = super().get(key)
        if found is None and self.scope == "ferbench":
            raise UserError(
                f"there is no {self.kind} named {key!r}",
                expected=nearest(key, [*self.names(), *self._inherited()]),
                fix=plugins.failure_report()
                or "`ferbench list` shows every registered name and where it comes from",
            )
        return found

    def _inherited(self) -> list[str]:
        """Names of mmengine's own parts, where they are of use here."""
        return sorted(self.parent.module_dict) if self.parent is not None else []

    @property
    def kind(self) -> str:
        """What one entry is called in messages and in ``ferbench list``."""
        return self.name.replace("_", " ")

    def names(self) -> list[str]:
        """Names registered here (not in parents), built-in parts included."""
        self.import_from_location()
        return sorted(self.module_dict)


def _child(name: str, parent: mm.Registry | None, *locations: str) -> Registry:
    return Registry(name, parent=parent, scope="ferbench", locations=[f"ferbench.{loc}" for loc in locations])


DATASETS = _child("dataset", mm.DATASETS, "data.datasets")
TRANSFORMS = _child("transform", mm.TRANSFORMS, "data.augment")
SPLITS = _child("split", None, "data.splits")
MODELS = _child("model", mm.MODELS, "models")
ALGORITHMS = _child("algorithm", None, "algorithms")
ALIGNMENTS = _child("alignment", None, "alignments")
THRESHOLDS = _child("threshold", None, "thresholds")
TARGETS = _child("target", None, "targets")
LOSSES = _child("loss", None, "losses")
HOOKS = _child("hook", mm.HOOKS, "engine.hooks")
LOOPS = _child("loop", mm.LOOPS, "engine.loops")
METRICS = _child("metric", mm.METRICS, "evaluation")
OPTIM_WRAPPERS = _child("optim wrapper", mm.OPTIM_WRAPPERS, "engine.optim")
PARAM_SCHEDULERS = _child("parameter scheduler", mm.PARAM_SCHEDULERS, "engine.schedules")
OPTIMIZERS = _child("optimizer", mm.OPTIMIZERS)
VISUALIZERS = _child("visualizer", mm.VISUALIZERS)
VISBACKENDS = _child("vis_backend", mm.VISBACKENDS)
LOG_PROCESSORS = _child("log_processor", mm.LOG_PROCESSORS)

ALL: tuple[Registry, ...] = (
    DATASETS, TRANSFORMS, SPLITS, MODELS, ALGORITHMS, ALIGNMENTS, THRESHOLDS, TARGETS, LOSSES,
    HOOKS, LOOPS, METRICS, OPTIM_WRAPPERS, OPTIMIZERS, PARAM_SCHEDULERS, VISUALIZERS, VISBACKENDS, LOG_PROCESSORS,
)  # fmt: skip
