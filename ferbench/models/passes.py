"""How an algorithm runs the classifier: named batches of views in as few passes as the forward mode allows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ferbench.contracts import Output
from ferbench.models.classifier import Classifier


class Passes:
    """The classifier and its averaged copy, as an algorithm sees them (`ferbench.contracts.Network`).

    Args:
        network: the trained classifier.
        ema_network: its averaged copy, in evaluation mode but where an algorithm asks for its training mode.
        forward_mode: ``split`` or ``joint``, see `SSLModel`.
    """

    def __init__(self, network: Classifier, ema_network: Classifier, forward_mode: str):
        self.network, self.ema_network, self.forward_mode = network, ema_network, forward_mode

    def __call__(
        self, views: Mapping[str, Tensor], needs_gradient: Collection[str], update_statistics: bool = True
    ) -> dict[str, Output]:
        """See `ferbench.contracts.Network`."""
        with _frozen_statistics(self.network, not update_statistics):
            if self.forward_mode == "joint":
                outputs = _pass(self.network, views)
                return {n: o if n in needs_gradient else o.detach() for n, o in outputs.items()}
            outputs = {}
            if without := {n: x for n, x in views.items() if n not in needs_gradient}:
                with torch.no_grad():
                    outputs = _pass(self.network, without)
            return {**outputs, **_pass(self.network, {n: x for n, x in views.items() if n in needs_gradient})}

    @torch.no_grad()
    def teacher(self, views: Mapping[str, Tensor], training: bool = False) -> dict[str, Output]:
        """See `ferbench.contracts.Network`."""
        if not training:
            return _pass(self.ema_network, views)
        self.ema_network.train()
        try:
            with _frozen_statistics(self.ema_network, True):
                return _pass(self.ema_network, views)
        finally:
            self.ema_network.eval()

    def head(self, name: str, features: Tensor) -> Tensor:
        """See `ferbench.contracts.Network`."""
        return self.network.heads[name](features)


def _pass(network: Classifier, views: Mapping[str, Tensor]) -> dict[str, Output]:
    """One pass over the concatenation of some views."""
    if not views:
        return {}
    output = network(torch.cat(list(views.values())) if len(views) > 1 else next(iter(views.values())))
    sizes = [len(x) for x in views.values()]
    return dict(zip(views, output.split(sizes), strict=True))


@contextmanager
def _frozen_statistics(network: nn.Module, frozen: bool) -> Iterator[None]:
    """Batch-norm still normalises by the batch, but does not add it to the running statistics."""
    layers = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats and frozen]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
